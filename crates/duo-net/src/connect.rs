//! A TLS connection to Duo: every address in turn, the proxy, the handshake. Each
//! step has its deadline, and the error text has the failure of each address.
//!
//! A failure counts as Duo's only if it is on the closed list of
//! docs/behaviour.md, *Failmode*. Otherwise a caller who uses up descriptors or
//! memory would look like a broken network, and `safe` would open the door.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duo_policy::clock::Deadlines;
use duo_policy::config::{Config, Host, MinTls, Proxy};
use duo_policy::error::Error;
use duo_system::system_words;
use duo_system::wait::Waiter;
use nix::libc;
use nix::poll::PollFlags;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

use crate::names::{self, Names};
use crate::socket::Socket;
use crate::{proxy, tls};

/// The most reads of bytes that an idle connection has sent unasked. A connection
/// with more is not used again: a flood of TLS tickets must not hold a login up.
const MOST_IDLE_READS: usize = 16;

/// How to reach Duo, made from the configuration once in a login.
pub struct Route<'a> {
    host: Host,
    proxy: Option<Proxy>,
    min_tls: MinTls,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    names: Arc<dyn Names>,
    deadlines: &'a Deadlines,
    waiter: &'a Waiter<'a>,
}

/// A connection to Duo after its TLS handshake.
pub struct Connection<'a> {
    tls: ClientConnection,
    /// Where the records of TLS go.
    pub(crate) sock: Socket<'a>,
}

/// The I/O errors of these tasks are those of [`Socket`], or hold an error of TLS.
impl Connection<'_> {
    async fn shake_hands(&mut self) -> io::Result<()> {
        self.flush().await?;
        while self.tls.is_handshaking() {
            if self.receive_records().await? == 0 && self.tls.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends all of `bytes`.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.tls.writer().write(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            self.flush().await?;
        }
        Ok(())
    }

    /// Reads at least a byte, or nothing at the end of the connection.
    pub(crate) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.receive_records().await?;
            self.flush().await?;
        }
    }

    /// Sends what TLS has to send.
    async fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.sock) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sock.ready(PollFlags::POLLOUT).await?;
                }
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                written => drop(written?),
            }
        }
        Ok(())
    }

    /// Waits for bytes and lets TLS read them. Returns how many came, 0 at the end.
    async fn receive_records(&mut self) -> io::Result<usize> {
        let read = loop {
            self.sock.ready(PollFlags::POLLIN).await?;
            match self.tls.read_tls(&mut self.sock) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => break read?,
            }
        };
        if let Err(error) = self.tls.process_new_packets() {
            // An alert that tells the server why. If it does not get there, nothing is lost.
            let _ = self.tls.write_tls(&mut self.sock);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(read)
    }
}

/// The version of TLS that a connection speaks.
pub fn version(connection: &Connection<'_>) -> &'static str {
    match connection.tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "an unknown version of TLS",
    }
}

/// The server's certificate, then the other certificates that the server sent.
pub fn chain(connection: &Connection<'_>) -> Vec<CertificateDer<'static>> {
    let sent = connection.tls.peer_certificates().unwrap_or_default();
    sent.iter().map(|sent| sent.clone().into_owned()).collect()
}

impl<'a> Route<'a> {
    /// Makes the route from the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used.
    pub fn new(
        config: &Config,
        deadlines: &'a Deadlines,
        names: Arc<dyn Names>,
        waiter: &'a Waiter<'a>,
    ) -> Result<Route<'a>, Error> {
        let host = config.host.clone();
        let name = ServerName::try_from(host.name.clone()).map_err(|_| {
            Error::Configuration(format!("'{}' cannot be a host's name", host.name))
        })?;
        Ok(Route {
            host,
            proxy: config.http_proxy.clone(),
            min_tls: config.min_tls,
            tls: tls::client_config(config)?,
            name,
            names,
            deadlines,
            waiter,
        })
    }

    /// The addresses of Duo, or of the proxy, in the resolver's order.
    ///
    /// # Errors
    /// [`Error::Service`] if the name is not found or no name server answers in time.
    pub fn addresses(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
        let next = self.proxy.as_ref().map_or(&self.host, |proxy| &proxy.host);
        if let Some(address) = next.address() {
            return Ok(vec![SocketAddr::new(address, next.port)]);
        }
        let found = names::look_up(&self.names, &next.name, deadline, self.waiter)?;
        Ok(found
            .into_iter()
            .map(|address| SocketAddr::new(address, next.port))
            .collect())
    }

    /// Connects to the first of `addresses` that completes the handshake. Returns that
    /// address too.
    ///
    /// # Errors
    /// [`Error::Service`] with each address and its failure; [`Error::Fault`] if
    /// this machine is at fault in any of them.
    pub fn connect(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<(Connection<'a>, SocketAddr), Error> {
        self.waiter
            .run(pin!(self.connect_in_task(addresses, deadline)))
    }

    /// [`Route::connect`] for a task.
    ///
    /// # Errors
    /// As [`Route::connect`].
    pub(crate) async fn connect_in_task(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<(Connection<'a>, SocketAddr), Error> {
        let mut reasons = Vec::new();
        let mut is_our_fault = false;
        for address in addresses {
            match self.connect_to(*address, deadline).await {
                Ok(connection) => return Ok((connection, *address)),
                Err(Error::GaveUp(why)) => return Err(Error::GaveUp(why)),
                Err(error) => {
                    is_our_fault |= !matches!(error, Error::Service(_));
                    reasons.push(format!("{error} ({address})"));
                }
            }
        }
        let through = match &self.proxy {
            Some(proxy) => format!(" through the proxy {}", proxy.host),
            None => String::new(),
        };
        let text = format!(
            "Couldn't connect to {}{through}: {}",
            self.host,
            reasons.join(", ")
        );
        Err(if is_our_fault {
            Error::Fault(text)
        } else {
            Error::Service(text)
        })
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<Connection<'a>, Error> {
        let deadline_within = |most: Duration| {
            let now = self.waiter.now();
            match deadline.saturating_duration_since(now).min(most) {
                Duration::ZERO => Err(Error::Service("timed out".to_owned())),
                left => Ok(now + left),
            }
        };
        let by = deadline_within(self.deadlines.tcp)?;
        let tcp = Socket::connect(address, by, self.waiter).await;
        let mut sock = tcp.map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) if has_no_route(address) => {
                Error::Service(system_words(&error))
            }
            _ => self.failure(&error),
        })?;
        if let Some(proxy) = &self.proxy {
            // The proxy makes a TCP connection of its own before it answers.
            sock.set_deadline(deadline_within(self.deadlines.tcp)?);
            proxy::open(&mut sock, &self.host, proxy, |error| self.failure(error)).await?;
        }
        sock.set_deadline(deadline_within(self.deadlines.tls)?);
        let tls = ClientConnection::new(self.tls.clone(), self.name.clone())
            .map_err(|error| tls::failure(&error, &self.host.name, self.min_tls))?;
        let mut connection = Connection { tls, sock };
        let shaken = connection.shake_hands().await;
        shaken.map_err(|error| self.failure(&error))?;
        connection.sock.set_deadline(deadline);
        Ok(connection)
    }

    /// The [`Error`] of an I/O error of a [`Connection`] or its socket, which may hold
    /// an [`Error`] of ours or an error of TLS. Only an error on the closed list is an
    /// [`Error::Service`].
    pub fn failure(&self, error: &io::Error) -> Error {
        let inner = error.get_ref();
        if let Some(ours) = inner.and_then(|inner| inner.downcast_ref::<Error>()) {
            return ours.clone();
        }
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return tls::failure(tls, &self.host.name, self.min_tls);
        }
        // Of this kind there are only the errors of rustls about bytes that came: a
        // message that is longer than TLS allows.
        if let (io::ErrorKind::Other, Some(inner)) = (error.kind(), inner) {
            return Error::Service(inner.to_string());
        }
        classified(error)
    }

    /// The host's name, for the error text and the canonical request.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// Whether this host has no address from which it could reach `address`.
///
/// The system reports "Cannot assign requested address" in two cases: all ports
/// are used up, which a caller can bring about, or this host has no such address
/// (IPv6 is switched off), which only root can bring about. UDP has ports of its
/// own, so for a UDP socket the report means the second case.
fn has_no_route(address: SocketAddr) -> bool {
    let numbers = [libc::EADDRNOTAVAIL, libc::ENETUNREACH];
    names::udp_socket_to(address).is_err_and(|error| {
        error
            .raw_os_error()
            .is_some_and(|number| numbers.contains(&number))
    })
}

/// Whether a connection may carry another request. Reads what the server has sent
/// unasked, and does not wait for more. A TLS ticket is harmless. The end of the
/// connection, or an answer without a request, means that it may not.
pub(crate) fn is_idle(connection: &mut Connection<'_>) -> bool {
    for _ in 0..MOST_IDLE_READS {
        match connection.tls.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
            _ => return false,
        }
        match connection.tls.read_tls(&mut connection.sock) {
            Ok(1..) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            Ok(0) => return false,
        }
    }
    false
}

/// The [`Error`] of an I/O error of the system: [`Error::Service`] if it is on the
/// closed list, else [`Error::Fault`].
fn classified(error: &io::Error) -> Error {
    let words = system_words(error);
    match (error.raw_os_error(), error.kind()) {
        (
            Some(
                libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::ECONNABORTED
                | libc::EPIPE
                | libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                // The kernel has no IPv6: no caller can bring this about.
                | libc::EAFNOSUPPORT,
            ),
            _,
        )
        | (
            None,
            io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero,
        ) => Error::Service(words),
        _ => Error::Fault(words),
    }
}

#[cfg(test)]
mod tests {
    use duo_system::wait::SystemClock;

    use super::*;

    fn of_number(number: i32) -> Error {
        classified(&io::Error::from_raw_os_error(number))
    }

    #[test]
    fn what_a_caller_can_use_up_is_never_taken_for_duo_being_down() {
        for number in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOBUFS,
            libc::EADDRNOTAVAIL,
            libc::EADDRINUSE,
            libc::EAGAIN,
            libc::EACCES,
            libc::EPERM,
        ] {
            assert!(matches!(of_number(number), Error::Fault(_)), "{number}");
        }
    }

    #[test]
    fn without_a_free_port_an_address_still_leads_somewhere() {
        assert!(!has_no_route(SocketAddr::from(([127, 0, 0, 1], 9))));
    }

    #[test]
    fn the_closed_list_is_duos() {
        for number in [
            libc::ECONNREFUSED,
            libc::ECONNRESET,
            libc::ENETUNREACH,
            libc::ETIMEDOUT,
        ] {
            assert!(matches!(of_number(number), Error::Service(_)), "{number}");
        }
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(
            classified(&eof),
            Error::Service("closed by the other side".into())
        );
    }

    #[test]
    fn a_late_ticket_is_no_end_and_an_end_is() {
        let duo = fake_duo::FakeDuo::builder()
            .tls(fake_duo::Tls::Tls13Only)
            .start();
        let text = format!(
            "[duo]\nikey = i\nskey = s\nhost = {}\nnoverify = yes\n",
            duo.address()
        );
        let Ok(parsed) = duo_policy::config::parse(text.as_bytes()) else {
            panic!("a good configuration")
        };
        let deadlines = Deadlines::default();
        let waiter = Waiter::new(&SystemClock, None);
        let names = Arc::new(names::SystemNames);
        let route = Route::new(&parsed.config, &deadlines, names, &waiter).unwrap();
        let soon = Instant::now() + Duration::from_secs(10);
        let addresses = route.addresses(soon).unwrap();
        let (mut connection, address) = route.connect(&addresses, soon).unwrap();
        assert_eq!(address.to_string(), duo.address());

        // The server sends its tickets once the handshake is done.
        let bytes = PollFlags::POLLIN;
        waiter.run(pin!(connection.sock.ready(bytes))).unwrap();
        assert!(is_idle(&mut connection), "tickets are harmless");
        assert!(is_idle(&mut connection), "and so is silence");
        duo.stop();
        // Waits until the end of the connection, or TLS's notice of it, has come.
        waiter.run(pin!(connection.sock.ready(bytes))).unwrap();
        assert!(!is_idle(&mut connection), "an end is an end");
    }
}
