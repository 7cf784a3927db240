//! Whether this machine itself may be the reason why Duo was not reached. A
//! caller who uses up descriptors makes the resolver say "not found" and each
//! connection fail. A caller who freezes this process lets each deadline pass
//! (docs/security.md, *The alibi*).

use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;

use duo_policy::error::Error;

use crate::system_words;
use crate::wait::Waiter;

/// Proves that this process ran whenever it should have, and that a file and
/// a socket can still be opened.
///
/// # Errors
/// [`Error::Fault`] if one of these is not so. `failmode = safe` does not open the
/// door then.
pub fn alibi(waiter: &Waiter<'_>) -> Result<(), Error> {
    waiter.prove_awake()?;
    let file = File::open("/dev/null").map(drop);
    let socket = UnixDatagram::unbound().map(drop);
    let proof: io::Result<()> = file.and(socket);
    proof.map_err(|error| Error::fault("open a file or a socket", system_words(&error)))
}
