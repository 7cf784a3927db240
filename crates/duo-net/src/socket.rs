//! A TCP socket that never blocks: each wait ends at the deadline, or when the
//! parent of this process ends.

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
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
    stream: TcpStream,
    deadline: Instant,
    waiter: &'a Waiter<'a>,
}

impl<'a> Socket<'a> {
    /// Connects by TCP, by `deadline`.
    ///
    /// # Errors
    /// See [`Socket`].
    pub fn connect(
        address: SocketAddr,
        deadline: Instant,
        waiter: &'a Waiter<'a>,
    ) -> io::Result<Socket<'a>> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let stream = TcpStream::from(socket(family, SockType::Stream, flags, None)?);
        let socket = Socket {
            stream,
            deadline,
            waiter,
        };
        match connect(socket.stream.as_raw_fd(), &SockaddrStorage::from(address)) {
            Err(Errno::EINPROGRESS) => {
                socket.wait_for(PollFlags::POLLOUT)?;
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

    /// The bytes that have arrived already; reading them never waits.
    pub fn arrived(&self) -> Arrived<'_> {
        Arrived(&self.stream)
    }

    /// This end's address.
    pub fn own_address(&self) -> Option<IpAddr> {
        Some(self.stream.local_addr().ok()?.ip())
    }

    /// Returns when `event` or an error of the socket has come.
    ///
    /// # Errors
    /// See [`Socket`].
    pub fn wait_for(&self, event: PollFlags) -> io::Result<()> {
        self.check_deadline()?;
        let waited = self.waiter.wait(self.stream.as_fd(), event, self.deadline);
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

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait_for(PollFlags::POLLIN)?;
            match recv(self.stream.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                read => return Ok(read?),
            }
        }
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.check_deadline()?;
            // The socket nearly always takes the bytes, so a wait before this would
            // cost one more system call for nothing.
            match send(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(written) => return Ok(written),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait_for(PollFlags::POLLOUT)?,
                Err(errno) => return Err(errno.into()),
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

/// The bytes that have arrived on a socket. A read fails with `WouldBlock` when
/// there are no more.
pub struct Arrived<'a>(&'a TcpStream);

impl Read for Arrived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::empty())?)
    }
}
