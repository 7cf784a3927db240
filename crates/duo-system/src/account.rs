//! Who logs in: the account of the real user id, its groups, and the name that Duo
//! knows.
//!
//! `$USER` and `$LOGNAME` are never read, since the caller sets them. A lookup that
//! fails is an error and not an empty answer: a user without groups would pass the
//! gate.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use duo_policy::config::Gecos;
use duo_policy::error::Error;
use duo_policy::groups::{Directory, LookupError, Membership};
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::{nsswitch, system_words};

/// An entry of the passwd database.
#[derive(Debug, Clone)]
pub struct Account {
    /// The login name.
    pub name: String,
    uid: Uid,
    gid: Gid,
    gecos: CString,
    /// The login shell, `/bin/sh` where the entry names none.
    pub shell: PathBuf,
}

impl Account {
    /// The account of the user id `uid`, which is the caller's real one before any
    /// privilege was dropped.
    ///
    /// # Errors
    /// [`Error::Fault`] if there is no such account, or it cannot be looked up.
    pub fn of(uid: u32) -> Result<Account, Error> {
        let uid = Uid::from_raw(uid);
        let user = User::from_uid(uid)
            .map_err(|errno| Error::fault(&format!("look up the user id {uid}"), errno.desc()))?
            .ok_or_else(|| Error::Fault(format!("the user id {uid} has no account")))?;
        Ok(Account::from_entry(user))
    }

    /// The account of this name, as the host of a PAM module gave it; `None` if there
    /// is none.
    ///
    /// # Errors
    /// [`Error::Fault`] if the account cannot be looked up.
    pub fn named(name: &str) -> Result<Option<Account>, Error> {
        let user = User::from_name(name)
            .map_err(|errno| Error::fault(&format!("look up the user '{name}'"), errno.desc()))?;
        Ok(user.map(Account::from_entry))
    }

    fn from_entry(user: User) -> Account {
        let shell = match user.shell.as_os_str().is_empty() {
            true => Path::new("/bin/sh").to_owned(),
            false => user.shell,
        };
        Account {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            gecos: user.gecos,
            shell,
        }
    }

    /// Whether it has this user id.
    pub fn has_uid(&self, uid: u32) -> bool {
        self.uid.as_raw() == uid
    }

    /// Whether it is root's, under whatever name.
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// The name that Duo is asked about: `given`, the part of the GECOS field, or the
    /// login name (docs/behaviour.md, *Who logs in, and from where*). Also the
    /// warning for the log if the GECOS field has no such part.
    pub fn duo_name(&self, given: Option<&str>, gecos: &Gecos) -> (String, Option<String>) {
        if let Some(name) = given {
            return (name.to_owned(), None);
        }
        if *gecos == Gecos::No {
            return (self.name.clone(), None);
        }
        match gecos_part(self.gecos.to_bytes(), gecos) {
            Some(part) => (String::from_utf8_lossy(part).into_owned(), None),
            None => {
                let why = "the GECOS field has no such part: using the login name".to_owned();
                (self.name.clone(), Some(why))
            }
        }
    }
}

/// The part of a GECOS field that is the Duo name, unless it is missing or empty.
pub fn gecos_part<'a>(field: &'a [u8], gecos: &Gecos) -> Option<&'a [u8]> {
    let part = match gecos {
        Gecos::No => None,
        Gecos::Whole => Some(field),
        Gecos::Part {
            delimiter,
            position,
        } => field
            .split(|byte| byte == delimiter)
            .nth(position.saturating_sub(1)),
    };
    part.filter(|part| !part.is_empty())
}

impl Account {
    /// The ids of the primary group and of all supplementary groups, in order.
    ///
    /// # Errors
    /// [`Error::Fault`] if they cannot be looked up.
    pub fn group_ids(&self) -> Result<Vec<u32>, Error> {
        let failed = |errno: Errno| Error::fault("look up the user's groups", errno.desc());
        let name = CString::new(self.name.as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
        let groups = getgrouplist(&name, self.gid).map_err(failed)?;
        let mut ids: Vec<u32> = groups.into_iter().map(Gid::as_raw).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The user id.
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }
}

impl Directory for Account {
    /// The names of the primary group and of all supplementary groups.
    fn group_names(&self) -> Result<Vec<Vec<u8>>, LookupError> {
        let failed = |errno| lookup_failed("the user's groups", errno);
        if self.name.contains(UNREADABLE) {
            return Err(LookupError::Failed {
                what: "the user's groups".to_owned(),
                cause: "the login name is not UTF-8".to_owned(),
            });
        }
        let name = CString::new(self.name.as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
        let gids = getgrouplist(&name, self.gid).map_err(failed)?;
        gids.into_iter().map(group_name).collect()
    }

    fn membership(&self, name: &[u8]) -> Result<Membership, LookupError> {
        // `group_name` refuses a group whose name is not UTF-8.
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(Membership::NoSuchGroup);
        };
        match Group::from_name(name) {
            Ok(None) => Ok(Membership::NoSuchGroup),
            Ok(Some(group)) if group.mem.contains(&self.name) => Ok(Membership::Listed),
            Ok(Some(_)) => Ok(Membership::Unlisted),
            Err(errno) => Err(lookup_failed(&format!("group '{name}'"), errno)),
        }
    }

    fn hides_failures(&self) -> bool {
        nsswitch::hides_failures()
    }
}

fn group_name(gid: Gid) -> Result<Vec<u8>, LookupError> {
    let what = || format!("the name of group id {gid}");
    match Group::from_gid(gid) {
        Ok(None) => Err(LookupError::Nameless { gid: gid.as_raw() }),
        Ok(Some(group)) if group.name.contains(UNREADABLE) => Err(LookupError::Failed {
            what: what(),
            cause: "it is not UTF-8".to_owned(),
        }),
        Ok(Some(group)) => Ok(group.name.into_bytes()),
        Err(errno) => Err(lookup_failed(&what(), errno)),
    }
}

/// The character that nix puts in a name for bytes that are not UTF-8. A lookup by
/// such a name would find too few groups, and no pattern would match it.
const UNREADABLE: char = char::REPLACEMENT_CHARACTER;

fn lookup_failed(what: &str, errno: Errno) -> LookupError {
    LookupError::Failed {
        what: what.to_owned(),
        cause: system_words(&errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(gecos: &str) -> Account {
        Account {
            name: "alice".into(),
            uid: Uid::from_raw(1_000),
            gid: Gid::from_raw(100),
            gecos: CString::new(gecos).unwrap(),
            shell: PathBuf::from("/bin/sh"),
        }
    }

    #[test]
    fn the_duo_name_comes_from_the_option_then_gecos_then_the_login_name() {
        let alice = account("Alice,room 1,,alice@example.com");
        let part = |position| Gecos::Part {
            delimiter: b',',
            position,
        };
        assert_eq!(alice.duo_name(Some("bob"), &part(4)).0, "bob");
        assert_eq!(
            alice.duo_name(None, &part(4)),
            ("alice@example.com".into(), None)
        );
        assert_eq!(
            alice.duo_name(None, &Gecos::Whole).0,
            "Alice,room 1,,alice@example.com"
        );
        assert_eq!(alice.duo_name(None, &Gecos::No), ("alice".into(), None));
    }

    #[test]
    fn a_missing_or_empty_gecos_part_falls_back_and_says_so() {
        for (gecos, position) in [("a,,c", 2), ("a", 2), ("", 1)] {
            let (name, note) = account(gecos).duo_name(
                None,
                &Gecos::Part {
                    delimiter: b',',
                    position,
                },
            );
            assert_eq!(name, "alice");
            assert!(note.is_some_and(|note| note.contains("GECOS")));
        }
    }

    #[test]
    fn the_callers_account_is_found_by_its_uid() {
        let account = Account::of(nix::unistd::getuid().as_raw()).unwrap();
        assert!(!account.name.is_empty());
        assert!(account.group_names().is_ok_and(|names| !names.is_empty()));
        assert_eq!(
            account.membership(b"no such group, surely"),
            Ok(Membership::NoSuchGroup)
        );
    }
}
