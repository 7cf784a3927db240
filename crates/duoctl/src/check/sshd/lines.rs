//! The lines of sshd's configuration and of the files that it includes, in
//! sshd's order. What a Match line means is sshd's to say: here is only which
//! lines stand below one.

use std::fs;
use std::path::{Path, PathBuf};

use duo_policy::groups::Groups;

/// Files that are read, includes and all.
const MOST_FILES: usize = 64;

/// Where a relative Include is looked for.
const FOLDER: &str = "/etc/ssh";

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file that it stands in.
    pub file: PathBuf,
    /// Its number, from 1.
    pub number: usize,
    /// The keyword, then the rest. Never empty.
    pub words: Vec<String>,
    /// The criteria of the Match that it stands below, or that it is.
    pub below: Option<Vec<String>>,
}

impl Line {
    /// Whether this is the line of that keyword.
    pub fn is(&self, keyword: &str) -> bool {
        let first = self.words.first();
        first.is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    /// What stands behind the keyword.
    pub fn rest(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// `/etc/ssh/sshd_config:12`
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.number)
    }
}

/// All lines, and the files that could not be read.
#[derive(Debug, Default)]
pub struct Lines {
    /// In sshd's order.
    pub lines: Vec<Line>,
    /// Names of files.
    pub unread: Vec<String>,
    files: usize,
}

impl Lines {
    /// Reads the file at `path` and what it includes.
    pub fn read(path: &Path) -> Lines {
        let mut lines = Lines::default();
        lines.file(path, None);
        lines
    }

    /// A Match line in an included file ends with that file.
    fn file(&mut self, path: &Path, mut below: Option<Vec<String>>) {
        self.files += 1;
        let text = match fs::read(path) {
            Ok(text) if self.files <= MOST_FILES => String::from_utf8_lossy(&text).into_owned(),
            _ => return self.unread.push(path.display().to_string()),
        };
        for (index, line) in text.lines().enumerate() {
            let words = words(line);
            let Some(keyword) = words.first() else {
                continue;
            };
            if keyword.eq_ignore_ascii_case("match") {
                below = Some(words.get(1..).unwrap_or_default().to_vec());
            }
            let line = Line {
                file: path.to_owned(),
                number: index + 1,
                words,
                below: below.clone(),
            };
            let patterns = match line.is("include") {
                true => line.rest().to_vec(),
                false => Vec::new(),
            };
            self.lines.push(line);
            for file in patterns.iter().flat_map(|pattern| included(pattern)) {
                self.file(&file, below.clone());
            }
        }
    }
}

/// A line's words: blanks and one `=` part them, quotes hold them together, `#`
/// ends them. The carriage return of a file from elsewhere is a blank, as it is
/// to sshd.
pub fn words(line: &str) -> Vec<String> {
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
            ' ' | '\t' | '\r' | '\n' | '=' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The files of an Include, in their order. Wildcards may stand in the last part alone.
pub fn included(pattern: &str) -> Vec<PathBuf> {
    let path = Path::new(FOLDER).join(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    if !name.to_string_lossy().contains(['*', '?']) {
        return vec![path];
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|file| includes(pattern, file))
        .collect();
    files.sort();
    files
}

/// Whether an Include of `pattern` reads `file`, should that be there.
pub fn includes(pattern: &str, file: &Path) -> bool {
    let path = Path::new(FOLDER).join(pattern);
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let fits = Groups::parse(name(&path).as_bytes()).is_ok_and(|it| it.matches(&[name(file)]));
    path.parent() == file.parent() && fits && !name(file).starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_the_match_that_they_stand_below() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one.conf"), "Match User a\nForceCommand x\n").unwrap();
        let main = format!(
            "Port=22 # usual\r\nInclude {}/*.conf\nForceCommand y\nmatch all\n  ForceCommand z\n",
            folder.path().display()
        );
        fs::write(at("main"), main).unwrap();
        let read = Lines::read(&at("main"));
        let forced: Vec<_> = read
            .lines
            .iter()
            .filter(|line| line.is("forcecommand"))
            .collect();
        let told: Vec<_> = forced
            .iter()
            .map(|line| {
                (
                    line.rest().join(" "),
                    line.below.as_ref().map(|c| c.join(" ")),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("x".to_owned(), Some("User a".to_owned())),
                ("y".to_owned(), None),
                ("z".to_owned(), Some("all".to_owned())),
            ]
        );
        assert_eq!(read.lines[0].words, ["Port", "22"]);
        assert!(forced[2].place().ends_with("/main:5"));
    }

    #[test]
    fn a_file_that_includes_itself_comes_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loop");
        fs::write(&path, format!("Include {}\n", path.display())).unwrap();
        assert_eq!(Lines::read(&path).unread.len(), 1);
    }

    #[test]
    fn an_include_is_judged_without_the_file() {
        let file = Path::new("/etc/ssh/sshd_config.d/00-login_duo.conf");
        for (pattern, expected) in [
            ("/etc/ssh/sshd_config.d/*.conf", true),
            ("sshd_config.d/*", true),
            ("sshd_config.d/*.cnf", false),
            ("/etc/ssh/other.d/*.conf", false),
            ("/etc/ssh/sshd_config.d/00-login_duo.conf", true),
        ] {
            assert_eq!(includes(pattern, file), expected, "{pattern}");
        }
    }
}
