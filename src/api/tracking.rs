//! The kernel's table of tracked connections, where a firewall keeps one: any
//! user can fill it from this machine alone, and then the first packet of each
//! new connection is dropped, as if Duo, or the name server, were away.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

/// Whether a new connection can be tracked.
///
/// # Errors
/// There is no room, in words; or it cannot be known, in the system's.
pub(super) fn has_room() -> io::Result<()> {
    has_room_as_told(Path::new("/proc/sys/net/netfilter"))
}

fn has_room_as_told(folder: &Path) -> io::Result<()> {
    let number = |name: &str| match fs::read_to_string(folder.join(name)) {
        Ok(text) => text
            .trim()
            .parse::<u64>()
            .map(Some)
            .map_err(io::Error::other),
        // Where nothing is tracked, the kernel has no such numbers; no caller can
        // take them away. Descriptors, to read them with, a caller can.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    match (number("nf_conntrack_count")?, number("nf_conntrack_max")?) {
        // Some have run out since; 0 is no limit.
        (Some(count), Some(most)) if most > 0 && count >= most - most / 10 => Err(
            io::Error::other(format!("{count} of {most} connections are tracked")),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(count: &str, most: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nf_conntrack_count"), count).unwrap();
        fs::write(folder.path().join("nf_conntrack_max"), most).unwrap();
        has_room_as_told(folder.path())
            .err()
            .map(|error| crate::error::system_words(&error))
    }

    #[test]
    fn a_full_table_has_no_room_also_when_some_have_just_run_out() {
        let words = |count: u32| Some(format!("{count} of 262144 connections are tracked"));
        assert_eq!(look("262144\n", "262144\n"), words(262_144));
        assert_eq!(look("240000\n", "262144\n"), words(240_000));
    }

    #[test]
    fn a_busy_table_has_room_and_so_has_one_without_a_limit_or_none_at_all() {
        assert_eq!(look("200000\n", "262144\n"), None);
        assert_eq!(look("0\n", "262144\n"), None);
        assert_eq!(look("7\n", "0\n"), None);
        assert!(has_room_as_told(Path::new("/nonexistent")).is_ok());
    }

    #[test]
    fn a_table_that_cannot_be_read_is_no_proof_of_room() {
        assert!(look("many\n", "262144\n").is_some());
        // As where a caller has left no descriptor: an error, and not "no such file".
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(has_room_as_told(file.path()).is_err());
    }
}
