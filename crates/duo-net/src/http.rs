//! One connection to Duo, used for every request of a login, and whether a
//! byte of the current request has left: `auth` may ring a phone, and must not
//! ring it twice.
//!
//! HTTP's grammar is ureq-proto's, which knows buffers only: whatever connects,
//! waits, retries or follows is ours.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duo_policy::api::request::{Method, Parameters};
use duo_policy::clock::Deadlines;
use duo_policy::config::Config;
use duo_policy::error::Error;
use duo_system::wait::Waiter;
use ureq_proto::client::state::{Cleanup, RecvBody, RecvResponse};
use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult, SendRequestResult};
use ureq_proto::http;

use crate::connect::{self, Connection, Route};
use crate::names::{self, Names};

/// An answer's body is at most this long, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// An answer's head is at most this long, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

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

/// What came back.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
    /// `Retry-After` or `X-Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`: the server's clock.
    pub date: Option<String>,
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

/// Why no answer could be read.
enum Failure {
    /// The connection.
    Io(io::Error),
    /// What came is not an answer; why.
    NoAnswer(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<ureq_proto::Error> for Failure {
    fn from(error: ureq_proto::Error) -> Failure {
        Failure::NoAnswer(error.to_string())
    }
}

/// What comes in on a connection.
struct Incoming<'c, 'a> {
    connection: &'c mut Connection<'a>,
    /// What has come and is not used yet.
    bytes: Vec<u8>,
    waiter: &'c Waiter<'a>,
    until: Instant,
}

impl Incoming<'_, '_> {
    /// Reads one answer, and what says whether another request may follow.
    fn answer(
        &mut self,
        call: Call<RecvResponse>,
    ) -> Result<(Answer, Option<Call<Cleanup>>), Failure> {
        let (head, received) = match self.head(call) {
            Ok(head) => head,
            // A refusal is one, whatever becomes of its words; else whoever can
            // spoil those could have failmode forgive it.
            Err(failure) => {
                let status = refusal(&self.bytes).ok_or(failure)?;
                return Ok((Answer::of(status, &http::HeaderMap::new()), None));
            }
        };
        let mut answer = Answer::of(head.status().as_u16(), head.headers());
        let call = match received {
            RecvResponseResult::RecvBody(call) => match self.body(call) {
                Ok((body, call)) => {
                    answer.body = body;
                    call
                }
                Err(_) if is_refusal(answer.status) => return Ok((answer, None)),
                Err(failure) => return Err(failure),
            },
            RecvResponseResult::Redirect(call) => call.proceed(),
            RecvResponseResult::Cleanup(call) => call,
        };
        Ok((answer, Some(call)))
    }

    fn head(
        &mut self,
        mut call: Call<RecvResponse>,
    ) -> Result<(http::Response<()>, RecvResponseResult), Failure> {
        loop {
            let (used, head) = call.try_response(&self.bytes, false)?;
            self.bytes.drain(..used.min(self.bytes.len()));
            if let Some(head) = head {
                let received = call.proceed();
                let received =
                    received.ok_or_else(|| Failure::NoAnswer("its head has no end".to_owned()))?;
                return Ok((head, received));
            }
            if self.bytes.len() > LONGEST_HEAD {
                let why = "its head is longer than 16 KiB".to_owned();
                return Err(Failure::NoAnswer(why));
            }
            // Something used is a 1xx; what is behind it may be the answer.
            if used == 0 && self.more()? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn body(&mut self, mut call: Call<RecvBody>) -> Result<(Vec<u8>, Call<Cleanup>), Failure> {
        let mut body = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let (used, written) = call.read(&self.bytes, &mut chunk)?;
            self.bytes.drain(..used.min(self.bytes.len()));
            body.extend_from_slice(chunk.get(..written).unwrap_or_default());
            if body.len() > LONGEST_BODY {
                let why = "its body is longer than 1 MiB".to_owned();
                return Err(Failure::NoAnswer(why));
            }
            let ends_with_the_connection =
                matches!(call.body_mode(), ureq_proto::BodyMode::CloseDelimited);
            if call.can_proceed() && !ends_with_the_connection {
                break;
            }
            if used > 0 || written > 0 {
                continue;
            }
            if self.more()? == 0 {
                if ends_with_the_connection {
                    break;
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        match call.proceed() {
            Some(RecvBodyResult::Cleanup(call)) => Ok((body, call)),
            Some(RecvBodyResult::Redirect(call)) => Ok((body, call.proceed())),
            None => Err(Failure::NoAnswer("its body has no end".to_owned())),
        }
    }

    /// Reads more; how many bytes, 0 at the end.
    fn more(&mut self) -> io::Result<usize> {
        // What TLS has decrypted already needs no wait that could end.
        if self.waiter.has_passed(self.until) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut chunk = [0; 16 * 1024];
        let read = self.connection.read(&mut chunk)?;
        self.bytes
            .extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Whether a status denies whatever else is in the answer: a 4xx. (A 401 is
/// the keys' or the clock's, see `duo_policy::api::reply`.)
fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && status != 401
}

/// The status of a refusal, if `head` begins with its line.
fn refusal(head: &[u8]) -> Option<u16> {
    let end = head.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(head.get(..end)?).ok()?;
    let status = line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    is_refusal(status).then_some(status)
}

impl Answer {
    fn of(status: u16, headers: &http::HeaderMap) -> Answer {
        let header = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Answer {
            status,
            body: Vec::new(),
            retry_after: header("retry-after").or_else(|| header("x-retry-after")),
            date: header("date"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_off_the_first_line_of_a_broken_head() {
        assert_eq!(refusal(b"HTTP/1.1 403 Forbidden\r\nbroken"), Some(403));
        assert_eq!(refusal(b"HTTP/1.0 429 \r\n"), Some(429));
        for head in [
            &b""[..],
            b"HTTP/1.1 403 Forbidden",
            b"HTTP/1.1 401 Unauthorized\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 502 Bad Gateway\r\n",
            b"SSH-2.0-x 403\r\n",
            b"HTTP/1.1 4033 x\r\n\xff",
        ] {
            let text = String::from_utf8_lossy(head);
            assert!(matches!(refusal(head), None | Some(403)), "{text}");
        }
        assert_eq!(refusal(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(refusal(b"HTTP/1.1 401 Unauthorized\r\n"), None);
    }
}
