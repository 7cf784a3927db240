//! The decisions with a scripted Duo, a scripted person and a clock of the
//! test's own: what opens the door, and how long a login goes on.

mod attempts;
mod beside;
mod emergency;
mod facts;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use duo_wire::Waiting;
use zeroize::Zeroizing;

use super::race::MOST_TEXTS;
use super::*;
use crate::api::reply::{Auth, Progress, Status};
use crate::api::{Answered, Event, Line, Listen, Span};
use crate::clock::Clock;
use crate::codes::NoCodes;
use crate::config;

/// A clock that stands still unless the login sleeps or a scripted call takes time.
struct TestClock {
    start: Instant,
    now: Cell<Instant>,
}

impl TestClock {
    fn new() -> TestClock {
        let start = Instant::now();
        TestClock {
            start,
            now: Cell::new(start),
        }
    }

    fn passed(&self) -> Duration {
        self.now.get() - self.start
    }

    fn wait_until(&self, then: Instant) {
        self.now.set(self.now.get().max(then));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn sleep(&self, span: Duration) {
        self.now.set(self.now.get() + span);
    }
}

/// A Duo that gives each scripted answer once. After the last answer it starts
/// transactions that wait for ever.
struct ScriptedDuo<'a> {
    clock: &'a TestClock,
    /// `None`: the menu of [`menu`].
    preauths: VecDeque<Option<Result<Preauth, Error>>>,
    auths: VecDeque<Result<Auth, Error>>,
    statuses: VecDeque<Result<Status, Error>>,
    /// The answers on the second line, each after so many milliseconds.
    beside: VecDeque<(u64, Result<Auth, Error>)>,
    /// The requests that are on their way, with when and how they are answered.
    open: Vec<(Line, Instant, Result<Auth, Error>)>,
    /// Who may type while Duo waits.
    keyboard: Rc<Keyboard>,
    preauth_takes: Duration,
    /// How long one poll lasts.
    poll: Duration,
    /// What was called: `preauth`, `auth push1`, `status`.
    calls: Vec<String>,
    /// When each poll was asked.
    polls: Vec<Duration>,
    answered: Answered,
}

impl<'a> ScriptedDuo<'a> {
    fn new(clock: &'a TestClock) -> ScriptedDuo<'a> {
        ScriptedDuo {
            clock,
            preauths: VecDeque::new(),
            auths: VecDeque::new(),
            statuses: VecDeque::new(),
            beside: VecDeque::new(),
            open: Vec::new(),
            keyboard: Rc::default(),
            preauth_takes: Duration::ZERO,
            poll: Duration::ZERO,
            calls: Vec::new(),
            polls: Vec::new(),
            answered: Answered::NotYet,
        }
    }

    fn answer(&mut self, line: Line, at: Instant, answer: Result<Auth, Error>) {
        let is_free = self.open.iter().all(|(of, ..)| *of != line);
        assert!(is_free, "two requests on {line:?}");
        self.open.push((line, at, answer));
    }

    fn count(&self, call: &str) -> usize {
        self.calls
            .iter()
            .filter(|name| name.starts_with(call))
            .count()
    }
}

impl Duo for ScriptedDuo<'_> {
    fn preauth(&mut self) -> Result<Preauth, Error> {
        self.calls.push("preauth".into());
        self.clock.sleep(self.preauth_takes);
        let answer = self.preauths.pop_front().flatten();
        let answer = answer.unwrap_or_else(|| Ok(Preauth::Auth(menu())));
        if answer.is_ok() {
            self.answered = Answered::Yes;
        }
        answer
    }

    fn auth(&mut self, line: Line, factor: &Factor) {
        let Factor::Prompt { value, .. } = factor else {
            panic!("{factor:?} is not of the menu");
        };
        let now = self.clock.now();
        let (call, at, answer) = match line {
            Line::First => {
                let started = || Ok(Auth::Started("t".into()));
                ("auth", now, self.auths.pop_front().unwrap_or_else(started))
            }
            Line::Beside => {
                let (after, answer) = self.beside.pop_front().unwrap();
                ("beside", now + Duration::from_millis(after), answer)
            }
        };
        self.calls.push(format!("{call} {value}"));
        self.answer(line, at, answer);
    }

    fn status(&mut self, line: Line, transaction: &str, span: Span) {
        let at = span.from.max(self.clock.now());
        if line == Line::Beside {
            self.calls.push(format!("beside status {transaction}"));
            let (after, answer) = self.beside.pop_front().unwrap();
            return self.answer(line, at + Duration::from_millis(after), answer);
        }
        if at >= span.until {
            let late = Err(Error::Service("timed out".into()));
            return self.answer(line, at, late);
        }
        assert!(self.polls.len() < 1_000, "the polls never end");
        self.calls.push("status".into());
        self.polls.push(at - self.clock.start);
        let until = (at + self.poll).min(span.until);
        let status = self.statuses.pop_front().unwrap_or_else(|| waiting("…"));
        self.answer(line, until, status.map(Auth::Settled));
    }

    fn next(&mut self, listen: Listen) -> Event {
        let typed = self
            .keyboard
            .types_at()
            .filter(|_| listen == Listen::ToBoth);
        let typed = typed.map(|after| self.clock.start + after);
        let first = (0..self.open.len()).min_by_key(|place| self.open[*place].1);
        let due = first.map(|place| self.open[place].1);
        let event = match (typed, due) {
            (Some(typed), Some(due)) if typed <= due => Some(typed),
            (Some(typed), None) => Some(typed),
            (_, None) => panic!("the login waits for nothing"),
            (_, Some(_)) => None,
        };
        self.clock.wait_until(event.or(due).unwrap());
        self.keyboard.passed.set(self.clock.passed());
        match event {
            Some(_) => Event::Typed,
            None => {
                let (line, _, answer) = self.open.remove(first.unwrap());
                Event::Answer(line, answer)
            }
        }
    }

    fn answered(&self) -> Answered {
        self.answered
    }
}

/// What a person types while Duo waits for them.
#[derive(Default)]
struct Keyboard {
    /// Each line, and when it comes.
    lines: RefCell<VecDeque<(Duration, &'static [u8])>>,
    /// How long the login has lasted.
    passed: Cell<Duration>,
}

impl Keyboard {
    /// When the next line comes, if there is one.
    fn types_at(&self) -> Option<Duration> {
        self.lines.borrow().front().map(|(at, _)| *at)
    }
}

/// A person, or nobody, with the lines that they will type.
struct ScriptedPerson {
    interactive: bool,
    lines: RefCell<VecDeque<Result<&'static [u8], Error>>>,
    keyboard: Rc<Keyboard>,
    shown: RefCell<Vec<String>>,
    /// The texts among `shown` that must reach a headless client too.
    must_reach: RefCell<Vec<String>>,
    asked: Cell<usize>,
    waits: RefCell<Vec<Waiting>>,
    /// What the person could do after each denial.
    next: RefCell<Vec<Next>>,
}

impl ScriptedPerson {
    fn typing(lines: &[&'static str]) -> ScriptedPerson {
        let lines = lines.iter().map(|line| Ok(line.as_bytes())).collect();
        ScriptedPerson {
            interactive: true,
            lines: RefCell::new(lines),
            keyboard: Rc::default(),
            shown: RefCell::default(),
            must_reach: RefCell::default(),
            asked: Cell::default(),
            waits: RefCell::default(),
            next: RefCell::default(),
        }
    }

    fn nobody() -> ScriptedPerson {
        ScriptedPerson {
            interactive: false,
            ..ScriptedPerson::typing(&[])
        }
    }

    /// They choose the default factor, and then type each line after so many
    /// milliseconds.
    fn waiting(lines: &[(u64, &'static str)]) -> ScriptedPerson {
        let person = ScriptedPerson::typing(&[""]);
        let lines = lines.iter();
        let lines = lines.map(|(at, line)| (Duration::from_millis(*at), line.as_bytes()));
        person.keyboard.lines.borrow_mut().extend(lines);
        person
    }

    fn heard(&self, text: &str) -> bool {
        self.shown.borrow().iter().any(|shown| shown.contains(text))
    }

    fn must_hear(&self, text: &str) -> bool {
        self.must_reach
            .borrow()
            .iter()
            .any(|shown| shown.contains(text))
    }
}

impl Conversation for ScriptedPerson {
    fn is_interactive(&self) -> bool {
        self.interactive
    }

    fn show(&self, message: &Message) {
        let (text, always) = match message {
            Message::Tell(text) | Message::Unasked(text) | Message::Warn(text) => (text, false),
            Message::Denied { why, next } => (why, *next != Next::Attempt),
            Message::Code(text) | Message::Enrol { text, .. } => (text, true),
            Message::Waiting(state) => return self.waits.borrow_mut().push(*state),
        };
        self.shown.borrow_mut().push(text.clone());
        if always {
            self.must_reach.borrow_mut().push(text.clone());
        }
        if let Message::Denied { next, .. } = message {
            self.next.borrow_mut().push(*next);
        }
    }

    fn ask(&self, _menu: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        assert!(self.interactive, "nobody can be asked");
        self.asked.set(self.asked.get() + 1);
        let line = self.lines.borrow_mut().pop_front();
        let line = line.unwrap_or_else(|| Err(Error::GaveUp("end of input".into())));
        Ok(Zeroizing::new(line?.to_vec()))
    }

    fn typed(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let keyboard = &self.keyboard;
        if keyboard
            .types_at()
            .is_none_or(|at| at > keyboard.passed.get())
        {
            return Ok(None);
        }
        let line = keyboard.lines.borrow_mut().pop_front();
        Ok(line.map(|(_, line)| Zeroizing::new(line.to_vec())))
    }
}

/// A menu where 1 and Enter are a push, 2 is a call, 3 is a Verified Push.
fn menu() -> Menu {
    let mut menu = Menu::prompted("choose: ", Some("t1"));
    for (key, name) in [
        ("default", "push1"),
        ("1", "push1"),
        ("2", "phone1"),
        ("3", "verified_push1"),
    ] {
        menu.add_prompted(key, name);
    }
    menu
}

fn waiting(message: &str) -> Result<Status, Error> {
    status(Progress::Waiting, message)
}

fn allowed() -> Result<Status, Error> {
    status(Progress::Allow, "Success. Logging you in...")
}

fn denied(message: &str) -> Result<Status, Error> {
    status(Progress::Deny, message)
}

fn status(progress: Progress, message: &str) -> Result<Status, Error> {
    let message = Some(message.to_owned()).filter(|message| !message.is_empty());
    Ok(Status { progress, message })
}

fn config(lines: &str) -> Config {
    let text = format!("ikey = I\nskey = S\nhost = h.example\n{lines}");
    match config::parse(text.as_bytes()) {
        Ok(parsed) => parsed.config,
        Err(broken) => panic!("{broken:?}"),
    }
}

/// A login that is over: its verdict, and the lines that the log got before.
struct Ended {
    verdict: Verdict,
    failed: Vec<String>,
    /// How often the log got the line that Duo is asked.
    asking: usize,
}

impl Ended {
    fn outcome(&self) -> (Outcome, &str) {
        (self.verdict.outcome, &self.verdict.detail)
    }
}

/// What a login has apart from the configuration, Duo and the person.
#[derive(Default)]
struct Extras {
    /// How many lines the log takes, if it is full at some time.
    most_lines: Option<usize>,
    passcode: Option<&'static str>,
    /// Why this machine has no alibi.
    doubt: Option<&'static str>,
    /// The emergency codes of the account.
    codes: Option<&'static dyn Fn() -> Box<dyn EmergencyCodes>>,
    /// How long ago the person said yes on this connection.
    approved: Option<Duration>,
}

/// A log that keeps its lines.
#[derive(Default)]
struct KeptLog {
    /// Lines that it takes no more of: it is full then.
    most: Option<usize>,
    failed: RefCell<Vec<String>>,
    asking: Cell<usize>,
}

impl KeptLog {
    fn taken(&self) -> Result<(), Error> {
        let lines = self.asking.get() + self.failed.borrow().len();
        match self.most {
            Some(most) if lines > most => Err(Error::Fault("the log is full".to_owned())),
            _ => Ok(()),
        }
    }
}

impl AttemptLog for KeptLog {
    fn asking(&self) -> Result<(), Error> {
        self.asking.set(self.asking.get() + 1);
        self.taken()
    }

    fn failed(&self, attempt: &Verdict) -> Result<(), Error> {
        self.failed.borrow_mut().push(attempt.detail.clone());
        self.taken()
    }
}

fn log_in(lines: &str, with: &Extras, duo: &mut ScriptedDuo<'_>, person: &ScriptedPerson) -> Ended {
    duo.keyboard = Rc::clone(&person.keyboard);
    let config = config(lines);
    let passcode = with.passcode.map(|text| Secret::from(text.to_owned()));
    let log = KeptLog {
        most: with.most_lines,
        ..KeptLog::default()
    };
    let alibi = || match with.doubt {
        Some(doubt) => Err(Error::Fault(doubt.to_owned())),
        None => Ok(()),
    };
    let none = || -> Box<dyn EmergencyCodes> { Box::new(NoCodes("no emergency codes")) };
    let codes = with.codes.map_or_else(none, |codes| codes());
    let login = Login {
        config: &config,
        user: "alice",
        passcode: passcode.as_ref(),
        deadlines: &Deadlines::default(),
        clock: duo.clock,
        approved: &|| with.approved,
        alibi: &alibi,
        codes: &*codes,
    };
    let verdict = login.run(duo, person, &log);
    Ended {
        verdict,
        failed: log.failed.into_inner(),
        asking: log.asking.into_inner(),
    }
}
