//! The decisions of a login: preauth, factor, attempts. [`crate::verdict`] says
//! what an outcome means for the door.
//!
//! Nothing here makes a system call: Duo, the person, the clock and the log are
//! traits.

mod emergency;
mod logged_duo;
mod race;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use duo_wire::{Facts, Message, Next, Outcome, Verdict};

use self::logged_duo::LoggedDuo;
use self::race::{Proof, Race};
use crate::api::Duo;
use crate::api::menu::{Factor, Menu};
use crate::api::reply::Preauth;
use crate::clock::{Clock, Deadlines};
use crate::codes::EmergencyCodes;
use crate::config::{Config, Failmode};
use crate::conversation::Conversation;
use crate::error::Error;
use crate::secret::Secret;
use crate::verdict::{self, Alibi, Demands};

/// What a login needs to know, apart from Duo and the person.
pub struct Login<'a> {
    /// The configuration file's decisions.
    pub config: &'a Config,
    /// The Duo user name, shown in a menu that is built from devices.
    pub user: &'a str,
    /// `$DUO_PASSCODE`, if the client sent it.
    pub passcode: Option<&'a Secret>,
    /// The deadlines and waits of this login.
    pub deadlines: &'a Deadlines,
    /// The clock that the deadlines are measured with.
    pub clock: &'a dyn Clock,
    /// How long ago a person said yes on this connection, if that counts for this login.
    /// Called once Duo has said that this user needs a second factor.
    pub approved: &'a dyn Fn() -> Option<Duration>,
    /// Called right before `safe` opens the door or `codes` asks for a code.
    pub alibi: Alibi<'a>,
    /// The emergency codes of the account that logs in.
    pub codes: &'a dyn EmergencyCodes,
}

/// The lines that the log gets before a login is over. A login whose lines are not taken
/// is over (docs/security.md, *A log that takes no lines*).
pub trait AttemptLog {
    /// Duo is about to be asked to verify a factor, for the first time in this login.
    ///
    /// # Errors
    /// [`Error::Fault`] if the log does not take the line.
    fn asking(&self) -> Result<(), Error>;

    /// An attempt was denied, and another one follows.
    ///
    /// # Errors
    /// As for [`AttemptLog::asking`].
    fn failed(&self, attempt: &Verdict) -> Result<(), Error>;
}

/// The attempts of a login: one for each factor that Duo was, or was not, asked to
/// verify.
struct Attempts {
    most: u8,
    /// How many were taken, and what else the log is to know.
    facts: Facts,
}

impl Attempts {
    fn is_one_left(&self) -> bool {
        self.facts.attempt < self.most
    }

    /// Takes one; false if none is left.
    fn take(&mut self) -> bool {
        let is_one_left = self.is_one_left();
        self.facts.attempt += u8::from(is_one_left);
        is_one_left
    }

    /// The verdict on an attempt that was denied.
    fn denied(&self, why: &str) -> Verdict {
        Verdict::new(Outcome::Failed, why).with_facts(self.facts.clone())
    }
}

/// How one attempt ended, if it did not end in an error.
enum Attempt {
    /// Duo allowed the login with the factor of this name.
    Allowed(String),
    /// Duo denied, or was not asked at all; why. Another attempt may follow.
    Denied(String),
    /// The login is over: no factor was needed, or none would help.
    Over(Verdict),
}

impl Login<'_> {
    /// Makes attempts until one ends the login. `log` gets each denied attempt but
    /// the last, which becomes the verdict.
    pub fn run(
        &self,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
        log: &dyn AttemptLog,
    ) -> Verdict {
        let most = match person.is_interactive() {
            true => self.config.prompts.max(1),
            false => 1,
        };
        let facts = Facts::default();
        let mut attempts = Attempts { most, facts };
        let duo = &mut LoggedDuo::new(duo, log);
        let verdict = self
            .until_one_ends_it(&mut attempts, duo, person, log)
            .unwrap_or_else(|error| {
                let (answered, stated) = (duo.answered(), self.config.failmode);
                let demands = Demands {
                    alibi: self.alibi,
                    code: &|| self.ask_for_a_code(person, log),
                };
                let verdict = verdict::of_error(&error, answered, stated, &demands);
                show_error(person, &error, stated, &verdict);
                verdict
            });
        verdict.with_facts(attempts.facts)
    }

    fn until_one_ends_it(
        &self,
        attempts: &mut Attempts,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
        log: &dyn AttemptLog,
    ) -> Result<Verdict, Error> {
        while attempts.take() {
            match self.attempt(attempts, duo, person, log)? {
                Attempt::Allowed(factor) => return Ok(Verdict::new(Outcome::Successful, factor)),
                Attempt::Over(verdict) => return Ok(verdict),
                Attempt::Denied(why) if attempts.is_one_left() => {
                    log.failed(&attempts.denied(&why))?;
                }
                Attempt::Denied(why) => return Ok(attempts.denied(&why)),
            }
        }
        Ok(Verdict::new(Outcome::Error, "no attempt was made"))
    }

    /// One attempt: asks Duo whether a factor is needed, lets the person choose one, and has
    /// Duo verify it.
    fn attempt(
        &self,
        attempts: &mut Attempts,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
        log: &dyn AttemptLog,
    ) -> Result<Attempt, Error> {
        let menu = match self.preauth(attempts, duo, person)? {
            ControlFlow::Continue(menu) => menu,
            ControlFlow::Break(verdict) => return Ok(Attempt::Over(verdict)),
        };
        let begun = self.clock.now();
        let chosen = self.choose(attempts.facts.attempt, &menu, person);
        attempts.facts.person += self.since(begun);
        let factor = match chosen? {
            Ok(factor) => factor,
            Err(why) => {
                let at_the_end = match person.is_interactive() {
                    true => Next::Login,
                    // A new login with the same command would be denied for the same reason.
                    false => Next::Nothing,
                };
                return Ok(denied(person, attempts, why.to_owned(), at_the_end));
            }
        };
        let proof = Race::new(self, &menu, person, log, attempts).run(&factor, duo)?;
        Ok(ended(person, attempts, proof))
    }

    /// Asks Duo whether this user needs a factor. Returns the menu to choose one from; or the
    /// verdict, which the person has been shown, if none is needed or none would help.
    fn preauth(
        &self,
        attempts: &mut Attempts,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
    ) -> Result<ControlFlow<Verdict, Menu>, Error> {
        let begun = self.clock.now();
        let preauth = duo.preauth();
        attempts.facts.duo += self.since(begun);
        Ok(ControlFlow::Break(match preauth? {
            Preauth::Auth(menu) => match (self.approved)() {
                Some(age) => remembered(person, age),
                None => return Ok(ControlFlow::Continue(menu)),
            },
            Preauth::Allow(message) => {
                person.show(&Message::Tell(message.clone()));
                Verdict::new(Outcome::Skipped, message)
            }
            Preauth::Deny(message) => {
                let why = non_empty_or(message, "Duo denied this login");
                aborted(person, why, Next::Nothing)
            }
            Preauth::Enroll { text, url } => {
                let why = non_empty_or(text, "Duo enrolment required");
                person.show(&Message::Enrol {
                    text: enrolment(&why, url.as_deref()),
                    address: url,
                });
                Verdict::new(Outcome::Aborted, why)
            }
        }))
    }

    fn since(&self, begun: Instant) -> Duration {
        self.clock.now().saturating_duration_since(begun)
    }

    /// The factor of this attempt, or why what was typed cannot be one.
    fn choose(
        &self,
        number: u8,
        menu: &Menu,
        person: &dyn Conversation,
    ) -> Result<Result<Factor, &'static str>, Error> {
        const NO_DEFAULT: &str = "There is no default factor: a passcode is needed";
        if let Some(passcode) = self
            .passcode
            .filter(|_| number == 1 && self.config.accept_env_factor)
        {
            return Ok(
                typed(passcode.expose()).and_then(|text| menu.factor(&text).ok_or(NO_DEFAULT))
            );
        }
        let unattended = !person.is_interactive();
        match menu.default_factor() {
            Some(default) if unattended || (number == 1 && self.config.autopush) => {
                let text = "Autopushing login request to phone...";
                person.show(&Message::Unasked(text.to_owned()));
                return Ok(Ok(default));
            }
            None if unattended => return Ok(Err(NO_DEFAULT)),
            // Without a default factor, autopush shows the menu in the first attempt too.
            _ => {}
        }
        loop {
            let line = person.ask(&menu.text(self.user))?;
            match typed(&line) {
                // No passcode is that short, so this is a slip at the keyboard
                // (docs/behaviour.md, *At the menu*).
                Ok(text) if menu.lacks_option(&text) => {
                    person.show(&Message::Tell(format!("there is no option {text}")));
                }
                typed => {
                    return Ok(typed.and_then(|text| menu.factor(&text).ok_or(NO_DEFAULT)));
                }
            }
        }
    }
}

/// The person said yes so long ago, and is not asked again.
fn remembered(person: &dyn Conversation, age: Duration) -> Verdict {
    let minutes = age.as_secs() / 60;
    let ago = format!("{minutes} min ago on this connection");
    person.show(&Message::Tell(format!("Approved {ago}")));
    Verdict::new(Outcome::Remembered, format!("approved {ago}"))
}

/// Shows the person what Duo has decided, and returns how the attempt ended.
fn ended(person: &dyn Conversation, attempts: &Attempts, proof: Proof) -> Attempt {
    match proof {
        Proof::Allowed { factor, text } => {
            person.show(&Message::Tell(non_empty_or(text, "Duo says yes")));
            Attempt::Allowed(factor)
        }
        Proof::Denied(why) => denied(person, attempts, why, Next::Login),
        // Duo denies whatever the person does next.
        Proof::LockedOut(why) => Attempt::Over(aborted(person, why, Next::Nothing)),
        Proof::Fraud(why) => {
            let next = match person.is_interactive() {
                true => Next::Nothing,
                false => Next::Login,
            };
            Attempt::Over(aborted(person, why, next))
        }
    }
}

/// Shows why an attempt was denied, and that another one follows or, where none is left,
/// what the person can do `at_the_end`.
fn denied(
    person: &dyn Conversation,
    attempts: &Attempts,
    why: String,
    at_the_end: Next,
) -> Attempt {
    let next = match attempts.is_one_left() {
        true => Next::Attempt,
        false => at_the_end,
    };
    person.show(&Message::Denied {
        why: why.clone(),
        next,
    });
    Attempt::Denied(why)
}

/// Shows why the login is over.
fn aborted(person: &dyn Conversation, why: String, next: Next) -> Verdict {
    person.show(&Message::Denied {
        why: why.clone(),
        next,
    });
    Verdict::new(Outcome::Aborted, why)
}

/// `message`, or `default` if it is blank.
fn non_empty_or(message: String, default: &str) -> String {
    if message.trim().is_empty() {
        default.to_owned()
    } else {
        message
    }
}

/// The text of an enrolment, with the address on a line of its own unless `text` has it.
fn enrolment(text: &str, url: Option<&str>) -> String {
    match url {
        Some(url) if !text.contains(url) => format!("{text}\n{url}"),
        _ => text.to_owned(),
    }
}

/// Shows why the login ends, unless the person knows it: they gave up, or have used up a
/// code.
fn show_error(person: &dyn Conversation, error: &Error, stated: Failmode, verdict: &Verdict) {
    match (verdict.outcome, stated, error) {
        (Outcome::Failsafe, Failmode::Codes, _) | (_, _, Error::GaveUp(_)) => {}
        // The person left at the question for a code.
        (Outcome::Aborted, Failmode::Codes, Error::Service(_)) => {}
        (Outcome::Failsafe, ..) => {
            let text = "Duo cannot be reached: you are let in without it";
            person.show(&Message::Tell(text.to_owned()));
        }
        _ => person.show(&Message::Denied {
            why: verdict.detail.clone(),
            next: Next::Nothing,
        }),
    }
}

/// A typed line as it is sent to Duo: trimmed, and without the blanks between
/// digits that a pasted `123 456` has. Source: docs/behaviour.md, *At the menu*.
///
/// # Errors
/// Why the line can be neither a passcode nor a factor's name: it has more than
/// 255 bytes, or control characters.
pub fn typed(line: &[u8]) -> Result<String, &'static str> {
    if line.len() > 255 {
        return Err("That is too long to be a passcode");
    }
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return Err("That is not a passcode: it has control characters");
    }
    let mut kept = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let between_digits =
            letter.is_whitespace() && kept.ends_with(|last: char| last.is_ascii_digit()) && {
                while letters.next_if(|next| next.is_whitespace()).is_some() {}
                letters.peek().is_some_and(char::is_ascii_digit)
            };
        if !between_digits {
            kept.push(letter);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
