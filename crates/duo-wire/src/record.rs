//! What the two processes of a login send each other. The child writes records,
//! one line of JSON each, on the verdict pipe. The parent writes one byte, a
//! [`Departure`], on the life pipe (docs/security.md, *Life and death*).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One line from the child to its parent. The child sends the variants in the
/// order in which they stand here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Record {
    /// Whose login this is.
    Who(Who),
    /// The final line is in the log; the parent must not write one.
    Logged,
    /// How the login came out.
    Verdict(Verdict),
}

impl Record {
    /// The record as the pipe carries it, with its line end.
    pub fn to_line(&self) -> String {
        // Only a map whose keys are not text cannot become JSON, and a record
        // has no map. If this failed all the same, the parent would refuse the
        // empty line.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// The records in `bytes`; `None` if `bytes` is anything but whole lines
    /// with a record each.
    pub fn read_all(bytes: &[u8]) -> Option<Vec<Record>> {
        let lines = bytes.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
        lines
            .map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

/// Who logs in, as the log names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "WhoRecord", from = "WhoRecord")]
pub struct Who {
    /// The name that Duo knows.
    pub duo_user: String,
    /// The client's address as the front end received it, which need not be a
    /// valid one; `None` if it received none.
    pub client: Option<String>,
    /// The name of the account; `None` if there is none, or if it is not known yet.
    pub login: Option<String>,
    /// What asks: `ssh` for login_duo, else the name that the host has for PAM.
    pub service: Option<String>,
    /// The terminal, as a host of PAM names it.
    pub terminal: Option<String>,
}

/// A record has the fields in their order, without names: code that reads names is
/// large, and this is in the setuid program.
type WhoRecord = (
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

impl From<Who> for WhoRecord {
    fn from(who: Who) -> WhoRecord {
        (
            who.duo_user,
            who.client,
            who.login,
            who.service,
            who.terminal,
        )
    }
}

impl From<WhoRecord> for Who {
    fn from((duo_user, client, login, service, terminal): WhoRecord) -> Who {
        Who {
            duo_user,
            client,
            login,
            service,
            terminal,
        }
    }
}

impl Who {
    /// The names of a login whose account is not known yet.
    pub fn unknown() -> Who {
        Who {
            duo_user: "?".to_owned(),
            client: None,
            login: None,
            service: None,
            terminal: None,
        }
    }
}

/// What is known of a login beyond its outcome, for the fields of the log. It stays in
/// the process that finds it out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The factor that was asked for last, or that the verdict is about.
    pub factor: Option<String>,
    /// Duo's name for that transaction.
    pub transaction: Option<String>,
    /// How many attempts the login has taken; 0 if Duo was not asked.
    pub attempt: u8,
    /// How long Duo was waited for, without the person's time.
    pub duo: Duration,
    /// How long the person was waited for: at the menu, and with a push or a call.
    pub person: Duration,
}

/// How a login came out, with what the log says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "VerdictRecord", from = "VerdictRecord")]
pub struct Verdict {
    /// How it came out.
    pub outcome: Outcome,
    /// The end of the log line, at most 1,000 characters.
    pub detail: String,
    /// Whether the person should see the message of the day.
    pub motd: bool,
    /// What else is known. The parent does not need it, and a record does not have it.
    pub facts: Facts,
}

/// As for [`WhoRecord`].
type VerdictRecord = (Outcome, String, bool);

impl From<Verdict> for VerdictRecord {
    fn from(verdict: Verdict) -> VerdictRecord {
        (verdict.outcome, verdict.detail, verdict.motd)
    }
}

impl From<VerdictRecord> for Verdict {
    fn from((outcome, detail, motd): VerdictRecord) -> Verdict {
        Verdict {
            outcome,
            detail,
            motd,
            facts: Facts::default(),
        }
    }
}

impl Verdict {
    /// The most characters of a detail. A detail may be a text of Duo's, and no
    /// such text may make the record longer than the parent reads.
    const LONGEST_DETAIL: usize = 1_000;

    /// A verdict without the message of the day. A `detail` of more than 1,000
    /// characters is cut.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Verdict {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(Verdict::LONGEST_DETAIL) {
            detail.truncate(end);
        }
        Verdict {
            outcome,
            detail,
            motd: false,
            facts: Facts::default(),
        }
    }

    /// The same verdict, with what else is known of the login.
    pub fn with_facts(self, facts: Facts) -> Verdict {
        Verdict { facts, ..self }
    }

    /// The same verdict, with the message of the day if `motd` is set and the
    /// outcome opens the door.
    pub fn with_motd(self, motd: bool) -> Verdict {
        Verdict {
            motd: motd && self.outcome.opens(),
            ..self
        }
    }
}

/// How a login, or one attempt, came out. A record has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Outcome {
    /// Duo allowed.
    Successful,
    /// preauth said that no second factor is needed.
    Skipped,
    /// Duo asks this user for a second factor, and a person's yes counts for this
    /// connection still.
    Remembered,
    /// The user's groups need no second factor.
    Bypassed,
    /// An attempt was denied.
    Failed,
    /// Duo refused or limited the login (preauth, HTTP 4xx, HTTP 429), or the
    /// person gave up.
    Aborted,
    /// Allowed by failmode.
    Failsafe,
    /// Denied by failmode.
    Failsecure,
    /// An error after Duo had answered, or a fault of this machine.
    Error,
    /// Denied: a host of PAM named no account of this machine.
    NoAccount,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 10] = [
        Outcome::Successful,
        Outcome::Skipped,
        Outcome::Remembered,
        Outcome::Bypassed,
        Outcome::Failed,
        Outcome::Aborted,
        Outcome::Failsafe,
        Outcome::Failsecure,
        Outcome::Error,
        Outcome::NoAccount,
    ];

    /// Whether this outcome opens the door.
    pub fn opens(self) -> bool {
        match self {
            Outcome::Successful
            | Outcome::Skipped
            | Outcome::Remembered
            | Outcome::Bypassed
            | Outcome::Failsafe => true,
            Outcome::Failed
            | Outcome::Aborted
            | Outcome::Failsecure
            | Outcome::Error
            | Outcome::NoAccount => false,
        }
    }

    /// The name of this outcome in the fields of the log (docs/monitoring.md, *Fields*).
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Successful => "successful",
            Outcome::Skipped => "skipped",
            Outcome::Remembered => "remembered",
            Outcome::Bypassed => "bypassed",
            Outcome::Failed => "failed",
            Outcome::Aborted => "aborted",
            Outcome::Failsafe => "failsafe",
            Outcome::Failsecure => "failsecure",
            Outcome::Error => "error",
            Outcome::NoAccount => "rejected",
        }
    }

    /// The outcome of this name.
    pub fn of_name(name: &str) -> Option<Outcome> {
        Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.name() == name)
    }
}

impl From<Outcome> for &'static str {
    fn from(outcome: Outcome) -> &'static str {
        outcome.name()
    }
}

impl TryFrom<String> for Outcome {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Outcome, &'static str> {
        Outcome::of_name(&name).ok_or("no such outcome")
    }
}

/// Why the person is gone before the child is done, as the parent tells the
/// child. It is one byte on the life pipe. A life pipe that closes without a
/// byte means that the parent was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// SIGINT, Ctrl-C as a rule.
    Interrupted,
    /// SIGHUP.
    HungUp,
    /// SIGTERM or SIGQUIT.
    Terminated,
    /// The terminal of a conversation is gone.
    TerminalClosed,
    /// Nobody reads stdout and stderr any more, so the client of a headless
    /// session is gone.
    ConnectionClosed,
    /// The program that asked through PAM has ended, or waits no longer.
    HostEnded,
    /// The parent can watch for none of these any more: its user has taken its
    /// descriptors away (prlimit).
    Unwatched,
}

impl Departure {
    const ALL: [(Departure, u8, &str); 7] = [
        (Departure::Interrupted, b'i', "interrupted"),
        (Departure::HungUp, b'h', "hung up"),
        (Departure::Terminated, b't', "terminated"),
        (Departure::TerminalClosed, b'T', "the terminal was closed"),
        (
            Departure::ConnectionClosed,
            b'c',
            "the connection was closed",
        ),
        (
            Departure::HostEnded,
            b'p',
            "the program that asked has ended",
        ),
        (Departure::Unwatched, b'u', "nobody can be watched any more"),
    ];

    /// The byte that stands for this departure on the life pipe.
    pub fn to_byte(self) -> u8 {
        let entry = Departure::ALL.iter().find(|(left, ..)| *left == self);
        entry.map_or(b'?', |(_, byte, _)| *byte)
    }

    /// The departure that a byte on the life pipe stands for; `None` if there is
    /// no such byte.
    pub fn from_byte(byte: u8) -> Option<Departure> {
        let entry = Departure::ALL.iter().find(|(_, known, _)| *known == byte);
        entry.map(|(left, ..)| *left)
    }

    /// The reason as the log writes it, such as `hung up`.
    pub fn reason(self) -> &'static str {
        let entry = Departure::ALL.iter().find(|(left, ..)| *left == self);
        entry.map_or("", |(.., reason)| *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_of_the_pipe_as_they_went_in() {
        let who = Who {
            duo_user: "a'\n\"b".into(),
            client: Some("192.0.2.7".into()),
            login: Some("a".into()),
            service: Some("sudo".into()),
            terminal: None,
        };
        let records = vec![
            Record::Who(who),
            Record::Logged,
            Record::Verdict(Verdict::new(Outcome::Successful, "push1")),
        ];
        let bytes: String = records.iter().map(Record::to_line).collect();
        assert_eq!(bytes.lines().count(), 3);
        assert_eq!(Record::read_all(bytes.as_bytes()), Some(records));
    }

    #[test]
    fn anything_but_whole_records_is_none() {
        let line = Record::Logged.to_line();
        for bytes in [
            "",
            "\n",
            "allow\n",
            "\"Logged\"",
            "\"Logged\"\n\n",
            "{\"Verdict\":[\"successful\",\"\"]}\n",
            "{\"Verdict\":[\"successful\",\"\",false,false]}\n",
            "{\"Verdict\":[\"allow\",\"\",false]}\n",
            "{\"Verdict\":{\"outcome\":\"successful\",\"detail\":\"\",\"motd\":false}}\n",
            &line.repeat(2).replace("\n\"", ""),
        ] {
            assert_eq!(Record::read_all(bytes.as_bytes()), None, "{bytes:?}");
        }
        assert_eq!(Record::read_all(b"\"Logged\"\n\xff\n"), None);
    }

    #[test]
    fn a_text_of_duos_cannot_make_a_record_too_long() {
        let verdict = Verdict::new(Outcome::Failed, "\x1b".repeat(150_000));
        assert_eq!(verdict.detail.chars().count(), Verdict::LONGEST_DETAIL);
        assert!(Record::Verdict(verdict).to_line().len() < 7_000);
    }

    #[test]
    fn each_outcome_has_a_name_of_its_own() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::of_name(outcome.name()), Some(outcome));
        }
        assert_eq!(Outcome::of_name("Successful"), None);
    }

    #[test]
    fn each_way_to_leave_has_a_byte_of_its_own() {
        for (left, ..) in Departure::ALL {
            assert_eq!(Departure::from_byte(left.to_byte()), Some(left));
        }
        assert_eq!(Departure::from_byte(0), None);
    }
}
