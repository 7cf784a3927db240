//! duoctl: the administrator's program. It is never setuid; what it looks at
//! with root's rights is root's own, and whatever comes from a configuration, a
//! directory service or the network is looked at by a child without privileges.
#![forbid(unsafe_code)]

mod adopt;
mod check;
mod cli;
mod codes;
mod completions;
mod configure;
mod confirm;
mod disable;
mod enable;
mod finding;
mod forget;
mod journal;
mod layout;
mod look;
mod outcome;
mod pam;
mod pending;
mod question;
mod signals;
mod ssh;
mod state;
mod status;
mod support;
mod test;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use duo_policy::conversation::Conversation;
use duo_policy::cryptography;
use duo_policy::text::Charset;
use duo_system::log::Identity;
use duo_system::privsep::{self, Inherited, Standing};
use duo_system::wait::Waiter;

use cli::{Common, Request};
use outcome::{Failure, Outcome, Report};

/// The release, the commit where that is known (see build.rs), and the library that encrypts.
/// login_duo says the same of itself after its name.
fn version() -> String {
    format!("{} with {}", env!("LOGIN_DUO_VERSION"), cryptography::NAME)
}

/// The exit status of wrong usage, as in sysexits(3).
const WRONG_USAGE: u8 = 64;

/// The reader's terminal, as a conversation must know it.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// What its locale takes.
    pub charset: Charset,
    /// Whether it can move its cursor.
    pub is_capable: bool,
}

/// Opens the conversation of a login, which is the front end's.
pub type Converse = for<'w> fn(Screen, &'w Waiter<'w>) -> Box<dyn Conversation + 'w>;

/// How this process was started.
pub(crate) struct Start {
    /// How a login would talk to the person.
    pub converse: Converse,
    /// Signals and environment as they were.
    pub inherited: Inherited,
    /// By root, or by a user for an install of their own.
    pub standing: Standing,
}

/// What the log calls this program.
const IDENTITY: Identity = Identity::Program(c"duoctl");

/// Runs one command, from the command line to its exit status: 0 done, 1
/// refused or failed, 2 `check` has warnings only, 3 failed half-way, 64 wrong
/// usage. `converse` is for `test`.
pub fn run(converse: Converse) -> ExitCode {
    let started =
        privsep::take_over(IDENTITY).and_then(|inherited| Ok((inherited, privsep::standing()?)));
    let start = match started {
        Ok((inherited, standing)) => Start {
            converse,
            inherited,
            standing,
        },
        Err(error) => return complain(1, error),
    };
    match cli::read(&start.inherited.environment) {
        Request::Show(text) => {
            // A closed stdout is not an event.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Request::Usage(text) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(WRONG_USAGE)
        }
        Request::Check(wanted) => check::run(&wanted, &start),
        Request::Enable(it) => command(&it.common, |to| enable::run(&it, &start, to)),
        Request::EnablePam(it) => command(&it.common, |to| enable::pam::run(&it, &start, to)),
        Request::Confirm(it) => command(&it.common, |to| confirm::run(&it, &start, to)),
        Request::Disable(it) => command(&it.common, |to| disable::run(&it, &start, to)),
        Request::Configure(it) => command(&it.common, |to| configure::run(&it, &start, to)),
        Request::Adopt(it) => command(&it.common, |to| adopt::run(&it, &start, to)),
        Request::Codes(it) => command(&it.common, |to| codes::run(&it, &start, to)),
        Request::Forget(it) => command(&it.common, |to| forget::run(&it, &start, to)),
        Request::Status(it) => command(&it.common, |to| status::run(&it, &start, to)),
        Request::Test(it) => command(&it.common, |to| test::run(&it, &start, to)),
        Request::Support(it) => command(&it.common, |to| support::run(&it, &start, to)),
        Request::Completions(it) => completions::run(&it),
    }
}

/// Runs a command with a report of its own, and says how it ended.
fn command(common: &Common, run: impl FnOnce(&mut Report) -> Outcome) -> ExitCode {
    let mut report = Report::for_reader(common);
    let outcome = run(&mut report);
    report.end(&outcome)
}

/// Commands that change the machine are root's.
pub(crate) fn needs_root(start: &Start) -> Result<(), Failure> {
    match start.standing {
        Standing::Root => Ok(()),
        Standing::Setuid | Standing::Own => {
            Err(Failure::refused("this needs root: run it with sudo"))
        }
    }
}

fn complain(status: u8, text: impl Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "duoctl: {text}");
    ExitCode::from(status)
}
