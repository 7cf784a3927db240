//! One connection to Duo, used for every request of a login, and whether a
//! byte of the current request has left: `auth` may ring a phone, and must not
//! ring it twice.
//!
//! HTTP itself is ureq's; it looks up nothing, connects to nothing and knows no
//! proxy: `wire.rs` stands in for all of that.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http;

use super::connect::{self, Route};
use super::names::{self, Names};
use super::signing::Parameters;
use super::wire::{Addresses, Dialler, Shared};
use crate::clock::Deadlines;
use crate::config::Config;
use crate::error::Error;

/// An answer's body is at most this long, in bytes.
const LONGEST_BODY: u64 = 1024 * 1024;

/// An answer's head is at most this long, in bytes; the buffer must hold more,
/// or a longer one looks like the end of the connection.
const LONGEST_HEAD: usize = 16 * 1024;

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

/// The two methods that the API knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Parameters in the query string.
    Get,
    /// Parameters in the body.
    Post,
}

impl Method {
    /// As in the canonical request.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
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
pub struct Line {
    agent: ureq::Agent,
    shared: Arc<Shared>,
}

impl Line {
    /// Sets the line up; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used.
    pub fn new(
        config: &Config,
        deadlines: &Deadlines,
        names: Arc<dyn Names>,
    ) -> Result<Line, Error> {
        let route = Route::new(config, deadlines, names)?;
        let shared = Arc::new(Shared::new(route));
        let agent_config = ureq::config::Config::builder()
            .proxy(None)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_age(deadlines.idle)
            .max_idle_connections(1)
            .accept("application/json")
            .accept_encoding("")
            .user_agent(concat!(
                "login_duo/",
                env!("CARGO_PKG_VERSION"),
                " (",
                env!("LOGIN_DUO_TARGET"),
                ")"
            ))
            .max_response_header_size(LONGEST_HEAD)
            .input_buffer_size(2 * LONGEST_HEAD)
            .output_buffer_size(32 * 1024)
            .build();
        let agent = ureq::Agent::with_parts(
            agent_config,
            Dialler(shared.clone()),
            Addresses(shared.clone()),
        );
        Ok(Line { agent, shared })
    }

    /// Looks Duo's name up, once a login.
    ///
    /// # Errors
    /// [`Error::Service`] if it is not found.
    pub fn look_up(&self, deadline: Instant) -> Result<(), Error> {
        if self.shared.current().addresses.is_empty() {
            let addresses = self.shared.route.addresses(deadline)?;
            self.shared.current().addresses = addresses;
        }
        Ok(())
    }

    /// The address that this host reaches Duo from, once that is known.
    pub fn own_address(&self) -> Option<IpAddr> {
        let current = self.shared.current();
        current.own_address.or_else(|| {
            current
                .addresses
                .first()
                .copied()
                .and_then(names::own_address)
        })
    }

    /// The host as it is signed: as in the Host header, without its port.
    pub fn signed_host(&self) -> String {
        let host = self.shared.route.host();
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
        &self,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
        answer_within: Option<Duration>,
    ) -> Result<Answer, Lost> {
        self.look_up(deadline).map_err(|error| Lost {
            error,
            how: Loss::Final,
            sent: false,
        })?;
        {
            let mut current = self.shared.current();
            current.deadline = Some(deadline);
            current.answer_within = answer_within;
            current.sent = false;
        }
        self.perform(outgoing).map_err(|error| {
            let (error, how) = self.sort(error);
            Lost {
                error,
                how,
                sent: self.shared.current().sent,
            }
        })
    }

    fn perform(&self, outgoing: &Outgoing<'_>) -> Result<Answer, ureq::Error> {
        let base = format!("https://{}{}", self.shared.route.host(), outgoing.path);
        let request = http::Request::builder()
            .header("X-Duo-Date", outgoing.date)
            .header("Authorization", outgoing.authorization);
        let parameters = outgoing.parameters.as_str();
        let mut response = match outgoing.method {
            Method::Get => {
                let mark = if parameters.is_empty() { "" } else { "?" };
                let request = request
                    .method("GET")
                    .uri(format!("{base}{mark}{parameters}"));
                self.agent.run(request.body(())?)?
            }
            Method::Post => {
                let request = request
                    .method("POST")
                    .uri(base)
                    .header("Content-Type", "application/x-www-form-urlencoded");
                self.agent.run(request.body(parameters)?)?
            }
        };
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let retry_after = header("retry-after").or_else(|| header("x-retry-after"));
        let date = header("date");
        let status = response.status().as_u16();
        let reader = response.body_mut().with_config().limit(LONGEST_BODY);
        let body = match reader.read_to_vec() {
            Ok(body) => body,
            // A refusal is one, whatever becomes of its words; else whoever
            // can spoil those could have failmode forgive it.
            Err(_) if matches!(status, 400..=499) && status != 401 => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Answer {
            status,
            body,
            retry_after,
            date,
        })
    }

    /// Sorts ureq's errors into the rows of the failmode table.
    fn sort(&self, error: ureq::Error) -> (Error, Loss) {
        let host = self.shared.route.host();
        match error {
            ureq::Error::Other(ours) => match ours.downcast::<Error>() {
                Ok(error) => {
                    let how = if matches!(*error, Error::Service(_)) {
                        Loss::Connection
                    } else {
                        Loss::Final
                    };
                    (*error, how)
                }
                Err(other) => (Error::fault("send a request", other), Loss::Final),
            },
            ureq::Error::Io(error) => {
                let (how, what) = match error.kind() {
                    io::ErrorKind::TimedOut => (Loss::Timeout, "No answer from"),
                    _ => (Loss::Connection, "Lost the connection to"),
                };
                match connect::failure(&error, &host.name) {
                    Error::Service(words) => {
                        (Error::Service(format!("{what} {host}: {words}")), how)
                    }
                    error => (error, Loss::Final),
                }
            }
            ureq::Error::Protocol(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::BodyExceedsLimit(_)
            | ureq::Error::BodyStalled => {
                let text = format!("invalid response from {host}: {error}");
                (Error::Service(text), Loss::Final)
            }
            other => (Error::fault("send a request", other), Loss::Final),
        }
    }
}
