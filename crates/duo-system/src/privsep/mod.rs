//! Privilege separation: every system call that the safety of the program
//! rests on, and the only `unsafe`, one step a file, in the order in which they
//! happen: [`inherited`], [`standing`], the fork (here), [`confine`] with
//! [`priority`], [`limits`] and [`ids`], then [`parent`].
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
#[forbid(unsafe_code)]
mod limits;
#[forbid(unsafe_code)]
mod parent;
mod priority;
#[forbid(unsafe_code)]
mod standing;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};

use duo_policy::error::Error;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, fork, pipe2};

use crate::system_words;
use crate::wait::LifePipe;
use confine::confine;
pub use ids::{become_root_alone, irrevocably_become_the_caller};
use inherited::watched_signals;
pub use inherited::{Inherited, take_over};
pub use parent::Parent;
pub use standing::{Caller, PRIVSEP_USER, PrivsepUser, Standing, privsep_user, standing, user_id};

/// What the child holds: where its records go, and whether its parent lives.
pub struct ChildEnds {
    verdict: File,
    /// Ends each wait of the child with the parent.
    pub life: LifePipe,
}

impl ChildEnds {
    /// Sends records, lines that the parent reads as ours, in one go.
    ///
    /// # Errors
    /// [`Error::Fault`] if the parent is gone.
    pub fn send(&mut self, lines: &str) -> Result<(), Error> {
        self.verdict
            .write_all(lines.as_bytes())
            .map_err(|error| Error::fault("send a record", system_words(&error)))
    }

    /// Whether nobody reads the records any more.
    pub fn is_unread(&self) -> bool {
        let mut fds = [PollFd::new(self.verdict.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let [fd] = fds;
        polled.is_ok() && fd.any() == Some(true)
    }
}

/// Bytes of stack for a thread that formats a line.
pub const THREAD_STACK: usize = 256 * 1024;

/// Ends the process at once, other threads and all.
fn leave(status: i32) -> ! {
    // SAFETY: _exit runs no handlers and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// What the child's half is started with: the configuration's descriptor, or
/// why privileges could not be dropped. A child that could not drop them must
/// say so and end.
pub type Confined = Result<Option<File>, Error>;

/// Forks. In the child: drops every privilege, proves it, and runs `child`,
/// whose value is its exit status. In the parent: becomes the caller for good,
/// proves it, and returns.
///
/// `config` is the one descriptor besides 0 to 2 and the pipes that the child
/// keeps. No thread may exist, and nothing may have been logged.
///
/// # Errors
/// [`Error::Fault`]; there is no child then, or it ends by itself.
pub fn separate(
    standing: Standing,
    caller: Caller,
    user: Option<&PrivsepUser>,
    config: Option<File>,
    child: impl FnOnce(Confined, ChildEnds) -> i32,
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
            let kept = [
                config.as_ref().map(|file| file.as_raw_fd()),
                Some(verdict_write.as_raw_fd()),
                Some(life_read.as_raw_fd()),
            ];
            let confined = confine(standing, user, kept);
            // What confine closed is closed; forget the owners of those numbers.
            std::mem::forget((verdict_read, life_write, signals));
            share_one_heap();
            let ends = ChildEnds {
                verdict: File::from(verdict_write),
                life: LifePipe::new(life_read),
            };
            leave(child(confined.map(|()| config), ends))
        }
        Ok(ForkResult::Parent { child }) => {
            drop((verdict_write, life_read, config));
            irrevocably_become_the_caller(standing, caller)?;
            Ok(Parent::of(child, verdict_read, life_write, signals))
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
