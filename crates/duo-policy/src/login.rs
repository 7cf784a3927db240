//! The decisions of a login: preauth, factor, attempts. What becomes of them is
//! in [`crate::verdict`].
//!
//! Pure, over the traits [`Duo`] and [`Conversation`].

use std::time::Instant;

use duo_wire::{Message, Next, Outcome, Verdict, Waiting};

use crate::api::Duo;
use crate::api::menu::{Factor, Menu};
use crate::api::reply::{Auth, Preauth, Progress, Status};
use crate::clock::{Clock, Deadlines};
use crate::config::Config;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::secret::Secret;
use crate::verdict::{self, Alibi};

/// What a login is made of, beside Duo and the person.
pub struct Login<'a> {
    /// The sysadmin's decisions.
    pub config: &'a Config,
    /// The Duo user name, for a menu that we write.
    pub user: &'a str,
    /// `$DUO_PASSCODE`.
    pub passcode: Option<&'a Secret>,
    /// How long the person may take.
    pub deadlines: &'a Deadlines,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Asked where `safe` is about to open.
    pub alibi: Alibi<'a>,
}

/// What the log must say while a login goes on.
pub trait AttemptLog {
    /// Duo is about to be asked to judge a factor, for the first time in this login.
    fn asking(&self);

    /// An attempt was denied, and another one follows.
    fn failed(&self, why: &str);
}

/// Different texts of one transaction that are shown; a server that says more
/// than this has nothing to say.
const MOST_TEXTS: usize = 20;

/// How one attempt ended, if it did not end in an error.
enum Attempt {
    /// Duo said yes, to this factor.
    Allowed(String),
    /// Duo said no, or was not even asked; another attempt may follow.
    Denied(String),
    /// The login is over without a factor.
    Over(Verdict),
}

impl Login<'_> {
    /// Attempts, until one ends the login. `log` is told of each denied one but
    /// the last, which is the verdict.
    pub fn run(
        &self,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
        log: &dyn AttemptLog,
    ) -> Verdict {
        let attempts = match person.is_interactive() {
            true => self.config.prompts.max(1),
            false => 1,
        };
        let duo = &mut Announced {
            duo,
            log,
            has_asked: false,
        };
        for number in 1..=attempts {
            match self.attempt(number, attempts, duo, person) {
                Ok(Attempt::Allowed(factor)) => return Verdict::new(Outcome::Successful, factor),
                Ok(Attempt::Over(verdict)) => return verdict,
                Ok(Attempt::Denied(why)) if number == attempts => {
                    return Verdict::new(Outcome::Failed, why);
                }
                Ok(Attempt::Denied(why)) => log.failed(&why),
                Err(error) => {
                    let (answered, stated) = (duo.answered(), self.config.failmode);
                    let verdict = verdict::of_error(&error, answered, stated, self.alibi);
                    tell_of_error(person, &error, &verdict);
                    return verdict;
                }
            }
        }
        Verdict::new(Outcome::Error, "no attempt was made")
    }

    fn attempt(
        &self,
        number: u8,
        attempts: u8,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
    ) -> Result<Attempt, Error> {
        let menu = match duo.preauth()? {
            Preauth::Auth(menu) => menu,
            Preauth::Allow(message) => {
                person.show(&Message::Tell(message.clone()));
                return Ok(Attempt::Over(Verdict::new(Outcome::Skipped, message)));
            }
            Preauth::Deny(message) => {
                let why = or_else(message, "Duo denied this login");
                person.show(&Message::Denied {
                    why: why.clone(),
                    next: Next::Nothing,
                });
                return Ok(Attempt::Over(Verdict::new(Outcome::Aborted, why)));
            }
            Preauth::Enroll { text, url } => {
                let why = or_else(text, "Duo enrolment required");
                person.show(&Message::Enrol {
                    text: enrolment(&why, url.as_deref()),
                    address: url,
                });
                return Ok(Attempt::Over(Verdict::new(Outcome::Aborted, why)));
            }
        };
        let denied = |why: String, at_the_end| {
            let next = match number < attempts {
                true => Next::Attempt,
                false => at_the_end,
            };
            person.show(&Message::Denied {
                why: why.clone(),
                next,
            });
            Ok(Attempt::Denied(why))
        };
        let factor = match self.choose(number, &menu, person)? {
            Ok(factor) => factor,
            // The same command would come to the same end.
            Err(why) if !person.is_interactive() => return denied(why.to_owned(), Next::Nothing),
            Err(why) => return denied(why.to_owned(), Next::Login),
        };
        let status = self.prove(&factor, duo, person)?;
        let message = status.message.unwrap_or_default();
        if status.progress == Progress::Allow {
            person.show(&Message::Tell(message));
            return Ok(Attempt::Allowed(factor.name().to_owned()));
        }
        let why = or_else(message, "Duo denied this attempt");
        match status.progress {
            Progress::LockedOut => denied(why, Next::Nothing),
            _ => denied(why, Next::Login),
        }
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
                person.show(&Message::Tell(text.to_owned()));
                return Ok(Ok(default));
            }
            None if unattended => return Ok(Err(NO_DEFAULT)),
            // Without a default, autopush is the menu at once.
            _ => {}
        }
        loop {
            let line = person.ask(&menu.text(self.user))?;
            match typed(&line) {
                // A slip at the keyboard: no passcode is that short.
                Ok(text) if menu.lacks_option(&text) => {
                    person.show(&Message::Tell(format!("there is no option {text}")));
                }
                typed => {
                    return Ok(typed.and_then(|text| menu.factor(&text).ok_or(NO_DEFAULT)));
                }
            }
        }
    }

    /// Asks Duo to judge a factor, and waits for its word.
    fn prove(
        &self,
        factor: &Factor,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
    ) -> Result<Status, Error> {
        // What was typed is a passcode as a rule, and asks nothing more of the person, however
        // slow Duo is: only Duo knows better.
        if !factor.is_typed() {
            person.show(&Message::Waiting(Waiting::Begins));
        }
        let status = match duo.auth(factor) {
            Ok(Auth::Settled(status)) => Ok(status),
            Ok(Auth::Started(transaction)) => self.follow(&transaction, factor, duo, person),
            Err(error) => Err(error),
        };
        person.show(&Message::Waiting(Waiting::Ends));
        status
    }

    fn follow(
        &self,
        transaction: &str,
        factor: &Factor,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
    ) -> Result<Status, Error> {
        let until = self.clock.now() + self.deadlines.person;
        let mut told = Vec::new();
        let mut waits = false;
        loop {
            let asked = self.clock.now();
            if asked >= until {
                return Ok(timed_out());
            }
            let status = match duo.status(transaction, until) {
                Err(Error::Service(_)) if self.clock.now() >= until => return Ok(timed_out()),
                status => status?,
            };
            if status.progress != Progress::Waiting {
                return Ok(status);
            }
            if factor.is_typed() && !waits {
                person.show(&Message::Waiting(Waiting::Begins));
                waits = true;
            }
            let is_new = |message: &String| told.len() < MOST_TEXTS && !told.contains(message);
            match status.message.filter(is_new) {
                Some(message) => {
                    // The code to type into the phone is part of it.
                    person.show(&match factor.is_verified_push() {
                        true => Message::Code(message.clone()),
                        false => Message::Tell(message.clone()),
                    });
                    told.push(message);
                }
                // A server that answers at once with nothing new is not asked in a spin.
                None => {
                    let took = self.clock.now().saturating_duration_since(asked);
                    self.clock
                        .sleep(self.deadlines.between_polls.saturating_sub(took));
                }
            }
        }
    }
}

/// Duo, with the line in the log that comes before it is asked to judge anything.
struct Announced<'a> {
    duo: &'a mut dyn Duo,
    log: &'a dyn AttemptLog,
    has_asked: bool,
}

impl Duo for Announced<'_> {
    fn preauth(&mut self) -> Result<Preauth, Error> {
        self.duo.preauth()
    }

    fn auth(&mut self, factor: &Factor) -> Result<Auth, Error> {
        if !std::mem::replace(&mut self.has_asked, true) {
            self.log.asking();
        }
        self.duo.auth(factor)
    }

    fn status(&mut self, transaction: &str, until: Instant) -> Result<Status, Error> {
        self.duo.status(transaction, until)
    }

    fn answered(&self) -> bool {
        self.duo.answered()
    }
}

fn timed_out() -> Status {
    Status {
        progress: Progress::Deny,
        message: Some("authentication timed out".to_owned()),
    }
}

fn or_else(message: String, words: &str) -> String {
    if message.trim().is_empty() {
        words.to_owned()
    } else {
        message
    }
}

fn enrolment(text: &str, url: Option<&str>) -> String {
    match url {
        Some(url) if !text.contains(url) => format!("{text}\n{url}"),
        _ => text.to_owned(),
    }
}

/// Says why the login ends, where that is not plain from what was said before.
fn tell_of_error(person: &dyn Conversation, error: &Error, verdict: &Verdict) {
    if verdict.outcome == Outcome::Failsafe {
        let text = "Duo cannot be reached: you are let in without it";
        person.show(&Message::Tell(text.to_owned()));
    } else if !matches!(error, Error::GaveUp(_)) {
        person.show(&Message::Denied {
            why: verdict.detail.clone(),
            next: Next::Nothing,
        });
    }
}

/// What was typed, as Duo should see it: trimmed, and without the blanks that a
/// pasted `123 456` has.
///
/// # Errors
/// Why it cannot be a passcode or a factor's name.
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
