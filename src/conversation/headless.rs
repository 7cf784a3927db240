//! Nobody to ask, and stdout belongs to a program. A line on stderr at most,
//! each one beginning with `Duo: `, for the person in front of scp or git. Where
//! stderr is a terminal, it is the program's screen: then only what the login
//! cannot do without.

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

/// What is said when no answer has come for a while.
const NOTICE: &str = "a login request was sent, please approve it on your phone";

/// A conversation with nobody.
pub struct Headless {
    voice: Voice,
    /// None where a notice would stand in a program's output.
    notice_after: Option<Duration>,
    notice: RefCell<Option<Notice>>,
    noticed: Cell<bool>,
}

/// The line that comes if nothing else does: how to stop it, and whether it came.
type Notice = (Sender<()>, JoinHandle<bool>);

/// stderr.
#[derive(Clone, Copy)]
struct Voice {
    charset: Charset,
    patience: Duration,
}

impl Voice {
    /// One line, whatever `text` is made of.
    fn say(self, text: &str) {
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
    /// A conversation on stderr alone.
    pub fn new(charset: Charset, deadlines: &Deadlines) -> Headless {
        Headless {
            voice: Voice {
                charset,
                patience: deadlines.output,
            },
            notice_after: (!io::stderr().is_terminal()).then_some(deadlines.headless_notice),
            notice: RefCell::default(),
            noticed: Cell::new(false),
        }
    }
}

impl Headless {
    /// Says what must be said.
    fn say(&self, text: &str) {
        self.wait(Waiting::Ends);
        self.voice.say(text);
    }

    fn wait(&self, state: Waiting) {
        if let Some((stop, thread)) = self.notice.take() {
            drop(stop);
            let came = thread.join().unwrap_or_default();
            self.noticed.set(self.noticed.get() || came);
        }
        let Some(after) = self.notice_after else {
            return;
        };
        if state == Waiting::Ends || self.noticed.get() {
            return;
        }
        let voice = self.voice;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("notice".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                let late = stopped.recv_timeout(after) == Err(RecvTimeoutError::Timeout);
                if late {
                    voice.say(NOTICE);
                }
                late
            });
        // Without a thread there is no notice, and nothing worse.
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
                self.say(&match next {
                    Next::Nothing => format!("Login denied: {why}"),
                    Next::Attempt | Next::Login => format!(
                        "Login denied: {why}{stop} To be asked again, run your command again."
                    ),
                });
            }
            Message::Code(text) => {
                // It says that a request was sent, and more.
                self.noticed.set(true);
                self.say(text);
            }
            Message::Enrol { text, .. } => self.say(text),
            Message::Waiting(state) => self.wait(*state),
        }
    }

    fn ask(&self, _question: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        Err(Error::GaveUp("there is nobody to ask".to_owned()))
    }
}
