//! login_duo: what sshd runs in place of the user's shell. It asks Duo for the
//! second factor and, on yes, becomes the shell or the command.
//!
//! [`run`] tells the story, the parent's half; the child's is in `duo-ask`.
#![forbid(unsafe_code)]

mod cli;
mod conversation;
mod session;

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use duo_policy::clock::Deadlines;
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::text::{self, Charset};
use duo_policy::verdict::{self, Unsaid};
use duo_system::account::Account;
use duo_system::configuration::{self, Owners};
use duo_system::log::Log;
use duo_system::output::{PATIENCE, write_patiently};
use duo_system::privsep::{self, Caller, Inherited, Parent, Standing};
use duo_system::wait::Waiter;
use duo_wire::Who;

use cli::{Invocation, Request};
use conversation::{Reader, Surroundings};
use session::Session;

/// One login, from the command line to the session. Returns only if there is
/// none: 1 denied, 2 wrong usage, 126 or 127 if the session cannot start.
pub fn run() -> ExitCode {
    let started = privsep::take_over(c"login_duo")
        .and_then(|inherited| Ok((inherited, privsep::standing()?)));
    let (mut inherited, standing) = match started {
        Ok(started) => started,
        Err(error) => return complain(1, error),
    };
    let caller = Caller::of_this_process();
    let environment = std::mem::take(&mut inherited.environment);
    let request = cli::read(environment, standing, caller);
    // The caller chose what descriptors 1 and 2 are, and part of the text too:
    // where a write goes can depend on whose it is.
    if !matches!(request, Request::Login(_))
        && let Err(error) = privsep::irrevocably_become_the_caller(standing, caller)
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
            let text = text::for_terminal(&text, Charset::Ascii).into_owned();
            let _ = write_patiently(io::stderr().as_fd(), text.as_bytes(), PATIENCE);
            ExitCode::from(2)
        }
        Request::Forbidden(text) => complain(1, text),
        Request::Login(mut invocation) => {
            inherited.environment = std::mem::take(&mut invocation.environment);
            log_in(&invocation, &inherited, standing, caller)
        }
    }
}

/// Ask in a child; judge what it says; become the session.
fn log_in(
    invocation: &Invocation,
    inherited: &Inherited,
    standing: Standing,
    caller: Caller,
) -> ExitCode {
    let report = ask_in_a_child(invocation, standing, caller).and_then(Parent::wait);
    // Also where nothing was forked: a directory's answer is never read as root.
    let account = privsep::irrevocably_become_the_caller(standing, caller)
        .and_then(|()| Account::of(caller.uid.as_raw()));
    let report = account.as_ref().map_err(Error::clone).and(report);
    let otherwise = Who {
        duo_user: account
            .as_ref()
            .map_or("?", |account| &account.name)
            .to_owned(),
        client: invocation.claim.client.clone(),
    };
    let judgement = verdict::judge(report, otherwise);
    if let Some((verdict, who)) = &judgement.unlogged {
        Log::open(invocation.sink).verdict(verdict, who);
    }
    match judgement.unsaid {
        Unsaid::Nothing => {}
        Unsaid::Left(left) => conversation::take_leave(surroundings(invocation), left),
        Unsaid::Reason(why) => conversation::explain(surroundings(invocation), why),
    }

    let (Some(allow), Ok(account)) = (judgement.allow, account) else {
        return ExitCode::from(1);
    };
    if judgement.motd {
        show_motd();
    }
    let session = Session {
        shell: &account.shell,
        command: invocation.claim.command.as_deref(),
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
    caller: Caller,
) -> Result<Parent, Error> {
    privsep::become_root_alone(standing)?;
    let user = privsep::privsep_user(standing)?;
    let owners = Owners::of(standing, user.as_ref(), caller);
    let (file, opened) = match configuration::open(&invocation.config, &owners) {
        Ok(opened) => (Some(opened.file), Ok(opened.warning)),
        Err(problem) => (None, Err(problem)),
    };
    let start = duo_ask::Start {
        claim: &invocation.claim,
        log: Log::open(invocation.sink),
        warning: user.as_ref().and_then(|user| user.warning.clone()),
        path: &invocation.config,
        opened,
    };
    privsep::separate(standing, caller, user.as_ref(), file, |confined, ends| {
        duo_ask::run(&start, confined, ends, |config, waiter| {
            let around = match config.prompt_for_commands {
                true => Surroundings {
                    reader: Reader::Person,
                    ..surroundings(invocation)
                },
                false => surroundings(invocation),
            };
            conversation::open(around, &Deadlines::default(), waiter)
        })
    })
}

/// The conversation of a login, for `duoctl test`, which shows what a login shows.
pub fn converse<'w>(screen: duoctl::Screen, waiter: &'w Waiter<'w>) -> Box<dyn Conversation + 'w> {
    let around = Surroundings {
        charset: screen.charset,
        capable: screen.is_capable,
        reader: Reader::Person,
    };
    conversation::open(around, &Deadlines::default(), waiter)
}

/// The client's terminal, as far as the caller describes it.
fn surroundings(invocation: &Invocation) -> Surroundings {
    Surroundings {
        charset: invocation.charset,
        capable: invocation.capable_terminal,
        reader: match invocation.original_command {
            true => Reader::Program,
            false => Reader::Person,
        },
    }
}

/// The message of the day, which sshd leaves to whoever it runs.
fn show_motd() {
    if let Ok(text) = std::fs::read("/etc/motd") {
        let _ = write_patiently(io::stdout().as_fd(), &text, PATIENCE);
    }
}

fn complain(status: u8, text: impl Display) -> ExitCode {
    let line = format!("login_duo: {text}\n");
    let _ = write_patiently(io::stderr().as_fd(), line.as_bytes(), PATIENCE);
    ExitCode::from(status)
}
