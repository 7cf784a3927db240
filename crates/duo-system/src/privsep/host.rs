//! What the helper of pam_duo.so is started with: a socket to the module and a pipe,
//! under the numbers that both know, in front of a host whose user may be hostile.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use duo_policy::error::Error;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::chdir;

use super::confine::{close_all_but, replace_callers_descriptors};
use super::inherited::listen_to_signals;
use super::priority::reset_priority;

/// The helper's ends.
pub struct HostEnds {
    /// The socket for packets: the module shows and asks what comes through it.
    pub socket: Rc<OwnedFd>,
    /// The pipe for the ruling, which the parent alone writes.
    pub pipe: OwnedFd,
}

/// Takes the ends from their numbers, and gives up whatever else the host left: other
/// descriptors, the folder, the umask, ignored signals, a hostile standard error, and
/// its scheduling: with a timer slack of a minute the parent would end a minute late.
/// Call it once, after [`take_over`](super::take_over).
///
/// # Errors
/// [`Error::Fault`] if one of the ends is not what the module gives, or a step fails.
pub fn take_host_ends(socket: RawFd, pipe: RawFd) -> Result<HostEnds, Error> {
    for (fd, kind) in [(socket, SFlag::S_IFSOCK), (pipe, SFlag::S_IFIFO)] {
        // SAFETY: the descriptor is only looked at, and nothing closes it meanwhile.
        let status = fstat(unsafe { BorrowedFd::borrow_raw(fd) });
        let is_kind =
            status.is_ok_and(|status| status.st_mode & SFlag::S_IFMT.bits() == kind.bits());
        if !is_kind {
            return Err(Error::Fault(
                "pam_duo.so starts this program, and nobody else should".to_owned(),
            ));
        }
    }
    close_all_but(vec![socket, pipe])?;
    // SAFETY: both are open, as was just seen, and nobody else owns them.
    let ends = unsafe {
        HostEnds {
            socket: Rc::new(OwnedFd::from_raw_fd(socket)),
            pipe: OwnedFd::from_raw_fd(pipe),
        }
    };
    let failed = |errno: Errno| Error::fault("take over a descriptor", errno.desc());
    for end in [&*ends.socket, &ends.pipe] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
    }
    replace_callers_descriptors()?;
    chdir("/").map_err(|errno| Error::fault("change to '/'", errno.desc()))?;
    umask(Mode::from_bits_truncate(0o077));
    reset_priority()?;
    listen_to_signals()?;
    Ok(ends)
}
