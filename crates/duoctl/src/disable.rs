//! `disable`: takes exactly our lines away, byte for byte.

use std::path::PathBuf;

use crate::check::sshd::lines::Lines;
use crate::cli::{Common, Disable, Effect, What};
use crate::layout;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pam::services::Services;
use crate::pam::{self, edit};
use crate::pending::{self, Pending};
use crate::signals::{Patience, Signals, lock};
use crate::ssh::accept::accepts;
use crate::ssh::place::{Place, content};
use crate::ssh::reload::reload;
use crate::ssh::replace::{Replaced, replace_all};
use crate::ssh::{Sshd, Style, record};
use crate::{Start, needs_root};

/// A file without our lines.
struct Cleaned {
    path: PathBuf,
    bytes: Option<Vec<u8>>,
    /// What is done to it, for people.
    what: String,
}

/// Runs it.
pub fn run(wanted: &Disable, start: &Start, report: &mut Report) -> Outcome {
    needs_root(start)?;
    let _lock = match wanted.common.effect {
        Effect::Real => Some(lock(Patience::None)?),
        Effect::DryRun => None,
    };
    match &wanted.what {
        What::Ssh => ssh(&Sshd::find(&wanted.common)?, wanted, report),
        What::Pam(services) => services_of(services, wanted, report),
        What::All => all(wanted, report),
    }
}

/// Whatever is enabled.
fn all(wanted: &Disable, report: &mut Report) -> Outcome {
    let mut outcome = Done::Unchanged;
    // A machine without an sshd may still have services of PAM.
    let here = Sshd::find(&wanted.common);
    if let (Err(failure), Some(_)) = (&here, &wanted.common.sshd_config) {
        return Err(failure.clone());
    }
    for sshd in every(here.ok(), Style::Forced) {
        outcome = outcome.max(ssh(&sshd, wanted, report)?);
    }
    let all: Vec<String> = pam::services::all().map(str::to_owned).collect();
    if !ours(&all)?.is_empty()
        || every(Sshd::find(&wanted.common).ok(), Style::Pam)
            .next()
            .is_some()
    {
        outcome = outcome.max(services_of(&all, wanted, report)?);
    }
    if outcome == Done::Unchanged && wanted.common.effect == Effect::Real {
        report.say("nothing is enabled");
    }
    Ok(outcome)
}

/// Whether lines of ours stand in what sshd or a service of PAM reads.
///
/// # Errors
/// Why that could not be found out.
pub fn is_anything_enabled(common: &Common) -> Result<bool, Failure> {
    let all: Vec<String> = pam::services::all().map(str::to_owned).collect();
    let mut styles = [Style::Forced, Style::Pam].into_iter();
    let in_sshd = styles.any(|style| every(Sshd::find(common).ok(), style).next().is_some());
    Ok(in_sshd || !ours(&all)?.is_empty())
}

/// Each sshd that has lines of ours of this style.
fn every(here: Option<Sshd>, style: Style) -> impl Iterator<Item = Sshd> {
    let has = move |sshd: &Sshd| Place::with_lines(sshd, style).is_ok_and(|it| !it.is_empty());
    here.into_iter().flat_map(move |sshd| {
        let elsewhere: Vec<Sshd> = record::elsewhere(&sshd, style).collect();
        std::iter::once(sshd).filter(has).chain(elsewhere)
    })
}

/// Takes our lines out of what one sshd reads.
fn ssh(sshd: &Sshd, wanted: &Disable, report: &mut Report) -> Outcome {
    let places = Place::with_lines(sshd, Style::Forced)?;
    if places.is_empty() {
        return nothing_here(sshd, report);
    }
    let files = places.iter().map(cleaned).collect::<Result<Vec<_>, _>>()?;
    let outcome = take_away(&files, std::slice::from_ref(sshd), wanted, report)?;
    if outcome == Done::Changed {
        say_who_is_asked(sshd, report);
    }
    Ok(outcome)
}

/// Takes our line out of the files of PAM's services, and with that of sshd what
/// its configuration needed for it.
fn services_of(services: &[String], wanted: &Disable, report: &mut Report) -> Outcome {
    let mut files = Vec::new();
    let mut sshds = Vec::new();
    // sshd first: whoever logs in meanwhile meets the stack that was there before,
    // or one that asks for more.
    if services.iter().any(|service| service == "sshd") {
        sshds.extend(every(Sshd::find(&wanted.common).ok(), Style::Pam));
        for place in sshds.iter().map(|sshd| Place::with_lines(sshd, Style::Pam)) {
            for place in place? {
                files.push(cleaned(&place)?);
            }
        }
    }
    files.extend(ours(services)?);
    if files.is_empty() {
        report.say(format!(
            "not enabled: no line of ours in {}",
            services.join(", ")
        ));
        return Ok(Done::Unchanged);
    }
    let outcome = take_away(&files, &sshds, wanted, report)?;
    if outcome == Done::Changed {
        report.say("disabled");
        say_what_still_asks(services, report);
    }
    Ok(outcome)
}

/// The files of these services that have lines of ours.
fn ours(services: &[String]) -> Result<Vec<Cleaned>, Failure> {
    let known = Services::of_this_machine();
    let mut found = Vec::new();
    for service in services {
        let path = known.own_file(service);
        let now = content(&path)?.unwrap_or_default();
        let parts = edit::take_out(&now)
            .map_err(|why| Failure::refused(format!("'{}': {why}", path.display())))?;
        if parts.has_ours {
            let bytes = pam::without_ours(&path, &now)?;
            let shown = path.display();
            let what = match &bytes {
                Some(_) => format!("our lines from {shown}"),
                None => format!("{shown}, the copy of the distribution's file"),
            };
            found.push(Cleaned { path, bytes, what });
        }
    }
    Ok(found)
}

fn cleaned(place: &Place) -> Result<Cleaned, Failure> {
    let path = place.path().display();
    Ok(Cleaned {
        path: place.path().to_owned(),
        bytes: place.file_with(None)?,
        what: match place {
            Place::OwnFile(_) => format!("{path}"),
            Place::Block(_) | Place::PamBlock(_) => format!("our lines from {path}"),
        },
    })
}

/// All of them or none.
fn take_away(files: &[Cleaned], sshds: &[Sshd], wanted: &Disable, report: &mut Report) -> Outcome {
    let word = match wanted.common.effect {
        Effect::Real => "removing",
        Effect::DryRun => "would remove",
    };
    for file in files {
        report.say(format!("{word} {}", file.what));
    }
    if wanted.common.effect == Effect::DryRun {
        return Ok(Done::WouldChange);
    }
    let _signals = Signals::block()?;
    let replacements = files.iter().map(|file| {
        (
            file.path.as_path(),
            file.bytes.as_deref(),
            file.path.as_path(),
        )
    });
    let done = replace_all(replacements, "the same command again")?;
    done.into_iter().for_each(Replaced::keep);
    pam::record::refresh();
    sshds.iter().for_each(|sshd| {
        let _ = record::erase(sshd);
    });
    let waits = pending::read()?.filter(Pending::is_void);
    waits.into_iter().for_each(Pending::end);
    for sshd in sshds {
        let undone =
            accepts(&sshd.program, &sshd.config, Effect::Real).and_then(|()| reload(sshd, report));
        undone.map_err(|why| Failure::HalfWay {
            why: format!("disabled, but sshd was not reloaded: {why}"),
            way_back: "mend sshd's configuration, and have sshd reload it".to_owned(),
        })?;
    }
    Ok(Done::Changed)
}

/// A line that somebody wrote by hand is theirs.
fn say_what_still_asks(services: &[String], report: &mut Report) {
    let known = Services::of_this_machine();
    for service in services {
        let steps = known.steps(service).unwrap_or_default();
        if let Some(step) = steps.iter().find(|step| pam::proof::is_duo(step)) {
            let place = step.shown();
            report.warn(format!("{service} still asks Duo, by {place}"));
        }
    }
}

fn nothing_here(sshd: &Sshd, report: &mut Report) -> Outcome {
    let config = sshd.config.display();
    if let Some(other) = record::elsewhere(sshd, Style::Forced).next() {
        return Err(Failure::Refused(format!(
            "'{config}' has no lines of ours, but '{}' has: {}",
            other.config.display(),
            other.again("disable ssh")
        )));
    }
    report.say(format!(
        "not enabled: '{config}' has no lines of ours; another file? --sshd-config FILE"
    ));
    Ok(Done::Unchanged)
}

/// Lines that somebody wrote by hand are theirs.
fn say_who_is_asked(sshd: &Sshd, report: &mut Report) {
    let program = layout::program();
    let name = program.to_string_lossy();
    let read = Lines::read(&sshd.config);
    let others: Vec<String> = read
        .lines
        .iter()
        .filter(|line| line.rest().iter().any(|word| *word == name))
        .map(|line| line.place())
        .collect();
    match others.is_empty() {
        true => report.say("disabled: sshd asks for no second factor any more"),
        false => report.warn(format!(
            "disabled, but another line names {name}, and whom it is for is still asked: {}",
            others.join(" ")
        )),
    }
}
