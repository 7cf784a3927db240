//! What can go wrong in a login, sorted by what failmode may make of it.
//!
//! The variants are the rows of the table in docs/behaviour.md, *Failmode*;
//! [`verdict::failmode`] alone turns one into an outcome. The code that makes an
//! error chooses its row. In doubt it must choose [`Error::Fault`], which never
//! opens the door.
//!
//! [`verdict::failmode`]: crate::verdict::failmode

use std::fmt;

/// Why a login cannot simply go on.
///
/// Each text is lower case, names what it is about in quotes and goes down to
/// the system's words. None holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Duo could not be asked: one of the closed list in the failmode table
    /// (name not found, refused, reset, unreachable, timed out, closed early,
    /// proxy refused, TLS, HTTP 401, 3xx or 5xx, an answer that is not Duo's).
    Service(String),
    /// Duo was asked and did not agree: a 4xx, a 429 that does not end.
    Refused(String),
    /// The configuration file is missing, untrustworthy or broken.
    Configuration(String),
    /// This machine could not do its part: anything that is not listed
    /// elsewhere, since a caller may be able to provoke it.
    Fault(String),
    /// The person left: end of input, Ctrl-C, hang-up, no input.
    GaveUp(String),
}

impl Error {
    /// The [`Error::Fault`] of a system call that failed.
    /// `doing` says what was tried: `start a thread`.
    pub fn fault(doing: &str, cause: impl fmt::Display) -> Error {
        Error::Fault(format!("couldn't {doing}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Service(text)
            | Error::Refused(text)
            | Error::Configuration(text)
            | Error::Fault(text)
            | Error::GaveUp(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
