//! The conversation where nobody can be asked and stdout belongs to a program. For
//! the person in front of scp or git, stderr gets a line or two, each with `Duo: `
//! in front. Where stderr is a terminal, it is the screen of the program, so the
//! notice that a request was sent is not written (docs/behaviour.md, *Without a
//! menu*).

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use duo_policy::clock::Deadlines;
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::text::{Charset, one_line};
use duo_system::output::write_patiently;
use duo_system::privsep::THREAD_STACK;
use duo_wire::{Message, Next, Waiting};
use zeroize::Zeroizing;

/// The text of the notice, which is written when no answer has come for a while.
const NOTICE: &str = "a login request was sent, please approve it on your phone";

/// The conversation on stderr alone.
pub struct Headless {
    stderr: Stderr,
    /// `None` where the notice would stand in a program's output.
    notice_after: Option<Duration>,
    notice: RefCell<Option<PendingNotice>>,
    /// Whether the person knows that a request was sent.
    is_noticed: Cell<bool>,
}

/// The thread that writes the notice: dropping the sender stops it, and the thread
/// returns whether it wrote.
type PendingNotice = (Sender<()>, JoinHandle<bool>);

/// How lines are written to stderr.
#[derive(Clone, Copy)]
struct Stderr {
    charset: Charset,
    patience: Duration,
}

impl Stderr {
    /// Writes `text`, which may hold anything, as one line.
    fn write_line(self, text: &str) {
        let words: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let line = format!("Duo: {}\n", one_line(&words.join(" "), self.charset));
        let _ = write_patiently(io::stderr().as_fd(), line.as_bytes(), self.patience);
    }
}

impl Headless {
    /// A conversation in this character set.
    pub fn new(charset: Charset, deadlines: &Deadlines) -> Headless {
        Headless {
            stderr: Stderr {
                charset,
                patience: deadlines.output,
            },
            notice_after: (!io::stderr().is_terminal()).then_some(deadlines.headless_notice),
            notice: RefCell::default(),
            is_noticed: Cell::new(false),
        }
    }

    /// Stops the notice, if it has not been written yet, and writes a line.
    fn write_line(&self, text: &str) {
        self.wait(Waiting::Ends);
        self.stderr.write_line(text);
    }

    /// Stops the notice and, where a wait begins, starts it anew.
    fn wait(&self, state: Waiting) {
        if let Some((stop, thread)) = self.notice.take() {
            drop(stop);
            let is_written = thread.join().unwrap_or_default();
            self.is_noticed.set(self.is_noticed.get() || is_written);
        }
        let Some(after) = self.notice_after else {
            return;
        };
        if state == Waiting::Ends || self.is_noticed.get() {
            return;
        }
        let stderr = self.stderr;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("notice".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                let is_due = stopped.recv_timeout(after) == Err(RecvTimeoutError::Timeout);
                if is_due {
                    stderr.write_line(NOTICE);
                }
                is_due
            });
        // If the thread cannot start, only the notice is missing.
        self.notice
            .replace(thread.ok().map(|thread| (stop, thread)));
    }
}

impl Conversation for Headless {
    fn is_interactive(&self) -> bool {
        false
    }

    fn show(&self, message: &Message) {
        match message {
            Message::Tell(_) => {}
            Message::Denied { why, next } => {
                let stop = if why.ends_with('.') { "" } else { "." };
                self.write_line(&match next {
                    Next::Nothing => format!("Login denied: {why}"),
                    Next::Attempt | Next::Login => format!(
                        "Login denied: {why}{stop} To be asked again, run your command again."
                    ),
                });
            }
            Message::Code(text) => {
                // The code also tells that a request was sent.
                self.is_noticed.set(true);
                self.write_line(text);
            }
            Message::Enrol { text, .. } => self.write_line(text),
            Message::Waiting(state) => self.wait(*state),
        }
    }

    fn ask(&self, _question: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        Err(Error::GaveUp("there is nobody to ask".to_owned()))
    }
}
