//! The host's conversation: one message a call, and each answer overwritten and freed.

use core::ffi::{CStr, c_int, c_void};

use pam_wire::{Packet, Style};

use crate::pam::{self, ConversationFunction, Handle, PamMessage, PamResponse};

/// The conversation of one login.
pub struct Conversation {
    function: Option<(ConversationFunction, *mut c_void)>,
}

impl Conversation {
    /// The conversation of this handle, which may be none.
    pub fn of(handle: *mut Handle) -> Conversation {
        Conversation {
            function: pam::conversation(handle),
        }
    }

    /// Shows a text. `answer` becomes the packet with what the person typed, or with
    /// nothing if the conversation failed.
    pub fn show(&self, style: Style, text: &CStr, answer: &mut Packet) {
        answer.set_answer(None);
        let Some((function, data)) = self.function else {
            return;
        };
        let message = PamMessage {
            style: match style {
                Style::Info => pam::TEXT_INFO,
                Style::Error => pam::ERROR_MESSAGE,
                Style::Question => pam::PROMPT_ECHO_ON,
            },
            text: text.as_ptr(),
        };
        let mut messages = &raw const message;
        let mut responses = core::ptr::null_mut();
        // SAFETY: one message, which outlives the call; `data` is what the host wants.
        let code: c_int = unsafe { function(1, &raw mut messages, &raw mut responses, data) };
        // After an error the host may have left anything there.
        if code == 0 && !responses.is_null() {
            // SAFETY: the host succeeded, so it gave one response from malloc, which is
            // this module's to free.
            unsafe { take(responses, answer) };
        }
    }
}

/// Copies a response into `answer`, overwrites it and frees it.
///
/// # Safety
/// `responses` is one response from malloc, with a text from malloc or null.
unsafe fn take(responses: *mut PamResponse, answer: &mut Packet) {
    // SAFETY: as above. The text is a C string; it is overwritten where it stands.
    unsafe {
        let text = (*responses).text;
        if !text.is_null() {
            let line = CStr::from_ptr(text).to_bytes();
            answer.set_answer(Some(line));
            for offset in 0..line.len() {
                text.add(offset).write_volatile(0);
            }
            libc::free(text.cast());
        }
        libc::free(responses.cast());
    }
}
