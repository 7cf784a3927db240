//! The child without privileges of a check, and its pipe: it looks at whatever comes from the
//! configuration, a directory service or the network, and the parent takes from it only findings
//! of the groups that are the child's.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use duo_policy::config::{self, Config, Failmode, Remember};
use duo_policy::error::Error;
use duo_policy::verdict::{End, Report};
use duo_system::configuration::read as read_file;
use duo_system::privsep::{self, ChildEnds, Confined, Front, OpenFiles, PrivsepUser};
use duo_system::system_words;
use serde::{Deserialize, Serialize};

use super::installation::Install;
use super::user::{self, Reachable, TrialLogin};
use super::{FrontEnd, OpenResult, codes, configuration, network, remember, sandbox};
use crate::cli::Check;
use crate::finding::{Finding, Level};
use crate::layout::program;

/// How much longer a child may run that still waits for a directory service.
const GRACE: Duration = Duration::from_secs(3);

/// The exit status of a child that ran out of time, as timeout(1) has it.
const OUT_OF_TIME: i32 = 124;

/// The time for looking up this machine's accounts and their groups.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// A finding's longest text on the pipe, in characters.
const LONGEST_TEXT: usize = 1_000;

/// A line of the child's on the verdict pipe, as JSON.
#[derive(Serialize, Deserialize)]
enum ChildLine {
    Finding(Finding),
    Options(Options),
    /// Why the child could not do its half.
    Fault(String),
}

/// What the parent's half needs to know of a configuration.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Options {
    pub(super) failmode: Failmode,
    /// Whether a passcode is taken from the environment.
    pub(super) takes_passcode: bool,
    /// For how long a yes counts on its connection.
    pub(super) remembered_for: Duration,
}

/// What the child looks at.
pub(super) struct Wanted<'a> {
    pub(super) front_end: FrontEnd,
    pub(super) options: &'a Check,
    pub(super) counted: codes::Counted,
    pub(super) until: Instant,
}

/// What the child found. The options are there if the configuration could be read.
pub(super) struct Found {
    pub(super) findings: Vec<Finding>,
    pub(super) options: Option<Options>,
}

/// Has a child check the configuration, the network and the user.
pub(super) fn look(
    wanted: &Wanted<'_>,
    install: Install,
    user: Option<&PrivsepUser>,
    file: Option<File>,
    opened: &OpenResult,
) -> Found {
    run(install, user, file, wanted.until, |file, ends| {
        send_all(wanted, file, opened, ends)
    })
}

/// Has a child check a configuration that is not in its place yet, and ask Duo about its keys.
/// `name` is what findings call it.
pub(super) fn look_at_candidate(
    name: &Path,
    install: Install,
    user: Option<&PrivsepUser>,
    file: File,
    until: Instant,
) -> Vec<Finding> {
    let look = |file: Option<File>, ends: &mut ChildEnds| {
        let Some(file) = file else { return Ok(()) };
        match read_config(name, &file, until) {
            Ok((config, found)) => {
                send_findings(ends, found)?;
                send_findings(ends, network::findings(&config, ends, until))
            }
            Err(found) => send_findings(ends, found),
        }
    };
    run(install, user, Some(file), until, look).findings
}

/// Runs `half` in a child without privileges, until `until` and a little longer, and takes what
/// the child sent.
fn run(
    install: Install,
    user: Option<&PrivsepUser>,
    file: Option<File>,
    until: Instant,
    half: impl FnOnce(Option<File>, &mut ChildEnds) -> Result<(), Error>,
) -> Found {
    let Install { standing, caller } = install;
    let child = |confined: Confined, mut ends: ChildEnds| {
        let done = match confined {
            Ok(files) => exit_at(until + GRACE).and_then(|()| half(files.config, &mut ends)),
            Err(error) => Err(error),
        };
        exit_status(done, &mut ends)
    };
    let files = OpenFiles::config(file);
    let report = privsep::separate(standing, caller, user, files, Front::Session, child);
    take_report(report.map(privsep::Parent::wait))
}

/// The child's exit status. Why it could not do its half is sent.
fn exit_status(sent: Result<(), Error>, ends: &mut ChildEnds) -> i32 {
    match sent {
        Ok(()) => 0,
        Err(error) => {
            let _ = send(ends, &ChildLine::Fault(error.to_string()));
            1
        }
    }
}

/// Starts a thread that ends the child at `deadline`: a lookup in a directory
/// service has no deadline of its own.
fn exit_at(deadline: Instant) -> Result<(), Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    std::thread::Builder::new()
        .name("time".to_owned())
        .spawn(move || {
            std::thread::sleep(left);
            std::process::exit(OUT_OF_TIME);
        })
        .map(drop)
        .map_err(|error| Error::fault("start a thread", system_words(&error)))
}

/// Checks the configuration, the network and the user, and sends the findings of
/// each as soon as they are known.
fn send_all(
    wanted: &Wanted<'_>,
    file: Option<File>,
    opened: &OpenResult,
    ends: &mut ChildEnds,
) -> Result<(), Error> {
    let Wanted {
        front_end,
        options: wanted,
        counted,
        until,
    } = wanted;
    let until = *until;
    let config = match (file, opened) {
        (Some(file), Ok(_)) => read_config(&wanted.config, &file, until),
        _ => Err(Vec::new()),
    };
    let mut reachable = Reachable::No;
    let config = match config {
        Ok((config, found)) => {
            send_findings(ends, found)?;
            if *front_end == FrontEnd::Pam {
                send_findings(ends, configuration::not_for_pam(&wanted.config, &config))?;
            } else {
                send_findings(ends, remember::findings(&config, &program()))?;
            }
            send(
                ends,
                &ChildLine::Options(Options {
                    failmode: config.failmode,
                    takes_passcode: config.accept_env_factor,
                    remembered_for: match config.remember {
                        Remember::No => Duration::ZERO,
                        Remember::Connection => config.remember_max,
                    },
                }),
            )?;
            let soon = until.min(Instant::now() + LOOKUP_TIME);
            send_findings(ends, codes::findings(&config, counted, soon))?;
            let found = network::findings(&config, ends, until);
            let outcome = found.iter().find(|finding| finding.id == "network.outcome");
            if outcome.is_some_and(|finding| finding.level == Level::Ok) {
                reachable = Reachable::Yes;
            }
            send_findings(ends, found)?;
            send_findings(ends, sandbox::findings(&config, reachable))?;
            Some(config)
        }
        Err(found) => {
            send_findings(ends, found)?;
            None
        }
    };
    let Some(name) = &wanted.user else {
        return Ok(());
    };
    let login = TrialLogin {
        name: name.clone(),
        duo_user: wanted.duo_user.clone(),
        client: wanted.client.clone(),
    };
    let found = user::findings(&login, config.as_deref(), counted, reachable, ends);
    send_findings(ends, found)
}

fn send_findings(ends: &mut ChildEnds, findings: Vec<Finding>) -> Result<(), Error> {
    findings.into_iter().try_for_each(|mut finding| {
        finding.text = finding.text.chars().take(LONGEST_TEXT).collect();
        send(ends, &ChildLine::Finding(finding))
    })
}

fn send(ends: &mut ChildEnds, line: &ChildLine) -> Result<(), Error> {
    let text =
        serde_json::to_string(line).map_err(|error| Error::fault("write a finding", error))?;
    ends.send(&(text + "\n"))
}

/// Reads the configuration file, and returns it with the findings about it.
///
/// # Errors
/// The findings alone, if the file cannot be used.
fn read_config(
    path: &Path,
    file: &File,
    until: Instant,
) -> Result<(Box<Config>, Vec<Finding>), Vec<Finding>> {
    let bytes = read_file(file)
        .map_err(|problem| vec![Finding::fail("configuration.syntax", problem.at(path))])?;
    match config::parse(bytes.expose()) {
        Ok(parsed) => {
            let until = until.min(Instant::now() + LOOKUP_TIME);
            let found = configuration::findings(path, &parsed.config, &parsed.warnings, until);
            Ok((Box::new(parsed.config), found))
        }
        Err(broken) => Err(configuration::findings_of_broken(path, &broken)),
    }
}

/// The child's findings, and a finding about the child itself.
fn take_report(report: Result<Report, Error>) -> Found {
    const ID: &str = "installation.child";
    let failed =
        |why: &str| Finding::fail(ID, format!("the process without privileges failed: {why}"));
    let (mut findings, mut options) = (Vec::new(), None);
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            findings.push(failed(&error.to_string()));
            return Found { findings, options };
        }
    };
    let mut failure = match (report.left, report.end) {
        (Some(left), _) => Some(left.reason().to_owned()),
        (None, End::Exited(0)) => None,
        (None, End::Exited(OUT_OF_TIME)) => {
            Some("the accounts and groups took too long".to_owned())
        }
        (None, End::Exited(status)) => Some(format!("exit status {status}")),
        (None, End::Killed(signal)) => Some(format!("killed by {signal}")),
        (None, End::Stuck) => Some("it does not end".to_owned()),
    };
    let text = String::from_utf8_lossy(&report.records);
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(ChildLine::Finding(finding)) if may_be_the_childs(&finding) => {
                findings.push(finding);
            }
            Ok(ChildLine::Options(sent)) => options = Some(sent),
            Ok(ChildLine::Fault(why)) => failure = Some(why),
            Ok(ChildLine::Finding(_)) | Err(_) => failure = Some("it writes garbage".to_owned()),
        }
    }
    findings.push(match failure {
        None => Finding::ok(ID, "a process without privileges can be started"),
        Some(why) => failed(&why),
    });
    Found { findings, options }
}

/// Whether the finding is of a group that the child checks. A child that was taken
/// over must not speak for the parent.
fn may_be_the_childs(finding: &Finding) -> bool {
    let group = finding.id.split('.').next().unwrap_or_default();
    ["configuration", "network", "user"].contains(&group)
}
