//! One connection to Duo, used for every request of a login, and whether a
//! byte of the current request has left: `auth` may ring a phone, and must not
//! ring it twice.
//!
//! HTTP's grammar is ureq-proto's, which knows buffers only: whatever connects,
//! waits, retries or follows is ours.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duo_policy::api::request::{Method, Parameters};
use duo_policy::clock::Deadlines;
use duo_policy::config::Config;
use duo_policy::error::Error;
use duo_system::wait::Waiter;
use ureq_proto::client::state::RecvResponse;
use ureq_proto::client::{Call, SendRequestResult};
use ureq_proto::http;

pub use crate::answer::Answer;
use crate::answer::{Failure, Incoming};
use crate::connect::{self, Connection, Route};
use crate::names::{self, Names};

/// A request's head is at most this long, in bytes: a transaction's id is the
/// longest thing in one.
const LONGEST_REQUEST_HEAD: usize = 64 * 1024;

const USER_AGENT: &str = concat!(
    "login_duo/",
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("LOGIN_DUO_TARGET"),
    ")"
);

/// One request, signed.
pub struct Outgoing<'a> {
    /// GET or POST.
    pub method: Method,
    /// `/auth/v2/…`
    pub path: &'a str,
    /// Query string or form body: the very bytes that were signed.
    pub parameters: &'a Parameters,
    /// `X-Duo-Date`.
    pub date: &'a str,
    /// `Authorization`.
    pub authorization: &'a str,
}

/// No answer.
#[derive(Debug)]
pub struct Lost {
    /// Why.
    pub error: Error,
    /// What kind of loss: whether trying again can help.
    pub how: Loss,
    /// Whether a byte of the request has left.
    pub sent: bool,
}

/// How an answer got lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The connection failed: another one may not.
    Connection,
    /// Nothing came in time.
    Timeout,
    /// What came was not an answer, or nobody is there to ask: it will not
    /// change by asking again.
    Final,
}

/// The line to Duo.
pub struct Line<'a> {
    route: Route<'a>,
    deadlines: &'a Deadlines,
    waiter: &'a Waiter<'a>,
    addresses: Vec<SocketAddr>,
    own_address: Option<IpAddr>,
    /// The connection of the last request, and when that was answered.
    idle: Option<(Connection<'a>, Instant)>,
}

impl<'a> Line<'a> {
    /// Sets the line up; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used.
    pub fn new(
        config: &Config,
        deadlines: &'a Deadlines,
        names: Arc<dyn Names>,
        waiter: &'a Waiter<'a>,
    ) -> Result<Line<'a>, Error> {
        Ok(Line {
            route: Route::new(config, deadlines, names, waiter)?,
            deadlines,
            waiter,
            addresses: Vec::new(),
            own_address: None,
            idle: None,
        })
    }

    /// Looks Duo's name up, once a login.
    ///
    /// # Errors
    /// [`Error::Service`] if it is not found.
    pub fn look_up(&mut self, deadline: Instant) -> Result<(), Error> {
        if self.addresses.is_empty() {
            self.addresses = self.route.addresses(deadline)?;
        }
        Ok(())
    }

    /// The address that this host reaches Duo from, once that is known.
    pub fn own_address(&self) -> Option<IpAddr> {
        let first = || names::own_address(*self.addresses.first()?);
        self.own_address.or_else(first)
    }

    /// The host as it is signed: as in the Host header, without its port.
    pub fn signed_host(&self) -> String {
        let host = self.route.host();
        match host.address() {
            Some(IpAddr::V6(_)) => format!("[{}]", host.name),
            _ => host.name.clone(),
        }
    }

    /// Sends one request and reads its answer, by `deadline`, and within
    /// `answer_within` once it has been sent.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn exchange(
        &mut self,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
        answer_within: Option<Duration>,
    ) -> Result<Answer, Lost> {
        let unsent = |(error, how)| Lost {
            error,
            how,
            sent: false,
        };
        let mut connection = self.connection(deadline).map_err(unsent)?;
        let (head, call) = self.encoded(outgoing).map_err(unsent)?;
        connection.sock.set_deadline(deadline);
        let lost = |failure: Failure| {
            let (error, how) = self.sort(failure);
            let sent = true;
            Lost { error, how, sent }
        };
        let sent = connection
            .write_all(&head)
            .and_then(|()| connection.flush());
        sent.map_err(|error| lost(error.into()))?;

        let answer_by = answer_within.map(|span| self.waiter.now() + span);
        let until = answer_by.map_or(deadline, |by| by.min(deadline));
        connection.sock.set_deadline(until);
        let mut incoming = Incoming {
            connection: &mut connection,
            bytes: Vec::new(),
            waiter: self.waiter,
            until,
        };
        let (answer, call) = incoming.answer(call).map_err(lost)?;
        let nothing_follows = incoming.bytes.is_empty();
        if nothing_follows && call.is_some_and(|call| !call.must_close_connection()) {
            self.idle = Some((connection, self.waiter.now()));
        }
        Ok(answer)
    }

    /// The connection of the last request if it is still good, else a new one.
    fn connection(&mut self, deadline: Instant) -> Result<Connection<'a>, (Error, Loss)> {
        if let Some((mut connection, since)) = self.idle.take() {
            let idle = self.waiter.now().saturating_duration_since(since);
            if idle <= self.deadlines.idle && connect::is_idle(&mut connection) {
                return Ok(connection);
            }
        }
        self.look_up(deadline)
            .map_err(|error| (error, Loss::Final))?;
        let connected = self.route.connect(&self.addresses, deadline);
        let (connection, address) = connected.map_err(|error| {
            let how = match error {
                Error::Service(_) => Loss::Connection,
                _ => Loss::Final,
            };
            (error, how)
        })?;
        self.own_address = connection.sock.own_address();
        // The next connection need not wait again for those that were deaf.
        self.addresses.retain(|other| *other != address);
        self.addresses.insert(0, address);
        Ok(connection)
    }

    /// The bytes of a request, and what reads its answer.
    fn encoded(
        &self,
        outgoing: &Outgoing<'_>,
    ) -> Result<(Vec<u8>, Call<RecvResponse>), (Error, Loss)> {
        self.encode(outgoing)
            .map_err(|error| (Error::fault("make a request", error), Loss::Final))
    }

    fn encode(
        &self,
        outgoing: &Outgoing<'_>,
    ) -> Result<(Vec<u8>, Call<RecvResponse>), Box<dyn std::error::Error>> {
        let base = format!("https://{}{}", self.route.host(), outgoing.path);
        let parameters = outgoing.parameters.as_str();
        let request = http::Request::builder()
            .method(outgoing.method.as_str())
            .header("Accept", "application/json")
            .header("User-Agent", USER_AGENT)
            .header("X-Duo-Date", outgoing.date)
            .header("Authorization", outgoing.authorization);
        let (request, body) = match outgoing.method {
            Method::Get if parameters.is_empty() => (request.uri(base), ""),
            Method::Get => (request.uri(format!("{base}?{parameters}")), ""),
            Method::Post => (
                request
                    .uri(base)
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .header("Content-Length", parameters.len()),
                parameters,
            ),
        };
        let mut call = Call::new(request.body(())?)?.proceed();
        let mut bytes = vec![0; LONGEST_REQUEST_HEAD];
        let length = call.write(&mut bytes)?;
        bytes.truncate(length);
        bytes.extend_from_slice(body.as_bytes());
        match call.proceed()? {
            Some(SendRequestResult::RecvResponse(call)) => Ok((bytes, call)),
            Some(SendRequestResult::SendBody(mut call)) => {
                call.consume_direct_write(body.len())?;
                call.write(&[], &mut [])?;
                Ok((bytes, call.proceed().ok_or("its body has no end")?))
            }
            _ => Err("its head has no end".into()),
        }
    }

    /// Sorts what may go wrong once a request is on its way into the rows of
    /// the failmode table.
    fn sort(&self, failure: Failure) -> (Error, Loss) {
        let host = self.route.host();
        let error = match failure {
            Failure::Io(error) => error,
            Failure::NoAnswer(why) => {
                let text = format!("invalid response from {host}: {why}");
                return (Error::Service(text), Loss::Final);
            }
        };
        let (how, what) = match error.kind() {
            io::ErrorKind::TimedOut => (Loss::Timeout, "No answer from"),
            _ => (Loss::Connection, "Lost the connection to"),
        };
        match self.route.failure(&error) {
            Error::Service(words) => (Error::Service(format!("{what} {host}: {words}")), how),
            error => (error, Loss::Final),
        }
    }
}
