//! Findings about sshd, from what `sshd -T` prints for a login of a user whom no Match block names, of
//! root, of one user for each Match block, and of the user of `--as`. Root runs `sshd -T`, which reads
//! root's own files.

mod accounts;
mod forced;
pub mod keys;
pub mod lines;
mod matches;
pub mod rules;
pub mod run;
mod shells;

use std::path::Path;
use std::time::Instant;

use duo_system::privsep::Standing;

use super::local::{Local, has_directory};
use crate::finding::Finding;

pub use accounts::Account;
use accounts::accounts;
use lines::{Line, Lines};
use matches::blocks;
pub use rules::{Facts, Forced, forced};
use run::{SshdOptions, find, options};

/// Where sshd's configuration is, unless `--sshd-config` says otherwise.
pub const CONFIGURATION: &str = "/etc/ssh/sshd_config";

/// A user name that nobody has: it stands for everybody whom no Match block names.
pub const ANYBODY: &str = "login_duo-no-such-user";

/// A client's address that no network has (RFC 5737).
pub const ANYWHERE: &str = "192.0.2.1";

/// The most Match blocks that are tried.
const MOST_BLOCKS: usize = 20;

/// What is to be checked.
pub struct Scope<'a> {
    /// sshd's configuration, if it is not [`CONFIGURATION`].
    pub configuration: Option<&'a Path>,
    /// The file whose lines are read and named: the same, or, where a
    /// configuration is tried that is not in force yet, the one in force.
    pub shown: &'a Path,
    /// A user to try.
    pub user: Option<&'a str>,
    /// The address from which that user logs in.
    pub client: Option<&'a str>,
}

/// One login that sshd was asked about.
pub struct Case {
    /// Which users this login stands for.
    pub users: Users,
    /// sshd's options for this login.
    pub options: SshdOptions,
}

/// The users for whom a case stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Users {
    /// Each user whom no Match block names.
    Everybody,
    /// root.
    Root,
    /// The users to whom the Match block with this label applies.
    Matched(String),
    /// The user of `--as`.
    Named(String),
}

/// What was found, and what sshd said.
#[derive(Default)]
pub struct Looked {
    /// For people.
    pub findings: Vec<Finding>,
    /// The accounts of this machine, with what would apply to each.
    pub accounts: Vec<Account>,
    /// The lines of the configuration.
    pub lines: Lines,
    /// What sshd said of a login of each kind.
    pub cases: Vec<Case>,
}

impl Looked {
    fn only(finding: Finding) -> Looked {
        Looked {
            findings: vec![finding],
            ..Looked::default()
        }
    }
}

/// What sshd said.
pub struct AskedSshd {
    /// A login of each kind.
    pub cases: Vec<Case>,
    /// The accounts of this machine, with what would apply to each.
    pub accounts: Vec<Account>,
    /// The lines of the configuration.
    pub lines: Lines,
    /// What could not be asked.
    findings: Vec<Finding>,
    blocks: Vec<matches::Block>,
    unseen: Vec<matches::Unseen>,
    /// The blocks beyond [`MOST_BLOCKS`].
    untried: Vec<matches::Block>,
}

impl AskedSshd {
    /// The lines of Match blocks that were not tried: sshd was not asked what they do.
    pub fn unseen_lines(&self) -> impl Iterator<Item = &Line> {
        let unseen = self.unseen.iter();
        let unseen = unseen.filter_map(|unseen| unseen.criteria.as_ref());
        let untried = self.untried.iter().map(|block| &block.criteria);
        let criteria: Vec<&Vec<String>> = unseen.chain(untried).collect();
        self.lines.lines.iter().filter(move |line| {
            let below = line.below.as_ref();
            below.is_some_and(|below| criteria.contains(&below))
        })
    }
}

/// Asks sshd about a login of each kind, and about each account.
///
/// # Errors
/// The finding that says why it could not be asked.
pub fn ask(wanted: &Scope<'_>, until: Instant) -> Result<AskedSshd, Finding> {
    let Some(program) = find() else {
        let text = "there is no sshd in /usr/sbin or /usr/local/sbin: what it does cannot be seen";
        return Err(Finding::warn("sshd.program", text));
    };
    let told = Finding::ok("sshd.program", format!("{} is asked", program.display()));
    let mut findings = vec![told];
    let local = Local::read();
    let lines = Lines::read(wanted.shown);
    let (mut found, unseen) = blocks(&lines, &local);
    let untried = found.split_off(found.len().min(MOST_BLOCKS));

    let mut specs = vec![
        (Users::Everybody, Spec::of(ANYBODY, ANYWHERE)),
        (Users::Root, Spec::of("root", ANYWHERE)),
    ];
    let matched = found.iter();
    specs.extend(matched.map(|block| (Users::Matched(block.label.clone()), block.spec.clone())));
    if let Some(user) = wanted.user {
        let spec = Spec::of(user, wanted.client.unwrap_or(ANYWHERE));
        specs.push((Users::Named(user.to_owned()), spec));
    }
    let mut cases = Vec::new();
    for (users, spec) in specs {
        match options(program, wanted.configuration, &spec.to_string(), until) {
            Ok(options) => cases.push(Case { users, options }),
            Err(finding) if users == Users::Everybody => return Err(finding),
            Err(finding) => findings.push(finding),
        }
    }
    let (accounts, unasked) = accounts(program, wanted, &local, until);
    findings.extend(unasked);
    Ok(AskedSshd {
        cases,
        accounts,
        lines,
        findings,
        blocks: found,
        unseen,
        untried,
    })
}

/// Asks sshd, and judges what it says. `facts` come from elsewhere in the check.
pub fn look(wanted: &Scope<'_>, facts: &Facts<'_>, standing: Standing, until: Instant) -> Looked {
    let asked = match ask(wanted, until) {
        Ok(asked) => asked,
        Err(finding) => return Looked::only(finding),
    };
    let mut findings = asked.findings;
    findings.extend(rules::findings(&asked.cases, facts, wanted.shown));
    let is_forced = |options| rules::forced(options, facts.program) == Forced::LoginDuo;
    let nobody_is = !asked.cases.iter().any(|case| is_forced(&case.options))
        && !asked
            .accounts
            .iter()
            .any(|account| is_forced(&account.options));
    if facts.pam.is_some() && nobody_is {
        findings.push(untried_blocks(&asked.unseen, asked.untried.len()));
        return Looked {
            findings,
            accounts: asked.accounts,
            lines: asked.lines,
            cases: asked.cases,
        };
    }
    let seen = forced::Seen {
        program: facts.program,
        standing,
        cases: &asked.cases,
        accounts: &asked.accounts,
        blocks: &asked.blocks,
        lines: &asked.lines,
    };
    findings.extend(forced::look(&seen, until));
    findings.push(untried_blocks(&asked.unseen, asked.untried.len()));
    findings.extend(directory());
    Looked {
        findings,
        accounts: asked.accounts,
        lines: asked.lines,
        cases: asked.cases,
    }
}

/// Accounts that no file of this machine lists cannot be gone through.
fn directory() -> Option<Finding> {
    has_directory().then(|| {
        let text = "accounts of a directory service are not in /etc/passwd: look yourself for \
                    keys of theirs with a command=";
        Finding::warn("sshd.accounts", text)
    })
}

/// The finding that names each Match block that was not tried: those that no login could be made for,
/// and how many there are beyond [`MOST_BLOCKS`].
fn untried_blocks(unseen: &[matches::Unseen], untried: usize) -> Finding {
    const ID: &str = "sshd.match";
    if !unseen.is_empty() || untried > 0 {
        let mut labels: Vec<String> = unseen.iter().map(|it| it.label.clone()).collect();
        if untried > 0 {
            labels.push(format!("{untried} more"));
        }
        let text = format!("not tried, look at them yourself: {}", labels.join("; "));
        return Finding::warn(ID, text)
            .mend("duoctl check --as USER -h ADDRESS, for a login that each applies to");
    }
    Finding::ok(
        ID,
        "every Match block was tried with one login that it applies to",
    )
}

/// A login as the value of `-C` for `sshd -T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    user: String,
    address: String,
}

impl Spec {
    /// A user name and an address, made harmless.
    pub fn of(user: &str, address: &str) -> Spec {
        // A comma would begin another field.
        let user = match user.contains([',', '=', '\n', '\0']) {
            true => ANYBODY,
            false => user,
        };
        let is_address = address.parse::<std::net::IpAddr>().is_ok();
        Spec {
            user: user.to_owned(),
            address: if is_address { address } else { ANYWHERE }.to_owned(),
        }
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spec { user, address } = self;
        write!(
            f,
            "user={user},host={address},addr={address},laddr=127.0.0.1,lport=22,rdomain="
        )
    }
}
