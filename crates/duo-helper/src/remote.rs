//! The conversation through pam_duo.so and its host. The host shows texts how it likes,
//! and when it likes: OpenSSH before 10.3 keeps them back until the next question. So
//! what a person must read to go on stands in a question (docs/pam.md, *What the person
//! sees*). There is no counter, no escape and no QR code.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use duo_policy::clock::Deadlines;
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::text::{Charset, for_terminal};
use duo_system::privsep::ChildEnds;
use duo_system::wait::{SystemClock, Waited, Waiter};
use duo_wire::{Message, Next};
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, recv, send};
use pam_wire::{Answer, LONGEST, Style};
use zeroize::Zeroizing;

use crate::claim::Verbosity;

/// The conversation of one login.
pub struct Remote<'w> {
    socket: Rc<OwnedFd>,
    verbosity: Verbosity,
    deadlines: Deadlines,
    waiter: &'w Waiter<'w>,
}

impl<'w> Remote<'w> {
    /// A conversation through this socket.
    pub fn new(
        socket: Rc<OwnedFd>,
        verbosity: Verbosity,
        deadlines: Deadlines,
        waiter: &'w Waiter<'w>,
    ) -> Remote<'w> {
        Remote {
            socket,
            verbosity,
            deadlines,
            waiter,
        }
    }

    fn deny(&self, why: &str, next: Next) {
        match next {
            Next::Attempt | Next::Login => send_text(&self.socket, Style::Error, why),
            Next::Nothing => send_denial(&self.socket, why),
        }
    }

    /// Asks, and returns what was typed up to its line end.
    fn question(&self, text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        send_text(&self.socket, Style::Question, text);
        let end = self.waiter.deadline_in(self.deadlines.menu);
        let packet = self.packet(end)?;
        match Answer::read(&packet) {
            Some(Answer::Line(line)) => {
                let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                let line = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
                Ok(Zeroizing::new(line.to_vec()))
            }
            Some(Answer::Nothing) | None => {
                let why = "the program that asks gave no answer";
                Err(Error::GaveUp(why.to_owned()))
            }
        }
    }

    /// The next packet, empty after the end.
    fn packet(&self, end: Instant) -> Result<Zeroizing<Vec<u8>>, Error> {
        let waited = self
            .waiter
            .wait(self.socket.as_fd(), PollFlags::POLLIN, end)?;
        if waited == Waited::TimedOut {
            let why = "no input at the menu";
            self.deny(why, Next::Nothing);
            return Err(Error::GaveUp(why.to_owned()));
        }
        Ok(read_packet(&self.socket))
    }
}

impl Conversation for Remote<'_> {
    fn is_interactive(&self) -> bool {
        true
    }

    fn show(&self, message: &Message) {
        match message {
            Message::Tell(text) => {
                if self.verbosity == Verbosity::All {
                    send_text(&self.socket, Style::Info, text);
                }
            }
            Message::Unasked(text) => send_text(&self.socket, Style::Info, text),
            Message::Denied { why, next } => self.deny(why, *next),
            Message::Code(text) => {
                let text = text.trim().trim_end_matches(['.', '\u{2026}']);
                // The person has read the code and entered it, or the host cannot ask:
                // either way Duo knows what comes next.
                let _ = self.question(&format!("{text}, then press Enter: "));
            }
            Message::Enrol { text, .. } => {
                let text = format!("{}\nEnrol, then log in again.", text.trim_end());
                send_text(&self.socket, Style::Error, &text);
            }
            Message::Waiting(_) => {}
        }
    }

    fn ask(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.question(question)
    }
}

/// Receives the claim. Empty if the host has ended.
pub fn receive(socket: &OwnedFd, ends: &ChildEnds) -> Vec<u8> {
    let waiter = Waiter::new(&SystemClock, Some(&ends.life));
    // The module sends its claim before it waits, so only its end can keep it away.
    let end = waiter.deadline_in(Deadlines::default().menu);
    match waiter.wait(socket.as_fd(), PollFlags::POLLIN, end) {
        Ok(Waited::Ready) => std::mem::take(&mut *read_packet(socket)),
        Ok(Waited::TimedOut) | Err(_) => Vec::new(),
    }
}

/// Shows why a login is denied.
pub fn send_denial(socket: &OwnedFd, why: &str) {
    send_text(socket, Style::Error, &format!("Login denied: {why}"));
}

/// Shows lines about this login.
pub fn send_complaint(socket: &OwnedFd, lines: &str) {
    send_text(socket, Style::Error, lines);
}

/// Sends a text, which may hold anything. Where the module does not read, the text is
/// lost: the host is gone, or shows hundreds of them.
fn send_text(socket: &OwnedFd, style: Style, text: &str) {
    // Nobody knows the locale of the person's terminal.
    let text = for_terminal(text, Charset::Ascii);
    let text = match style {
        Style::Question => &text,
        Style::Info | Style::Error => text.trim_end(),
    };
    if text.is_empty() {
        return;
    }
    let mut packet = vec![style.to_byte()];
    packet.extend(text.bytes().take(LONGEST - 2));
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let _ = send(socket.as_raw_fd(), &packet, flags);
}

/// The packet that has come; empty after the end.
fn read_packet(socket: &OwnedFd) -> Zeroizing<Vec<u8>> {
    let mut buffer = Zeroizing::new(vec![0; LONGEST]);
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
    buffer.truncate(length);
    buffer
}
