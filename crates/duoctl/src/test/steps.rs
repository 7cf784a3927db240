//! The steps of an attempt with their times: told as they happen, and kept for the end.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use duo_policy::api::menu::Factor;
use duo_policy::api::reply::{Auth, Preauth, Progress, Status};
use duo_policy::api::{Answered, Duo, Event, Line, Listen, Span};
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::text::{Charset, one_line};
use duo_wire::Message;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::Format;

/// A step's longest text, in characters: Duo's texts end up in some.
const LONGEST: usize = 300;

/// The steps that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// Who it is on this machine.
    Account,
    /// The name of Duo, or of the proxy, into addresses.
    Resolve,
    /// TCP.
    Connect,
    /// The handshake, with the proxy's tunnel before it.
    Tls,
    /// Duo's clock; opens the connection of the attempt.
    Clock,
    /// What is to be done about this user.
    Preauth,
    /// The factor goes to Duo.
    Auth,
    /// The person: at the menu, then at the phone.
    Person,
    /// Duo is rate limiting.
    Busy,
}

impl Name {
    fn word(self) -> &'static str {
        match self {
            Name::Account => "account",
            Name::Resolve => "resolve",
            Name::Connect => "connect",
            Name::Tls => "TLS",
            Name::Clock => "clock",
            Name::Preauth => "preauth",
            Name::Auth => "auth",
            Name::Person => "person",
            Name::Busy => "busy",
        }
    }
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub name: Name,
    /// How long it took.
    pub milliseconds: u64,
    /// What came of it.
    pub text: String,
}

impl Step {
    /// For people.
    pub fn line(&self) -> String {
        let took = span(Duration::from_millis(self.milliseconds));
        let line = format!("{:<8} {took:>10}  {}", self.name.word(), self.text);
        one_line(&line, Charset::Ascii).into_owned()
    }
}

/// When steps are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    /// As they happen, on the person's terminal.
    Live,
    /// At the end, by whoever has stdout.
    Later,
}

/// All steps so far.
pub struct Steps<'a> {
    person: &'a dyn Conversation,
    format: Format,
    all: RefCell<Vec<Step>>,
}

impl<'a> Steps<'a> {
    /// None so far; they are shown to `person`, where that is a person.
    pub fn new(person: &'a dyn Conversation, format: Format) -> Steps<'a> {
        Steps {
            person,
            format,
            all: RefCell::default(),
        }
    }

    /// One more.
    pub fn add(&self, name: Name, took: Duration, text: String) {
        let text: String = text.chars().take(LONGEST).collect();
        let step = Step {
            name,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            text,
        };
        // Above the counter of a login that waits. stdout is not this process's.
        if self.shown() == Shown::Live {
            self.person.show(&Message::Tell(step.line()));
        }
        self.all.borrow_mut().push(step);
    }

    /// Whether the person sees the steps as they happen.
    pub fn shown(&self) -> Shown {
        match (self.format, self.person.is_interactive()) {
            (Format::Text, true) => Shown::Live,
            _ => Shown::Later,
        }
    }

    /// All of them.
    pub fn into_all(self) -> Vec<Step> {
        self.all.into_inner()
    }

    fn timed<T>(&self, name: Name, work: impl FnOnce() -> T, text: impl FnOnce(&T) -> String) -> T {
        let begun = Instant::now();
        let result = work();
        self.add(name, begun.elapsed(), text(&result));
        result
    }
}

fn span(took: Duration) -> String {
    match took.as_millis() {
        0 => "under 1 ms".to_owned(),
        millis @ 1..10_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

/// Duo, with a step for each call.
pub struct Timed<'a> {
    duo: &'a mut dyn Duo,
    steps: &'a Steps<'a>,
    /// Since when the answer to auth on each line is waited for.
    asked_since: Vec<(Line, Instant)>,
    /// Since when the person is waited for.
    rings_since: Option<Instant>,
}

impl<'a> Timed<'a> {
    /// The same Duo.
    pub fn new(duo: &'a mut dyn Duo, steps: &'a Steps<'a>) -> Timed<'a> {
        Timed {
            duo,
            steps,
            asked_since: Vec::new(),
            rings_since: None,
        }
    }
}

fn or_error<T>(result: &Result<T, Error>, text: impl FnOnce(&T) -> String) -> String {
    match result {
        Ok(value) => text(value),
        Err(error) => error.to_string(),
    }
}

fn told(status: &Status) -> String {
    let words = match status.progress {
        Progress::Waiting => "no answer yet",
        Progress::Allow => "yes",
        Progress::Deny => "no",
        Progress::LockedOut => "no, the account is locked out",
        Progress::Fraud => "no, it was reported as fraud",
    };
    match &status.message {
        Some(message) => format!("{words}: {message}"),
        None => words.to_owned(),
    }
}

/// What the verdict in an answer says; `None` if Duo still waits.
fn verdict(answer: &Result<Auth, Error>) -> Option<String> {
    match answer {
        Ok(Auth::Started(_)) => None,
        Ok(Auth::Settled(status)) if status.progress == Progress::Waiting => None,
        Ok(Auth::Settled(status)) => Some(told(status)),
        Err(error) => Some(error.to_string()),
    }
}

impl Duo for Timed<'_> {
    fn preauth(&mut self) -> Result<Preauth, Error> {
        let duo = &mut self.duo;
        self.steps.timed(
            Name::Preauth,
            || duo.preauth(),
            |result| {
                or_error(result, |answer| match answer {
                    Preauth::Auth(menu) => format!("Duo asks, {} choices", menu.choices().len()),
                    Preauth::Allow(why) => format!("Duo lets in unasked: {why}"),
                    Preauth::Deny(why) => format!("Duo denies: {why}"),
                    Preauth::Enroll { text, .. } => format!("the user must enrol first: {text}"),
                })
            },
        )
    }

    fn auth(&mut self, line: Line, factor: &Factor) {
        self.asked_since.push((line, Instant::now()));
        self.duo.auth(line, factor);
    }

    fn status(&mut self, line: Line, transaction: &str, span: Span) {
        self.duo.status(line, transaction, span);
    }

    fn next(&mut self, listen: Listen) -> Event {
        let event = self.duo.next(listen);
        if let Event::Answer(line, answer) = &event {
            let asked = self.asked_since.iter().position(|(of, _)| of == line);
            if let Some(place) = asked {
                let (_, since) = self.asked_since.swap_remove(place);
                let text = or_error(answer, |auth| match auth {
                    Auth::Started(_) => "Duo asks the person".to_owned(),
                    Auth::Settled(status) => told(status),
                });
                self.steps.add(Name::Auth, since.elapsed(), text);
                if *line == Line::First {
                    self.rings_since = Some(Instant::now());
                }
            } else if let Some(text) = verdict(answer)
                && let Some(since) = self.rings_since.take()
            {
                self.steps.add(Name::Person, since.elapsed(), text);
            }
        }
        event
    }

    fn answered(&self) -> Answered {
        self.duo.answered()
    }
}

/// The person, with a step for each question.
pub struct Listening<'a> {
    /// Where the steps go; the person is theirs.
    pub steps: &'a Steps<'a>,
}

impl Conversation for Listening<'_> {
    fn is_interactive(&self) -> bool {
        self.steps.person.is_interactive()
    }

    fn show(&self, message: &Message) {
        self.steps.person.show(message);
    }

    fn ask(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let asked = || self.steps.person.ask(question);
        let text = |answer: &Result<_, Error>| or_error(answer, |_| "at the menu".to_owned());
        self.steps.timed(Name::Person, asked, text)
    }

    fn typed(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.steps.person.typed()
    }
}
