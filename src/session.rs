//! The session: this process becomes the user's shell or command.
//!
//! This file decides nothing: [`become_session`] needs an [`Allow`], and only the
//! verdict makes one.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use duo_policy::text::{self, Charset};
use duo_policy::verdict::Allow;
use duo_system::privsep::Inherited;
use duo_system::sftp::sftp_server;
use nix::errno::Errno;
use nix::unistd::execve;

/// The program that this process becomes.
pub struct Session<'a> {
    /// The login shell.
    pub shell: &'a Path,
    /// The command for the shell's `-c`; `None` for a login shell.
    pub command: Option<&'a [u8]>,
    /// Whether the command is the one that the client asked sshd for.
    pub from_sshd: bool,
}

/// Becomes the session (docs/behaviour.md, *The session*). Returns only if that
/// fails: the exit status, and a message for stderr.
pub fn become_session(_yes: Allow, session: &Session<'_>, inherited: &Inherited) -> (u8, String) {
    let command = match session.command {
        Some(command) if session.from_sshd => match sftp_command(command) {
            Some(Err(message)) => return (127, message),
            Some(Ok(command)) => Some(command),
            None => Some(command.to_vec()),
        },
        command => command.map(<[u8]>::to_vec),
    };
    let base = session
        .shell
        .file_name()
        .unwrap_or(session.shell.as_os_str())
        .as_bytes();
    let words = match command {
        None => vec![[b"-", base].concat()],
        Some(command) => vec![base.to_vec(), b"-c".to_vec(), command],
    };
    // No argument has a NUL byte, since each came from a C string.
    let c_string = |bytes: Vec<u8>| CString::new(bytes).unwrap_or_default();
    let arguments: Vec<CString> = words.into_iter().map(c_string).collect();
    let shell = c_string(session.shell.as_os_str().as_bytes().to_vec());

    if let Err(error) = inherited.restore_signals() {
        return (126, error.to_string());
    }
    let Err(errno) = execve(&shell, &arguments, &inherited.environment);
    let missing = matches!(errno, Errno::ENOENT | Errno::ENOTDIR)
        && std::fs::symlink_metadata(session.shell).is_err();
    let status = if missing { 127 } else { 126 };
    let name = text::one_line(&session.shell.to_string_lossy(), Charset::Ascii).into_owned();
    (status, format!("{name}: {}", errno.desc()))
}

/// The command that replaces `internal-sftp`, if `command` is that: a forced
/// command cannot run what is built into sshd, but the system's sftp-server takes
/// the same options. The error is a message for stderr.
fn sftp_command(command: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let rest = command.strip_prefix(b"internal-sftp")?;
    if !matches!(rest.first(), None | Some(b' ' | b'\t')) {
        return None;
    }
    Some(match sftp_server() {
        Some(server) => Ok([b"exec ", server.as_bytes(), rest].concat()),
        None => Err("internal-sftp: there is no sftp-server on this machine".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_internal_sftp_is_replaced() {
        assert!(sftp_command(b"internal-sftp -u 0077").is_some());
        assert!(sftp_command(b"internal-sftp").is_some());
        assert!(sftp_command(b"internal-sftpd").is_none());
        assert!(sftp_command(b"ls internal-sftp").is_none());
        if let Some(Ok(command)) = sftp_command(b"internal-sftp -u 0077") {
            assert!(command.ends_with(b"sftp-server -u 0077"));
        }
    }
}
