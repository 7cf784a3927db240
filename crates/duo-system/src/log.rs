//! The log: syslog, or stderr. [`text::for_log`] makes each line harmless
//! (docs/behaviour.md, *Log*).

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
    /// syslog, facility authpriv, identity as `privsep::take_over` set them.
    Syslog,
    /// stderr, as `[N] text` (`-d`).
    Stderr,
    /// Both: `-d` from a caller of a setuid install, who may not keep a login out of
    /// the log by an option.
    Both,
}

/// The log of one process. Nothing is logged before the fork: a descriptor of
/// syslog that crosses the fork could end up being Duo's socket.
#[derive(Debug, Clone, Copy)]
pub struct Log(Sink);

impl Log {
    /// The log that goes to `sink`. Nothing here returns an error, since a machine
    /// without syslog must still let people in.
    pub fn open(sink: Sink) -> Log {
        Log(sink)
    }

    /// Writes `text`, which may hold anything, as one harmless line.
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

    /// Writes the line of a login of `who`, or of one of its attempts.
    pub fn verdict(&self, verdict: &Verdict, who: &Who) {
        let (_, priority) = verdict::label(verdict.outcome);
        self.line(priority, &verdict::line(verdict, who));
    }

    /// Writes a line of priority warning.
    pub fn warning(&self, text: &str) {
        self.line(Priority::Warning, text);
    }

    /// Writes a line of priority info.
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
