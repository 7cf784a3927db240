//! pam_duo.so: Duo as a module of PAM. It runs inside sshd, sudo, su and login, so it
//! does as little as can be done there: it starts a helper, hands the helper's
//! questions to the host's conversation, and returns what the helper ruled. It speaks
//! no TLS, starts no thread, allocates nothing, and changes nothing of the host's: no
//! signal, descriptor, environment, folder or locale (docs/pam.md, *Two pieces*).
//!
//! A panic would end the host. There is none: the panic handler calls a function that
//! does not exist, so a build in which some code could panic does not link. That is
//! why all code here uses `get`, `split_first` and `checked_add`, and formats nothing.
//! An error of this kind in a build names [`a_panic_is_possible`].
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code)]

mod conversation;
mod descriptor;
mod log;
mod pam;
mod start;

use core::ffi::{CStr, c_char, c_int};

use conversation::Conversation;
use descriptor::Received;
use pam::{Code, Handle};
use pam_wire::{Message, Packet, Ruling, Style};
use start::Started;

/// Asks Duo, in a helper.
///
/// # Safety
/// PAM calls this, as pam_sm_authenticate(3) says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_authenticate(
    handle: *mut Handle,
    flags: c_int,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: PAM passes its handle, and `count` strings that it keeps for this call.
    let arguments = unsafe { pam::arguments(count, arguments) };
    authenticate(handle, flags, arguments) as c_int
}

fn authenticate(handle: *mut Handle, flags: c_int, arguments: &[*const c_char]) -> Code {
    let failed = |why: &[u8]| log::error(pam::user(handle), why);
    if !pam::is_root() {
        failed(b"the program that asks does not run as root");
        return Code::AuthInfoUnavailable;
    }
    let mut packet = Packet::new();
    pam::write_claim(handle, flags, &mut packet);
    let started = match start::start(pam::account_with_codes(handle), arguments) {
        Ok(started) => started,
        Err(why) => {
            failed(why.as_bytes());
            return Code::ServiceError;
        }
    };
    // Where the helper is gone, its pipe says so.
    started.socket.send(packet.as_bytes());
    match follow(&started, &Conversation::of(handle), &mut packet) {
        Ended::Ruled(Ruling::Allowed) => Code::Success,
        Ended::Ruled(Ruling::Denied) => Code::MaxTries,
        Ended::Ruled(Ruling::Aborted) => Code::Abort,
        Ended::Ruled(Ruling::UserUnknown) => Code::UserUnknown,
        Ended::Ruled(Ruling::Failed) => Code::ServiceError,
        Ended::NotStarted => {
            failed(concat_helper!("couldn't run '", "'"));
            Code::ServiceError
        }
        Ended::Silent => {
            failed(b"the helper ended without a verdict");
            Code::ServiceError
        }
    }
}

/// How the helper came out.
enum Ended {
    /// The helper's parent has ruled.
    Ruled(Ruling),
    /// The helper could not be run.
    NotStarted,
    /// The helper ended without a ruling, or wrote what is none.
    Silent,
}

/// Shows what the helper sends and hands it the answers, until the helper has ruled.
fn follow(started: &Started, conversation: &Conversation, packet: &mut Packet) -> Ended {
    let mut watches_socket = true;
    loop {
        let ready = descriptor::wait(&started.pipe, watches_socket.then_some(&started.socket));
        if ready.pipe {
            // What the helper sent before it ruled is in the socket by now. Nobody waits
            // for the answer to a question any more.
            while show_next(started, conversation, packet, Questions::Late) {}
            return match started.pipe.read_byte() {
                Some(start::NOT_STARTED) => Ended::NotStarted,
                byte => byte
                    .and_then(Ruling::from_byte)
                    .map_or(Ended::Silent, Ended::Ruled),
            };
        }
        if ready.socket {
            watches_socket = show_next(started, conversation, packet, Questions::Due);
        }
    }
}

/// Whether the helper still waits for answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Questions {
    Due,
    Late,
}

/// Shows the next message, if there is one, and answers it if it is a question that is
/// due. Returns whether there was one.
fn show_next(
    started: &Started,
    conversation: &Conversation,
    packet: &mut Packet,
    questions: Questions,
) -> bool {
    // The last byte stays 0, and so do all behind the packet.
    let mut buffer = [0; pam_wire::LONGEST + 1];
    let (room, _) = buffer.split_at_mut(pam_wire::LONGEST);
    let Received::Packet(bytes) = started.socket.receive(room) else {
        return false;
    };
    let style = Message::read(bytes).map(|message| message.style);
    let text = buffer.get(1..).map(CStr::from_bytes_until_nul);
    if let (Some(style), Some(Ok(text))) = (style, text)
        && (style != Style::Question || questions == Questions::Due)
    {
        conversation.show(style, text, packet);
        if style == Style::Question {
            started.socket.send(packet.as_bytes());
            packet.overwrite();
        }
    }
    true
}

/// Sets nothing: Duo gives no credentials.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_setcred(
    _: *mut Handle,
    _: c_int,
    _: c_int,
    _: *const *const c_char,
) -> c_int {
    Code::Success as c_int
}

/// Objects to nothing: whether an account may log in is no business of Duo's.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_acct_mgmt(
    _: *mut Handle,
    _: c_int,
    _: c_int,
    _: *const *const c_char,
) -> c_int {
    Code::Success as c_int
}

/// Does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_open_session(
    _: *mut Handle,
    _: c_int,
    _: c_int,
    _: *const *const c_char,
) -> c_int {
    Code::Success as c_int
}

/// Does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_close_session(
    _: *mut Handle,
    _: c_int,
    _: c_int,
    _: *const *const c_char,
) -> c_int {
    Code::Success as c_int
}

/// Refuses: there is no password to change.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_chauthtok(
    _: *mut Handle,
    _: c_int,
    _: c_int,
    _: *const *const c_char,
) -> c_int {
    Code::ServiceError as c_int
}

// The crate `libc` leaves this to the standard library where another program of the
// same build uses that.
#[link(name = "c")]
unsafe extern "C" {}

#[cfg(not(test))]
unsafe extern "C" {
    /// Defined nowhere. If a linker misses it, some code in this module can panic:
    /// an index, an arithmetic operation that is checked, an `unwrap`, a format.
    fn a_panic_is_possible() -> !;
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: this is never linked, and so never called.
    unsafe { a_panic_is_possible() }
}

// The core library as it comes refers to this symbol, where no optimiser removes that.
// With `panic = "abort"` nothing unwinds, so nothing calls it. It is hidden, so that the
// module exports PAM's functions alone.
#[cfg(not(test))]
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:",
    ".byte 0",
);
