//! Who wins: the factor that was chosen, or a passcode that the person types while Duo
//! waits for them (docs/behaviour.md, *A push does not close the prompt*).
//!
//! The first allow that is read lets in. A report of fraud or a lock-out ends the login,
//! whatever else is on its way. Any other denial, and any error, ends the race only
//! where nothing else is on its way.

use std::collections::VecDeque;
use std::time::Instant;

use duo_wire::{Message, Next, Waiting, WaitingFor};

use super::{AttemptLog, Attempts, Login, non_empty_or, typed};
use crate::api::menu::{Factor, Menu};
use crate::api::reply::{Auth, Progress, Status};
use crate::api::{Duo, Event, Line, Listen, Span};
use crate::conversation::Conversation;
use crate::error::Error;

/// The most different texts that are shown for one transaction, so that a hostile
/// server cannot flood the terminal.
pub(super) const MOST_TEXTS: usize = 20;

/// How a race ended, if it did not end in an error.
pub(super) enum Proof {
    /// Duo allowed the login.
    Allowed {
        /// The name of the factor that won.
        factor: String,
        /// Duo's text.
        text: String,
    },
    /// All that was on its way was denied; why the last one was.
    Denied(String),
    /// The login is over: the user is locked out. With Duo's text.
    LockedOut(String),
    /// The login is over: the person did not ask for it. With Duo's text.
    Fraud(String),
}

/// All that is on its way to Duo in one attempt, and whom to tell.
pub(super) struct Race<'r> {
    login: &'r Login<'r>,
    menu: &'r Menu,
    person: &'r dyn Conversation,
    log: &'r dyn AttemptLog,
    attempts: &'r mut Attempts,
    /// What was asked and has no verdict yet: at most one transaction a line.
    open: Vec<Transaction>,
    /// The passcodes that were typed and not sent yet. Each has its attempt already.
    typed: VecDeque<Factor>,
    /// What the person was last told to wait for, if they were.
    waiting: Option<WaitingFor>,
}

/// One factor on its way to a verdict.
struct Transaction {
    line: Line,
    factor: Factor,
    /// Duo's name for it, once it is known, and when the person's time is over.
    begun: Option<(String, Instant)>,
    asked_at: Instant,
    /// The texts that were shown.
    shown: Vec<String>,
}

/// What an answer of Duo's means for the race.
enum Step {
    /// Duo was asked for more.
    Asked,
    /// This transaction was denied, or ended in an error.
    Lost(Result<String, Error>),
    /// The race is over, whatever else is on its way.
    Over(Result<Proof, Error>),
}

impl<'r> Race<'r> {
    pub(super) fn new(
        login: &'r Login<'r>,
        menu: &'r Menu,
        person: &'r dyn Conversation,
        log: &'r dyn AttemptLog,
        attempts: &'r mut Attempts,
    ) -> Race<'r> {
        Race {
            login,
            menu,
            person,
            log,
            attempts,
            open: Vec::new(),
            typed: VecDeque::new(),
            waiting: None,
        }
    }

    /// Asks Duo to verify `factor`, and waits until the race is over.
    pub(super) fn run(mut self, factor: &Factor, duo: &mut dyn Duo) -> Result<Proof, Error> {
        self.ask(Line::First, factor.clone(), duo);
        // A typed factor is a passcode as a rule, and asks nothing more of the person,
        // however slow Duo is. If it is the name of a factor, Duo's first status says so.
        if !factor.is_typed() {
            self.show_what_is_waited_for();
        }
        let result = self.until_it_is_over(duo);
        self.person.show(&Message::Waiting(Waiting::Ends));
        result
    }

    fn until_it_is_over(&mut self, duo: &mut dyn Duo) -> Result<Proof, Error> {
        loop {
            let begun = self.login.clock.now();
            let event = duo.next(self.listen());
            let waited = self.login.since(begun);
            match self.is_the_persons_turn() {
                true => self.attempts.facts.person += waited,
                false => self.attempts.facts.duo += waited,
            }
            let step = match event {
                Event::Typed => Step::Asked,
                Event::Answer(line, answer) => self.step(line, answer, duo),
            };
            if let Step::Over(result) = step {
                return result;
            }
            // A passcode that was typed before a denial counts as on its way.
            self.take_lines()?;
            self.send_next_passcode(duo);
            if let Step::Lost(why) = step {
                if self.open.is_empty() {
                    return why.map(Proof::Denied);
                }
                let why = why.unwrap_or_else(|error| error.to_string());
                let next = Next::Attempt;
                self.log.failed(&self.attempts.denied(&why))?;
                self.person.show(&Message::Denied { why, next });
            }
            if self.waiting.is_some() {
                self.show_what_is_waited_for();
            }
        }
    }

    /// Reads an answer of Duo's, and asks for more if it is no verdict.
    fn step(&mut self, line: Line, answer: Result<Auth, Error>, duo: &mut dyn Duo) -> Step {
        let now = self.login.clock.now();
        let late = self
            .open
            .iter()
            .any(|open| open.line == line && open.is_late(now));
        match answer {
            Ok(Auth::Started(id)) => {
                let until = now + self.login.deadlines.person;
                self.poll(line, now, Some((id, until)), duo);
                Step::Asked
            }
            Ok(Auth::Settled(Status { progress, message })) => match progress {
                Progress::Waiting => {
                    self.show_what_is_waited_for();
                    let from = self.show_news(line, message);
                    self.poll(line, from, None, duo);
                    Step::Asked
                }
                Progress::Allow => Step::Over(Ok(Proof::Allowed {
                    factor: self.close(line).unwrap_or_default(),
                    text: message.unwrap_or_default(),
                })),
                Progress::LockedOut => Step::Over(Ok(Proof::LockedOut(reason(message)))),
                Progress::Fraud => Step::Over(Ok(Proof::Fraud(reason(message)))),
                Progress::Deny => self.lose(line, Ok(reason(message))),
            },
            Err(Error::GaveUp(why)) => Step::Over(Err(Error::GaveUp(why))),
            Err(Error::Service(_)) if late => {
                self.lose(line, Ok("authentication timed out".to_owned()))
            }
            Err(error) => self.lose(line, Err(error)),
        }
    }

    /// Shows a text of a transaction that waits for the person, if it is new. Returns
    /// when Duo can be asked again.
    fn show_news(&mut self, line: Line, message: Option<String>) -> Instant {
        let (person, now) = (self.person, self.login.clock.now());
        let Some(transaction) = self.open.iter_mut().find(|open| open.line == line) else {
            return now;
        };
        let shown = &mut transaction.shown;
        let is_new = |message: &String| shown.len() < MOST_TEXTS && !shown.contains(message);
        let Some(message) = message.filter(is_new) else {
            // Without this pause, a server that answers at once without a new text would
            // be asked in a tight loop.
            return transaction.asked_at + self.login.deadlines.between_polls;
        };
        // The text of a Verified Push holds the code to type into the phone.
        person.show(&match transaction.factor.is_verified_push() {
            true => Message::Code(message.clone()),
            false => Message::Tell(message.clone()),
        });
        shown.push(message);
        self.login.clock.now()
    }

    /// Whether Duo waits for the person: for a push or a call that has begun, and for no
    /// passcode beside it.
    fn is_the_persons_turn(&self) -> bool {
        let waits = |open: &Transaction| open.begun.is_some() && !open.factor.is_passcode();
        self.open.iter().all(waits)
    }

    fn ask(&mut self, line: Line, factor: Factor, duo: &mut dyn Duo) {
        self.attempts.facts.factor = Some(factor.name().to_owned());
        self.attempts.facts.transaction = None;
        duo.auth(line, &factor);
        self.open.push(Transaction {
            line,
            factor,
            begun: None,
            asked_at: self.login.clock.now(),
            shown: Vec::new(),
        });
    }

    /// Asks for news of a transaction. `begun` is given once.
    fn poll(
        &mut self,
        line: Line,
        from: Instant,
        begun: Option<(String, Instant)>,
        duo: &mut dyn Duo,
    ) {
        if let Some(transaction) = self.open.iter_mut().find(|open| open.line == line) {
            transaction.asked_at = from.max(self.login.clock.now());
            transaction.begun = begun.or(transaction.begun.take());
            if let Some((id, until)) = &transaction.begun {
                let until = *until;
                self.attempts.facts.transaction = Some(id.clone());
                duo.status(line, id, Span { from, until });
            }
        }
    }

    fn lose(&mut self, line: Line, why: Result<String, Error>) -> Step {
        self.close(line);
        Step::Lost(why)
    }

    /// Takes a transaction that has its verdict away, and returns its factor's name.
    fn close(&mut self, line: Line) -> Option<String> {
        let place = self.open.iter().position(|open| open.line == line)?;
        let transaction = self.open.swap_remove(place);
        let factor = transaction.factor.name();
        self.attempts.facts.factor = Some(factor.to_owned());
        self.attempts.facts.transaction = transaction.begun.map(|(id, _)| id);
        Some(factor.to_owned())
    }

    /// Takes each line that the person has typed while Duo waits for them, so that the
    /// terminal has no line for the shell, and tells them what is not sent.
    fn take_lines(&mut self) -> Result<(), Error> {
        while self.waiting.is_some()
            && let Some(line) = self.person.typed()?
        {
            match self.passcode(&line) {
                Ok(passcode) => self.typed.extend(passcode),
                Err(why) => self.person.show(&Message::Tell(why)),
            }
        }
        Ok(())
    }

    /// One passcode is checked after the other.
    fn send_next_passcode(&mut self, duo: &mut dyn Duo) {
        if !self.is_open(Line::Beside)
            && let Some(passcode) = self.typed.pop_front()
        {
            self.ask(Line::Beside, passcode, duo);
        }
    }

    /// The passcode in a line, which takes an attempt; `None` if the line is empty. The
    /// error says why the line is not sent. What is not a passcode is never sent while
    /// Duo waits: a second phone must not ring, and the line may be a command that was
    /// meant for the shell.
    fn passcode(&mut self, line: &[u8]) -> Result<Option<Factor>, String> {
        let text = typed(line)?;
        if text.is_empty() {
            return Ok(None);
        }
        if self.menu.lacks_option(&text) {
            return Err(format!("there is no option {text}"));
        }
        match self.menu.factor(&text) {
            Some(factor) if factor.is_passcode() => match self.attempts.take() {
                true => Ok(Some(factor)),
                false => Err("no attempt is left for a passcode".to_owned()),
            },
            _ => Err("while Duo waits, only a passcode can be typed".to_owned()),
        }
    }

    fn is_open(&self, line: Line) -> bool {
        self.open.iter().any(|open| open.line == line)
    }

    fn listen(&self) -> Listen {
        match self.waiting {
            Some(_) => Listen::ToBoth,
            None => Listen::ToDuo,
        }
    }

    fn show_what_is_waited_for(&mut self) {
        let waiting = match self.is_open(Line::First) {
            false => WaitingFor::Duo,
            true if self.attempts.is_one_left() => WaitingFor::ApprovalOrPasscode,
            true => WaitingFor::Approval,
        };
        if self.waiting.replace(waiting) != Some(waiting) {
            let begins = Waiting::Begins(waiting);
            self.person.show(&Message::Waiting(begins));
        }
    }
}

impl Transaction {
    /// Whether the person's time is over.
    fn is_late(&self, now: Instant) -> bool {
        matches!(&self.begun, Some((_, until)) if *until <= now)
    }
}

/// Duo's text for a denial, or one of ours.
fn reason(message: Option<String>) -> String {
    non_empty_or(message.unwrap_or_default(), "Duo denied this attempt")
}
