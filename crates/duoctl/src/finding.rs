//! What `duoctl check` finds, and how it reads: one line a finding, grouped, with the command
//! that mends it below. Whoever looks at something makes findings; nobody but this file prints.
//!
//! Some texts came over the network: all are made one harmless line here.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use duo_policy::text::{Charset, one_line};
use serde::{Deserialize, Serialize};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as it should.
    Warn,
    /// Denies logins, or lets in who should not be.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `group.what`: the same in every release, for scripts.
    pub id: Cow<'static, str>,
    /// How much it matters.
    pub level: Level,
    /// What was found. Nothing secret.
    pub text: String,
    /// The command, or the line of a file, that mends it.
    pub mend: Option<String>,
}

impl Finding {
    /// A finding of any level.
    pub fn new(level: Level, id: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            id: Cow::Borrowed(id),
            level,
            text: text.into(),
            mend: None,
        }
    }

    /// As it should be.
    pub fn ok(id: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, id, text)
    }

    /// Not as it should be.
    pub fn warn(id: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Warn, id, text)
    }

    /// Denies logins, or opens the door wrongly.
    pub fn fail(id: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Fail, id, text)
    }

    /// With what mends it.
    pub fn mend(mut self, command: impl Into<String>) -> Finding {
        self.mend = Some(command.into());
        self
    }
}

/// The groups in which findings are told: the first part of the id, and the heading.
const GROUPS: [(&str, &str); 6] = [
    ("installation", "Installation"),
    ("configuration", "Configuration"),
    ("network", "Network"),
    ("sshd", "sshd"),
    ("pam", "PAM"),
    ("user", "User"),
];

/// Whether the reader's terminal takes colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// It does.
    Yes,
    /// It does not, or it is no terminal, or the reader wants none.
    No,
}

/// All findings of one run.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

/// `--json`, as docs/check.schema.json describes it.
#[derive(Serialize)]
struct Document {
    version: &'static str,
    level: Level,
    exit_status: u8,
    findings: Vec<Finding>,
}

impl Findings {
    /// The worst of them.
    pub fn level(&self) -> Level {
        let levels = self.0.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Ok)
    }

    /// 0 all good, 1 something fails, 2 warnings only.
    pub fn exit_status(&self) -> u8 {
        match self.level() {
            Level::Ok => 0,
            Level::Fail => 1,
            Level::Warn => 2,
        }
    }

    /// For people.
    pub fn as_text(&self, charset: Charset, colour: Colour) -> String {
        let mut text = String::new();
        for (group, heading) in GROUPS {
            let mut heading = Some(heading);
            for finding in self.of(group) {
                if let Some(heading) = heading.take() {
                    let gap = if text.is_empty() { "" } else { "\n" };
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{gap}{heading}");
                }
                let label = label(finding.level, colour);
                // The id of what fails is what `--accept` takes.
                let id = match finding.level {
                    Level::Fail => format!("  [{}]", finding.id),
                    Level::Ok | Level::Warn => String::new(),
                };
                let _ = writeln!(text, "  {label}  {}{id}", one_line(&finding.text, charset));
                if let Some(mend) = &finding.mend {
                    let _ = writeln!(text, "        {}", one_line(mend, charset));
                }
            }
        }
        let count = |level| self.0.iter().filter(|found| found.level == level).count();
        let (failures, warnings) = (count(Level::Fail), count(Level::Warn));
        let _ = match (failures, warnings) {
            (0, 0) => writeln!(text, "\nAll good."),
            (0, _) => writeln!(text, "\nWarnings: {warnings}."),
            _ => writeln!(text, "\nFailures: {failures}, warnings: {warnings}."),
        };
        text
    }

    /// For programs.
    pub fn as_json(&self) -> String {
        let ordered = GROUPS.iter().flat_map(|(group, _)| self.of(group));
        let findings = ordered.map(|finding| Finding {
            id: finding.id.clone(),
            level: finding.level,
            text: one_line(&finding.text, Charset::Utf8).into_owned(),
            mend: finding
                .mend
                .as_ref()
                .map(|mend| one_line(mend, Charset::Utf8).into_owned()),
        });
        let document = Document {
            version: env!("CARGO_PKG_VERSION"),
            level: self.level(),
            exit_status: self.exit_status(),
            findings: findings.collect(),
        };
        // Strings and numbers: nothing in it can fail to be written.
        let mut json = serde_json::to_string_pretty(&document).unwrap_or_default();
        json.push('\n');
        json
    }

    fn of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Finding> {
        let first = |finding: &&Finding| finding.id.split('.').next() == Some(group);
        self.0.iter().filter(first)
    }
}

fn label(level: Level, colour: Colour) -> String {
    let (word, number) = match level {
        Level::Ok => ("ok  ", 32),
        Level::Warn => ("warn", 33),
        Level::Fail => ("FAIL", 31),
    };
    match colour {
        Colour::Yes => format!("\x1b[{number}m{word}\x1b[0m"),
        Colour::No => word.to_owned(),
    }
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%".contains(letter);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Findings {
        Findings(vec![
            Finding::ok("network.name", "x"),
            Finding::warn("installation.mode", "mode \x1b[2J").mend("chmod 4755 x"),
            Finding::fail("network.tls", "no"),
        ])
    }

    #[test]
    fn findings_are_grouped_aligned_and_counted() {
        assert_eq!(
            some().as_text(Charset::Utf8, Colour::No),
            "Installation\n  warn  mode ?[2J\n        chmod 4755 x\n\n\
             Network\n  ok    x\n  FAIL  no  [network.tls]\n\nFailures: 1, warnings: 1.\n"
        );
        assert_eq!(
            Findings::default().as_text(Charset::Utf8, Colour::No),
            "\nAll good.\n"
        );
    }

    #[test]
    fn colour_stands_around_the_level_alone() {
        let text = some().as_text(Charset::Utf8, Colour::Yes);
        assert!(
            text.contains("  \x1b[31mFAIL\x1b[0m  no  [network.tls]\n"),
            "{text:?}"
        );
        assert_eq!(text.matches('\x1b').count(), 6);
    }

    #[test]
    fn the_worst_finding_decides_the_exit_status() {
        let of = |findings: Vec<Finding>| Findings(findings).exit_status();
        assert_eq!(of(vec![]), 0);
        assert_eq!(of(vec![Finding::ok("network.name", "x")]), 0);
        assert_eq!(of(vec![Finding::warn("network.name", "x")]), 2);
        assert_eq!(some().exit_status(), 1);
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("/etc/duo/x.conf")), "/etc/duo/x.conf");
        assert_eq!(quoted(Path::new("/a b'c")), r"'/a b'\''c'");
    }
}
