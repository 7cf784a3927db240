//! A socket of a log daemon, which may be missing, full, or started anew at any time.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The daemon has it.
    Taken,
    /// There is no daemon, which nobody but root can bring about.
    NobodyIsThere,
    /// There is one, and it did not take the packet.
    Refused(Errno),
}

/// Whether a packet waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// As long as the socket's patience.
    Patiently,
    /// Not at all.
    No,
}

/// A connection, and what keeps its packets apart.
struct Connection {
    fd: OwnedFd,
    kind: SockType,
}

/// A socket at a path.
pub(super) struct Socket {
    path: &'static str,
    /// The kinds that it may have; the first is tried first.
    kinds: &'static [SockType],
    /// How long a packet may wait for room.
    patience: Duration,
    connection: RefCell<Option<Connection>>,
}

impl Socket {
    pub(super) fn new(
        path: &'static str,
        kinds: &'static [SockType],
        patience: Duration,
    ) -> Socket {
        Socket {
            path,
            kinds,
            patience,
            connection: RefCell::new(None),
        }
    }

    /// Connects before the first packet. Returns whether somebody is there.
    pub(super) fn connect(&self) -> bool {
        let made = self.open();
        let is_there = made.is_ok();
        self.connection.replace(made.ok());
        is_there
    }

    /// Sends a packet. A daemon that was started anew has another socket at the same
    /// path, so what an old connection does not take goes through a new one.
    pub(super) fn send(&self, packet: &[u8], wait: Wait) -> Sent {
        let was_connected = self.connection.borrow().is_some();
        let sent = match self.try_to_send(packet, wait) {
            Err(Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::ENOTCONN | Errno::EPIPE)
                if was_connected =>
            {
                self.try_to_send(packet, wait)
            }
            sent => sent,
        };
        match sent {
            Ok(()) => Sent::Taken,
            Err(
                Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::ECONNREFUSED
                | Errno::EACCES
                | Errno::EPERM
                | Errno::EPROTOTYPE,
            ) => Sent::NobodyIsThere,
            Err(errno) => Sent::Refused(errno),
        }
    }

    fn try_to_send(&self, packet: &[u8], wait: Wait) -> Result<(), Errno> {
        let kept = self.connection.take();
        let connection = kept.map_or_else(|| self.open(), Ok)?;
        let sent = self.send_through(&connection, packet, wait);
        // Half a packet may stand in a stream that failed.
        if sent.is_ok() || connection.kind == SockType::Datagram && sent == Err(Errno::EAGAIN) {
            self.connection.replace(Some(connection));
        }
        sent
    }

    fn send_through(&self, to: &Connection, packet: &[u8], wait: Wait) -> Result<(), Errno> {
        let end = Instant::now() + self.patience;
        let flags = match wait {
            Wait::Patiently => MsgFlags::MSG_NOSIGNAL,
            Wait::No => MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        };
        let ended;
        let mut left = match to.kind {
            SockType::Stream => {
                ended = [packet, b"\0"].concat();
                &ended[..]
            }
            _ => packet,
        };
        while !left.is_empty() {
            match send(to.fd.as_raw_fd(), left, flags) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(Errno::EINTR) if Instant::now() < end => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<Connection, Errno> {
        let address = UnixAddr::new(self.path)?;
        let mut failed = Errno::ENOENT;
        for kind in self.kinds {
            let fd = socket(AddressFamily::Unix, *kind, SockFlag::SOCK_CLOEXEC, None)?;
            if !self.patience.is_zero() {
                let milliseconds = i64::try_from(self.patience.as_millis()).unwrap_or(i64::MAX);
                setsockopt(
                    &fd,
                    sockopt::SendTimeout,
                    &TimeVal::milliseconds(milliseconds),
                )?;
            }
            match connect(fd.as_raw_fd(), &address) {
                Ok(()) => return Ok(Connection { fd, kind: *kind }),
                Err(Errno::EPROTOTYPE) => failed = Errno::EPROTOTYPE,
                Err(errno) => return Err(errno),
            }
        }
        Err(failed)
    }
}
