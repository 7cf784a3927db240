//! Every wait of the unprivileged child. It ends at its deadline, and at once
//! when the parent lets the child go or is killed.
//!
//! A wait that ends long after its deadline means that this process was kept
//! from running: Duo may have answered in the meantime. The waiter remembers it,
//! for the moment when `safe` is about to open (docs/security.md, *The alibi*).

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use duo_policy::clock::Clock;
use duo_policy::error::Error;
use duo_wire::Departure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A wait may end so long after its deadline, and no later.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}

/// The read end of the life pipe. Its only write end is the parent's: it
/// becomes readable when the parent says why the person left, or is gone.
pub struct LifePipe {
    read_end: OwnedFd,
    /// What was read on it.
    end: Cell<Option<ParentsEnd>>,
}

/// How the parent went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentsEnd {
    /// It lets this process go, since the person left.
    LetGo(Departure),
    /// It is gone without a word.
    Killed,
}

impl LifePipe {
    /// The read end.
    pub fn new(read_end: OwnedFd) -> LifePipe {
        LifePipe {
            read_end,
            end: Cell::new(None),
        }
    }

    /// How the parent went, as far as a wait has noticed.
    pub fn noticed(&self) -> Option<ParentsEnd> {
        self.end.get()
    }

    /// Reads how the parent went.
    fn read(&self) -> ParentsEnd {
        if let Some(end) = self.end.get() {
            return end;
        }
        let mut byte = [0];
        let left = loop {
            match nix::unistd::read(&self.read_end, &mut byte) {
                Err(Errno::EINTR) => {}
                Ok(1) => break Departure::from_byte(byte.first().copied().unwrap_or_default()),
                Ok(_) | Err(_) => break None,
            }
        };
        let end = left.map_or(ParentsEnd::Killed, ParentsEnd::LetGo);
        self.end.set(Some(end));
        end
    }

    /// Why this process should go on no longer.
    fn error(&self) -> Error {
        let why = match self.read() {
            ParentsEnd::LetGo(left) => left.reason(),
            ParentsEnd::Killed => "login_duo was killed",
        };
        Error::GaveUp(why.to_owned())
    }
}

impl AsFd for LifePipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }
}

/// What came of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The descriptor is ready, or broken.
    Ready,
    /// The deadline has passed.
    TimedOut,
}

/// How a process waits.
pub struct Waiter<'a> {
    clock: &'a dyn Clock,
    life: Option<&'a LifePipe>,
    /// How long after its deadline a wait has ended, at the worst.
    latest: Cell<Duration>,
}

impl<'a> Waiter<'a> {
    /// Waits by `clock`; until the parent ends too, if there is one to watch.
    pub fn new(clock: &'a dyn Clock, life: Option<&'a LifePipe>) -> Waiter<'a> {
        Waiter {
            clock,
            life,
            latest: Cell::new(Duration::ZERO),
        }
    }

    /// Monotonic now.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Waits until `event`, or an error, has come to `fd`.
    ///
    /// # Errors
    /// [`Error::GaveUp`] if the parent lets go or is gone, [`Error::Fault`] if
    /// waiting fails.
    pub fn wait(
        &self,
        fd: BorrowedFd<'_>,
        event: PollFlags,
        deadline: Instant,
    ) -> Result<Waited, Error> {
        self.poll(Some((fd, event)), deadline)
    }

    /// Returns when `span` has passed.
    ///
    /// # Errors
    /// As [`Waiter::wait`].
    pub fn sleep(&self, span: Duration) -> Result<(), Error> {
        let deadline = self.now() + span;
        if self.life.is_some() {
            return self.poll(None, deadline).map(drop);
        }
        self.clock.sleep(span);
        self.has_passed(deadline);
        Ok(())
    }

    /// Whether `deadline` has passed, and remembers for how long.
    pub fn has_passed(&self, deadline: Instant) -> bool {
        let now = self.now();
        let late = now.saturating_duration_since(deadline);
        self.latest.set(self.latest.get().max(late));
        now >= deadline
    }

    /// Whether every wait so far has ended in time.
    ///
    /// # Errors
    /// [`Error::Fault`]: this process was kept from running.
    pub fn was_awake(&self) -> Result<(), Error> {
        let late = self.latest.get();
        if late <= TOLERANCE {
            return Ok(());
        }
        let seconds = late.as_secs();
        Err(Error::Fault(format!(
            "this machine stood still for {seconds} s"
        )))
    }

    fn poll(
        &self,
        wanted: Option<(BorrowedFd<'_>, PollFlags)>,
        deadline: Instant,
    ) -> Result<Waited, Error> {
        loop {
            let left = deadline.saturating_duration_since(self.now());
            // Rounded up, so that a wait does not end before its deadline.
            let rounded = left.saturating_add(Duration::from_micros(999));
            let timeout = PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX);
            let life = self.life.map(|life| (life.as_fd(), PollFlags::POLLIN));
            let watched = life.into_iter().chain(wanted);
            let mut fds: Vec<PollFd<'_>> =
                watched.map(|(fd, event)| PollFd::new(fd, event)).collect();
            let ready = match poll(&mut fds, timeout) {
                // A process that was stopped and continued: the time that passed counts.
                Err(Errno::EINTR) => continue,
                ready => ready.map_err(|errno| Error::fault("wait", errno.desc()))?,
            };
            let is_over = self.has_passed(deadline);
            if let (Some(life), Some(first)) = (self.life, fds.first())
                && first.any() == Some(true)
            {
                return Err(life.error());
            }
            if ready > 0 {
                return Ok(Waited::Ready);
            }
            if is_over {
                return Ok(Waited::TimedOut);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> (LifePipe, OwnedFd) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (LifePipe::new(read), write)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(30)
    }

    #[test]
    fn a_wait_ends_when_something_comes_or_at_its_deadline() {
        let waiter = Waiter::new(&SystemClock, None);
        let (read, write) = nix::unistd::pipe().unwrap();
        let wait = || waiter.wait(read.as_fd(), PollFlags::POLLIN, soon());
        assert_eq!(wait(), Ok(Waited::TimedOut));
        nix::unistd::write(&write, b"x").unwrap();
        assert_eq!(wait(), Ok(Waited::Ready));
    }

    #[test]
    fn a_parent_that_lets_go_or_is_killed_ends_each_wait() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        let late = || Instant::now() + Duration::from_secs(60);
        for (left, words) in [
            (Some(Departure::Interrupted), "interrupted"),
            (None, "login_duo was killed"),
        ] {
            for sleeps in [true, false] {
                let (life, parent) = life();
                let waiter = Waiter::new(&SystemClock, Some(&life));
                if let Some(left) = left {
                    nix::unistd::write(&parent, &[left.to_byte()]).unwrap();
                }
                drop(parent);
                let error = match sleeps {
                    true => waiter.sleep(Duration::from_secs(60)).unwrap_err(),
                    false => waiter
                        .wait(read.as_fd(), PollFlags::POLLIN, late())
                        .unwrap_err(),
                };
                assert_eq!(error, Error::GaveUp(words.into()));
                // And the next one, for the same reason.
                let again = waiter.sleep(Duration::from_secs(60));
                assert_eq!(again, Err(error));
            }
        }
    }

    #[test]
    fn a_sleep_with_a_parent_that_lives_lasts_as_long_as_it_should() {
        let (life, _parent) = life();
        let start = Instant::now();
        let waiter = Waiter::new(&SystemClock, Some(&life));
        assert_eq!(waiter.sleep(Duration::from_millis(20)), Ok(()));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    /// A clock that jumps each time it is looked at, as for a process that is
    /// frozen in between.
    struct Jumping {
        now: Cell<Instant>,
        by: Duration,
    }

    impl Clock for Jumping {
        fn now(&self) -> Instant {
            self.now.set(self.now.get() + self.by);
            self.now.get()
        }
        fn sleep(&self, _: Duration) {}
    }

    #[test]
    fn a_process_that_was_frozen_does_not_take_its_own_silence_for_duos() {
        let (read, write) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&write, b"an answer").unwrap();
        for (by, is_late) in [(60, true), (1, false)] {
            let clock = Jumping {
                now: Cell::new(Instant::now()),
                by: Duration::from_secs(by),
            };
            let waiter = Waiter::new(&clock, None);
            let deadline = clock.now.get() + Duration::from_secs(by);
            let waited = waiter.wait(read.as_fd(), PollFlags::POLLIN, deadline);
            // What Duo has said counts all the same.
            assert_eq!(waited, Ok(Waited::Ready));
            let doubt = waiter.was_awake();
            let expected = Error::Fault("this machine stood still for 60 s".to_owned());
            assert_eq!(doubt, if is_late { Err(expected) } else { Ok(()) });
        }
    }
}
