//! What the two processes of a login tell each other: the child its records, a
//! line of JSON each; the parent, in one byte, why it lets the child go.

use serde::{Deserialize, Serialize};

/// What the child tells its parent, in this order.
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
        // A type without maps and with text for every key always becomes JSON;
        // were it not to, an empty line is a record that no parent accepts.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// The records in `bytes`; `None` if anything else is among them.
    pub fn read_all(bytes: &[u8]) -> Option<Vec<Record>> {
        let lines = bytes.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
        lines
            .map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

/// Who logs in, as the log names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The name that Duo knows.
    pub duo_user: String,
    /// The client's address as the front end was told it, if it was.
    pub client: Option<String>,
}

impl Who {
    /// A login before it is known whose it is.
    pub fn unknown() -> Who {
        Who {
            duo_user: "?".to_owned(),
            client: None,
        }
    }
}

/// How a login came out, with what the log says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// How it came out.
    pub outcome: Outcome,
    /// The end of the log line, at most [`Verdict::LONGEST_DETAIL`] characters.
    pub detail: String,
    /// Whether the person should see the message of the day.
    pub motd: bool,
}

impl Verdict {
    /// Characters of a detail. Duo's texts end up in details, and none of them
    /// may make the record longer than its reader accepts.
    pub const LONGEST_DETAIL: usize = 1_000;

    /// A verdict without the message of the day. A longer `detail` is cut.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Verdict {
        let mut detail = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(Verdict::LONGEST_DETAIL) {
            detail.truncate(end);
        }
        Verdict {
            outcome,
            detail,
            motd: false,
        }
    }

    /// The same, with the message of the day if `motd` and the verdict opens.
    pub fn with_motd(self, motd: bool) -> Verdict {
        Verdict {
            motd: motd && self.outcome.opens(),
            ..self
        }
    }
}

/// How a login, or one attempt, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Duo allowed.
    Successful,
    /// preauth said that no second factor is needed.
    Skipped,
    /// The user's groups need none.
    Bypassed,
    /// An attempt was denied.
    Failed,
    /// preauth said no, a 4xx, a 429, or the user gave up.
    Aborted,
    /// Allowed by failmode.
    Failsafe,
    /// Denied by failmode.
    Failsecure,
    /// An error after Duo had answered, or a fault of this machine.
    Error,
}

impl Outcome {
    /// Whether this outcome opens the door. These four are all that do.
    pub fn opens(self) -> bool {
        match self {
            Outcome::Successful | Outcome::Skipped | Outcome::Bypassed | Outcome::Failsafe => true,
            Outcome::Failed | Outcome::Aborted | Outcome::Failsecure | Outcome::Error => false,
        }
    }
}

/// Why a parent lets its child go before the child is done. One byte on the
/// life pipe; a pipe that closes without it means that the parent was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// SIGINT, Ctrl-C as a rule.
    Interrupted,
    /// SIGHUP.
    HungUp,
    /// SIGTERM or SIGQUIT.
    Terminated,
    /// The terminal of a conversation is gone.
    TerminalClosed,
    /// Nobody reads stdout and stderr any more: the client of a headless
    /// session is gone.
    ConnectionClosed,
}

impl Left {
    const ALL: [(Left, u8, &str); 5] = [
        (Left::Interrupted, b'i', "interrupted"),
        (Left::HungUp, b'h', "hung up"),
        (Left::Terminated, b't', "terminated"),
        (Left::TerminalClosed, b'T', "the terminal was closed"),
        (Left::ConnectionClosed, b'c', "the connection was closed"),
    ];

    /// The byte on the life pipe.
    pub fn to_byte(self) -> u8 {
        let entry = Left::ALL.iter().find(|(left, ..)| *left == self);
        entry.map_or(b'?', |(_, byte, _)| *byte)
    }

    /// What a byte on the life pipe means.
    pub fn from_byte(byte: u8) -> Option<Left> {
        let entry = Left::ALL.iter().find(|(_, known, _)| *known == byte);
        entry.map(|(left, ..)| *left)
    }

    /// The words of the log.
    pub fn words(self) -> &'static str {
        let entry = Left::ALL.iter().find(|(left, ..)| *left == self);
        entry.map_or("", |(.., words)| *words)
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
            "{\"Verdict\":{\"outcome\":\"Successful\",\"detail\":\"\"}}\n",
            "{\"Verdict\":{\"outcome\":\"Allow\",\"detail\":\"\",\"motd\":false}}\n",
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
    fn each_way_to_leave_has_a_byte_of_its_own() {
        for (left, ..) in Left::ALL {
            assert_eq!(Left::from_byte(left.to_byte()), Some(left));
        }
        assert_eq!(Left::from_byte(0), None);
    }
}
