//! One run of `check`, from the command line to its exit status. The parent checks
//! files and asks sshd. A child without privileges (`child`), as at a login, checks
//! whatever comes from the configuration, a directory service or the network, and
//! sends its findings over the verdict pipe.

mod certificates;
mod child;
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

use duo_policy::config::{Failmode, Problem};
use duo_system::configuration::{Owners, open};
use duo_system::privsep::{self, Caller, Standing};
use duo_system::sftp::sftp_server;

use crate::Start;
use crate::cli::{Check, Format, With};
use crate::finding::{Colour, Finding, Findings, Level};
use crate::layout::program;
use installation::Install;
pub(crate) use probe::reach;
use sshd::{Facts, Scope};

/// The time for the child's half. sshd is asked after it.
const CHILD_TIME: Duration = Duration::from_secs(45);

/// All of it, in less than the minute that is promised.
pub const CHECK_TIME: Duration = Duration::from_secs(55);

/// For a program to say its version.
const ANSWERS: Duration = Duration::from_secs(5);

/// The warning about the opened configuration file, if there is one; or why it was
/// not opened.
type OpenResult = Result<Option<Problem>, Problem>;

/// What is known of login_duo once it was looked at.
pub struct Known {
    /// Its file.
    pub program: PathBuf,
    /// What its configuration says, if that could be read.
    options: Option<child::Options>,
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

    /// For how long a yes counts on its connection, if the configuration can be used.
    pub fn remembered_for(&self) -> Option<Duration> {
        self.options.map(|options| options.remembered_for)
    }

    /// The same without PAM.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            pam: None,
            program: &self.program,
            failmode: self.options.map(|options| options.failmode),
            takes_passcode: self.options.map(|options| options.takes_passcode),
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
    (findings, options.map(|options| options.failmode))
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
) -> (Vec<Finding>, Option<child::Options>) {
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
    let wanted = child::Wanted {
        front_end,
        options: wanted,
        counted: codes::count(standing),
        until: start + CHILD_TIME,
    };
    let found = child::look(&wanted, install, user.as_ref(), file, &opened);
    findings.extend(found.findings);
    (findings, found.options)
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
    findings.extend(child::look_at_candidate(
        name,
        install,
        user.as_ref(),
        file,
        until,
    ));
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
