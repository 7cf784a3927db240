//! The commands of duoctl that change or tell something, over the built program. What needs root
//! or sshd is in tests/root/duoctl.

mod attempt;
mod completions;
mod configure;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Ended, Sandbox, run_with};

/// `duoctl` with these arguments, in an empty environment.
fn duoctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duoctl"));
    command.env_clear().args(arguments);
    command
}

/// One of its commands, about the sandbox's configuration, with this as its standard input.
fn about(sandbox: &Sandbox, name: &str, arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = duoctl(&[name]);
    command.arg("-c").arg(sandbox.config()).args(arguments);
    run_with(command, input)
}

/// The JSON object that a command printed.
fn json(ended: &Ended) -> Value {
    serde_json::from_slice(ended.stdout_bytes()).unwrap_or_else(|_| panic!("{}", ended.text()))
}

/// The names in a folder, in their order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
