//! The record of a login for the kernel's audit log: `USER_AUTH`, as libaudit writes it, so
//! that `ausearch -m USER_AUTH` and `aureport -au` show the second factor. Only a process
//! with CAP_AUDIT_WRITE can write one, so login_duo, whose processes are the user's and
//! `duo`'s, has none.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use duo_wire::{Outcome, Who};
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send, socket};

/// `AUDIT_USER_AUTH`, linux/audit.h.
const USER_AUTH: u16 = 1100;

/// The length of `struct nlmsghdr`, netlink(7).
const HEADER: u32 = 16;

/// The most bytes of a value: the kernel takes 8,560 of a record.
const LONGEST_VALUE: usize = 256;

/// What the program that asked is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The login goes on.
    Success,
    /// It does not.
    Failed,
}

/// The way to the kernel's audit log; closed where there is none.
pub struct Audit {
    socket: Option<OwnedFd>,
    /// The file of this program.
    program: Vec<u8>,
}

impl Audit {
    /// Opens it. A kernel, or a container, without audit is no event.
    pub fn open() -> Audit {
        let program = std::env::current_exe().unwrap_or_default();
        Audit {
            socket: socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkAudit,
            )
            .ok(),
            program: program.as_os_str().as_bytes().to_vec(),
        }
    }

    /// Writes the record of a login. Call it when nobody waits any more: where the
    /// kernel's queue is full, the kernel makes whoever writes wait for up to a minute.
    pub fn record(&self, who: &Who, outcome: Outcome, ruling: Ruling) {
        if let Some(socket) = &self.socket {
            let message = message(&text(&self.program, who, outcome, ruling));
            let _ = send(socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
        }
    }
}

/// The message that carries a record to the kernel, which asks for no answer.
fn message(text: &str) -> Vec<u8> {
    // The kernel puts a NUL in the place of the last byte.
    let length = HEADER + u32::try_from(text.len() + 1).unwrap_or_default();
    let flags = u16::try_from(libc::NLM_F_REQUEST).unwrap_or_default();
    let mut message = Vec::new();
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&USER_AUTH.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Its number and the sender's, which only an answer would need.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(text.as_bytes());
    message.push(0);
    message
}

/// The record's text. Only `acct` and `exe` may be encoded (audit_encode_nv_string(3)); a
/// terminal or an address that is not what it should be is `?`.
fn text(program: &[u8], who: &Who, outcome: Outcome, ruling: Ruling) -> String {
    let account = who.login.as_ref().unwrap_or(&who.duo_user);
    let client = who.client.as_deref().unwrap_or_default();
    let address = client.parse::<IpAddr>();
    let terminal = who.terminal.as_deref().unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-".contains(&byte);
    format!(
        "op=2fa outcome={} acct={} exe={} hostname=? addr={} terminal={} res={}",
        outcome.name(),
        untrusted(account.as_bytes()),
        untrusted(program),
        address.map_or("?".to_owned(), |address| address.to_string()),
        match !terminal.is_empty() && terminal.len() <= 64 && terminal.bytes().all(is_name) {
            true => terminal,
            false => "?",
        },
        match ruling {
            Ruling::Success => "success",
            Ruling::Failed => "failed",
        }
    )
}

/// A value in quotes; in hexadecimal digits if it could end the quotes around it or those
/// around the record, or if it is not printable ASCII without blanks.
fn untrusted(value: &[u8]) -> String {
    let value = value.get(..LONGEST_VALUE).unwrap_or(value);
    let is_harmless = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"\"'".contains(byte);
    match value.iter().all(is_harmless) {
        true => format!("\"{}\"", String::from_utf8_lossy(value)),
        false => value.iter().map(|byte| format!("{byte:02X}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(login: &str, client: &str, terminal: &str) -> Who {
        Who {
            login: Some(login.to_owned()),
            client: Some(client.to_owned()),
            terminal: Some(terminal.to_owned()),
            ..Who::unknown()
        }
    }

    #[test]
    fn a_record_is_as_libaudit_writes_it() {
        let who = who("alice", "192.0.2.7", "/dev/pts/3");
        let text = text(b"/usr/lib/x", &who, Outcome::Successful, Ruling::Success);
        assert_eq!(
            text,
            "op=2fa outcome=successful acct=\"alice\" exe=\"/usr/lib/x\" hostname=? \
             addr=192.0.2.7 terminal=/dev/pts/3 res=success"
        );
        let message = message(&text);
        assert_eq!(message.len(), 16 + text.len() + 1);
        let length = u32::try_from(message.len()).unwrap().to_ne_bytes();
        assert_eq!(message[..4], length);
        assert_eq!(message[4..8], [76_u8, 4, 1, 0]);
    }

    #[test]
    fn no_name_forges_a_field_of_a_record() {
        let forged = "a\" res=success '";
        let who = who(forged, "192.0.2.7 res=success", "tty\nres=success");
        let text = text(b"/x", &who, Outcome::Failed, Ruling::Failed);
        let hex: String = forged.bytes().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(
            text,
            format!(
                "op=2fa outcome=failed acct={hex} exe=\"/x\" hostname=? addr=? terminal=? \
                 res=failed"
            )
        );
        for name in ["a b", "a'", "zo\u{eb}", "a\0", "\u{7f}", ""] {
            let is_quoted = untrusted(name.as_bytes()).starts_with('"');
            assert_eq!(is_quoted, name.is_empty(), "{name:?}");
        }
        assert!(untrusted(&[b'\n'; 100_000]).len() <= 2 * LONGEST_VALUE);
    }
}
