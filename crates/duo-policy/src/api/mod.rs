//! Duo's Auth API v2 (docs/duo-api.md): requests ([`request`], [`signing`]),
//! answers ([`reply`]), factors and the menu ([`menu`]), and the trait [`Duo`],
//! through which a login asks.

pub mod menu;
pub mod reply;
pub mod request;
pub mod signing;

use std::time::Instant;

use self::menu::Factor;
use self::reply::{Auth, Preauth, Status};
use crate::error::Error;

/// Duo, as a login sees it.
pub trait Duo {
    /// Asks whether this user needs a second factor, and which ones there are.
    /// Source: docs/duo-api.md, *Requests*.
    ///
    /// # Errors
    /// See [`Error`].
    fn preauth(&mut self) -> Result<Preauth, Error>;

    /// Starts to verify `factor`. This may ring a phone, but only once.
    /// Source: docs/duo-api.md, *Requests*.
    ///
    /// # Errors
    /// See [`Error`].
    fn auth(&mut self, factor: &Factor) -> Result<Auth, Error>;

    /// Waits for news of a transaction, not beyond `until`.
    /// Source: docs/duo-api.md, *Requests*.
    ///
    /// # Errors
    /// See [`Error`].
    fn status(&mut self, transaction: &str, until: Instant) -> Result<Status, Error>;

    /// Whether Duo has answered in this login, with a textual `result` or with
    /// HTTP 429. From then on failmode opens nothing (docs/behaviour.md, *Failmode*).
    fn answered(&self) -> bool;
}
