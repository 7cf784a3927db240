//! No terminal: nobody to ask, and stdout belongs to a program. A line on
//! stderr at most, each one beginning with `Duo: `, for the person in front of
//! scp or git.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Conversation, Waiting};
use crate::clock::Deadlines;
use crate::error::Error;
use crate::log::{Charset, one_line, write_patiently};
use crate::privsep::THREAD_STACK;

/// What is said when no answer has come for a while.
const NOTICE: &str = "a login request was sent, please approve it on your phone";

/// A conversation with nobody.
pub struct Headless {
    voice: Voice,
    notice_after: Duration,
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
            notice_after: deadlines.headless_notice,
            notice: RefCell::default(),
            noticed: Cell::new(false),
        }
    }
}

impl Conversation for Headless {
    fn interactive(&self) -> bool {
        false
    }

    fn tell(&self, _text: &str) {}

    fn tell_always(&self, text: &str) {
        self.waiting(Waiting::Ends);
        self.voice.say(text);
    }

    fn show_code(&self, text: &str) {
        // It says that a request was sent, and more.
        self.noticed.set(true);
        self.tell_always(text);
    }

    fn ask(&self, _menu: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        Err(Error::GaveUp("there is nobody to ask".to_owned()))
    }

    fn waiting(&self, state: Waiting) {
        if let Some((stop, thread)) = self.notice.take() {
            drop(stop);
            let came = thread.join().unwrap_or_default();
            self.noticed.set(self.noticed.get() || came);
        }
        if state == Waiting::Ends || self.noticed.get() {
            return;
        }
        let (voice, after) = (self.voice, self.notice_after);
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
