//! Whether this machine itself may be the reason why Duo seems to be away: a
//! caller who uses up descriptors makes the resolver say "not found" and every
//! connection fail (docs/security.md, *The alibi*).

use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;

use duo_policy::error::Error;

use crate::system_words;

/// Proves that a file and a socket can still be opened.
///
/// # Errors
/// [`Error::Fault`]: there is no proof.
pub fn alibi() -> Result<(), Error> {
    let file = File::open("/dev/null").map(drop);
    let socket = UnixDatagram::unbound().map(drop);
    let proof: io::Result<()> = file.and(socket);
    proof.map_err(|error| Error::fault("open a file or a socket", system_words(&error)))
}
