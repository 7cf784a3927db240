//! The Match blocks of sshd's configuration, each with one login that it applies to. `sshd -T`
//! answers for one login at a time, so a block that lets its users escape is only seen by trying.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::super::local::Local;
use super::{ANYBODY, ANYWHERE, Spec};
use crate::groups::Groups;

/// Files that are read, includes and all.
const MOST_FILES: usize = 64;

/// Where a relative Include is looked for.
const FOLDER: &str = "/etc/ssh";

/// A Match block that can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// `Match User bob (sshd_config:12)`
    pub label: String,
    /// A login that it applies to.
    pub spec: Spec,
}

/// The blocks of the file at `path`, and those that no login could be made up for.
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

/// A line's words: blanks and one `=` part them, quotes hold them together, `#` ends them.
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

/// The files of an Include, in their order. Wildcards may stand in the last part alone.
fn included(pattern: &str) -> Vec<PathBuf> {
    let path = Path::new(FOLDER).join(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let name = name.to_string_lossy().into_owned();
    if !name.contains(['*', '?']) {
        return vec![path];
    }
    let fits = |file: &Path| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        fits(&name, &file) && !file.starts_with('.')
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| fits(path))
        .collect();
    files.sort();
    files
}

/// Whether `name` fits `pattern`, as in a configuration's `groups`.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    Groups::parse(pattern.as_bytes()).is_ok_and(|pattern| pattern.matches(&[name]))
}

/// A login to which all the criteria of a Match line apply.
fn login(criteria: &[String], local: &Local) -> Option<Spec> {
    let mut spec = Spec::of(ANYBODY, ANYWHERE);
    let mut rest = criteria;
    while let [keyword, after @ ..] = rest {
        if keyword.eq_ignore_ascii_case("all") {
            rest = after;
            continue;
        }
        let [patterns, after @ ..] = after else {
            return None;
        };
        rest = after;
        let has_user = spec.user != ANYBODY;
        let first = patterns
            .split(',')
            .find(|pattern| !pattern.starts_with('!'))?;
        match keyword.to_ascii_lowercase().as_str() {
            // Whether the user is in the group as well is not for us to find out.
            "user" | "group" if has_user => return None,
            "user" => spec.user = filled(first),
            "group" => spec.user = member(first, local)?,
            "host" => spec.host = filled(first),
            "address" => spec.address = address(first)?,
            "localaddress" => spec.local_address = address(first)?,
            "localport" => spec.local_port = first.to_owned(),
            "rdomain" => spec.domain = filled(first),
            _ => return None,
        }
    }
    let fields = [&spec.user, &spec.host, &spec.local_port, &spec.domain];
    let clean = fields.iter().all(|field| !field.contains([',', '=']));
    clean.then_some(spec)
}

/// A name that fits a pattern.
fn filled(pattern: &str) -> String {
    pattern.replace(['*', '?'], "x")
}

fn member(pattern: &str, local: &Local) -> Option<String> {
    let groups = local
        .groups
        .iter()
        .filter(|group| fits(pattern, &group.name));
    let mut members = groups.filter_map(|group| local.member_of(&group.name));
    members.next().map(str::to_owned)
}

/// An address of a network; wildcards stand for a part of an IPv4 address.
fn address(pattern: &str) -> Option<String> {
    let text = pattern.split('/').next().unwrap_or_default();
    let parts = text.split('.').count();
    let mut text = text.replace(['*', '?'], "1");
    if pattern.ends_with(".*") {
        text.push_str(&".1".repeat(4_usize.saturating_sub(parts)));
    } else if pattern == "*" {
        ANYWHERE.clone_into(&mut text);
    }
    let address: std::net::IpAddr = text.parse().ok()?;
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(line: &str) -> Option<String> {
        let local = Local {
            users: Vec::new(),
            groups: vec![super::super::super::local::LocalGroup {
                name: "wheel".into(),
                gid: 7,
                members: vec!["alice".into()],
            }],
        };
        login(&words(line)[1..], &local).map(|spec| spec.to_string())
    }

    #[test]
    fn a_login_is_made_up_that_the_block_applies_to() {
        for (line, expected) in [
            ("Match User bob", "user=bob,host=192.0.2.1,addr=192.0.2.1,"),
            ("match user !root,ba* # x", "user=bax,host="),
            ("Match Group wh*", "user=alice,host="),
            (
                "Match Address 10.0.0.0/8,!10.1.0.0/16",
                "addr=10.0.0.0,laddr=",
            ),
            ("Match Address 10.*", "addr=10.1.1.1,laddr="),
            (
                "Match Address fd00::/8 User=bob",
                "user=bob,host=192.0.2.1,addr=fd00::,",
            ),
            ("Match LocalPort 2222", "lport=2222,rdomain="),
            ("Match all", "user=login_duo-no-such-user,"),
            ("Match Host \"*.example.com\"", "host=x.example.com,"),
        ] {
            let spec = tried(line).unwrap_or_default();
            assert!(spec.contains(expected), "{line}: {spec}");
        }
        for line in [
            "Match Group none",
            "Match Future x",
            "Match User !root",
            "Match User",
            "Match Address x",
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
