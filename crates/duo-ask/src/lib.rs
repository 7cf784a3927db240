//! The child's half of a login, for every front end. The child has no privileges.
//! It looks up the account, reads the configuration, and talks to the person and
//! to Duo. It also writes the log, since the person who logs in can stop and kill
//! the parent, but not the child (docs/security.md, *One final line*). The child
//! only reports a verdict: the parent decides whether the door opens.
#![forbid(unsafe_code)]

mod asking;
mod claim;
mod configuration;
mod memory;

use std::borrow::Borrow;
use std::fs::File;
use std::path::Path;

use duo_policy::config::{Config, Gecos, Problem};
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::text;
use duo_policy::verdict;
use duo_system::account::Account;
use duo_system::codes::Opened;
use duo_system::log::{Identity, Log, Sink};
use duo_system::privsep::{ChildEnds, Confined};
use duo_system::wait::{SystemClock, Waiter};
use duo_wire::{Outcome, Record, Verdict, Who};

use configuration::{Read, Reading};
use memory::Memory;

pub use claim::{Claim, Subject, person};

/// What the child is started with.
pub struct Start<'a> {
    /// What the log calls this process.
    pub identity: Identity,
    /// Where the log goes.
    pub sink: Sink,
    /// The warning for the log about the user that this process runs as.
    pub warning: Option<String>,
    /// The configuration's path, for errors.
    pub path: &'a Path,
    /// The warning about the opened file, if there is one; or why it was not opened.
    pub opened: Result<Option<Problem>, Vec<Problem>>,
    /// Whose emergency codes root has opened, or why it has not; `None` if nobody's.
    pub codes: Option<Opened>,
    /// Why this machine may be the reason if Duo cannot be reached, if something is
    /// known from the start (docs/security.md, *The alibi*).
    pub doubt: Option<Error>,
    /// Shows lines, which may hold anything, to whoever tries this login: the mistakes
    /// of the configuration, or an objection.
    pub complain: &'a dyn Fn(&str),
}

/// Runs the child's half and returns its exit status: 0 if the verdict opens the
/// door and has been logged and sent, else 1. `confined` has the files that root opened,
/// or says why privileges could not be dropped. `claim` says who wants to log in, and is
/// called in the sandbox: it may read what came from outside. Without a claim this login is
/// denied. `converse` makes the front end's conversation.
pub fn run<C: Borrow<Claim>>(
    start: &Start<'_>,
    confined: Confined,
    mut ends: ChildEnds,
    claim: impl FnOnce(&ChildEnds) -> Result<C, Error>,
    converse: impl for<'w> Fn(&Config, &'w Waiter<'w>) -> Box<dyn Conversation + 'w>,
) -> i32 {
    let read = confined.and_then(|files| {
        let read = Read::of(start, files.config);
        read.enter_sandbox()?;
        Ok((read, files.codes, files.connections))
    });
    let (read, codes, connections) = match read {
        Ok(read) => read,
        // A process that may still have privileges only sends this record: it does
        // not even log.
        Err(error) => return report_unlogged(&mut ends, &error),
    };
    let claim = match claim(&ends) {
        Ok(claim) => claim,
        Err(error) => return report_unlogged(&mut ends, &error),
    };
    let claim = claim.borrow();
    let log = &Log::open(start.identity, start.sink);
    log.set_facility(read.facility);
    let child = Child {
        start,
        claim,
        codes,
        log,
    };
    let named = match child.identify(&read, &mut ends) {
        Ok(Some(named)) => named,
        Ok(None) => {
            let verdict = Verdict::new(Outcome::NoAccount, "there is no such account");
            let who = child.who(claim.subject.name());
            let _ = ends.send(&Record::Who(shortened(&who)).to_line());
            return child.finish(verdict, &who, None, &mut ends);
        }
        Err(error) => {
            let verdict = Verdict::new(Outcome::Error, error.to_string());
            let who = child.who(claim.subject.name());
            return child.finish(verdict, &who, None, &mut ends);
        }
    };
    let memory = match &read.config {
        Reading::Good(config) => Memory::of(&named, config, connections, log),
        Reading::Broken(..) => None,
    };
    let verdict = match claim.objection {
        Some(why) => {
            (start.complain)(&format!("Login denied: {why}"));
            Verdict::new(Outcome::Aborted, why)
        }
        None => {
            let waiter = Waiter::new(&SystemClock, Some(&ends.life));
            child.ask(&named, read.config, memory.as_ref(), &waiter, &converse)
        }
    };
    child.finish(verdict, &named.who, memory.as_ref(), &mut ends)
}

/// Tells the parent that privileges could not be dropped, that there is no sandbox, or that
/// there is no claim, and returns the exit status. The parent writes the line in the log.
fn report_unlogged(ends: &mut ChildEnds, error: &Error) -> i32 {
    let verdict = Verdict::new(Outcome::Error, error.to_string());
    // If the parent does not get this record, it denies for want of a verdict.
    let _ = ends.send(&Record::Verdict(verdict).to_line());
    1
}

struct Child<'a> {
    start: &'a Start<'a>,
    claim: &'a Claim,
    /// The file that [`Start::codes`] is about.
    codes: Option<File>,
    log: &'a Log,
}

/// Who logs in: the account, and the names for the log.
struct Named {
    account: Account,
    who: Who,
}

impl Child<'_> {
    /// Looks up who logs in and tells the parent, whose own lines in the log need
    /// the name too. `None` if there is no such account.
    fn identify(&self, read: &Read, ends: &mut ChildEnds) -> Result<Option<Named>, Error> {
        if let Some(warning) = &self.start.warning {
            self.log.warning(warning);
        }
        let claim = self.claim;
        let Some(account) = claim.subject.account()? else {
            return Ok(None);
        };
        read.report(self.start, self.log);
        let gecos = match &read.config {
            Reading::Good(config) => config.gecos,
            Reading::Broken(..) => Gecos::No,
        };
        let (duo_user, note) = account.duo_name(claim.duo_user.as_deref(), &gecos);
        if let Some(note) = note {
            self.log.warning(&note);
        }
        if duo_user != account.name {
            let (login, duo) = (text::quoted(&account.name), text::quoted(&duo_user));
            self.log.info(&format!("User '{login}' is '{duo}' to Duo"));
        }
        let login = Some(account.name.clone());
        let who = Who {
            login,
            ..self.who(&duo_user)
        };
        // If the parent is gone, the next look at the life pipe says why, and the
        // final line then has this name.
        let _ = ends.send(&Record::Who(shortened(&who)).to_line());
        Ok(Some(Named { account, who }))
    }

    /// The names of this login.
    fn who(&self, duo_user: &str) -> Who {
        Who {
            duo_user: duo_user.to_owned(),
            client: self.claim.client.clone(),
            login: None,
            service: Some(self.claim.service.clone()),
            terminal: self.claim.terminal.clone(),
        }
    }

    /// Writes the final line to the log, and only then sends the verdict, so that no
    /// yes counts that is not in the log (docs/security.md, *A log that takes no lines*),
    /// and no approval for a later login. A parent that could not wait for this line has
    /// written one of its own: two say more than none. Returns the exit status.
    fn finish(
        &self,
        verdict: Verdict,
        who: &Who,
        memory: Option<&Memory>,
        ends: &mut ChildEnds,
    ) -> i32 {
        // A yes for a login that is over opens nothing, and the log must not say
        // otherwise.
        let verdict = match ends.life.look() {
            Err(error) if verdict.outcome.opens() => {
                verdict::aborted(&error.to_string(), Some(verdict.outcome))
            }
            _ => verdict,
        };
        let (verdict, logged) = match self.log.verdict(&verdict, who) {
            Ok(()) => (verdict, Record::Logged.to_line()),
            Err(error) if verdict.outcome.opens() => (
                Verdict::new(Outcome::Error, error.to_string()),
                String::new(),
            ),
            Err(_) => (verdict, String::new()),
        };
        // A yes that a person gave, and nothing else that opens.
        if let (Outcome::Successful, Some(memory)) = (verdict.outcome, memory) {
            memory.keep_approval();
        }
        let opens = verdict.outcome.opens();
        let sent = ends.send(&(logged + &Record::Verdict(verdict).to_line()));
        i32::from(sent.is_err() || !opens)
    }
}

/// The same names, cut to the length that the log shows: a name must not make a
/// record too long for the parent to read.
fn shortened(who: &Who) -> Who {
    let cut = |text: &str| text.chars().take(text::LONGEST).collect();
    Who {
        duo_user: cut(&who.duo_user),
        client: who.client.as_deref().map(cut),
        login: who.login.as_deref().map(cut),
        service: who.service.as_deref().map(cut),
        terminal: who.terminal.as_deref().map(cut),
    }
}
