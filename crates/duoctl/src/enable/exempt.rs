//! Whether an account may be left out by `--exempt`: only if nothing but keys
//! with a command of their own lets it in. Whoever is not asked keeps what the
//! key allows, and a key that allows everything would need no second factor.

use std::fs;

use duo_system::privsep::Standing;

use crate::check::sshd::{Account, keys};
use crate::cli::Enable;
use crate::finding::Finding;

const ID: &str = "sshd.exempt";

/// What speaks against each account that shall be left out.
pub fn look(wanted: &Enable, accounts: &[Account], standing: Standing) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in &wanted.exempt {
        let account = accounts.iter().find(|account| account.user.name == *name);
        let why = match account {
            Some(account) => trouble(account, standing),
            None => Some("its login cannot be looked at from here".to_owned()),
        };
        findings.extend(why.map(|why| {
            let text = format!("'{name}' would get in without a second factor: {why}");
            Finding::fail(ID, text).mend("the PAM style (pam_duo) can ask such an account")
        }));
    }
    findings
}

fn trouble(account: &Account, standing: Standing) -> Option<String> {
    for file in keys::of(account, standing) {
        let path = file.path.display();
        if let Some(why) = &file.unread {
            return Some(format!("{path} cannot be read: {why}"));
        }
        if let Some(line) = file.plain.iter().chain(&file.authorities).next() {
            return Some(format!("{path}:{line} is a key without a command="));
        }
    }
    let sources = [
        "authorizedkeyscommand",
        "trustedusercakeys",
        "authorizedprincipalscommand",
    ];
    let is_set = |key: &&&str| !matches!(account.options.value(key), "" | "none");
    if let Some(source) = sources.iter().find(is_set) {
        return Some(format!("{source} may know keys of it"));
    }
    let ways = [
        "passwordauthentication",
        "kbdinteractiveauthentication",
        "gssapiauthentication",
        "hostbasedauthentication",
    ];
    let is_open = |key: &&&str| account.options.value(key) == "yes";
    let mut open = ways.iter().filter(is_open);
    match open.next() {
        // Whoever's password is locked is let in by neither of the first two.
        Some(way) if way.starts_with('g') || way.starts_with('h') => Some(format!("{way} yes")),
        Some(way) if !has_locked_password(&account.user.name) => {
            Some(format!("it takes a password ({way} yes)"))
        }
        _ => None,
    }
}

/// Whether no password opens this account.
pub fn has_locked_password(name: &str) -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let mut lines = shadow.lines().filter_map(|line| line.split_once(':'));
    let entry = lines.find(|(user, _)| *user == name);
    entry.is_some_and(|(_, rest)| rest.starts_with(['!', '*']))
}
