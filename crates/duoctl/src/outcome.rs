//! How a command ends, and what it says: text as it happens, or one JSON object
//! at the end. Every command but `check` ends here, so that an exit status
//! means the same for all of them.

use std::io::Write;
use std::process::ExitCode;

use duo_policy::text::{Charset, one_line};
use serde_json::{Map, Value};

use crate::cli::{Common, Format};

/// What a command came to.
pub type Outcome = Result<Done, Failure>;

/// The command did what was asked for. Exit status 0. The greater one is what several steps together
/// came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Done {
    /// Everything was so already, or the command only looks.
    Unchanged,
    /// `--dry-run`: without it, something would be different.
    WouldChange,
    /// Something is different now.
    Changed,
}

/// The command did not do what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Refused, or failed with nothing changed. Exit status 1.
    Refused(String),
    /// Failed half-way. Exit status 3.
    HalfWay {
        /// What failed.
        why: String,
        /// The command that takes back what was done.
        way_back: String,
    },
    /// The arguments do not make sense together. Exit status 64.
    Usage(String),
}

impl Failure {
    /// A refusal, or a failure with nothing changed.
    pub fn refused(why: impl Into<String>) -> Failure {
        Failure::Refused(why.into())
    }

    fn status(&self) -> u8 {
        match self {
            Failure::Refused(_) => 1,
            Failure::HalfWay { .. } => 3,
            Failure::Usage(_) => 64,
        }
    }
}

/// What is said while a command runs.
pub struct Report {
    format: Format,
    charset: Charset,
    said: Vec<String>,
    warnings: Vec<String>,
    more: Map<String, Value>,
}

impl Report {
    /// For a reader who wants it so.
    pub fn for_reader(common: &Common) -> Report {
        Report {
            format: common.format,
            charset: common.terminal.charset,
            said: Vec::new(),
            warnings: Vec::new(),
            more: Map::new(),
        }
    }

    /// A line for people.
    pub fn say(&mut self, line: impl Into<String>) {
        let line = one_line(&line.into(), self.charset).into_owned();
        if self.format == Format::Text {
            // A reader that has gone is not an event.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        self.said.push(line);
    }

    /// A line about something that is not as it should be.
    pub fn warn(&mut self, line: impl Into<String>) {
        let line = one_line(&line.into(), self.charset).into_owned();
        if self.format == Format::Text {
            let _ = writeln!(std::io::stderr(), "duoctl: warning: {line}");
        }
        self.warnings.push(line);
    }

    /// A further member of the JSON object; text does not show it.
    pub fn put(&mut self, key: &str, value: Value) {
        self.more.insert(key.to_owned(), value);
    }

    /// With `--json`: the object of a command that has done all but its last step, as it will
    /// be if that succeeds, for one whose object must be out before. From here on, warnings and
    /// the failure of that step go to stderr. `None` for text.
    pub fn object_before_the_last_step(&mut self, step: Done) -> Option<String> {
        if self.format == Format::Text {
            return None;
        }
        self.format = Format::Text;
        Some(self.json(&Ok(step), 0) + "\n")
    }

    /// Says how it ended. `--json` prints everything now, as one object.
    pub fn end(mut self, outcome: &Outcome) -> ExitCode {
        let status = outcome.as_ref().err().map_or(0, Failure::status);
        if self.format == Format::Json {
            let json = self.json(outcome, status);
            let _ = writeln!(std::io::stdout(), "{json}");
            return ExitCode::from(status);
        }
        let text = match outcome {
            Ok(_) => return ExitCode::SUCCESS,
            Err(Failure::Refused(why) | Failure::Usage(why)) => why.clone(),
            Err(Failure::HalfWay { why, way_back }) => format!("{why}\nThe way back: {way_back}"),
        };
        let lines: Vec<_> = text
            .lines()
            .map(|line| one_line(line, self.charset))
            .collect();
        let _ = writeln!(std::io::stderr(), "duoctl: {}", lines.join("\n"));
        self.said.clear();
        ExitCode::from(status)
    }

    fn json(&mut self, outcome: &Outcome, status: u8) -> String {
        let changed = matches!(outcome, Ok(Done::Changed) | Err(Failure::HalfWay { .. }));
        let would_change = matches!(outcome, Ok(Done::WouldChange));
        let (error, way_back) = match outcome {
            Ok(_) => (Value::Null, Value::Null),
            Err(Failure::Refused(why) | Failure::Usage(why)) => (why.as_str().into(), Value::Null),
            Err(Failure::HalfWay { why, way_back }) => {
                (why.as_str().into(), way_back.as_str().into())
            }
        };
        let mut object = Map::new();
        object.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        object.insert("changed".into(), changed.into());
        object.insert("would_change".into(), would_change.into());
        object.insert("exit_status".into(), status.into());
        object.insert("said".into(), std::mem::take(&mut self.said).into());
        object.insert("warnings".into(), std::mem::take(&mut self.warnings).into());
        object.insert("error".into(), error);
        object.insert("way_back".into(), way_back);
        object.extend(std::mem::take(&mut self.more));
        // Text, numbers and lists: nothing in it can fail to be written.
        serde_json::to_string_pretty(&Value::Object(object)).unwrap_or_default()
    }
}
