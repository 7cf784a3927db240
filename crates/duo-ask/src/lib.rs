//! The child's half of a login, for every front end. The child has no privileges.
//! It looks up the account, reads the configuration, and talks to the person and
//! to Duo. It also writes the log, since the person who logs in can stop and kill
//! the parent, but not the child (docs/security.md, *One final line*). The child
//! only reports a verdict: the parent decides whether the door opens.
#![forbid(unsafe_code)]

mod claim;
mod memory;

use std::borrow::Borrow;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use duo_net::{Client, Notice, Person};
use duo_policy::api::Answered;
use duo_policy::clock::Deadlines;
use duo_policy::config::{self, Config, Facility, Failmode, Gecos, Problem, Remember};
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::groups::{self, Gate, Reason};
use duo_policy::log_line::Priority;
use duo_policy::login::{AttemptLog, Login};
use duo_policy::text;
use duo_policy::verdict::{self, Demands};
use duo_system::account::Account;
use duo_system::alibi::alibi;
use duo_system::codes::{Codes, Opened};
use duo_system::configuration;
use duo_system::log::{Identity, Log, Sink};
use duo_system::privsep::{ChildEnds, Confined, Connections};
use duo_system::sandbox::{self, Needs};
use duo_system::wait::{SystemClock, Waiter};
use duo_wire::{Message, Next, Outcome, Record, Verdict, Who};

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
        let read = read_config(start, files.config);
        enter_sandbox(&read)?;
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
    let (named, reading) = match child.identify(read, &mut ends) {
        Ok(Some(identified)) => identified,
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
    let memory = child.memory(&named, &reading, connections);
    let verdict = match claim.objection {
        Some(why) => {
            (start.complain)(&format!("Login denied: {why}"));
            Verdict::new(Outcome::Aborted, why)
        }
        None => {
            let waiter = Waiter::new(&SystemClock, Some(&ends.life));
            child.ask(&named, reading, memory.as_ref(), &waiter, &converse)
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

/// The configuration file, as it was read. Nothing has been reported yet.
struct Read {
    /// What the file decides; without that, the failmode that it states.
    config: Result<Box<Config>, Failmode>,
    sandbox: bool,
    facility: Facility,
    mistakes: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Read {
    /// A file of which nothing could be read.
    fn nothing(mistakes: Vec<Problem>) -> Read {
        Read {
            config: Err(Failmode::Secure),
            sandbox: true,
            facility: Facility::AUTHPRIV,
            mistakes,
            warnings: Vec::new(),
        }
    }
}

/// Reads the configuration file.
fn read_config(start: &Start<'_>, file: Option<File>) -> Read {
    let (file, warning) = match (&start.opened, file) {
        (Ok(warning), Some(file)) => (file, warning),
        (Ok(_), None) => return Read::nothing(Vec::new()),
        (Err(mistakes), _) => return Read::nothing(mistakes.clone()),
    };
    let bytes = match configuration::read(&file) {
        Ok(bytes) => bytes,
        Err(mistake) => return Read::nothing(vec![mistake]),
    };
    let mut read = match config::parse(bytes.expose()) {
        Ok(parsed) => Read {
            sandbox: parsed.config.sandbox,
            facility: parsed.config.syslog_facility,
            config: Ok(Box::new(parsed.config)),
            mistakes: Vec::new(),
            warnings: parsed.warnings,
        },
        Err(broken) => Read {
            sandbox: broken.sandbox,
            facility: broken.syslog_facility,
            config: Err(broken.failmode.unwrap_or(Failmode::Secure)),
            mistakes: broken.problems,
            warnings: broken.warnings,
        },
    };
    if let Some(warning) = warning {
        read.warnings.insert(0, warning.clone());
    }
    read
}

/// Shuts this process in, unless the configuration says otherwise.
///
/// The sandbox needs to know Duo's port and the file of roots, so the configuration is
/// parsed before: it is a file of root's. All else that is read comes from outside and is
/// read afterwards: the claim of a host, what directories say of accounts and groups, the
/// network, and the person.
///
/// # Errors
/// [`Error::Fault`] if the kernel refuses what it has.
fn enter_sandbox(read: &Read) -> Result<(), Error> {
    if !read.sandbox {
        return Ok(());
    }
    let needs = match &read.config {
        Ok(config) => Needs {
            cafile: config.cafile.as_deref(),
            port: Some(config.next_hop().port),
        },
        Err(_) => Needs::default(),
    };
    sandbox::enter(&needs).map(drop)
}

struct Child<'a> {
    start: &'a Start<'a>,
    claim: &'a Claim,
    /// The file that [`Start::codes`] is about.
    codes: Option<File>,
    log: &'a Log,
}

/// How reading the configuration file ended.
enum ConfigRead {
    Good(Box<Config>),
    /// The mistakes, and the failmode that applies to them: `safe` only if the file
    /// says so beyond doubt (docs/behaviour.md, *Failmode*).
    Broken(Error, Failmode),
}

/// Who logs in: the account, and the names for the log.
struct Named {
    account: Account,
    who: Who,
}

impl Child<'_> {
    /// Looks up who logs in and tells the parent, whose own lines in the log need
    /// the name too. `None` if there is no such account.
    fn identify(
        &self,
        read: Read,
        ends: &mut ChildEnds,
    ) -> Result<Option<(Named, ConfigRead)>, Error> {
        if let Some(warning) = &self.start.warning {
            self.log.warning(warning);
        }
        let claim = self.claim;
        let Some(account) = claim.subject.account()? else {
            return Ok(None);
        };
        let reading = self.report(read);
        let gecos = match &reading {
            ConfigRead::Good(config) => config.gecos,
            ConfigRead::Broken(..) => Gecos::No,
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
        Ok(Some((Named { account, who }, reading)))
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

    /// What is remembered of this connection. `None` if nothing is to be remembered, or
    /// nothing can be: the person is asked.
    fn memory(
        &self,
        named: &Named,
        reading: &ConfigRead,
        connections: Connections,
    ) -> Option<Memory> {
        let ConfigRead::Good(config) = reading else {
            return None;
        };
        let opened = match (config.remember, connections) {
            (Remember::No, _) | (_, Connections::None | Connections::Wanted) => return None,
            (Remember::Connection, Connections::Refused(error)) => Err(error),
            (Remember::Connection, Connections::Found(opened)) => Ok(opened),
        };
        let memory = opened
            .and_then(|opened| Memory::new(opened, config, &named.account, &named.who.duo_user));
        memory.inspect_err(|error| self.warn_of_memory(error)).ok()
    }

    /// How long ago the person said yes on this connection.
    fn approved(&self, memory: &Memory) -> Option<Duration> {
        let age = memory.age();
        age.inspect_err(|error| self.warn_of_memory(error))
            .ok()
            .flatten()
    }

    fn warn_of_memory(&self, error: &Error) {
        self.log
            .warning(&format!("this connection is not remembered: {error}"));
    }

    /// Proves that this machine is not the reason why Duo was not reached.
    fn alibi(&self, waiter: &Waiter<'_>) -> Result<(), Error> {
        self.start.doubt.clone().map_or(Ok(()), Err)?;
        alibi(waiter)
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
        if let (Outcome::Successful, Some(memory)) = (verdict.outcome, memory)
            && let Err(error) = memory.approve()
        {
            self.warn_of_memory(&error);
        }
        let opens = verdict.outcome.opens();
        let sent = ends.send(&(logged + &Record::Verdict(verdict).to_line()));
        i32::from(sent.is_err() || !opens)
    }

    /// Reports all mistakes and warnings of the configuration.
    fn report(&self, read: Read) -> ConfigRead {
        let result = match read.config {
            Ok(config) => ConfigRead::Good(config),
            Err(stated) => {
                self.report_mistakes(&read.mistakes);
                ConfigRead::Broken(summary(self.start.path, &read.mistakes), stated)
            }
        };
        for warning in &read.warnings {
            self.log.warning(&warning.at(self.start.path));
        }
        result
    }

    /// Shows mistakes and writes them to the log, so that whoever tries the file sees
    /// them, by ssh or on the machine.
    fn report_mistakes(&self, problems: &[Problem]) {
        let texts: Vec<String> = problems
            .iter()
            .map(|problem| problem.at(self.start.path))
            .collect();
        for text in &texts {
            self.log.line(Priority::Error, text);
        }
        (self.start.complain)(&texts.join("\n"));
    }

    /// Asks the gate, then Duo, and returns the verdict of this login.
    fn ask<'w>(
        &self,
        named: &Named,
        reading: ConfigRead,
        memory: Option<&Memory>,
        waiter: &'w Waiter<'w>,
        converse: &impl Fn(&Config, &'w Waiter<'w>) -> Box<dyn Conversation + 'w>,
    ) -> Verdict {
        let config = match reading {
            ConfigRead::Good(config) => config,
            ConfigRead::Broken(error, stated) => {
                let alibi = || self.alibi(waiter);
                let demands = Demands::without_codes(&alibi);
                return verdict::of_error(&error, Answered::NotYet, stated, &demands);
            }
        };
        let conversation = converse(&config, waiter);
        match self.ask_duo(named, &config, memory, &*conversation, waiter) {
            Ok(verdict) => verdict,
            Err(error) => {
                let stated = config.failmode_if_broken;
                let alibi = || self.alibi(waiter);
                let demands = Demands::without_codes(&alibi);
                let verdict = verdict::of_error(&error, Answered::NotYet, stated, &demands);
                if !verdict.outcome.opens() && !matches!(error, Error::GaveUp(_)) {
                    conversation.show(&Message::Denied {
                        why: verdict.detail.clone(),
                        next: Next::Nothing,
                    });
                }
                verdict
            }
        }
    }

    /// Asks the gate, then Duo for each attempt.
    ///
    /// # Errors
    /// Any: failmode decides what they mean.
    fn ask_duo<'w>(
        &self,
        named: &Named,
        config: &Config,
        memory: Option<&Memory>,
        conversation: &dyn Conversation,
        waiter: &'w Waiter<'w>,
    ) -> Result<Verdict, Error> {
        let Named { account, who } = named;
        let claim = self.claim;
        let motd = config.motd && conversation.is_interactive() && claim.command.is_none();
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
            Notice::RateLimited(wait) => {
                let seconds = wait.as_millis().div_ceil(1_000);
                let text = format!("Duo is busy: trying again in {seconds} s");
                conversation.show(&Message::Tell(text));
            }
            Notice::ClockOff(seconds) => self.log.warning(&format!(
                "this machine's clock is off by {seconds} s, says Duo"
            )),
        };
        let deadlines = Deadlines::default();
        let person = self.person(who, config);
        let mut duo = Client::new(config, person, &deadlines, waiter, &notice)?;
        let opened = self.start.codes.as_ref();
        let codes = Codes::of(account, self.codes.as_ref(), opened, waiter);
        let login = Login {
            config,
            user: &who.duo_user,
            passcode: claim.passcode.as_ref(),
            deadlines: &deadlines,
            clock: waiter,
            approved: &|| self.approved(memory?),
            alibi: &|| self.alibi(waiter),
            codes: &codes,
        };
        let attempts = LoginLog { log: self.log, who };
        Ok(login.run(&mut duo, conversation, &attempts).with_motd(motd))
    }

    /// What Duo is told of the person. If this host's own address replaces a text,
    /// the log says so.
    fn person(&self, who: &Who, config: &Config) -> Person {
        let person = person(self.claim, &who.duo_user, config);
        if let (true, Some(text)) = (person.own_address_instead, &who.client) {
            let text = text::quoted(text);
            self.log.info(&format!(
                "'{text}' is no address: Duo is told this host's own"
            ));
        }
        person
    }
}

/// The log of a login whose verdict is not known yet.
struct LoginLog<'a> {
    log: &'a Log,
    who: &'a Who,
}

impl AttemptLog for LoginLog<'_> {
    fn asking(&self) -> Result<(), Error> {
        self.log.asking(self.who)
    }

    fn failed(&self, attempt: &Verdict) -> Result<(), Error> {
        self.log.verdict(attempt, self.who)
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

/// The first mistake of the configuration file, and how many more there are.
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
