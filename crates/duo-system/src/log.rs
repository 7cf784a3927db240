//! The log: syslog, or stderr. Every line is made harmless by
//! [`text::for_log`].

use std::io;
use std::os::fd::AsFd;

use duo_policy::text;
use duo_policy::verdict::{self, Priority};
use duo_wire::{Verdict, Who};
use nix::syslog::{Severity, syslog};

use crate::output::{PATIENCE, write_patiently};

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// syslog, facility authpriv, identity and pid as `privsep::take_over` set them.
    Syslog,
    /// stderr, as `[N] text` (`-d`).
    Stderr,
    /// Both: `-d` from a caller who is not to be trusted, and whose login must
    /// leave its trace whatever options they choose.
    Both,
}

/// The log of one process. Nothing is logged before the fork: a syslog
/// descriptor that crosses it could end up being Duo's socket.
#[derive(Debug, Clone, Copy)]
pub struct Log(Sink);

impl Log {
    /// Opens the log. Nothing fails: a machine without a syslog still logs in.
    pub fn open(sink: Sink) -> Log {
        Log(sink)
    }

    /// Writes one line. `text` may hold anything: it is made one harmless line.
    pub fn line(&self, priority: Priority, text: &str) {
        let text = text::for_log(text);
        if matches!(self.0, Sink::Syslog | Sink::Both) {
            let _ = syslog(severity(priority), text.as_str());
        }
        if matches!(self.0, Sink::Stderr | Sink::Both) {
            let line = format!("[{}] {text}\n", priority.number());
            let _ = write_patiently(io::stderr().as_fd(), line.as_bytes(), PATIENCE);
        }
    }

    /// The line of a login, or of one attempt, that is `who`'s.
    pub fn verdict(&self, verdict: &Verdict, who: &Who) {
        let (_, priority) = verdict::label(verdict.outcome);
        self.line(priority, &verdict::line(verdict, who));
    }

    /// A line that does not end the login but that someone should read.
    pub fn warning(&self, text: &str) {
        self.line(Priority::Warning, text);
    }

    /// A line for the record.
    pub fn info(&self, text: &str) {
        self.line(Priority::Info, text);
    }
}

fn severity(priority: Priority) -> Severity {
    match priority {
        Priority::Error => Severity::LOG_ERR,
        Priority::Warning => Severity::LOG_WARNING,
        Priority::Info => Severity::LOG_INFO,
    }
}
