//! `completions`: not built yet. The table of all options is `cli::commands()`.

use std::process::ExitCode;

use crate::cli::Completions;

/// Runs it.
pub fn run(wanted: &Completions) -> ExitCode {
    crate::complain(1, format!("not built yet: {}", wanted.shell))
}
