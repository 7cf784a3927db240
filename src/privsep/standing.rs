//! Who we are, and whom we may become: looked up before anything is dropped.
#![forbid(unsafe_code)]

use nix::unistd::{Gid, Uid, User, getresgid, getresuid};

use crate::error::Error;

/// How this process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Setuid root, called by someone else.
    Setuid,
    /// Called by root.
    Root,
    /// A user's own install: no privileges to give up.
    Plain,
}

/// Finds out how this process was started.
///
/// # Errors
/// [`Error::Fault`] if it is setuid to someone who is not root, or setgid.
pub fn standing() -> Result<Standing, Error> {
    let uid = getresuid().map_err(|errno| Error::fault("read the user ids", errno.desc()))?;
    let gid = getresgid().map_err(|errno| Error::fault("read the group ids", errno.desc()))?;
    match (uid.real.is_root(), uid.effective.is_root()) {
        (true, true) => Ok(Standing::Root),
        (false, true) => Ok(Standing::Setuid),
        _ if uid.real == uid.effective && gid.real == gid.effective => Ok(Standing::Plain),
        _ => Err(Error::Fault(
            "login_duo is set-id, but not to root: chown root:root it and chmod 4755 it".to_owned(),
        )),
    }
}

/// The real user id.
pub fn caller_id() -> u32 {
    nix::unistd::getuid().as_raw()
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
/// `sshd`; and, for real root alone (a container, a test), `nobody`.
///
/// # Errors
/// [`Error::Fault`] if there is none, or it is root itself.
pub fn privsep_user(standing: Standing) -> Result<PrivsepUser, Error> {
    let candidates: &[&str] = match standing {
        Standing::Root => &[PRIVSEP_USER, "sshd", "nobody"],
        Standing::Setuid | Standing::Plain => &[PRIVSEP_USER, "sshd"],
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
        return Ok(PrivsepUser {
            uid: user.uid,
            gid: user.gid,
            warning,
        });
    }
    Err(Error::Fault(format!(
        "there is no user '{PRIVSEP_USER}' to run as, nor 'sshd': create it"
    )))
}
