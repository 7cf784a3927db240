//! What a forced command would turn into a shell: keys, ForceCommands,
//! certificates and key commands that say what may be run, all of which
//! ForceCommand overrules. And shells that cannot run a forced command at all.

use std::path::Path;
use std::time::Instant;

use duo_system::privsep::Standing;

use super::accounts::Account;
use super::keys;
use super::lines::{Line, Lines};
use super::matches::Block;
use super::rules::{Forced, forced};
use super::run::SshdOptions;
use super::shells;
use super::{Case, Users};
use crate::finding::Finding;

/// What this looks at.
pub struct Seen<'a> {
    /// login_duo.
    pub program: &'a Path,
    /// How this process was started.
    pub standing: Standing,
    /// The logins that sshd was asked about.
    pub cases: &'a [Case],
    /// The accounts that sshd was asked about.
    pub accounts: &'a [Account],
    /// The Match blocks that were tried.
    pub blocks: &'a [Block],
    /// The lines of sshd's configuration.
    pub lines: &'a Lines,
}

impl Seen<'_> {
    fn is_ours(&self, options: &SshdOptions) -> bool {
        forced(options, self.program) == Forced::LoginDuo
    }

    /// Whether anybody is sent to login_duo. Before that, everybody might be.
    fn is_enabled(&self) -> bool {
        let cases = self.cases.iter().map(|case| &case.options);
        let accounts = self.accounts.iter().map(|account| &account.options);
        cases.chain(accounts).any(|options| self.is_ours(options))
    }

    /// The accounts that are asked, or would be.
    fn asked(&self) -> Vec<&Account> {
        let is_enabled = self.is_enabled();
        let asked = |account: &&Account| !is_enabled || self.is_ours(&account.options);
        self.accounts.iter().filter(asked).collect()
    }
}

/// Everything that a forced command overrules, or that overrules it.
pub fn look(seen: &Seen<'_>, until: Instant) -> Vec<Finding> {
    let asked = seen.asked();
    let mut findings = forced_keys(&asked, seen.standing);
    findings.push(force_commands(seen));
    findings.extend(opaque(seen, &asked));
    findings.extend(shells::look(&asked, seen.program, until));
    findings
}

fn forced_keys(asked: &[&Account], standing: Standing) -> Vec<Finding> {
    const ID: &str = "sshd.forced_key";
    let mut findings = Vec::new();
    for account in asked {
        let name = &account.user.name;
        let leave_out = || format!("duoctl enable ssh --exempt {name}, or a key without command=");
        for file in keys::of(account, standing) {
            let path = file.path.display();
            for line in &file.forced {
                let text = format!(
                    "{path}:{line}: this key of '{name}' has a command=, which login_duo \
                     overrules: it would run any command"
                );
                findings.push(Finding::fail(ID, text).mend(leave_out()));
            }
            for line in &file.authorities {
                let text = format!(
                    "{path}:{line}: a certificate may force a command, which login_duo overrules"
                );
                findings.push(Finding::fail("sshd.certificates", text));
            }
            if let Some(why) = &file.unread {
                let text = format!("the keys of '{name}' cannot be read: {path}: {why}");
                findings.push(Finding::fail("sshd.keys_unread", text));
            }
        }
    }
    if findings.is_empty() {
        let text = "no key of an account here has a command of its own";
        findings.push(Finding::ok(ID, text));
    }
    findings
}

/// Lines that force another command on somebody whom login_duo takes over.
fn force_commands(seen: &Seen<'_>) -> Finding {
    const ID: &str = "sshd.other_force_command";
    let overruled: Vec<String> = others(seen)
        .filter(|line| is_overruled(line, seen))
        .map(|line| format!("{}: {}", line.place(), line.words.join(" ")))
        .collect();
    match overruled.is_empty() {
        true => Finding::ok(ID, "no other ForceCommand is overruled"),
        false => {
            let text = format!(
                "login_duo overrules another ForceCommand, whose accounts would run any command: {}",
                overruled.join("; ")
            );
            Finding::fail(ID, text)
                .mend("leave these accounts out: duoctl enable ssh --group GROUP")
        }
    }
}

/// The ForceCommand lines that neither name login_duo nor lift a command.
fn others<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = &'a Line> {
    let program = seen.program;
    seen.lines.lines.iter().filter(move |line| {
        let told = format!("forcecommand {}\n", line.rest().join(" "));
        line.is("forcecommand")
            && matches!(forced(&SshdOptions::of(&told), program), Forced::Other(_))
    })
}

fn is_overruled(line: &Line, seen: &Seen<'_>) -> bool {
    let Some(criteria) = &line.below else {
        // Outside a Match it is for everybody, and so for each who is asked.
        return seen.is_enabled() || !seen.accounts.is_empty();
    };
    if !seen.is_enabled() {
        return true;
    }
    let mut tried = seen
        .blocks
        .iter()
        .filter(|block| block.criteria == *criteria);
    match tried.next() {
        Some(block) => seen.cases.iter().any(|case| {
            case.users == Users::Matched(block.label.clone()) && seen.is_ours(&case.options)
        }),
        // Not tried: over a login_duo that stands in no Match it wins.
        None => !seen
            .cases
            .iter()
            .any(|case| case.users == Users::Everybody && seen.is_ours(&case.options)),
    }
}

/// What says elsewhere what a key or a certificate may run.
fn opaque(seen: &Seen<'_>, asked: &[&Account]) -> Vec<Finding> {
    let all: Vec<&SshdOptions> = match asked.is_empty() {
        true => seen.cases.iter().map(|case| &case.options).collect(),
        false => asked.iter().map(|account| &account.options).collect(),
    };
    let set = |keyword: &str| {
        let key = keyword.to_ascii_lowercase();
        let mut values = all.iter().map(|options| options.value(&key));
        let value = values.find(|value| !matches!(*value, "" | "none"))?;
        Some(format!("{keyword} {value}"))
    };
    let look = |id, keywords: &[&str], what: &str| {
        let found: Vec<String> = keywords.iter().filter_map(|keyword| set(keyword)).collect();
        match found.is_empty() {
            true => Finding::ok(id, format!("no {what} can force a command")),
            false => {
                let text = format!(
                    "{}: a command that a {what} forces is overruled, and cannot be seen from here",
                    found.join(", ")
                );
                Finding::fail(id, text)
            }
        }
    };
    vec![
        look(
            "sshd.authorized_keys_command",
            &["AuthorizedKeysCommand"],
            "key command",
        ),
        look(
            "sshd.certificates",
            &[
                "TrustedUserCAKeys",
                "AuthorizedPrincipalsFile",
                "AuthorizedPrincipalsCommand",
            ],
            "certificate",
        ),
    ]
}
