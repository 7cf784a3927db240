//! The words of Duo's Auth API v2 (docs/duo-api.md): what is asked ([`request`],
//! [`signing`]), what is answered ([`reply`]), what a person may choose from
//! ([`menu`]); and [`Duo`] as a login sees it.

pub mod menu;
pub mod reply;
pub mod request;
pub mod signing;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use self::menu::Factor;
use self::reply::{Auth, Preauth, Status};
use crate::error::Error;

/// Duo, as a login sees it.
pub trait Duo {
    /// What is to be done about this user? Source: Duo Auth API, "preauth".
    ///
    /// # Errors
    /// See [`Error`]; no answer counts as given unless [`Duo::answered`].
    fn preauth(&mut self) -> Result<Preauth, Error>;

    /// Starts proving `factor`. May ring a phone, once. Source: "auth".
    ///
    /// # Errors
    /// See [`Error`].
    fn auth(&mut self, factor: &Factor) -> Result<Auth, Error>;

    /// Waits for news of a transaction, not beyond `until`. Source: "auth_status".
    ///
    /// # Errors
    /// See [`Error`].
    fn status(&mut self, transaction: &str, until: Instant) -> Result<Status, Error>;

    /// Whether Duo has spoken in this login: a textual `result`, or a 429. From
    /// then on failmode opens nothing.
    fn answered(&self) -> bool;
}

/// What a call wants someone to know while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Duo is rate limiting: waiting this long.
    RateLimited(Duration),
    /// This machine's clock is off by so many seconds (Duo's less ours).
    ClockOff(i64),
}

/// Who logs in, as Duo is told.
#[derive(Debug, Clone)]
pub struct Person {
    /// The Duo user name.
    pub user: String,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Whether this host's own address stands in for a missing one.
    pub own_address_instead: bool,
    /// The command, if the push shall show it.
    pub command: Option<String>,
}
