//! The parent's side: it waits for the two keys, for the person to leave, and
//! for the child's end, and for none of them for ever or in a busy loop.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::STAYS;
use crate::error::Error;

/// The parent, waiting for the two keys.
pub struct Parent {
    child: Pid,
    verdict: File,
    life: Option<File>,
    signals: SignalFd,
    /// Whether descriptor 0 was a terminal at the start: one that has been hung
    /// up does not say so any more.
    on_terminal: bool,
}

/// How it ended with the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Killed(Signal),
    /// The person left first: why.
    Left(&'static str),
    /// It neither ends nor can be ended.
    Stuck,
    /// It is still there, and waits to be let go.
    Stays,
}

/// What the parent knows once the child, or the person, is gone.
pub struct Report {
    /// What the child wrote on the verdict pipe.
    pub records: Vec<u8>,
    /// How it ended.
    pub end: End,
}

/// More than the child ever writes.
const LONGEST_REPORT: u64 = 256 * 1024;

/// How long a child that was let go may take to end.
const REAPING: Duration = Duration::from_secs(5);

impl Parent {
    /// The parent of `child`, with its ends of the pipes.
    pub(super) fn of(child: Pid, verdict: OwnedFd, life: OwnedFd, signals: SignalFd) -> Parent {
        Parent {
            child,
            verdict: File::from(verdict),
            life: Some(File::from(life)),
            signals,
            on_terminal: std::io::stdin().is_terminal(),
        }
    }

    /// Waits until the child has ended, and reaps it; or until it has said no,
    /// or the person has gone. Then it is there still, for [`Parent::finish`].
    ///
    /// # Errors
    /// [`Error::Fault`] if waiting itself fails.
    pub fn wait(&mut self) -> Result<Report, Error> {
        let mut records = Vec::new();
        if let Some(why) = self.listen(&mut records)? {
            let end = End::Left(why);
            return Ok(Report { records, end });
        }
        let (end, signalled) = match records.strip_suffix(format!("{STAYS}\n").as_bytes()) {
            Some(said) => {
                records.truncate(said.len());
                (End::Stays, None)
            }
            // A child that has said yes ends by itself: told to go, it could not
            // choose its exit status.
            None => {
                let reaped = self.reap();
                self.let_go();
                reaped
            }
        };
        // A signal or a hang-up may have come together with the verdict.
        let left = signalled.or(self.look_around(PollTimeout::ZERO)?.left);
        Ok(Report {
            records,
            end: left.map_or(end, End::Left),
        })
    }

    /// Tells a child that is still there to go, and reaps it. For after the last
    /// line of the log: while that is unwritten, the child would write one if
    /// the user killed us.
    pub fn finish(mut self) {
        if self.life.is_some() {
            self.let_go();
            self.reap();
        }
    }

    /// Collects records until the child closes its pipe; if the person goes
    /// first, says why.
    fn listen(&mut self, records: &mut Vec<u8>) -> Result<Option<&'static str>, Error> {
        loop {
            let seen = self.look_around(PollTimeout::NONE)?;
            // Read first: the record that says who this is may have come before
            // the person left, and the last line shall name them.
            if !seen.verdict {
                match seen.left {
                    Some(why) => return Ok(Some(why)),
                    None => continue,
                }
            }
            let mut chunk = [0; 4096];
            let read = match self.verdict.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| {
                    Error::fault("read the verdict", crate::error::system_words(&error))
                })?,
            };
            records.extend_from_slice(chunk.get(..read).unwrap_or_default());
            let flood = u64::try_from(records.len()).is_ok_and(|length| length > LONGEST_REPORT);
            if seen.left.is_some() {
                return Ok(seen.left);
            }
            if read == 0 || flood {
                return Ok(None);
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
                    (Source::Terminal, true) => seen.left = Some("the terminal was closed"),
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
                seen.left = Some("the connection was closed");
            }
            if seen.verdict || seen.left.is_some() || timeout == PollTimeout::ZERO {
                return Ok(seen);
            }
        }
    }

    /// Takes the pending signals; says why the person left, if they did.
    fn signal(&self) -> Result<Option<&'static str>, Error> {
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
                Some(Signal::SIGINT) => Some("interrupted"),
                Some(Signal::SIGHUP) => Some("hung up"),
                _ => Some("terminated"),
            };
        }
    }

    /// Tells the child to go, quietly: the parent writes the last line.
    fn let_go(&mut self) {
        if let Some(mut life) = self.life.take() {
            let _ = life.write_all(b".");
        }
    }

    /// Waits for the child's end, but not for ever: it may have been stopped by
    /// someone whom we cannot overrule. Also says why the person left, if a
    /// signal said so meanwhile.
    fn reap(&mut self) -> (End, Option<&'static str>) {
        let give_up = Instant::now() + REAPING;
        let mut left = None;
        loop {
            match waitpid(self.child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => return (End::Exited(status), left),
                Ok(WaitStatus::Signaled(_, signal, _)) => return (End::Killed(signal), left),
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
    left: Option<&'static str>,
}
