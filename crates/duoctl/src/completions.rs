//! `completions`: what a shell needs to complete duoctl's command line, made from the table that
//! reads it.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::generate;

use crate::cli::{self, Completions};

/// Prints it.
pub fn run(wanted: &Completions) -> ExitCode {
    let mut text = Vec::new();
    let mut command = cli::commands().no_binary_name(false);
    generate(wanted.shell, &mut command, "duoctl", &mut text);
    // A reader that has gone is not an event.
    let _ = std::io::stdout().write_all(&text);
    ExitCode::SUCCESS
}
