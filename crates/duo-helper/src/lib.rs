//! pam-duo-helper: the program that pam_duo.so starts, one for each login, so that
//! neither TLS nor threads nor Duo's answers come into sshd or sudo. It has the same two
//! processes as login_duo. The parent stays root's, so that the user who runs sudo can
//! neither stop nor kill it, and it alone writes the ruling that the module returns; the
//! child has no privileges and asks (docs/pam.md, *Two pieces*).
#![forbid(unsafe_code)]

mod claim;
mod cli;
mod remote;

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;

use duo_ask::Start;
use duo_policy::clock::Deadlines;
use duo_policy::config::Problem;
use duo_policy::error::Error;
use duo_policy::verdict::{self, Judgement, ToShow};
use duo_system::audit::{self, Audit};
use duo_system::cgroup;
use duo_system::codes;
use duo_system::configuration::{self, Owners};
use duo_system::log::{Identity, Log};
use duo_system::privsep::{self, Caller, Front, HostEnds, OpenFiles, Parent, Standing};
use duo_wire::{Outcome, Who};
use pam_wire::Ruling;

use claim::Verbosity;
use cli::Arguments;
use remote::Remote;

/// One login, from the module's arguments to its ruling. Returns 0 once the module has a
/// ruling, whatever it is, and 1 without one.
pub fn run() -> ExitCode {
    let arguments = cli::read();
    match prepare(arguments.identity) {
        Ok((ends, caller)) => {
            let ruled = rule(&arguments, &ends, caller);
            let written = write_ruling(ends, ruled.ruling);
            // After the ruling, which this must not delay.
            let told = told(ruled.ruling, &written);
            ruled.audit.record(&ruled.who, ruled.outcome, told);
            match written {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "pam-duo-helper: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes over what the module gives.
///
/// # Errors
/// [`Error::Fault`] if this is not the program that the module starts, as root.
fn prepare(identity: Identity) -> Result<(HostEnds, Caller), Error> {
    privsep::take_over(identity)?;
    if privsep::standing()? != Standing::Root {
        return Err(Error::Fault("only root may use this program".to_owned()));
    }
    let ends = privsep::take_host_ends(pam_wire::SOCKET, pam_wire::PIPE)?;
    Ok((ends, Caller::of_this_process()))
}

/// A login that is over.
struct Ruled {
    ruling: Ruling,
    who: Who,
    outcome: Outcome,
    audit: Audit,
}

/// What the host was told: a host that is gone, or closed the pipe, was told nothing, and
/// lets nobody in.
fn told(ruling: Ruling, written: &std::io::Result<()>) -> audit::Ruling {
    match (ruling, written) {
        (Ruling::Allowed, Ok(())) => audit::Ruling::Success,
        _ => audit::Ruling::Failed,
    }
}

/// Asks in a child, and rules by the child's report.
fn rule(arguments: &Arguments, ends: &HostEnds, caller: Caller) -> Ruled {
    let log = Log::open(arguments.identity, arguments.sink);
    let mut audit = None;
    let report = start_child(arguments, ends, caller).and_then(|parent| {
        // What the filter does not let this process open, it opens before.
        log.connect();
        audit = Some(Audit::open());
        parent.keep_only_waiting()?;
        Ok(parent.wait())
    });
    let judgement = verdict::judge(report, Who::unknown());
    if let Some((verdict, who)) = &judgement.to_log {
        // Nothing more can be done where the log does not take the line.
        let _ = log.verdict(verdict, who);
    }
    if let ToShow::Denial(why) = &judgement.to_show {
        remote::send_denial(&ends.socket, why);
    }
    Ruled {
        ruling: ruling(&judgement),
        who: judgement.who,
        outcome: judgement.outcome,
        // Where no child was started, no filter keeps this process from opening it.
        audit: audit.unwrap_or_else(Audit::open),
    }
}

/// What the module returns. Only the two keys of [`verdict::judge`] open.
fn ruling(judgement: &Judgement) -> Ruling {
    match (&judgement.allow, judgement.outcome) {
        (Some(_allow), _) => Ruling::Allowed,
        (None, Outcome::Failed) => Ruling::Denied,
        (None, Outcome::Aborted) => Ruling::Aborted,
        (None, Outcome::NoAccount) => Ruling::UserUnknown,
        (None, _) => Ruling::Failed,
    }
}

fn write_ruling(ends: HostEnds, ruling: Ruling) -> std::io::Result<()> {
    File::from(ends.pipe).write_all(&[ruling.to_byte()])
}

/// Opens the configuration as root, leaves the caller's control groups, forks, and drops
/// the child's privileges.
///
/// # Errors
/// [`Error::Fault`] if one of these fails.
fn start_child<'a>(
    arguments: &Arguments,
    ends: &'a HostEnds,
    caller: Caller,
) -> Result<Parent<'a>, Error> {
    let doubt = cgroup::leave().err();
    let user = privsep::privsep_user(Standing::Root)?;
    let owners = Owners::of(Standing::Root, user.as_ref(), caller);
    let (file, opened) = open_configuration(arguments, &owners);
    let front = Front::Host(ends);
    let standing = Standing::Root;
    let (codes_file, codes) = codes::open(standing, arguments.account);
    let files = OpenFiles {
        codes: codes_file,
        ..OpenFiles::config(file)
    };
    privsep::separate(
        standing,
        caller,
        user.as_ref(),
        files,
        front,
        |confined, child_ends| {
            // The scheduler weighs sessions against each other, and whoever runs sudo
            // can make theirs light. A child of the parent's leads no group, so this
            // does not fail.
            let _ = nix::unistd::setsid();
            let verbosity = Cell::new(Verbosity::All);
            let claim = |child_ends: &_| {
                let packet = remote::receive(&ends.socket, child_ends)?;
                let received = claim::of(&packet, arguments.after);
                verbosity.set(received.verbosity);
                Ok(received.claim)
            };
            let start = Start {
                identity: arguments.identity,
                sink: arguments.sink,
                warning: user.as_ref().and_then(|user| user.warning.clone()),
                path: arguments.blamed(),
                opened,
                codes,
                doubt,
                complain: &|lines| remote::send_complaint(&ends.socket, lines),
            };
            duo_ask::run(&start, confined, child_ends, claim, |_, waiter| {
                let deadlines = Deadlines::default();
                Box::new(Remote::new(
                    Rc::clone(&ends.socket),
                    verbosity.get(),
                    deadlines,
                    waiter,
                ))
            })
        },
    )
}

/// The configuration, with the warning about it; or why it was not opened.
type Opened = (Option<File>, Result<Option<Problem>, Vec<Problem>>);

fn open_configuration(arguments: &Arguments, owners: &Owners) -> Opened {
    match (&arguments.mistakes[..], &arguments.config) {
        ([], path) => match configuration::open(path, owners) {
            Ok(opened) => (Some(opened.file), Ok(opened.warning)),
            Err(problem) => (None, Err(vec![problem])),
        },
        (mistakes, _) => {
            let problems = mistakes.iter().map(Problem::of_file).collect();
            (None, Err(problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_that_the_host_did_not_get_is_no_success() {
        let gone = || Err(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(told(Ruling::Allowed, &Ok(())), audit::Ruling::Success);
        assert_eq!(told(Ruling::Allowed, &gone()), audit::Ruling::Failed);
        for ruling in [Ruling::Denied, Ruling::Aborted, Ruling::Failed] {
            assert_eq!(told(ruling, &Ok(())), audit::Ruling::Failed);
        }
    }
}
