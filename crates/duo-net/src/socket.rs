//! A TCP socket that never blocks. A task waits for it with [`Socket::ready`], and each
//! wait ends at the deadline, or when the parent of this process ends.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::Instant;

use duo_system::wait::{Waited, Waiter};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, socket,
};

/// A socket that never outlasts its deadline.
///
/// An I/O error of it is the system's, or `TimedOut` at the deadline, or holds a
/// `duo_policy::error::Error` that says why a wait ended early.
pub struct Socket<'a> {
    stream: Rc<TcpStream>,
    deadline: Instant,
    waiter: &'a Waiter<'a>,
}

impl<'a> Socket<'a> {
    /// Connects by TCP, by `deadline`.
    ///
    /// # Errors
    /// See [`Socket`].
    pub async fn connect(
        address: SocketAddr,
        deadline: Instant,
        waiter: &'a Waiter<'a>,
    ) -> io::Result<Socket<'a>> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let stream = socket(family, SockType::Stream, flags, None)?;
        let stream = Rc::new(TcpStream::from(stream));
        let socket = Socket {
            stream,
            deadline,
            waiter,
        };
        match connect(socket.stream.as_raw_fd(), &SockaddrStorage::from(address)) {
            Err(Errno::EINPROGRESS) => {
                socket.ready(PollFlags::POLLOUT).await?;
                if let Some(error) = socket.stream.take_error()? {
                    return Err(error);
                }
            }
            begun => begun?,
        }
        // The last records of a handshake and the request should not wait for an
        // ACK. If the option cannot be set, the login only takes longer.
        let _ = socket.stream.set_nodelay(true);
        Ok(socket)
    }

    /// Sets when reading and writing end with `TimedOut`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// This end's address.
    pub fn own_address(&self) -> Option<IpAddr> {
        Some(self.stream.local_addr().ok()?.ip())
    }

    /// Returns when `event` or an error of the socket has come.
    ///
    /// # Errors
    /// See [`Socket`].
    pub async fn ready(&self, event: PollFlags) -> io::Result<()> {
        self.check_deadline()?;
        let stream: Rc<dyn AsFd> = self.stream.clone();
        let waited = self.waiter.event(stream, event, self.deadline).await;
        match waited.map_err(io::Error::other)? {
            Waited::Ready => Ok(()),
            Waited::TimedOut => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Fails once the deadline has passed. A server that always has one more byte
    /// would never make a wait time out.
    fn check_deadline(&self) -> io::Result<()> {
        match self.waiter.has_passed(self.deadline) {
            false => Ok(()),
            true => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Reads what has arrived; fails with `WouldBlock` if that is nothing.
impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.stream.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                read => return Ok(read?),
            }
        }
    }
}

/// Writes as much as the socket takes; fails with `WouldBlock` if that is nothing.
impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_deadline()?;
        loop {
            match send(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                written => return Ok(written?),
            }
        }
    }

    /// Sends all parts in one system call, so that the last two records of a
    /// handshake leave in one packet.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.write(&whole)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waiting for bytes and for room, in a task.
pub(crate) trait Patient {
    /// Reads at least a byte, or nothing at the end.
    ///
    /// # Errors
    /// See [`Socket`].
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// See [`Socket`].
    async fn send_all(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Patient for Socket<'_> {
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.ready(PollFlags::POLLIN).await?;
            match self.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    async fn send_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready(PollFlags::POLLOUT).await?;
                }
                written => bytes = bytes.get(written?..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}
