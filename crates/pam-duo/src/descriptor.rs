//! System calls on this module's own descriptors. Each one closes on exec, is closed
//! when its owner goes, and is never 0, 1 or 2: a host that closed these would write
//! its own texts into the socket.

use core::ffi::c_int;

/// A descriptor of this module's.
pub struct Descriptor(c_int);

/// What a socket gave.
pub enum Received<'a> {
    /// One packet.
    Packet(&'a [u8]),
    /// No packet now, or never again.
    Nothing,
}

impl Descriptor {
    /// The owner of `fd`, which nobody else owns. `None` if it had to be moved above 2
    /// and could not.
    pub fn own(fd: c_int) -> Option<Descriptor> {
        let owned = Descriptor(fd);
        if fd > 2 {
            return Some(owned);
        }
        // SAFETY: fcntl with these arguments touches no memory.
        let moved = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
        (moved >= 0).then_some(Descriptor(moved))
    }

    /// Its number.
    pub fn number(&self) -> c_int {
        self.0
    }

    /// Sends a packet. If nobody reads it any more, it is lost, and no signal comes.
    pub fn send(&self, packet: &[u8]) {
        // SAFETY: the pointer and the length are those of a slice.
        unsafe {
            libc::send(
                self.0,
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            )
        };
    }

    /// The next packet, if it has come.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> Received<'a> {
        // SAFETY: the pointer and the length are those of a slice.
        let length = unsafe {
            libc::recv(
                self.0,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(length) {
            Ok(length @ 1..) => Received::Packet(buffer.get(..length).unwrap_or_default()),
            _ => Received::Nothing,
        }
    }

    /// The next byte; `None` at the end or after an error.
    pub fn read_byte(&self) -> Option<u8> {
        let mut byte = [0];
        match read(self.0, &mut byte) {
            Some([byte]) => Some(*byte),
            _ => None,
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: this is the owner.
        unsafe { libc::close(self.0) };
    }
}

/// Reads once; a signal of the host's does not count.
fn read(fd: c_int, buffer: &mut [u8]) -> Option<&[u8]> {
    loop {
        // SAFETY: the pointer and the length are those of a slice.
        let length = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(length) {
            Ok(length) => return buffer.get(..length),
            Err(_) if error() == libc::EINTR => {}
            Err(_) => return None,
        }
    }
}

/// The error of the last system call.
pub fn error() -> c_int {
    // SAFETY: the C library gives each thread an integer there.
    unsafe { *libc::__errno_location() }
}

/// What has happened.
pub struct Ready {
    /// The pipe has a byte, or has ended.
    pub pipe: bool,
    /// The socket has a packet, or has ended.
    pub socket: bool,
}

/// Waits until one of them has something. Signals go to the host meanwhile, as always.
pub fn wait(pipe: &Descriptor, socket: Option<&Descriptor>) -> Ready {
    let watch = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // poll leaves negative descriptors out.
    let mut fds = [watch(pipe.0), watch(socket.map_or(-1, |socket| socket.0))];
    loop {
        // SAFETY: the pointer is to two structures, and the call outlives neither.
        let count = unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) };
        let [pipe, socket] = &fds;
        if count < 0 && error() != libc::EINTR {
            // Without memory for this call, the pipe is read without waiting for both.
            return Ready {
                pipe: true,
                socket: false,
            };
        }
        if count > 0 {
            return Ready {
                pipe: pipe.revents != 0,
                socket: socket.revents != 0,
            };
        }
    }
}

/// Whether this process was started with this variable of this value; `None` if that
/// cannot be read.
pub fn environment_at_start_has(name: &[u8], value: &[u8]) -> Option<bool> {
    // SAFETY: open reads a C string.
    let fd = unsafe {
        libc::open(
            c"/proc/self/environ".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return None;
    }
    let file = Descriptor::own(fd)?;
    // The bytes of the entry that are still to come, if it is that one up to here.
    let entry = || name.iter().chain(b"=").chain(value);
    let mut expected = Some(entry());
    let mut buffer = [0; 1024];
    loop {
        match read(file.0, &mut buffer)? {
            [] => return Some(false),
            bytes => {
                for byte in bytes {
                    let next = expected.as_mut().map(Iterator::next);
                    match (byte, next) {
                        (0, Some(None)) => return Some(true),
                        (0, _) => expected = Some(entry()),
                        (byte, Some(Some(wanted))) if byte == wanted => {}
                        _ => expected = None,
                    }
                }
            }
        }
    }
}
