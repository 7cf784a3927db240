//! login_duo: what sshd runs in place of the user's shell. It asks Duo for the
//! second factor and, on yes, becomes the shell or the command.
//!
//! [`run`] tells the parent's half of that; the child's half is in `duo-ask`.
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
use duo_policy::verdict::{self, ToShow};
use duo_system::account::Account;
use duo_system::codes;
use duo_system::configuration::{self, Owners};
use duo_system::log::{Identity, Log};
use duo_system::output::{PATIENCE, write_patiently};
use duo_system::privsep::{
    self, Caller, Connections, Front, Inherited, OpenFiles, Parent, Standing,
};
use duo_system::wait::Waiter;
use duo_wire::Who;

use cli::{Invocation, Request};
use conversation::{Reader, Style, Surroundings};
use session::Session;

/// What the log calls both processes.
const IDENTITY: Identity = Identity::Program(c"login_duo");

/// One login, from the command line to the session. Returns only if no session
/// starts: 0 after `--help` or `--version`, 1 denied, 2 wrong usage, 126 or 127 if
/// the shell cannot be run (docs/behaviour.md, *Command line*).
pub fn run() -> ExitCode {
    let started =
        privsep::take_over(IDENTITY).and_then(|inherited| Ok((inherited, privsep::standing()?)));
    let (mut inherited, standing) = match started {
        Ok(started) => started,
        Err(error) => return complain(1, error),
    };
    let caller = Caller::of_this_process();
    let environment = std::mem::take(&mut inherited.environment);
    let request = cli::read(environment, standing, caller);
    // The caller chose what the descriptors 1 and 2 are, and part of the text. A
    // write as root can reach files that a write as the caller cannot.
    if !matches!(request, Request::Login(_))
        && privsep::irrevocably_become_the_caller(standing, caller).is_err()
    {
        return ExitCode::from(1);
    }
    match request {
        Request::Show(text) => {
            // If stdout is closed, nobody wants the text.
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

/// Asks in a child, decides by the child's report, and becomes the session if the
/// report allows it.
fn log_in(
    invocation: &Invocation,
    inherited: &Inherited,
    standing: Standing,
    caller: Caller,
) -> ExitCode {
    let report = start_child(invocation, standing, caller).map(Parent::wait);
    // The parent drops its privileges here too if the fork failed: no answer of a
    // directory service is parsed as root.
    // A process that is still root's writes nothing that its caller could choose.
    let Ok(()) = privsep::irrevocably_become_the_caller(standing, caller) else {
        return ExitCode::from(1);
    };
    let account = Account::of(caller.uid.as_raw());
    let report = account.as_ref().map_err(Error::clone).and(report);
    let otherwise = Who {
        duo_user: account
            .as_ref()
            .map_or("?", |account| &account.name)
            .to_owned(),
        client: invocation.claim.client.clone(),
        login: account.as_ref().ok().map(|account| account.name.clone()),
        service: Some(invocation.claim.service.clone()),
        terminal: None,
    };
    let judgement = verdict::judge(report, otherwise);
    if let Some((verdict, who)) = &judgement.to_log {
        // Nothing more can be done where the log does not take the line.
        let _ = Log::open(IDENTITY, invocation.sink).verdict(verdict, who);
    }
    match judgement.to_show {
        ToShow::Nothing => {}
        ToShow::Departure(left) => conversation::end_line(surroundings(invocation), left),
        ToShow::Denial(why) => conversation::show_denial(surroundings(invocation), why),
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
        from_sshd: invocation.is_command_from_sshd,
    };
    let (status, why) = session::become_session(allow, &session, inherited);
    complain(status, why)
}

/// Opens the configuration as root, forks, and drops the privileges of both
/// processes.
///
/// # Errors
/// [`Error::Fault`] if one of these fails. Where the fork fails, this process is
/// root's still.
fn start_child(
    invocation: &Invocation,
    standing: Standing,
    caller: Caller,
) -> Result<Parent<'static>, Error> {
    privsep::become_root_alone(standing)?;
    let user = privsep::privsep_user(standing)?;
    let owners = Owners::of(standing, user.as_ref(), caller);
    let (file, opened) = match configuration::open(&invocation.config, &owners) {
        Ok(opened) => (Some(opened.file), Ok(opened.warning)),
        Err(problem) => (None, Err(vec![problem])),
    };
    let (codes_file, codes) = codes::open(standing, Some(caller.uid.as_raw()));
    let start = duo_ask::Start {
        identity: IDENTITY,
        sink: invocation.sink,
        warning: user.as_ref().and_then(|user| user.warning.clone()),
        path: &invocation.config,
        opened,
        codes,
        doubt: None,
        complain: &complain_of_configuration,
    };
    let files = OpenFiles {
        config: file,
        codes: codes_file,
        connections: match standing {
            Standing::Setuid | Standing::Root => Connections::Wanted,
            Standing::Own => Connections::None,
        },
    };
    let front = Front::Session;
    privsep::separate(
        standing,
        caller,
        user.as_ref(),
        files,
        front,
        |confined, ends| {
            let claim = |_: &_| Ok(&invocation.claim);
            duo_ask::run(&start, confined, ends, claim, |config, waiter| {
                let mut surroundings = surroundings(invocation);
                if config.prompt_for_commands {
                    surroundings.reader = Reader::Person;
                }
                if config.accessible {
                    surroundings.style = Style::Plain;
                }
                conversation::open(surroundings, &Deadlines::default(), waiter)
            })
        },
    )
}

/// The conversation of a login, for `duoctl test`, which shows what a login shows.
pub fn converse<'w>(screen: duoctl::Screen, waiter: &'w Waiter<'w>) -> Box<dyn Conversation + 'w> {
    let surroundings = Surroundings {
        charset: screen.charset,
        is_capable: screen.is_capable,
        style: Style::Drawn,
        reader: Reader::Person,
    };
    conversation::open(surroundings, &Deadlines::default(), waiter)
}

/// The client's terminal as the environment describes it, and who reads it.
fn surroundings(invocation: &Invocation) -> Surroundings {
    Surroundings {
        charset: invocation.charset,
        is_capable: invocation.is_terminal_capable,
        style: Style::Drawn,
        reader: match invocation.has_original_command {
            true => Reader::Program,
            false => Reader::Person,
        },
    }
}

/// Prints the message of the day: sshd does not print it where it runs a forced
/// command.
fn show_motd() {
    if let Ok(text) = std::fs::read("/etc/motd") {
        let _ = write_patiently(io::stdout().as_fd(), &text, PATIENCE);
    }
}

/// Writes lines to stderr: mistakes of the configuration.
fn complain_of_configuration(lines: &str) {
    let mut text = String::new();
    for line in lines.lines() {
        text.push_str(&text::one_line(line, Charset::Ascii));
        text.push('\n');
    }
    // One write has all the lines: a hundred writes to a full pipe would wait a hundred
    // times.
    let _ = write_patiently(io::stderr().as_fd(), text.as_bytes(), PATIENCE);
}

/// Writes `text` to stderr and returns the exit status.
fn complain(status: u8, text: impl Display) -> ExitCode {
    let line = format!("login_duo: {text}\n");
    let _ = write_patiently(io::stderr().as_fd(), line.as_bytes(), PATIENCE);
    ExitCode::from(status)
}
