//! A question to the person at the terminal, which `--yes` answers.

use std::io::{self, IsTerminal, Write};

use crate::cli::Questions;

/// What the person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Yes; `--yes` is that person.
    Yes,
    /// Anything else, or nothing.
    No,
    /// No terminal: nobody can be asked.
    NobodyThere,
}

/// Asks on stderr, since stdout may go elsewhere.
pub fn ask(question: &str, questions: Questions) -> Reply {
    if questions == Questions::Yes {
        return Reply::Yes;
    }
    if !io::stdin().is_terminal() {
        return Reply::NobodyThere;
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().read_line(&mut answer);
    match ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        true => Reply::Yes,
        false => Reply::No,
    }
}
