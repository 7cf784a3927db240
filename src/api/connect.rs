//! A TLS connection to Duo: the name, every address in turn, the proxy, the
//! handshake, each within its deadline, each failure kept for the error text.
//!
//! A failure is Duo's only if it is on the closed list: a caller who uses up
//! descriptors, ports or memory must not pass for a broken network.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use nix::libc;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::tls;
use crate::clock::Deadlines;
use crate::config::{Config, Host, Proxy};
use crate::error::{Error, system_words};

/// Room for a resolver's thread: NSS modules are not ours to measure.
const RESOLVER_STACK: usize = 1024 * 1024;

/// The way to Duo: settled once a login.
pub struct Route {
    host: Host,
    proxy: Option<Proxy>,
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    deadlines: Deadlines,
}

/// A socket that never outlasts its deadline.
pub struct Socket {
    stream: TcpStream,
    deadline: Instant,
}

/// A connection that has proved to be Duo's.
pub type Connection = StreamOwned<ClientConnection, Socket>;

impl Route {
    /// Reads the way from the configuration.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used.
    pub fn new(config: &Config, deadlines: &Deadlines) -> Result<Route, Error> {
        let host = config.host.clone();
        let name = ServerName::try_from(host.name.clone()).map_err(|_| {
            Error::Configuration(format!("'{}' cannot be a host's name", host.name))
        })?;
        Ok(Route {
            host,
            proxy: config.http_proxy.clone(),
            tls: tls::client_config(config)?,
            name,
            deadlines: deadlines.clone(),
        })
    }

    /// The addresses to try, in the resolver's order.
    ///
    /// # Errors
    /// [`Error::Service`] if the name is not found or nobody answers in time.
    pub fn addresses(&self, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
        let next = self.proxy.as_ref().map_or(&self.host, |proxy| &proxy.host);
        if let Some(address) = next.address() {
            return Ok(vec![SocketAddr::new(address, next.port)]);
        }
        let found = look_up(&next.name, deadline)?;
        Ok(found
            .into_iter()
            .map(|address| SocketAddr::new(address, next.port))
            .collect())
    }

    /// Connects to the first of `addresses` that completes the handshake.
    ///
    /// # Errors
    /// [`Error::Service`] with each address and its reason; [`Error::Fault`] if
    /// any of the reasons is this machine's.
    pub fn connect(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Connection, Error> {
        let mut reasons = Vec::new();
        let mut ours = false;
        for address in addresses {
            match self.connect_to(*address, deadline) {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    ours |= !matches!(error, Error::Service(_));
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
        Err(if ours {
            Error::Fault(text)
        } else {
            Error::Service(text)
        })
    }

    fn connect_to(&self, address: SocketAddr, deadline: Instant) -> Result<Connection, Error> {
        let patience = |most: Duration| {
            let left = deadline.saturating_duration_since(Instant::now()).min(most);
            if left.is_zero() {
                Err(Error::Service("timed out".to_owned()))
            } else {
                Ok(left)
            }
        };
        let connected = TcpStream::connect_timeout(&address, patience(self.deadlines.tcp)?);
        let stream = connected.map_err(|error| failure(&error, &self.host.name))?;
        // A request goes out as head and body; the second must not wait for an ACK.
        stream
            .set_nodelay(true)
            .map_err(|error| failure(&error, &self.host.name))?;
        let mut socket = Socket { stream, deadline };

        if let Some(proxy) = &self.proxy {
            socket.deadline = Instant::now() + patience(self.deadlines.tls)?;
            open_tunnel(&mut socket, &self.host, proxy)?;
        }
        socket.deadline = Instant::now() + patience(self.deadlines.tls)?;
        let mut tls = ClientConnection::new(self.tls.clone(), self.name.clone())
            .map_err(|error| tls::failure(&error, &self.host.name))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)
                .map_err(|error| failure(&error, &self.host.name))?;
        }
        socket.deadline = deadline;
        Ok(StreamOwned::new(tls, socket))
    }

    /// The host's name, for the error text and the canonical request.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

impl Socket {
    /// Sets when reading and writing end with `TimedOut`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(buffer) {
                // A stopped and continued process: the time that passed counts.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sorts an I/O error: Duo's, if it is on the closed list, else this machine's.
pub fn failure(error: &io::Error, host: &str) -> Error {
    if let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return tls::failure(tls, host);
    }
    let words = system_words(error);
    match (error.raw_os_error(), error.kind()) {
        (
            Some(
                libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::ECONNABORTED
                | libc::EPIPE
                | libc::ETIMEDOUT
                | libc::EAGAIN
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                // A kernel without IPv6: no caller can bring that about.
                | libc::EAFNOSUPPORT,
            ),
            _,
        ) => Error::Service(match error.kind() {
            io::ErrorKind::WouldBlock => "timed out".to_owned(),
            _ => words,
        }),
        (
            None,
            io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::WriteZero,
        ) => Error::Service(words),
        _ => Error::Fault(words),
    }
}

/// Asks the proxy for a tunnel to `host`.
fn open_tunnel(socket: &mut Socket, host: &Host, proxy: &Proxy) -> Result<(), Error> {
    let target = match host.address() {
        Some(IpAddr::V6(address)) => format!("[{address}]:{}", host.port),
        _ => format!("{}:{}", host.name, host.port),
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(credentials) = &proxy.credentials {
        let credentials = BASE64.encode(credentials.expose());
        request.push_str(&format!("Proxy-Authorization: Basic {credentials}\r\n"));
    }
    request.push_str("\r\n");
    let lost = |error: io::Error| match failure(&error, &host.name) {
        Error::Service(words) => Error::Service(format!("the proxy: {words}")),
        error => error,
    };
    socket.write_all(request.as_bytes()).map_err(lost)?;

    // Byte by byte: what follows the empty line is the tunnel's.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).map_err(lost)?;
        answer.extend_from_slice(&byte);
        if answer.len() > 8_192 {
            return Err(Error::Service("the proxy's answer is too long".to_owned()));
        }
    }
    let line = answer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (version, status) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    match (version.starts_with("HTTP/1."), status.parse::<u16>()) {
        (true, Ok(200..=299)) => Ok(()),
        (true, Ok(status)) => Err(Error::Service(format!("the proxy refused: HTTP {status}"))),
        _ => Err(Error::Service("the proxy's answer is not HTTP".to_owned())),
    }
}

/// Looks a name up, in a thread, since the resolver knows no deadline.
fn look_up(name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Error> {
    let (found, answer) = mpsc::channel();
    let asked = name.to_owned();
    std::thread::Builder::new()
        .name("lookup".to_owned())
        .stack_size(RESOLVER_STACK)
        .spawn(move || {
            let hints = AddrInfoHints {
                socktype: SockType::Stream.into(),
                ..AddrInfoHints::default()
            };
            let result = getaddrinfo(Some(&asked), None, Some(hints)).map(|list| {
                list.flatten()
                    .map(|entry| entry.sockaddr.ip())
                    .collect::<Vec<IpAddr>>()
            });
            let _ = found.send(result);
        })
        .map_err(|error| Error::fault("start a thread", system_words(&error)))?;

    let left = deadline.saturating_duration_since(Instant::now());
    let failed = |words: &str| format!("Couldn't look up {name}: {words}");
    match answer.recv_timeout(left) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => not_found(failed("name not found")),
        Ok(Err(error)) => match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => {
                not_found(failed("name not found"))
            }
            LookupErrorKind::Again => not_found(failed("no answer from the name service")),
            LookupErrorKind::Fail => not_found(failed("the name service failed")),
            _ => Err(Error::Fault(failed(&system_words(&io::Error::from(error))))),
        },
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Error::Service(failed("timed out"))),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::Fault(failed("no answer"))),
    }
}

/// With descriptors exhausted the resolver says the same as with the network
/// down; so the words count only if a file and a socket can still be opened.
fn not_found(text: String) -> Result<Vec<IpAddr>, Error> {
    match (File::open("/dev/null"), UnixDatagram::unbound()) {
        (Ok(_), Ok(_)) => Err(Error::Service(text)),
        (Err(error), _) | (_, Err(error)) => Err(Error::Fault(format!(
            "{text}; and {}",
            system_words(&error)
        ))),
    }
}

/// The address that this host would reach `to` from. Sends nothing.
pub fn own_address(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// This host's own full name, looked up beside the connection.
pub struct OwnName(mpsc::Receiver<String>, String);

impl OwnName {
    /// Starts looking.
    ///
    /// # Errors
    /// [`Error::Fault`] if there is no name at all, or no thread.
    pub fn look_up() -> Result<OwnName, Error> {
        let short = nix::unistd::gethostname()
            .map_err(|errno| Error::fault("find this host's name", errno.desc()))?
            .to_string_lossy()
            .into_owned();
        let (found, answer) = mpsc::channel();
        let name = short.clone();
        std::thread::Builder::new()
            .name("own name".to_owned())
            .stack_size(RESOLVER_STACK)
            .spawn(move || {
                let hints = AddrInfoHints {
                    flags: libc::AI_CANONNAME,
                    socktype: SockType::Stream.into(),
                    ..AddrInfoHints::default()
                };
                let full = getaddrinfo(Some(&name), None, Some(hints))
                    .ok()
                    .and_then(|list| list.flatten().find_map(|entry| entry.canonname));
                let _ = found.send(full.unwrap_or(name));
            })
            .map_err(|error| Error::fault("start a thread", system_words(&error)))?;
        Ok(OwnName(answer, short))
    }

    /// The name, after at most `patience`; the short one if the long one takes longer.
    pub fn within(self, patience: Duration) -> String {
        self.0.recv_timeout(patience).unwrap_or(self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(number: i32) -> Error {
        failure(&io::Error::from_raw_os_error(number), "h")
    }

    #[test]
    fn what_a_caller_can_use_up_is_never_taken_for_duo_being_down() {
        for number in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOBUFS,
            libc::EADDRNOTAVAIL,
            libc::EACCES,
            libc::EPERM,
        ] {
            assert!(matches!(sort(number), Error::Fault(_)), "{number}");
        }
    }

    #[test]
    fn the_closed_list_is_duos() {
        for number in [
            libc::ECONNREFUSED,
            libc::ECONNRESET,
            libc::ENETUNREACH,
            libc::ETIMEDOUT,
        ] {
            assert!(matches!(sort(number), Error::Service(_)), "{number}");
        }
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(
            failure(&eof, "h"),
            Error::Service("closed by the other side".into())
        );
    }

    #[test]
    fn this_host_has_an_address_towards_itself() {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        assert_eq!(own_address(to), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
