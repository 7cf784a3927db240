//! `demo --pam`: a password and then Duo, in the real su, sudo or sshd, in a throw-away machine.

use crate::cli::{How, Service};
use crate::demo::{Arrived, Signals, builder, conclude, exit_code, introduce_phone};
use crate::folder::extra_lines;
use crate::machine::{self, CA_FILE, Machine, Network, PASSWORD};
use crate::terminal::Terminal;
use crate::{programs, say};
use fake_duo::PASSCODE;
use nix::unistd::geteuid;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

/// Whom the machine's programs are run as, in setpriv's words.
const AS_VISITOR: [&str; 6] = [
    "setpriv",
    "--reuid",
    "visitor",
    "--regid",
    "visitor",
    "--clear-groups",
];
const AS_DEMO: [&str; 6] = [
    "setpriv",
    "--reuid",
    "demo",
    "--regid",
    "demo",
    "--clear-groups",
];

/// Runs su, sudo or ssh; its exit status is ours.
pub fn run(how: &How, service: Service) -> io::Result<ExitCode> {
    if let Some(program) = machine::missing(service) {
        let text = format!("{program} is not installed here");
        return Err(io::Error::other(text));
    }
    // Before root is asked for, since root may have no cargo.
    let pam_duo = programs::pam_duo()?;
    if !geteuid().is_root() {
        return Err(io::Error::other(needs_root()));
    }
    if !io::stdin().is_terminal() {
        return Err(io::Error::other(
            "demo --pam needs a terminal, for a password",
        ));
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut signals = Signals::catch()?;
            let (network, listener) = Network::new()?;
            let duo = builder(how).listener(listener).try_start()?;
            let machine = Machine {
                network,
                pam_duo,
                service,
                config: duo.config(Path::new(CA_FILE), extra_lines(&duo)),
                ca_pem: duo.ca_pem(),
            };
            machine.try_out()?;
            let (ids, words) = program(service);
            introduce(how, service, words);
            let _rendezvous = duo.phone().and_then(|address| introduce_phone(&address));
            let command = machine.command(&[ids, words].concat());
            let terminal = Terminal::keep()?;
            let child = tokio::process::Command::from(command).spawn()?;
            let status = signals.wait(child, Arrived::Kills).await?;
            drop(terminal);
            let name = words.first().copied().unwrap_or_default();
            conclude(name, status, &duo);
            Ok(exit_code(status))
        })
}

/// What root is to say, in place of whoever was it.
fn needs_root() -> String {
    let mut words = vec!["demo --pam needs root, to make a throw-away machine: sudo".to_owned()];
    match std::env::current_exe() {
        Ok(path) => words.push(path.display().to_string()),
        Err(_) => words.push("fake-duo".to_owned()),
    }
    words.extend(
        std::env::args_os()
            .skip(1)
            .map(|word| word.display().to_string()),
    );
    words.join(" ")
}

/// Who runs what on the machine.
fn program(service: Service) -> (&'static [&'static str], &'static [&'static str]) {
    match service {
        Service::Su => (&AS_VISITOR, &["su", "-", "demo"]),
        Service::Sudo => (&AS_DEMO, &["sudo", "id"]),
        Service::Sshd => (
            &AS_VISITOR,
            &[
                "ssh",
                "-F/dev/null",
                "-oStrictHostKeyChecking=no",
                "-oUserKnownHostsFile=/dev/null",
                "demo@localhost",
            ],
        ),
    }
}

fn introduce(how: &How, service: Service, words: &[&str]) {
    say(
        "a fake Duo service, for tests only, and pam_duo.so before it, in a throw-away machine: yours stays as it is.",
    );
    let (first, last) = (words.first(), words.last());
    let shown = match service {
        Service::Sshd => [first, last].into_iter().flatten().copied().collect(),
        _ => words.to_vec(),
    };
    let then = match how.phone {
        Some(_) => "Choose from the menu, and play the phone yourself.".to_owned(),
        None => format!(
            "Press Enter for a push that approves itself after {} s, or type the passcode {PASSCODE}.",
            how.push_delay.as_secs_f64()
        ),
    };
    say(&format!(
        "{}: the password is {PASSWORD}. {then}",
        shown.join(" ")
    ));
    if service != Service::Sudo {
        say("Behind it is a shell; leave it with exit.");
    }
}
