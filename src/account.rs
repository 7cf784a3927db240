//! Who is logging in: the account of the real uid, its groups, and where the
//! person comes from.
//!
//! Never `$USER` or `$LOGNAME`: the caller writes those. A lookup that fails is
//! an error, not an answer: "no groups" would open the gate.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::config::Gecos;
use crate::error::Error;
use crate::groups::{Directory, LookupError};

/// An entry of the passwd database.
#[derive(Debug, Clone)]
pub struct Account {
    /// The login name.
    pub name: String,
    gid: Gid,
    gecos: CString,
    /// The login shell, `/bin/sh` where the entry names none.
    pub shell: PathBuf,
}

impl Account {
    /// The account of the user id `uid`: the real one of whoever called us, as
    /// it was before any drop of privileges.
    ///
    /// # Errors
    /// [`Error::Fault`] if there is none, or it cannot be looked up.
    pub fn of(uid: u32) -> Result<Account, Error> {
        let uid = Uid::from_raw(uid);
        let user = User::from_uid(uid)
            .map_err(|errno| Error::fault(&format!("look up the user id {uid}"), errno.desc()))?
            .ok_or_else(|| Error::Fault(format!("the user id {uid} has no account")))?;
        let shell = match user.shell.as_os_str().is_empty() {
            true => Path::new("/bin/sh").to_owned(),
            false => user.shell,
        };
        Ok(Account {
            name: user.name,
            gid: user.gid,
            gecos: user.gecos,
            shell,
        })
    }

    /// The name that Duo is asked about, and what the log should say of it.
    pub fn duo_name(&self, given: Option<&str>, gecos: &Gecos) -> (String, Option<String>) {
        if let Some(name) = given {
            return (name.to_owned(), None);
        }
        let field = self.gecos.to_bytes();
        let part = match gecos {
            Gecos::No => return (self.name.clone(), None),
            Gecos::Whole => Some(field),
            Gecos::Part {
                delimiter,
                position,
            } => field
                .split(|byte| byte == delimiter)
                .nth(position.saturating_sub(1)),
        };
        match part.filter(|part| !part.is_empty()) {
            Some(part) => (String::from_utf8_lossy(part).into_owned(), None),
            None => {
                let why = "the GECOS field has no such part: using the login name".to_owned();
                (self.name.clone(), Some(why))
            }
        }
    }
}

/// The client's address, if it is one that Duo takes.
pub fn client_address(client: Option<&str>) -> Option<IpAddr> {
    client.and_then(|client| client.parse().ok())
}

impl Directory for Account {
    /// The names of the primary group and all supplementary ones.
    fn group_names(&self) -> Result<Vec<Vec<u8>>, LookupError> {
        let failed = |errno: Errno| lookup_failed("the user's groups", errno.desc());
        let name = CString::new(self.name.as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
        if self.name.contains(UNREADABLE) {
            return Err(lookup_failed(
                "the user's groups",
                "the login name is not UTF-8",
            ));
        }
        let mut names = Vec::new();
        for gid in getgrouplist(&name, self.gid).map_err(failed)? {
            let group = Group::from_gid(gid).map_err(failed)?;
            match group
                .map(|group| group.name)
                .filter(|name| !name.contains(UNREADABLE))
            {
                Some(name) => names.push(name.into_bytes()),
                None => return Err(LookupError::Nameless { gid: gid.as_raw() }),
            }
        }
        Ok(names)
    }

    fn group_exists(&self, name: &[u8]) -> Result<bool, LookupError> {
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(false);
        };
        match Group::from_name(name) {
            Ok(group) => Ok(group.is_some()),
            Err(errno) => Err(lookup_failed(&format!("group '{name}'"), errno.desc())),
        }
    }
}

/// nix hands names out as UTF-8, with this letter for what is not. A lookup by
/// such a name would find too few groups, and a pattern would miss it.
const UNREADABLE: char = char::REPLACEMENT_CHARACTER;

fn lookup_failed(what: &str, cause: &str) -> LookupError {
    LookupError::Failed {
        what: what.to_owned(),
        cause: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(gecos: &str) -> Account {
        Account {
            name: "alice".into(),
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
    fn only_address_literals_are_client_addresses() {
        assert!(client_address(Some("192.0.2.7")).is_some());
        assert!(client_address(Some("2001:db8::7")).is_some());
        for text in ["", "host.example", "192.0.2.7 ", "::1%eth0", "UNKNOWN"] {
            assert!(client_address(Some(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn the_callers_account_is_found_by_its_uid() {
        let account = Account::of(nix::unistd::getuid().as_raw()).unwrap();
        assert!(!account.name.is_empty());
        assert!(account.group_names().is_ok_and(|names| !names.is_empty()));
        assert!(
            account
                .group_exists(b"no such group, surely")
                .is_ok_and(|found| !found)
        );
    }
}
