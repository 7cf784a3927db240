//! `--test-user`: the login that sshd would start, by hand, for `true`.

use std::path::Path;
use std::process::{Command, Stdio};

use duo_policy::log_line::label;
use duo_wire::Outcome as Ending;

use super::is_answered_yes;
use crate::cli::{Common, Enable, Questions};
use crate::outcome::{Failure, Report};
use crate::ssh::effect::exists;
use crate::ssh::tool::tool;

/// Makes it, if it is wanted.
///
/// # Errors
/// Duo did not say yes.
pub fn test(wanted: &Enable, program: &Path, report: &mut Report) -> Result<(), Failure> {
    let Some(user) = &wanted.test_user else {
        return Ok(());
    };
    may_be_made(user, &wanted.common)?;
    let log = attempt(user, program, wanted.common.questions)?;
    log.lines().for_each(|line| report.say(line));
    let has = |ending| {
        let (word, _) = label(ending);
        log.lines().any(|line| line.contains(&format!("] {word} ")))
    };
    let why = if has(Ending::Successful) || has(Ending::Skipped) {
        report.say("the test login was allowed by Duo");
        return Ok(());
    } else if has(Ending::Failsafe) {
        "Duo could not be asked, and 'failmode' let the test login in: mend that first".to_owned()
    } else if log.contains("bypassed Duo 2FA") {
        format!("'{user}' is not asked, because of 'groups': --test-user with somebody who is")
    } else {
        "the test login was denied: mend that first".to_owned()
    };
    Err(Failure::Refused(format!("{why}; nothing has changed")))
}

/// Whether there is such an account, and a person, or `--yes`, agrees that a phone may ring.
///
/// # Errors
/// There is no such account, or nobody agrees; nothing has changed.
pub fn may_be_made(user: &str, common: &Common) -> Result<(), Failure> {
    if !exists("passwd", user) {
        return Err(Failure::Refused(format!("there is no account '{user}'")));
    }
    let question = format!("A test login as '{user}' asks Duo and may ring a phone. Make it?");
    match is_answered_yes(&question, common)? {
        true => Ok(()),
        false => Err(Failure::refused("nothing has changed")),
    }
}

/// Runs it as that user, with the log on stderr; returns the log.
fn attempt(user: &str, program: &Path, questions: Questions) -> Result<String, Failure> {
    let failed = |why: &str| Failure::Refused(format!("no test login: {why}"));
    let mut command = match user {
        "root" => {
            let mut command = Command::new(program);
            command.args(["-d", "true"]);
            command
        }
        _ => {
            let mut command = tool("su").ok_or_else(|| failed("there is no su"))?;
            let line = format!("{} -d true", program.display());
            command.args(["-s", "/bin/sh", user, "-c", &line]);
            command
        }
    };
    let input = match questions {
        Questions::Yes => Stdio::null(),
        Questions::Ask => Stdio::inherit(),
    };
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(input);
    let output = command
        .output()
        .map_err(|error| failed(&error.to_string()))?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}
