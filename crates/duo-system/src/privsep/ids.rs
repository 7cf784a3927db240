//! Dropping privileges: user and group ids, capabilities, and the proof that
//! they are gone. A debugger that is attached to either process could forge Duo's
//! yes, so tracing is forbidden before the process belongs to its new user.

use duo_policy::error::Error;
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::standing::{Caller, PrivsepUser, Standing};

const ROOT: Uid = Uid::from_raw(0);

/// In the child: becomes `user` for good, with no group but the user's own and no
/// capability, and proves it.
///
/// # Errors
/// [`Error::Fault`] if a privilege is left. The child must end then.
pub(super) fn irrevocably_become_the_privsep_user(user: &PrivsepUser) -> Result<(), Error> {
    setgroups(&[user.gid]).map_err(drop_failed)?;
    irrevocably_set_ids(user.uid, user.gid)?;
    clear_capabilities()?;
    if getgroups().map_err(drop_failed)? != [user.gid] {
        return Err(Error::Fault(
            "couldn't drop privileges: groups remain".to_owned(),
        ));
    }
    prove_ids(user.uid, user.gid)
}

/// Makes the real and the saved user id root's, as the effective one is. A caller
/// may signal a process whose real or saved user id is theirs: without this, a
/// SIGSTOP could leave a process of root's behind that has the configuration open
/// (docs/security.md, attack 4).
///
/// # Errors
/// [`Error::Fault`] if the kernel refuses.
pub fn become_root_alone(standing: Standing) -> Result<(), Error> {
    match standing {
        Standing::Setuid => setresuid(ROOT, ROOT, ROOT)
            .map_err(|errno| Error::fault("become root alone", errno.desc())),
        Standing::Root | Standing::Own => Ok(()),
    }
}

/// In the parent: becomes the caller for good, and proves it. The supplementary
/// groups are the caller's already. A second call only proves it again.
///
/// The parent belongs to the caller from here on, but it opens the door, so
/// the caller may not attach a debugger to it. The session's execve makes the
/// process an ordinary one again.
///
/// # Errors
/// [`Error::Fault`] if a privilege is left, or tracing cannot be forbidden.
pub fn irrevocably_become_the_caller(standing: Standing, caller: Caller) -> Result<(), Error> {
    if standing == Standing::Setuid {
        let uids = getresuid().map_err(drop_failed)?;
        if uids.effective == ROOT {
            irrevocably_set_ids(caller.uid, caller.gid)?;
        }
        prove_ids(caller.uid, caller.gid)?;
    }
    forbid_tracing()
}

/// Gives up root's user and group id, in an order that leaves no gap. Each
/// change of an effective id lets other processes of the new user attach to this
/// one where fs.suid_dumpable is 1, unless its real or saved user id is root's;
/// and the new user may stop a process whose real or saved user id is theirs
/// (docs/security.md, attack 4). So both stay root's until tracing is forbidden.
fn irrevocably_set_ids(uid: Uid, gid: Gid) -> Result<(), Error> {
    setresgid(gid, gid, gid).map_err(drop_failed)?;
    setresuid(ROOT, uid, ROOT).map_err(drop_failed)?;
    forbid_tracing()?;
    setresuid(uid, uid, uid).map_err(drop_failed)
}

/// Forbids a core file, and forbids the other processes of this user id to trace
/// this process, to read its memory and to open its descriptors.
///
/// # Errors
/// [`Error::Fault`] if these are still allowed afterwards.
pub(super) fn forbid_tracing() -> Result<(), Error> {
    prctl::set_dumpable(false).map_err(|errno| Error::fault("forbid tracing", errno.desc()))?;
    if prctl::get_dumpable() != Ok(false) {
        return Err(Error::Fault(
            "couldn't forbid tracing: it is still allowed".to_owned(),
        ));
    }
    Ok(())
}

fn drop_failed(errno: Errno) -> Error {
    Error::fault("drop privileges", errno.desc())
}

/// Proves that each user id of this process is `uid`, that each group id is
/// `gid`, that it cannot take root's ids back, and that it has no capability.
fn prove_ids(uid: Uid, gid: Gid) -> Result<(), Error> {
    let uids = getresuid().map_err(drop_failed)?;
    let gids = getresgid().map_err(drop_failed)?;
    let is_dropped = [uids.real, uids.effective, uids.saved] == [uid; 3]
        && [gids.real, gids.effective, gids.saved] == [gid; 3];
    let root_group = Gid::from_raw(0);
    let came_back = setresuid(ROOT, ROOT, ROOT).is_ok()
        || nix::unistd::setuid(ROOT).is_ok()
        || nix::unistd::seteuid(ROOT).is_ok()
        || (gid != root_group && setresgid(root_group, root_group, root_group).is_ok());
    let (effective, permitted, _) = capabilities()?;
    if is_dropped && !came_back && effective == 0 && permitted == 0 {
        Ok(())
    } else {
        Err(Error::Fault(
            "couldn't drop privileges: they came back".to_owned(),
        ))
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`, capset(2).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

impl CapabilityHeader {
    fn of_this_thread() -> CapabilityHeader {
        CapabilityHeader {
            version: CAPABILITY_VERSION,
            pid: 0,
        }
    }
}

/// One half of the three sets: version 3 has 64 capabilities in two halves.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityHalf {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// This thread's sets: effective, permitted, inheritable. Bit N is the
/// capability N of capabilities(7).
fn capabilities() -> Result<(u64, u64, u64), Error> {
    let mut header = CapabilityHeader::of_this_thread();
    let mut halves = [CapabilityHalf::default(); 2];
    // SAFETY: version 3 writes two halves, and both arguments outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    if result != 0 {
        return Err(Error::fault("read the capabilities", Errno::last().desc()));
    }
    let [low, high] = halves;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(low.effective, high.effective),
        join(low.permitted, high.permitted),
        join(low.inheritable, high.inheritable),
    ))
}

/// To signal processes of others, capabilities(7).
pub(super) const CAP_KILL: u32 = 5;

/// To write records to the kernel's audit log, capabilities(7).
pub(super) const CAP_AUDIT_WRITE: u32 = 29;

/// Empties the effective, permitted and inheritable sets, and proves it. The
/// ambient set is empty then too, since each of its members must be in two of them.
fn clear_capabilities() -> Result<(), Error> {
    keep_capabilities(&[])
}

/// Takes every capability from this thread but those of `kept` that it has, and proves
/// it. `kept` are numbers of the lower half.
pub(super) fn keep_capabilities(kept: &[u32]) -> Result<(), Error> {
    let mask = kept.iter().fold(0, |mask, number| mask | 1_u32 << number);
    // Where no capability is kept, the ones that the thread has need not be read.
    let mask = match mask {
        0 => 0,
        _ => mask & u32::try_from(capabilities()?.1 & u64::from(u32::MAX)).unwrap_or_default(),
    };
    let mut header = CapabilityHeader::of_this_thread();
    let sets = [
        CapabilityHalf {
            effective: mask,
            permitted: mask,
            inheritable: 0,
        },
        CapabilityHalf::default(),
    ];
    // SAFETY: version 3 reads two halves, and both arguments outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    if result != 0 || capabilities()? != (mask.into(), mask.into(), 0) {
        return Err(Error::Fault(
            "couldn't drop privileges: capabilities remain".to_owned(),
        ));
    }
    Ok(())
}
