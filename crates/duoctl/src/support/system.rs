//! What a report says of the system and of sshd: numbers, and words that are compared with those in
//! this program's code.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::utsname::uname;

use super::fact::{Fact, Facts, Version, known};
use crate::check::sshd::run::{self, SshdOptions};
use crate::check::sshd::{Forced, forced};

const DISTRIBUTIONS: [&str; 18] = [
    "almalinux",
    "alpine",
    "amzn",
    "arch",
    "centos",
    "debian",
    "fedora",
    "gentoo",
    "linuxmint",
    "nixos",
    "ol",
    "opensuse-leap",
    "opensuse-tumbleweed",
    "raspbian",
    "rhel",
    "rocky",
    "sles",
    "ubuntu",
];

/// The keywords of sshd that matter here.
const KEYWORDS: [&str; 15] = [
    "allowstreamlocalforwarding",
    "allowtcpforwarding",
    "authenticationmethods",
    "disableforwarding",
    "kbdinteractiveauthentication",
    "logingracetime",
    "passwordauthentication",
    "permitrootlogin",
    "permittty",
    "permittunnel",
    "permituserenvironment",
    "permituserrc",
    "pubkeyauthentication",
    "usepam",
    "x11forwarding",
];

/// The values that they can have, but for numbers.
const VALUES: [&str; 15] = [
    "all",
    "any",
    "ethernet",
    "forced-commands-only",
    "keyboard-interactive",
    "keyboard-interactive:pam",
    "local",
    "no",
    "none",
    "password",
    "point-to-point",
    "prohibit-password",
    "publickey",
    "remote",
    "yes",
];

/// For sshd to say its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// The system.
pub fn facts() -> Facts {
    let mut facts = Facts::default();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    facts.add_some(
        "distribution",
        value("ID=").map(|id| known(&id, &DISTRIBUTIONS)),
    );
    let version = value("VERSION_ID=");
    facts.add_some(
        "release",
        version.and_then(|text| Version::at_start_of(&text)),
    );
    let kernel = uname()
        .ok()
        .map(|names| names.release().to_string_lossy().into_owned());
    facts.add_some(
        "kernel",
        kernel.and_then(|text| Version::at_start_of(&text)),
    );
    facts.add("architecture", std::env::consts::ARCH);
    facts.add("static", cfg!(target_env = "musl"));
    facts.add("systemd", Path::new("/run/systemd/system").is_dir());
    let switch = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        Some(known(text.trim(), &["0", "1"]))
    };
    facts.add_some("selinux_enforces", switch("/sys/fs/selinux/enforce"));
    facts.add_some("fips", switch("/proc/sys/crypto/fips_enabled"));
    facts
}

/// sshd: its version, and what would apply to some logins.
pub fn sshd(cases: &[(&'static str, SshdOptions)], program: &Path) -> Facts {
    let mut facts = Facts::default();
    let Some(sshd) = run::find() else {
        facts.add("program", "none");
        return facts;
    };
    let asked = run::run(Command::new(sshd).arg("-V"), Instant::now() + PATIENCE);
    if let Ok((_, output, errors)) = asked {
        let told = output + &errors;
        let version = told.split_once("OpenSSH_");
        facts.add_some(
            "openssh",
            version.and_then(|(_, text)| Version::at_start_of(text)),
        );
    }
    for (name, settings) in cases {
        facts.add(name, applies(settings, program));
    }
    facts
}

fn applies(settings: &SshdOptions, program: &Path) -> Facts {
    let mut facts = Facts::default();
    facts.add(
        "forcecommand",
        match forced(settings, program) {
            Forced::LoginDuo => "login_duo",
            Forced::Other(_) => "another program",
            Forced::Nothing => "none",
        },
    );
    for key in KEYWORDS {
        let value = settings.value(key);
        if !value.is_empty() {
            facts.add(key, values(value));
        }
    }
    let has = |key: &str| !matches!(settings.value(key), "" | "none");
    facts.add("chrootdirectory_is_set", has("chrootdirectory"));
    facts.add("authorizedkeyscommand_is_set", has("authorizedkeyscommand"));
    facts
}

/// The words of a value that are known, and numbers of at most four digits.
fn values(value: &str) -> Fact {
    let words = value.split([' ', ',']).filter(|word| !word.is_empty());
    let fact = |word: &str| {
        let number = word.parse::<u16>().ok().filter(|_| word.len() <= 4);
        match number {
            Some(number) => Fact::from(u64::from(number)),
            None => Fact::from(known(word, &VALUES)),
        }
    };
    let mut facts: Vec<Fact> = words.map(fact).collect();
    match facts.len() {
        1 => facts.remove(0),
        _ => Fact::from(facts),
    }
}
