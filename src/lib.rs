//! login_duo: what sshd runs in place of the user's shell. It asks Duo for the
//! second factor and, on yes, becomes the shell or the command.
//!
//! [`run`] tells the story: the parent's half here, the child's in [`child`].
//! Each module has one job, and uses only those below it: `child`, `checkup`,
//! `session`, `login`, `privsep`, `check`, `conversation`, `api`, `groups`, `account`, `config`,
//! `cli`, `log`, `clock`, `error`, `secret`.
#![deny(unsafe_code)]

pub mod account;
pub mod api;
pub mod check;
pub mod checkup;
pub mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conversation;
pub mod error;
pub mod groups;
pub mod ini;
pub mod log;
pub mod login;
pub mod privsep;
pub mod secret;
pub mod session;

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use account::Account;
use cli::{Caller, Invocation, Request};
use config::Owners;
use error::Error;
use log::{Charset, Log, Who};
use login::Unsaid;
use privsep::{Inherited, Parent, Standing};
use session::Session;

/// One login, from the command line to the session. Returns only if there is
/// none: 1 denied, 2 wrong usage, 126 or 127 if the session cannot start.
pub fn run() -> ExitCode {
    let started = privsep::take_over().and_then(|inherited| Ok((inherited, privsep::standing()?)));
    let (mut inherited, standing) = match started {
        Ok(started) => started,
        Err(error) => return complain(1, error),
    };
    let caller = match standing {
        Standing::Setuid => Caller::Untrusted,
        Standing::Root | Standing::Plain => Caller::Trusted,
    };
    let request = cli::read(std::mem::take(&mut inherited.environment), caller);
    // The caller chose what descriptors 1 and 2 are, and part of the text too:
    // where a write goes can depend on whose it is.
    if !matches!(request, Request::Login(_) | Request::Check(_))
        && let Err(error) = privsep::irrevocably_become_the_caller(standing)
    {
        return complain(1, error);
    }
    match request {
        Request::Show(text) => {
            // A closed stdout is not an event.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Request::Usage(text) => {
            let text = log::for_terminal(&text, Charset::Ascii).into_owned();
            let _ = log::write_patiently(io::stderr().as_fd(), text.as_bytes(), log::PATIENCE);
            ExitCode::from(2)
        }
        Request::Forbidden(text) => complain(1, text),
        Request::Check(wanted) => checkup::run(&wanted, &inherited, standing),
        Request::Login(mut invocation) => {
            inherited.environment = std::mem::take(&mut invocation.environment);
            log_in(&invocation, &inherited, standing)
        }
    }
}

/// Ask in a child; judge what it says; log; become the session.
fn log_in(invocation: &Invocation, inherited: &Inherited, standing: Standing) -> ExitCode {
    // The drop changes the child's.
    let caller = privsep::caller_id();
    let (report, parent) = match ask_in_a_child(invocation, standing, caller) {
        Ok(mut parent) => (parent.wait(), Some(parent)),
        Err(error) => (Err(error), None),
    };
    // Nothing was logged and nobody looked up before the fork and the drop.
    let log = Log::open(invocation.sink, invocation.charset);
    // Also where nothing was forked: a directory's answer is never read as root.
    let account =
        privsep::irrevocably_become_the_caller(standing).and_then(|()| Account::of(caller));
    let report = account.as_ref().map_err(Error::clone).and(report);
    let otherwise = Who {
        duo_user: account
            .as_ref()
            .map_or("?", |account| &account.name)
            .to_owned(),
        client: invocation.client.clone(),
    };
    let judgement = login::judge(report, otherwise);
    log.line(judgement.verdict.outcome.label().1, &judgement.line());
    if let Some(parent) = parent {
        parent.finish();
    }
    let capable = invocation.capable_terminal;
    match judgement.unsaid {
        Unsaid::Nothing => {}
        Unsaid::LineEnd => conversation::finish_the_line(capable),
        Unsaid::Reason => {
            let why = &judgement.verdict.detail;
            conversation::explain(invocation.charset, capable, &format!("Login denied: {why}"));
        }
    }

    let (Some(allow), Ok(account)) = (judgement.allow, account) else {
        return ExitCode::from(1);
    };
    if judgement.verdict.motd {
        show_motd();
    }
    let session = Session {
        shell: &account.shell,
        command: invocation.command.as_deref(),
        from_sshd: invocation.command_from_sshd,
    };
    let (status, why) = session::become_session(allow, &session, inherited);
    complain(status, why)
}

/// Opens the configuration while privileged, forks, and drops privileges on
/// both sides.
fn ask_in_a_child(
    invocation: &Invocation,
    standing: Standing,
    caller: u32,
) -> Result<Parent, Error> {
    let user = match standing {
        Standing::Plain => None,
        Standing::Setuid | Standing::Root => Some(privsep::privsep_user(standing)?),
    };
    let owners = Owners {
        privsep: user.as_ref().map(|user| user.uid.as_raw()),
        // Where it cannot be looked up, its files are refused: the stricter answer.
        sshd: Some(|| privsep::user_id("sshd").unwrap_or_default()),
        caller: (standing != Standing::Setuid).then_some(caller),
    };
    let (file, opened) = match config::open(&invocation.config, &owners) {
        Ok(opened) => (Some(opened.file), Ok(opened.warning)),
        Err(problem) => (None, Err(problem)),
    };
    let start = child::Start {
        invocation,
        caller,
        warning: user.as_ref().and_then(|user| user.warning.clone()),
        opened,
    };
    privsep::separate(standing, user.as_ref(), file, |file, ends| {
        child::run(&start, file, ends)
    })
}

/// The message of the day, which sshd leaves to whoever it runs.
fn show_motd() {
    if let Ok(text) = std::fs::read("/etc/motd") {
        let _ = log::write_patiently(io::stdout().as_fd(), &text, log::PATIENCE);
    }
}

fn complain(status: u8, text: impl Display) -> ExitCode {
    let line = format!("login_duo: {text}\n");
    let _ = log::write_patiently(io::stderr().as_fd(), line.as_bytes(), log::PATIENCE);
    ExitCode::from(status)
}
