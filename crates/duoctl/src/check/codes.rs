//! Findings about emergency codes, where `failmode` is `codes`: who would be denied while Duo
//! is down, and whether an administrator would get in. The parent counts codes, since the
//! folder is root's; the child, without privileges, asks who needs them.

use std::time::Instant;

use duo_policy::codes::FEW;
use duo_policy::config::{Config, Failmode};
use duo_policy::groups::{self, Gate};
use duo_system::account::Account;
use duo_system::codes::FOLDER;
use duo_system::privsep::Standing;

use super::configuration::{MOST_ACCOUNTS, first_names};
use super::local::{Local, LocalUser};
use crate::codes::{self, Count, Counts};
use crate::finding::Finding;
use crate::outcome::Failure;

/// Groups whose members administer a machine, where distributions have them.
const ADMINISTRATORS: [&str; 3] = ["sudo", "wheel", "admin"];

const ID: &str = "configuration.codes";

/// The codes of each user id, or why none can be had.
pub type Counted = Result<Counts, String>;

/// Counts the codes of this machine.
pub fn count(standing: Standing) -> Counted {
    match standing {
        Standing::Root => match codes::counts() {
            Ok(counts) => Ok(counts),
            Err(Failure::Refused(why) | Failure::Usage(why) | Failure::HalfWay { why, .. }) => {
                Err(why)
            }
        },
        Standing::Setuid | Standing::Own => {
            Err("an install of your own has no emergency codes".to_owned())
        }
    }
}

/// The findings, if the failmode is `codes`. Lookups end at `until`.
pub fn findings(config: &Config, counted: &Counted, until: Instant) -> Vec<Finding> {
    if config.failmode != Failmode::Codes {
        return Vec::new();
    }
    let counts = match counted {
        Ok(counts) => counts,
        Err(why) => {
            let text = format!("{why}: while Duo cannot be reached, nobody gets in");
            let mend = format!("chown root:root {FOLDER}; chmod 700 {FOLDER}");
            return vec![Finding::fail(ID, text).mend(mend)];
        }
    };
    let local = Local::read();
    let mut findings = unusable(counts, &local);
    let Some(without) = without(config, counts, &local, until) else {
        let text = "the groups of this machine's accounts could not be looked up in time";
        findings.push(Finding::warn(ID, text));
        return findings;
    };
    if let [first, ..] = &without[..] {
        let names: Vec<String> = without.iter().map(|user| user.name.clone()).collect();
        let text = format!(
            "without an emergency code, and so denied while Duo cannot be reached: {}",
            first_names(&names)
        );
        findings.push(Finding::warn(ID, text).mend(create(first)));
    }
    findings.extend(administrators(&without, &local));
    if findings.is_empty() {
        let text = "every account of this machine that is asked has emergency codes";
        findings.push(Finding::ok(ID, text));
    }
    findings
}

/// What is said of `user`'s codes for `--as`.
pub fn of_user(config: &Config, counted: &Counted, uid: u32, name: &str) -> Option<Finding> {
    const ID: &str = "user.codes";
    if config.failmode != Failmode::Codes {
        return None;
    }
    let mend = format!("duoctl codes create {name}");
    Some(match counted.as_ref().map(|counts| counts.get(&uid)) {
        Ok(Some(Ok(Count { left, made }))) => {
            let text = format!("{left} of {made} emergency codes left");
            match *left < FEW {
                true => Finding::warn(ID, text).mend(mend),
                false => Finding::ok(ID, text),
            }
        }
        Ok(Some(Err(why))) => Finding::warn(ID, format!("no emergency codes: {why}")).mend(mend),
        Ok(None) => Finding::warn(ID, "no emergency codes").mend(mend),
        Err(why) => Finding::fail(ID, why),
    })
}

/// Files that no login opens.
fn unusable(counts: &Counts, local: &Local) -> Vec<Finding> {
    let troubles = counts.iter().filter_map(|(uid, count)| {
        let why = count.as_ref().err()?;
        let user = local.users.iter().find(|user| user.uid == *uid)?;
        let text = format!("'{}' has no emergency codes: {why}", user.name);
        Some(Finding::warn(ID, text).mend(create(user)))
    });
    troubles.collect()
}

/// The accounts that are asked and have no code left; `None` if that takes too long.
fn without<'l>(
    config: &Config,
    counts: &Counts,
    local: &'l Local,
    until: Instant,
) -> Option<Vec<&'l LocalUser>> {
    let mut without = Vec::new();
    for user in local.logins().take(MOST_ACCOUNTS) {
        if matches!(counts.get(&user.uid), Some(Ok(count)) if count.left > 0) {
            continue;
        }
        if Instant::now() >= until {
            return None;
        }
        let account = Account::of(user.uid).ok();
        let gate = account.map(|account| groups::gate(config.groups.as_ref(), &account));
        // Whoever is always denied has a finding of their own.
        if matches!(gate, Some(Ok(Gate::Ask(_)))) {
            without.push(user);
        }
    }
    Some(without)
}

/// Groups of administrators of whom nobody would get in.
fn administrators(without: &[&LocalUser], local: &Local) -> Vec<Finding> {
    let locked_out = ADMINISTRATORS.iter().filter_map(|group| {
        let members = local.logins_of(group);
        let first = members.first()?;
        let all = members.iter().all(|member| without.contains(member));
        all.then(|| {
            let text = format!(
                "nobody in the group '{group}' has an emergency code: while Duo cannot be \
                 reached, no administrator gets in"
            );
            Finding::warn("configuration.codes_administrators", text).mend(create(first))
        })
    });
    locked_out.collect()
}

fn create(user: &LocalUser) -> String {
    format!("duoctl codes create {}", user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrators_group_needs_one_member_who_gets_in() {
        let local = Local::of(
            "a:x:1000:100:::/bin/sh\nb:x:1001:27:::/bin/sh\nd:x:2:27:::/usr/sbin/nologin\n",
            "sudo:x:27:a\nwheel:x:10:\nadmin:x:11:nobody\n",
        );
        let [a, b] = [0, 1].map(|place| &local.users[place]);
        assert_eq!(local.logins_of("sudo"), [a, b]);
        let of = |without: &[&LocalUser]| administrators(without, &local).len();
        assert_eq!(of(&[a, b]), 1);
        assert_eq!((of(&[a]), of(&[])), (0, 0));
    }
}
