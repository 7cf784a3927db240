//! What opens the door: the outcomes, **the one function that applies
//! failmode**, and the two keys.
//!
//! A reader who wants to list every way in reads [`Outcome::opens`],
//! [`failmode`] and [`judge`], and nothing else: [`Allow`] has a private field,
//! so no other module can make one.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::config::Failmode;
use crate::error::Error;
use crate::log::{self, Priority, Who};
use crate::privsep::{End, FAULT_MARK, Report};

/// How a login, or one attempt, came out: the first word of its log line.
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
    /// The outcomes that open the door, all of them.
    pub fn opens(self) -> bool {
        match self {
            Outcome::Successful | Outcome::Skipped | Outcome::Bypassed | Outcome::Failsafe => true,
            Outcome::Failed | Outcome::Aborted | Outcome::Failsecure | Outcome::Error => false,
        }
    }

    /// The final line's beginning, and how loud it is.
    pub fn label(self) -> (&'static str, Priority) {
        match self {
            Outcome::Successful => ("Successful", Priority::Info),
            Outcome::Skipped => ("Skipped", Priority::Warning),
            Outcome::Bypassed => ("Bypassed", Priority::Info),
            Outcome::Failed => ("Failed", Priority::Warning),
            Outcome::Aborted => ("Aborted", Priority::Warning),
            Outcome::Failsafe => ("Failsafe", Priority::Warning),
            Outcome::Failsecure => ("Failsecure", Priority::Warning),
            Outcome::Error => ("Error in", Priority::Error),
        }
    }
}

/// **The** failmode table: what becomes of a login that ends in an error.
///
/// The rule behind it: a person who holds the first factor must have no way of
/// their own to make `safe` open the door, and once Duo has asked or refused,
/// only Duo's yes opens it. `stated` is the failmode of a file that was read;
/// of a broken one (`cafile` included), `safe` only if it says so beyond doubt;
/// else `secure`.
pub fn failmode(error: &Error, duo_has_answered: bool, stated: Failmode) -> Outcome {
    match (error, duo_has_answered, stated) {
        (Error::Service(_) | Error::Configuration(_), false, Failmode::Safe) => Outcome::Failsafe,
        (Error::Service(_) | Error::Configuration(_), false, Failmode::Secure) => {
            Outcome::Failsecure
        }
        (Error::Service(_) | Error::Configuration(_), true, _) => Outcome::Error,
        (Error::Refused(_) | Error::GaveUp(_), _, _) => Outcome::Aborted,
        (Error::Fault(_), _, _) => Outcome::Error,
    }
}

/// What the child found; it goes over the pipe as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    word: Word,
    /// How the login came out.
    pub outcome: Outcome,
    /// The end of the log line.
    pub detail: String,
    /// Whether the person should see `/etc/motd`.
    pub motd: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Deny,
}

impl Verdict {
    /// The verdict that `outcome` means.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Verdict {
        let word = if outcome.opens() {
            Word::Allow
        } else {
            Word::Deny
        };
        Verdict {
            word,
            outcome,
            detail: detail.into(),
            motd: false,
        }
    }

    /// The same, with or without a look at `/etc/motd` if it opens.
    pub fn with_motd(self, motd: bool) -> Verdict {
        Verdict {
            motd: motd && self.outcome.opens(),
            ..self
        }
    }

    pub(super) fn allows(&self) -> bool {
        self.word == Word::Allow && self.outcome.opens()
    }

    pub(super) fn denies(&self) -> bool {
        self.word == Word::Deny && !self.outcome.opens()
    }

    /// The final line of the log, of a login that is `who`'s.
    pub fn line(&self, who: &Who) -> String {
        let Verdict {
            outcome, detail, ..
        } = self;
        match outcome {
            Outcome::Bypassed => {
                format!(
                    "User {} bypassed Duo 2FA due to user's UNIX group",
                    log::quoted(detail)
                )
            }
            _ => log::login_line(outcome.label().0, who, detail),
        }
    }

    /// The verdict on a login that ended in an error; see [`failmode`].
    pub fn of_error(error: &Error, duo_has_answered: bool, stated: Failmode) -> Verdict {
        Verdict::new(failmode(error, duo_has_answered, stated), error.to_string())
    }
}

/// The right to become the user's session. Only [`judge`] makes one.
#[derive(Debug)]
pub struct Allow(());

/// What the parent makes of the child.
#[derive(Debug)]
pub struct Judgement {
    /// There, if the door opens.
    pub allow: Option<Allow>,
    /// For the log.
    pub who: Who,
    /// The verdict, or what stands for one.
    pub verdict: Verdict,
    /// What the child did not say any more.
    pub unsaid: Unsaid,
}

/// What is left for the parent to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaid {
    /// Nothing: the child told the person all there is.
    Nothing,
    /// The person left in the middle of a line.
    LineEnd,
    /// Why the login is denied: the child could not, or is not believed.
    Reason,
}

impl Judgement {
    /// The final line of the log.
    pub fn line(&self) -> String {
        self.verdict.line(&self.who)
    }
}

/// The two keys of the door: the verdict "allow" on the pipe, and exit status
/// 0. A child that crashes, exits early, says allow and dies, or writes
/// anything else, denies; so does a person who has left. `otherwise` is logged
/// where the child never said who it was about.
pub fn judge(report: Result<Report, Error>, otherwise: Who) -> Judgement {
    let mut judgement = Judgement {
        allow: None,
        who: otherwise,
        verdict: Verdict::new(Outcome::Error, ""),
        unsaid: Unsaid::Reason,
    };
    match report.map(|report| (Records::read(&report.records), report.end)) {
        Err(error) => judgement.verdict.detail = error.to_string(),
        Ok((records, end)) => {
            if let Some(who) = records.who {
                judgement.who = who;
            }
            match (end, records.verdict) {
                (End::Left(why), _) => {
                    judgement.unsaid = Unsaid::LineEnd;
                    judgement.verdict = Verdict::new(Outcome::Aborted, why);
                }
                (End::Exited(0), Ok(verdict)) if verdict.allows() => {
                    judgement.allow = Some(Allow(()));
                    judgement.unsaid = Unsaid::Nothing;
                    judgement.verdict = verdict;
                }
                (End::Stays | End::Exited(1), Ok(verdict)) if verdict.denies() => {
                    judgement.unsaid = Unsaid::Nothing;
                    judgement.verdict = verdict;
                }
                (End::Stays | End::Exited(1), Err(why)) => judgement.verdict.detail = why,
                (End::Exited(status), _) => {
                    judgement.verdict.detail =
                        format!("the child's exit status {status} does not fit what it said");
                }
                (End::Killed(signal), _) => {
                    judgement.verdict.detail = format!("the child was killed by {signal}");
                }
                (End::Stays, _) => {
                    judgement.verdict.detail = "the child stays without having said no".to_owned();
                }
                (End::Stuck, _) => judgement.verdict.detail = "the child does not end".to_owned(),
            }
        }
    }
    judgement
}

/// The child's two lines: who it is about, and the verdict.
struct Records {
    who: Option<Who>,
    /// Or why there is none.
    verdict: Result<Verdict, String>,
}

impl Records {
    fn read(bytes: &[u8]) -> Records {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let mut line = || {
            lines
                .next()
                .map(|line| line.strip_suffix(b"\n").unwrap_or_default())
        };
        let (first, second, third) = (line(), line(), line());
        let who: Option<Who> = first.and_then(|line| serde_json::from_slice(line).ok());
        let verdict = second.and_then(|line| serde_json::from_slice(line).ok());
        let fault = first.and_then(|line| line.strip_prefix(FAULT_MARK.as_bytes()));
        let verdict = match (&who, verdict, third, fault) {
            (Some(_), Some(verdict), None, _) => Ok(verdict),
            (_, _, _, Some(fault)) => Err(String::from_utf8_lossy(fault).into_owned()),
            _ => Err("the child ended without a verdict".to_owned()),
        };
        Records { who, verdict }
    }
}
