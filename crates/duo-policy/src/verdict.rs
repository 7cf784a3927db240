//! What opens the door: **the one function that applies failmode**, and the
//! two keys.
//!
//! A reader who wants to list every way in reads [`Outcome::opens`],
//! [`failmode`] and [`judge`], and nothing else: [`Allow`] has a private field,
//! so no other module can make one.

use duo_wire::{Departure, Outcome, Record, Verdict, Who};

use crate::config::Failmode;
use crate::error::Error;
use crate::text;

/// How bad a line of the log is, in syslog's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Priority 3.
    Error,
    /// Priority 4.
    Warning,
    /// Priority 6.
    Info,
}

impl Priority {
    /// syslog's number.
    pub fn number(self) -> u8 {
        match self {
            Priority::Error => 3,
            Priority::Warning => 4,
            Priority::Info => 6,
        }
    }
}

/// The beginning of an outcome's line in the log, and how bad it is.
pub fn label(outcome: Outcome) -> (&'static str, Priority) {
    match outcome {
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

/// `<Outcome> Duo login for '<duo user>'[ from <client>][: <detail>]`, the line
/// of a login, or of one attempt, that is `who`'s.
pub fn line(verdict: &Verdict, who: &Who) -> String {
    let detail = &verdict.detail;
    if verdict.outcome == Outcome::Bypassed {
        let name = text::quoted(detail);
        return format!("User {name} bypassed Duo 2FA due to user's UNIX group");
    }
    let (word, _) = label(verdict.outcome);
    let mut line = format!("{word} Duo login for {}", named(who));
    if !detail.is_empty() {
        line.push_str(": ");
        line.push_str(detail);
    }
    line
}

/// The line that stands in the log before Duo is asked to judge a factor: who
/// spams pushes or guesses passcodes leaves a trace, whatever becomes of the
/// login.
pub fn asking_line(who: &Who) -> String {
    format!("Asking Duo for {}", named(who))
}

/// `'<duo user>'[ from <client>]`
fn named(who: &Who) -> String {
    let mut named = format!("'{}'", text::quoted(&who.duo_user));
    if let Some(client) = &who.client {
        named.push_str(" from ");
        named.push_str(&text::client_field(client));
    }
    named
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

/// Whether this machine can prove that it is not itself the reason why Duo
/// seems to be away: the proof is asked for where `safe` is about to open, and
/// nowhere else (docs/security.md, *The alibi*).
pub type Alibi<'a> = &'a dyn Fn() -> Result<(), Error>;

/// The verdict on a login that ended in an error; see [`failmode`].
pub fn of_error(
    error: &Error,
    duo_has_answered: bool,
    stated: Failmode,
    alibi: Alibi<'_>,
) -> Verdict {
    let outcome = failmode(error, duo_has_answered, stated);
    if outcome == Outcome::Failsafe
        && let Err(doubt) = alibi()
    {
        return Verdict::new(Outcome::Error, format!("{doubt}: {error}"));
    }
    Verdict::new(outcome, error.to_string())
}

/// The right to become the user's session. Only [`judge`] makes one.
#[derive(Debug)]
pub struct Allow(());

/// How the child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(&'static str),
    /// It neither ends nor can be ended.
    Stuck,
}

/// What the parent knows once the child is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the child wrote on the verdict pipe.
    pub records: Vec<u8>,
    /// Why the person left, if they did before the session.
    pub left: Option<Departure>,
    /// How the child ended.
    pub end: End,
}

/// What the parent makes of the child.
#[derive(Debug)]
pub struct Judgement {
    /// There, if the door opens.
    pub allow: Option<Allow>,
    /// Whether the person should see the message of the day.
    pub motd: bool,
    /// The line that the parent must log: the child could not write it, or the
    /// person left after the child had written its own.
    pub to_log: Option<(Verdict, Who)>,
    /// What the parent must show.
    pub to_show: ToShow,
}

/// What the parent must show to the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToShow {
    /// Nothing: the child has shown the person everything.
    Nothing,
    /// The person is gone, perhaps in the middle of a line.
    Departure(Departure),
    /// Why the login is denied: the child could not show it, or is not believed.
    Denial(String),
}

/// The two keys of the door: a verdict that opens on the pipe, which the child
/// says it has logged, and exit status 0. A child that crashes, exits early,
/// says yes and dies, or writes anything else, denies; so does a person who has
/// left. `otherwise` is logged where the child never said whose login it is.
pub fn judge(report: Result<Report, Error>, otherwise: Who) -> Judgement {
    let report = match report {
        Ok(report) => report,
        Err(error) => return denied(fault(error.to_string()), otherwise, Logged::No),
    };
    let Told {
        who,
        logged,
        verdict,
    } = Told::read(&report.records);
    let says_yes = verdict.as_ref().is_ok_and(|v| v.outcome.opens());
    let says_no = verdict.as_ref().is_ok_and(|v| !v.outcome.opens());
    let opens = says_yes && who.is_some() && logged == Logged::Yes;
    let who = who.unwrap_or(otherwise);
    match (report.left, report.end, verdict) {
        (Some(left), _, _) => {
            let after = if says_yes { " after Duo's yes" } else { "" };
            let why = format!("{}{after}", left.reason());
            // The child's line says that Duo allowed; it must not be the last.
            let logged = if says_yes { Logged::No } else { logged };
            Judgement {
                to_show: ToShow::Departure(left),
                ..denied(Verdict::new(Outcome::Aborted, why), who, logged)
            }
        }
        (None, End::Exited(0), Ok(verdict)) if opens => Judgement {
            allow: Some(Allow(())),
            motd: verdict.motd,
            to_log: None,
            to_show: ToShow::Nothing,
        },
        (None, End::Exited(1), Ok(verdict)) if says_no && logged == Logged::Yes => Judgement {
            to_show: ToShow::Nothing,
            ..denied(verdict, who, Logged::Yes)
        },
        // A child that could not drop its privileges has no log to write to.
        (None, End::Exited(1), Ok(verdict)) if says_no => denied(verdict, who, logged),
        (None, End::Exited(1), Err(why)) => denied(fault(why), who, logged),
        (None, End::Exited(status), _) => {
            let why = format!("the child's exit status {status} does not fit what it said");
            denied(fault(why), who, Logged::No)
        }
        (None, End::Killed(signal), _) => {
            let why = format!("the child was killed by {signal}");
            denied(fault(why), who, Logged::No)
        }
        (None, End::Stuck, _) => denied(fault("the child does not end"), who, Logged::No),
    }
}

/// Whether the child's line in the log is this login's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logged {
    Yes,
    No,
}

fn fault(why: impl Into<String>) -> Verdict {
    Verdict::new(Outcome::Error, why)
}

fn denied(verdict: Verdict, who: Who, logged: Logged) -> Judgement {
    Judgement {
        allow: None,
        motd: false,
        to_show: ToShow::Denial(verdict.detail.clone()),
        to_log: (logged == Logged::No).then_some((verdict, who)),
    }
}

/// The child's records.
struct Told {
    who: Option<Who>,
    logged: Logged,
    /// Or why there is none.
    verdict: Result<Verdict, String>,
}

impl Told {
    /// Reads the records in the order that a child keeps, and in no other.
    fn read(bytes: &[u8]) -> Told {
        let told = |who, logged, verdict: Result<Verdict, &str>| Told {
            who,
            logged,
            verdict: verdict.map_err(str::to_owned),
        };
        const SILENT: &str = "the child ended without a verdict";
        let records = match Record::read_all(bytes) {
            Some(records) => records,
            None if bytes.is_empty() => Vec::new(),
            None => return told(None, Logged::No, Err("the child wrote what is no record")),
        };
        let mut records = records.into_iter().peekable();
        let who = match records.next_if(|record| matches!(record, Record::Who(_))) {
            Some(Record::Who(who)) => Some(who),
            _ => None,
        };
        let logged = match records.next_if_eq(&Record::Logged) {
            Some(_) => Logged::Yes,
            None => Logged::No,
        };
        match (records.next(), records.next()) {
            (None, _) => told(who, logged, Err(SILENT)),
            (Some(Record::Verdict(verdict)), None) => told(who, logged, Ok(verdict)),
            _ => told(who, Logged::No, Err("the child contradicts itself")),
        }
    }
}

#[cfg(test)]
mod tests;
