//! PAM's library as this module uses it, and what it says of a login. Written by
//! hand from pam_get_item(3), pam_getenv(3), pam_conv(3) and Linux-PAM's headers; a
//! test compares the numbers with those headers.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;

use pam_wire::{Item, Packet};

use crate::descriptor;

/// `pam_handle_t`, of which only PAM knows the inside.
#[repr(C)]
pub struct Handle {
    _opaque: [u8; 0],
}

/// The return codes of this module.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Code {
    /// PAM_SUCCESS
    Success = 0,
    /// PAM_SERVICE_ERR
    ServiceError = 3,
    /// PAM_AUTHINFO_UNAVAIL
    AuthInfoUnavailable = 9,
    /// PAM_USER_UNKNOWN
    UserUnknown = 10,
    /// PAM_MAXTRIES
    MaxTries = 11,
    /// PAM_ABORT
    Abort = 26,
}

const PAM_SUCCESS: c_int = 0;
const PAM_SERVICE: c_int = 1;
const PAM_USER: c_int = 2;
const PAM_TTY: c_int = 3;
const PAM_RHOST: c_int = 4;
const PAM_CONV: c_int = 5;
const PAM_SILENT: c_int = 0x8000;

/// `PAM_ERROR_MSG`, pam_conv(3).
pub const ERROR_MESSAGE: c_int = 3;
/// `PAM_TEXT_INFO`, pam_conv(3).
pub const TEXT_INFO: c_int = 4;
/// `PAM_PROMPT_ECHO_ON`, pam_conv(3).
pub const PROMPT_ECHO_ON: c_int = 2;

/// `struct pam_message`
#[repr(C)]
pub struct PamMessage {
    /// How it is shown.
    pub style: c_int,
    /// The text.
    pub text: *const c_char,
}

/// `struct pam_response`
#[repr(C)]
pub struct PamResponse {
    /// What was typed, from malloc; or null.
    pub text: *mut c_char,
    /// Unused.
    pub code: c_int,
}

/// The host's function that shows messages and collects answers.
pub type ConversationFunction = unsafe extern "C" fn(
    count: c_int,
    messages: *mut *const PamMessage,
    responses: *mut *mut PamResponse,
    data: *mut c_void,
) -> c_int;

/// `struct pam_conv`
#[repr(C)]
pub struct PamConversation {
    /// The function.
    pub function: Option<ConversationFunction>,
    /// What the host wants it to be called with.
    pub data: *mut c_void,
}

// The library as it is installed, so that no headers of it need be.
#[link(name = "libpam.so.0", kind = "dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn pam_get_item(handle: *const Handle, kind: c_int, item: *mut *const c_void) -> c_int;
    fn pam_getenv(handle: *mut Handle, name: *const c_char) -> *const c_char;
}

/// The module's arguments.
///
/// # Safety
/// `arguments` is null, or has `count` pointers.
pub unsafe fn arguments<'a>(count: c_int, arguments: *const *const c_char) -> &'a [*const c_char] {
    match usize::try_from(count) {
        // SAFETY: the caller says so.
        Ok(count) if !arguments.is_null() => unsafe {
            core::slice::from_raw_parts(arguments, count)
        },
        _ => &[],
    }
}

/// Whether the host may do what root may.
pub fn is_root() -> bool {
    // SAFETY: geteuid only returns a number.
    unsafe { libc::geteuid() == 0 }
}

/// The host's conversation, if it has one.
pub fn conversation(handle: *mut Handle) -> Option<(ConversationFunction, *mut c_void)> {
    let item = item(handle, PAM_CONV)?.cast::<PamConversation>();
    // SAFETY: PAM keeps this structure for as long as the handle lives.
    let conversation = unsafe { &*item };
    Some((conversation.function?, conversation.data))
}

/// PAM_USER, if it is set.
pub fn user<'a>(handle: *mut Handle) -> Option<&'a [u8]> {
    text(item(handle, PAM_USER)?.cast())
}

/// Writes what is known of this login.
pub fn write_claim(handle: *mut Handle, flags: c_int, packet: &mut Packet) {
    let text_item = |kind| text(item(handle, kind)?.cast());
    // SAFETY: the handle is PAM's, the names are C strings.
    let variable = |name: &CStr| text(unsafe { pam_getenv(handle, name.as_ptr()) });
    let service = text_item(PAM_SERVICE);
    for (item, value) in [
        (Item::User, user(handle)),
        (Item::Service, service),
        (Item::RemoteHost, text_item(PAM_RHOST)),
        (Item::Terminal, text_item(PAM_TTY)),
        (Item::SshConnection, variable(c"SSH_CONNECTION")),
    ] {
        if let Some(value) = value {
            packet.put(item, value);
        }
    }
    if variable(c"SSH_AUTH_INFO_0").is_some_and(names_a_key) {
        packet.put(Item::PublicKey, b"");
    }
    if matches!(service, Some(b"sudo" | b"sudo-i"))
        && let Some(command) = own_sudo_command()
    {
        packet.put(Item::SudoCommand, command);
    }
    // SAFETY: getuid only returns a number.
    let user = unsafe { libc::getuid() };
    packet.put(Item::RealUser, &user.to_ne_bytes());
    if flags & PAM_SILENT != 0 {
        packet.put(Item::Silent, b"");
    }
}

/// The most bytes of an entry of the passwd database. It is a buffer on a stack of the
/// host's. An account whose entry is longer has no emergency codes.
const LONGEST_ENTRY: usize = 4 * 1024;

/// The user id of the account that Duo is asked about, if accounts of this machine have
/// emergency codes. Otherwise nothing is looked up in the host.
pub fn account_with_codes(handle: *mut Handle) -> Option<u32> {
    if !exists(pam_wire::CODES) {
        return None;
    }
    let target = user_id(item(handle, PAM_USER)?.cast())?;
    let service = text(item(handle, PAM_SERVICE)?.cast()).unwrap_or_default();
    match target == 0 && pam_wire::asks_the_caller_for_root(service) {
        // SAFETY: getuid only returns a number.
        true => Some(unsafe { libc::getuid() }),
        false => Some(target),
    }
}

fn exists(path: &CStr) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a C string, and the call writes one status or nothing.
    unsafe { libc::stat(path.as_ptr(), status.as_mut_ptr()) == 0 }
}

/// The user id of the account of this name, if it has one. The helper looks the account up
/// again, without privileges: this answer opens a file and lets nobody in. (Inlined, its
/// buffer would be on the host's stack during the conversation too.)
#[inline(never)]
fn user_id(name: *const c_char) -> Option<u32> {
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut buffer: [c_char; LONGEST_ENTRY] = [0; LONGEST_ENTRY];
    let mut found = core::ptr::null_mut();
    // SAFETY: the name is a C string of PAM's; the rest outlives the call. `found` is null,
    // or points to the entry, which then was written.
    unsafe {
        let failed = libc::getpwnam_r(
            name,
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        );
        (failed == 0 && !found.is_null()).then(|| (*found).pw_uid)
    }
}

/// Whether the methods that sshd has seen succeed have a public key: a line
/// `publickey ...` (sshd_config(5), `ExposeAuthInfo`). The whole text may be long.
fn names_a_key(methods: &[u8]) -> bool {
    let mut lines = methods.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(b"publickey "))
}

/// An item of PAM's, if it is set.
fn item(handle: *mut Handle, kind: c_int) -> Option<*const c_void> {
    let mut item = core::ptr::null();
    // SAFETY: the handle is PAM's, and `item` outlives the call.
    let code = unsafe { pam_get_item(handle, kind, &raw mut item) };
    (code == PAM_SUCCESS && !item.is_null()).then_some(item)
}

/// The bytes of a C string of the host's, unless it is null.
fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: PAM and the C library end their strings with a NUL, and keep them while
    // this module runs.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// `SUDO_COMMAND`, if sudo has set it in its own process. sudo-rs does not set it
/// before PAM, and then it is what the caller of sudo chose to show in the push.
fn own_sudo_command() -> Option<&'static [u8]> {
    const NAME: &CStr = c"SUDO_COMMAND";
    // SAFETY: the name is a C string. Only a host that changes its environment in
    // another thread could make this a danger, as for any module of PAM.
    let command = text(unsafe { libc::getenv(NAME.as_ptr()) })?;
    let is_callers = descriptor::environment_at_start_has(NAME.to_bytes(), command)?;
    (!is_callers).then_some(command)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use std::io::Write;
    use std::mem::{offset_of, size_of};
    use std::process::{Command, Stdio};

    use super::*;

    /// Whether the C compiler takes this text.
    fn compiles(text: &str) -> bool {
        let mut compiler = Command::new("cc")
            .args(["-x", "c", "-fsyntax-only", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = compiler.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        compiler.wait().unwrap().success()
    }

    const HEADERS: &str = "#include <stddef.h>\n#include <security/pam_modules.h>\n\
                           #include <security/pam_appl.h>\n";

    #[test]
    fn the_numbers_and_structures_are_those_of_linux_pams_headers() {
        if !compiles(HEADERS) {
            // As everywhere: with this variable, what is missing is a failure.
            assert!(
                std::env::var_os("LOGIN_DUO_E2E").is_none(),
                "no libpam0g-dev"
            );
            return;
        }
        let numbers = [
            ("PAM_SUCCESS", Code::Success as c_int),
            ("PAM_SUCCESS", PAM_SUCCESS),
            ("PAM_SERVICE_ERR", Code::ServiceError as c_int),
            ("PAM_AUTHINFO_UNAVAIL", Code::AuthInfoUnavailable as c_int),
            ("PAM_USER_UNKNOWN", Code::UserUnknown as c_int),
            ("PAM_MAXTRIES", Code::MaxTries as c_int),
            ("PAM_ABORT", Code::Abort as c_int),
            ("PAM_SERVICE", PAM_SERVICE),
            ("PAM_USER", PAM_USER),
            ("PAM_TTY", PAM_TTY),
            ("PAM_RHOST", PAM_RHOST),
            ("PAM_CONV", PAM_CONV),
            ("PAM_SILENT", PAM_SILENT),
            ("PAM_ERROR_MSG", ERROR_MESSAGE),
            ("PAM_TEXT_INFO", TEXT_INFO),
            ("PAM_PROMPT_ECHO_ON", PROMPT_ECHO_ON),
        ]
        .map(|(name, value)| (name.to_owned(), usize::try_from(value).unwrap()));
        let structures = [
            ("sizeof(struct pam_message)", size_of::<PamMessage>()),
            (
                "offsetof(struct pam_message, msg)",
                offset_of!(PamMessage, text),
            ),
            ("sizeof(struct pam_response)", size_of::<PamResponse>()),
            (
                "offsetof(struct pam_response, resp_retcode)",
                offset_of!(PamResponse, code),
            ),
            ("sizeof(struct pam_conv)", size_of::<PamConversation>()),
            (
                "offsetof(struct pam_conv, appdata_ptr)",
                offset_of!(PamConversation, data),
            ),
        ]
        .map(|(what, value)| (what.to_owned(), value));
        let assertions = numbers
            .iter()
            .chain(&structures)
            .map(|(what, value)| format!("_Static_assert({what} == {value}, \"{what}\");\n"));
        assert!(compiles(
            &(HEADERS.to_owned() + &assertions.collect::<String>())
        ));
        assert!(!compiles(&format!(
            "{HEADERS}_Static_assert(PAM_ABORT == 27, \"\");\n"
        )));
    }
}
