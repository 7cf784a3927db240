//! Connections to Duo or to the proxy, one for each address, so that one dead
//! address or one wrong certificate is seen even if another address works.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use duo_net::connect::{self, Route};
use duo_net::names::SystemNames;
use duo_policy::clock::Deadlines;
use duo_policy::config::Config;
use duo_policy::error::Error;
use duo_system::system_words;
use duo_system::wait::{SystemClock, Waiter};
use rustls::pki_types::CertificateDer;

/// The most addresses that are tried, each in a thread of its own.
pub const MOST_ADDRESSES: usize = 8;

/// Bytes of stack for a thread that does a TLS handshake.
const STACK: usize = 1024 * 1024;

/// The outcome of one address.
pub struct Reached {
    /// An address of Duo or of the proxy.
    pub address: SocketAddr,
    /// How long TCP took to connect: one round trip.
    pub tcp: Result<Duration, Error>,
    /// TLS, through the proxy's tunnel if there is one; `None` where TCP failed.
    pub tls: Option<Result<Handshake, Error>>,
}

/// A completed handshake.
pub struct Handshake {
    /// The version of TLS, as in `TLS 1.3`.
    pub version: &'static str,
    /// How long it took, with the proxy's tunnel before it.
    pub took: Duration,
    /// The server's certificate, then those that it sent along.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Tries all addresses at the same time, until `until` at most.
pub fn reach(
    config: &Config,
    deadlines: &Deadlines,
    addresses: &[SocketAddr],
    until: Instant,
) -> Vec<Reached> {
    thread::scope(|scope| {
        let started: Vec<_> = addresses
            .iter()
            .map(|address| {
                let thread = thread::Builder::new()
                    .name("probe".to_owned())
                    .stack_size(STACK)
                    .spawn_scoped(scope, || reach_one(config, deadlines, *address, until));
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

fn reach_one(
    config: &Config,
    deadlines: &Deadlines,
    address: SocketAddr,
    until: Instant,
) -> Reached {
    let start = Instant::now();
    let waiter = Waiter::new(&SystemClock, None);
    let route = match Route::new(config, deadlines, Arc::new(SystemNames), &waiter) {
        Ok(route) => route,
        Err(error) => {
            return Reached {
                address,
                tcp: Err(error),
                tls: None,
            };
        }
    };
    let patience = until
        .saturating_duration_since(start)
        .clamp(Duration::from_millis(1), deadlines.tcp);
    let tcp = TcpStream::connect_timeout(&address, patience)
        .map(|_| start.elapsed())
        .map_err(|error| route.failure(&error));
    let tls = tcp.as_ref().ok().map(|round_trip| {
        let begun = Instant::now();
        let (connection, _) = route.connect(&[address], until)?;
        Ok(Handshake {
            // That was another TCP connection too.
            took: begun.elapsed().saturating_sub(*round_trip),
            version: connect::version(&connection),
            chain: connect::chain(&connection),
        })
    });
    Reached { address, tcp, tls }
}
