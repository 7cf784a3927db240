//! Reading from and writing to what the caller shares with other processes:
//! standard output, standard error or a terminal, whose reader may have stopped
//! reading (docs/security.md, attack 3).

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::privsep::interrupted_if_it_blocks;

/// How long a full pipe or a stopped terminal may hold a line up.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that one write has at most: fewer than a pipe or a terminal has room for
/// where poll says that it can be written, unless another process fills it first.
const CHUNK: usize = 128;

/// Writes `bytes`, and waits for room at most for `patience` in all; what has not
/// been written by then is dropped. Other processes share the descriptor, so
/// O_NONBLOCK may not be set on it.
///
/// # Errors
/// `TimedOut`; `WriteZero` if the descriptor takes no byte; or the error of poll or
/// write.
pub fn write_patiently(to: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let end = Instant::now() + patience;
    for chunk in bytes.chunks(CHUNK) {
        let mut left = chunk;
        while !left.is_empty() {
            wait_for_room(to, end)?;
            match interrupted_if_it_blocks(|| nix::unistd::write(to, left)) {
                // A caller may give a descriptor that always has room by poll, but
                // never takes a byte: the memory of a process that has ended.
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(nix::Error::EINTR | nix::Error::EAGAIN) if Instant::now() < end => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn wait_for_room(to: BorrowedFd<'_>, end: Instant) -> io::Result<()> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
        match poll(&mut fds, timeout) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads a byte that poll said was there. If another process has taken it, fails
/// with EINTR.
///
/// # Errors
/// Those of read.
pub fn read_arrived(from: BorrowedFd<'_>, byte: &mut [u8; 1]) -> Result<usize, nix::Error> {
    interrupted_if_it_blocks(|| nix::unistd::read(from, byte))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_full_pipe_does_not_hold_a_line_up_for_ever() {
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        let much = vec![b'x'; 1 << 20];
        let error = write_patiently(writer.as_fd(), &much, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_never_takes_a_byte_does_not_hold_a_line_up_for_ever() {
        let mut other = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let memory = std::fs::File::options()
            .write(true)
            .open(format!("/proc/{}/mem", other.id()))
            .unwrap();
        drop(other.stdin.take());
        other.wait().unwrap();
        // For the memory of a process that has ended, poll says that there is room,
        // and write takes nothing.
        let error = write_patiently(memory.as_fd(), b"x", PATIENCE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
