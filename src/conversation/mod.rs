//! The conversation with the person: on a terminal, or, where nobody can be asked
//! (scp, sftp, rsync, git, cron), a line or two on stderr (docs/behaviour.md, *The
//! conversation*).
//!
//! [`duo_policy::text`] makes all text harmless before it is shown. No write waits
//! for long for a reader that has stopped reading. The terminal's settings are
//! never changed, so that no signal can leave the terminal in a wrong state.

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

/// The client's terminal, and who reads it.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// The character set of the terminal's locale.
    pub charset: Charset,
    /// Whether the terminal can move its cursor and has colours.
    pub is_capable: bool,
    /// How the person wants it.
    pub style: Style,
    /// Who would read a question.
    pub reader: Reader,
}

/// How the person wants the conversation, on a terminal that can do more than lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// With a counter, a code in bold, and a QR code.
    Drawn,
    /// As plain lines, which a screen reader reads once (`accessible`).
    Plain,
}

/// Who reads what is written to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person, who can be asked.
    Person,
    /// Probably a program: the client asked sshd for a command and a terminal
    /// (mosh, Ansible, paramiko). Nobody would answer a question, and a notice
    /// would stand in the middle of the program's output.
    Program,
}

/// Opens the conversation on the terminal of descriptor 0 if there is one and a
/// person reads it, else on stderr.
pub fn open<'w>(
    surroundings: Surroundings,
    deadlines: &Deadlines,
    waiter: &'w Waiter<'w>,
) -> Box<dyn Conversation + 'w> {
    match (open_terminal(), surroundings.reader) {
        (Some(files), Reader::Person) => {
            Box::new(Terminal::new(files, surroundings, deadlines, waiter))
        }
        _ => Box::new(Headless::new(surroundings.charset, deadlines, waiter)),
    }
}

/// Ends the line of the terminal at which the person left and, after Ctrl-C, says
/// that the login was given up. The parent does this, since the child may be
/// killed or stopped before it can.
pub fn end_line(surroundings: Surroundings, left: Departure) {
    let text = match left {
        Departure::Interrupted => "Login given up\n",
        Departure::HungUp
        | Departure::Terminated
        | Departure::TerminalClosed
        | Departure::ConnectionClosed
        | Departure::HostEnded
        | Departure::Unwatched => "",
    };
    write_on_new_line(surroundings, text);
}

/// Writes `text` at the start of a line of the terminal, if a person reads it.
/// Where the terminal can move its cursor, [`Terminal`] leaves the cursor at the start
/// of a line, or in the line in which the person types above the ticker. That line with
/// an echoed `^C`, and the ticker, have to be erased.
fn write_on_new_line(surroundings: Surroundings, text: &str) {
    if let (Some([_, output]), Reader::Person) = (open_terminal(), surroundings.reader) {
        let start = if surroundings.is_capable {
            ticker::ERASE
        } else {
            "\n"
        };
        let text = format!("{start}{text}");
        let _ = write_patiently(output.as_fd(), text.as_bytes(), PATIENCE);
    }
}

/// Shows why the login was denied. The parent does this where the child could not.
/// The line that the child may have begun is ended first.
pub fn show_denial(surroundings: Surroundings, why: String) {
    write_on_new_line(surroundings, "");
    let waiter = Waiter::new(&SystemClock, None);
    let next = Next::Nothing;
    open(surroundings, &Deadlines::default(), &waiter).show(&Message::Denied { why, next });
}

/// The terminal of descriptor 0, if it is one, to read from and to write to. Stdout
/// is not used, since it may be a file.
fn open_terminal() -> Option<[File; 2]> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let input = stdin.as_fd().try_clone_to_owned().ok()?;
    Some([File::from(input), terminal_output(stdin.as_fd())?])
}

/// The terminal `stdin` again if that descriptor can be written, else `/dev/tty`.
fn terminal_output(stdin: BorrowedFd<'_>) -> Option<File> {
    let flags = OFlag::from_bits_truncate(fcntl(stdin, FcntlArg::F_GETFL).ok()?);
    match flags & OFlag::O_ACCMODE {
        OFlag::O_RDWR | OFlag::O_WRONLY => stdin.try_clone_to_owned().ok().map(File::from),
        _ => File::options().write(true).open("/dev/tty").ok(),
    }
}
