//! Every wait of the unprivileged child. A wait ends at its deadline, and at once
//! when the parent lets the child go or is killed (docs/security.md, *Life and
//! death*).
//!
//! If a wait ends long after its deadline, this process was kept from running,
//! and Duo may have answered in the meantime. The waiter remembers the longest
//! delay until `safe` is about to open the door (docs/security.md, *The alibi*).

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use duo_policy::clock::Clock;
use duo_policy::error::Error;
use duo_wire::Departure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The longest delay of a wait that does not count against this machine.
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

/// The read end of the life pipe, whose only write end is the parent's. It
/// becomes readable when the parent writes why the person left, or is gone.
pub struct LifePipe {
    read_end: OwnedFd,
    /// What was read from the pipe, if anything was.
    parent_gone: Cell<Option<ParentGone>>,
}

/// Why the parent waits for this process no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentGone {
    /// The parent wrote why the person left, and lets this process go.
    LetGo(Departure),
    /// The parent's end closed, and the parent wrote nothing.
    Killed,
}

impl LifePipe {
    /// The life pipe with this read end.
    pub(crate) fn new(read_end: OwnedFd) -> LifePipe {
        LifePipe {
            read_end,
            parent_gone: Cell::new(None),
        }
    }

    /// Why the parent waits no longer, if a wait has ended for that reason.
    pub fn parent_gone(&self) -> Option<ParentGone> {
        self.parent_gone.get()
    }

    /// Reads why the parent waits no longer. The pipe is readable.
    fn read(&self) -> ParentGone {
        if let Some(parent_gone) = self.parent_gone.get() {
            return parent_gone;
        }
        let mut byte = [0];
        let left = loop {
            match nix::unistd::read(&self.read_end, &mut byte) {
                Err(Errno::EINTR) => {}
                Ok(1) => break Departure::from_byte(byte.first().copied().unwrap_or_default()),
                Ok(_) | Err(_) => break None,
            }
        };
        let parent_gone = left.map_or(ParentGone::Killed, ParentGone::LetGo);
        self.parent_gone.set(Some(parent_gone));
        parent_gone
    }

    /// The error that ends the login.
    fn error(&self) -> Error {
        let why = match self.read() {
            ParentGone::LetGo(left) => left.reason(),
            ParentGone::Killed => "login_duo was killed",
        };
        Error::GaveUp(why.to_owned())
    }
}

impl AsFd for LifePipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The event has come to the descriptor, or the descriptor is broken.
    Ready,
    /// The deadline has passed.
    TimedOut,
}

/// Waits for descriptors and for time to pass, and remembers the longest delay.
pub struct Waiter<'a> {
    clock: &'a dyn Clock,
    life: Option<&'a LifePipe>,
    /// The longest time by which a wait has ended after its deadline.
    longest_delay: Cell<Duration>,
}

impl<'a> Waiter<'a> {
    /// Waits by `clock`. With a life pipe, each wait also ends when the parent lets
    /// this process go or is gone.
    pub fn new(clock: &'a dyn Clock, life: Option<&'a LifePipe>) -> Waiter<'a> {
        Waiter {
            clock,
            life,
            longest_delay: Cell::new(Duration::ZERO),
        }
    }

    /// Now, by the clock of this waiter.
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

    /// Whether `deadline` has passed. Remembers how long ago that was.
    pub fn has_passed(&self, deadline: Instant) -> bool {
        let now = self.now();
        let delay = now.saturating_duration_since(deadline);
        self.longest_delay.set(self.longest_delay.get().max(delay));
        now >= deadline
    }

    /// Proves that each wait so far has ended at most [`TOLERANCE`] after its
    /// deadline.
    ///
    /// # Errors
    /// [`Error::Fault`] if one has not: this process was kept from running.
    pub(crate) fn prove_punctual(&self) -> Result<(), Error> {
        let delay = self.longest_delay.get();
        if delay <= TOLERANCE {
            return Ok(());
        }
        let seconds = delay.as_secs();
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
                // poll also ends so in a process that was stopped and continued. The
                // time until then counts.
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
                // The next wait ends at once too, for the same reason.
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

    /// A clock that jumps each time it is read, as for a process that is frozen
    /// between two reads.
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
            // The answer that has come counts all the same.
            assert_eq!(waited, Ok(Waited::Ready));
            let doubt = waiter.prove_punctual();
            let expected = Error::Fault("this machine stood still for 60 s".to_owned());
            assert_eq!(doubt, if is_late { Err(expected) } else { Ok(()) });
        }
    }
}
