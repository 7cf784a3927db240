//! The conversation where nobody can be asked and stdout belongs to a program. For
//! the person in front of scp or git, stderr gets a line or two, each with `Duo: `
//! in front. Where stderr is a terminal, it is the screen of the program, so the
//! notice that a request was sent is not written (docs/behaviour.md, *Without a
//! menu*).

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use duo_policy::clock::Deadlines;
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::text::{Charset, one_line};
use duo_system::output::write_patiently;
use duo_system::wait::Waiter;
use duo_wire::{Message, Next, Waiting};
use zeroize::Zeroizing;

/// The text of the notice, which is written when no answer has come for a while.
const NOTICE: &str = "a login request was sent, please approve it on your phone";

/// The conversation on stderr alone.
pub struct Headless<'w> {
    waiter: &'w Waiter<'w>,
    stderr: Stderr,
    /// `None` where the notice would stand in a program's output.
    notice_after: Option<Duration>,
    /// Whether the person knows that a request was sent.
    is_noticed: Rc<Cell<bool>>,
}

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

impl<'w> Headless<'w> {
    /// A conversation in this character set.
    pub fn new(charset: Charset, deadlines: &Deadlines, waiter: &'w Waiter<'w>) -> Headless<'w> {
        Headless {
            waiter,
            stderr: Stderr {
                charset,
                patience: deadlines.output,
            },
            notice_after: (!io::stderr().is_terminal()).then_some(deadlines.headless_notice),
            is_noticed: Rc::default(),
        }
    }

    /// Stops the notice, if it has not been written yet, and writes a line.
    fn write_line(&self, text: &str) {
        self.waiter.stop_ticking();
        self.stderr.write_line(text);
    }

    /// Begins or ends a wait. The notice is written once in a login, when a wait has
    /// lasted for some time.
    fn wait(&self, state: Waiting) {
        self.waiter.stop_ticking();
        let Some(after) = self.notice_after else {
            return;
        };
        if state == Waiting::Ends || self.is_noticed.get() {
            return;
        }
        let (stderr, is_noticed) = (self.stderr, Rc::clone(&self.is_noticed));
        let write = move |_| {
            stderr.write_line(NOTICE);
            is_noticed.set(true);
            None
        };
        self.waiter
            .start_ticking(self.waiter.now() + after, Box::new(write));
    }
}

impl Conversation for Headless<'_> {
    fn is_interactive(&self) -> bool {
        false
    }

    fn show(&self, message: &Message) {
        match message {
            Message::Tell(_) | Message::Unasked(_) | Message::Warn(_) => {}
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
