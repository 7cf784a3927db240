//! Whether Duo's program asks: an ordinary user runs it. Root's own try would prove nothing, since
//! root can read its file without the setuid bit.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::User;

use crate::check::sshd::run::run;

/// For Duo, and a person perhaps.
const PATIENCE: Duration = Duration::from_secs(90);

/// What stands in a line of the program's, behind how the login came out.
const LOGIN: &str = " Duo login for '";

/// How a login can come out that Duo was asked about.
const ASKED: [&str; 5] = ["Successful", "Failed", "Aborted", "Skipped", "Failsecure"];

/// Runs the program as `user`, who is nobody of importance; its last line.
///
/// # Errors
/// Why it is not sure that it asks.
pub fn asks(program: &Path, user: &str) -> Result<String, String> {
    let found = User::from_name(user).map_err(|errno| errno.desc().to_owned())?;
    let account = found.ok_or_else(|| format!("there is no user '{user}': say --test-user"))?;
    if account.uid.is_root() {
        return Err("root reads its file without the setuid bit: say --test-user".to_owned());
    }
    let mut command = Command::new(program);
    command
        .uid(account.uid.as_raw())
        .gid(account.gid.as_raw())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SSH_CONNECTION", "127.0.0.1 0 127.0.0.1 22")
        .args(["-d", "true"]);
    let (_, output, errors) = run(&mut command, Instant::now() + PATIENCE)
        .map_err(|error| format!("it does not end: {error}"))?;
    judge(&errors).ok_or_else(|| {
        let mut lines = errors.lines().chain(output.lines());
        let why = lines.find(|line| !line.trim().is_empty());
        format!(
            "as '{user}' it says '{}'; if groups leaves that user out, say --test-user",
            why.unwrap_or("nothing")
        )
    })
}

/// The line that says that Duo was asked: `[6] Successful Duo login for 'x'`.
fn judge(errors: &str) -> Option<String> {
    let told = errors.lines().find(|line| {
        let rest = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "));
        let outcome = rest.and_then(|(_, rest)| rest.split_once(LOGIN));
        outcome.is_some_and(|(outcome, _)| ASKED.contains(&outcome))
    });
    told.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_says_that_duo_was_asked_is_a_proof() {
        assert!(judge("[6] Successful Duo login for 'nobody' from 127.0.0.1\nx\n").is_some());
        assert!(judge("x\n[4] Aborted Duo login for 'nobody': not enrolled\n").is_some());
        for line in [
            "Couldn't open /etc/duo/login_duo.conf: Permission denied",
            "[4] Failsafe Duo login for 'nobody': Couldn't connect",
            "[3] Error in Duo login for 'nobody'",
            "[6] User nobody bypassed Duo 2FA due to user's UNIX group",
            "Successful Duo login for 'nobody'",
            "",
        ] {
            assert_eq!(judge(line), None, "{line}");
        }
    }
}
