//! Writing to descriptors that others share and may have stopped reading.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a full pipe or a stopped terminal may hold a line up.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// As much as goes out at once: below what `poll` promises room for.
const CHUNK: usize = 128;

/// Writes to a descriptor that others share, so O_NONBLOCK may not be set on
/// it: waits for room, at most `patience` in all, and drops what is left then.
///
/// # Errors
/// The system's, `TimedOut`, or `WriteZero`.
pub fn write_patiently(to: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let end = Instant::now() + patience;
    for chunk in bytes.chunks(CHUNK) {
        let mut left = chunk;
        while !left.is_empty() {
            wait_for_room(to, end)?;
            match nix::unistd::write(to, left) {
                // What a caller gives us may always have room, and never take a byte.
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
        // The memory of a process that is no more: poll sees room, write takes nothing.
        let error = write_patiently(memory.as_fd(), b"x", PATIENCE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
