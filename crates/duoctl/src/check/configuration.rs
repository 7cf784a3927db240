//! Findings about the configuration: mistakes, options that do nothing, and above all groups that
//! let people pass unasked. The child looks for them, without privileges, since groups and accounts
//! may come from a directory service.

use std::path::Path;
use std::time::Instant;

use duo_policy::api::Answered;
use duo_policy::config::{Broken, Config, Failmode, Problem, ProblemKind, Remember, Signature};
use duo_policy::error::Error;
use duo_policy::groups::{self, Directory, Gate, Groups, Membership, Sense};
use duo_policy::verdict::{self, Meaning};
use duo_system::account::Account;

use super::local::Local;
use crate::finding::{Finding, Level, quoted};

/// The most local accounts for which the gate is tried.
const MOST_ACCOUNTS: usize = 200;

/// The most names in one finding.
const MOST_NAMES: usize = 10;

/// Seconds that one request to Duo takes at most, whatever `https_timeout` is.
const LONGEST_REQUEST: u64 = 60;

/// The findings about a file that cannot be used.
pub fn findings_of_broken(path: &Path, file: &Broken) -> Vec<Finding> {
    let mut findings: Vec<Finding> = file
        .problems
        .iter()
        .map(|problem| finding_of(Level::Fail, "configuration.syntax", path, problem))
        .collect();
    findings.extend(warnings(path, &file.warnings));
    let mistake = Error::Configuration(String::new());
    let stated = file.failmode.unwrap_or(Failmode::Secure);
    let text = match verdict::failmode(&mistake, Answered::NotYet, stated).opens() {
        true => {
            "until that is mended, everybody passes without Duo (the file says failmode = safe)"
        }
        false => "until that is mended, everybody is denied",
    };
    findings.push(Finding::fail("configuration.failmode", text));
    findings
}

/// The findings about a file that can be used. `warned` are the parser's warnings. Lookups of
/// accounts end at `until`.
pub fn findings(path: &Path, config: &Config, warned: &[Problem], until: Instant) -> Vec<Finding> {
    let syntax = format!("{} has no mistakes", path.display());
    let mut findings = vec![Finding::ok("configuration.syntax", syntax)];
    findings.extend(warnings(path, warned));
    findings.push(noverify(path, config));
    findings.push(failmode(config));
    findings.extend(no_effect(path, config));
    match &config.groups {
        None => findings.push(Finding::ok(
            "configuration.groups",
            "everybody whom sshd or PAM sends here is asked (no groups)",
        )),
        Some(groups) => findings.extend(all_groups(path, config, groups, until)),
    }
    findings
}

fn finding_of(level: Level, id: &'static str, path: &Path, problem: &Problem) -> Finding {
    let finding = Finding::new(level, id, problem.at(path));
    match problem.line {
        Some(line) => finding.mend(format!("vi +{line} {}", quoted(path))),
        None => finding.mend(edit(path)),
    }
}

fn edit(path: &Path) -> String {
    format!("vi {}", quoted(path))
}

/// The parser's warnings, but for those that other findings have.
fn warnings(path: &Path, warnings: &[Problem]) -> Vec<Finding> {
    let others = |problem: &&Problem| match problem.kind {
        ProblemKind::Noverify | ProblemKind::NobodyAsked => false,
        ProblemKind::File | ProblemKind::Content => true,
    };
    let warning = |problem| finding_of(Level::Warn, "configuration.warning", path, problem);
    warnings.iter().filter(others).map(warning).collect()
}

fn noverify(path: &Path, config: &Config) -> Finding {
    const ID: &str = "configuration.noverify";
    if config.noverify {
        let text = "noverify is on: whoever is between here and Duo can let people in";
        return Finding::fail(ID, text).mend(edit(path));
    }
    Finding::ok(ID, "the server must prove that it is Duo (noverify is off)")
}

fn failmode(config: &Config) -> Finding {
    let silence = Error::Service(String::new());
    let text = match verdict::failmode(&silence, Answered::NotYet, config.failmode) {
        meaning if meaning.opens() => {
            "while Duo cannot be reached, people pass without it (failmode = safe)"
        }
        Meaning::AsksForACode => {
            "while Duo cannot be reached, an emergency code is asked for (failmode = codes)"
        }
        Meaning::Is(_) => "while Duo cannot be reached, nobody gets in (failmode = secure)",
    };
    Finding::ok("configuration.failmode", text)
}

/// Options that have no effect, by themselves or because of another option.
fn no_effect(path: &Path, config: &Config) -> Vec<Finding> {
    const ID: &str = "configuration.no_effect";
    let mut texts = Vec::new();
    if config.noverify && config.cafile.is_some() {
        texts.push("cafile does nothing beside noverify");
    }
    if config
        .https_timeout
        .is_some_and(|timeout| timeout.as_secs() > LONGEST_REQUEST)
    {
        texts.push("https_timeout above 60 does nothing: preauth is over after 60 seconds anyway");
    }
    let mut findings: Vec<Finding> = texts
        .into_iter()
        .map(|text| Finding::warn(ID, text).mend(edit(path)))
        .collect();
    if config.signature == Signature::Sha1 {
        let text = "requests are signed with SHA-1, which only old servers need";
        findings.push(Finding::warn("configuration.signature", text).mend(edit(path)));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ID, "no option undoes another"));
    }
    findings
}

/// Options that mean nothing to the PAM module.
pub fn not_for_pam(path: &Path, config: &Config) -> Vec<Finding> {
    let options = [
        ("accept_env_factor", config.accept_env_factor),
        ("accessible", config.accessible),
        ("motd", config.motd),
        ("prompt_for_commands", config.prompt_for_commands),
        // PAM is asked once for a connection by itself.
        ("remember", config.remember == Remember::Connection),
    ];
    let set = options.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(name, _)| {
        let text = format!("{name} does nothing in PAM");
        Finding::warn("configuration.no_effect", text).mend(edit(path))
    })
    .collect()
}

fn all_groups(path: &Path, config: &Config, groups: &Groups, until: Instant) -> Vec<Finding> {
    let local = Local::read();
    let mut findings = Vec::new();
    for (sense, name) in groups.patterns() {
        let spelt = String::from_utf8_lossy(name).into_owned();
        let finding = if name.iter().any(|byte| matches!(byte, b'*' | b'?')) {
            wild(&local, sense, &spelt)
        } else {
            literal(&local, sense, &spelt, name)
        };
        findings.extend(finding.map(|finding| finding.mend(edit(path))));
    }
    if findings.is_empty() {
        let text = "each pattern of groups names a group that has members";
        findings.push(Finding::ok("configuration.groups", text));
    }
    if groups.matches_everybody() {
        let text = "groups takes everybody: the same as no groups";
        findings.push(Finding::warn("configuration.groups", text).mend(edit(path)));
    }
    findings.push(reach(path, config, &local, until));
    findings
}

/// The finding about a pattern without wildcards. A misspelt group name lets everybody pass whom the
/// group should ask, and a login does not show it.
fn literal(local: &Local, sense: Sense, spelt: &str, name: &[u8]) -> Option<Finding> {
    const ID: &str = "configuration.groups";
    match (exists(name), sense) {
        (Ok(false), Sense::Positive) => Some(Finding::fail(
            ID,
            format!("there is no group '{spelt}': whoever it should ask passes unasked"),
        )),
        (Ok(false), Sense::Negated) => Some(Finding::warn(
            ID,
            format!("there is no group '{spelt}': it exempts nobody"),
        )),
        (Ok(true), Sense::Positive) if is_empty_here(local, spelt) => Some(Finding::warn(
            ID,
            format!("the group '{spelt}' has no members"),
        )),
        (Ok(true), _) => None,
        (Err(error), _) => Some(Finding::warn(
            ID,
            format!("{error}: whoever passes is asked"),
        )),
    }
}

/// Whether there is such a group, looked up as the gate does. The account does not matter.
fn exists(name: &[u8]) -> Result<bool, String> {
    let root = Account::of(0).map_err(|error| error.to_string())?;
    let membership = root.membership(name).map_err(|error| error.to_string())?;
    Ok(membership != Membership::NoSuchGroup)
}

/// Whether this machine lists the group, and lists no member of it. A directory may have members.
fn is_empty_here(local: &Local, name: &str) -> bool {
    local.groups.iter().any(|group| group.name == name) && local.member_of(name).is_none()
}

/// The finding about a pattern with wildcards.
fn wild(local: &Local, sense: Sense, spelt: &str) -> Option<Finding> {
    let alone = Groups::parse(spelt.replace(' ', "\\ ").as_bytes()).ok()?;
    let fits = local
        .groups
        .iter()
        .any(|group| alone.matches(&[&group.name]));
    let what = match sense {
        Sense::Positive => "asks nobody of them",
        Sense::Negated => "exempts nobody of them",
    };
    let text = format!("'{spelt}' fits no group of /etc/group: it {what}");
    (!fits).then(|| Finding::warn("configuration.groups", text))
}

/// Which accounts of this machine the gate asks.
fn reach(path: &Path, config: &Config, local: &Local, until: Instant) -> Finding {
    const ID: &str = "configuration.reach";
    let (mut asked, mut passing, mut denied) = (0_usize, Vec::new(), Vec::new());
    for user in local.logins().take(MOST_ACCOUNTS) {
        if Instant::now() >= until {
            let text = "the groups of this machine's accounts could not be looked up in time";
            return Finding::warn(ID, text);
        }
        let gate = Account::of(user.uid)
            .map_err(|error| error.to_string())
            .and_then(|account| {
                groups::gate(config.groups.as_ref(), &account).map_err(|error| error.to_string())
            });
        match gate {
            Ok(Gate::Ask(_)) => asked += 1,
            Ok(Gate::Pass) => passing.push(user.name.clone()),
            Err(why) => denied.push(format!("{} ({why})", user.name)),
        }
    }
    let all_negated = config.groups.as_ref().is_some_and(Groups::all_negated);
    let why = match all_negated {
        true => ": every pattern is negated, so none can match",
        false => "",
    };
    reach_finding(asked, &passing, &denied, why).map_or_else(
        || {
            Finding::ok(
                ID,
                "groups asks everybody who has an account on this machine",
            )
        },
        |finding| match finding.level {
            Level::Ok => finding,
            _ => finding.mend(edit(path)),
        },
    )
}

/// The finding, unless everybody is asked. `why` says why nobody is asked, if that is known.
fn reach_finding(
    asked: usize,
    passing: &[String],
    denied: &[String],
    why: &str,
) -> Option<Finding> {
    const ID: &str = "configuration.reach";
    if !denied.is_empty() {
        let text = format!(
            "always denied, since groups cannot be applied: {}",
            first_names(denied)
        );
        return Some(Finding::fail(ID, text));
    }
    if passing.is_empty() {
        return None;
    }
    let all = asked + passing.len();
    Some(match asked {
        0 => Finding::fail(
            ID,
            format!("groups asks none of this machine's {all} accounts{why}"),
        ),
        _ => Finding::new(
            Level::Ok,
            ID,
            format!(
                "groups asks {asked} of this machine's {all} accounts; not asked: {}",
                first_names(passing)
            ),
        ),
    })
}

/// The first names, and how many more there are.
pub fn first_names(names: &[String]) -> String {
    let mut texts: Vec<String> = names.iter().take(MOST_NAMES).cloned().collect();
    if let Some(more @ 1..) = names.len().checked_sub(MOST_NAMES) {
        texts.push(format!("{more} more"));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use duo_policy::config;

    fn config(extra: &str) -> Config {
        let text = format!("ikey = a\nskey = b\nhost = h\n{extra}");
        config::parse(text.as_bytes()).ok().unwrap().config
    }

    #[test]
    fn options_that_undo_each_other_are_warned_of() {
        for (extra, expected) in [
            ("", Level::Ok),
            ("https_timeout = 61\n", Level::Warn),
            ("https_timeout = 60\n", Level::Ok),
            ("noverify = yes\ncafile = /x\n", Level::Warn),
            ("cafile = /x\n", Level::Ok),
            #[cfg(not(feature = "fips"))]
            ("signature = sha1\n", Level::Warn),
        ] {
            let found = no_effect(Path::new("/x"), &config(extra));
            assert_eq!(
                found.iter().map(|f| f.level).max(),
                Some(expected),
                "{extra}"
            );
        }
    }

    #[test]
    fn groups_that_ask_nobody_fail() {
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).into()).collect() };
        let level = |asked, passing: &[&str], denied: &[&str]| {
            reach_finding(asked, &names(passing), &names(denied), "").map(|finding| finding.level)
        };
        assert_eq!(level(2, &[], &[]), None);
        assert_eq!(level(1, &["bob"], &[]), Some(Level::Ok));
        assert_eq!(level(0, &["bob"], &[]), Some(Level::Fail));
        assert_eq!(level(1, &[], &["bob"]), Some(Level::Fail));
        let many = names(&["x"; 12]);
        assert!(first_names(&many).ends_with("x, 2 more"));
    }
}
