//! Findings about sshd, from what `sshd -T` prints for a login of a user whom no Match block names, of
//! root, of one user for each Match block, and of the user of `--as`. Root runs `sshd -T`, which reads
//! root's own files.

mod matches;
mod rules;
mod run;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::local::Local;
use crate::finding::Finding;

use matches::blocks;
pub use rules::Facts;
use run::{SshdOptions, find, options};

/// sshd's configuration, unless `--sshd-config` names another file.
const CONFIGURATION: &str = "/etc/ssh/sshd_config";

/// A user name that no account has. It stands for each user whom no Match block names.
const ANYBODY: &str = "login_duo-no-such-user";

/// A client's address that is reserved for examples, so that no network has it.
const ANYWHERE: &str = "192.0.2.1";

/// The most Match blocks that are tried.
const MOST_BLOCKS: usize = 20;

/// What is to be checked.
pub struct Scope<'a> {
    /// sshd's configuration, if it is not [`CONFIGURATION`].
    pub configuration: Option<&'a Path>,
    /// The user of `--as`.
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

/// Asks sshd about each case, until `until` at most. `facts` come from the rest of the check.
pub fn findings(scope: &Scope<'_>, facts: &Facts<'_>, until: Instant) -> Vec<Finding> {
    let Some(program) = find() else {
        let text = "there is no sshd in /usr/sbin or /usr/local/sbin: what it does cannot be seen";
        return vec![Finding::warn("sshd.program", text)];
    };
    let mut findings = vec![Finding::ok(
        "sshd.program",
        format!("{} is asked", program.display()),
    )];
    let ask = |spec: &Spec| options(program, scope.configuration, &spec.to_string(), until);

    let anybody = Spec::of(ANYBODY, ANYWHERE);
    let everybody = match ask(&anybody) {
        Ok(options) => options,
        Err(finding) => return vec![finding],
    };
    let mut cases = vec![Case {
        users: Users::Everybody,
        options: everybody,
    }];
    let mut more = vec![(Users::Root, Spec::of("root", ANYWHERE))];
    let path = scope
        .configuration
        .map_or_else(|| PathBuf::from(CONFIGURATION), Path::to_owned);
    let (found, unseen) = blocks(&path, &Local::read());
    let untried = found.len().saturating_sub(MOST_BLOCKS);
    more.extend(
        found
            .into_iter()
            .take(MOST_BLOCKS)
            .map(|block| (Users::Matched(block.label), block.spec)),
    );
    if let Some(user) = scope.user {
        let spec = Spec::of(user, scope.client.unwrap_or(ANYWHERE));
        more.push((Users::Named(user.to_owned()), spec));
    }
    for (users, spec) in more {
        match ask(&spec) {
            Ok(options) => cases.push(Case { users, options }),
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(rules::findings(&cases, facts, &path));
    findings.push(untried_blocks(&unseen, untried));
    findings
}

/// The finding that names each Match block that was not tried: those that no login could be made for,
/// and how many there are beyond [`MOST_BLOCKS`].
fn untried_blocks(unseen: &[String], untried: usize) -> Finding {
    const ID: &str = "sshd.match";
    if !unseen.is_empty() || untried > 0 {
        let mut labels = unseen.to_vec();
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
    fn of(user: &str, address: &str) -> Spec {
        // In the value of `-C`, a comma begins another field.
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
