//! What sshd would do with a login, as `sshd -T` says it: for everybody, for root, for one user of
//! each Match block, and for the user that is asked about. Root runs it, and it reads files that
//! are root's own.

mod judge;
mod matches;
mod run;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::local::Local;
use crate::finding::Finding;

pub use judge::Facts;
use judge::judge;
use matches::blocks;
use run::{Settings, find, settings};

/// Where sshd's configuration is, unless `--sshd-config` says otherwise.
const CONFIGURATION: &str = "/etc/ssh/sshd_config";

/// A user name that nobody has: it stands for everybody whom no Match block names.
const ANYBODY: &str = "login_duo-no-such-user";

/// A client's address that no network has (RFC 5737).
const ANYWHERE: &str = "192.0.2.1";

/// Match blocks that are tried.
const MOST_BLOCKS: usize = 20;

/// What to look at.
pub struct Wanted<'a> {
    /// sshd's configuration, if it is not the usual one.
    pub configuration: Option<&'a Path>,
    /// A user to try.
    pub user: Option<&'a str>,
    /// Where the user comes from.
    pub client: Option<&'a str>,
}

/// One login that sshd was asked about.
pub struct Case {
    /// Who, for people.
    pub who: Who,
    /// What would apply.
    pub settings: Settings,
}

/// Whom a case stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Whoever no Match block names.
    Everybody,
    /// root.
    Root,
    /// Someone to whom this Match block applies.
    Matched(String),
    /// The user of `--as`.
    User(String),
}

/// Asks sshd, and judges what it says. `facts` come from elsewhere in the check.
pub fn look(wanted: &Wanted<'_>, facts: &Facts<'_>, until: Instant) -> Vec<Finding> {
    let Some(program) = find() else {
        let text = "there is no sshd in /usr/sbin or /usr/local/sbin: what it does cannot be seen";
        return vec![Finding::warn("sshd.program", text)];
    };
    let mut findings = vec![Finding::ok(
        "sshd.program",
        format!("{} is asked", program.display()),
    )];
    let ask = |spec: &Spec| settings(program, wanted.configuration, &spec.to_string(), until);

    let anybody = Spec::of(ANYBODY, ANYWHERE);
    let everybody = match ask(&anybody) {
        Ok(settings) => settings,
        Err(finding) => return vec![finding],
    };
    let mut cases = vec![Case {
        who: Who::Everybody,
        settings: everybody,
    }];
    let mut more = vec![(Who::Root, Spec::of("root", ANYWHERE))];
    let path = wanted
        .configuration
        .map_or_else(|| PathBuf::from(CONFIGURATION), Path::to_owned);
    let (found, unseen) = blocks(&path, &Local::read());
    let untried = found.len().saturating_sub(MOST_BLOCKS);
    more.extend(
        found
            .into_iter()
            .take(MOST_BLOCKS)
            .map(|block| (Who::Matched(block.label), block.spec)),
    );
    if let Some(user) = wanted.user {
        let spec = Spec::of(user, wanted.client.unwrap_or(ANYWHERE));
        more.push((Who::User(user.to_owned()), spec));
    }
    for (who, spec) in more {
        match ask(&spec) {
            Ok(settings) => cases.push(Case { who, settings }),
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(judge(&cases, facts, &path));
    findings.push(blind_spots(&unseen, untried));
    findings
}

/// What cannot be seen is said, not passed over.
fn blind_spots(unseen: &[String], untried: usize) -> Finding {
    const ID: &str = "sshd.match";
    if !unseen.is_empty() || untried > 0 {
        let mut told = unseen.to_vec();
        if untried > 0 {
            told.push(format!("{untried} more"));
        }
        let text = format!("not tried, look at them yourself: {}", told.join("; "));
        return Finding::warn(ID, text)
            .mend("duoctl check --as USER -h ADDRESS, for a login that each applies to");
    }
    Finding::ok(
        ID,
        "every Match block was tried with one login that it applies to",
    )
}

/// A login as `sshd -T -C` wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    user: String,
    address: String,
}

impl Spec {
    fn of(user: &str, address: &str) -> Spec {
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
