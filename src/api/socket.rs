//! A TCP socket that never blocks: each wait is in steps, so that whoever waits
//! is seen to be awake, and ends at the deadline.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, socket,
};

use crate::clock::in_steps;

/// A socket that never outlasts its deadline.
pub struct Socket {
    stream: TcpStream,
    deadline: Instant,
}

impl Socket {
    /// A TCP connection, by `deadline`.
    ///
    /// # Errors
    /// The system's; `TimedOut` at the deadline.
    pub fn connect(address: SocketAddr, deadline: Instant) -> io::Result<Socket> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let stream = TcpStream::from(socket(family, SockType::Stream, flags, None)?);
        let socket = Socket { stream, deadline };
        match connect(socket.stream.as_raw_fd(), &SockaddrStorage::from(address)) {
            Err(Errno::EINPROGRESS) => {
                socket.wait_for(PollFlags::POLLOUT)?;
                if let Some(error) = socket.stream.take_error()? {
                    return Err(error);
                }
            }
            begun => begun?,
        }
        // A request goes out as head and body; the second should not wait for
        // an ACK. Where that cannot be had, it costs time only.
        let _ = socket.stream.set_nodelay(true);
        Ok(socket)
    }

    /// Sets when reading and writing end with `TimedOut`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// What has come unasked; reading it never waits.
    pub fn arrived(&self) -> Arrived<'_> {
        Arrived(&self.stream)
    }

    /// This end's address.
    pub fn own_address(&self) -> Option<IpAddr> {
        Some(self.stream.local_addr().ok()?.ip())
    }

    /// Returns when `event`, or an error of the socket's, has come.
    ///
    /// # Errors
    /// The system's; `TimedOut` at the deadline.
    pub fn wait_for(&self, event: PollFlags) -> io::Result<()> {
        let ready = in_steps(self.deadline, |step| {
            let timeout = PollTimeout::try_from(step).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.stream.as_fd(), event)], timeout) {
                // A stopped and continued process: the time that passed counts.
                Ok(0) | Err(Errno::EINTR) => None,
                Ok(_) => Some(Ok(())),
                Err(errno) => Some(Err(errno.into())),
            }
        });
        ready.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Socket {
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

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if Instant::now() >= self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // There is nearly always room: to ask first would be one more system call.
            match send(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(written) => return Ok(written),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait_for(PollFlags::POLLOUT)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// A handshake's last two records leave together.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.write(&whole)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a socket has for us already.
pub struct Arrived<'a>(&'a TcpStream);

impl Read for Arrived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::empty())?)
    }
}
