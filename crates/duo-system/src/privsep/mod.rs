//! Privilege separation: every system call that the safety of the program
//! rests on, and the only `unsafe` code. Each file is one step, and the steps
//! happen in this order: [`inherited`], [`standing`], the fork (here),
//! [`confine`] with [`priority`], [`limits`] and [`ids`], then [`parent`].
//!
//! The child drops every privilege and talks to the person and to Duo. The
//! parent becomes the caller again and waits. It opens the door only if the
//! verdict pipe says "allow" and the child's exit status is 0
//! (docs/security.md, *Processes*).
//!
//! The caller controls the arguments, environment, limits, signals and
//! descriptors of this program, and may stop or kill the parent once the parent
//! has dropped its privileges. None of these may ever look like Duo's yes.
#![allow(unsafe_code)]

mod confine;
mod host;
mod ids;
mod inherited;
mod interrupt;
mod library;
#[forbid(unsafe_code)]
mod limits;
mod local_time;
#[forbid(unsafe_code)]
mod parent;
mod priority;
#[forbid(unsafe_code)]
mod standing;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use duo_policy::codes;
use duo_policy::error::Error;
use duo_policy::remember::Approvals;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, fork, pipe2};

use crate::life::LifePipe;
use crate::remember;
use crate::system_words;
use confine::{confine, remove_causes};
pub use host::{HostEnds, take_host_ends};
pub use ids::{become_root_alone, irrevocably_become_the_caller};
use inherited::watched_signals;
pub use inherited::{Inherited, take_over};
pub(crate) use interrupt::interrupted_if_it_blocks;
pub(crate) use library::load_library;
use limits::limit_file_size;
pub(crate) use local_time::{local_time, read_time_zone};
pub use parent::Parent;
pub use standing::user_id;
pub use standing::{Caller, PRIVSEP_USER, PrivsepUser, Standing, privsep_user, standing};

/// The child's ends of the two pipes between it and its parent.
pub struct ChildEnds {
    /// The write end of the verdict pipe, for records.
    verdict: File,
    /// The read end of the life pipe. It ends each wait of the child when the
    /// parent lets the child go or is gone.
    pub life: LifePipe,
}

impl ChildEnds {
    /// Writes records, one a line, to the verdict pipe.
    ///
    /// # Errors
    /// [`Error::Fault`] if the parent has closed its end.
    pub fn send(&mut self, lines: &str) -> Result<(), Error> {
        self.verdict
            .write_all(lines.as_bytes())
            .map_err(|error| Error::fault("send a record", system_words(&error)))
    }
}

/// What is in front of the parent: what it watches, to learn that the person has
/// gone, and what its child talks to the person through.
#[derive(Clone, Copy)]
pub enum Front<'a> {
    /// The descriptors 0 to 2 of a session.
    Session,
    /// A host of PAM, behind these ends.
    Host(&'a HostEnds),
}

impl Front<'_> {
    /// What the log calls the parent.
    fn parent(self) -> &'static str {
        match self {
            Front::Session => "login_duo",
            Front::Host(_) => "pam-duo-helper",
        }
    }

    /// The socket to the host, if there is one.
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Front::Session => None,
            Front::Host(ends) => Some(ends.socket.as_fd()),
        }
    }
}

/// Ends the process, with all its threads, and runs no exit handler.
fn exit_at_once(status: i32) -> ! {
    // SAFETY: _exit runs no handler and touches no memory of this program.
    unsafe { libc::_exit(status) }
}

/// The files that root opens for the child, which has no right to open them. Each is
/// `None` if there is none.
#[derive(Debug, Default)]
pub struct OpenFiles {
    /// The configuration.
    pub config: Option<File>,
    /// The emergency codes of the account that logs in.
    pub codes: Option<File>,
    /// The approved connections of the account that logs in.
    pub connections: Connections,
}

/// The approved connections of the account that logs in.
#[derive(Debug, Default)]
pub enum Connections {
    /// Nothing is remembered for this front end.
    #[default]
    None,
    /// They are looked for while the child is root still, if the configuration may say so. The
    /// parent, which becomes the caller's process, never has the file, nor a byte of the
    /// configuration.
    Wanted,
    /// Found, with the connection on which this login came.
    Found(remember::Opened),
    /// They cannot be used; why.
    Refused(Error),
}

impl OpenFiles {
    /// The configuration alone.
    pub fn config(config: Option<File>) -> OpenFiles {
        OpenFiles {
            config,
            ..OpenFiles::default()
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let files = [&self.config, &self.codes].into_iter().flatten();
        let connections = match &self.connections {
            Connections::Found(opened) => Some(opened.as_raw_fd()),
            Connections::None | Connections::Wanted | Connections::Refused(_) => None,
        };
        files.map(AsRawFd::as_raw_fd).chain(connections)
    }

    /// The bytes of the longest file that the child may write; `None` if it may write none.
    fn longest(&self) -> Option<usize> {
        let codes = self.codes.as_ref().map(|_| codes::LONGEST_FILE);
        let connections = match self.connections {
            Connections::Found(_) => Some(Approvals::LONGEST_FILE),
            Connections::None | Connections::Wanted | Connections::Refused(_) => None,
        };
        codes.max(connections)
    }

    /// With root's rights, which the child has still: looks for what is wanted.
    fn find_connections(&mut self, caller: Caller) {
        let (Connections::Wanted, Some(config)) = (&self.connections, &self.config) else {
            return;
        };
        self.connections = match remember::open(config, caller.uid) {
            Ok(None) => Connections::None,
            Ok(Some(opened)) => Connections::Found(opened),
            Err(error) => Connections::Refused(error),
        };
    }
}

/// What the child's half is started with: the files that root has opened, or why
/// privileges could not be dropped. A child that could not drop them must say so and
/// end.
pub type Confined = Result<OpenFiles, Error>;

/// Forks. In the child: drops every privilege, proves it, and runs `child`,
/// whose value is its exit status. In the parent: becomes the caller for good,
/// proves it, and returns.
///
/// The child keeps `files`, the pipes, the descriptors 0 to 2 and the socket of
/// `front`, and no other.
/// No other thread may exist, and nothing may have been logged: a descriptor of
/// the log that crosses the fork could end up being Duo's socket.
///
/// # Errors
/// [`Error::Fault`] if a pipe or the child cannot be made, or if the parent
/// cannot drop its privileges. In the second case the child ends by itself, since
/// its life pipe closes.
pub fn separate<'a>(
    standing: Standing,
    caller: Caller,
    user: Option<&PrivsepUser>,
    mut files: OpenFiles,
    front: Front<'a>,
    child: impl FnOnce(Confined, ChildEnds) -> i32,
) -> Result<Parent<'a>, Error> {
    let pipe =
        || pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::fault("make a pipe", errno.desc()));
    let (verdict_read, verdict_write) = pipe()?;
    let (life_read, life_write) = pipe()?;
    let signals = SignalFd::with_flags(
        &watched_signals(),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )
    .map_err(|errno| Error::fault("watch signals", errno.desc()))?;

    // SAFETY: this process has one thread, so the child may call any function.
    match unsafe { fork() } {
        Err(errno) => Err(Error::fault("fork", errno.desc())),
        Ok(ForkResult::Child) => {
            let pipes = [verdict_write.as_raw_fd(), life_read.as_raw_fd()];
            let socket = front.socket().map(|socket| socket.as_raw_fd());
            let confined = remove_causes().and_then(|()| {
                files.find_connections(caller);
                files.longest().map_or(Ok(()), limit_file_size)?;
                let kept = files.descriptors().chain(pipes).chain(socket);
                confine(standing, user, kept.collect())
            });
            // `confine` has closed these descriptors. Their owners would close
            // the same numbers again, which other files may have by then.
            std::mem::forget((verdict_read, life_write, signals));
            share_one_heap();
            let ends = ChildEnds {
                verdict: File::from(verdict_write),
                life: LifePipe::new(life_read, front.parent()),
            };
            exit_at_once(child(confined.map(|()| files), ends))
        }
        Ok(ForkResult::Parent { child }) => {
            drop((verdict_write, life_read, files));
            irrevocably_become_the_caller(standing, caller)?;
            Ok(Parent::of(child, verdict_read, life_write, signals, front))
        }
    }
}

/// Lets all threads share one heap. A login's threads have little to do, one
/// after the other, and a heap for each would cost memory and system calls.
fn share_one_heap() {
    // SAFETY: mallopt sets a number in the allocator, and there is no second thread yet.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}
