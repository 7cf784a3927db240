//! The child's half of a login: without privileges, it finds out who this is,
//! reads the configuration, and talks to the person and to Duo. Whatever
//! happens to it, it can only say what it found; the parent decides.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::account::{self, Account};
use crate::api::{Client, Notice, Person};
use crate::cli::Invocation;
use crate::clock::{Clock, Deadlines, WatchedClock};
use crate::config::{self, Config, Failmode, Gecos, Problem};
use crate::conversation::{self, Conversation};
use crate::error::Error;
use crate::groups::{self, Gate, Reason};
use crate::log::{self, Log, Priority, Who, login_line};
use crate::login::{Login, Outcome, Verdict};
use crate::privsep::{ChildEnds, FAULT_MARK};

/// What the child is started with.
pub struct Start<'a> {
    /// What the caller asked for.
    pub invocation: &'a Invocation,
    /// Whose login this is: the real user id before the drop.
    pub caller: u32,
    /// What the log should say of the user that we run as.
    pub warning: Option<String>,
    /// How opening the configuration went, with a warning perhaps.
    pub opened: Result<Option<Problem>, Problem>,
}

/// Runs the child to its exit status; `file` is the configuration, if it could
/// be opened.
pub fn run(start: &Start<'_>, file: Option<File>, mut ends: ChildEnds) -> i32 {
    let log = Log::open(start.invocation.sink, start.invocation.charset);
    let child = Child {
        start,
        invocation: start.invocation,
        log,
        clock: WatchedClock::start(),
        last_words: LastWords::default(),
    };
    if let Err(error) = child.watch_parent(&ends) {
        // Nobody would end a child that stays.
        let _ = ends.send(&format!("{FAULT_MARK}{error}"));
        return 1;
    }
    match child.introduce(file, &mut ends) {
        Ok((named, settings)) => {
            let verdict = child.ask(&named, settings);
            child.say(&verdict, &named.who, ends)
        }
        Err(error) => child.fail(&error, ends),
    }
}

struct Child<'a> {
    start: &'a Start<'a>,
    invocation: &'a Invocation,
    log: Log,
    clock: WatchedClock,
    last_words: LastWords,
}

/// What goes into the log if the parent is killed: nobody else is left to
/// write its last line.
type LastWords = Arc<Mutex<Option<(Priority, String)>>>;

/// What came of the configuration file.
enum Settings {
    Good(Box<Config>),
    /// Why not, and what it says of failmode beyond doubt.
    Broken(Error, Failmode),
}

impl Child<'_> {
    /// From here on the parent's end is this process's, with a last line.
    fn watch_parent(&self, ends: &ChildEnds) -> Result<(), Error> {
        self.if_orphaned(&killed(), &nobody());
        let (last_words, log) = (self.last_words.clone(), self.log);
        ends.watch_parent(self.clock.pulse(), move || {
            let words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((priority, line)) = &*words {
                log.line(*priority, line);
            }
        })
    }

    /// Finds out who this is and tells the parent, so that every log line can
    /// name them.
    fn introduce(
        &self,
        file: Option<File>,
        ends: &mut ChildEnds,
    ) -> Result<(Named, Settings), Error> {
        if let Some(warning) = &self.start.warning {
            self.log.warning(warning);
        }
        let account = Account::of(self.start.caller)?;
        let settings = self.settings(file);
        let gecos = match &settings {
            Settings::Good(config) => config.gecos,
            Settings::Broken(..) => Gecos::No,
        };
        let (duo_user, note) = account.duo_name(self.invocation.duo_user.as_deref(), &gecos);
        if let Some(note) = note {
            self.log.warning(&note);
        }
        if duo_user != account.name {
            let (login, duo) = (log::quoted(&account.name), log::quoted(&duo_user));
            self.log.info(&format!("User '{login}' is '{duo}' to Duo"));
        }
        let named = Who {
            duo_user,
            client: self.invocation.client.clone(),
        };
        self.if_orphaned(&killed(), &named);
        let record =
            serde_json::to_string(&named).map_err(|error| Error::fault("write a record", error))?;
        ends.send(&record)?;
        Ok((
            Named {
                account,
                who: named,
            },
            settings,
        ))
    }

    /// Sends the verdict. A yes exits with the other key, 0; a no stays until it
    /// is in the log.
    fn say(&self, verdict: &Verdict, who: &Who, mut ends: ChildEnds) -> i32 {
        let Ok(record) = serde_json::to_string(verdict) else {
            return 1;
        };
        if !verdict.outcome.opens() {
            self.if_orphaned(verdict, who);
        }
        let sent = ends.send(&record);
        if sent.is_ok() && verdict.outcome.opens() {
            return 0;
        }
        self.clock.rest();
        ends.stay()
    }

    /// Sends why it could not even be said whose login this is, and stays as a
    /// no does.
    fn fail(&self, error: &Error, mut ends: ChildEnds) -> ! {
        if ends.send(&format!("{FAULT_MARK}{error}")).is_ok() {
            let fault = Verdict::new(Outcome::Error, error.to_string());
            self.if_orphaned(&fault, &nobody());
        }
        self.clock.rest();
        ends.stay()
    }

    /// From here on a login whose parent is killed ends with this line.
    fn if_orphaned(&self, verdict: &Verdict, who: &Who) {
        let line = (verdict.outcome.label().1, verdict.line(who));
        *self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(line);
    }

    /// Reads the configuration, and tells everything that is wrong with it.
    fn settings(&self, file: Option<File>) -> Settings {
        let path = self.invocation.config.as_path();
        let broken = |problems: &[Problem], failmode| {
            self.complain(path, problems);
            Settings::Broken(summary(path, problems), failmode)
        };
        let warning = match &self.start.opened {
            Ok(warning) => warning,
            Err(problem) => return broken(std::slice::from_ref(problem), Failmode::Secure),
        };
        let Some(file) = file else {
            return broken(&[], Failmode::Secure);
        };
        let bytes = match config::read(&file) {
            Ok(bytes) => bytes,
            Err(problem) => return broken(&[problem], Failmode::Secure),
        };
        let (result, more) = match config::parse(bytes.expose()) {
            Ok(parsed) => (Settings::Good(Box::new(parsed.config)), parsed.warnings),
            Err(file) => {
                let stated = file.failmode.unwrap_or(Failmode::Secure);
                (broken(&file.problems, stated), file.warnings)
            }
        };
        for warning in warning.iter().chain(&more) {
            self.log.warning(&warning.at(path));
        }
        result
    }

    /// To stderr and to the log: whoever tests the file sees either.
    fn complain(&self, path: &Path, problems: &[Problem]) {
        let mut lines = String::new();
        for problem in problems {
            let text = problem.at(path);
            self.log.line(Priority::Error, &text);
            lines.push_str(&log::one_line(&text, self.invocation.charset));
            lines.push('\n');
        }
        // In one go: a hundred lines to a full pipe must not wait a hundred times.
        let _ = log::write_patiently(io::stderr().as_fd(), lines.as_bytes(), log::PATIENCE);
    }

    /// Gate, Duo, attempts: the verdict.
    fn ask(&self, named: &Named, settings: Settings) -> Verdict {
        let config = match settings {
            Settings::Good(config) => config,
            Settings::Broken(error, stated) => return Verdict::of_error(&error, false, stated),
        };
        let deadlines = Deadlines::default();
        let person = conversation::open(
            self.invocation.charset,
            self.invocation.capable_terminal,
            &deadlines,
        );
        match self.ask_duo(named, &config, &*person, &deadlines) {
            Ok(verdict) => verdict,
            Err(error) => {
                let verdict = Verdict::of_error(&error, false, config.failmode_if_broken);
                if !verdict.outcome.opens() {
                    person.tell_always(&format!("Login denied: {error}"));
                }
                verdict
            }
        }
    }

    fn ask_duo(
        &self,
        named: &Named,
        config: &Config,
        person: &dyn Conversation,
        deadlines: &Deadlines,
    ) -> Result<Verdict, Error> {
        let Named { account, who } = named;
        let motd = config.motd && person.interactive() && self.invocation.command.is_none();
        match groups::gate(config.groups.as_ref(), account) {
            Ok(Gate::Ask(Reason::Doubt(why))) => {
                self.log.warning(&format!(
                    "asking, since it is not sure who need not be: {why}"
                ));
            }
            Ok(Gate::Ask(Reason::Everybody | Reason::Matched)) => {}
            Ok(Gate::Pass) => {
                return Ok(Verdict::new(Outcome::Bypassed, &account.name).with_motd(motd));
            }
            Err(error) => return Err(Error::Fault(error.to_string())),
        }

        let notice = |notice: &Notice| match notice {
            Notice::RateLimited(wait) => person.tell(&format!(
                "Duo is busy: trying again in {} s",
                wait.as_millis().div_ceil(1_000)
            )),
            Notice::ClockOff(seconds) => self.log.warning(&format!(
                "this machine's clock is off by {seconds} s, says Duo"
            )),
        };
        let whom = self.person(who, config);
        let mut duo = Client::new(config, whom, deadlines, &self.clock, &notice)?;
        let login = Login {
            config,
            user: &who.duo_user,
            passcode: self.invocation.passcode.as_ref(),
            original_command: self.invocation.original_command,
            deadlines,
            clock: &self.clock,
        };
        let failed = |why: &str| {
            let (label, priority) = Outcome::Failed.label();
            self.log.line(priority, &login_line(label, who, why));
        };
        Ok(login.run(&mut duo, person, &failed).with_motd(motd))
    }

    /// Who logs in, as Duo is told.
    fn person(&self, who: &Who, config: &Config) -> Person {
        let client = who.client.as_deref();
        let address = account::client_address(client);
        let own_address_instead = config.fallback_local_ip && address.is_none();
        if let (true, Some(text)) = (own_address_instead, client) {
            let text = log::quoted(text);
            self.log.info(&format!(
                "'{text}' is no address: Duo is told this host's own"
            ));
        }
        let command = self
            .invocation
            .command
            .as_ref()
            .filter(|_| config.push_info);
        Person {
            user: who.duo_user.clone(),
            address,
            own_address_instead,
            command: command.map(|command| String::from_utf8_lossy(command).into_owned()),
        }
    }
}

/// Who logs in, before that is known.
fn nobody() -> Who {
    Who {
        duo_user: "?".to_owned(),
        client: None,
    }
}

/// The verdict on a login in the middle of which the parent is killed.
fn killed() -> Verdict {
    Verdict::new(Outcome::Aborted, "login_duo was killed")
}

/// Who logs in: the account, and the names in the log.
struct Named {
    account: Account,
    who: Who,
}

fn summary(path: &Path, problems: &[Problem]) -> Error {
    let mut text = match problems {
        [] => format!("{}: cannot be read", path.display()),
        [first, ..] => first.at(path),
    };
    if problems.len() > 1 {
        text.push_str(&format!(" (and {} more)", problems.len() - 1));
    }
    Error::Configuration(text)
}
