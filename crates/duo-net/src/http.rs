//! A connection to Duo for one request after the other: a login needs one, and a second
//! one beside it while a push is open and a passcode is typed. After a failure this
//! module says whether a byte of the request was sent, since `auth` may ring a phone and
//! must not ring it twice.
//!
//! ureq-proto knows the grammar of HTTP, and works on buffers alone: this crate
//! connects, waits and retries, and follows no redirect.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
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

use crate::answer::{Answer, Failure, Incoming};
use crate::connect::{self, Connection, Route};
use crate::names::{self, Names};

/// A request's head is at most this long, in bytes. Its longest part is the id of
/// a transaction, which Duo chose.
const LONGEST_REQUEST_HEAD: usize = 64 * 1024;

const USER_AGENT: &str = concat!(
    "login_duo/",
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("LOGIN_DUO_TARGET"),
    ")"
);

/// One signed request.
pub struct Outgoing<'a> {
    /// GET or POST.
    pub method: Method,
    /// `/auth/v2/…`
    pub path: &'a str,
    /// The query string or the form body: the same bytes that were signed.
    pub parameters: &'a Parameters,
    /// `X-Duo-Date`.
    pub date: &'a str,
    /// `Authorization`.
    pub authorization: &'a str,
}

/// Why a request got no answer.
#[derive(Debug)]
pub struct ExchangeError {
    /// The error, if the request is not sent again.
    pub error: Error,
    /// Whether it can help to send the request again.
    pub kind: FailureKind,
    /// Whether a byte of the request may have been sent.
    pub was_sent: bool,
}

/// Whether it can help to send a failed request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The connection failed. A new one may work.
    Connection,
    /// No answer came in time.
    Timeout,
    /// Sending the request again does not help: the bytes that came were not an
    /// answer, the name was not found, or this machine is at fault.
    Final,
}

/// How the connections of a login are made: the name is looked up once for all.
pub struct Reach<'a> {
    route: Route<'a>,
    deadlines: &'a Deadlines,
    waiter: &'a Waiter<'a>,
    addresses: RefCell<Vec<SocketAddr>>,
    own_address: Cell<Option<IpAddr>>,
}

/// The connection for one request after the other, made when the first one needs it.
pub struct Channel<'a> {
    reach: Rc<Reach<'a>>,
    /// The connection of the last request, and when that was answered.
    idle: Option<(Connection<'a>, Instant)>,
}

impl<'a> Reach<'a> {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used.
    pub fn new(
        config: &Config,
        deadlines: &'a Deadlines,
        names: Arc<dyn Names>,
        waiter: &'a Waiter<'a>,
    ) -> Result<Reach<'a>, Error> {
        Ok(Reach {
            route: Route::new(config, deadlines, names, waiter)?,
            deadlines,
            waiter,
            addresses: RefCell::default(),
            own_address: Cell::new(None),
        })
    }

    /// Looks Duo's name up, once in a login (docs/duo-api.md, *Connection*).
    ///
    /// # Errors
    /// [`Error::Service`] if the name is not found.
    pub fn look_up(&self, deadline: Instant) -> Result<(), Error> {
        if self.addresses.borrow().is_empty() {
            self.addresses.replace(self.route.addresses(deadline)?);
        }
        Ok(())
    }

    /// The address from which this host reaches Duo, once it is known.
    pub fn own_address(&self) -> Option<IpAddr> {
        let first = || names::own_address(*self.addresses.borrow().first()?);
        self.own_address.get().or_else(first)
    }

    /// The host as it is signed: as in the Host header, but without the port.
    pub fn signed_host(&self) -> String {
        let host = self.route.host();
        match host.address() {
            Some(IpAddr::V6(_)) => format!("[{}]", host.name),
            _ => host.name.clone(),
        }
    }

    /// A new connection.
    async fn connect(&self, deadline: Instant) -> Result<Connection<'a>, (Error, FailureKind)> {
        self.look_up(deadline)
            .map_err(|error| (error, FailureKind::Final))?;
        let mut addresses = self.addresses.borrow().clone();
        let connected = self.route.connect_in_task(&addresses, deadline).await;
        let (connection, address) = connected.map_err(|error| {
            let kind = match error {
                Error::Service(_) => FailureKind::Connection,
                _ => FailureKind::Final,
            };
            (error, kind)
        })?;
        self.own_address.set(connection.sock.own_address());
        // The address that worked goes first, so that the next connection does not
        // wait again for addresses that did not answer.
        addresses.retain(|other| *other != address);
        addresses.insert(0, address);
        self.addresses.replace(addresses);
        Ok(connection)
    }
}

impl<'a> Channel<'a> {
    /// A channel of its own.
    pub fn new(reach: Rc<Reach<'a>>) -> Channel<'a> {
        Channel { reach, idle: None }
    }

    /// Sends one request and reads its answer, by `deadline`, and within
    /// `answer_within` once it has been sent.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn exchange(
        &mut self,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
        answer_within: Option<Duration>,
    ) -> Result<Answer, ExchangeError> {
        let unsent = |(error, kind)| ExchangeError {
            error,
            kind,
            was_sent: false,
        };
        let mut connection = self.connection(deadline).await.map_err(unsent)?;
        let (head, call) = self.encoded(outgoing).map_err(unsent)?;
        connection.sock.set_deadline(deadline);
        let failed = |failure: Failure| {
            let (error, kind) = self.classify(failure);
            ExchangeError {
                error,
                kind,
                was_sent: true,
            }
        };
        let sent = connection.send(&head).await;
        sent.map_err(|error| failed(error.into()))?;

        let answer_by = answer_within.map(|span| self.reach.waiter.now() + span);
        let until = answer_by.map_or(deadline, |by| by.min(deadline));
        connection.sock.set_deadline(until);
        let mut incoming = Incoming {
            connection: &mut connection,
            bytes: Vec::new(),
            waiter: self.reach.waiter,
            until,
        };
        let (answer, call) = incoming.answer(call).await.map_err(failed)?;
        let nothing_follows = incoming.bytes.is_empty();
        if nothing_follows && call.is_some_and(|call| !call.must_close_connection()) {
            self.idle = Some((connection, self.reach.waiter.now()));
        }
        Ok(answer)
    }

    /// The connection of the last request if it is still good, else a new one.
    async fn connection(
        &mut self,
        deadline: Instant,
    ) -> Result<Connection<'a>, (Error, FailureKind)> {
        if let Some((mut connection, since)) = self.idle.take() {
            let idle = self.reach.waiter.now().saturating_duration_since(since);
            if idle <= self.reach.deadlines.idle && connect::is_idle(&mut connection) {
                return Ok(connection);
            }
        }
        self.reach.connect(deadline).await
    }

    /// The bytes of a request, and the state of HTTP that reads its answer.
    fn encoded(
        &self,
        outgoing: &Outgoing<'_>,
    ) -> Result<(Vec<u8>, Call<RecvResponse>), (Error, FailureKind)> {
        self.encode(outgoing)
            .map_err(|error| (Error::fault("make a request", error), FailureKind::Final))
    }

    fn encode(
        &self,
        outgoing: &Outgoing<'_>,
    ) -> Result<(Vec<u8>, Call<RecvResponse>), Box<dyn std::error::Error>> {
        let base = format!("https://{}{}", self.reach.route.host(), outgoing.path);
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

    /// The error of a failure after the request was sent, as a row of the table in
    /// docs/behaviour.md, *Failmode*, and whether sending again can help.
    fn classify(&self, failure: Failure) -> (Error, FailureKind) {
        let host = self.reach.route.host();
        let error = match failure {
            Failure::Io(error) => error,
            Failure::NoAnswer(why) => {
                let text = format!("invalid response from {host}: {why}");
                return (Error::Service(text), FailureKind::Final);
            }
        };
        let (kind, what) = match error.kind() {
            io::ErrorKind::TimedOut => (FailureKind::Timeout, "No answer from"),
            _ => (FailureKind::Connection, "Lost the connection to"),
        };
        match self.reach.route.failure(&error) {
            Error::Service(words) => (Error::Service(format!("{what} {host}: {words}")), kind),
            error => (error, FailureKind::Final),
        }
    }
}
