//! Dropping privileges: user and group ids, capabilities, and the proof that
//! they are gone. Whoever could attach a debugger to either process afterwards
//! would hold Duo's yes, so tracing is forbidden with no gap between.

use duo_policy::error::Error;
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::standing::{Caller, PrivsepUser, Standing};

const ROOT: Uid = Uid::from_raw(0);

/// In the child: drops to `user`, for good, and proves it.
///
/// # Errors
/// [`Error::Fault`]: something is left of what we were.
pub(super) fn irrevocably_become(user: &PrivsepUser) -> Result<(), Error> {
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

/// Takes root's id for the real and saved ones too. A caller may signal a
/// process that has their id as its real one: without this, a SIGSTOP could
/// leave a process behind that is root's and has the configuration open
/// (docs/security.md, attack 4).
///
/// # Errors
/// [`Error::Fault`] if that is not allowed.
pub fn become_root_alone(standing: Standing) -> Result<(), Error> {
    match standing {
        Standing::Setuid => setresuid(ROOT, ROOT, ROOT)
            .map_err(|errno| Error::fault("become root alone", errno.desc())),
        Standing::Root | Standing::Own => Ok(()),
    }
}

/// In the parent: becomes the caller, whose session this will be, and proves
/// it; supplementary groups are theirs already. Harmless when done twice.
///
/// The parent is the user's own process from here on, but holds the door: a
/// debugger in it would be Duo's yes. The session's exec makes it an ordinary
/// process again.
///
/// # Errors
/// [`Error::Fault`]: something is left of what we were.
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

/// No core, and no other process of this uid may trace us, read our memory or
/// open our descriptors.
///
/// # Errors
/// [`Error::Fault`] if that is not so afterwards.
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

/// Proves that this process is `uid` and `gid`, wholly and for good.
fn prove_ids(uid: Uid, gid: Gid) -> Result<(), Error> {
    let uids = getresuid().map_err(drop_failed)?;
    let gids = getresgid().map_err(drop_failed)?;
    let stay = [uids.real, uids.effective, uids.saved] == [uid; 3]
        && [gids.real, gids.effective, gids.saved] == [gid; 3];
    let roots = Gid::from_raw(0);
    let back = setresuid(ROOT, ROOT, ROOT).is_ok()
        || nix::unistd::setuid(ROOT).is_ok()
        || nix::unistd::seteuid(ROOT).is_ok()
        || (gid != roots && setresgid(roots, roots, roots).is_ok());
    let (effective, permitted, _) = capabilities()?;
    if stay && !back && effective == 0 && permitted == 0 {
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

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWords {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// This thread's sets: effective, permitted, inheritable.
fn capabilities() -> Result<(u64, u64, u64), Error> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut words = [CapabilityWords::default(); 2];
    // SAFETY: version 3 writes two sets of words, and both arguments outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    if result != 0 {
        return Err(Error::fault("read the capabilities", Errno::last().desc()));
    }
    let [low, high] = words;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(low.effective, high.effective),
        join(low.permitted, high.permitted),
        join(low.inheritable, high.inheritable),
    ))
}

/// Empties every capability set of this process, and proves it.
fn clear_capabilities() -> Result<(), Error> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let none = [CapabilityWords::default(); 2];
    // SAFETY: version 3 reads two sets of words, and both arguments outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, none.as_ptr()) };
    if result != 0 || capabilities()? != (0, 0, 0) {
        return Err(Error::Fault(
            "couldn't drop privileges: capabilities remain".to_owned(),
        ));
    }
    Ok(())
}
