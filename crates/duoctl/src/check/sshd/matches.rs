//! The Match blocks of sshd's configuration that name a user or a group, each with one login.
//! `sshd -T` answers for one login at a time, so a block without ForceCommand is only seen if a login
//! to which it applies is tried. A block with any other criterion is not tried, since only sshd knows
//! to which logins it applies.

use super::lines::Lines;
use super::{ANYBODY, ANYWHERE, Spec};
use crate::check::local::Local;

/// A Match block that can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The block for people, as in `Match User bob (sshd_config:12)`.
    pub label: String,
    /// Its criteria.
    pub criteria: Vec<String>,
    /// A login that it applies to.
    pub spec: Spec,
}

/// What cannot be tried: a Match block that no login could be made up for, or a file that
/// could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// What it is, for people.
    pub label: String,
    /// The criteria of the block; none for a file.
    pub criteria: Option<Vec<String>>,
}

/// The blocks among these lines, and what cannot be tried.
pub fn blocks(read: &Lines, local: &Local) -> (Vec<Block>, Vec<Unseen>) {
    let mut blocks = Vec::new();
    let unread = |label: &String| Unseen {
        label: label.clone(),
        criteria: None,
    };
    let mut unseen: Vec<Unseen> = read.unread.iter().map(unread).collect();
    for line in read.lines.iter().filter(|line| line.is("match")) {
        let criteria = line.rest();
        let name = line.file.file_name().unwrap_or_default().to_string_lossy();
        let label = format!("Match {} ({name}:{})", criteria.join(" "), line.number);
        match login(criteria, local) {
            Some(spec) => blocks.push(Block {
                label,
                criteria: criteria.to_vec(),
                spec,
            }),
            None => unseen.push(Unseen {
                label,
                criteria: Some(criteria.to_vec()),
            }),
        }
    }
    (blocks, unseen)
}

/// A login to which the Match line applies, if the line has one criterion alone: a
/// user, a group, or `all`.
fn login(criteria: &[String], local: &Local) -> Option<Spec> {
    let (keyword, patterns) = match criteria {
        [all] if all.eq_ignore_ascii_case("all") => return Some(Spec::of(ANYBODY, ANYWHERE)),
        [keyword, patterns] => (keyword, patterns),
        _ => return None,
    };
    let mut patterns = patterns.split(',');
    let first = patterns.find(|pattern| !pattern.starts_with('!'))?;
    let is_literal = !first.contains(['*', '?', '=']);
    match keyword.to_ascii_lowercase().as_str() {
        "user" if first == "*" => Some(Spec::of(ANYBODY, ANYWHERE)),
        "user" if is_literal => Some(Spec::of(first, ANYWHERE)),
        "group" if is_literal => Some(Spec::of(local.member_of(first)?, ANYWHERE)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::lines::words;
    use super::*;

    fn tried(line: &str) -> Option<String> {
        let local = Local {
            users: Vec::new(),
            groups: vec![crate::check::local::LocalGroup {
                name: "wheel".into(),
                gid: 7,
                members: vec!["alice".into()],
            }],
        };
        login(&words(line)[1..], &local).map(|spec| spec.to_string())
    }

    #[test]
    fn a_block_that_names_a_user_or_a_group_is_tried_with_one() {
        for (line, expected) in [
            ("Match User bob", "user=bob,host=192.0.2.1,addr=192.0.2.1,"),
            ("match user !root,bob # x", "user=bob,host="),
            ("Match User=bob", "user=bob,host="),
            ("Match Group wheel", "user=alice,host="),
            ("Match User *,!backup", "user=login_duo-no-such-user,"),
            ("Match all", "user=login_duo-no-such-user,"),
        ] {
            let spec = tried(line).unwrap_or_default();
            assert!(spec.contains(expected), "{line}: {spec}");
        }
    }

    #[test]
    fn what_else_a_block_may_mean_is_for_sshd_to_say() {
        for line in [
            "Match Group none",
            "Match Group wh*",
            "Match User ba*",
            "Match User !root",
            "Match User",
            "Match Future x",
            "Match Address 10.0.0.0/8",
            "Match User bob Address 10.*",
            "Match LocalPort 2222",
        ] {
            assert_eq!(tried(line), None, "{line}");
        }
    }

    #[test]
    fn included_files_are_read_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("b.conf"), "Match User b\n").unwrap();
        fs::write(at("a.conf"), "#Match User no\n Match User a\n").unwrap();
        fs::write(at("a.off"), "Match User off\n").unwrap();
        let main = format!("Include {}/*.conf\nMatch Odd x\n", folder.path().display());
        fs::write(at("main"), main).unwrap();
        let (found, unseen) = blocks(&Lines::read(&at("main")), &Local::default());
        let labels: Vec<_> = found.iter().map(|block| block.label.as_str()).collect();
        assert_eq!(
            labels,
            ["Match User a (a.conf:2)", "Match User b (b.conf:1)"]
        );
        let odd = Unseen {
            label: "Match Odd x (main:2)".to_owned(),
            criteria: Some(vec!["Odd".to_owned(), "x".to_owned()]),
        };
        assert_eq!(unseen, [odd]);
    }
}
