//! The parent's half: it waits for the child's records, for the person to leave,
//! and for the child's end. A child that was let go and does not end is waited
//! for during [`REAPING`] only (docs/security.md, *Life and death*).

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

use super::Front;
use super::ids::{CAP_AUDIT_WRITE, CAP_KILL, keep_capabilities};
use crate::{sandbox, system_words};

/// The parent, while the child runs.
pub struct Parent<'a> {
    child: Pid,
    /// The read end of the verdict pipe.
    verdict: File,
    /// The write end of the life pipe.
    life: File,
    signals: SignalFd,
    front: Front<'a>,
    /// Whether descriptor 0 of a session was a terminal at the start. A terminal that
    /// has been hung up does not look like one any more.
    on_terminal: bool,
}

/// The most bytes that are read from the verdict pipe. A child never writes so many.
const LONGEST_REPORT: usize = 256 * 1024;

/// How long a child that was let go may take to end.
const REAPING: Duration = Duration::from_secs(5);

impl<'a> Parent<'a> {
    /// The parent of `child`, with its ends of the pipes.
    pub(super) fn of(
        child: Pid,
        verdict: OwnedFd,
        life: OwnedFd,
        signals: SignalFd,
        front: Front<'a>,
    ) -> Parent<'a> {
        Parent {
            child,
            verdict: File::from(verdict),
            life: File::from(life),
            signals,
            front,
            on_terminal: std::io::stdin().is_terminal(),
        }
    }

    /// Leaves this process, which must be root's and execute nothing afterwards, with
    /// little more than to wait: the system calls of a filter, and the privileges to end
    /// the child and to write audit records.
    ///
    /// # Errors
    /// [`Error::Fault`] if the kernel has what that is made of, but refuses it. The child
    /// ends then, since its life pipe closes.
    pub fn keep_only_waiting(&self) -> Result<(), Error> {
        keep_capabilities(&[CAP_KILL, CAP_AUDIT_WRITE])?;
        sandbox::keep_only_waiting(self.child).map(drop)
    }

    /// Waits until the child has ended or the person has left, and reaps the
    /// child. A parent that can wait no longer lets the child go: the child then
    /// logs that, and its line stays the only one.
    pub fn wait(self) -> Report {
        self.wait_until(None)
    }

    /// As [`Parent::wait`], for a child that runs as somebody who may stop it: one that has
    /// not ended after `patience` is killed, and the report says that nobody was watched.
    pub fn wait_at_most(self, patience: Duration) -> Report {
        self.wait_until(Some(Instant::now() + patience))
    }

    fn wait_until(mut self, until: Option<Instant>) -> Report {
        const UNWATCHED: Option<Departure> = Some(Departure::Unwatched);
        let mut records = Vec::new();
        let mut left = self.read_records(&mut records, until).unwrap_or(UNWATCHED);
        let give_up = Instant::now() + REAPING;
        if let Some(why) = left {
            // The child logs this reason and ends. Where it has ended already, the
            // write fails, and nobody needs the reason.
            let _ = self.life.write_all(&[why.to_byte()]);
            self.read_last_records(&mut records, give_up);
        }
        let (end, signalled) = self.reap(give_up);
        // A signal or a hang-up may have come together with the verdict.
        let polled = self.poll_sources(Some(Instant::now()));
        left = left
            .or(signalled)
            .or(polled.map_or(UNWATCHED, |polled| polled.left));
        Report { records, left, end }
    }

    /// Reads the records that the child writes once it knows that the person has
    /// left: until it closes its end of the pipe, but not beyond `give_up`.
    fn read_last_records(&mut self, records: &mut Vec<u8>, give_up: Instant) {
        loop {
            let remaining = give_up.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.verdict.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(1..) => {}
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return,
            }
            match self.read(records) {
                Ok(VerdictPipe::Open) => {}
                Ok(VerdictPipe::Ended) | Err(_) => return,
            }
        }
    }

    /// Appends what the verdict pipe has now to `records`.
    fn read(&mut self, records: &mut Vec<u8>) -> Result<VerdictPipe, Error> {
        let mut chunk = [0; 4096];
        let read = match self.verdict.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                return Ok(VerdictPipe::Open);
            }
            read => read.map_err(|error| Error::fault("read the verdict", system_words(&error)))?,
        };
        records.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match read == 0 || records.len() > LONGEST_REPORT {
            true => Ok(VerdictPipe::Ended),
            false => Ok(VerdictPipe::Open),
        }
    }

    /// Reads records until the child closes its end of the pipe. If the person
    /// leaves before that, returns why. A child that is not done by `until` is killed.
    fn read_records(
        &mut self,
        records: &mut Vec<u8>,
        until: Option<Instant>,
    ) -> Result<Option<Departure>, Error> {
        loop {
            let polled = self.poll_sources(until)?;
            // Records are read first: the one with the person's name may have come
            // before the person left, and the final line in the log needs that name.
            let pipe = match polled.has_records {
                true => self.read(records)?,
                false => VerdictPipe::Open,
            };
            if polled.left.is_some() || matches!(pipe, VerdictPipe::Ended) {
                return Ok(polled.left);
            }
            if is_over(until) {
                // A process that is gone already needs no signal.
                let _ = kill(self.child, Signal::SIGKILL);
                return Ok(Some(Departure::Unwatched));
            }
        }
    }

    /// Waits until the verdict pipe is readable or the person has left, at most
    /// until `until`.
    fn poll_sources(&self, until: Option<Instant>) -> Result<Polled, Error> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut watched = vec![
            (Source::Verdict, self.verdict.as_fd()),
            (Source::Signals, self.signals.as_fd()),
        ];
        match self.front {
            Front::Host(ends) => watched.push((Source::Host, ends.pipe.as_fd())),
            Front::Session => {
                watched.push((Source::Output, stdout.as_fd()));
                watched.push((Source::Output, stderr.as_fd()));
                if self.on_terminal {
                    watched.push((Source::Terminal, stdin.as_fd()));
                }
            }
        }
        let mut polled = Polled::default();
        let mut broken_outputs = 0;
        loop {
            let mut fds: Vec<PollFd<'_>> = watched
                .iter()
                .map(|(source, fd)| PollFd::new(*fd, source.events()))
                .collect();
            let remaining = until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = remaining.map_or(PollTimeout::NONE, |remaining| {
                PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX)
            });
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::fault("wait for the verdict", errno.desc())),
            }
            let happened: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
            let mut keep = Vec::new();
            for ((source, fd), happened) in watched.into_iter().zip(happened) {
                match (source, happened) {
                    (Source::Verdict, true) => polled.has_records = true,
                    (Source::Signals, true) => polled.left = self.take_signals()?.or(polled.left),
                    (Source::Terminal, true) => polled.left = Some(Departure::TerminalClosed),
                    (Source::Host, true) => polled.left = Some(Departure::HostEnded),
                    (Source::Output, true) => {
                        // A broken descriptor would end each later poll at once.
                        broken_outputs += 1;
                        continue;
                    }
                    (_, false) => {}
                }
                keep.push((source, fd));
            }
            watched = keep;
            if broken_outputs == 2 {
                polled.left = Some(Departure::ConnectionClosed);
            }
            if polled.has_records || polled.left.is_some() || is_over(until) {
                return Ok(polled);
            }
        }
    }

    /// Takes the pending signals. If one of them ends the login, returns why.
    fn take_signals(&self) -> Result<Option<Departure>, Error> {
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

    /// Waits for the child's end, at most until `give_up`: another process of the
    /// child's user may have stopped the child, and the parent may not continue it.
    /// If a signal that ends the login comes meanwhile, also returns why.
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
                // The parent may kill the child only if both have the same user id,
                // or the parent is root's.
                if kill(self.child, Signal::SIGKILL).is_ok() {
                    let _ = waitpid(self.child, None);
                }
                return (End::Stuck, left);
            }
            let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if let Err(errno) = poll(&mut fds, timeout)
                && errno != Errno::EINTR
            {
                // A poll that fails at once, again and again, must not spin.
                std::thread::sleep(Duration::from_millis(10));
            }
            left = self.take_signals().unwrap_or_default().or(left);
        }
    }
}

fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until <= Instant::now())
}

/// What the parent polls while it waits.
#[derive(Clone, Copy)]
enum Source {
    /// The verdict pipe: the child's records, and its end.
    Verdict,
    /// The signals of `watched_signals`.
    Signals,
    /// Descriptor 0, where it is a terminal: a hang-up.
    Terminal,
    /// Descriptors 1 and 2: when both are broken, the client of a headless login
    /// is gone.
    Output,
    /// The pipe to the host, which is broken when the host has ended.
    Host,
}

impl Source {
    fn events(self) -> PollFlags {
        match self {
            Source::Verdict | Source::Signals => PollFlags::POLLIN,
            // poll reports errors and hang-ups without being asked for them.
            Source::Terminal | Source::Output | Source::Host => PollFlags::empty(),
        }
    }
}

/// What one wait of the parent found.
#[derive(Default)]
struct Polled {
    /// Whether the verdict pipe is readable.
    has_records: bool,
    /// Why the person left, if they did.
    left: Option<Departure>,
}

/// Whether the verdict pipe may have more records.
enum VerdictPipe {
    Open,
    /// The child has closed its end, or has written more than it ever should.
    Ended,
}
