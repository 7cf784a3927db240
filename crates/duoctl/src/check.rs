//! One run of `check`, from the command line to its exit status. The parent checks
//! files and asks sshd. A child without privileges, as at a login, checks whatever
//! comes from the configuration, a directory service or the network, and sends its
//! findings over the verdict pipe.

mod certificates;
mod codes;
mod configuration;
mod installation;
pub mod local;
mod network;
pub mod pam;
mod probe;
mod remember;
mod sandbox;
pub mod sshd;
mod unused;
mod user;

use std::collections::{BTreeMap, BTreeSet};
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
use duo_system::privsep::{
    self, Caller, ChildEnds, Confined, Front, OpenFiles, PrivsepUser, Standing,
};
use duo_system::sftp::sftp_server;
use duo_system::system_words;
use serde::{Deserialize, Serialize};

use crate::Start;
use crate::cli::{Check, Format, With};
use crate::finding::{Colour, Finding, Findings, Level};
use crate::layout::program;
use installation::Install;
pub(crate) use probe::reach;
use sshd::{Facts, Scope};
use user::{Reachable, TrialLogin};

/// The time for the child's half. sshd is asked after it.
const CHILD_TIME: Duration = Duration::from_secs(45);

/// How much longer a child may run that still waits for a directory service.
const GRACE: Duration = Duration::from_secs(3);

/// The exit status of a child that ran out of time, as timeout(1) has it.
const OUT_OF_TIME: i32 = 124;

/// All of it, in less than the minute that is promised.
pub const CHECK_TIME: Duration = Duration::from_secs(55);

/// The time for looking up this machine's accounts and their groups.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// For a program to say its version.
const ANSWERS: Duration = Duration::from_secs(5);

/// A finding's longest text on the pipe, in characters.
const LONGEST_TEXT: usize = 1_000;

/// A line of the child's on the verdict pipe, as JSON.
#[derive(Serialize, Deserialize)]
enum ChildLine {
    Finding(Finding),
    /// The options of the configuration that the parent's half needs.
    Options {
        failmode: PipeFailmode,
        takes_passcode: bool,
    },
    /// Why the child could not do its half.
    Fault(String),
}

/// A failmode on the verdict pipe.
#[derive(Serialize, Deserialize)]
enum PipeFailmode {
    Safe,
    Secure,
    Codes,
}

/// The warning about the opened configuration file, if there is one; or why it was
/// not opened.
type OpenResult = Result<Option<Problem>, Problem>;

/// What is known of login_duo once it was looked at.
pub struct Known {
    /// Its file.
    pub program: PathBuf,
    /// The failmode, and whether a passcode is taken from the environment.
    options: Option<(Failmode, bool)>,
    /// The failmode of each configuration that PAM's module reads.
    pub pam_failmodes: BTreeMap<PathBuf, Failmode>,
}

impl Known {
    /// What judging sshd's answers needs, where PAM's stack for sshd asks Duo like this.
    pub fn facts_with(&self, pam: Option<With>) -> Facts<'_> {
        Facts {
            pam,
            ..self.facts()
        }
    }

    /// The same without PAM.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            pam: None,
            program: &self.program,
            failmode: self.options.map(|(failmode, _)| failmode),
            takes_passcode: self.options.map(|(_, taken)| taken),
            sftp_server: sftp_server(),
        }
    }
}

/// Checks everything and prints the findings. Returns the exit status: 0 all good,
/// 1 something fails, 2 warnings only.
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
    let asking = pam::seen_by(started.standing);
    let (mut findings, known) = front_ends(wanted, &asking, started.standing, start);
    // From here on Ctrl-C ends the check.
    let _ = started.inherited.restore_signals();
    // sshd is started in another folder, so it needs the absolute path.
    let sshd_config = wanted.common.sshd_config.as_ref();
    let sshd_config = sshd_config.map(|path| std::path::absolute(path).unwrap_or(path.clone()));
    let scope = Scope {
        configuration: sshd_config.as_deref(),
        shown: sshd_config
            .as_deref()
            .unwrap_or(Path::new(sshd::CONFIGURATION)),
        user: wanted.user.as_deref(),
        client: wanted.client.as_deref(),
    };
    let facts = known.facts_with(pam::with(&asking));
    if leaves_sshd_out(wanted, &asking) {
        findings.push(pam::sshd_asks_nobody());
        return print(&Findings(findings), wanted);
    }
    let looked = sshd::look(&scope, &facts, started.standing, start + CHECK_TIME);
    findings.extend(looked.findings);
    findings.extend(pam::sshd_findings(&looked.cases, &asking, facts.program));
    print(&Findings(findings), wanted)
}

/// Checks what reads a configuration: login_duo, unless PAM's module alone is in
/// use, and that module.
pub fn front_ends(
    wanted: &Check,
    asking: &[pam::Asking],
    standing: Standing,
    start: Instant,
) -> (Vec<Finding>, Known) {
    let (mut findings, mut known) = match is_pam_alone(wanted, asking) {
        false => login_duo(wanted, standing, start),
        true => {
            let known = Known {
                program: program(),
                options: None,
                pam_failmodes: BTreeMap::new(),
            };
            (Vec::new(), known)
        }
    };
    let mut failmodes = BTreeMap::new();
    for config in asking
        .iter()
        .map(pam::Asking::config)
        .collect::<BTreeSet<_>>()
    {
        let own = Check {
            user: wanted.user.clone().filter(|_| known.options.is_none()),
            duo_user: wanted.duo_user.clone(),
            client: wanted.client.clone(),
            ..Check::of(&config, &wanted.common)
        };
        let (found, failmode) = pam_duo(&own, standing, start);
        failmodes.extend(failmode.map(|failmode| (config, failmode)));
        findings.extend(
            found
                .into_iter()
                .filter(|finding| !findings.contains(finding))
                .collect::<Vec<_>>(),
        );
    }
    findings.extend(pam::findings(asking, &failmodes));
    known.pam_failmodes = failmodes;
    (findings, known)
}

/// Whether the module is in use, and login_duo is not.
pub fn is_pam_alone(wanted: &Check, asking: &[pam::Asking]) -> bool {
    let is_usual = wanted.config == duo_system::configuration::default_path();
    !asking.is_empty() && is_usual && !is_forced(wanted)
}

/// Whether other services ask Duo, and sshd by neither style.
pub fn leaves_sshd_out(wanted: &Check, asking: &[pam::Asking]) -> bool {
    !asking.is_empty() && pam::with(asking).is_none() && !is_forced(wanted)
}

/// Whether a line of sshd's configuration names login_duo.
fn is_forced(wanted: &Check) -> bool {
    let path = wanted.common.sshd_config.as_deref();
    let lines = sshd::lines::Lines::read(path.unwrap_or(Path::new(sshd::CONFIGURATION)));
    let mut forced = lines.lines.iter().filter(|line| line.is("forcecommand"));
    forced.any(|line| line.rest().iter().any(|word| word.ends_with("/login_duo")))
}

/// Checks everything but sshd. The signals that end a login are blocked.
pub fn login_duo(wanted: &Check, standing: Standing, start: Instant) -> (Vec<Finding>, Known) {
    let (findings, options) = front_end(FrontEnd::LoginDuo, wanted, standing, start);
    let program = program();
    let pam_failmodes = BTreeMap::new();
    let known = Known {
        program,
        options,
        pam_failmodes,
    };
    (findings, known)
}

/// Checks what pam_duo.so reads and needs, but for the module itself. Returns the
/// failmode too, if the configuration can be used.
pub fn pam_duo(
    wanted: &Check,
    standing: Standing,
    start: Instant,
) -> (Vec<Finding>, Option<Failmode>) {
    let (findings, options) = front_end(FrontEnd::Pam, wanted, standing, start);
    (findings, options.map(|(failmode, _)| failmode))
}

/// What a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// The setuid program.
    LoginDuo,
    /// The PAM module.
    Pam,
}

fn front_end(
    front_end: FrontEnd,
    wanted: &Check,
    standing: Standing,
    start: Instant,
) -> (Vec<Finding>, Option<(Failmode, bool)>) {
    let caller = Caller::of_this_process();
    let install = Install { standing, caller };
    // If there is no such user, the child reports that.
    let user = privsep::privsep_user(standing).unwrap_or_default();
    let owners = Owners::of(standing, user.as_ref(), caller);
    let (file, opened) = match open(&wanted.config, &owners) {
        Ok(opened) => (Some(opened.file), Ok(opened.warning)),
        Err(problem) => (None, Err(problem)),
    };

    let mut findings = match front_end {
        FrontEnd::LoginDuo => program_findings(&program(), install),
        FrontEnd::Pam => Vec::new(),
    };
    findings.extend(installation_findings(&wanted.config, &opened, install));
    let wanted = Wanted {
        front_end,
        options: wanted,
        counted: codes::count(standing),
        until: start + CHILD_TIME,
    };
    let report = run_child(install, user.as_ref(), file, |file, ends| {
        child_half(&wanted, file, &opened, ends)
    });
    let options = take_report(report, &mut findings);
    (findings, options)
}

/// The findings about the setuid program.
fn program_findings(program: &Path, install: Install) -> Vec<Finding> {
    let mut findings = installation::program(program, install);
    findings.extend(installation::folders(
        "installation.program_folder",
        program,
        install,
    ));
    findings
}

/// The findings about the configuration file and the accounts of the installation.
fn installation_findings(config: &Path, opened: &OpenResult, install: Install) -> Vec<Finding> {
    const CONFIGURATION_FOLDER: &str = "installation.configuration_folder";
    let mut findings = vec![installation::cryptography()];
    if install.standing == Standing::Root {
        findings.extend(installation::privsep_user(privsep::PRIVSEP_USER));
    }
    findings.push(installation::configuration_file(config, opened));
    findings.extend(installation::folders(CONFIGURATION_FOLDER, config, install));
    findings
}

/// What is wrong with a configuration that is not in its place yet. `name` is
/// what findings call it; `place` is where it shall go. A child without
/// privileges parses it and asks Duo about its keys.
pub(crate) fn candidate(name: &Path, place: &Path, file: File, started: &Start) -> Vec<Finding> {
    let until = Instant::now() + CHILD_TIME;
    let install = Install {
        standing: started.standing,
        caller: Caller::of_this_process(),
    };
    let mut findings = installation::folders("installation.configuration_folder", place, install);
    findings.retain(|finding| finding.level == Level::Fail);
    let user = privsep::privsep_user(started.standing).unwrap_or_default();
    let report = run_child(install, user.as_ref(), Some(file), |file, mut ends| {
        let look = |ends: &mut ChildEnds| {
            exit_at(until + GRACE)?;
            let Some(file) = file else { return Ok(()) };
            match read_config(name, &file, until) {
                Ok((config, found)) => {
                    send_findings(ends, found)?;
                    send_findings(ends, network::findings(&config, ends, until))
                }
                Err(found) => send_findings(ends, found),
            }
        };
        exit_status(look(&mut ends), &mut ends)
    });
    take_report(report, &mut findings);
    findings
}

/// The login_duo of this duoctl.
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
    let own = format!("login_duo {}", crate::version());
    let mut command = std::process::Command::new(path);
    let asked = sshd::run::run(command.arg("-v"), Instant::now() + ANSWERS);
    match asked {
        Ok((true, text, _)) if text.trim_end() == own => InstalledProgram::Ours,
        _ => InstalledProgram::Another,
    }
}

/// Whether a program belongs to the machine and not to a user's own install.
pub(crate) fn is_the_machines(program: &Path) -> bool {
    const SETUID: u32 = 0o4000;
    std::fs::metadata(program).is_ok_and(|status| status.mode() & SETUID != 0)
}

/// Runs `half` in a child without privileges, and returns what the child sent and
/// how it ended.
fn run_child(
    install: Install,
    user: Option<&PrivsepUser>,
    file: Option<File>,
    half: impl FnOnce(Option<File>, ChildEnds) -> i32,
) -> Result<Report, Error> {
    let Install { standing, caller } = install;
    let child = |confined: Confined, mut ends: ChildEnds| match confined {
        Ok(files) => half(files.config, ends),
        Err(error) => {
            let _ = send(&mut ends, &ChildLine::Fault(error.to_string()));
            1
        }
    };
    privsep::separate(
        standing,
        caller,
        user,
        OpenFiles::config(file),
        Front::Session,
        child,
    )
    .map(privsep::Parent::wait)
}

/// What the child's half looks at.
struct Wanted<'a> {
    front_end: FrontEnd,
    options: &'a Check,
    counted: codes::Counted,
    until: Instant,
}

/// The child's half. Returns its exit status.
fn child_half(
    wanted: &Wanted<'_>,
    file: Option<File>,
    opened: &OpenResult,
    mut ends: ChildEnds,
) -> i32 {
    let sent =
        exit_at(wanted.until + GRACE).and_then(|()| send_all(wanted, file, opened, &mut ends));
    exit_status(sent, &mut ends)
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
            send(ends, &options(&config))?;
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

/// What the parent's half needs to know of a configuration.
fn options(config: &Config) -> ChildLine {
    ChildLine::Options {
        failmode: match config.failmode {
            Failmode::Safe => PipeFailmode::Safe,
            Failmode::Secure => PipeFailmode::Secure,
            Failmode::Codes => PipeFailmode::Codes,
        },
        takes_passcode: config.accept_env_factor,
    }
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

/// Adds the child's findings to `findings`, and a finding about the child itself.
/// Returns the failmode, and whether a passcode is taken from the environment, if
/// the configuration could be read.
fn take_report(
    report: Result<Report, Error>,
    findings: &mut Vec<Finding>,
) -> Option<(Failmode, bool)> {
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
    let mut options = None;
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
            Ok(ChildLine::Options {
                failmode,
                takes_passcode,
            }) => {
                let failmode = match failmode {
                    PipeFailmode::Safe => Failmode::Safe,
                    PipeFailmode::Secure => Failmode::Secure,
                    PipeFailmode::Codes => Failmode::Codes,
                };
                options = Some((failmode, takes_passcode));
            }
            Ok(ChildLine::Fault(why)) => failure = Some(why),
            Ok(ChildLine::Finding(_)) | Err(_) => failure = Some("it writes garbage".to_owned()),
        }
    }
    findings.push(match failure {
        None => Finding::ok(ID, "a process without privileges can be started"),
        Some(why) => failed(&why),
    });
    options
}

/// Whether the finding is of a group that the child checks. A child that was taken
/// over must not speak for the parent.
fn may_be_the_childs(finding: &Finding) -> bool {
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
    // If stdout is closed, the exit status still tells the outcome.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    ExitCode::from(findings.exit_status())
}
