//! Duo's Auth API v2 (docs/duo-api.md): requests ([`request`], [`signing`]),
//! answers ([`reply`]), factors and the menu ([`menu`]), and the trait [`Duo`],
//! through which a login asks.

pub mod menu;
pub mod reply;
pub mod request;
pub mod signing;

use std::time::Instant;

use self::menu::Factor;
use self::reply::{Auth, Preauth};
use crate::error::Error;

/// A line to Duo: one connection, with one request at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// For all requests but those of [`Line::Beside`].
    First,
    /// For a passcode that is typed while Duo waits for the person on the first line.
    Beside,
}

/// When a transaction may be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Not before this.
    pub from: Instant,
    /// Duo's answer counts until then.
    pub until: Instant,
}

/// Whether what the person types ends a wait for Duo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// It does, if there is somebody who can type.
    ToBoth,
    /// It stays where it is.
    ToDuo,
}

/// What ended a wait for Duo.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Duo's answer to the request on this line, or why there is none.
    Answer(Line, Result<Auth, Error>),
    /// The person has typed something.
    Typed,
}

/// Whether Duo has answered in this login, with a textual `result` or with HTTP 429. Once
/// it has, failmode opens nothing (docs/behaviour.md, *Failmode*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Duo has answered.
    Yes,
    /// Duo has not answered, or was not asked.
    NotYet,
}

/// Duo, as a login sees it.
pub trait Duo {
    /// Asks whether this user needs a second factor, and which ones there are.
    /// Source: docs/duo-api.md, *Requests*.
    ///
    /// # Errors
    /// See [`Error`].
    fn preauth(&mut self) -> Result<Preauth, Error>;

    /// Starts to verify `factor`. This may ring a phone, but only once. The answer comes
    /// from [`Duo::next`]. Source: docs/duo-api.md, *Requests*.
    fn auth(&mut self, line: Line, factor: &Factor);

    /// Asks for news of a transaction. The answer comes from [`Duo::next`], as
    /// [`Auth::Settled`]. Source: docs/duo-api.md, *Requests*.
    fn status(&mut self, line: Line, transaction: &str, span: Span);

    /// Waits for the next answer on any line and, with [`Listen::ToBoth`], for the person.
    fn next(&mut self, listen: Listen) -> Event;

    /// Whether Duo has answered in this login.
    fn answered(&self) -> Answered;
}
