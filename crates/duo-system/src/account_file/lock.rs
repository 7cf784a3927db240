//! The lock of an account's file. It belongs to the open file and not to the process, and it
//! ends with the open file.

use std::fs::File;
use std::time::Duration;

use duo_policy::clock::Clock;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Whoever only reads.
    Readers,
    /// Nobody.
    Nobody,
}

/// How often a lock that another login holds is tried for, and the pause after each try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) tries: u32,
    pub(crate) pause: Duration,
}

/// A lock that is held.
pub struct Lock<'a>(&'a File);

impl<'a> Lock<'a> {
    /// Takes the lock of the whole `file`.
    ///
    /// # Errors
    /// `EAGAIN` if another login holds it all the time, or the system's.
    pub(crate) fn take(
        file: &'a File,
        sharing: Sharing,
        patience: Patience,
        clock: &dyn Clock,
    ) -> nix::Result<Lock<'a>> {
        let kind = match sharing {
            Sharing::Readers => libc::F_RDLCK,
            Sharing::Nobody => libc::F_WRLCK,
        };
        for _ in 0..patience.tries {
            match set(file, kind) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => clock.sleep(patience.pause),
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EAGAIN)
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // The end of the open file takes the lock back too, but another process may have a copy
        // of that for some moments yet.
        let _ = set(self.0, libc::F_UNLCK);
    }
}

fn set(file: &File, kind: libc::c_int) -> nix::Result<()> {
    let short = |constant: libc::c_int| libc::c_short::try_from(constant).unwrap_or_default();
    let whole = libc::flock {
        l_type: short(kind),
        l_whence: short(libc::SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).map(drop)
}
