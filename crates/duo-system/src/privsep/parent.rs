//! The parent's side: it waits for the two keys, for the person to leave, and
//! for the child's end, and for none of them for ever or in a busy loop.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use duo_policy::error::Error;
use duo_policy::verdict::{End, Report};
use duo_wire::Departure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::system_words;

/// The parent, waiting for the two keys.
pub struct Parent {
    child: Pid,
    verdict: File,
    life: File,
    signals: SignalFd,
    /// Whether descriptor 0 was a terminal at the start: one that has been hung
    /// up does not say so any more.
    on_terminal: bool,
}

/// Bytes; more than a child ever writes.
const LONGEST_REPORT: usize = 256 * 1024;

/// How long a child that was let go may take to end.
const REAPING: Duration = Duration::from_secs(5);

impl Parent {
    /// The parent of `child`, with its ends of the pipes.
    pub(super) fn of(child: Pid, verdict: OwnedFd, life: OwnedFd, signals: SignalFd) -> Parent {
        Parent {
            child,
            verdict: File::from(verdict),
            life: File::from(life),
            signals,
            on_terminal: std::io::stdin().is_terminal(),
        }
    }

    /// Waits until the child has ended, or the person has gone, and reaps it.
    ///
    /// # Errors
    /// [`Error::Fault`] if waiting itself fails.
    pub fn wait(mut self) -> Result<Report, Error> {
        let mut records = Vec::new();
        let mut left = self.listen(&mut records)?;
        let give_up = Instant::now() + REAPING;
        if let Some(why) = left {
            // It ends, having logged why. One that is gone needs no word.
            let _ = self.life.write_all(&[why.to_byte()]);
            self.take_last_words(&mut records, give_up);
        }
        let (end, signalled) = self.reap(give_up);
        // A signal or a hang-up may have come together with the verdict.
        left = left
            .or(signalled)
            .or(self.look_around(PollTimeout::ZERO)?.left);
        Ok(Report { records, left, end })
    }

    /// What the child writes once it knows that the person has left, until it
    /// closes its pipe; not beyond `give_up`.
    fn take_last_words(&mut self, records: &mut Vec<u8>, give_up: Instant) {
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.verdict.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(1..) => {}
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return,
            }
            match self.read(records) {
                Ok(Reading::More) => {}
                Ok(Reading::End) | Err(_) => return,
            }
        }
    }

    /// Takes what is there on the verdict pipe.
    fn read(&mut self, records: &mut Vec<u8>) -> Result<Reading, Error> {
        let mut chunk = [0; 4096];
        let read = match self.verdict.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                return Ok(Reading::More);
            }
            read => read.map_err(|error| Error::fault("read the verdict", system_words(&error)))?,
        };
        records.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match read == 0 || records.len() > LONGEST_REPORT {
            true => Ok(Reading::End),
            false => Ok(Reading::More),
        }
    }

    /// Collects records until the child closes its pipe; if the person goes
    /// first, says why.
    fn listen(&mut self, records: &mut Vec<u8>) -> Result<Option<Departure>, Error> {
        loop {
            let seen = self.look_around(PollTimeout::NONE)?;
            // Read first: the record that says who this is may have come before
            // the person left, and the last line shall name them.
            let reading = match seen.verdict {
                true => self.read(records)?,
                false => Reading::More,
            };
            if seen.left.is_some() || matches!(reading, Reading::End) {
                return Ok(seen.left);
            }
        }
    }

    /// One look at everything that may happen, for as long as `timeout`.
    fn look_around(&self, timeout: PollTimeout) -> Result<Seen, Error> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut watched = vec![
            (Source::Verdict, self.verdict.as_fd()),
            (Source::Signals, self.signals.as_fd()),
            (Source::Output, stdout.as_fd()),
            (Source::Output, stderr.as_fd()),
        ];
        if self.on_terminal {
            watched.push((Source::Terminal, stdin.as_fd()));
        }
        let mut seen = Seen::default();
        let mut outputs_gone = 0;
        loop {
            let mut fds: Vec<PollFd<'_>> = watched
                .iter()
                .map(|(source, fd)| PollFd::new(*fd, source.events()))
                .collect();
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::fault("wait for the verdict", errno.desc())),
            }
            let happened: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
            let mut keep = Vec::new();
            for ((source, fd), happened) in watched.into_iter().zip(happened) {
                match (source, happened) {
                    (Source::Verdict, true) => seen.verdict = true,
                    (Source::Signals, true) => seen.left = self.signal()?.or(seen.left),
                    (Source::Terminal, true) => seen.left = Some(Departure::TerminalClosed),
                    (Source::Output, true) => {
                        // Not watched on: its error would wake us at once, for ever.
                        outputs_gone += 1;
                        continue;
                    }
                    (_, false) => {}
                }
                keep.push((source, fd));
            }
            watched = keep;
            if outputs_gone == 2 {
                seen.left = Some(Departure::ConnectionClosed);
            }
            if seen.verdict || seen.left.is_some() || timeout == PollTimeout::ZERO {
                return Ok(seen);
            }
        }
    }

    /// Takes the pending signals; says why the person left, if they did.
    fn signal(&self) -> Result<Option<Departure>, Error> {
        let mut left = None;
        loop {
            let info = match self.signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(Errno::EAGAIN) => return Ok(left),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::fault("read a signal", errno.desc())),
            };
            let signal = i32::try_from(info.ssi_signo)
                .ok()
                .and_then(|n| Signal::try_from(n).ok());
            left = match signal {
                Some(Signal::SIGCHLD) => left,
                Some(Signal::SIGINT) => Some(Departure::Interrupted),
                Some(Signal::SIGHUP) => Some(Departure::HungUp),
                _ => Some(Departure::Terminated),
            };
        }
    }

    /// Waits for the child's end, but not for ever: it may have been stopped by
    /// someone whom we cannot overrule. Also says why the person left, if a
    /// signal said so meanwhile.
    fn reap(&self, give_up: Instant) -> (End, Option<Departure>) {
        let mut left = None;
        loop {
            match waitpid(self.child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => return (End::Exited(status), left),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return (End::Killed(signal.as_str()), left);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return (End::Stuck, left),
            }
            let remaining = give_up.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                // Works where both have one uid, or the parent is root's.
                if kill(self.child, Signal::SIGKILL).is_ok() {
                    let _ = waitpid(self.child, None);
                }
                return (End::Stuck, left);
            }
            let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::ZERO);
            let _ = poll(
                &mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)],
                timeout,
            );
            left = self.signal().unwrap_or_default().or(left);
        }
    }
}

/// What the parent watches while it waits.
#[derive(Clone, Copy)]
enum Source {
    /// The child's records, or its end.
    Verdict,
    /// Signals to us, and the child's end.
    Signals,
    /// Descriptor 0 as a terminal: a hang-up.
    Terminal,
    /// Descriptors 1 and 2: when both are broken, nobody is at the other end.
    Output,
}

impl Source {
    fn events(self) -> PollFlags {
        match self {
            Source::Verdict | Source::Signals => PollFlags::POLLIN,
            // Errors and hang-ups are reported in any case.
            Source::Terminal | Source::Output => PollFlags::empty(),
        }
    }
}

#[derive(Default)]
struct Seen {
    verdict: bool,
    left: Option<Departure>,
}

/// Whether more may come on the verdict pipe.
enum Reading {
    More,
    End,
}
