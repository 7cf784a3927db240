//! The conversation with a person on a terminal (docs/behaviour.md, *At the menu*).
//!
//! Of what the person types at the menu, no byte after the end of the line is read.
//! These bytes belong to the shell: the person may be typing its first command already.
//! While Duo waits for the person, their lines are read too, and what is left of them at
//! the end of the wait is dropped: it may be half a passcode.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Instant;

use duo_policy::clock::Deadlines;
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::text::{Charset, for_terminal};
use duo_system::output::{read_arrived, write_patiently};
use duo_system::system_words;
use duo_system::wait::{Waited, Waiter};
use duo_wire::{Message, Next, Waiting, WaitingFor};
use nix::poll::PollFlags;
use nix::sys::termios::{FlushArg, tcflush};
use zeroize::Zeroizing;

use super::ticker::{self, Ticker};
use super::{Style, Surroundings, qr};

/// The conversation on a terminal.
pub struct Terminal<'w> {
    waiter: &'w Waiter<'w>,
    input: Rc<File>,
    output: File,
    charset: Charset,
    is_capable: bool,
    style: Style,
    deadlines: Deadlines,
    /// While Duo waits for the person.
    wait: RefCell<Option<Wait>>,
    /// Whether a text was written, so that a menu needs a blank line above it.
    has_written: Cell<bool>,
    /// The number of lines that the person was asked for, or has typed meanwhile.
    answers: Cell<u32>,
}

/// What there is while Duo waits for the person.
struct Wait {
    /// `None` where the terminal gets plain lines alone.
    ticker: Option<Ticker>,
    /// What has come of the next line, where a terminal gives less than whole lines.
    begun: Zeroizing<Vec<u8>>,
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Characters in a line.
    pub columns: usize,
}

/// The size of a terminal, if the terminal driver knows it.
pub fn size(terminal: &File) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| Size {
        rows: usize::from(size.ws_row),
        columns: usize::from(size.ws_col),
    })
}

impl<'w> Terminal<'w> {
    /// The conversation that is read from `input` and written to `output`.
    pub fn new(
        [input, output]: [File; 2],
        surroundings: Surroundings,
        deadlines: &Deadlines,
        waiter: &'w Waiter<'w>,
    ) -> Terminal<'w> {
        Terminal {
            waiter,
            input: Rc::new(input),
            output,
            charset: surroundings.charset,
            is_capable: surroundings.is_capable,
            style: surroundings.style,
            deadlines: deadlines.clone(),
            wait: RefCell::default(),
            has_written: Cell::new(false),
            answers: Cell::new(0),
        }
    }

    /// Writes text that is harmless already.
    fn write(&self, text: &str) {
        self.has_written.set(true);
        // If the terminal was stopped, this text is lost, and the login goes on.
        let _ = write_patiently(self.output.as_fd(), text.as_bytes(), self.deadlines.output);
    }

    /// Whether the terminal gets more than plain lines.
    fn is_drawn_on(&self) -> bool {
        self.is_capable && self.style == Style::Drawn
    }

    /// Writes whole lines, above the line in which the person may be typing. `plain` is
    /// `text` without escapes.
    fn write_lines(&self, text: &str, plain: &str) {
        let wait = self.wait.borrow();
        let Some(ticker) = wait.as_ref().and_then(|wait| wait.ticker.as_ref()) else {
            return self.write(text);
        };
        match ticker::inserted(text, plain, &self.output) {
            Some(bytes) => self.write(&bytes),
            None => self.write(&format!("{}{text}", ticker::ERASE)),
        }
        ticker.draw_again(self.waiter.now());
    }

    fn tell(&self, text: &str) {
        let text = for_terminal(text, self.charset);
        let text = text.trim_end();
        if !text.is_empty() {
            let line = format!("{text}\n");
            self.write_lines(&line, &line);
        }
    }

    fn deny(&self, why: &str, next: Next) {
        match next {
            Next::Attempt => self.tell(why),
            Next::Login => {
                self.tell(why);
                if self.answers.get() > 1 {
                    self.tell("Login denied: that was the last attempt");
                }
            }
            Next::Nothing => self.tell(&format!("Login denied: {why}")),
        }
    }

    fn show_code(&self, text: &str) {
        let text = for_terminal(text, self.charset);
        let [bold, normal] = match self.is_drawn_on() {
            true => ["\x1b[1m", "\x1b[0m"],
            false => ["", ""],
        };
        let plain = format!("\n    {}\n\n", text.trim());
        self.write_lines(&format!("\n    {bold}{}{normal}\n\n", text.trim()), &plain);
    }

    fn enrol(&self, text: &str, address: Option<&str>) {
        self.tell(text);
        let size = size(&self.output)
            .filter(|_| self.charset == Charset::Utf8 && self.style == Style::Drawn);
        let address = address.or_else(|| qr::address_in(text));
        if let (Some(address), Some(size)) = (address, size) {
            match qr::drawn(address, size, self.is_capable) {
                Some(Ok(code)) => self.write(&code),
                Some(Err(qr::TooSmall::Narrow)) => {
                    self.tell("A wider terminal shows a QR code, too.");
                }
                Some(Err(qr::TooSmall::Low)) => {
                    self.tell("A higher terminal shows a QR code, too.");
                }
                None => {}
            }
        }
        self.tell("Enrol, then log in again.");
    }

    fn begin_waiting(&self, waiting_for: WaitingFor) {
        let mut wait = self.wait.borrow_mut();
        if let Some(wait) = wait.as_ref() {
            if let Some(ticker) = &wait.ticker {
                ticker.set(waiting_for, self.waiter.now());
            }
            return;
        }
        let ticker = match self.is_drawn_on() {
            true => Ticker::start(&self.output, self.charset, waiting_for, self.waiter),
            false => {
                self.write(&ticker::sentence(waiting_for));
                None
            }
        };
        self.waiter.set_keyboard(Some(self.input.clone()));
        let begun = Zeroizing::default();
        *wait = Some(Wait { ticker, begun });
    }

    /// Leaves neither a trace of the ticker nor what the person has typed since their
    /// last whole line: the shell would take it for the begin of a command.
    fn end_waiting(&self) {
        if self.wait.take().is_some() {
            self.waiter.set_keyboard(None);
            self.waiter.stop_ticking();
            // A terminal that is gone has nothing to drop.
            let _ = tcflush(&*self.input, FlushArg::TCIFLUSH);
            if self.is_capable {
                let erase = ticker::ERASE.as_bytes();
                let _ = write_patiently(self.output.as_fd(), erase, self.deadlines.output);
            }
        }
    }
}

impl Conversation for Terminal<'_> {
    fn is_interactive(&self) -> bool {
        true
    }

    fn show(&self, message: &Message) {
        match message {
            Message::Tell(text) | Message::Unasked(text) | Message::Warn(text) => self.tell(text),
            Message::Denied { why, next } => self.deny(why, *next),
            Message::Code(text) => self.show_code(text),
            Message::Enrol { text, address } => self.enrol(text, address.as_deref()),
            Message::Waiting(Waiting::Begins(waiting_for)) => self.begin_waiting(*waiting_for),
            Message::Waiting(Waiting::Ends) => self.end_waiting(),
        }
    }

    fn ask(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.has_written.get() {
            self.write("\n");
        }
        self.answers.set(self.answers.get() + 1);
        self.write(&for_terminal(question, self.charset));
        let end = self.waiter.deadline_in(self.deadlines.menu);
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
        let reading = read_line(self.input.as_fd(), &mut line, end, self.waiter);
        let reading = reading.inspect_err(|_| {
            // The parent writes next, and expects the cursor of a capable terminal at
            // the start of a line.
            if self.is_capable {
                self.write("\n");
            }
        });
        match reading? {
            LineRead::Line => Ok(line),
            no_line => {
                self.write("\n");
                let why = no_line.why();
                if matches!(no_line, LineRead::Late) {
                    self.deny(&why, Next::Nothing);
                }
                Err(Error::GaveUp(why))
            }
        }
    }

    fn typed(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let mut wait = self.wait.borrow_mut();
        let Some(wait) = wait.as_mut() else {
            return Ok(None);
        };
        let now = self.waiter.now();
        match read_line(self.input.as_fd(), &mut wait.begun, now, self.waiter)? {
            LineRead::Line => {}
            LineRead::Late => return Ok(None),
            // A process in the background cannot read its terminal. Duo's yes counts there too.
            LineRead::Broken(_) => {
                self.waiter.set_keyboard(None);
                return Ok(None);
            }
            LineRead::Ended => return Err(Error::GaveUp(LineRead::Ended.why())),
        }
        let line = std::mem::take(&mut wait.begun);
        if !line.is_empty() {
            self.answers.set(self.answers.get() + 1);
        }
        if let Some(ticker) = &wait.ticker {
            if line.is_empty() {
                self.write(ticker::BACK);
            }
            ticker.draw_again(now);
        }
        Ok(Some(line))
    }
}

/// How waiting for a line ended.
#[derive(Debug, PartialEq, Eq)]
enum LineRead {
    /// The person typed a line.
    Line,
    /// The person ended the input.
    Ended,
    /// The person typed nothing, or no end of the line, until the deadline.
    Late,
    /// The terminal cannot be read, with the system's words for why.
    Broken(String),
}

impl LineRead {
    /// Why there is no line.
    fn why(&self) -> String {
        match self {
            LineRead::Line => String::new(),
            LineRead::Ended => "end of input".to_owned(),
            LineRead::Late => "no input at the menu".to_owned(),
            LineRead::Broken(words) => format!("the terminal cannot be read: {words}"),
        }
    }
}

/// The most bytes of a line that are kept. A terminal gives no longer line.
const LONGEST_LINE: usize = 4096;

/// Reads one line from a terminal, byte by byte, so that what follows the line
/// stays in the terminal. `line` gets it, and keeps what has come of a line that has no
/// end yet.
///
/// # Errors
/// Those of [`Waiter::wait`].
fn read_line(
    from: BorrowedFd<'_>,
    line: &mut Zeroizing<Vec<u8>>,
    end: Instant,
    waiter: &Waiter<'_>,
) -> Result<LineRead, Error> {
    // A vector that grows leaves copies of what it held.
    let room = LONGEST_LINE.saturating_sub(line.len());
    line.reserve_exact(room);
    loop {
        if waiter.wait(from, PollFlags::POLLIN, end)? == Waited::TimedOut {
            return Ok(LineRead::Late);
        }
        let mut byte = Zeroizing::new([0]);
        match read_arrived(from, &mut byte) {
            Ok(0) => return Ok(LineRead::Ended),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => return Ok(LineRead::Broken(system_words(&errno.into()))),
        }
        match *byte {
            [b'\n' | b'\r'] => return Ok(LineRead::Line),
            _ if line.len() < LONGEST_LINE => line.extend_from_slice(&*byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Reader;
    use super::*;
    use duo_system::wait::SystemClock;
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
    fn terminal<'w>(
        is_capable: bool,
        deadlines: &Deadlines,
        waiter: &'w Waiter<'w>,
    ) -> (Terminal<'w>, File) {
        let pty = openpty(None, None).unwrap();
        let ends = [pty.slave.try_clone().unwrap(), pty.slave].map(File::from);
        let surroundings = Surroundings {
            charset: Charset::Utf8,
            is_capable,
            style: Style::Drawn,
            reader: Reader::Person,
        };
        let terminal = Terminal::new(ends, surroundings, deadlines, waiter);
        (terminal, File::from(pty.master))
    }

    fn waiter() -> Waiter<'static> {
        Waiter::new(&SystemClock, None)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
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
        let mut line = Zeroizing::default();
        let read = read_line(reader.as_fd(), &mut line, soon(), &waiter()).unwrap();
        assert_eq!((read, line.as_slice()), (LineRead::Line, &b"1"[..]));
        drop(writer);
        let mut rest = String::new();
        File::from(reader).read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "ls -l\n");
    }

    #[test]
    fn the_end_of_input_gives_up() {
        let (reader, mut writer) = pipe_with(b"12");
        writer.take();
        let mut line = Zeroizing::default();
        let unread = read_line(reader.as_fd(), &mut line, soon(), &waiter()).unwrap();
        assert_eq!(unread, LineRead::Ended);
        assert_eq!(unread.why(), "end of input");
    }

    #[test]
    fn no_line_in_time_gives_up_and_says_so() {
        let waiter = waiter();
        let (terminal, mut person) = terminal(true, &impatient(), &waiter);
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

    const BEGINS: Message = Message::Waiting(Waiting::Begins(WaitingFor::ApprovalOrPasscode));
    const ENDS: Message = Message::Waiting(Waiting::Ends);

    #[test]
    fn a_stopped_terminal_misses_a_line_and_holds_nobody_up() {
        let waiter = waiter();
        let (terminal, mut person) = terminal(true, &impatient(), &waiter);
        tcflow(&terminal.output, FlowArg::TCOOFF).unwrap();
        let start = Instant::now();
        terminal.tell("missed");
        terminal.show(&BEGINS);
        terminal.show(&ENDS);
        assert!(start.elapsed() < Duration::from_secs(1));
        tcflow(&terminal.output, FlowArg::TCOON).unwrap();
        terminal.tell("seen");
        assert_eq!(shown(&mut person, "\n"), "seen\r\n");
    }

    #[test]
    fn the_ticker_comes_after_a_second_and_goes_before_the_next_line() {
        let waiter = waiter();
        let (terminal, mut person) = terminal(true, &Deadlines::default(), &waiter);
        terminal.show(&BEGINS);
        let (nothing, _writer) = nix::unistd::pipe().unwrap();
        let end = Instant::now() + Duration::from_millis(1_100);
        let waited = waiter.wait(nothing.as_fd(), PollFlags::POLLIN, end);
        assert_eq!(waited, Ok(Waited::TimedOut));
        // Below the line in which the person types, and back.
        let text = "waiting for your approval… 1 s, or type a passcode (Ctrl-C gives up)";
        assert_eq!(
            shown(&mut person, "\x1b8"),
            format!("\x0b\x1b[A\x1b7\x1b[J\x1b[B\r{text}\x1b8")
        );
        terminal.show(&ENDS);
        terminal.tell("Success");
        assert_eq!(shown(&mut person, "\n"), "\r\u{1b}[JSuccess\r\n");
    }

    #[test]
    fn a_dumb_terminal_gets_no_ticker_and_no_escapes() {
        let waiter = waiter();
        let (terminal, mut person) = terminal(false, &Deadlines::default(), &waiter);
        terminal.show(&BEGINS);
        terminal.show_code("code 708");
        terminal.tell("\x1b[2J");
        terminal.show(&ENDS);
        let begins = "waiting for your approval, or type a passcode (Ctrl-C gives up)";
        assert_eq!(
            shown(&mut person, "J\r\n"),
            format!("{begins}\r\n\r\n    code 708\r\n\r\n?[2J\r\n")
        );
    }

    #[test]
    fn lines_are_taken_while_duo_waits_and_the_rest_of_a_line_is_dropped() {
        let waiter = waiter();
        let (terminal, mut person) = terminal(false, &Deadlines::default(), &waiter);
        let nothing = || terminal.typed().unwrap().is_none();
        person.write_all(b"before\n").unwrap();
        assert!(nothing(), "Duo does not wait yet");
        terminal.show(&BEGINS);
        let line = |terminal: &Terminal<'_>| terminal.typed().unwrap().unwrap().to_vec();
        assert_eq!(line(&terminal), b"before");
        person.write_all(b"1\n2").unwrap();
        assert_eq!(line(&terminal), b"1");
        assert!(nothing(), "half a line is none");
        terminal.show(&ENDS);
        person.write_all(b"3\n").unwrap();
        let mut rest = [0; 8];
        let read = (&*terminal.input).read(&mut rest).unwrap();
        assert_eq!(&rest[..read], b"3\n");
    }

    #[test]
    fn an_empty_text_is_no_line() {
        let waiter = waiter();
        let (terminal, mut person) = terminal(true, &impatient(), &waiter);
        terminal.tell(" \n");
        terminal.tell("one\n\n");
        assert_eq!(shown(&mut person, "one\r\n"), "one\r\n");
    }
}
