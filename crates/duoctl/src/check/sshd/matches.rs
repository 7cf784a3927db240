//! The Match blocks of sshd's configuration that name a user or a group, each with one login.
//! `sshd -T` answers for one login at a time, so a block without ForceCommand is only seen if a login
//! to which it applies is tried. A block with any other criterion is not tried, since only sshd knows
//! to which logins it applies.

use std::fs;
use std::path::{Path, PathBuf};

use duo_policy::groups::Groups;

use super::{ANYBODY, ANYWHERE, Spec};
use crate::check::local::Local;

/// The most files that are read, with those of each Include.
const MOST_FILES: usize = 64;

/// The folder of a relative Include.
const FOLDER: &str = "/etc/ssh";

/// A Match block that can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The block for people, as in `Match User bob (sshd_config:12)`.
    pub label: String,
    /// A login to which the block applies.
    pub spec: Spec,
}

/// The blocks of the file at `path`, and the labels of the blocks for which no login could be made.
pub fn blocks(path: &Path, local: &Local) -> (Vec<Block>, Vec<String>) {
    let mut reader = Reader {
        local,
        files: 0,
        blocks: Vec::new(),
        unseen: Vec::new(),
    };
    reader.file(path);
    (reader.blocks, reader.unseen)
}

struct Reader<'a> {
    local: &'a Local,
    files: usize,
    blocks: Vec<Block>,
    unseen: Vec<String>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) {
        self.files += 1;
        let text = match fs::read(path) {
            Ok(text) if self.files <= MOST_FILES => String::from_utf8_lossy(&text).into_owned(),
            _ => return self.unseen.push(path.display().to_string()),
        };
        for (number, line) in text.lines().enumerate() {
            let words = words(line);
            let [keyword, rest @ ..] = words.as_slice() else {
                continue;
            };
            if keyword.eq_ignore_ascii_case("include") {
                for pattern in rest {
                    included(pattern).iter().for_each(|path| self.file(path));
                }
            } else if keyword.eq_ignore_ascii_case("match") {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let label = format!("Match {} ({name}:{})", rest.join(" "), number + 1);
                match login(rest, self.local) {
                    Some(spec) => self.blocks.push(Block { label, spec }),
                    None => self.unseen.push(label),
                }
            }
        }
    }
}

/// The words of a line. Blanks and `=` separate words, quotes keep a word together, and `#` begins a
/// comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if !quoted && word.is_none() => break,
            ' ' | '\t' | '=' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The files of an Include, in sshd's order. Only the last part of the path may have wildcards.
fn included(pattern: &str) -> Vec<PathBuf> {
    let path = Path::new(FOLDER).join(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let name = name.to_string_lossy().into_owned();
    if !name.contains(['*', '?']) {
        return vec![path];
    }
    let Ok(pattern) = Groups::parse(name.as_bytes()) else {
        return Vec::new();
    };
    let fits = |file: &Path| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        pattern.matches(&[&*file]) && !file.starts_with('.')
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| fits(path))
        .collect();
    files.sort();
    files
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
        let (found, unseen) = blocks(&at("main"), &Local::default());
        let labels: Vec<_> = found.iter().map(|block| block.label.as_str()).collect();
        assert_eq!(
            labels,
            ["Match User a (a.conf:2)", "Match User b (b.conf:1)"]
        );
        assert_eq!(unseen, ["Match Odd x (main:2)"]);
    }

    #[test]
    fn a_file_that_includes_itself_comes_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loop");
        fs::write(&path, format!("Include {}\n", path.display())).unwrap();
        assert_eq!(blocks(&path, &Local::default()).1.len(), 1);
    }
}
