//! How this process was started, who its caller is, and which user its child
//! will become. All of it is found out before a privilege is dropped.

use std::os::unix::fs::MetadataExt;

use duo_policy::error::Error;
use nix::unistd::{Gid, Uid, User, getresgid, getresuid};

use crate::system_words;

/// How the program is installed, and by whom it was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The program is setuid root, and the caller is not root. The caller may
    /// choose neither the configuration nor the Duo name.
    Setuid,
    /// The caller is root, who may choose everything.
    Root,
    /// A user's own install. It has no privileges to drop, and the user
    /// configures it.
    Own,
}

/// The user who called this program, and whose session it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The real user id at the start.
    pub uid: Uid,
    /// The real group id at the start.
    pub gid: Gid,
}

impl Caller {
    /// The caller of this process, as long as no id has been changed.
    pub fn of_this_process() -> Caller {
        Caller {
            uid: Uid::current(),
            gid: Gid::current(),
        }
    }
}

/// Finds out how this process was started.
///
/// # Errors
/// [`Error::Fault`] if the program's file has a setuid bit without effect: the
/// file belongs to a user who is not root, or the kernel ignores the bit
/// (no_new_privs, a tracer, a user namespace). A caller could bring that about,
/// and would then choose the configuration (docs/security.md, *Processes*).
pub fn standing() -> Result<Standing, Error> {
    let uid = getresuid().map_err(|errno| Error::fault("read the user ids", errno.desc()))?;
    let gid = getresgid().map_err(|errno| Error::fault("read the group ids", errno.desc()))?;
    let (is_root, is_effectively_root) = (uid.real.is_root(), uid.effective.is_root());
    if is_effectively_root && !is_root {
        return Ok(Standing::Setuid);
    }
    let bit = setuid_bit()?;
    let is_changed = uid.real != uid.effective || gid.real != gid.effective;
    match (is_root && is_effectively_root, bit) {
        // In a user namespace its maker is root, but the machine's files are not theirs.
        (true, SetuidBit::None | SetuidBit::OfRoot) => Ok(Standing::Root),
        (false, SetuidBit::None) if !is_changed => Ok(Standing::Own),
        _ => Err(Error::Fault(
            "the program has the setuid bit, but its effective user id is not root's: \
             no_new_privs, a tracer or a user namespace takes its rights away"
                .to_owned(),
        )),
    }
}

/// The setuid bit of this program's file.
enum SetuidBit {
    /// It is not set.
    None,
    /// It is set, and the file is root's.
    OfRoot,
    /// It is set, and the file is another user's.
    OfAnother,
}

fn setuid_bit() -> Result<SetuidBit, Error> {
    const SETUID: u32 = 0o4000;
    let status = std::fs::metadata("/proc/self/exe")
        .map_err(|error| Error::fault("look at the program's own file", system_words(&error)))?;
    Ok(match (status.mode() & SETUID != 0, status.uid()) {
        (false, _) => SetuidBit::None,
        (true, 0) => SetuidBit::OfRoot,
        (true, _) => SetuidBit::OfAnother,
    })
}

/// The user id of the user `name`, if there is one.
///
/// # Errors
/// [`Error::Fault`] if the lookup fails.
pub fn user_id(name: &str) -> Result<Option<u32>, Error> {
    Ok(find_user(name)?.map(|user| user.uid.as_raw()))
}

fn find_user(name: &str) -> Result<Option<User>, Error> {
    User::from_name(name)
        .map_err(|errno| Error::fault(&format!("look up the user '{name}'"), errno.desc()))
}

/// The privilege-separation user: the account that the child runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivsepUser {
    /// Its user id.
    pub uid: Uid,
    /// Its own group, the only one that the child keeps.
    pub gid: Gid,
    /// The warning for the log if this is not the account [`PRIVSEP_USER`].
    pub warning: Option<String>,
}

/// The name of the account that was made for this program
/// (`LOGIN_DUO_PRIVSEP_USER` at build time).
pub const PRIVSEP_USER: &str = match option_env!("LOGIN_DUO_PRIVSEP_USER") {
    Some(name) => name,
    None => "duo",
};

/// Looks up the privilege-separation user: [`PRIVSEP_USER`]; where there is none,
/// `sshd`; and where there is none either and the caller is root (a container, a
/// test), `nobody`. `None` for a user's own install, which has no privileges to
/// drop (docs/security.md, *Processes*).
///
/// # Errors
/// [`Error::Fault`] if a lookup fails, if there is no such account, or if the
/// account has root's user or group id.
pub fn privsep_user(standing: Standing) -> Result<Option<PrivsepUser>, Error> {
    let candidates: &[&str] = match standing {
        Standing::Own => return Ok(None),
        Standing::Root => &[PRIVSEP_USER, "sshd", "nobody"],
        Standing::Setuid => &[PRIVSEP_USER, "sshd"],
    };
    for name in candidates {
        let Some(user) = find_user(name)? else {
            continue;
        };
        if user.uid.is_root() || user.gid.as_raw() == 0 {
            return Err(Error::Fault(format!(
                "the user '{name}' has root's user or group id"
            )));
        }
        let warning = (*name != PRIVSEP_USER).then(|| {
            format!("there is no user '{PRIVSEP_USER}': running as '{name}' in its place")
        });
        return Ok(Some(PrivsepUser {
            uid: user.uid,
            gid: user.gid,
            warning,
        }));
    }
    Err(Error::Fault(format!(
        "there is no user '{PRIVSEP_USER}' to run as, nor 'sshd': create it"
    )))
}
