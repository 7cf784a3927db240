//! What login_duo has logged last: from the journal, where the kernel says who wrote a line; else
//! from the file to which the log daemon writes, where the line's tag says it. A line that only
//! quotes login_duo, in another program's message, is none.
//!
//! In the journal only lines count whose writer no ordinary user can be. The program's file
//! alone proves nothing: whoever starts login_duo under no_new_privs with LD_PRELOAD runs code
//! of their own in it (docs/monitoring.md, *What to trust*).

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use duo_policy::log_line;
use duo_system::privsep::{self, Standing};
use duo_wire::{Outcome, Verdict, Who};
use nix::fcntl::OFlag;
use nix::unistd::Uid;
use serde::Deserialize;
use serde_json::Value;

use crate::check::sshd::run;
use crate::layout::HELPER;

/// Where journalctl is; never the caller's PATH.
const JOURNALCTL: [&str; 2] = ["/usr/bin/journalctl", "/bin/journalctl"];

/// Where the lines of authpriv go without a journal: Debian's file, then Fedora's.
const FILES: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];

/// Of such a file, this much of its end is read, in bytes.
const END: u64 = 512 * 1024;

/// Lines of login_duo that are read.
const MOST_LINES: &str = "200";

/// For journalctl, which may have gigabytes to go through.
const PATIENCE: Duration = Duration::from_secs(10);

/// The syslog tags of a login's lines: of the program, and of the PAM module.
const TAGS: [&str; 2] = ["login_duo", "pam_duo"];

/// What was found, the newest line last.
pub struct Journal {
    /// Where.
    pub source: Source,
    /// The last line of each login, and of each denied attempt.
    pub outcomes: Vec<Line>,
}

/// Where lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The journal: no ordinary user can have written them.
    Journal,
    /// A file, into which every user of the machine can have such lines written.
    File(PathBuf),
    /// There is neither.
    Nowhere,
}

/// How one login, or one attempt, came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, as the log has it.
    pub when: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The whole line.
    pub text: String,
}

/// Reads the last lines. `program` is login_duo's file.
pub fn read(program: &Path, standing: Standing) -> Journal {
    if let Some(lines) = from_journal(program, child(standing)) {
        return Journal {
            source: Source::Journal,
            outcomes: outcomes(lines),
        };
    }
    for path in FILES.map(Path::new) {
        if let Ok(text) = end_of(path) {
            return Journal {
                source: Source::File(path.to_owned()),
                outcomes: outcomes(text.lines().filter_map(tagged)),
            };
        }
    }
    Journal {
        source: Source::Nowhere,
        outcomes: Vec::new(),
    }
}

/// The user id of the child, which writes the log; of a user's own install, that user's, whom
/// no other user can be.
fn child(standing: Standing) -> Option<u32> {
    let user = match standing {
        Standing::Own => Some(Uid::current()),
        Standing::Root | Standing::Setuid => {
            let user = privsep::privsep_user(standing).unwrap_or_default();
            user.map(|user| user.uid)
        }
    };
    user.map(Uid::as_raw)
}

/// A line that is login_duo's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Logged {
    when: String,
    text: String,
    /// The outcome that its field names: lines of syslog have no fields.
    outcome: Option<Outcome>,
}

/// The last line of each login; those in between are not outcomes.
fn outcomes(lines: impl IntoIterator<Item = Logged>) -> Vec<Line> {
    let line = |Logged {
                    when,
                    text,
                    outcome,
                }: Logged| {
        let by_text = || {
            let mut all = Outcome::ALL.into_iter();
            all.find(|outcome| is_of(*outcome, &text))
        };
        let outcome = outcome.or_else(by_text)?;
        Some(Line {
            when,
            outcome,
            text,
        })
    };
    lines.into_iter().filter_map(line).collect()
}

/// Whether a line has this outcome, by the very function that writes it: a name that cannot be in
/// one stands for the name.
fn is_of(outcome: Outcome, text: &str) -> bool {
    const NAME: &str = "~";
    let who = Who {
        duo_user: NAME.to_owned(),
        client: None,
        ..Who::unknown()
    };
    let written = log_line::of_verdict(&Verdict::new(outcome, ""), &who);
    match outcome {
        Outcome::Bypassed => {
            let written = log_line::of_verdict(&Verdict::new(outcome, NAME), &who);
            let (before, after) = written.split_once(NAME).unwrap_or_default();
            text.starts_with(before) && text.ends_with(after)
        }
        _ => {
            let (before, _) = written.split_once(NAME).unwrap_or_default();
            !before.is_empty() && text.starts_with(before)
        }
    }
}

/// An entry of the journal. Fields with an underscore come from journald itself.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    microseconds: String,
    /// A list of numbers where it is not UTF-8, and then none of ours.
    #[serde(rename = "MESSAGE")]
    message: Value,
    #[serde(rename = "_UID")]
    uid: Option<String>,
    #[serde(rename = "_EXE")]
    program: Option<String>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    tag: Option<String>,
    /// A text in each line that login_duo wrote; anything in one that somebody forged.
    #[serde(rename = "DUO_OUTCOME")]
    outcome: Option<Value>,
}

fn from_journal(program: &Path, child: Option<u32>) -> Option<Vec<Logged>> {
    let journalctl = JOURNALCTL
        .into_iter()
        .find(|path| Path::new(path).is_file())?;
    let tags = TAGS.map(|tag| format!("SYSLOG_IDENTIFIER={tag}"));
    let mut command = Command::new(journalctl);
    command.args([
        "--no-pager",
        "--quiet",
        "--output=json",
        "--lines",
        MOST_LINES,
    ]);
    // Several values of one field mean any of them. journalctl chooses by what counts, so
    // that forged lines take no place among the last ones.
    command.args(&tags).arg("_UID=0");
    command.arg(format!("_EXE={}", program.display()));
    command.arg(format!("_EXE={HELPER}"));
    if let Some(uid) = child {
        command.arg("+").args(&tags).arg(format!("_UID={uid}"));
    }
    let (_, text, _) = run::run(&mut command, Instant::now() + PATIENCE)
        .ok()
        .filter(|(good, ..)| *good)?;
    let lines: Vec<Logged> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|entry| attributed(entry, program, child))
        .collect();
    // A machine with the program but without a journal of its own has an empty one.
    (!lines.is_empty() || Path::new("/run/systemd/journal").is_dir()).then_some(lines)
}

/// An entry that journald attributes to login_duo: to the user of its child, or to root and its
/// file.
fn attributed(entry: Entry, program: &Path, child: Option<u32>) -> Option<Logged> {
    let own = [program, Path::new(HELPER)];
    let is_own = entry.program.as_deref().map(Path::new);
    let is_own = is_own.is_some_and(|it| own.contains(&it));
    let uid: Option<u32> = entry.uid.and_then(|uid| uid.parse().ok());
    let is_trusted = uid.is_some_and(|uid| Some(uid) == child || uid == 0 && is_own);
    let has_tag = entry.tag.as_deref().is_some_and(|tag| TAGS.contains(&tag));
    if !has_tag || !is_trusted {
        return None;
    }
    let text = entry.message.as_str()?.to_owned();
    let since = Duration::from_micros(entry.microseconds.parse().ok()?);
    let when = SystemTime::UNIX_EPOCH.checked_add(since)?;
    let name = entry.outcome.as_ref().and_then(Value::as_str);
    Some(Logged {
        when: httpdate::fmt_http_date(when),
        text,
        outcome: name.and_then(Outcome::of_name),
    })
}

/// The end of a log file, in whole lines.
fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file: File = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY).bits())
        .open(path)?;
    let status = file.metadata()?;
    if !status.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let from = status.len().saturating_sub(END);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match from {
        0 => text,
        _ => text
            .split_once('\n')
            .map_or(String::new(), |(_, rest)| rest.to_owned()),
    })
}

/// `TIME HOST login_duo[PID]: TEXT`, with either kind of time: the tag counts where the log daemon
/// puts it, and nowhere else.
fn tagged(line: &str) -> Option<Logged> {
    let words = match line.starts_with(|letter: char| letter.is_ascii_digit()) {
        true => 1,
        // Nov 26 13:45:20
        false => 3,
    };
    let mut rest = line;
    let mut when = Vec::new();
    for _ in 0..words {
        let (word, after) = rest.split_once(' ')?;
        when.push(word);
        // A day of one digit has a blank before it.
        rest = after.trim_start();
    }
    let (_host, rest) = rest.split_once(' ')?;
    let (pid, text) = TAGS
        .iter()
        .find_map(|tag| rest.strip_prefix(tag))?
        .strip_prefix('[')?
        .split_once("]: ")?;
    let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Logged {
        when: when.join(" "),
        text: text.to_owned(),
        outcome: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: &str = "Successful Duo login for 'alice' from 192.0.2.7: push1";

    #[test]
    fn a_line_counts_where_the_log_daemon_puts_the_tag_and_nowhere_else() {
        let of = |line: &str| tagged(line).map(|line| line.when);
        assert_eq!(
            of(&format!("Nov  6 13:45:20 host login_duo[12]: {YES}")).as_deref(),
            Some("Nov 6 13:45:20")
        );
        let time = "2026-11-26T13:45:20.123456+00:00";
        for tag in TAGS {
            let line = tagged(&format!("{time} host {tag}[12]: {YES}")).unwrap();
            assert_eq!((&*line.when, &*line.text), (time, YES));
        }
        for other in [
            format!("{time} host sshd[1]: x login_duo[12]: {YES}"),
            format!("{time} host logger: login_duo[12]: {YES}"),
            format!("{time} host duoctl[12]: test: {YES}"),
            format!("{time} host login_duo[x]: {YES}"),
            format!("{time} login_duo[12]: {YES}"),
            String::new(),
        ] {
            assert_eq!(of(&other), None, "{other}");
        }
    }

    #[test]
    fn an_entry_counts_by_what_journald_itself_says() {
        let program = Path::new("/usr/sbin/login_duo");
        let of = |tag: &str, exe: &str, uid: &str| {
            let text = format!(
                r#"{{"__REALTIME_TIMESTAMP":"1790000000000000","MESSAGE":"x",
                "SYSLOG_IDENTIFIER":"{tag}","_EXE":"{exe}","_UID":"{uid}"}}"#
            );
            let entry = serde_json::from_str(&text).unwrap();
            attributed(entry, program, Some(998)).is_some()
        };
        assert!(of("login_duo", "/other", "998") && of("pam_duo", "/other", "998"));
        assert!(of("pam_duo", HELPER, "0") && of("login_duo", "/usr/sbin/login_duo", "0"));
        // Started under no_new_privs with LD_PRELOAD, the program runs code of its caller's.
        assert!(!of("login_duo", "/usr/sbin/login_duo", "1000"));
        assert!(!of("pam_duo", HELPER, "1000"));
        // A program of root's may log what somebody else chose.
        assert!(!of("login_duo", "/usr/bin/logger", "0"));
        assert!(!of("pam_duo", "/usr/bin/logger", "1000"));
        // logger -t login_duo, by whoever may log in.
        assert!(!of("login_duo", "/usr/bin/logger", "1000"));
        assert!(!of("sudo", "/usr/sbin/login_duo", "998"));
    }

    #[test]
    fn every_outcome_is_told_from_its_line() {
        let who = Who {
            duo_user: "a'b".to_owned(),
            client: Some("192.0.2.7".to_owned()),
            ..Who::unknown()
        };
        // An approval that counts still has the word of `Skipped`.
        let told = Outcome::ALL.into_iter();
        for outcome in told.filter(|it| *it != Outcome::Remembered) {
            let text = log_line::of_verdict(&Verdict::new(outcome, "why"), &who);
            let found = outcomes([logged(&text, None)]);
            assert_eq!(
                found.first().map(|line| line.outcome),
                Some(outcome),
                "{text}"
            );
        }
        let text = log_line::of_asking(&who);
        assert!(outcomes([logged(&text, None)]).is_empty());
    }

    #[test]
    fn a_field_says_the_outcome_whatever_the_text_is() {
        let entry = |field: &str| {
            let text = format!(
                r#"{{"__REALTIME_TIMESTAMP":"1790000000000000","MESSAGE":"{YES}",
                "SYSLOG_IDENTIFIER":"login_duo","_UID":"998","DUO_OUTCOME":{field}}}"#
            );
            let entry = serde_json::from_str(&text).unwrap();
            let line = attributed(entry, Path::new("/x"), Some(998)).unwrap();
            outcomes([line]).first().map(|line| line.outcome)
        };
        assert_eq!(entry("\"failsafe\""), Some(Outcome::Failsafe));
        // A newer login_duo, or a field that came twice.
        for odd in ["\"new\"", "[\"failsafe\",\"failed\"]", "null"] {
            assert_eq!(entry(odd), Some(Outcome::Successful), "{odd}");
        }
    }

    fn logged(text: &str, outcome: Option<Outcome>) -> Logged {
        Logged {
            when: String::new(),
            text: text.to_owned(),
            outcome,
        }
    }
}
