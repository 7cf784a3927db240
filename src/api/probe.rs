//! The way to Duo, step by step, for `--check`: each address apart, so that one dead address or one
//! wrong certificate is seen though another works. It asks for the time and whether the keys are
//! right, and nothing that could ring a phone.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ProtocolVersion, RootCertStore};
use serde_json::Value;

use super::connect::Route;
use super::names::SystemNames;
use super::reply::{self, Preauth};
use super::signing::{self, Keys, Parameters};
use super::transport::{Line, Method, Outgoing};
use super::{connect, tls};
use crate::clock::Deadlines;
use crate::config::Config;
use crate::error::{Error, system_words};

/// Addresses that are tried, each in a thread of its own.
const MOST_ADDRESSES: usize = 8;

/// Room for a thread that does a TLS handshake.
const STACK: usize = 1024 * 1024;

/// The probe of one configuration.
pub struct Probe<'a> {
    config: &'a Config,
    deadlines: &'a Deadlines,
    route: Route,
}

/// What came of one address.
pub struct Reached {
    /// Duo's, or the proxy's.
    pub address: SocketAddr,
    /// How long TCP took: one round trip.
    pub tcp: Result<Duration, Error>,
    /// TLS, with the proxy's tunnel before it; `None` without TCP.
    pub tls: Option<Result<Handshake, Error>>,
}

/// A completed handshake.
pub struct Handshake {
    /// `TLS 1.3`
    pub version: &'static str,
    /// The server's certificate, then those that it sent along.
    pub chain: Vec<CertificateDer<'static>>,
}

/// An answer to `/ping` or `/check`.
pub struct Asked {
    /// How long it took.
    pub took: Duration,
    /// The HTTP status.
    pub status: u16,
    /// Duo's code, if it gave one.
    pub code: Option<u64>,
    /// Duo's clock less ours in seconds, where it told the time.
    pub offset: Option<i64>,
    /// What is wrong with the answer, if anything.
    pub error: Option<Error>,
}

/// What can be asked without a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `/ping`: the time.
    Ping,
    /// `/check`: whether the keys are right.
    Check,
}

impl<'a> Probe<'a> {
    /// Reads the way from the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used.
    pub fn new(config: &'a Config, deadlines: &'a Deadlines) -> Result<Probe<'a>, Error> {
        Ok(Probe {
            config,
            deadlines,
            route: Route::new(config, deadlines, Arc::new(SystemNames))?,
        })
    }

    /// The addresses that a login would try.
    ///
    /// # Errors
    /// [`Error::Service`] if the name is not found in time.
    pub fn addresses(&self, until: Instant) -> Result<Vec<SocketAddr>, Error> {
        let mut addresses = self.route.addresses(until)?;
        addresses.truncate(MOST_ADDRESSES);
        Ok(addresses)
    }

    /// Tries each address, all at once.
    pub fn reach(&self, addresses: &[SocketAddr], until: Instant) -> Vec<Reached> {
        thread::scope(|scope| {
            let started: Vec<_> = addresses
                .iter()
                .map(|address| {
                    let thread = thread::Builder::new()
                        .name("probe".to_owned())
                        .stack_size(STACK)
                        .spawn_scoped(scope, || self.reach_one(*address, until));
                    (*address, thread)
                })
                .collect();
            let ended = started.into_iter().map(|(address, thread)| {
                let lost = |error| Reached {
                    address,
                    tcp: Err(error),
                    tls: None,
                };
                match thread.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(reached)) => reached,
                    Ok(Err(_)) => lost(Error::Fault("a thread ended early".to_owned())),
                    Err(error) => lost(Error::fault("start a thread", system_words(&error))),
                }
            });
            ended.collect()
        })
    }

    fn reach_one(&self, address: SocketAddr, until: Instant) -> Reached {
        let start = Instant::now();
        let patience = until
            .saturating_duration_since(start)
            .clamp(Duration::from_millis(1), self.deadlines.tcp);
        let tcp = TcpStream::connect_timeout(&address, patience)
            .map(|_| start.elapsed())
            .map_err(|error| connect::failure(&error, &self.config.host.name));
        let tls = tcp.is_ok().then(|| self.shake_hands(address, until));
        Reached { address, tcp, tls }
    }

    fn shake_hands(&self, address: SocketAddr, until: Instant) -> Result<Handshake, Error> {
        let (connection, _) = self.route.connect(&[address], until)?;
        let tls = &connection.conn;
        Ok(Handshake {
            version: match tls.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "an unknown version of TLS",
            },
            chain: tls
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
        })
    }

    /// The roots that are trusted: `cafile`, else the pinned ones.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` cannot be read.
    pub fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let bundle = match &self.config.cafile {
            None => tls::ROOTS.to_vec(),
            Some(path) => std::fs::read(path).map_err(|error| {
                let path = path.display();
                let why = system_words(&error);
                Error::Configuration(format!("couldn't read cafile '{path}': {why}"))
            })?,
        };
        Ok(CertificateDer::pem_slice_iter(&bundle).flatten().collect())
    }

    /// The one of `roots` that stands behind `chain`.
    pub fn anchor<'r>(
        &self,
        chain: &[CertificateDer<'_>],
        roots: &'r [CertificateDer<'static>],
    ) -> Option<&'r CertificateDer<'static>> {
        let (own, others) = chain.split_first()?;
        let name = ServerName::try_from(self.config.host.name.clone()).ok()?;
        let provider = Arc::new(ring::default_provider());
        roots.iter().find(|root| {
            let mut store = RootCertStore::empty();
            let alone = store.add((*root).clone()).is_ok();
            let verifier = alone.then(|| {
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
                    .build()
            });
            matches!(verifier, Some(Ok(verifier)) if verifier
                .verify_server_cert(own, others, &name, &[], UnixTime::now())
                .is_ok())
        })
    }

    /// Sets up a connection for [`Probe::ask`].
    ///
    /// # Errors
    /// [`Error::Configuration`], as in [`Probe::new`].
    pub fn line(&self) -> Result<Line, Error> {
        Line::new(self.config, self.deadlines, Arc::new(SystemNames))
    }

    /// Asks once. `offset` is Duo's clock less ours, in seconds.
    ///
    /// # Errors
    /// There was no answer.
    pub fn ask(
        &self,
        line: &Line,
        question: Question,
        offset: i64,
        until: Instant,
    ) -> Result<Asked, Error> {
        let path = match question {
            Question::Ping => "/auth/v2/ping",
            Question::Check => "/auth/v2/check",
        };
        let keys = Keys {
            ikey: self.config.ikey.clone(),
            skey: self.config.skey.clone(),
            signature: self.config.signature,
        };
        let parameters = Parameters::new(&[]);
        let date = signing::date(shifted(SystemTime::now(), offset));
        let outgoing = Outgoing {
            method: Method::Get,
            path,
            parameters: &parameters,
            date: &date,
            authorization: &keys.authorization(
                &date,
                "GET",
                &line.signed_host(),
                path,
                &parameters,
            ),
        };
        let start = Instant::now();
        let answer = line
            .exchange(&outgoing, until, None)
            .map_err(|lost| lost.error)?;
        let took = start.elapsed();
        let judged = reply::judge(answer.status, &answer.body);
        let time = judged.as_ref().ok().map(reply::Response::time);
        let error = match (judged, &time) {
            (Err(trouble), _) => Some(error_of(trouble)),
            // A FAIL whose code is no status.
            (Ok(response), _) if response.has_result() => match response.preauth() {
                Ok(Preauth::Deny(why)) => Some(Error::Refused(why)),
                _ => Some(Error::Refused("an answer to another question".to_owned())),
            },
            (_, Some(Err(error))) => Some(error.clone()),
            _ => None,
        };
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        Ok(Asked {
            took,
            status: answer.status,
            code: body.and_then(|body| body.get("code")?.as_u64()),
            offset: time.and_then(Result::ok).map(|time| offset_of(time, took)),
            error,
        })
    }
}

/// What such an answer would be in a login.
fn error_of(trouble: reply::Trouble) -> Error {
    match trouble {
        reply::Trouble::Clock => {
            Error::Service("HTTP 401: Duo says that this machine's clock is off".to_owned())
        }
        reply::Trouble::Unexplained401 => {
            Error::Service("HTTP 401: invalid ikey or skey".to_owned())
        }
        reply::Trouble::RateLimited => Error::Refused("HTTP 429: Duo is rate limiting".to_owned()),
        reply::Trouble::Error(error) => error,
    }
}

/// Duo's clock less ours, half a round trip ago.
fn offset_of(theirs: i64, took: Duration) -> i64 {
    let then = SystemTime::now().checked_sub(took / 2);
    let ours = then
        .and_then(|then| then.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    theirs.saturating_sub(ours)
}

/// `offset` seconds later; as it is where no date can be made of that.
fn shifted(time: SystemTime, offset: i64) -> SystemTime {
    let span = Duration::from_secs(offset.unsigned_abs());
    let shifted = match offset {
        ..0 => time.checked_sub(span),
        _ => time.checked_add(span),
    };
    shifted
        .filter(|then| *then >= SystemTime::UNIX_EPOCH && offset.abs() < 1 << 36)
        .unwrap_or(time)
}
