//! Shells that cannot run a forced command. sshd runs ForceCommand as
//! `SHELL -c COMMAND`, so whoever has such a shell is locked out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::Uid;

use super::accounts::Account;
use super::run::run;
use crate::finding::Finding;

/// Shells that take only what they know, by the last part of their name.
const KNOWN: [&str; 9] = [
    "rbash",
    "rksh",
    "rzsh",
    "git-shell",
    "scponly",
    "scponlyc",
    "rssh",
    "mysecureshell",
    "lshell",
];

/// For a probe.
const PATIENCE: Duration = Duration::from_secs(2);

/// The usual number of `nobody`; whatever it is called, nothing is its own.
const NOBODY: u32 = 65_534;

/// Whoever cannot run a forced command, by shell.
pub fn look(asked: &[&Account], program: &Path, until: Instant) -> Vec<Finding> {
    const ID: &str = "sshd.shell";
    let mut shells: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for account in asked {
        let shell = match account.user.shell.as_str() {
            "" => "/bin/sh",
            shell => shell,
        };
        shells.entry(shell).or_default().push(&account.user.name);
    }
    let listed = fs::read_to_string("/etc/shells").unwrap_or_default();
    let mut findings = Vec::new();
    for (shell, names) in shells {
        let Some(why) = trouble(shell, &listed, program, until) else {
            continue;
        };
        let who = names.join(", ");
        let text = format!("{shell} {why}: locked out, {who}");
        let exempt: Vec<String> = names
            .iter()
            .map(|name| format!(" --exempt {name}"))
            .collect();
        let mend = format!("duoctl enable ssh{}", exempt.concat());
        findings.push(Finding::fail(ID, text).mend(mend));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ID, "every account's shell can run login_duo"));
    }
    findings
}

/// Why this shell cannot run login_duo, if it cannot.
fn trouble(shell: &str, listed: &str, program: &Path, until: Instant) -> Option<&'static str> {
    let last = shell.rsplit('/').next().unwrap_or_default();
    if KNOWN.contains(&last) {
        return Some("runs only what it knows, not login_duo");
    }
    let may_try = listed.lines().any(|line| line.trim() == shell) && is_roots(shell);
    if !may_try || !Uid::effective().is_root() || !program.is_file() {
        return None;
    }
    // Its version asks nobody for anything.
    let command = format!("'{}' --version", program.display());
    let mut probe = Command::new(shell);
    probe.env_clear().args(["-c", &command]);
    probe.uid(NOBODY).gid(NOBODY);
    match run(&mut probe, until.min(Instant::now() + PATIENCE)) {
        Ok((true, output, _)) if output.starts_with("login_duo ") => None,
        _ => Some("cannot run login_duo (tried with --version)"),
    }
}

/// Nobody else than root can have changed it.
fn is_roots(shell: &str) -> bool {
    const WRITABLE: u32 = 0o022;
    fs::metadata(shell)
        .is_ok_and(|status| status.is_file() && status.uid() == 0 && status.mode() & WRITABLE == 0)
}
