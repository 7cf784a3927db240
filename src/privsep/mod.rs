//! Privilege separation: every system call that the safety of the program
//! rests on, and the only `unsafe`, one step a file, in the order in which they
//! happen: [`inherited`], [`standing`], the fork (here), [`limits`], [`ids`],
//! [`confine`], [`parent`].
//!
//! A child without privileges talks to the person and to Duo; its parent, back
//! to being the user, waits, and opens the door only on two keys: "allow" on the
//! verdict pipe and exit status 0. The caller controls our arguments,
//! environment, limits, signals and descriptors, and may stop or kill the
//! parent once it is theirs; none of that may ever look like Duo's yes.
#![allow(unsafe_code)]

mod confine;
mod ids;
mod inherited;
mod limits;
mod parent;
mod standing;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, fork, pipe2};

use crate::error::Error;
use confine::confine;
pub use ids::irrevocably_become_the_caller;
pub use inherited::{Inherited, take_over};
use inherited::{connect_to_syslog, watched_signals};
pub use parent::{End, Parent, Report};
pub use standing::{
    PRIVSEP_USER, PrivsepUser, Standing, caller_id, privsep_user, standing, user_id,
};

/// What the child holds: where its records go, and its parent's pulse.
pub struct ChildEnds {
    verdict: File,
    life: OwnedFd,
}

impl ChildEnds {
    /// Sends one record: a line of JSON that the parent reads as ours.
    ///
    /// # Errors
    /// [`Error::Fault`] if the parent is gone.
    pub fn send(&mut self, record: &str) -> Result<(), Error> {
        let line = format!("{record}\n");
        self.verdict
            .write_all(line.as_bytes())
            .map_err(|error| Error::fault("send a record", crate::error::system_words(&error)))
    }

    /// Stays, all having been said, until whoever watches the parent (see
    /// [`ChildEnds::watch_parent`]) ends this process. The parent lets go once
    /// the log has its last line: a user who stops it now, and kills it later,
    /// must not keep that line back.
    pub fn stay(mut self) -> ! {
        // A parent that is gone already has let go.
        let _ = self.send(STAYS);
        drop(self.verdict);
        loop {
            std::thread::park();
        }
    }

    /// Ends this process as soon as its parent lets go of it, whatever it is
    /// doing (a lookup, a read). If the parent did not say so but is gone,
    /// `orphaned` runs first: nobody else is left to write the log's last line.
    ///
    /// The thread that watches has time: it calls `beat`, again after as long as
    /// that says, or never again.
    ///
    /// # Errors
    /// [`Error::Fault`] if the thread cannot start.
    pub fn watch_parent(
        &self,
        beat: impl FnMut() -> Option<Duration> + Send + 'static,
        orphaned: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let life = self.life.try_clone().map_err(|error| {
            Error::fault("watch the parent", crate::error::system_words(&error))
        })?;
        std::thread::Builder::new()
            .name("life".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                if !told_to_leave(&life, beat) {
                    orphaned();
                }
                leave(1);
            })
            .map(drop)
            .map_err(|error| Error::fault("start a thread", crate::error::system_words(&error)))
    }
}

/// Room for a thread that formats a line and calls the resolver or syslog.
pub const THREAD_STACK: usize = 256 * 1024;

/// Waits for the end of the life pipe: true if the parent said goodbye.
fn told_to_leave(life: &OwnedFd, mut beat: impl FnMut() -> Option<Duration>) -> bool {
    while let Some(next) = beat() {
        let timeout = PollTimeout::try_from(next).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            // An end, a goodbye, or a poll that fails at once for ever: reading waits too.
            Ok(_) | Err(_) => break,
        }
    }
    let mut byte = [0];
    loop {
        match nix::unistd::read(life, &mut byte) {
            Err(Errno::EINTR) => {}
            read => return read == Ok(1),
        }
    }
}

/// Ends the process at once, other threads and all.
fn leave(status: i32) -> ! {
    // SAFETY: _exit runs no handlers and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Forks. In the child: drops every privilege, proves it, and runs `child`,
/// whose value is its exit status. In the parent: becomes the user for good,
/// proves it, and returns.
///
/// `config` is the one descriptor besides 0 to 2 and the pipes that the child
/// keeps. No thread may exist, and nothing may have been logged.
///
/// # Errors
/// [`Error::Fault`]; there is no child then.
pub fn separate(
    standing: Standing,
    user: Option<&PrivsepUser>,
    config: Option<File>,
    child: impl FnOnce(Option<File>, ChildEnds) -> i32,
) -> Result<Parent, Error> {
    let pipe =
        || pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::fault("make a pipe", errno.desc()));
    let (verdict_read, verdict_write) = pipe()?;
    let (life_read, life_write) = pipe()?;
    let signals = SignalFd::with_flags(
        &watched_signals(),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )
    .map_err(|errno| Error::fault("watch signals", errno.desc()))?;

    // SAFETY: this process has one thread, so the child may do anything that we may.
    match unsafe { fork() } {
        Err(errno) => Err(Error::fault("fork", errno.desc())),
        Ok(ForkResult::Child) => {
            let ends = ChildEnds {
                verdict: File::from(verdict_write),
                life: life_read,
            };
            let kept = [
                config.as_ref().map(|file| file.as_raw_fd()),
                Some(ends.verdict.as_raw_fd()),
                Some(ends.life.as_raw_fd()),
            ];
            if let Err(error) = confine(standing, user, kept) {
                // The parent reports what the child could not: it has no log yet.
                let mut ends = ends;
                let _ = ends.send(&format!("{FAULT_MARK}{error}"));
                leave(1);
            }
            // What confine closed is closed; forget the owners of those numbers.
            std::mem::forget((verdict_read, life_write, signals));
            share_one_heap();
            leave(child(config, ends))
        }
        Ok(ForkResult::Parent { child }) => {
            drop((verdict_write, life_read, config));
            // While the limits are out of the user's reach still.
            connect_to_syslog();
            let parent = Parent::of(child, verdict_read, life_write, signals);
            if let Err(error) = irrevocably_become_the_caller(standing) {
                parent.finish();
                return Err(error);
            }
            Ok(parent)
        }
    }
}

/// A heap for each thread would take memory and system calls for nothing: the
/// threads of a login have little to do, one after the other.
fn share_one_heap() {
    // SAFETY: it sets a number of the allocator's, before there is a second thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// The last line of a child that is still there when it has said all.
const STAYS: &str = "stays";

/// Begins the record of a child that could not even confine itself.
pub const FAULT_MARK: &str = "fault: ";
