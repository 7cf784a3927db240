//! One run of `--check`, from the command line to its exit status. The parent looks at files and
//! asks sshd; whatever comes from the configuration, a directory service or the network is looked
//! at by a child without privileges, as at a login, which hands its findings over the verdict pipe.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::check::installation::{self, Install};
use crate::check::sshd::{self, Facts, Wanted};
use crate::check::user::{self, Reachable, Whom};
use crate::check::{Colour, Finding, Findings, Level, configuration, network};
use crate::cli::{Check, Format};
use crate::config::{self, Config, Failmode, Owners, Problem};
use crate::error::{Error, system_words};
use crate::privsep::{self, ChildEnds, End, FAULT_MARK, Inherited, PrivsepUser, Report, Standing};
use crate::session;

/// The child's time; what sshd needs comes after.
const CHILD: Duration = Duration::from_secs(45);

/// Beyond which a child that still waits for something is ended.
const GRACE: Duration = Duration::from_secs(3);

/// The exit status of such a child, as timeout(1) has it.
const TIME_IS_UP: i32 = 124;

/// All of it, in less than the minute that is promised.
const WHOLE: Duration = Duration::from_secs(55);

/// For looking up this machine's accounts and their groups.
const LOOKUPS: Duration = Duration::from_secs(5);

/// A finding's longest text on the pipe, in characters.
const LONGEST: usize = 1_000;

/// A line on the verdict pipe.
#[derive(Serialize, Deserialize)]
enum Record {
    Finding(Finding),
    /// What the parent's half needs of the configuration.
    Settings {
        fails_safe: bool,
        takes_passcode: bool,
    },
}

/// What came of opening the configuration.
type Opened = Result<Option<Problem>, Problem>;

/// Looks at everything and prints it. 0 all good, 1 something fails, 2 warnings only.
pub fn run(wanted: &Check, inherited: &Inherited, standing: Standing) -> ExitCode {
    let start = Instant::now();
    let program = program();
    let install = match standing {
        Standing::Plain => Install::Own(privsep::caller_id()),
        Standing::Root | Standing::Setuid => Install::System,
    };
    // Without one the child says so.
    let user = privsep_user(standing).unwrap_or_default();
    let (file, opened) = open(&wanted.config, standing, user.as_ref());

    let mut findings = Vec::new();
    findings.extend(installation::program(&program, install));
    findings.extend(installation::folders(
        "installation.program_folder",
        &program,
        install,
    ));
    if install == Install::System {
        findings.extend(installation::privsep_user(privsep::PRIVSEP_USER));
    }
    findings.push(installation::configuration_file(&wanted.config, &opened));
    findings.extend(installation::folders(
        "installation.configuration_folder",
        &wanted.config,
        install,
    ));

    let report = privsep::separate(standing, user.as_ref(), file, |file, ends| {
        child(wanted, file, &opened, start + CHILD, ends)
    });
    let report = report.and_then(|mut parent| {
        let report = parent.wait();
        parent.finish();
        report
    });
    // From here on Ctrl-C ends the check.
    let _ = inherited.restore_signals();
    let settings = take(report, &mut findings);

    let facts = Facts {
        program: &program,
        failmode: settings.map(|(failmode, _)| failmode),
        takes_passcode: settings.map(|(_, taken)| taken),
        sftp_server: session::sftp_server(),
    };
    // sshd is started in another folder.
    let sshd_config = wanted.sshd_config.as_ref();
    let sshd_config = sshd_config.map(|path| std::path::absolute(path).unwrap_or(path.clone()));
    let about = Wanted {
        configuration: sshd_config.as_deref(),
        user: wanted.user.as_deref(),
        client: wanted.client.as_deref(),
    };
    findings.extend(sshd::look(&about, &facts, start + WHOLE));
    print(&Findings(findings), wanted)
}

/// This program's own file.
fn program() -> PathBuf {
    std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| PathBuf::from("/usr/sbin/login_duo"))
}

/// Whom the child runs as.
fn privsep_user(standing: Standing) -> Result<Option<PrivsepUser>, Error> {
    match standing {
        Standing::Plain => Ok(None),
        Standing::Setuid | Standing::Root => privsep::privsep_user(standing).map(Some),
    }
}

/// Opens the configuration as a login does.
fn open(path: &Path, standing: Standing, user: Option<&PrivsepUser>) -> (Option<File>, Opened) {
    let owners = Owners {
        privsep: user.map(|user| user.uid.as_raw()),
        // Where it cannot be looked up, its files are refused: the stricter answer.
        sshd: Some(|| privsep::user_id("sshd").unwrap_or_default()),
        caller: (standing != Standing::Setuid).then(privsep::caller_id),
    };
    match config::open(path, &owners) {
        Ok(opened) => (Some(opened.file), Ok(opened.warning)),
        Err(problem) => (None, Err(problem)),
    }
}

/// The child's half, to its exit status. Each group is told as soon as it is known.
fn child(
    wanted: &Check,
    file: Option<File>,
    opened: &Opened,
    until: Instant,
    mut ends: ChildEnds,
) -> i32 {
    let told = watch(&ends, until).and_then(|()| examine(wanted, file, opened, until, &mut ends));
    match told {
        Ok(()) => 0,
        Err(error) => {
            let _ = ends.send(&format!("{FAULT_MARK}{error}"));
            1
        }
    }
}

/// Ends the child with its parent, and when its time is up: a directory service knows no deadline.
fn watch(ends: &ChildEnds, until: Instant) -> Result<(), Error> {
    // Nothing is left to do for an orphan.
    ends.watch_parent(|| None, || {})?;
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
                &Record::Settings {
                    fails_safe: config.failmode == Failmode::Safe,
                    takes_passcode: config.accept_env_factor,
                },
            )?;
            let found = network::look(&config, until);
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
    tell(ends, user::look(&whom, config.as_deref(), reachable))
}

fn tell(ends: &mut ChildEnds, findings: Vec<Finding>) -> Result<(), Error> {
    findings.into_iter().try_for_each(|mut finding| {
        finding.text = finding.text.chars().take(LONGEST).collect();
        send(ends, &Record::Finding(finding))
    })
}

fn send(ends: &mut ChildEnds, record: &Record) -> Result<(), Error> {
    let text =
        serde_json::to_string(record).map_err(|error| Error::fault("write a finding", error))?;
    ends.send(&text)
}

/// Reads and judges the configuration.
fn read(
    path: &Path,
    file: &File,
    until: Instant,
) -> Result<(Box<Config>, Vec<Finding>), Vec<Finding>> {
    let bytes = config::read(file)
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
    let mut odd = match report.end {
        End::Exited(0) => None,
        End::Exited(TIME_IS_UP) => Some("the accounts and groups took too long".to_owned()),
        End::Exited(status) => Some(format!("exit status {status}")),
        End::Killed(signal) => Some(format!("killed by {signal}")),
        End::Left(why) => Some(why.to_owned()),
        End::Stuck | End::Stays => Some("it does not end".to_owned()),
    };
    let text = String::from_utf8_lossy(&report.records);
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Record::Finding(finding)) if is_the_childs(&finding) => findings.push(finding),
            Ok(Record::Settings {
                fails_safe,
                takes_passcode,
            }) => {
                let failmode = if fails_safe {
                    Failmode::Safe
                } else {
                    Failmode::Secure
                };
                settings = Some((failmode, takes_passcode));
            }
            Ok(Record::Finding(_)) | Err(_) => {
                let why = line.strip_prefix(FAULT_MARK).unwrap_or("it writes garbage");
                odd = Some(why.to_owned());
            }
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
    let colour = match wanted.may_colour && stdout.is_terminal() {
        true => Colour::Yes,
        false => Colour::No,
    };
    let text = match wanted.format {
        Format::Text => findings.as_text(wanted.charset, colour),
        Format::Json => findings.as_json(),
    };
    // A reader that has gone is not an event: the exit status stays.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    ExitCode::from(findings.exit_status())
}
