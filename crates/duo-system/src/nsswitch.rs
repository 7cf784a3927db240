//! What /etc/nsswitch.conf says: which services are asked, and whether it hides that a
//! directory is down.
//!
//! glibc asks the services of a line of that file one after the other and reports
//! what the last one answered. With `group: files sss systemd`, it reports "no such
//! group" by systemd even if sss cannot be reached (docs/behaviour.md, *Groups*).

use std::io::ErrorKind;

use crate::privsep;

/// The services that need neither the network nor a daemon of a directory, so that
/// they are never down.
const LOCAL_SERVICES: [&str; 9] = [
    "files",
    "compat",
    "db",
    "systemd",
    "extrausers",
    "altfiles",
    "usrfiles",
    "cache",
    "mymachines",
];

/// Services whose modules come with the system, in folders that the sandbox lets be read:
/// the C library's own, and systemd's.
const WITH_THE_SYSTEM: [&str; 8] = [
    "files",
    "compat",
    "db",
    "dns",
    "systemd",
    "myhostname",
    "mymachines",
    "resolve",
];

/// What a login looks up; and where the service `compat` looks on.
const DATABASES: [&str; 6] = [
    "passwd:",
    "group:",
    "initgroups:",
    "hosts:",
    "passwd_compat:",
    "group_compat:",
];

/// Loads the modules of all services that a login may ask, before the sandbox: they may
/// be anywhere, and so may the libraries that they need. A module that cannot be loaded
/// is one that is not there, by the rules of the C library, and who is in a group that
/// only this module knows would pass as if there were no such group.
pub(crate) fn load_modules() {
    let text = std::fs::read("/etc/nsswitch.conf").unwrap_or_default();
    for service in services(&String::from_utf8_lossy(&text)) {
        if !WITH_THE_SYSTEM.contains(&service) {
            privsep::load_library(&format!("libnss_{service}.so.2"));
        }
    }
}

/// The services of what a login looks up. One may come more than once.
fn services(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.split('#').next())
        .filter_map(|line| {
            let line = line.trim_start();
            DATABASES.iter().find_map(|name| line.strip_prefix(name))
        })
        // In brackets is what happens after an answer.
        .flat_map(|services| services.split(']'))
        .filter_map(|part| part.split('[').next())
        .flat_map(str::split_whitespace)
}

/// Whether "no such group" may mean that a directory is down.
pub fn hides_failures() -> bool {
    match std::fs::read("/etc/nsswitch.conf") {
        Ok(text) => hides(&String::from_utf8_lossy(&text)),
        // Without nsswitch.conf, glibc asks the service `files` alone.
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

fn hides(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.split('#').next()?.trim_start().strip_prefix("group:"))
        .any(line_hides)
}

/// Whether a line hides it. `services` is what follows `group:`.
fn line_hides(services: &str) -> bool {
    let mut rest = services.trim();
    let mut directory_before = false;
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('[') {
            Some(actions) => actions.split_once(']').unwrap_or((actions, "")),
            None => rest.split_at(rest.find([' ', '\t', '[']).unwrap_or(rest.len())),
        };
        if rest.starts_with('[') {
            directory_before &= !ends_the_search(word);
        } else if directory_before {
            return true;
        } else {
            directory_before = !LOCAL_SERVICES.contains(&word);
        }
        rest = after.trim_start();
    }
    false
}

/// Whether these actions, which follow a service, end the search where that
/// service is down, so that glibc reports its failure.
fn ends_the_search(actions: &str) -> bool {
    let actions = actions.to_ascii_lowercase();
    ["unavail=return", "tryagain=return"].iter().all(|failure| {
        let mut words = actions.split_whitespace();
        words.any(|word| word == *failure || word == "!success=return")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_of_a_login_are_found() {
        let text = "passwd: files sss[NOTFOUND=return]ldap # vas\n#group: nis\n  group:\tfiles\n\
                    hosts: files mdns4_minimal [NOTFOUND=return UNAVAIL=continue] dns\n\
                    shadow: nisplus\ninitgroups: lsass [unclosed";
        let found: Vec<&str> = services(text).collect();
        assert_eq!(
            found,
            [
                "files",
                "sss",
                "ldap",
                "files",
                "files",
                "mdns4_minimal",
                "dns",
                "lsass"
            ]
        );
    }

    #[test]
    fn a_service_after_a_directory_hides_that_the_directory_is_down() {
        let table = [
            ("", false),
            ("passwd: sss files", false),
            ("group: files", false),
            ("group: files systemd", false),
            ("group: files systemd sss", false),
            ("group:\tfiles sss\t# systemd", false),
            ("group: files sss systemd", true),
            ("group: sss files", true),
            ("  group:files ldap nis", true),
            (
                "group: files [SUCCESS=merge] sss [SUCCESS=merge] systemd",
                true,
            ),
            ("group: files sss[UNAVAIL=return]systemd", true),
            (
                "group: files sss [UNAVAIL=return TRYAGAIN=return] systemd",
                false,
            ),
            ("group: files sss [!SUCCESS=return] systemd", false),
            (
                "group: sss [unavail=return tryagain=return] ldap files",
                true,
            ),
            (
                "group: files [UNAVAIL=return TRYAGAIN=return] sss systemd",
                true,
            ),
            ("group: files sss [UNAVAIL=return", false),
            ("# group: sss files", false),
            ("group: files\ngroup: sss files", true),
        ];
        for (text, expected) in table {
            assert_eq!(hides(text), expected, "{text:?}");
        }
    }
}
