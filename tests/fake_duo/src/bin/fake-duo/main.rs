//! The fake Duo service as a program: `serve` for scripted tests, `demo` for a first look, `phone` for a person. For tests only.
#![forbid(unsafe_code)]

mod browser;
mod cli;
mod demo;
mod folder;
mod machine;
mod pam;
mod phone;
mod programs;
mod rendezvous;
mod serve;
mod terminal;

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match cli::parse() {
        cli::Action::Serve(options) => serve::run(options),
        cli::Action::Demo(options) => match options.what {
            cli::What::LoginDuo { program, command } => demo::run(&options.how, program, &command),
            cli::What::Pam(service) => pam::run(&options.how, service),
        },
        cli::Action::Phone(address) => phone::run(address),
    };
    result.unwrap_or_else(|error| {
        say(&error.to_string());
        ExitCode::from(2)
    })
}

/// A line on stderr; a closed stderr is not an event.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "fake-duo: {text}");
}

/// A line on stdout, at once.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
