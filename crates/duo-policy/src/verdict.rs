//! What opens the door: **the one function that applies failmode**, and the
//! one that checks the two keys (docs/security.md, *Processes*).
//!
//! A reader who wants to list every way in reads [`Outcome::opens`],
//! [`failmode`] and [`judge`], and nothing else: [`Allow`] has a private field,
//! so no other module can make one.

use duo_wire::{Departure, Outcome, Record, Verdict, Who};

use crate::api::Answered;
use crate::config::Failmode;
use crate::error::Error;

/// **The** failmode table: what becomes of a login that ends in an error.
///
/// The rule behind it: a person who holds the first factor must have no way of
/// their own to make `safe` open the door, and once Duo has asked or refused,
/// only Duo's yes opens it.
///
/// `stated` is the failmode of the configuration file. Where the file has a
/// mistake (an unusable `cafile` is one too), the caller passes `Safe` only if
/// the file says so beyond doubt, as in [`Broken::failmode`], and else `Secure`.
/// Source: docs/behaviour.md, *Failmode*.
///
/// [`Broken::failmode`]: crate::config::Broken::failmode
pub fn failmode(error: &Error, answered: Answered, stated: Failmode) -> Meaning {
    use Answered::{NotYet, Yes};
    use Failmode::{Codes, Safe, Secure};
    let outcome = match (error, answered, stated) {
        (Error::Service(_), NotYet, Codes) => return Meaning::AsksForACode,
        (Error::Service(_) | Error::Configuration(_), NotYet, Safe) => Outcome::Failsafe,
        // A file with a mistake is not trusted to say that codes open the door.
        (Error::Configuration(_), NotYet, Codes)
        | (Error::Service(_) | Error::Configuration(_), NotYet, Secure) => Outcome::Failsecure,
        (Error::Service(_) | Error::Configuration(_), Yes, _) => Outcome::Error,
        (Error::Refused(_) | Error::GaveUp(_), _, _) => Outcome::Aborted,
        (Error::Fault(_), _, _) => Outcome::Error,
    };
    Meaning::Is(outcome)
}

/// What an error means for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The login is over, and came out so.
    Is(Outcome),
    /// The person is asked for an emergency code. This opens nothing: a code that was
    /// used up does ([`UsedUp`]), and without one the login is [`Outcome::Failsecure`].
    AsksForACode,
}

impl Meaning {
    /// Whether the login is let in without anything more.
    pub fn opens(self) -> bool {
        matches!(self, Meaning::Is(outcome) if outcome.opens())
    }
}

/// Proves that this machine is not itself the reason why Duo could not be
/// reached. It is called right before `safe` opens the door or `codes` asks for a code,
/// and only then (docs/security.md, *The alibi*). Its error says why there is no proof.
pub type Alibi<'a> = &'a dyn Fn() -> Result<(), Error>;

/// Asks the person for an emergency code and uses it up. It is called where `codes` asks
/// for one, and only there.
pub type AskForCode<'a> = &'a dyn Fn() -> Result<UsedUp, NoCode>;

/// What must be had before failmode opens the door.
#[derive(Clone, Copy)]
pub struct Demands<'a> {
    /// Under `safe` and `codes`.
    pub alibi: Alibi<'a>,
    /// Under `codes`.
    pub code: AskForCode<'a>,
}

impl<'a> Demands<'a> {
    /// Where no code can be asked for: the configuration cannot be used.
    pub fn without_codes(alibi: Alibi<'a>) -> Demands<'a> {
        Demands {
            alibi,
            code: &|| Err(NoCode::Unasked("no code is asked for here".to_owned())),
        }
    }
}

/// An emergency code was good, and is used up: no other login gets in with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    /// How many codes the account has left.
    pub left: usize,
}

/// Why no emergency code was used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCode {
    /// None was asked for; why: nobody can be asked, or the account has none.
    Unasked(String),
    /// The last try was wrong; why.
    Wrong(String),
    /// The person left, or the code could not be used up.
    Ended(Error),
}

/// The verdict on a login that ended in an error; see [`failmode`].
pub fn of_error(
    error: &Error,
    answered: Answered,
    stated: Failmode,
    demands: &Demands<'_>,
) -> Verdict {
    let meaning = failmode(error, answered, stated);
    if (meaning.opens() || meaning == Meaning::AsksForACode)
        && let Err(doubt) = (demands.alibi)()
    {
        return Verdict::new(Outcome::Error, format!("{doubt}: {error}"));
    }
    match meaning {
        Meaning::Is(outcome) => Verdict::new(outcome, error.to_string()),
        Meaning::AsksForACode => of_code((demands.code)(), error),
    }
}

/// The verdict on a login of which a code was asked, because of `error`.
fn of_code(code: Result<UsedUp, NoCode>, error: &Error) -> Verdict {
    let (outcome, why) = match code {
        Ok(UsedUp { left }) => (Outcome::Failsafe, format!("emergency code, {left} left")),
        Err(NoCode::Unasked(why)) => (Outcome::Failsecure, why),
        Err(NoCode::Wrong(why)) => (Outcome::Failed, why),
        Err(NoCode::Ended(end @ Error::GaveUp(_))) => (Outcome::Aborted, end.to_string()),
        Err(NoCode::Ended(end)) => (Outcome::Error, end.to_string()),
    };
    Verdict::new(outcome, format!("{why}: {error}"))
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
    /// It did not end in time, so its status is not known.
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
    /// Whose login it is, as far as that is known.
    pub who: Who,
    /// How the login came out. It opens nothing: [`Judgement::allow`] does.
    pub outcome: Outcome,
    /// `Some` if the door opens.
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

/// Opens the door only with both keys: a verdict on the pipe that opens, which
/// the child says it has logged, and the child's exit status 0. Everything else
/// denies: a child that crashes, exits early, sends a yes and dies, or writes
/// anything else, and a person who has left. The log names `otherwise` if the
/// child did not say whose login it is.
pub fn judge(report: Result<Report, Error>, otherwise: Who) -> Judgement {
    let report = match report {
        Ok(report) => report,
        Err(error) => return denied(fault(error.to_string()), otherwise, Logged::No),
    };
    let Statement {
        who,
        logged,
        verdict,
    } = Statement::read(&report.records);
    let says_yes = verdict.as_ref().is_ok_and(|v| v.outcome.opens());
    let says_no = verdict.as_ref().is_ok_and(|v| !v.outcome.opens());
    let opens = says_yes && who.is_some() && logged == Logged::Yes;
    let who = who.unwrap_or(otherwise);
    match (report.left, report.end, verdict) {
        (Some(left), _, verdict) => {
            let known = verdict.ok().map(|verdict| verdict.outcome);
            let aborted = aborted(left.reason(), known);
            // The child has logged that Duo allowed the login, and that must not
            // be the last line of a login that is denied.
            let logged = if says_yes { Logged::No } else { logged };
            Judgement {
                to_show: ToShow::Departure(left),
                ..denied(aborted, who, logged)
            }
        }
        (None, End::Exited(0), Ok(verdict)) if opens => Judgement {
            who,
            outcome: verdict.outcome,
            allow: Some(Allow(())),
            motd: verdict.motd,
            to_log: None,
            to_show: ToShow::Nothing,
        },
        (None, End::Exited(1), Ok(verdict)) if says_no && logged == Logged::Yes => Judgement {
            to_show: ToShow::Nothing,
            ..denied(verdict, who, Logged::Yes)
        },
        // A child that could not drop its privileges writes no log, so the
        // parent logs its verdict.
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

/// The verdict on a login that ended for the reason `why` after its outcome was
/// `known`. A yes that came too late is told as what it was.
pub fn aborted(why: &str, known: Option<Outcome>) -> Verdict {
    let after = match known {
        Some(Outcome::Successful | Outcome::Skipped) => " after Duo's yes",
        Some(Outcome::Remembered) => " after an earlier yes of Duo's",
        Some(Outcome::Bypassed | Outcome::Failsafe) => " after a yes without Duo",
        _ => "",
    };
    Verdict::new(Outcome::Aborted, format!("{why}{after}"))
}

/// Whether the child's line in the log is the final line of this login.
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
        outcome: verdict.outcome,
        allow: None,
        motd: false,
        to_show: ToShow::Denial(verdict.detail.clone()),
        to_log: (logged == Logged::No).then_some((verdict, who.clone())),
        who,
    }
}

/// What the child's records say.
struct Statement {
    who: Option<Who>,
    logged: Logged,
    /// The verdict, or why there is none.
    verdict: Result<Verdict, String>,
}

impl Statement {
    /// Reads the records in the order that a child keeps, and in no other.
    fn read(bytes: &[u8]) -> Statement {
        let statement = |who, logged, verdict: Result<Verdict, &str>| Statement {
            who,
            logged,
            verdict: verdict.map_err(str::to_owned),
        };
        const NO_VERDICT: &str = "the child ended without a verdict";
        let records = match Record::read_all(bytes) {
            Some(records) => records,
            None if bytes.is_empty() => Vec::new(),
            None => return statement(None, Logged::No, Err("the child wrote what is no record")),
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
            (None, _) => statement(who, logged, Err(NO_VERDICT)),
            (Some(Record::Verdict(verdict)), None) => statement(who, logged, Ok(verdict)),
            _ => statement(who, Logged::No, Err("the child contradicts itself")),
        }
    }
}

#[cfg(test)]
mod tests;
