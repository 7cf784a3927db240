//! The decisions of a login: preauth, factor, attempts, verdict. What becomes of
//! them is in [`verdict`]: the failmode table, and the two keys of the door.
//!
//! Pure, over the traits [`Duo`] and [`Conversation`].
#![forbid(unsafe_code)]

mod verdict;

pub use verdict::{Allow, Judgement, Outcome, Unsaid, Verdict, failmode, judge};

use crate::api::Duo;
use crate::api::factor::{Factor, Menu};
use crate::api::reply::{Auth, Preauth, Progress, Status};
use crate::clock::{Clock, Deadlines};
use crate::config::Config;
use crate::conversation::{Conversation, Waiting};
use crate::error::Error;
use crate::secret::Secret;

/// What a login is made of, beside Duo and the person.
pub struct Login<'a> {
    /// The sysadmin's decisions.
    pub config: &'a Config,
    /// The Duo user name, for a menu that we write.
    pub user: &'a str,
    /// `$DUO_PASSCODE`.
    pub passcode: Option<&'a Secret>,
    /// Whether sshd was asked for a command.
    pub original_command: bool,
    /// How long the person may take.
    pub deadlines: &'a Deadlines,
    /// The time.
    pub clock: &'a dyn Clock,
}

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
    /// Attempts, until one ends the login. `failed` is told of each denied one
    /// but the last, which is the verdict.
    pub fn run(
        &self,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
        failed: &dyn Fn(&str),
    ) -> Verdict {
        let attempts = self.attempts(person);
        for number in 1..=attempts {
            match self.attempt(number, duo, person) {
                Ok(Attempt::Allowed(factor)) => return Verdict::new(Outcome::Successful, factor),
                Ok(Attempt::Over(verdict)) => return verdict,
                Ok(Attempt::Denied(why)) if number == attempts => {
                    if attempts > 1 {
                        person.tell("Login denied: that was the last attempt");
                    }
                    return Verdict::new(Outcome::Failed, why);
                }
                Ok(Attempt::Denied(why)) => failed(&why),
                Err(error) => {
                    let error = self.if_awake(error);
                    let verdict = Verdict::of_error(&error, duo.answered(), self.config.failmode);
                    tell_of_error(person, &error, verdict.outcome);
                    return verdict;
                }
            }
        }
        Verdict::new(Outcome::Error, "no attempt was made")
    }

    /// A service error is the service's only if we were awake to hear it: a
    /// caller who freezes us must not pass for Duo being down.
    fn if_awake(&self, error: Error) -> Error {
        match error {
            Error::Service(text) => match self.clock.doubt() {
                Some(doubt) => Error::Fault(format!("{doubt}: {text}")),
                None => Error::Service(text),
            },
            error => error,
        }
    }

    fn attempts(&self, person: &dyn Conversation) -> u8 {
        if self.unattended(person) {
            1
        } else {
            self.config.prompts.max(1)
        }
    }

    /// Whether nobody answers a menu; `ssh -tt host command` is often a program.
    fn unattended(&self, person: &dyn Conversation) -> bool {
        !person.interactive() || (self.config.autopush && self.original_command)
    }

    fn attempt(
        &self,
        number: u8,
        duo: &mut dyn Duo,
        person: &dyn Conversation,
    ) -> Result<Attempt, Error> {
        let settled = duo.preauth()?;
        // Duo has answered: from here on no silence opens anything.
        self.clock.rest();
        let menu = match settled {
            Preauth::Auth(menu) => menu,
            Preauth::Allow(message) => {
                person.tell(&message);
                return Ok(Attempt::Over(Verdict::new(Outcome::Skipped, message)));
            }
            Preauth::Deny(message) => {
                let why = or_else(message, "Duo denied this login");
                person.tell_always(&format!("Login denied: {why}"));
                return Ok(Attempt::Over(Verdict::new(Outcome::Aborted, why)));
            }
            Preauth::Enroll { text, url } => {
                let why = or_else(text, "Duo enrolment required");
                person.enrol(&enrolment(&why, url.as_deref()), url.as_deref());
                return Ok(Attempt::Over(Verdict::new(Outcome::Aborted, why)));
            }
        };
        let factor = match self.choose(number, &menu, person)? {
            Ok(factor) => factor,
            Err(why) => {
                tell_of_denial(person, why, "");
                return Ok(Attempt::Denied(why.to_owned()));
            }
        };
        let status = self.prove(&factor, duo, person)?;
        let message = status.message.unwrap_or_default();
        if status.progress == Progress::Allow {
            person.tell(&message);
            return Ok(Attempt::Allowed(factor.name().to_owned()));
        }
        let why = or_else(message, "Duo denied this attempt");
        let advice = match status.progress {
            Progress::LockedOut => "",
            _ => " To be asked again, run your command again.",
        };
        tell_of_denial(person, &why, advice);
        Ok(Attempt::Denied(why))
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
        let unattended = self.unattended(person);
        match menu.default_factor() {
            Some(default) if unattended || (number == 1 && self.config.autopush) => {
                person.tell("Autopushing login request to phone...");
                Ok(Ok(default))
            }
            None if unattended => Ok(Err(NO_DEFAULT)),
            // Without a default, autopush is the menu at once.
            _ => {
                let line = person.ask(&menu.text(self.user))?;
                Ok(typed(&line).and_then(|text| menu.factor(&text).ok_or(NO_DEFAULT)))
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
            person.waiting(Waiting::Begins);
        }
        let status = match duo.auth(factor) {
            Ok(Auth::Settled(status)) => Ok(status),
            Ok(Auth::Started(transaction)) => self.follow(&transaction, factor, duo, person),
            Err(error) => Err(error),
        };
        person.waiting(Waiting::Ends);
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
                person.waiting(Waiting::Begins);
                waits = true;
            }
            if let Some(message) = status.message.filter(|message| !told.contains(message)) {
                // The code to type into the phone is part of it.
                if factor.is_verified_push() {
                    person.show_code(&message);
                } else {
                    person.tell(&message);
                }
                told.push(message);
            }
            let took = self.clock.now().saturating_duration_since(asked);
            self.clock
                .sleep(self.deadlines.between_polls.saturating_sub(took));
        }
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

/// Says why an attempt was denied: at a menu, another may follow; elsewhere it
/// is the login's end, and `advice` for someone in front of scp or git.
fn tell_of_denial(person: &dyn Conversation, why: &str, advice: &str) {
    if person.interactive() {
        person.tell(why);
    } else {
        let stop = if why.ends_with('.') { "" } else { "." };
        person.tell_always(&format!("Login denied: {why}{stop}{advice}"));
    }
}

/// Says why the login ends, where that is not plain from what was said before.
fn tell_of_error(person: &dyn Conversation, error: &Error, outcome: Outcome) {
    match outcome {
        Outcome::Failsafe => person.tell("Duo cannot be reached: you are let in without it"),
        _ if matches!(error, Error::GaveUp(_)) => {}
        _ => person.tell_always(&format!("Login denied: {error}")),
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
