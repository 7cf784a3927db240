//! What the person sees and types: on a terminal, or, where nobody can be
//! asked (scp, sftp, rsync, git, cron), a line or two on stderr.
//!
//! Everything shown passes `log`'s sanitising; nothing waits for a reader that
//! has stopped reading; the terminal's settings are never touched, so there is
//! no exit, however violent, after which they would have to be put back.
#![forbid(unsafe_code)]

mod headless;
mod qr;
mod terminal;
mod ticker;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use zeroize::Zeroizing;

use self::headless::Headless;
use self::terminal::Terminal;
use crate::clock::Deadlines;
use crate::error::Error;
use crate::log::{Charset, PATIENCE, write_patiently};

/// The person at the other end, if there is one.
pub trait Conversation {
    /// Whether a question can be answered.
    fn interactive(&self) -> bool;

    /// Tells something that Duo or we have to say. Headless, it stays unsaid.
    fn tell(&self, text: &str);

    /// Tells what must be told even where nobody can be asked: why it failed.
    fn tell_always(&self, text: &str);

    /// Shows a text with the code to type into the phone, so that it is not
    /// overlooked; even where nobody can be asked.
    fn show_code(&self, text: &str) {
        self.tell_always(text);
    }

    /// Tells how to enrol; `address` is where, if that is known apart from
    /// `text`. Even where nobody can be asked.
    fn enrol(&self, text: &str, address: Option<&str>) {
        let _ = address;
        self.tell_always(text);
    }

    /// Shows `menu` and takes one line, without its end.
    ///
    /// # Errors
    /// [`Error::GaveUp`] at the end of input, or without input for too long.
    fn ask(&self, menu: &str) -> Result<Zeroizing<Vec<u8>>, Error>;

    /// Whether Duo waits for the person, from here on.
    fn waiting(&self, state: Waiting);
}

/// Whether a request of Duo's to the person is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It is.
    Begins,
    /// It is not any more.
    Ends,
}

/// Opens the conversation that descriptors 0 and 2 allow. `capable` says that
/// a terminal can move its cursor.
pub fn open(charset: Charset, capable: bool, deadlines: &Deadlines) -> Box<dyn Conversation> {
    match the_terminal() {
        Some(ends) => Box::new(Terminal::new(ends, charset, capable, deadlines)),
        None => Box::new(Headless::new(charset, deadlines)),
    }
}

/// Ends the line at which the person left: what they typed there stays, what
/// we were counting goes. For the parent, since a Ctrl-C ends the child at once.
pub fn finish_the_line(capable: bool) {
    if let Some([_, output]) = the_terminal() {
        // The counter leaves the cursor at its line's start, and at the menu
        // nothing stands to the right of it: see `ticker`.
        let text: &[u8] = if capable { b"\x1b[K\n" } else { b"\n" };
        let _ = write_patiently(output.as_fd(), text, PATIENCE);
    }
}

/// Tells why the login ends, where the child could not. For the parent; whatever
/// the child left on the last line is ended first.
pub fn explain(charset: Charset, capable: bool, text: &str) {
    finish_the_line(capable);
    open(charset, capable, &Deadlines::default()).tell_always(text);
}

/// Where a conversation is read from and written to, if there can be one:
/// never stdout, which may be a file.
fn the_terminal() -> Option<[File; 2]> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let input = stdin.as_fd().try_clone_to_owned().ok()?;
    Some([File::from(input), terminal_output(stdin.as_fd())?])
}

/// The terminal that we read from; where that descriptor is read-only,
/// `/dev/tty`.
fn terminal_output(stdin: BorrowedFd<'_>) -> Option<File> {
    let flags = OFlag::from_bits_truncate(fcntl(stdin, FcntlArg::F_GETFL).ok()?);
    match flags & OFlag::O_ACCMODE {
        OFlag::O_RDWR | OFlag::O_WRONLY => stdin.try_clone_to_owned().ok().map(File::from),
        _ => File::options().write(true).open("/dev/tty").ok(),
    }
}
