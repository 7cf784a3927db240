//! The lines that only this module can write: the helper did not run, or died. They go
//! to syslog's socket directly, since syslog(3) would use the identity, the facility
//! and the descriptor of the host's.

use core::ffi::c_int;

use crate::descriptor::{self, Descriptor};

/// authpriv (10) and error (3), as RFC 3164 puts them before a line.
const PRIORITY: &[u8] = b"<83>";

/// The most bytes of a line.
const LONGEST: usize = 512;

/// A line that is being written.
struct Line {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Line {
    fn append(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length = self.length.saturating_add(count);
    }
}

/// The most bytes of a name.
const LONGEST_NAME: usize = 200;

/// Writes the line of a login that ends in an error, with the identity `pam_duo` and the
/// host's pid. Without a syslog it is lost. The name may come from the network, so each
/// byte of it that could end it, or the line, becomes `?`.
pub fn error(user: Option<&[u8]>, why: &[u8]) {
    let mut line = Line {
        bytes: [0; LONGEST],
        length: 0,
    };
    let mut digits = [0; 10];
    for part in [
        PRIORITY,
        b"pam_duo[",
        decimal(own_pid(), &mut digits),
        b"]: Error in Duo login for '",
    ] {
        line.append(part);
    }
    for byte in user.unwrap_or(b"?").iter().take(LONGEST_NAME) {
        let is_harmless = matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'\\');
        line.append(&[if is_harmless { *byte } else { b'?' }]);
    }
    line.append(b"': ");
    line.append(why);
    send(line.bytes.get(..line.length).unwrap_or_default());
}

/// This process's id.
pub fn own_pid() -> u32 {
    // SAFETY: getpid only returns a number.
    u32::try_from(unsafe { libc::getpid() }).unwrap_or_default()
}

/// `number` in decimal digits.
pub fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' | u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        start = at;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

/// Sends a line to whichever kind of socket the log daemon has.
fn send(line: &[u8]) {
    if let Err(libc::EPROTOTYPE) = send_to(libc::SOCK_DGRAM, line) {
        let _ = send_to(libc::SOCK_STREAM, line);
    }
}

/// Connects and sends.
///
/// # Errors
/// The number of the error that says why there is no connection.
fn send_to(kind: c_int, line: &[u8]) -> Result<(), c_int> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket touches no memory.
    let fd: c_int = unsafe { libc::socket(libc::AF_UNIX, kind | flags, 0) };
    if fd < 0 {
        return Err(descriptor::error());
    }
    let socket = Descriptor::own(fd).ok_or(libc::EBADF)?;
    let mut address = libc::sockaddr_un {
        sun_family: libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or_default(),
        sun_path: [0; 108],
    };
    for (to, from) in address.sun_path.iter_mut().zip(b"/dev/log") {
        *to = from.cast_signed();
    }
    // SAFETY: the structure and its size belong together.
    let connected = unsafe {
        libc::connect(
            socket.number(),
            (&raw const address).cast(),
            libc::socklen_t::try_from(size_of::<libc::sockaddr_un>()).unwrap_or_default(),
        )
    };
    if connected != 0 {
        return Err(descriptor::error());
    }
    socket.send(line);
    if kind == libc::SOCK_STREAM {
        // In a stream, a NUL ends a line.
        socket.send(b"\0");
    }
    Ok(())
}
