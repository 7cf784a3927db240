//! One run of `check`, from the command line to its exit status. The parent
//! looks at files and asks sshd; whatever comes from the configuration, a
//! directory service or the network is looked at by a child without privileges,
//! as at a login, which hands its findings over the verdict pipe.

mod certificates;
mod configuration;
mod installation;
pub mod local;
mod network;
mod probe;
pub mod sshd;
mod unused;
mod user;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use duo_policy::config::{self, Config, Failmode, Problem};
use duo_policy::error::Error;
use duo_policy::verdict::{End, Report};
use duo_system::configuration::{Owners, open, read as read_file};
use duo_system::privsep::{self, Caller, ChildEnds, Confined, Parent, PrivsepUser, Standing};
use duo_system::sftp::sftp_server;
use duo_system::system_words;
use serde::{Deserialize, Serialize};

use crate::Start;
use crate::cli::{Check, Format};
use crate::finding::{Colour, Finding, Findings, Level};
use installation::Install;
pub(crate) use probe::reach;
use sshd::{Facts, Wanted};
use user::{Reachable, Whom};

/// The child's time; what sshd needs comes after.
const CHILD: Duration = Duration::from_secs(45);

/// Beyond which a child that still waits for something is ended.
const GRACE: Duration = Duration::from_secs(3);

/// The exit status of such a child, as timeout(1) has it.
const TIME_IS_UP: i32 = 124;

/// All of it, in less than the minute that is promised.
pub const WHOLE: Duration = Duration::from_secs(55);

/// For looking up this machine's accounts and their groups.
const LOOKUPS: Duration = Duration::from_secs(5);

/// For a program to say its version.
const ANSWERS: Duration = Duration::from_secs(5);

/// What a login_duo of this version says of itself.
const OWN_VERSION: &str = concat!("login_duo ", env!("CARGO_PKG_VERSION"));

/// A finding's longest text on the pipe, in characters.
const LONGEST: usize = 1_000;

/// A line on the verdict pipe.
#[derive(Serialize, Deserialize)]
enum Told {
    Finding(Finding),
    /// What the parent's half needs of the configuration.
    Settings {
        failmode: Stated,
        takes_passcode: bool,
    },
    /// The child could not do its part.
    Fault(String),
}

/// A failmode on the pipe.
#[derive(Serialize, Deserialize)]
enum Stated {
    Safe,
    Secure,
}

/// What came of opening the configuration.
type Opened = Result<Option<Problem>, Problem>;

/// What is known of login_duo once it was looked at.
pub struct Known {
    /// Its file.
    pub program: PathBuf,
    settings: Option<(Failmode, bool)>,
}

impl Known {
    /// What judging sshd's answers needs.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            program: &self.program,
            failmode: self.settings.map(|(failmode, _)| failmode),
            takes_passcode: self.settings.map(|(_, taken)| taken),
            sftp_server: sftp_server(),
        }
    }
}

/// Looks at everything and prints it. 0 all good, 1 something fails, 2 warnings only.
pub fn run(wanted: &Check, started: &Start) -> ExitCode {
    let start = Instant::now();
    let program = program();
    if started.standing == Standing::Own && is_the_machines(&program) {
        let program = program.display();
        return crate::complain(
            1,
            format!("only root may check {program}: try sudo duoctl check"),
        );
    }
    if let Some(what) = wanted.unused {
        return unused::run(what, &program, started);
    }
    let (mut findings, known) = login_duo(wanted, started.standing, start);
    // From here on Ctrl-C ends the check.
    let _ = started.inherited.restore_signals();
    // sshd is started in another folder.
    let sshd_config = wanted.common.sshd_config.as_ref();
    let sshd_config = sshd_config.map(|path| std::path::absolute(path).unwrap_or(path.clone()));
    let about = Wanted {
        configuration: sshd_config.as_deref(),
        shown: sshd_config
            .as_deref()
            .unwrap_or(Path::new(sshd::CONFIGURATION)),
        user: wanted.user.as_deref(),
        client: wanted.client.as_deref(),
    };
    let looked = sshd::look(&about, &known.facts(), started.standing, start + WHOLE);
    findings.extend(looked.findings);
    print(&Findings(findings), wanted)
}

/// Looks at everything but sshd. The signals that end a login are blocked.
pub fn login_duo(wanted: &Check, standing: Standing, start: Instant) -> (Vec<Finding>, Known) {
    let program = program();
    let caller = Caller::of_this_process();
    let install = Install { standing, caller };
    // Without one the child says so.
    let user = privsep::privsep_user(standing).unwrap_or_default();
    let owners = Owners::of(standing, user.as_ref(), caller);
    let (file, opened) = match open(&wanted.config, &owners) {
        Ok(opened) => (Some(opened.file), Ok(opened.warning)),
        Err(problem) => (None, Err(problem)),
    };

    let mut findings = Vec::new();
    findings.extend(installation::program(&program, install));
    findings.extend(installation::folders(
        "installation.program_folder",
        &program,
        install,
    ));
    if standing == Standing::Root {
        findings.extend(installation::privsep_user(privsep::PRIVSEP_USER));
    }
    findings.push(installation::configuration_file(&wanted.config, &opened));
    findings.extend(installation::folders(
        "installation.configuration_folder",
        &wanted.config,
        install,
    ));

    let report = ask_in_a_child(install, user.as_ref(), file, |file, ends| {
        child(wanted, file, &opened, start + CHILD, ends)
    });
    let settings = take(report, &mut findings);
    (findings, Known { program, settings })
}

/// What is wrong with a configuration that is not in its place yet. `name` is
/// what findings call it; `place` is where it shall go. A child without
/// privileges parses it and asks Duo about its keys.
pub(crate) fn candidate(name: &Path, place: &Path, file: File, started: &Start) -> Vec<Finding> {
    let until = Instant::now() + CHILD;
    let install = Install {
        standing: started.standing,
        caller: Caller::of_this_process(),
    };
    let mut findings = installation::folders("installation.configuration_folder", place, install);
    findings.retain(|finding| finding.level == Level::Fail);
    let user = privsep::privsep_user(started.standing).unwrap_or_default();
    let report = ask_in_a_child(install, user.as_ref(), Some(file), |file, mut ends| {
        let look = |ends: &mut ChildEnds| {
            end_in_time(until)?;
            let Some(file) = file else { return Ok(()) };
            match read(name, &file, until) {
                Ok((config, found)) => {
                    tell(ends, found)?;
                    tell(ends, network::look(&config, ends, until))
                }
                Err(found) => tell(ends, found),
            }
        };
        exit_status(look(&mut ends), &mut ends)
    });
    take(report, &mut findings);
    findings
}

/// The login_duo beside this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstalledProgram {
    /// Of the same version.
    Ours,
    /// Of another one, or another program of that name.
    Another,
    /// There is none.
    Missing,
}

/// Asks a program which one it is.
pub(crate) fn installed_program(path: &Path) -> InstalledProgram {
    if !path.is_file() {
        return InstalledProgram::Missing;
    }
    let mut command = std::process::Command::new(path);
    let asked = sshd::run::run(command.arg("-v"), Instant::now() + ANSWERS);
    match asked {
        Ok((true, text, _)) if text.trim_end() == OWN_VERSION => InstalledProgram::Ours,
        _ => InstalledProgram::Another,
    }
}

/// The login_duo that is looked at: the one beside this program.
pub fn program() -> PathBuf {
    let own = std::fs::read_link("/proc/self/exe");
    let own = own.unwrap_or_else(|_| PathBuf::from("/usr/sbin/duoctl"));
    own.with_file_name("login_duo")
}

/// Whether a program is the machine's, and not a user's own.
pub(crate) fn is_the_machines(program: &Path) -> bool {
    const SETUID: u32 = 0o4000;
    std::fs::metadata(program).is_ok_and(|status| status.mode() & SETUID != 0)
}

/// Runs the child's half without privileges; what it said, and how it ended.
fn ask_in_a_child(
    install: Install,
    user: Option<&PrivsepUser>,
    file: Option<File>,
    half: impl FnOnce(Option<File>, ChildEnds) -> i32,
) -> Result<Report, Error> {
    let Install { standing, caller } = install;
    let child = |confined: Confined, mut ends: ChildEnds| match confined {
        Ok(file) => half(file, ends),
        Err(error) => {
            let _ = send(&mut ends, &Told::Fault(error.to_string()));
            1
        }
    };
    privsep::separate(standing, caller, user, file, child).and_then(Parent::wait)
}

/// The child's half, to its exit status. Each group is told as soon as it is known.
fn child(
    wanted: &Check,
    file: Option<File>,
    opened: &Opened,
    until: Instant,
    mut ends: ChildEnds,
) -> i32 {
    let told = end_in_time(until).and_then(|()| examine(wanted, file, opened, until, &mut ends));
    exit_status(told, &mut ends)
}

/// The child's exit status; what kept it from its part is told.
fn exit_status(told: Result<(), Error>, ends: &mut ChildEnds) -> i32 {
    match told {
        Ok(()) => 0,
        Err(error) => {
            let _ = send(ends, &Told::Fault(error.to_string()));
            1
        }
    }
}

/// Ends the child when its time is up: a directory service knows no deadline.
fn end_in_time(until: Instant) -> Result<(), Error> {
    let left = until.saturating_duration_since(Instant::now()) + GRACE;
    std::thread::Builder::new()
        .name("time".to_owned())
        .stack_size(privsep::THREAD_STACK)
        .spawn(move || {
            std::thread::sleep(left);
            std::process::exit(TIME_IS_UP);
        })
        .map(drop)
        .map_err(|error| Error::fault("start a thread", system_words(&error)))
}

fn examine(
    wanted: &Check,
    file: Option<File>,
    opened: &Opened,
    until: Instant,
    ends: &mut ChildEnds,
) -> Result<(), Error> {
    let config = match (file, opened) {
        (Some(file), Ok(_)) => read(&wanted.config, &file, until),
        _ => Err(Vec::new()),
    };
    let mut reachable = Reachable::No;
    let config = match config {
        Ok((config, found)) => {
            tell(ends, found)?;
            send(
                ends,
                &Told::Settings {
                    failmode: match config.failmode {
                        Failmode::Safe => Stated::Safe,
                        Failmode::Secure => Stated::Secure,
                    },
                    takes_passcode: config.accept_env_factor,
                },
            )?;
            let found = network::look(&config, ends, until);
            let outcome = found.iter().find(|finding| finding.id == "network.outcome");
            if outcome.is_some_and(|finding| finding.level == Level::Ok) {
                reachable = Reachable::Yes;
            }
            tell(ends, found)?;
            Some(config)
        }
        Err(found) => {
            tell(ends, found)?;
            None
        }
    };
    let Some(name) = &wanted.user else {
        return Ok(());
    };
    let whom = Whom {
        name: name.clone(),
        duo_user: wanted.duo_user.clone(),
        client: wanted.client.clone(),
    };
    let found = user::look(&whom, config.as_deref(), reachable, ends);
    tell(ends, found)
}

fn tell(ends: &mut ChildEnds, findings: Vec<Finding>) -> Result<(), Error> {
    findings.into_iter().try_for_each(|mut finding| {
        finding.text = finding.text.chars().take(LONGEST).collect();
        send(ends, &Told::Finding(finding))
    })
}

fn send(ends: &mut ChildEnds, told: &Told) -> Result<(), Error> {
    let text =
        serde_json::to_string(told).map_err(|error| Error::fault("write a finding", error))?;
    ends.send(&(text + "\n"))
}

/// Reads and judges the configuration.
fn read(
    path: &Path,
    file: &File,
    until: Instant,
) -> Result<(Box<Config>, Vec<Finding>), Vec<Finding>> {
    let bytes = read_file(file)
        .map_err(|problem| vec![Finding::fail("configuration.syntax", problem.at(path))])?;
    match config::parse(bytes.expose()) {
        Ok(parsed) => {
            let until = until.min(Instant::now() + LOOKUPS);
            let found = configuration::look(path, &parsed.config, &parsed.warnings, until);
            Ok((Box::new(parsed.config), found))
        }
        Err(broken) => Err(configuration::broken(path, &broken)),
    }
}

/// Takes the child's findings in; anything odd is a finding too.
fn take(report: Result<Report, Error>, findings: &mut Vec<Finding>) -> Option<(Failmode, bool)> {
    const ID: &str = "installation.child";
    let failed =
        |why: &str| Finding::fail(ID, format!("the process without privileges failed: {why}"));
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            findings.push(failed(&error.to_string()));
            return None;
        }
    };
    let mut settings = None;
    let mut odd = match (report.left, report.end) {
        (Some(left), _) => Some(left.words().to_owned()),
        (None, End::Exited(0)) => None,
        (None, End::Exited(TIME_IS_UP)) => Some("the accounts and groups took too long".to_owned()),
        (None, End::Exited(status)) => Some(format!("exit status {status}")),
        (None, End::Killed(signal)) => Some(format!("killed by {signal}")),
        (None, End::Stuck) => Some("it does not end".to_owned()),
    };
    let text = String::from_utf8_lossy(&report.records);
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Told::Finding(finding)) if is_the_childs(&finding) => findings.push(finding),
            Ok(Told::Settings {
                failmode,
                takes_passcode,
            }) => {
                let failmode = match failmode {
                    Stated::Safe => Failmode::Safe,
                    Stated::Secure => Failmode::Secure,
                };
                settings = Some((failmode, takes_passcode));
            }
            Ok(Told::Fault(why)) => odd = Some(why),
            Ok(Told::Finding(_)) | Err(_) => odd = Some("it writes garbage".to_owned()),
        }
    }
    findings.push(match odd {
        None => Finding::ok(ID, "a process without privileges can be started"),
        Some(why) => failed(&why),
    });
    settings
}

/// The child speaks of what it has seen, and of nothing else.
fn is_the_childs(finding: &Finding) -> bool {
    let group = finding.id.split('.').next().unwrap_or_default();
    ["configuration", "network", "user"].contains(&group)
}

fn print(findings: &Findings, wanted: &Check) -> ExitCode {
    let mut stdout = io::stdout();
    let colour = match wanted.common.terminal.may_colour && stdout.is_terminal() {
        true => Colour::Yes,
        false => Colour::No,
    };
    let text = match wanted.common.format {
        Format::Text => findings.as_text(wanted.common.terminal.charset, colour),
        Format::Json => findings.as_json(),
    };
    // A reader that has gone is not an event: the exit status stays.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    ExitCode::from(findings.exit_status())
}
