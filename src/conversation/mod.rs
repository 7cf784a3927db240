//! What the person sees and types: on a terminal, or, where nobody can be
//! asked (scp, sftp, rsync, git, cron), a line or two on stderr.
//!
//! Everything shown passes [`duo_policy::text`]; nothing waits for a reader that
//! has stopped reading; the terminal's settings are never touched, so there is
//! no exit, however violent, after which they would have to be put back.

mod headless;
mod qr;
mod terminal;
mod ticker;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use duo_policy::clock::Deadlines;
use duo_policy::conversation::Conversation;
use duo_policy::text::Charset;
use duo_system::output::{PATIENCE, write_patiently};
use duo_system::wait::{SystemClock, Waiter};
use duo_wire::{Departure, Message, Next};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use self::headless::Headless;
use self::terminal::Terminal;

/// What the client's terminal is, and whether a person sits in front of it.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// What the terminal's locale takes.
    pub charset: Charset,
    /// Whether the terminal can move its cursor.
    pub capable: bool,
    /// Who is likely to read a question.
    pub reader: Reader,
}

/// Who reads what is written to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person, who can be asked.
    Person,
    /// A program, as likely as not: the client asked sshd for a command and a
    /// terminal (mosh, Ansible, paramiko). A question would wait for ever, and
    /// a notice stand in the middle of the program's output.
    Program,
}

/// Opens the conversation that descriptors 0 and 2 allow.
pub fn open<'w>(
    around: Surroundings,
    deadlines: &Deadlines,
    waiter: &'w Waiter<'w>,
) -> Box<dyn Conversation + 'w> {
    match (the_terminal(), around.reader) {
        (Some(ends), Reader::Person) => Box::new(Terminal::new(ends, around, deadlines, waiter)),
        _ => Box::new(Headless::new(around.charset, deadlines)),
    }
}

/// Ends the line at which the person left, and says so to somebody who may
/// still be there. For the parent, since the child may not have come to it.
pub fn take_leave(around: Surroundings, left: Departure) {
    let text = match left {
        Departure::Interrupted => "Login given up\n",
        Departure::HungUp
        | Departure::Terminated
        | Departure::TerminalClosed
        | Departure::ConnectionClosed => "",
    };
    on_a_fresh_line(around, text);
}

/// Writes `text` at the start of a line of the terminal, if a person reads it.
/// A terminal that can move its cursor has it at a line's start already, with
/// nothing but an echoed `^C` to its right: see `ticker` and [`Terminal`].
fn on_a_fresh_line(around: Surroundings, text: &str) {
    if let (Some([_, output]), Reader::Person) = (the_terminal(), around.reader) {
        let start = if around.capable { "\r\x1b[K" } else { "\n" };
        let text = format!("{start}{text}");
        let _ = write_patiently(output.as_fd(), text.as_bytes(), PATIENCE);
    }
}

/// Tells why the login ends, where the child could not. For the parent; whatever
/// the child left on the last line is ended first.
pub fn explain(around: Surroundings, why: String) {
    on_a_fresh_line(around, "");
    let waiter = Waiter::new(&SystemClock, None);
    let next = Next::Nothing;
    open(around, &Deadlines::default(), &waiter).show(&Message::Denied { why, next });
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
