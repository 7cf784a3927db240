//! `demo`: one login through the real login_duo, on this terminal or without one.

use crate::cli::How;
use crate::folder::Folder;
use crate::rendezvous::Rendezvous;
use crate::{browser, programs, say};
use fake_duo::{Builder, FakeDuo, PASSCODE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};

/// Where the person seems to come from: what sshd would have set.
const SSH_CONNECTION: &str = "127.0.0.1 50022 127.0.0.1 22";

/// Runs login_duo; its exit status is ours.
pub fn run(how: &How, asked_for: Option<PathBuf>, command: &[OsString]) -> io::Result<ExitCode> {
    let program = programs::login_duo(asked_for)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut signals = Signals::catch()?;
            let duo = builder(how).try_start()?;
            let mut folder = Folder::fresh()?;
            let config = folder.fill(&duo)?;
            introduce(how, command);
            let _rendezvous = duo.phone().and_then(|address| introduce_phone(&address));
            let child = Command::new(&program)
                .arg("-c")
                .arg(&config)
                .args(command)
                .env("SSH_CONNECTION", SSH_CONNECTION)
                .spawn()
                .map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot run {}: {error}", program.display()),
                    )
                })?;
            let status = signals.wait(child, Arrived::IsHandedOn).await?;
            conclude("login_duo", status, &duo);
            Ok(exit_code(status))
        })
}

/// The service that was asked for.
pub fn builder(how: &How) -> Builder {
    let builder = FakeDuo::builder()
        .without_users()
        .default_script(how.default_script)
        .shape(how.shape)
        .push_delay(how.push_delay);
    match how.phone {
        Some(address) => {
            browser::warn_off_the_loopback(address);
            builder.phone(address)
        }
        None => builder,
    }
}

/// Says where the phone is; the file by which `fake-duo phone` finds it, for as long as that is held.
pub fn introduce_phone(address: &str) -> Option<Rendezvous> {
    say(&format!("the phone: {address}"));
    let program = match std::env::var_os("CARGO") {
        Some(_) => "cargo run -q -p fake-duo --",
        None => "fake-duo",
    };
    say(&format!("or, in a second terminal: {program} phone"));
    browser::open(address);
    Rendezvous::keep(address)
}

fn introduce(how: &How, command: &[OsString]) {
    let delay = how.push_delay.as_secs_f64();
    say("a fake Duo service, for tests only, and the real login_duo before it.");
    let is_on_terminal = io::stdin().is_terminal();
    if how.phone.is_some() {
        say(match is_on_terminal {
            true => "Choose from the menu, and play the phone yourself.",
            false => "No terminal: a headless login. Play its phone yourself.",
        });
        return;
    }
    if is_on_terminal {
        say(&format!(
            "Press Enter for a push that approves itself after {delay} s, or type the passcode {PASSCODE}; \
             anything else is refused."
        ));
        if command.is_empty() {
            say("Behind it is your login shell; leave it with exit.");
        }
    } else {
        say(&format!(
            "No terminal: a headless login, whose push approves itself after {delay} s."
        ));
    }
}

/// Says how this program ended, and what the service saw.
pub fn conclude(name: &str, status: ExitStatus, duo: &FakeDuo) {
    let paths = duo.paths();
    let seen = if paths.is_empty() {
        "no request".to_owned()
    } else {
        paths.join(", ")
    };
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(number)) => format!("was killed by signal {number}"),
        (None, None) => "ended".to_owned(),
    };
    say(&format!("{name} {ended}; the service saw {seen}."));
}

/// As a shell has it: the status, or 128 and the signal's number.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|number| 128 + number));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// What becomes of a signal that is meant for us alone.
#[derive(Clone, Copy)]
pub enum Arrived {
    /// The program gets it too.
    IsHandedOn,
    /// The program is killed.
    Kills,
}

/// The signals that must not end us before the program has ended and our files are gone. They are caught, not ignored: an
/// ignored signal would stay ignored in login_duo.
pub struct Signals {
    hangup: Arrivals,
    terminate: Arrivals,
    /// The terminal sends these to the program as well; they are its business.
    _from_terminal: [Arrivals; 3],
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            _from_terminal: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::quit())?,
                signal(SignalKind::from_raw(Signal::SIGTSTP as i32))?,
            ],
        })
    }

    /// Waits for the child, and does to it what is said of a signal for us alone.
    pub async fn wait(&mut self, mut child: Child, arrived: Arrived) -> io::Result<ExitStatus> {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        loop {
            let signal = tokio::select! {
                status = child.wait() => return status,
                _ = self.hangup.recv() => Signal::SIGHUP,
                _ = self.terminate.recv() => Signal::SIGTERM,
            };
            if let Some(pid) = pid {
                let signal = match arrived {
                    Arrived::IsHandedOn => signal,
                    Arrived::Kills => Signal::SIGKILL,
                };
                // It may have ended this moment.
                let _ = kill(pid, signal);
            }
        }
    }
}
