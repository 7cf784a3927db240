//! The life pipe, whose only write end is the parent's (docs/security.md, *Life and death*).
//! It becomes readable when the parent writes why the person left, or is gone.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use duo_policy::error::Error;
use duo_wire::Departure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The read end of the life pipe.
pub struct LifePipe {
    read_end: OwnedFd,
    /// Why the parent waits no longer, once it has been read.
    parent_gone: Cell<Option<ParentGone>>,
    /// The parent's name, for the log.
    parent: &'static str,
}

/// Why the parent waits for this process no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParentGone {
    /// The parent wrote why the person left, and lets this process go.
    LetGo(Departure),
    /// The parent's end closed, and the parent wrote nothing.
    Killed,
}

impl LifePipe {
    /// The life pipe with this read end.
    pub(crate) fn new(read_end: OwnedFd, parent: &'static str) -> LifePipe {
        LifePipe {
            read_end,
            parent_gone: Cell::new(None),
            parent,
        }
    }

    /// Looks, without waiting, whether the parent still waits for this process.
    ///
    /// # Errors
    /// [`Error::GaveUp`] if it does not.
    pub fn look(&self) -> Result<(), Error> {
        let is_over = self.has_been_read() || self.is_readable();
        if is_over { Err(self.error()) } else { Ok(()) }
    }

    /// Whether it is known already that the parent waits no longer, so that the pipe need
    /// not be polled.
    pub(crate) fn has_been_read(&self) -> bool {
        self.parent_gone.get().is_some()
    }

    fn is_readable(&self) -> bool {
        let mut fds = [PollFd::new(self.read_end.as_fd(), PollFlags::POLLIN)];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let [fd] = fds;
        polled.is_ok() && fd.any() == Some(true)
    }

    /// The next byte, or `None` at the end. The pipe is readable.
    fn read_byte(&self) -> Option<u8> {
        let mut byte = [0];
        loop {
            match nix::unistd::read(&self.read_end, &mut byte) {
                Err(Errno::EINTR) => {}
                Ok(1) => return byte.first().copied(),
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// The error that ends the login. The pipe is readable, or has been read.
    pub(crate) fn error(&self) -> Error {
        let parent_gone = self.parent_gone.get().unwrap_or_else(|| {
            let left = self.read_byte().and_then(Departure::from_byte);
            left.map_or(ParentGone::Killed, ParentGone::LetGo)
        });
        self.parent_gone.set(Some(parent_gone));
        let why = match parent_gone {
            ParentGone::LetGo(left) => left.reason().to_owned(),
            ParentGone::Killed => format!("{} was killed", self.parent),
        };
        Error::GaveUp(why)
    }
}

impl AsFd for LifePipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> (LifePipe, OwnedFd) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (LifePipe::new(read, "login_duo"), write)
    }

    #[test]
    fn a_parent_that_lives_and_writes_nothing_still_waits() {
        let (life, _parent) = life();
        assert_eq!(life.look(), Ok(()));
        assert!(!life.has_been_read());
    }

    #[test]
    fn each_look_says_why_the_parent_waits_no_longer() {
        let interrupted = [Departure::Interrupted.to_byte()];
        for (written, why) in [
            (&interrupted[..], "interrupted"),
            (&[], "login_duo was killed"),
            // No byte of ours: whoever wrote it, the parent does not wait.
            (b"?", "login_duo was killed"),
        ] {
            let (life, parent) = life();
            nix::unistd::write(&parent, written).unwrap();
            drop(parent);
            for _ in 0..2 {
                assert_eq!(life.look(), Err(Error::GaveUp(why.to_owned())));
                assert!(life.has_been_read());
            }
        }
    }
}
