//! `adopt`: from Duo's own login_duo, in C, to this one, and back, without a moment in which nobody
//! is asked. Whatever sshd shall run is proved before a line of sshd's names it: this program by the
//! check, Duo's by an ordinary user, since it lets everybody in where it cannot read its file.

mod pam;
mod proof;
mod switch;
mod theirs;

use std::fs;
use std::path::Path;
use std::time::Instant;

use duo_system::system_words;

use crate::check::sshd::lines::Lines;
use crate::check::{self, InstalledProgram};
use crate::cli::{Adopt, Check, Configure, Effect, NewConfiguration, Way};
use crate::layout;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::signals::{Patience, lock};
use crate::ssh::Sshd;
use crate::{Start, configure};
use theirs::Theirs;

/// Runs it.
pub fn run(wanted: &Adopt, start: &Start, report: &mut Report) -> Outcome {
    crate::needs_root(start)?;
    let _lock = lock(Patience::None)?;
    let pam = pam::Plan::of(wanted.way)?;
    let outcome = match (&pam, is_for_pam_alone(wanted)) {
        (Some(_), true) => Done::Unchanged,
        _ => ssh(wanted, start, report)?,
    };
    match pam.map(|plan| plan.carry_out(wanted, start, report)) {
        Some(Ok(done)) => Ok(outcome.max(done)),
        Some(Err(failure)) if outcome == Done::Changed => Err(half_way(wanted, &failure)),
        Some(Err(failure)) => Err(failure),
        None => Ok(outcome),
    }
}

/// Whether sshd runs neither program, so that PAM alone is to be switched.
fn is_for_pam_alone(wanted: &Adopt) -> bool {
    let ours = layout::program();
    let Ok(sshd) = Sshd::find(&wanted.common) else {
        return wanted.theirs.is_none();
    };
    let lines = Lines::read(&sshd.config);
    // What `enable ssh` wrote was never Duo's.
    let was_never_theirs = wanted.way == Way::Back
        && !theirs::record().exists()
        && !theirs::kept_by_installer(&ours).is_file();
    if wanted.theirs.is_none() && was_never_theirs {
        return true;
    }
    wanted.theirs.is_none()
        && switch::others(&lines, &ours).is_empty()
        && switch::naming(&lines, &ours).is_empty()
}

/// sshd's lines are switched, and PAM's are not.
fn half_way(wanted: &Adopt, failure: &Failure) -> Failure {
    let (Failure::Refused(why) | Failure::Usage(why) | Failure::HalfWay { why, .. }) = failure;
    Failure::HalfWay {
        why: format!("sshd's lines are switched, those of PAM are not: {why}"),
        way_back: match wanted.way {
            Way::Here => "duoctl adopt --back".to_owned(),
            Way::Back => "duoctl adopt".to_owned(),
        },
    }
}

/// The lines of sshd.
fn ssh(wanted: &Adopt, start: &Start, report: &mut Report) -> Outcome {
    let ours = layout::program();
    let sshd = Sshd::find(&wanted.common)?;
    let lines = Lines::read(&sshd.config);
    match wanted.way {
        Way::Here => here(wanted, start, &ours, &sshd, &lines, report),
        Way::Back => back(wanted, &ours, &sshd, &lines, report),
    }
}

/// From Duo's program to this one.
fn here(
    wanted: &Adopt,
    start: &Start,
    ours: &Path,
    sshd: &Sshd,
    lines: &Lines,
    report: &mut Report,
) -> Outcome {
    let shown = ours.display();
    if check::installed_program(ours) != InstalledProgram::Ours {
        let text = format!("{shown} is not the login_duo of this duoctl: install it first");
        return Err(Failure::refused(text));
    }
    let named = switch::others(lines, ours);
    let theirs = match (&wanted.theirs, named.as_slice()) {
        (Some(path), _) => path.clone(),
        (None, [one]) => one.clone(),
        (None, []) if !switch::naming(lines, ours).is_empty() => {
            report.say(format!("sshd runs {shown} already"));
            return Ok(Done::Unchanged);
        }
        (None, []) => {
            let text = "sshd runs no login_duo: duoctl enable ssh";
            return Err(Failure::refused(text));
        }
        (None, several) => {
            let paths: Vec<_> = several
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let text = format!("sshd runs several: {}; say --from", paths.join(", "));
            return Err(Failure::refused(text));
        }
    };
    let theirs = Theirs::of(&theirs)?;
    let plan = switch::Plan::of(sshd, lines, &theirs.program, ours)?;
    // With their file, before anything is copied.
    must_work(wanted, &theirs, start, report)?;
    let copied = copy_configuration(wanted, &theirs, start, report)?;
    if wanted.common.effect == Effect::DryRun {
        plan.say("would name", report);
        return Ok(Done::WouldChange);
    }
    theirs.note()?;
    plan.carry_out(report)?;
    report
        .say("KEEP THIS SESSION OPEN, and try a second one now. The way back: duoctl adopt --back");
    if copied == Copied::No {
        report.say(format!(
            "Both programs read {}: it stays as Duo's program needs it",
            theirs.config.display()
        ));
    }
    Ok(Done::Changed)
}

/// Whether the configuration has a file of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    Yes,
    No,
}

/// Refuses if this login_duo would not work with their file: what sshd does is not looked at.
fn must_work(
    wanted: &Adopt,
    theirs: &Theirs,
    start: &Start,
    report: &mut Report,
) -> Result<(), Failure> {
    let about = Check::of(&theirs.config, &wanted.common);
    let (findings, _) = check::login_duo(&about, start.standing, Instant::now());
    configure::refuse_failures(&findings, &wanted.common, &wanted.config, report)
}

/// Their configuration, for this program. A file that both read is not touched: Duo's program reads
/// only what belongs to the user that it runs as, and lets everybody in where it cannot.
fn copy_configuration(
    wanted: &Adopt,
    theirs: &Theirs,
    start: &Start,
    report: &mut Report,
) -> Result<Copied, Failure> {
    if configure::behind_links(&wanted.config) == configure::behind_links(&theirs.config) {
        return Ok(Copied::No);
    }
    let request = Configure {
        config: wanted.config.clone(),
        new: NewConfiguration::File(theirs.config.clone()),
        common: wanted.common.clone(),
    };
    configure::run(&request, start, report).map(|_| Copied::Yes)
}

/// From this program back to Duo's.
fn back(wanted: &Adopt, ours: &Path, sshd: &Sshd, lines: &Lines, report: &mut Report) -> Outcome {
    let kept = theirs::kept_by_installer(ours);
    let theirs = match &wanted.theirs {
        Some(path) => Theirs::of(path)?,
        None if !theirs::record().exists() && kept.is_file() => {
            return back_in_place(wanted, ours, &Theirs::of(&kept)?, report);
        }
        None => Theirs::noted()?,
    };
    if switch::naming(lines, ours).is_empty() && !switch::naming(lines, &theirs.program).is_empty()
    {
        report.say(format!("sshd runs {} already", theirs.program.display()));
        return Ok(Done::Unchanged);
    }
    let plan = switch::Plan::of(sshd, lines, ours, &theirs.program)?;
    if wanted.common.effect == Effect::DryRun {
        plan.say("would name", report);
        return Ok(Done::WouldChange);
    }
    once_it_asks(wanted, &theirs, report, |report| plan.carry_out(report))?;
    let _ = fs::remove_file(theirs::record());
    Ok(Done::Changed)
}

/// Back to the program that install.sh has put aside: sshd's lines stay, the file changes.
fn back_in_place(wanted: &Adopt, ours: &Path, kept: &Theirs, report: &mut Report) -> Outcome {
    let shown = ours.display();
    if wanted.common.effect == Effect::DryRun {
        let kept = kept.program.display();
        report.say(format!("{kept} would take the place of {shown}"));
        return Ok(Done::WouldChange);
    }
    once_it_asks(wanted, kept, report, |report| {
        let aside = kept.take_the_place_of(ours).map_err(|error| {
            let why = system_words(&error);
            Failure::refused(format!(
                "{shown} cannot be replaced, and is as it was: {why}"
            ))
        })?;
        let aside = aside.display();
        report.say(format!(
            "{shown} is Duo's program again; this one is {aside}"
        ));
        Ok(())
    })?;
    Ok(Done::Changed)
}

/// Makes Duo's program ready, has an ordinary user try it, and does `then` if it asks; else its
/// owners and modes are as they were.
fn once_it_asks(
    wanted: &Adopt,
    theirs: &Theirs,
    report: &mut Report,
    then: impl FnOnce(&mut Report) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let readied = theirs.make_ready(report)?;
    let asks = proof::asks(&theirs.program, &wanted.test_user)
        .map_err(|why| format!("{} does not ask: {why}", theirs.program.display()));
    let done = asks.map_err(Failure::Refused).and_then(|proof| {
        report.say(format!("an ordinary user tried it: {proof}"));
        then(report)
    });
    match done {
        Ok(()) => {
            report.say("KEEP THIS SESSION OPEN, and try a second one now, as an ordinary user");
            Ok(())
        }
        Err(failure) => {
            readied.undo(report);
            Err(failure)
        }
    }
}
