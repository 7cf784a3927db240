//! duoctl: the administrator's program. It is never setuid; what it looks at
//! with root's rights is root's own, and whatever comes from a configuration, a
//! directory service or the network is looked at by a child without privileges.
#![forbid(unsafe_code)]

mod check;
mod cli;
mod finding;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use duo_system::privsep;

use cli::Request;

/// The exit status of wrong usage, as in sysexits(3).
const WRONG_USAGE: u8 = 64;

/// Runs one command, from the command line to its exit status: 0 done, 1 it
/// failed or something fails, 2 warnings only, 64 wrong usage.
pub fn run() -> ExitCode {
    let started =
        privsep::take_over(c"duoctl").and_then(|inherited| Ok((inherited, privsep::standing()?)));
    let (inherited, standing) = match started {
        Ok(started) => started,
        Err(error) => return complain(1, error),
    };
    match cli::read(&inherited.environment) {
        Request::Show(text) => {
            // A closed stdout is not an event.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Request::Usage(text) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(WRONG_USAGE)
        }
        Request::Check(wanted) => check::run(&wanted, &inherited, standing),
    }
}

fn complain(status: u8, text: impl Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "duoctl: {text}");
    ExitCode::from(status)
}
