//! What the person sees and types: on a terminal, or, where nobody can be
//! asked (scp, sftp, rsync, git, cron), a line or two on stderr.
//!
//! Everything shown passes `log`'s sanitising; nothing waits for a reader that
//! has stopped reading; of what is typed, not a byte beyond the line is taken,
//! since that belongs to the shell.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zeroize::Zeroizing;

use crate::clock::Deadlines;
use crate::error::{Error, system_words};
use crate::log::{Charset, for_terminal, one_line, write_patiently};
use crate::privsep::THREAD_STACK;

/// The person at the other end, if there is one.
pub trait Conversation {
    /// Whether a question can be answered.
    fn interactive(&self) -> bool;

    /// Tells something that Duo or we have to say. Headless, it stays unsaid.
    fn tell(&self, text: &str);

    /// Tells what must be told even where nobody can be asked: why it failed,
    /// or a code to type into the phone.
    fn tell_always(&self, text: &str);

    /// Shows `menu` and takes one line, without its end.
    ///
    /// # Errors
    /// [`Error::GaveUp`] at the end of input, or without input for too long.
    fn ask(&self, menu: &str) -> Result<Zeroizing<Vec<u8>>, Error>;

    /// Duo waits for the person from here on, or (false) no longer.
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

/// Opens the conversation that descriptors 0 and 2 allow.
pub fn open(charset: Charset, capable: bool, deadlines: &Deadlines) -> Box<dyn Conversation> {
    let stdin = io::stdin();
    let Some(output) = stdin
        .is_terminal()
        .then(|| terminal_output(stdin.as_fd()))
        .flatten()
    else {
        return Box::new(Headless::new(charset, deadlines));
    };
    Box::new(Terminal {
        output,
        charset,
        capable,
        deadlines: deadlines.clone(),
        ticker: RefCell::default(),
    })
}

/// Where to write: the terminal that we read from; where that descriptor is
/// read-only, `/dev/tty`.
fn terminal_output(stdin: BorrowedFd<'_>) -> Option<File> {
    let flags = OFlag::from_bits_truncate(fcntl(stdin, FcntlArg::F_GETFL).ok()?);
    match flags & OFlag::O_ACCMODE {
        OFlag::O_RDWR | OFlag::O_WRONLY => stdin.try_clone_to_owned().ok().map(File::from),
        _ => File::options().write(true).open("/dev/tty").ok(),
    }
}

/// A terminal: descriptor 0.
struct Terminal {
    output: File,
    charset: Charset,
    capable: bool,
    deadlines: Deadlines,
    ticker: RefCell<Option<Ticker>>,
}

impl Terminal {
    fn write(&self, text: &str) {
        let text = for_terminal(text, self.charset);
        // A terminal that was stopped misses a line; the login goes on.
        let _ = write_patiently(self.output.as_fd(), text.as_bytes(), self.deadlines.output);
    }
}

impl Conversation for Terminal {
    fn interactive(&self) -> bool {
        true
    }

    fn tell(&self, text: &str) {
        let waiting = self.ticker.take().map(Ticker::stop);
        self.write(&format!("{}\n", text.trim_end()));
        if let Some(since) = waiting {
            self.ticker.replace(self.start_ticker(since));
        }
    }

    fn tell_always(&self, text: &str) {
        self.tell(text);
    }

    fn ask(&self, menu: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.write(menu);
        let line = read_line(io::stdin().as_fd(), self.deadlines.menu);
        if line.is_err() {
            self.write("\n");
        }
        line
    }

    fn waiting(&self, state: Waiting) {
        let _ = self.ticker.take().map(Ticker::stop);
        if state == Waiting::Begins {
            self.ticker.replace(self.start_ticker(Instant::now()));
        }
    }
}

impl Terminal {
    /// Without a thread there is no counter, and nothing worse.
    fn start_ticker(&self, since: Instant) -> Option<Ticker> {
        if !self.capable {
            return None;
        }
        let output = self.output.try_clone().ok()?;
        let dots = if self.charset == Charset::Utf8 {
            "…"
        } else {
            "..."
        };
        let patience = self.deadlines.output;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ticker".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                let mut shown = false;
                while stopped.recv_timeout(next_second(since)) == Err(RecvTimeoutError::Timeout) {
                    let seconds = since.elapsed().as_secs();
                    // Back to the first column, text, erase the rest of the line.
                    let line = format!(
                        "\rwaiting for your approval{dots} {seconds} s, Ctrl-C gives up\x1b[K"
                    );
                    shown |= write_patiently(output.as_fd(), line.as_bytes(), patience).is_ok();
                }
                if shown {
                    let _ = write_patiently(output.as_fd(), b"\r\x1b[K", patience);
                }
            })
            .ok()?;
        Some(Ticker {
            stop,
            thread,
            since,
        })
    }
}

fn next_second(since: Instant) -> Duration {
    let part = Duration::from_nanos(u64::from(since.elapsed().subsec_nanos()));
    Duration::from_secs(1).saturating_sub(part)
}

/// The last line of the terminal while Duo waits for the person.
struct Ticker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    since: Instant,
}

impl Ticker {
    /// Erases the line; returns when the waiting began.
    fn stop(self) -> Instant {
        drop(self.stop);
        let _ = self.thread.join();
        self.since
    }
}

/// Takes one line from a terminal, byte by byte: what follows stays there.
fn read_line(from: BorrowedFd<'_>, patience: Duration) -> Result<Zeroizing<Vec<u8>>, Error> {
    let end = Instant::now() + patience;
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(from, PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(Error::GaveUp("no input at the menu".to_owned())),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => return Err(Error::fault("wait for a line", errno.desc())),
        }
        let mut byte = [0];
        match nix::unistd::read(from, &mut byte) {
            Ok(0) => return Err(Error::GaveUp("end of input".to_owned())),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(errno) => {
                let words = system_words(&errno.into());
                return Err(Error::GaveUp(format!(
                    "the terminal cannot be read: {words}"
                )));
            }
        }
        match byte {
            [b'\n' | b'\r'] => return Ok(line),
            // A terminal line is at most 4096 bytes long; more is not kept.
            _ if line.len() < 4096 => line.extend_from_slice(&byte),
            _ => {}
        }
    }
}

/// No terminal: nobody to ask, and stdout belongs to a program.
struct Headless {
    charset: Charset,
    patience: Duration,
    notice_after: Duration,
    notice: RefCell<Option<Notice>>,
    noticed: Cell<bool>,
}

/// The line that comes if nothing else does: how to stop it, and whether it came.
type Notice = (Sender<()>, JoinHandle<bool>);

impl Headless {
    fn new(charset: Charset, deadlines: &Deadlines) -> Headless {
        Headless {
            charset,
            patience: deadlines.output,
            notice_after: deadlines.headless_notice,
            notice: RefCell::default(),
            noticed: Cell::new(false),
        }
    }
}

fn headless_line(text: &str, charset: Charset, patience: Duration) {
    // Each line of the text, so that every line on stderr begins with our name.
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line = format!("Duo: {}\n", one_line(line.trim(), charset));
        let _ = write_patiently(io::stderr().as_fd(), line.as_bytes(), patience);
    }
}

impl Conversation for Headless {
    fn interactive(&self) -> bool {
        false
    }

    fn tell(&self, _text: &str) {}

    fn tell_always(&self, text: &str) {
        self.waiting(Waiting::Ends);
        headless_line(text, self.charset, self.patience);
    }

    fn ask(&self, _menu: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        Err(Error::GaveUp("there is nobody to ask".to_owned()))
    }

    fn waiting(&self, state: Waiting) {
        if let Some((stop, thread)) = self.notice.take() {
            drop(stop);
            self.noticed
                .set(self.noticed.get() || thread.join().unwrap_or_default());
        }
        if state == Waiting::Ends || self.noticed.get() {
            return;
        }
        let (charset, patience, after) = (self.charset, self.patience, self.notice_after);
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("notice".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                let late = stopped.recv_timeout(after) == Err(RecvTimeoutError::Timeout);
                if late {
                    let text = "a login request was sent, please approve it on your phone";
                    headless_line(text, charset, patience);
                }
                late
            });
        // Without a thread there is no notice, and nothing worse.
        self.notice
            .replace(thread.ok().map(|thread| (stop, thread)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pipe_with(text: &[u8]) -> (std::os::fd::OwnedFd, Option<File>) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut writer = File::from(writer);
        writer.write_all(text).unwrap();
        (reader, Some(writer))
    }

    #[test]
    fn not_a_byte_beyond_the_line_is_taken() {
        let (reader, writer) = pipe_with(b"1\nls -l\n");
        let line = read_line(reader.as_fd(), Duration::from_secs(5)).unwrap();
        assert_eq!(line.as_slice(), b"1");
        drop(writer);
        let mut rest = String::new();
        io::Read::read_to_string(&mut File::from(reader), &mut rest).unwrap();
        assert_eq!(rest, "ls -l\n");
    }

    #[test]
    fn the_end_of_input_gives_up() {
        let (reader, mut writer) = pipe_with(b"12");
        writer.take();
        let error = read_line(reader.as_fd(), Duration::from_secs(5)).unwrap_err();
        assert_eq!(error, Error::GaveUp("end of input".into()));
    }

    #[test]
    fn no_line_in_time_gives_up() {
        let (reader, _writer) = pipe_with(b"12");
        let error = read_line(reader.as_fd(), Duration::from_millis(10)).unwrap_err();
        assert_eq!(error, Error::GaveUp("no input at the menu".into()));
    }
}
