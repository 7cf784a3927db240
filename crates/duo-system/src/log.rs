//! The log: the journal, else syslog; or stderr. [`text::for_log`] makes each line harmless
//! (docs/behaviour.md, *Log*), and the fields of the journal are harmless by their form
//! (docs/monitoring.md, *Fields*).
//!
//! The C library's syslog(3) is not used: where nobody reads the socket, it waits for
//! ever, and holds the login.

mod journal;
mod socket;

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use duo_policy::config::Facility;
use duo_policy::error::Error;
use duo_policy::log_line::{self, Field, Priority};
use duo_policy::text;
use duo_wire::{Verdict, Who};
use nix::errno::Errno;
use nix::sys::socket::SockType;
use nix::unistd::getpid;

use crate::output::{PATIENCE, write_patiently};
use crate::privsep::{local_time, read_time_zone};
use socket::{Sent, Socket, Wait};

/// How long a log daemon may take to make room for a line. After that, no further line
/// of the same process waits.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// What the log calls this process.
#[derive(Debug, Clone, Copy)]
pub enum Identity {
    /// This name, with the id of whichever process logs.
    Program(&'static CStr),
    /// This name, with the id of the host that asks.
    OfHost(&'static CStr, u32),
}

impl Identity {
    /// The name.
    pub fn name(self) -> &'static CStr {
        match self {
            Identity::Program(name) | Identity::OfHost(name, _) => name,
        }
    }

    fn pid(self) -> u32 {
        match self {
            Identity::Program(_) => getpid().as_raw().unsigned_abs(),
            Identity::OfHost(_, pid) => pid,
        }
    }
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// The journal, or syslog.
    Syslog,
    /// stderr, as `[N] text` (`-d`).
    Stderr,
    /// Both: `-d` from a caller of a setuid install, who may not keep a login out of
    /// the log by an option.
    Both,
}

/// The log of one process. Each process makes its own after the fork: a descriptor of
/// the log that crosses the fork could end up being Duo's socket.
pub struct Log {
    identity: Identity,
    sink: Sink,
    facility: Cell<Facility>,
    journal: Socket,
    has_journal: Cell<bool>,
    syslog: Socket,
    /// Whether a line has waited in vain.
    is_stuck: Cell<bool>,
}

impl Log {
    /// The log that goes to `sink`, with the facility authpriv. A machine without a log
    /// must still let people in, so nothing here returns an error.
    pub fn open(identity: Identity, sink: Sink) -> Log {
        Log {
            identity,
            sink,
            facility: Cell::new(Facility::AUTHPRIV),
            journal: Socket::new(journal::PATH, &[SockType::Datagram], Duration::ZERO),
            has_journal: Cell::new(true),
            syslog: Socket::new(
                "/dev/log",
                &[SockType::Datagram, SockType::Stream],
                LOG_PATIENCE,
            ),
            is_stuck: Cell::new(false),
        }
    }

    /// From here on, lines have this facility.
    pub fn set_facility(&self, facility: Facility) {
        self.facility.set(facility);
    }

    /// Connects to the log before the first line, and reads the time zone that lines are
    /// in: once only waiting is left ([`crate::sandbox::keep_only_waiting`]), neither can
    /// be opened.
    pub fn connect(&self) {
        read_time_zone();
        self.has_journal.set(self.journal.connect());
        self.syslog.connect();
    }

    /// Writes `text`, which may hold anything, as one harmless line. What the log does not
    /// take is lost: no login depends on it.
    pub fn line(&self, priority: Priority, text: &str) {
        let _ = self.write(priority, text, &[]);
    }

    /// Writes the line of a login of `who`, or of one of its attempts.
    ///
    /// # Errors
    /// [`Error::Fault`] if there is a log and it does not take the line.
    pub fn verdict(&self, verdict: &Verdict, who: &Who) -> Result<(), Error> {
        let (_, priority) = log_line::label(verdict.outcome);
        let fields = log_line::fields(Some(verdict), who);
        self.write(priority, &log_line::of_verdict(verdict, who), &fields)
    }

    /// Writes the line that Duo is asked to verify a factor of `who`.
    ///
    /// # Errors
    /// As for [`Log::verdict`].
    pub fn asking(&self, who: &Who) -> Result<(), Error> {
        let fields = log_line::fields(None, who);
        self.write(Priority::Info, &log_line::of_asking(who), &fields)
    }

    /// Writes a line of priority warning.
    pub fn warning(&self, text: &str) {
        self.line(Priority::Warning, text);
    }

    /// Writes a line of priority info.
    pub fn info(&self, text: &str) {
        self.line(Priority::Info, text);
    }

    fn write(&self, priority: Priority, text: &str, fields: &[Field]) -> Result<(), Error> {
        let text = text::for_log(text);
        let taken = match self.sink {
            Sink::Syslog | Sink::Both => self.deliver(priority, &text, fields),
            Sink::Stderr => Ok(()),
        };
        if matches!(self.sink, Sink::Stderr | Sink::Both) {
            let line = format!("[{}] {text}\n", priority.number());
            let _ = write_patiently(io::stderr().as_fd(), line.as_bytes(), PATIENCE);
        }
        taken
    }

    /// Hands a line to the journal or, where that does not take it, to syslog.
    fn deliver(&self, priority: Priority, text: &str, fields: &[Field]) -> Result<(), Error> {
        let name = self.identity.name().to_str().unwrap_or_default();
        let (pid, facility) = (self.identity.pid(), self.facility.get().number());
        let mut refused = None;
        if self.has_journal.get() {
            let origin = journal::Origin {
                name,
                pid,
                facility,
                priority,
            };
            let entry = journal::entry(&origin, text, fields);
            match self.journal.send(&entry, Wait::No) {
                Sent::Taken => return Ok(()),
                Sent::NobodyIsThere => self.has_journal.set(false),
                Sent::Refused(errno) => refused = Some(errno),
            }
        }
        let number = u32::from(facility) * 8 + u32::from(priority.number());
        let packet = format!("<{number}>{}{name}[{pid}]: {text}", local_time());
        let wait = match self.is_stuck.get() {
            true => Wait::No,
            false => Wait::Patiently,
        };
        match self.syslog.send(packet.as_bytes(), wait) {
            Sent::Taken => return Ok(()),
            Sent::NobodyIsThere => {}
            Sent::Refused(errno) => refused = Some(errno),
        }
        let Some(errno) = refused else {
            return Ok(());
        };
        self.is_stuck.set(true);
        let why = match errno {
            Errno::EAGAIN => "it is full, and nobody reads it",
            other => other.desc(),
        };
        Err(Error::fault("write to the log", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the C library writes before the tag, syslog(3).
    #[test]
    fn a_time_is_written_as_the_c_library_does() {
        let date = || {
            let mut date = std::process::Command::new("date");
            let output = date.env("LC_ALL", "C").arg("+%b %e %H:%M:%S ").output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        // The second may change between the two.
        let is_same = (0..3).any(|_| date().trim_end_matches('\n') == local_time());
        assert!(is_same, "{:?} {:?}", date(), local_time());
    }
}
