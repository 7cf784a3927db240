//! `demo`: one login through the real login_duo, on this terminal or without one.

use crate::cli::Demo;
use crate::folder::Folder;
use crate::rendezvous::Rendezvous;
use crate::{browser, login_duo, say};
use fake_duo::{FakeDuo, PASSCODE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};

/// Where the person seems to come from: what sshd would have set.
const SSH_CONNECTION: &str = "127.0.0.1 50022 127.0.0.1 22";

/// Runs login_duo; its exit status is ours.
pub fn run(options: Demo) -> io::Result<ExitCode> {
    let program = login_duo::find(options.login_duo.clone())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut signals = Signals::catch()?;
            let duo = start(&options)?;
            let mut folder = Folder::fresh()?;
            let config = folder.fill(&duo)?;
            introduce(&options);
            let _rendezvous = duo.phone().and_then(|address| introduce_phone(&address));
            let child = Command::new(&program)
                .arg("-c")
                .arg(&config)
                .args(&options.command)
                .env("SSH_CONNECTION", SSH_CONNECTION)
                .spawn()
                .map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot run {}: {error}", program.display()),
                    )
                })?;
            let status = signals.wait(child).await?;
            conclude(status, &duo);
            Ok(exit_code(status))
        })
}

fn start(options: &Demo) -> io::Result<FakeDuo> {
    let mut builder = FakeDuo::builder()
        .without_users()
        .default_script(options.default_script)
        .shape(options.shape)
        .push_delay(options.push_delay);
    if let Some(address) = options.phone {
        browser::warn_off_the_loopback(address);
        builder = builder.phone(address);
    }
    builder.try_start()
}

/// Says where the phone is; the file by which `fake-duo phone` finds it, for as long as that is held.
fn introduce_phone(address: &str) -> Option<Rendezvous> {
    say(&format!("the phone: {address}"));
    let program = match std::env::var_os("CARGO") {
        Some(_) => "cargo run -q -p fake-duo --",
        None => "fake-duo",
    };
    say(&format!("or, in a second terminal: {program} phone"));
    browser::open(address);
    Rendezvous::keep(address)
}

fn introduce(options: &Demo) {
    let delay = options.push_delay.as_secs_f64();
    say("a fake Duo service, for tests only, and the real login_duo before it.");
    let is_on_terminal = io::stdin().is_terminal();
    if options.phone.is_some() {
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
        if options.command.is_empty() {
            say("Behind it is your login shell; leave it with exit.");
        }
    } else {
        say(&format!(
            "No terminal: a headless login, whose push approves itself after {delay} s."
        ));
    }
}

fn conclude(status: ExitStatus, duo: &FakeDuo) {
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
    say(&format!("login_duo {ended}; the service saw {seen}."));
}

/// As a shell has it: the status, or 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|number| 128 + number));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The signals that must not end us before login_duo has ended and our files are gone. They are caught, not ignored: an
/// ignored signal would stay ignored in login_duo.
struct Signals {
    hangup: Arrivals,
    terminate: Arrivals,
    /// The terminal sends these to login_duo as well; they are its business.
    _from_terminal: [Arrivals; 3],
}

impl Signals {
    fn catch() -> io::Result<Self> {
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

    /// Waits for the child, handing on what is meant for us alone.
    async fn wait(&mut self, mut child: Child) -> io::Result<ExitStatus> {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        loop {
            let arrived = tokio::select! {
                status = child.wait() => return status,
                _ = self.hangup.recv() => Signal::SIGHUP,
                _ = self.terminate.recv() => Signal::SIGTERM,
            };
            if let Some(pid) = pid {
                // It may have ended this moment.
                let _ = kill(pid, arrived);
            }
        }
    }
}
