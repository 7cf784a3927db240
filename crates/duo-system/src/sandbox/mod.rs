//! The sandbox (docs/security.md, attack 15). The child reads what the network sends. If
//! one of those bytes ever takes it over, it must find nothing to do: Landlock takes files,
//! ports and other processes away ([`landlock`]), and a filter takes system calls
//! ([`filter`]). Both are best effort: a kernel that has neither still logs people in.
#![forbid(unsafe_code)]

#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    path = "no_calls.rs"
)]
mod calls;
mod filter;
mod landlock;

use std::path::Path;

use duo_policy::error::Error;
use nix::unistd::{Pid, getpid};

use crate::{nsswitch, system_words};

pub use filter::Filtered;

/// What the child needs beyond name lookup.
#[derive(Clone, Copy, Default)]
pub struct Needs<'a> {
    /// The file of trusted roots.
    pub cafile: Option<&'a Path>,
    /// The port of Duo, or of the proxy on the way to it.
    pub port: Option<u16>,
}

/// What this machine gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The version of Landlock; 0 if there is none.
    pub landlock: i32,
    /// Whether there is a filter of system calls.
    pub filtered: Filtered,
}

/// Shuts this thread in, and all threads that it starts. There is no way out.
///
/// # Errors
/// [`Error::Fault`] if this machine has what the sandbox is made of, but refuses it. A
/// child must end then.
pub fn enter(needs: &Needs<'_>) -> Result<Level, Error> {
    nsswitch::load_modules();
    let landlock = landlock::restrict(needs)?;
    let filtered = calls::of_child(getpid()).apply()?;
    Ok(Level { landlock, filtered })
}

/// What this machine gives, found out in a thread that is shut in, and in which `then`
/// tries something.
///
/// # Errors
/// Those of [`enter`]; [`Error::Fault`] if no thread can be started.
pub fn try_out<T: Send>(
    needs: &Needs<'_>,
    then: impl FnOnce() -> T + Send,
) -> Result<(Level, T), Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .spawn_scoped(scope, || enter(needs).map(|level| (level, then())))
            .map_err(|error| Error::fault("start a thread", system_words(&error)))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::Fault("a thread ended without an answer".to_owned())))
    })
}

/// Leaves the parent of `child`, whose front end executes nothing afterwards, with little
/// more than to read, to write, to wait, and to end.
///
/// # Errors
/// As for [`enter`].
pub fn keep_only_waiting(child: Pid) -> Result<Filtered, Error> {
    calls::of_parent(child).apply()
}
