//! `configure`: a candidate takes the place of the configuration only after it was parsed and
//! proved at Duo, and by the program that will read it. Until then it is in memory alone; a
//! configuration with a mistake, or with a key that Duo does not take, is never live.

mod edit;
mod place;
mod source;
mod written;

use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};

use duo_policy::config;
use duo_policy::secret::Secret;
use duo_system::configuration::{self, Owners};
use duo_system::privsep::{self, Caller, Standing};
use duo_system::system_words;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::Start;
use crate::check::{self, InstalledProgram};
use crate::cli::{Common, Configure, Effect, NewConfiguration};
use crate::finding::{Finding, Level};
use crate::layout::{self, HELPER};
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pam::module;
pub use place::behind_links;
use place::{Place, Unavailable};

/// Findings that nobody can accept: with one of these, logins would be denied
/// or go past Duo, or nothing was proved at all.
const NEVER_ACCEPTED: [&str; 4] = [
    "configuration.syntax",
    "configuration.failmode",
    "installation.child",
    "network.keys",
];

/// Findings that say what others mean for a login.
const CONSEQUENCES: [&str; 2] = ["configuration.failmode", "network.outcome"];

/// The finding that says that the parser has no complaint.
const PARSED: &str = "configuration.syntax";

/// Runs it.
pub fn run(wanted: &Configure, start: &Start, report: &mut Report) -> Outcome {
    let program = layout::program();
    if start.standing == Standing::Own && check::is_the_machines(&program) {
        return Err(Failure::refused(format!(
            "only root may configure {}: run this with sudo",
            program.display()
        )));
    }
    is_of_this_version(&program)?;
    let path = place::behind_links(&wanted.config);
    let place = taken(&path)?;
    let live = live(&path, start)?;
    let (candidate, kept) = match &wanted.new {
        NewConfiguration::Stdin => (source::stdin()?, Place::before(&path)),
        NewConfiguration::File(file) => (source::file(file, report)?, Place::before(&path)),
        NewConfiguration::Set(settings) => {
            let edited = edited(settings, &live, &path)?;
            (edited, Place::before(&path))
        }
        NewConfiguration::Restore => {
            let before = before(&Place::before(&path), start)?;
            (before, Place::undone(&path))
        }
    };
    if let Live::Good(bytes) = &live
        && bytes.expose() == candidate.expose()
    {
        report.say(format!("{} is so already", path.display()));
        return Ok(Done::Unchanged);
    }
    say_keys(&live, &candidate, report);
    prove(wanted, &path, &candidate, start, report)?;
    if wanted.common.effect == Effect::DryRun {
        report.say(format!("{} would be replaced", path.display()));
        return Ok(Done::WouldChange);
    }
    let old = match &live {
        Live::Nothing => None,
        Live::Good(bytes) => Some(bytes),
        // Only its owner or its mode changes.
        Live::Refused(bytes, _) if bytes.expose() == candidate.expose() => None,
        Live::Refused(bytes, _) => Some(bytes),
    };
    let failed = |error: std::io::Error| cannot_be_replaced(&path, &error);
    place
        .replace(&candidate, old.map(|old| (old, kept.as_path())))
        .map_err(failed)?;
    if start.standing == Standing::Root {
        let made = matches!(live, Live::Nothing).then_some(path.as_path());
        written::record(made.into_iter().chain(old.map(|_| kept.as_path())), report);
    }
    let shown = path.display();
    report.say(match old {
        Some(_) => format!("{shown} is replaced; what it was is in {}", kept.display()),
        None => format!("{shown} is in place"),
    });
    Ok(Done::Changed)
}

/// Says which keys get another value, by their names alone: a value may be the secret key.
fn say_keys(live: &Live, candidate: &Secret, report: &mut Report) {
    let old: &[u8] = match live {
        Live::Nothing => b"",
        Live::Good(bytes) | Live::Refused(bytes, _) => bytes.expose(),
    };
    let differ = config::keys_that_differ(old, candidate.expose());
    let names: Vec<&str> = differ.iter().map(|key| key.name).collect();
    report.say(match names.is_empty() {
        true => "no key has another value".to_owned(),
        false => format!("keys with another value: {}", names.join(", ")),
    });
    report.put("keys", names.into());
}

/// The place, for this process alone from here on.
fn taken(path: &Path) -> Result<Place, Failure> {
    Place::take(path).map_err(|unavailable| match unavailable {
        Unavailable::Busy => {
            Failure::refused(format!("another duoctl is changing {}", path.display()))
        }
        Unavailable::Failed(error) => cannot_be_replaced(path, &error),
    })
}

fn cannot_be_replaced(path: &Path, error: &std::io::Error) -> Failure {
    let (shown, why) = (path.display(), system_words(error));
    Failure::refused(format!(
        "{shown} cannot be replaced, and is as it was: {why}"
    ))
}

/// A configuration for a program that reads it differently proves nothing. Where the
/// module alone is installed, its helper reads the file.
fn is_of_this_version(program: &Path) -> Result<(), Failure> {
    let name = program.display();
    let own = crate::version();
    match check::installed_program(program) {
        InstalledProgram::Ours => Ok(()),
        InstalledProgram::Missing if has_module() => Ok(()),
        InstalledProgram::Missing => Err(Failure::refused(format!(
            "there is no {name}: install login_duo {own} first, since it is what reads the file"
        ))),
        InstalledProgram::Another => Err(Failure::refused(format!(
            "{name} is not login_duo {own}, the version of this duoctl: it may read the file \
             differently; install both from the same release"
        ))),
    }
}

fn has_module() -> bool {
    module::find().is_ok() && Path::new(HELPER).is_file()
}

/// What stands in the configuration's place.
enum Live {
    /// No file.
    Nothing,
    /// A file as its owner and its mode should be.
    Good(Secret),
    /// A file that a login refuses, or warns of, and why.
    Refused(Secret, String),
}

fn owners(start: &Start) -> Owners {
    let user = privsep::privsep_user(start.standing).unwrap_or_default();
    Owners::of(start.standing, user.as_ref(), Caller::of_this_process())
}

fn live(path: &Path, start: &Start) -> Result<Live, Failure> {
    let failed = |why: String| Failure::refused(format!("{}: {why}", path.display()));
    let opened = match configuration::open(path, &owners(start)) {
        Ok(opened) => opened,
        Err(problem) => match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Live::Nothing),
            Ok(file) if file.metadata().is_ok_and(|status| status.is_file()) => {
                let bytes = configuration::read(&file).map_err(|worse| failed(worse.text))?;
                return Ok(Live::Refused(bytes, problem.at(path)));
            }
            _ => return Err(Failure::refused(problem.at(path))),
        },
    };
    let bytes = configuration::read(&opened.file).map_err(|problem| failed(problem.text))?;
    Ok(match opened.warning {
        None => Live::Good(bytes),
        Some(warning) => Live::Refused(bytes, warning.at(path)),
    })
}

/// The live file with these keys set.
fn edited(settings: &[(String, String)], live: &Live, path: &Path) -> Result<Secret, Failure> {
    let mut text = match live {
        Live::Nothing => Secret::from(Vec::new()),
        Live::Good(bytes) => bytes.clone(),
        // Somebody else may have written the rest of it.
        Live::Refused(_, why) => {
            return Err(Failure::refused(format!(
                "{why}; or give the whole file: duoctl configure FILE"
            )));
        }
    };
    let mut stdin_is_used = false;
    for (key, value) in settings {
        let value = source::value(key, value, &mut stdin_is_used)?;
        let setting = edit::Setting::new(key, value).map_err(|refusal| match refusal {
            edit::Refusal::UnknownKey => Failure::refused(format!(
                "there is no such key: see login_duo.conf(5); {} is as it was",
                path.display()
            )),
            edit::Refusal::Unwritable => Failure::refused(format!(
                "the value of '{key}' would not fit on a line of its own"
            )),
        })?;
        text = setting.apply(&text);
    }
    Ok(text)
}

/// The file before, to be restored.
fn before(path: &Path, start: &Start) -> Result<Secret, Failure> {
    let opened = configuration::open(path, &owners(start))
        .and_then(|opened| configuration::read(&opened.file));
    opened.map_err(|problem| Failure::refused(format!("nothing to restore: {}", problem.at(path))))
}

/// Has a child without privileges parse the candidate and ask Duo about it.
fn prove(
    wanted: &Configure,
    path: &Path,
    candidate: &Secret,
    start: &Start,
    report: &mut Report,
) -> Result<(), Failure> {
    let name = match &wanted.new {
        NewConfiguration::Stdin => PathBuf::from("standard input"),
        NewConfiguration::File(file) => file.clone(),
        NewConfiguration::Set(_) => path.to_owned(),
        NewConfiguration::Restore => Place::before(path),
    };
    let failed = |error: std::io::Error| {
        Failure::refused(format!(
            "the candidate cannot be kept in memory: {}",
            system_words(&error)
        ))
    };
    let file = in_memory(candidate).map_err(failed)?;
    let findings = check::candidate(&name, path, file, start);
    refuse_failures(&findings, &wanted.common, path, report)
}

/// Fails with what is wrong and was not accepted; warns of the rest. `path` is as it was.
pub fn refuse_failures(
    findings: &[Finding],
    common: &Common,
    path: &Path,
    report: &mut Report,
) -> Result<(), Failure> {
    let accepted = |finding: &Finding| {
        let id = finding.id.as_ref();
        !NEVER_ACCEPTED.contains(&id) && common.accepted.iter().any(|accepted| accepted == id)
    };
    let mut refused: Vec<&Finding> = Vec::new();
    for finding in findings {
        match finding.level {
            Level::Ok => {}
            Level::Warn => report.warn(format!("{} ({})", finding.text, finding.id)),
            Level::Fail if accepted(finding) => {
                report.warn(format!("accepted: {} ({})", finding.text, finding.id));
            }
            Level::Fail => refused.push(finding),
        }
    }
    let parsed = |finding: &Finding| finding.id == PARSED && finding.level == Level::Ok;
    if refused.is_empty() && findings.iter().any(parsed) {
        return Ok(());
    }
    Err(Failure::refused(refusal(&refused, path)))
}

/// What is wrong, and, where all of it can be accepted, what accepts it.
fn refusal(refused: &[&Finding], path: &Path) -> String {
    let mut text = format!("refused, {} is as it was:", path.display());
    let is_consequence = |finding: &Finding| CONSEQUENCES.contains(&finding.id.as_ref());
    let has_cause = refused.iter().any(|finding| !is_consequence(finding));
    for finding in refused {
        // It speaks of the candidate as if that were in place.
        if !(has_cause && is_consequence(finding)) {
            text.push_str(&format!("\n  {} ({})", finding.text, finding.id));
        }
    }
    let mut ids: Vec<&str> = refused.iter().map(|finding| finding.id.as_ref()).collect();
    ids.dedup();
    if !ids.is_empty() && !ids.iter().any(|id| NEVER_ACCEPTED.contains(id)) {
        let options: Vec<_> = ids.iter().map(|id| format!("--accept {id}")).collect();
        text.push_str(&format!(
            "\nto go on in spite of that: {}",
            options.join(" ")
        ));
    }
    text
}

/// A file without a name: the child can be handed it, and nobody else can open it.
fn in_memory(candidate: &Secret) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(c"candidate", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(candidate.expose())?;
    file.rewind()?;
    Ok(file)
}
