//! `disable`: takes exactly our lines away, byte for byte.

use crate::check;
use crate::check::sshd::lines::Lines;
use crate::cli::{Disable, Effect, What};
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pending::{self, Pending};
use crate::signals::{Patience, Signals, lock};
use crate::ssh::Sshd;
use crate::ssh::accept::accepts;
use crate::ssh::place::Place;
use crate::ssh::record;
use crate::ssh::reload::reload;
use crate::ssh::replace::{Replaced, replace};
use crate::{Start, needs_root};

/// Runs it.
pub fn run(wanted: &Disable, start: &Start, report: &mut Report) -> Outcome {
    needs_root(start)?;
    let _lock = match wanted.common.effect {
        Effect::Real => Some(lock(Patience::None)?),
        Effect::DryRun => None,
    };
    let sshd = Sshd::find(&wanted.common)?;
    if wanted.what == What::Ssh {
        return one(&sshd, wanted, report);
    }
    let mut outcome = Done::Unchanged;
    let all = std::iter::once(sshd.clone()).chain(record::elsewhere(&sshd));
    for sshd in all.filter(|sshd| Place::with_lines(sshd).is_ok_and(|it| !it.is_empty())) {
        outcome = one(&sshd, wanted, report)?;
    }
    if outcome == Done::Unchanged && wanted.common.effect == Effect::Real {
        report.say("nothing is enabled");
    }
    Ok(outcome)
}

/// Takes our lines out of what one sshd reads.
fn one(sshd: &Sshd, wanted: &Disable, report: &mut Report) -> Outcome {
    let places = Place::with_lines(sshd)?;
    if places.is_empty() {
        return nothing_here(sshd, report);
    }
    for place in &places {
        let path = place.path().display();
        let word = match wanted.common.effect {
            Effect::Real => "removing",
            Effect::DryRun => "would remove",
        };
        report.say(match place {
            Place::OwnFile(_) => format!("{word} {path}"),
            Place::Block(_) => format!("{word} our lines from {path}"),
        });
    }
    if wanted.common.effect == Effect::DryRun {
        return Ok(Done::Unchanged);
    }
    let _signals = Signals::block()?;
    take_away(&places)?;
    let _ = record::forget(sshd);
    let waits = pending::read()?.filter(|pending| pending.sshd_config == sshd.config);
    waits.into_iter().for_each(Pending::end);
    let undone =
        accepts(&sshd.program, &sshd.config, Effect::Real).and_then(|()| reload(sshd, report));
    undone.map_err(|why| Failure::HalfWay {
        why: format!("disabled, but sshd was not reloaded: {why}"),
        way_back: "mend sshd's configuration, and have sshd reload it".to_owned(),
    })?;
    say_who_is_asked(sshd, report);
    Ok(Done::Changed)
}

/// All of them or none.
fn take_away(places: &[Place]) -> Result<(), Failure> {
    let mut done = Vec::new();
    for place in places {
        let file = place.file_with(None)?;
        match replace(place.path(), file.as_deref()) {
            Ok(replaced) => done.push(replaced),
            Err(error) => {
                for replaced in done {
                    let _ = replaced.put_back();
                }
                let path = place.path().display();
                let text = format!("{path} cannot be written, and is as it was: {error}");
                return Err(Failure::Refused(text));
            }
        }
    }
    done.into_iter().for_each(Replaced::keep);
    Ok(())
}

fn nothing_here(sshd: &Sshd, report: &mut Report) -> Outcome {
    let config = sshd.config.display();
    if let Some(other) = record::elsewhere(sshd).next() {
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
    let program = check::program();
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
