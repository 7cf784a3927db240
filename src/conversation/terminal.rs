//! A terminal, and a person in front of it.
//!
//! Of what is typed, not a byte beyond the line is taken: the rest belongs to
//! the shell, which the person may be typing to already.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroizing;

use super::ticker::Ticker;
use super::{Conversation, Waiting, qr};
use crate::clock::Deadlines;
use crate::error::{Error, system_words};
use crate::log::{Charset, for_terminal, write_patiently};

/// The conversation on a terminal.
pub struct Terminal {
    input: File,
    output: File,
    charset: Charset,
    capable: bool,
    deadlines: Deadlines,
    ticker: RefCell<Option<Ticker>>,
    /// Whether a menu needs a blank line above it.
    begun: Cell<bool>,
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Characters a line.
    pub columns: usize,
}

/// The size of the terminal `of`, if it knows.
pub fn size(of: &File) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| Size {
        rows: usize::from(size.ws_row),
        columns: usize::from(size.ws_col),
    })
}

impl Terminal {
    /// Hears from `input`, speaks to `output`. `capable`: it can move its cursor.
    pub fn new(
        [input, output]: [File; 2],
        charset: Charset,
        capable: bool,
        deadlines: &Deadlines,
    ) -> Terminal {
        Terminal {
            input,
            output,
            charset,
            capable,
            deadlines: deadlines.clone(),
            ticker: RefCell::default(),
            begun: Cell::new(false),
        }
    }

    /// Text of our own making.
    fn write(&self, text: &str) {
        self.begun.set(true);
        // A terminal that was stopped misses a line; the login goes on.
        let _ = write_patiently(self.output.as_fd(), text.as_bytes(), self.deadlines.output);
    }

    /// Writes with the counter out of the way.
    fn write_above_the_counter(&self, text: &str) {
        let waiting = self.ticker.take().map(Ticker::stop);
        self.write(text);
        if let Some(since) = waiting {
            self.count(since);
        }
    }

    fn count(&self, since: Instant) {
        if self.capable {
            let patience = self.deadlines.output;
            let ticker = Ticker::start(&self.output, self.charset, since, patience);
            self.ticker.replace(ticker);
        }
    }
}

impl Conversation for Terminal {
    fn interactive(&self) -> bool {
        true
    }

    fn tell(&self, text: &str) {
        let text = for_terminal(text, self.charset);
        let text = text.trim_end();
        if !text.is_empty() {
            self.write_above_the_counter(&format!("{text}\n"));
        }
    }

    fn tell_always(&self, text: &str) {
        self.tell(text);
    }

    fn show_code(&self, text: &str) {
        let text = for_terminal(text, self.charset);
        let [bold, plain] = if self.capable {
            ["\x1b[1m", "\x1b[0m"]
        } else {
            ["", ""]
        };
        self.write_above_the_counter(&format!("\n    {bold}{}{plain}\n\n", text.trim()));
    }

    fn enrol(&self, text: &str, address: Option<&str>) {
        self.tell(text);
        let size = size(&self.output).filter(|_| self.charset == Charset::Utf8);
        let address = address.or_else(|| qr::address_in(text));
        if let (Some(address), Some(size)) = (address, size)
            && let Some(code) = qr::drawn(address, size, self.capable)
        {
            self.write(&code);
        }
    }

    fn ask(&self, menu: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.begun.get() {
            self.write("\n");
        }
        self.write(&for_terminal(menu, self.charset));
        read_line(self.input.as_fd(), self.deadlines.menu).map_err(|unread| {
            self.write("\n");
            if unread == Unread::Late {
                self.tell(&format!("Login denied: {NO_INPUT}"));
            }
            unread.into()
        })
    }

    fn waiting(&self, state: Waiting) {
        let _ = self.ticker.take().map(Ticker::stop);
        if state == Waiting::Begins {
            self.count(Instant::now());
        }
    }
}

/// Why there is no line.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// The person ended their input.
    Ended,
    /// They typed nothing, or no end of the line.
    Late,
    /// The terminal is gone: the system's words.
    Broken(String),
    /// Waiting itself failed: the system's words.
    Fault(String),
}

const NO_INPUT: &str = "no input at the menu";

impl From<Unread> for Error {
    fn from(unread: Unread) -> Error {
        Error::GaveUp(match unread {
            Unread::Ended => "end of input".to_owned(),
            Unread::Late => NO_INPUT.to_owned(),
            Unread::Broken(words) => format!("the terminal cannot be read: {words}"),
            Unread::Fault(words) => return Error::fault("wait for a line", words),
        })
    }
}

/// A terminal line is at most this long; more is not kept.
const LONGEST_LINE: usize = 4096;

/// Takes one line from a terminal, byte by byte: what follows stays there.
fn read_line(from: BorrowedFd<'_>, patience: Duration) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let words = |errno: nix::Error| system_words(&errno.into());
    let end = Instant::now() + patience;
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(from, PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(Unread::Late),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => return Err(Unread::Fault(words(errno))),
        }
        let mut byte = Zeroizing::new([0]);
        match nix::unistd::read(from, &mut *byte) {
            Ok(0) => return Err(Unread::Ended),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => return Err(Unread::Broken(words(errno))),
        }
        match *byte {
            [b'\n' | b'\r'] => return Ok(line),
            _ if line.len() < LONGEST_LINE => line.extend_from_slice(&*byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;

    use nix::pty::openpty;
    use nix::sys::termios::{FlowArg, tcflow};

    fn pipe_with(text: &[u8]) -> (OwnedFd, Option<File>) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut writer = File::from(writer);
        writer.write_all(text).unwrap();
        (reader, Some(writer))
    }

    /// A terminal, and the person's end of it.
    fn terminal(capable: bool, deadlines: &Deadlines) -> (Terminal, File) {
        let pty = openpty(None, None).unwrap();
        let ends = [pty.slave.try_clone().unwrap(), pty.slave].map(File::from);
        let terminal = Terminal::new(ends, Charset::Utf8, capable, deadlines);
        (terminal, File::from(pty.master))
    }

    fn impatient() -> Deadlines {
        Deadlines {
            menu: Duration::from_millis(20),
            output: Duration::from_millis(20),
            ..Deadlines::default()
        }
    }

    /// What the terminal has been sent up to `end`.
    fn shown(person: &mut File, end: &str) -> String {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).ends_with(end) {
            let mut chunk = [0; 1024];
            let read = person.read(&mut chunk).unwrap();
            text.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn not_a_byte_beyond_the_line_is_taken() {
        let (reader, writer) = pipe_with(b"1\nls -l\n");
        let line = read_line(reader.as_fd(), Duration::from_secs(5)).unwrap();
        assert_eq!(line.as_slice(), b"1");
        drop(writer);
        let mut rest = String::new();
        File::from(reader).read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "ls -l\n");
    }

    #[test]
    fn the_end_of_input_gives_up() {
        let (reader, mut writer) = pipe_with(b"12");
        writer.take();
        let unread = read_line(reader.as_fd(), Duration::from_secs(5)).unwrap_err();
        assert_eq!(unread, Unread::Ended);
        assert_eq!(Error::from(unread), Error::GaveUp("end of input".into()));
    }

    #[test]
    fn no_line_in_time_gives_up_and_says_so() {
        let (terminal, mut person) = terminal(true, &impatient());
        person.write_all(b"12").unwrap();
        let error = terminal.ask("Passcode: ").unwrap_err();
        assert_eq!(error, Error::GaveUp("no input at the menu".into()));
        let text = shown(&mut person, "menu\r\n");
        assert!(
            text.ends_with("\r\nLogin denied: no input at the menu\r\n"),
            "{text}"
        );
    }

    #[test]
    fn two_minutes_is_the_time_at_the_menu() {
        assert_eq!(Deadlines::default().menu, Duration::from_secs(120));
    }

    #[test]
    fn a_stopped_terminal_misses_a_line_and_holds_nobody_up() {
        let (terminal, mut person) = terminal(true, &impatient());
        tcflow(&terminal.output, FlowArg::TCOOFF).unwrap();
        let start = Instant::now();
        terminal.tell("missed");
        terminal.waiting(Waiting::Begins);
        terminal.waiting(Waiting::Ends);
        assert!(start.elapsed() < Duration::from_secs(1));
        tcflow(&terminal.output, FlowArg::TCOON).unwrap();
        terminal.tell("seen");
        assert_eq!(shown(&mut person, "\n"), "seen\r\n");
    }

    #[test]
    fn the_counter_comes_after_a_second_and_goes_before_the_next_line() {
        let (terminal, mut person) = terminal(true, &Deadlines::default());
        terminal.waiting(Waiting::Begins);
        let text = shown(&mut person, "gives up\r");
        assert_eq!(
            text,
            "\r\u{1b}[Kwaiting for your approval… 1 s, Ctrl-C gives up\r"
        );
        terminal.tell("Success");
        assert_eq!(shown(&mut person, "\n"), "\r\u{1b}[KSuccess\r\n");
    }

    #[test]
    fn a_dumb_terminal_gets_no_counter_and_no_escapes() {
        let (terminal, mut person) = terminal(false, &Deadlines::default());
        terminal.waiting(Waiting::Begins);
        assert!(terminal.ticker.borrow().is_none());
        terminal.show_code("code 708");
        terminal.tell("\x1b[2J");
        assert_eq!(
            shown(&mut person, "J\r\n"),
            "\r\n    code 708\r\n\r\n?[2J\r\n"
        );
    }

    #[test]
    fn an_empty_text_is_no_line() {
        let (terminal, mut person) = terminal(true, &impatient());
        terminal.tell(" \n");
        terminal.tell("one\n\n");
        assert_eq!(shown(&mut person, "one\r\n"), "one\r\n");
    }
}
