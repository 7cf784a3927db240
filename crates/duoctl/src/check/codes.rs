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

use super::configuration::first_names;
use super::local::{Local, LocalUser, has_directory};
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
    let looked = look(config, counts, &local, until);
    let uncounted = uncounted(has_directory());
    if let [first, ..] = &looked.without[..] {
        let names: Vec<String> = looked.without.iter().map(|it| it.name.clone()).collect();
        let text = format!(
            "without an emergency code, and so denied, if sshd or PAM sends them here, while Duo \
             cannot be reached: {}; {uncounted}",
            first_names(&names)
        );
        findings.push(Finding::warn(ID, text).mend(create(first)));
    }
    findings.extend(administrators(&looked.without, &local));
    findings.extend(looked.rest());
    if findings.is_empty() {
        let text = format!(
            "every account of /etc/passwd whom the configuration asks has emergency codes; \
             {uncounted}"
        );
        findings.push(Finding::ok(ID, text));
    }
    findings
}

/// Whose codes are not counted: accounts that no file of this machine lists cannot be gone
/// through; and this process cannot know whether root logs in as root.
fn uncounted(has_directory: bool) -> &'static str {
    match has_directory {
        true => "root and the accounts of a directory service are not counted",
        false => "root is not counted",
    }
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

/// What was seen of the accounts of this machine, without root.
struct Looked<'l> {
    /// Those that are asked and have no code left.
    without: Vec<&'l LocalUser>,
    /// How many were looked at in time.
    count: usize,
    /// How many there are.
    all: usize,
}

impl Looked<'_> {
    /// The finding about those that were not looked at.
    fn rest(&self) -> Option<Finding> {
        let Looked { count, all, .. } = self;
        (count < all).then(|| {
            let text = format!(
                "only {count} of the {all} accounts of /etc/passwd could be looked up in time: \
                 the others may have no emergency code"
            );
            Finding::warn(ID, text)
        })
    }
}

/// Looks for the accounts that are asked and have no code left, at administrators first.
fn look<'l>(config: &Config, counts: &Counts, local: &'l Local, until: Instant) -> Looked<'l> {
    let people = local.logins().filter(|user| !is_root(user));
    let administrators: Vec<&LocalUser> = ADMINISTRATORS
        .iter()
        .flat_map(|group| local.logins_of(group))
        .collect();
    let (first, others): (Vec<_>, Vec<_>) = people.partition(|user| administrators.contains(user));
    let mut looked = Looked {
        without: Vec::new(),
        count: 0,
        all: first.len() + others.len(),
    };
    for user in first.into_iter().chain(others) {
        if Instant::now() >= until {
            break;
        }
        looked.count += 1;
        if matches!(counts.get(&user.uid), Some(Ok(count)) if count.left > 0) {
            continue;
        }
        let account = Account::of(user.uid).ok();
        let gate = account.map(|account| groups::gate(config.groups.as_ref(), &account));
        // Whoever is always denied has a finding of their own.
        if matches!(gate, Some(Ok(Gate::Ask(_)))) {
            looked.without.push(user);
        }
    }
    looked
}

/// The codes of root are for logins as root alone: sudo asks for those of who runs it.
fn is_root(user: &LocalUser) -> bool {
    user.uid == 0
}

/// Groups of administrators of whom nobody would get in.
fn administrators(without: &[&LocalUser], local: &Local) -> Vec<Finding> {
    let locked_out = ADMINISTRATORS.iter().filter_map(|group| {
        let mut members = local.logins_of(group);
        members.retain(|member| !is_root(member));
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
    use std::time::Duration;

    use duo_policy::config;

    use super::*;

    #[test]
    fn an_administrators_group_needs_one_member_who_gets_in() {
        let local = Local::of(
            "a:x:1000:100:::/bin/sh\nb:x:1001:27:::/bin/sh\nd:x:2:27:::/usr/sbin/nologin\n\
             root:x:0:0:::/bin/sh\n",
            "sudo:x:27:a,root\nwheel:x:10:\nadmin:x:11:nobody\n",
        );
        let [a, b] = [0, 1].map(|place| &local.users[place]);
        assert_eq!(local.logins_of("sudo")[..2], [a, b]);
        let of = |without: &[&LocalUser]| administrators(without, &local).len();
        assert_eq!(of(&[a, b]), 1);
        assert_eq!((of(&[a]), of(&[])), (0, 0));
    }

    #[test]
    fn whoever_could_not_be_looked_at_in_time_is_not_said_to_have_codes() {
        let local = Local::of(
            "root:x:0:0:::/bin/sh\na:x:1000:100:::/bin/sh\nb:x:1001:27:::/bin/sh\n",
            "sudo:x:27:\n",
        );
        let text = "ikey = a\nskey = b\nhost = h\nfailmode = codes\n";
        let config = config::parse(text.as_bytes()).ok().unwrap().config;
        let one = |uid| (uid, Ok(Count { left: 1, made: 1 }));
        let counts = Counts::from([one(1000), one(1001)]);
        let now = Instant::now();
        let seen = |until| {
            let looked = look(&config, &counts, &local, until);
            assert!(looked.without.is_empty());
            (looked.count, looked.rest().map(|finding| finding.text))
        };
        assert_eq!(seen(now + Duration::from_secs(60)), (2, None));
        let (count, rest) = seen(now);
        assert_eq!(count, 0);
        assert!(rest.unwrap().starts_with("only 0 of the 2 accounts"));
        assert!(uncounted(true).contains("directory"));
    }
}
