//! The accounts and groups of /etc/passwd and /etc/group. No directory service is asked, so root may
//! read these too.

use std::fs;

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUser {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group's id.
    pub gid: u32,
    /// The home folder.
    pub home: String,
    /// The shell's path, perhaps empty.
    pub shell: String,
}

/// A line of /etc/group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalGroup {
    /// The group's name.
    pub name: String,
    /// The group's id.
    pub gid: u32,
    /// The login names in the line, without users whose primary group this is.
    pub members: Vec<String>,
}

/// The content of both files. A file that cannot be read counts as empty.
#[derive(Debug, Default)]
pub struct Local {
    /// The lines of /etc/passwd.
    pub users: Vec<LocalUser>,
    /// The lines of /etc/group.
    pub groups: Vec<LocalGroup>,
}

/// The file names of shells that let nobody log in.
const NO_LOGIN_SHELLS: [&str; 6] = ["nologin", "false", "true", "sync", "shutdown", "halt"];

/// Whether a user with this shell can log in.
pub fn is_login_shell(shell: &str) -> bool {
    let last = shell.rsplit('/').next().unwrap_or_default();
    !NO_LOGIN_SHELLS.contains(&last)
}

impl Local {
    /// Reads both files.
    pub fn read() -> Local {
        let text = |path| fs::read(path).unwrap_or_default();
        Local::of(
            &String::from_utf8_lossy(&text("/etc/passwd")),
            &String::from_utf8_lossy(&text("/etc/group")),
        )
    }

    pub(super) fn of(passwd: &str, group: &str) -> Local {
        Local {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(local_group).collect(),
        }
    }

    /// The accounts that can log in.
    pub fn logins(&self) -> impl Iterator<Item = &LocalUser> {
        self.users.iter().filter(|user| is_login_shell(&user.shell))
    }

    /// The members of the group `name` who can log in.
    pub fn logins_of(&self, name: &str) -> Vec<&LocalUser> {
        let group = self.groups.iter().find(|group| group.name == name);
        let is_member = |user: &&LocalUser| {
            group.is_some_and(|group| group.gid == user.gid || group.members.contains(&user.name))
        };
        self.logins().filter(is_member).collect()
    }

    /// A member of the group `name`, if these files have one.
    pub fn member_of(&self, name: &str) -> Option<&str> {
        let group = self.groups.iter().find(|group| group.name == name)?;
        let primary = || {
            let user = self.users.iter().find(|user| user.gid == group.gid)?;
            Some(user.name.as_str())
        };
        group.members.first().map(String::as_str).or_else(primary)
    }
}

fn user(line: &str) -> Option<LocalUser> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    Some(LocalUser {
        name: name.to_owned(),
        uid: fields.nth(1)?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
        home: fields.nth(1)?.to_owned(),
        shell: fields.next()?.to_owned(),
    })
}

fn local_group(line: &str) -> Option<LocalGroup> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',');
    Some(LocalGroup {
        name: name.to_owned(),
        gid,
        members: members
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// Services of nsswitch.conf that list this machine's own accounts.
const OWN_SERVICES: [&str; 7] = [
    "files",
    "compat",
    "db",
    "systemd",
    "extrausers",
    "altfiles",
    "usrfiles",
];

/// Whether accounts may come from somewhere else than this machine's files.
pub fn has_directory() -> bool {
    let text = fs::read("/etc/nsswitch.conf").unwrap_or_default();
    asks_a_directory(&String::from_utf8_lossy(&text))
}

fn asks_a_directory(nsswitch: &str) -> bool {
    let lines = nsswitch.lines().filter_map(|line| {
        let line = line.split('#').next()?;
        line.trim_start().strip_prefix("passwd:")
    });
    let mut services = lines.flat_map(str::split_whitespace);
    services.any(|word| !OWN_SERVICES.contains(&word) && !word.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_service_is_seen() {
        assert!(!asks_a_directory(
            "passwd: files systemd # sss\ngroup: files sss\n"
        ));
        assert!(!asks_a_directory("passwd: files [NOTFOUND=return]\n"));
        assert!(asks_a_directory("passwd: files sss\n"));
        assert!(asks_a_directory(" passwd:\tldap files\n"));
    }

    #[test]
    fn the_two_files_are_read_line_by_line() {
        let local = Local::of(
            "root:x:0:0:root:/root:/bin/bash\nbad line\nd:x:2:7:::/usr/sbin/nologin\ne:x:3:9:::\n",
            "root:x:0:\nstaff:x:50:alice,bob\nd:x:7:\nempty:x:8:\n+\n",
        );
        let logins: Vec<_> = local.logins().map(|user| user.name.as_str()).collect();
        assert_eq!(logins, ["root", "e"]);
        assert_eq!(local.groups.len(), 4);
        assert_eq!(local.member_of("staff"), Some("alice"));
        assert_eq!(local.member_of("d"), Some("d"));
        assert_eq!(local.member_of("empty"), None);
        assert_eq!(local.member_of("none"), None);
    }
}
