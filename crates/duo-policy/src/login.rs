//! The decisions of a login: preauth, factor, attempts. [`crate::verdict`] says
//! what an outcome means for the door.
//!
//! Nothing here makes a system call: Duo, the person, the clock and the log are
//! traits.

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
    /// Called right before `safe` opens the door.
    pub alibi: Alibi<'a>,
}

/// The lines that the log gets before a login is over.
pub trait AttemptLog {
    /// Duo is about to be asked to verify a factor, for the first time in this login.
    fn asking(&self);

    /// An attempt was denied, and another one follows.
    fn failed(&self, why: &str);
}

/// The most different texts that are shown for one transaction, so that a hostile
/// server cannot flood the terminal.
const MOST_TEXTS: usize = 20;

/// How one attempt ended, if it did not end in an error.
enum Attempt {
    /// Duo allowed the login with the factor of this name.
    Allowed(String),
    /// Duo denied, or was not asked at all; why. Another attempt may follow.
    Denied(String),
    /// preauth ended the login: no factor was needed, or none would help.
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
        let attempts = match person.is_interactive() {
            true => self.config.prompts.max(1),
            false => 1,
        };
        let duo = &mut LoggedDuo {
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
                    show_error(person, &error, &verdict);
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
                let why = non_empty_or(message, "Duo denied this login");
                person.show(&Message::Denied {
                    why: why.clone(),
                    next: Next::Nothing,
                });
                return Ok(Attempt::Over(Verdict::new(Outcome::Aborted, why)));
            }
            Preauth::Enroll { text, url } => {
                let why = non_empty_or(text, "Duo enrolment required");
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
            // A new login with the same command would be denied for the same reason.
            Err(why) if !person.is_interactive() => return denied(why.to_owned(), Next::Nothing),
            Err(why) => return denied(why.to_owned(), Next::Login),
        };
        let status = self.prove(&factor, duo, person)?;
        let message = status.message.unwrap_or_default();
        if status.progress == Progress::Allow {
            person.show(&Message::Tell(message));
            return Ok(Attempt::Allowed(factor.name().to_owned()));
        }
        let why = non_empty_or(message, "Duo denied this attempt");
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

    /// Asks Duo to verify a factor, and waits for the result.
    fn prove(
        &self,
        factor: &Factor,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
    ) -> Result<Status, Error> {
        // A typed factor is a passcode as a rule, and asks nothing more of the person, however
        // slow Duo is. If it is the name of a factor, `follow` learns so from Duo's first status.
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

    /// Polls a transaction until it has a result or the person's time is over.
    fn follow(
        &self,
        transaction: &str,
        factor: &Factor,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
    ) -> Result<Status, Error> {
        let until = self.clock.now() + self.deadlines.person;
        let mut shown = Vec::new();
        let mut shows_waiting = !factor.is_typed();
        loop {
            let asked_at = self.clock.now();
            if asked_at >= until {
                return Ok(timed_out());
            }
            let status = match duo.status(transaction, until) {
                Err(Error::Service(_)) if self.clock.now() >= until => return Ok(timed_out()),
                status => status?,
            };
            if status.progress != Progress::Waiting {
                return Ok(status);
            }
            if !shows_waiting {
                person.show(&Message::Waiting(Waiting::Begins));
                shows_waiting = true;
            }
            let is_new = |message: &String| shown.len() < MOST_TEXTS && !shown.contains(message);
            match status.message.filter(is_new) {
                Some(message) => {
                    // The text of a Verified Push holds the code to type into the phone.
                    person.show(&match factor.is_verified_push() {
                        true => Message::Code(message.clone()),
                        false => Message::Tell(message.clone()),
                    });
                    shown.push(message);
                }
                // Without this pause, a server that answers at once without a new text would
                // be asked in a tight loop.
                None => {
                    let took = self.clock.now().saturating_duration_since(asked_at);
                    self.clock
                        .sleep(self.deadlines.between_polls.saturating_sub(took));
                }
            }
        }
    }
}

/// A [`Duo`] that writes a line to the log before its first `auth`
/// (docs/security.md, *One final line*).
struct LoggedDuo<'a> {
    duo: &'a mut dyn Duo,
    log: &'a dyn AttemptLog,
    has_asked: bool,
}

impl Duo for LoggedDuo<'_> {
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

/// Shows why the login ends, unless the person gave up and so knows it.
fn show_error(person: &dyn Conversation, error: &Error, verdict: &Verdict) {
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
