//! Ctrl-C, a hang-up and `kill` while the machine is being changed: they are
//! blocked, looked for between two steps, and then everything is taken back.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::outcome::Failure;

/// The signals that were blocked.
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks them for this process.
    ///
    /// # Errors
    /// The system's.
    pub fn block() -> Result<Signals, Failure> {
        let ends = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
        ];
        let ends: SigSet = ends.into_iter().collect();
        // A reader of our output that goes, or Ctrl-Z, must not leave it half done.
        let stops: SigSet = [Signal::SIGPIPE, Signal::SIGTSTP].into_iter().collect();
        let failed = |errno: nix::Error| Failure::refused(format!("signals: {}", errno.desc()));
        ends.thread_block().map_err(failed)?;
        stops.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&ends, flags)
            .map(Signals)
            .map_err(failed)
    }

    /// Fails if one has come.
    ///
    /// # Errors
    /// It says so.
    pub fn none_came(&self) -> Result<(), String> {
        match self.0.read_signal() {
            Ok(Some(_)) => Err("it was interrupted".to_owned()),
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

/// How long a command waits for another one that is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// Until it has ended.
    Endless,
}

/// Held by whatever changes this machine's configuration.
pub struct Lock(#[allow(dead_code, reason = "it is held")] Flock<File>);

/// Keeps other runs of this program from changing anything.
///
/// # Errors
/// One is at work.
pub fn lock(patience: Patience) -> Result<Lock, Failure> {
    let path = Path::new("/run/duoctl.lock");
    let file = open_lock(path).map_err(|error| {
        Failure::refused(format!("{} cannot be opened: {error}", path.display()))
    })?;
    let how = match patience {
        Patience::None => FlockArg::LockExclusiveNonblock,
        Patience::Endless => FlockArg::LockExclusive,
    };
    Flock::lock(file, how)
        .map(Lock)
        .map_err(|_| Failure::refused("another duoctl is at work: try again in a minute"))
}

/// Whoever can open the file can hold its lock, and so keep what is not confirmed from being
/// taken back: it is root's alone, whatever the umask is and another version has made.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}
