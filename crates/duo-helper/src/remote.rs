//! The conversation through pam_duo.so and its host. The host shows texts how it likes,
//! and when it likes: OpenSSH before 10.3 keeps them back until the next question. So
//! what a person must read to go on stands in a question (docs/pam.md, *What sshd shows,
//! and when*). There is no counter, no escape and no QR code.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

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
    /// Whether a question was not answered in time. The host still asks it, so an answer
    /// that comes later is none to any other question.
    is_unanswered: Cell<bool>,
}

/// Why the login is over where nobody answers.
const NO_INPUT: &str = "no input at the menu";

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
            is_unanswered: Cell::new(false),
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
        let socket = self.socket.as_fd();
        if self.waiter.wait(socket, PollFlags::POLLIN, end)? == Waited::TimedOut {
            self.is_unanswered.set(true);
            return Err(Error::GaveUp(NO_INPUT.to_owned()));
        }
        match Answer::read(&read_packet(&self.socket)) {
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
            Message::Unasked(text) | Message::Warn(text) => {
                send_text(&self.socket, Style::Info, text);
            }
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
        let answer = match self.is_unanswered.get() {
            true => Err(Error::GaveUp(NO_INPUT.to_owned())),
            false => self.question(question),
        };
        if self.is_unanswered.get() {
            self.deny(NO_INPUT, Next::Nothing);
        }
        answer
    }
}

/// Receives the claim.
///
/// # Errors
/// [`Error::Fault`] if none came. The module sends its claim before it waits, so either
/// its host has ended, or the kernel had no memory for the packet, which a control group
/// of the caller's can bring about. A login without a claim must not pass for one of an
/// account that does not exist: a stack may ignore `user_unknown`.
pub fn receive(socket: &OwnedFd, ends: &ChildEnds) -> Result<Zeroizing<Vec<u8>>, Error> {
    let waiter = Waiter::new(&SystemClock, Some(&ends.life));
    let end = waiter.deadline_in(Deadlines::default().menu);
    let packet = match waiter.wait(socket.as_fd(), PollFlags::POLLIN, end)? {
        Waited::Ready => read_packet(socket),
        Waited::TimedOut => Zeroizing::default(),
    };
    match packet.is_empty() {
        true => Err(Error::Fault("pam_duo.so sent no claim".to_owned())),
        false => Ok(packet),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use pam_wire::{Message as Shown, Packet};

    use super::*;

    /// What the module would show next.
    fn shown(module: &OwnedFd) -> (Style, String) {
        let packet = read_packet(module);
        let message = Shown::read(&packet).unwrap();
        let text = String::from_utf8(message.text.to_vec()).unwrap();
        (message.style, text)
    }

    fn answer(module: &OwnedFd, line: &[u8]) {
        let mut packet = Packet::new();
        packet.set_answer(Some(line));
        send(module.as_raw_fd(), packet.as_bytes(), MsgFlags::empty()).unwrap();
    }

    #[test]
    fn an_answer_that_comes_too_late_is_none_to_the_next_question() {
        let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let (module, helper) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let waiter = Waiter::new(&SystemClock, None);
        let deadlines = Deadlines {
            menu: Duration::from_millis(20),
            ..Deadlines::default()
        };
        let person = Remote::new(Rc::new(helper), Verbosity::All, deadlines, &waiter);
        answer(&module, b"1\n");
        assert_eq!(*person.ask("Passcode: ").unwrap(), b"1");
        assert_eq!(shown(&module), (Style::Question, "Passcode: ".into()));

        person.show(&Message::Code("enter 708 in Duo Mobile...".into()));
        let code = "enter 708 in Duo Mobile, then press Enter: ";
        assert_eq!(shown(&module), (Style::Question, code.into()));
        answer(&module, b"\n");
        let gave_up = Error::GaveUp("no input at the menu".into());
        assert_eq!(person.ask("Passcode: ").unwrap_err(), gave_up);
        let denial = "Login denied: no input at the menu";
        assert_eq!(shown(&module), (Style::Error, denial.into()));
    }
}
