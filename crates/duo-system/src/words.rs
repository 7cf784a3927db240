//! The system's words for an error.

use std::io;

use nix::errno::Errno;

/// The system's words for an I/O error: in lower case, and without the
/// `(os error N)` that Rust adds.
pub fn system_words(error: &io::Error) -> String {
    let text = match (error.raw_os_error(), error.kind()) {
        (Some(number), _) => Errno::from_raw(number).desc().to_owned(),
        (None, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => "timed out".to_owned(),
        (None, io::ErrorKind::UnexpectedEof) => "closed by the other side".to_owned(),
        (None, _) => error.to_string(),
    };
    let mut letters = text.chars();
    match letters.next() {
        // A text such as "RPC: …" or "I/O error" keeps its capitals.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_in_the_systems_words() {
        let refused = io::Error::from_raw_os_error(nix::libc::ECONNREFUSED);
        assert_eq!(system_words(&refused), "connection refused");
        let io = io::Error::from_raw_os_error(nix::libc::EIO);
        assert_eq!(system_words(&io), "I/O error");
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(system_words(&eof), "closed by the other side");
    }
}
