//! What the child gives up before it reads a byte that came from outside.
//! Priority and limits come first, since only root may reset them; then the
//! user; then everything that the new user can give up as well.

use std::fs::File;
use std::os::fd::RawFd;

use duo_policy::error::Error;
use nix::libc;
use nix::sys::prctl;
use nix::unistd::{chdir, close, dup2_stdout};

use super::ids::{forbid_tracing, irrevocably_become_the_privsep_user};
use super::inherited::ignore_signals;
use super::limits::raise_limits;
use super::priority::reset_priority;
use super::standing::{PrivsepUser, Standing};
use crate::system_words;

/// Takes from the child what the caller gave it, root's privileges, and each
/// descriptor but 0 to 2 and `kept`.
///
/// # Errors
/// [`Error::Fault`] if one of the steps fails. The child must end then, since it
/// may still have what the later steps take.
pub(super) fn confine(
    standing: Standing,
    user: Option<&PrivsepUser>,
    kept: [Option<RawFd>; 3],
) -> Result<(), Error> {
    ignore_signals()?;
    reset_priority()?;
    raise_limits()?;
    match (standing, user) {
        (Standing::Own, _) => {}
        (_, Some(user)) => irrevocably_become_the_privsep_user(user)?,
        (_, None) => return Err(Error::Fault("nobody to drop privileges to".to_owned())),
    }
    forbid_tracing()?;
    prctl::set_no_new_privs()
        .map_err(|errno| Error::fault("forbid new privileges", errno.desc()))?;
    chdir("/").map_err(|errno| Error::fault("change to '/'", errno.desc()))?;

    // Standard output belongs to the session: a line that a library prints there
    // would damage a file that scp or git carries.
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(|error| Error::fault("open '/dev/null'", system_words(&error)))?;
    dup2_stdout(&null).map_err(|errno| Error::fault("redirect stdout", errno.desc()))?;
    drop(null);
    close_all_but(kept)?;
    set_resolver_options();
    Ok(())
}

/// Shortens the resolver's waits: three name servers that do not answer cost 10 s
/// with these options, and 30 s with the resolver's defaults. The environment is
/// empty but for this variable.
fn set_resolver_options() {
    // SAFETY: this process has one thread, so no other code reads the environment.
    unsafe { std::env::set_var("RES_OPTIONS", "timeout:2 attempts:2") };
}

/// Closes every descriptor but 0 to 2 and `kept`.
fn close_all_but(kept: [Option<RawFd>; 3]) -> Result<(), Error> {
    let mut kept: Vec<u32> = kept
        .into_iter()
        .flatten()
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
