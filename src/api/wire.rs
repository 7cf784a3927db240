//! What stands under ureq in place of its own resolver, connector and
//! transport: our addresses, our connection, our deadlines, and the note
//! whether a byte of the current request has left.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::http;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::connect::{self, Connection, Route};

/// What ureq's connector and our transport know of the current request.
pub(super) struct Shared {
    pub route: Route,
    current: Mutex<Current>,
}

#[derive(Default)]
pub(super) struct Current {
    pub addresses: Vec<SocketAddr>,
    pub deadline: Option<Instant>,
    pub answer_within: Option<Duration>,
    pub sent: bool,
    pub own_address: Option<IpAddr>,
}

impl Shared {
    pub fn new(route: Route) -> Shared {
        Shared {
            route,
            current: Mutex::default(),
        }
    }

    pub fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// ureq's resolver: what was looked up already.
pub(super) struct Addresses(pub Arc<Shared>);

impl Resolver for Addresses {
    fn resolve(
        &self,
        _uri: &http::Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // The dialler takes the whole list from `Shared`; ureq wants to see one.
        let mut list = self.empty();
        if let Some(first) = self.0.current().addresses.first() {
            list.push(*first);
        }
        Ok(list)
    }
}

/// ureq's connector: `connect.rs`.
pub(super) struct Dialler(pub Arc<Shared>);

impl Connector for Dialler {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Wire>, ureq::Error> {
        let (addresses, deadline) = {
            let current = self.0.current();
            (
                current.addresses.clone(),
                current.deadline.unwrap_or_else(Instant::now),
            )
        };
        let (connection, address) = self
            .0
            .route
            .connect(&addresses, deadline)
            .map_err(|error| ureq::Error::Other(Box::new(error)))?;
        {
            let mut current = self.0.current();
            current.own_address = connection.sock.own_address();
            // The next connection need not wait again for those that were deaf.
            current.addresses.retain(|other| *other != address);
            current.addresses.insert(0, address);
        }
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(Wire {
            connection,
            buffers,
            shared: self.0.clone(),
        }))
    }
}

/// ureq's transport: our TLS connection, under our deadlines.
pub(super) struct Wire {
    connection: Connection,
    buffers: LazyBuffers,
    shared: Arc<Shared>,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let deadline = {
            let mut current = self.shared.current();
            if !current.sent {
                current.sent = true;
                let answer = current.answer_within.map(|span| Instant::now() + span);
                current.deadline = [current.deadline, answer].into_iter().flatten().min();
            }
            current.deadline
        };
        self.connection
            .sock
            .set_deadline(deadline.unwrap_or_else(Instant::now));
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.connection.write_all(output)?;
        self.connection.flush()?;
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let deadline = self.shared.current().deadline.unwrap_or_else(Instant::now);
        self.connection.sock.set_deadline(deadline);
        if Instant::now() >= deadline {
            // Buffered bytes need no socket, and a server may send for ever.
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            // Not the end of the connection, as no bytes would mean.
            return Err(ureq::Error::BodyStalled);
        }
        let amount = io::Read::read(&mut self.connection, room)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        connect::is_idle(&mut self.connection)
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialler")
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Addresses")
    }
}
