//! The child's half of a login, whatever the front end: without privileges, it
//! finds out who this is, reads the configuration, and talks to the person and
//! to Duo. It writes the log, too, since its user cannot be signalled by the
//! person who logs in, while its parent can (docs/security.md, *One final line*).
//! Whatever happens to it, it can only say what it found; the parent decides.
#![forbid(unsafe_code)]

mod claim;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use duo_net::{Client, Notice, Person};
use duo_policy::clock::{Clock, Deadlines};
use duo_policy::config::{self, Config, Failmode, Gecos, Problem};
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::groups::{self, Gate, Reason};
use duo_policy::login::{AttemptLog, Login};
use duo_policy::text::{self, Charset};
use duo_policy::verdict::{self, Priority};
use duo_system::account::Account;
use duo_system::alibi::alibi;
use duo_system::configuration;
use duo_system::log::Log;
use duo_system::output::{PATIENCE, write_patiently};
use duo_system::privsep::{ChildEnds, Confined};
use duo_system::wait::{ParentGone, SystemClock, Waiter};
use duo_wire::{Message, Next, Outcome, Record, Verdict, Who};

pub use claim::{Claim, client_address, person};

/// What the child is started with.
pub struct Start<'a> {
    /// Who wants in.
    pub claim: &'a Claim,
    /// Where the log goes.
    pub log: Log,
    /// What the log should say of the user that this process runs as.
    pub warning: Option<String>,
    /// The configuration's path, for errors.
    pub path: &'a Path,
    /// How opening it went, with a warning perhaps.
    pub opened: Result<Option<Problem>, Problem>,
}

/// Runs the child to its exit status. `confined` is the configuration, if it
/// could be opened and this process has dropped its privileges; `converse`
/// makes the front end's conversation.
pub fn run(
    start: &Start<'_>,
    confined: Confined,
    mut ends: ChildEnds,
    converse: impl for<'w> Fn(&Config, &'w Waiter<'w>) -> Box<dyn Conversation + 'w>,
) -> i32 {
    let file = match confined {
        Ok(file) => file,
        // A process that is not what it should be does nothing, not even log.
        Err(error) => return give_up(&mut ends, &error),
    };
    let child = Child { start };
    let (named, settings) = match child.introduce(file, &mut ends) {
        Ok(introduced) => introduced,
        Err(error) => {
            let verdict = Verdict::new(Outcome::Error, error.to_string());
            return child.finish(&verdict, &Who::unknown(), &mut ends);
        }
    };
    let verdict = {
        let waiter = Waiter::new(&SystemClock, Some(&ends.life));
        child.ask(&named, settings, &waiter, &converse)
    };
    child.finish(&verdict, &named.who, &mut ends)
}

fn give_up(ends: &mut ChildEnds, error: &Error) -> i32 {
    let verdict = Verdict::new(Outcome::Error, error.to_string());
    // A parent that does not get it says that there was no verdict.
    let _ = ends.send(&Record::Verdict(verdict).to_line());
    1
}

struct Child<'a> {
    start: &'a Start<'a>,
}

/// What came of the configuration file.
enum Settings {
    Good(Box<Config>),
    /// Why not, and what it says of failmode beyond doubt.
    Broken(Error, Failmode),
}

/// Who logs in: the account, and the names in the log.
struct Named {
    account: Account,
    who: Who,
}

impl Child<'_> {
    fn log(&self) -> Log {
        self.start.log
    }

    /// Finds out who this is and tells the parent, so that its own lines can
    /// name them.
    fn introduce(
        &self,
        file: Option<File>,
        ends: &mut ChildEnds,
    ) -> Result<(Named, Settings), Error> {
        if let Some(warning) = &self.start.warning {
            self.log().warning(warning);
        }
        let claim = self.start.claim;
        let account = Account::of(claim.uid)?;
        let settings = self.settings(file);
        let gecos = match &settings {
            Settings::Good(config) => config.gecos,
            Settings::Broken(..) => Gecos::No,
        };
        let (duo_user, note) = account.duo_name(claim.duo_user.as_deref(), &gecos);
        if let Some(note) = note {
            self.log().warning(&note);
        }
        if duo_user != account.name {
            let (login, duo) = (text::quoted(&account.name), text::quoted(&duo_user));
            self.log()
                .info(&format!("User '{login}' is '{duo}' to Duo"));
        }
        let who = Who {
            duo_user,
            client: claim.client.clone(),
        };
        ends.send(&Record::Who(shortened(&who)).to_line())?;
        Ok((Named { account, who }, settings))
    }

    /// Writes the final line, then says so with the verdict: a yes that is not
    /// in the log counts for nothing.
    fn finish(&self, verdict: &Verdict, who: &Who, ends: &mut ChildEnds) -> i32 {
        let let_go = matches!(ends.life.parent_gone(), Some(ParentGone::LetGo(_)));
        // A parent that has waited for this line in vain has written it.
        if !(let_go && ends.is_unread()) {
            self.log().verdict(verdict, who);
        }
        let records = Record::Logged.to_line() + &Record::Verdict(verdict.clone()).to_line();
        let sent = ends.send(&records);
        i32::from(sent.is_err() || !verdict.outcome.opens())
    }

    /// Reads the configuration, and tells everything that is wrong with it.
    fn settings(&self, file: Option<File>) -> Settings {
        let broken = |problems: &[Problem], failmode| {
            self.complain(problems);
            Settings::Broken(summary(self.start.path, problems), failmode)
        };
        let warning = match &self.start.opened {
            Ok(warning) => warning,
            Err(problem) => return broken(std::slice::from_ref(problem), Failmode::Secure),
        };
        let Some(file) = file else {
            return broken(&[], Failmode::Secure);
        };
        let bytes = match configuration::read(&file) {
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
            self.log().warning(&warning.at(self.start.path));
        }
        result
    }

    /// To stderr and to the log: whoever tests the file sees either.
    fn complain(&self, problems: &[Problem]) {
        let mut lines = String::new();
        for problem in problems {
            let text = problem.at(self.start.path);
            self.log().line(Priority::Error, &text);
            lines.push_str(&text::one_line(&text, Charset::Ascii));
            lines.push('\n');
        }
        // In one go: a hundred lines to a full pipe must not wait a hundred times.
        let _ = write_patiently(io::stderr().as_fd(), lines.as_bytes(), PATIENCE);
    }

    /// Gate, Duo, attempts: the verdict.
    fn ask<'w>(
        &self,
        named: &Named,
        settings: Settings,
        waiter: &'w Waiter<'w>,
        converse: &impl Fn(&Config, &'w Waiter<'w>) -> Box<dyn Conversation + 'w>,
    ) -> Verdict {
        let config = match settings {
            Settings::Good(config) => config,
            Settings::Broken(error, stated) => {
                return verdict::of_error(&error, false, stated, &|| alibi(waiter));
            }
        };
        let person = converse(&config, waiter);
        match self.ask_duo(named, &config, &*person, waiter) {
            Ok(verdict) => verdict,
            Err(error) => {
                let stated = config.failmode_if_broken;
                let verdict = verdict::of_error(&error, false, stated, &|| alibi(waiter));
                if !verdict.outcome.opens() && !matches!(error, Error::GaveUp(_)) {
                    person.show(&Message::Denied {
                        why: verdict.detail.clone(),
                        next: Next::Nothing,
                    });
                }
                verdict
            }
        }
    }

    fn ask_duo<'w>(
        &self,
        named: &Named,
        config: &Config,
        person: &dyn Conversation,
        waiter: &'w Waiter<'w>,
    ) -> Result<Verdict, Error> {
        let Named { account, who } = named;
        let claim = self.start.claim;
        let motd = config.motd && person.is_interactive() && claim.command.is_none();
        match groups::gate(config.groups.as_ref(), account) {
            Ok(Gate::Ask(Reason::Doubt(why))) => {
                self.log().warning(&format!(
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
                person.show(&Message::Tell(text));
            }
            Notice::ClockOff(seconds) => self.log().warning(&format!(
                "this machine's clock is off by {seconds} s, says Duo"
            )),
        };
        let deadlines = Deadlines::default();
        let whom = self.person(who, config);
        let mut duo = Client::new(config, whom, &deadlines, waiter, &notice)?;
        let clock: &dyn Clock = &SystemClock;
        let login = Login {
            config,
            user: &who.duo_user,
            passcode: claim.passcode.as_ref(),
            deadlines: &deadlines,
            clock,
            alibi: &|| alibi(waiter),
        };
        let lines = Lines {
            log: self.log(),
            who,
        };
        Ok(login.run(&mut duo, person, &lines).with_motd(motd))
    }

    /// Who logs in, as Duo is told.
    fn person(&self, who: &Who, config: &Config) -> Person {
        let person = person(self.start.claim, &who.duo_user, config);
        if let (true, Some(text)) = (person.own_address_instead, &who.client) {
            let text = text::quoted(text);
            self.log().info(&format!(
                "'{text}' is no address: Duo is told this host's own"
            ));
        }
        person
    }
}

/// The lines of a login that is still going on.
struct Lines<'a> {
    log: Log,
    who: &'a Who,
}

impl AttemptLog for Lines<'_> {
    fn asking(&self) {
        self.log.info(&verdict::asking_line(self.who));
    }

    fn failed(&self, why: &str) {
        let verdict = Verdict::new(Outcome::Failed, why);
        self.log.verdict(&verdict, self.who);
    }
}

/// The same names, not longer than the log shows them: a record must not be
/// too long for its reader.
fn shortened(who: &Who) -> Who {
    let cut = |text: &str| text.chars().take(text::LONGEST).collect();
    Who {
        duo_user: cut(&who.duo_user),
        client: who.client.as_deref().map(cut),
    }
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
