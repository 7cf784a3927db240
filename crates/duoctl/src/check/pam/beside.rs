//! What leads to root beside a service that asks Duo, and services in which the module
//! cannot work.

use std::fs;
use std::path::{Path, PathBuf};

use super::Asking;
use crate::finding::Finding;
use crate::pam::proof::is_duo;
use crate::pam::services::Services;

/// Services whose programs run with the rights of their user: the module cannot
/// work there, and denies.
const LOCKERS: [&str; 9] = [
    "i3lock",
    "swaylock",
    "xscreensaver",
    "kscreensaver",
    "kde",
    "xlock",
    "vlock",
    "light-locker",
    "hyprlock",
];

/// Files of sudo that are read, includes and all.
const MOST_FILES: usize = 64;

/// The findings.
pub fn findings(asking: &[Asking]) -> Vec<Finding> {
    let asks = |name: &str| asking.iter().any(|it| it.service == name);
    let mut findings = Vec::new();
    if asks("sudo") {
        findings.extend(without_authentication());
    }
    if asks("sudo") || asks("su") {
        findings.extend(others(&asks));
    }
    for one in asking
        .iter()
        .filter(|it| LOCKERS.contains(&it.service.as_str()))
    {
        let text = format!(
            "{}: a locker runs as its user, and cannot ask Duo: it stays locked ({})",
            one.service,
            one.place()
        );
        findings.push(Finding::fail("pam.locker", text).mend("take that line out"));
    }
    findings
}

/// Other programs that make somebody root by a first factor alone.
fn others(asks: &impl Fn(&str) -> bool) -> Vec<Finding> {
    let services = Services::of_this_machine();
    let programs = [
        ("sudo", "/usr/bin/sudo", "duoctl enable pam sudo"),
        ("su", "/usr/bin/su", "duoctl enable pam su"),
        (
            "polkit-1",
            "/usr/bin/pkexec",
            "a rule of polkit that denies, or no pkexec",
        ),
        (
            "systemd-run0",
            "/usr/bin/run0",
            "a rule of polkit that denies",
        ),
        (
            "doas",
            "/usr/bin/doas",
            "the line of pam_duo.so in /etc/pam.d/doas",
        ),
    ];
    let mut findings = Vec::new();
    for (service, program, mend) in programs {
        let steps = services.steps(service);
        let is_asked = asks(service) || steps.is_some_and(|steps| steps.iter().any(is_duo));
        if Path::new(program).is_file() && !is_asked {
            let text = format!("{program} leads to root too, and does not ask Duo");
            findings.push(Finding::warn("pam.beside", text).mend(mend));
        }
    }
    findings
}

/// Rules of sudo under which it asks for no password: then it runs no stack of
/// PAM, and so nobody asks Duo.
fn without_authentication() -> Vec<Finding> {
    const ID: &str = "pam.nopasswd";
    let mut files = vec![PathBuf::from("/etc/sudoers")];
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(path) = files.get(at).cloned().filter(|_| at < MOST_FILES) {
        let bytes = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for (index, line) in text.lines().enumerate() {
            files.extend(included(line));
            if asks_nothing(line) {
                places.push(format!("{}:{}", path.display(), index + 1));
            }
        }
        at += 1;
    }
    match places.is_empty() {
        true => vec![Finding::ok(ID, "no rule of sudo leaves authentication out")],
        false => {
            let text = format!(
                "sudo goes past its stack, and so past Duo, by {}",
                places.join(", ")
            );
            vec![
                Finding::warn(ID, text)
                    .mend("take NOPASSWD, or what else does it, out of these lines"),
            ]
        }
    }
}

/// `#include` and `#includedir` are no comments, to sudo.
fn included(line: &str) -> Vec<PathBuf> {
    let mut words = line.split_whitespace();
    let (Some(word), Some(name)) = (words.next(), words.next()) else {
        return Vec::new();
    };
    let path = Path::new("/etc").join(name.trim_matches('"'));
    match word {
        "@include" | "#include" => vec![path],
        "@includedir" | "#includedir" => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            // As sudo does it.
            let counts = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                !name.contains('.') && !name.ends_with('~')
            };
            files.retain(counts);
            files.sort();
            files
        }
        _ => Vec::new(),
    }
}

fn asks_nothing(line: &str) -> bool {
    let said = line.split('#').next().unwrap_or_default();
    let is_defaults = said.trim_start().starts_with("Defaults");
    let bare = said.replace(' ', "");
    // Nothing is asked; another stack is; a group is asked for nothing.
    let ways = [
        "!authenticate",
        "pam_service=",
        "pam_login_service=",
        "exempt_group=",
    ];
    said.contains("NOPASSWD") || (is_defaults && ways.iter().any(|way| bare.contains(way)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_without_a_password_are_seen() {
        for line in [
            "%sudo ALL=(ALL) NOPASSWD: ALL",
            "Defaults:bob !authenticate",
            "Defaults ! authenticate",
            "Defaults exempt_group = admins",
        ] {
            assert!(asks_nothing(line), "{line}");
        }
        for line in [
            "# %sudo ALL=NOPASSWD: ALL",
            "%sudo ALL=(ALL) ALL",
            "Defaults env_reset",
            "",
        ] {
            assert!(!asks_nothing(line), "{line}");
        }
        assert_eq!(
            included("@include sudoers.local"),
            [Path::new("/etc/sudoers.local")]
        );
        assert!(included("# includedir is told of here").is_empty());
    }
}
