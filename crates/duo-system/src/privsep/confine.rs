//! What the child gives up before it reads a byte that came from outside.
//! Priority and limits come first, since only root may reset them; then the
//! user; then everything that the new user can give up as well.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use duo_policy::error::Error;
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::socket::{SockType, UnixAddr, getpeername, getsockopt, sockopt};
use nix::sys::stat::SFlag;
use nix::unistd::{chdir, close, dup2_stderr, dup2_stdin, dup2_stdout};

use super::ids::{forbid_tracing, irrevocably_become_the_privsep_user};
use super::inherited::ignore_signals;
use super::limits::raise_limits;
use super::priority::reset_priority;
use super::standing::{PrivsepUser, Standing};
use crate::system_words;

/// Takes from the child what the caller gave it: signals, priority and limits.
///
/// # Errors
/// [`Error::Fault`] if one of the steps fails. The child must end then.
pub(super) fn remove_causes() -> Result<(), Error> {
    ignore_signals()?;
    reset_priority()?;
    raise_limits()
}

/// Takes root's privileges from the child, and each descriptor but 0 to 2 and `kept`.
///
/// # Errors
/// [`Error::Fault`] if one of the steps fails. The child must end then, since it
/// may still have what the later steps take.
pub(super) fn confine(
    standing: Standing,
    user: Option<&PrivsepUser>,
    kept: Vec<RawFd>,
) -> Result<(), Error> {
    match (standing, user) {
        (Standing::Own, _) => {}
        (_, Some(user)) => irrevocably_become_the_privsep_user(user)?,
        (_, None) => return Err(Error::Fault("nobody to drop privileges to".to_owned())),
    }
    forbid_tracing()?;
    prctl::set_no_new_privs()
        .map_err(|errno| Error::fault("forbid new privileges", errno.desc()))?;
    chdir("/").map_err(|errno| Error::fault("change to '/'", errno.desc()))?;

    replace_descriptors(standing)?;
    close_all_but(kept)?;
    set_resolver_options();
    Ok(())
}

/// Puts `/dev/null` in the place of standard output, and of a caller's standard
/// input and standard error that are not what sshd gives.
///
/// # Errors
/// [`Error::Fault`] if `/dev/null` cannot be opened or put there.
fn replace_descriptors(standing: Standing) -> Result<(), Error> {
    // Standard output belongs to the session: a line that a library prints there
    // would damage a file that scp or git carries.
    dup2_stdout(open_null()?).map_err(redirect_failed)?;
    if standing == Standing::Setuid {
        replace_callers_descriptors()?;
    }
    Ok(())
}

/// Puts `/dev/null` in the place of a standard input that is no terminal, and of a
/// standard error that is neither a terminal nor a pipe. The caller of a setuid
/// install, or of sudo, could give the socket of a log, which would take a line of
/// the caller's from this user, or a file of a file system of the caller's own,
/// where a call never returns (docs/security.md, attack 3).
///
/// # Errors
/// As [`replace_descriptors`].
pub(super) fn replace_callers_descriptors() -> Result<(), Error> {
    let null = open_null()?;
    if !is_terminal(std::io::stdin().as_fd()) {
        dup2_stdin(&null).map_err(redirect_failed)?;
    }
    let stderr = std::io::stderr();
    if !is_terminal(stderr.as_fd()) && !is_pipe(stderr.as_fd()) {
        dup2_stderr(&null).map_err(redirect_failed)?;
    }
    Ok(())
}

fn open_null() -> Result<File, Error> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| Error::fault("open '/dev/null'", system_words(&error)))
}

fn redirect_failed(errno: Errno) -> Error {
    Error::fault("redirect a descriptor", errno.desc())
}

/// Whether `fd` is a terminal, and not a file that only answers like one.
fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    file_type(fd) == Some(SFlag::S_IFCHR) && fd.is_terminal()
}

/// Whether `fd` is a pipe, or one of two sockets that are connected to each other
/// and to no name.
fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    match file_type(fd) {
        Some(SFlag::S_IFIFO) => true,
        Some(SFlag::S_IFSOCK) => {
            getsockopt(&fd, sockopt::SockType) == Ok(SockType::Stream)
                && getpeername::<UnixAddr>(fd.as_raw_fd())
                    .is_ok_and(|peer| peer.path().is_none() && peer.as_abstract().is_none())
        }
        _ => false,
    }
}

/// The type of `fd`, as this kernel knows it: a file system of the caller's own is
/// not asked, since it may never answer.
fn file_type(fd: BorrowedFd<'_>) -> Option<SFlag> {
    let mut status = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: statx reads an empty path and writes one status, which is zeroed and so
    // a valid value whether or not the call succeeds.
    let (result, mode) = unsafe {
        let result = libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
            libc::STATX_TYPE,
            status.as_mut_ptr(),
        );
        (result, status.assume_init().stx_mode)
    };
    let kind = SFlag::from_bits_truncate(libc::mode_t::from(mode)) & SFlag::S_IFMT;
    (result == 0).then_some(kind)
}

/// Shortens the resolver's waits: three name servers that do not answer cost 10 s
/// with these options, and 30 s with the resolver's defaults. The environment is
/// empty but for this variable.
fn set_resolver_options() {
    // SAFETY: this process has one thread, so no other code reads the environment.
    unsafe { std::env::set_var("RES_OPTIONS", "timeout:2 attempts:2") };
}

/// Closes every descriptor but 0 to 2 and `kept`.
pub(super) fn close_all_but(kept: Vec<RawFd>) -> Result<(), Error> {
    let mut kept: Vec<u32> = kept
        .into_iter()
        .filter_map(|fd| u32::try_from(fd).ok())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    let mut gaps = Vec::new();
    for fd in kept.iter().copied().filter(|fd| *fd >= 3) {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = fd + 1;
    }
    gaps.push((first, u32::MAX));
    for (first, last) in gaps {
        // SAFETY: close_range touches no memory, and `separate` forgets the owners of
        // the descriptors.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) };
        if result != 0 {
            // Linux before 5.9 has no close_range.
            return close_listed(&kept);
        }
    }
    Ok(())
}

/// Closes every descriptor that /proc lists but 0 to 2 and `kept`.
fn close_listed(kept: &[u32]) -> Result<(), Error> {
    let listing =
        |error: std::io::Error| Error::fault("list the descriptors", system_words(&error));
    let mut spare = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(listing)? {
        let name = entry.map_err(listing)?.file_name();
        if let Some(fd) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && fd > 2
            && !kept.contains(&fd)
        {
            spare.push(fd);
        }
    }
    for fd in spare {
        // The list has the descriptor that /proc was read through, which is closed
        // already, so an error is no event.
        let _ = close(RawFd::try_from(fd).unwrap_or(-1));
    }
    Ok(())
}
