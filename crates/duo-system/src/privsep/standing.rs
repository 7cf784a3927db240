//! Who we are, and whom we may become: looked up before anything is dropped.

use std::os::unix::fs::MetadataExt;

use duo_policy::error::Error;
use nix::unistd::{Gid, Uid, User, getresgid, getresuid};

use crate::system_words;

/// How the program is installed, and by whom it was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Setuid root, called by somebody else, who must not choose anything.
    Setuid,
    /// Called by root, who may choose everything.
    Root,
    /// A user's own install: no privileges to give up, and theirs to configure.
    Own,
}

/// Whose session this will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The real user id at the start.
    pub uid: Uid,
    /// The real group id at the start.
    pub gid: Gid,
}

impl Caller {
    /// Whoever called this process.
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
/// [`Error::Fault`] if the program has a setuid bit that does not count: it is
/// set to somebody who is not root, or the kernel ignores it (no_new_privs, a
/// tracer, a user namespace). A caller could bring that about, and would then
/// choose the configuration.
pub fn standing() -> Result<Standing, Error> {
    let uid = getresuid().map_err(|errno| Error::fault("read the user ids", errno.desc()))?;
    let gid = getresgid().map_err(|errno| Error::fault("read the group ids", errno.desc()))?;
    match (uid.real.is_root(), uid.effective.is_root()) {
        (true, true) => return Ok(Standing::Root),
        (false, true) => return Ok(Standing::Setuid),
        _ => {}
    }
    if has_setuid_bit()? || uid.real != uid.effective || gid.real != gid.effective {
        return Err(Error::Fault(
            "the program has the setuid bit, but its effective user id is not root's: \
             no_new_privs, a tracer or a user namespace takes its rights away"
                .to_owned(),
        ));
    }
    Ok(Standing::Own)
}

/// Whether this program's file has the setuid bit.
fn has_setuid_bit() -> Result<bool, Error> {
    const SETUID: u32 = 0o4000;
    let status = std::fs::metadata("/proc/self/exe")
        .map_err(|error| Error::fault("look at the program's own file", system_words(&error)))?;
    Ok(status.mode() & SETUID != 0)
}

/// The id of the user `name`, if there is one.
///
/// # Errors
/// [`Error::Fault`] if it cannot be looked up.
pub fn user_id(name: &str) -> Result<Option<u32>, Error> {
    let user = User::from_name(name)
        .map_err(|errno| Error::fault(&format!("look up the user '{name}'"), errno.desc()))?;
    Ok(user.map(|user| user.uid.as_raw()))
}

/// The account that the child runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivsepUser {
    /// Its user id.
    pub uid: Uid,
    /// Its own group, the only one that the child keeps.
    pub gid: Gid,
    /// What the log should say about the choice, if it is not the best one.
    pub warning: Option<String>,
}

/// The account made for this program.
pub const PRIVSEP_USER: &str = match option_env!("LOGIN_DUO_PRIVSEP_USER") {
    Some(name) => name,
    None => "duo",
};

/// Looks up the account to drop to: [`PRIVSEP_USER`]; where there is none,
/// `sshd`; and, for real root alone (a container, a test), `nobody`. A user's
/// own install has nobody to drop to.
///
/// # Errors
/// [`Error::Fault`] if there is none, or it is root itself.
pub fn privsep_user(standing: Standing) -> Result<Option<PrivsepUser>, Error> {
    let candidates: &[&str] = match standing {
        Standing::Own => return Ok(None),
        Standing::Root => &[PRIVSEP_USER, "sshd", "nobody"],
        Standing::Setuid => &[PRIVSEP_USER, "sshd"],
    };
    for name in candidates {
        let found = User::from_name(name)
            .map_err(|errno| Error::fault(&format!("look up the user '{name}'"), errno.desc()))?;
        let Some(user) = found else { continue };
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
