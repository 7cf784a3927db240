//! The part of `enable` that changes the machine, and takes all of it back if
//! anything goes wrong or a signal comes.

use std::time::Instant;

use super::{Plan, look, refuse_failures, say_lines};
use crate::Start;
use crate::check::Known;
use crate::check::sshd::{Forced, Looked, forced};
use crate::cli::Effect;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pending::session::Session;
use crate::pending::timer::Timer;
use crate::pending::{Pending, after};
use crate::signals::Signals;
use crate::ssh::accept::accepts;
use crate::ssh::effect::{somebody, takes_effect};
use crate::ssh::record;
use crate::ssh::reload::reload;
use crate::ssh::replace::{Replaced, replace};

/// How far it came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// The lines are written.
    Written,
    /// sshd has read them.
    Reloaded,
}

/// Writes the lines and has sshd read them.
pub fn apply(plan: &Plan<'_>, known: &Known, start: &Start, report: &mut Report) -> Outcome {
    let path = plan.place.path().display();
    let signals = Signals::block()?;
    let file = plan.place.file_with(Some(&plan.lines))?;
    let pending = begin_waiting(plan)?;
    report.say(format!("writing to {path}:"));
    say_lines(&plan.lines, report);
    let written =
        record::remember(&plan.sshd).and_then(|()| replace(plan.place.path(), file.as_deref()));
    let replaced = match written {
        Ok(replaced) => replaced,
        Err(error) => {
            let _ = record::forget(&plan.sshd);
            pending.into_iter().for_each(Pending::end);
            let text = format!("{path} cannot be written, and is as it was: {error}");
            return Err(Failure::Refused(text));
        }
    };
    let mut reached = Reached::Written;
    match verify(plan, known, start, &signals, &mut reached, report) {
        Ok(looked) => {
            replaced.keep();
            say_enabled(plan, &looked, report);
            Ok(Done::Changed)
        }
        Err(why) => {
            let outcome = take_back(plan, replaced, reached, &why, report);
            pending.into_iter().for_each(Pending::end);
            Err(outcome)
        }
    }
}

/// With `--confirm`: what takes it back stands before there is anything to be
/// taken back.
fn begin_waiting(plan: &Plan<'_>) -> Result<Option<Pending>, Failure> {
    let Some(span) = plan.wanted.confirm else {
        return Ok(None);
    };
    let pending = Pending {
        sshd_config: plan.sshd.config.clone(),
        place: plan.place.clone(),
        before: plan.before.clone(),
        remembered: plan.before.is_none(),
        session: Session::of_this_process(),
        until: after(span),
        timer: Timer::None,
    };
    pending.begin(span).map(Some)
}

/// Judges what is written, and has sshd read it.
fn verify(
    plan: &Plan<'_>,
    known: &Known,
    start: &Start,
    signals: &Signals,
    reached: &mut Reached,
    report: &mut Report,
) -> Result<Looked, String> {
    let (sshd, wanted) = (&plan.sshd, plan.wanted);
    accepts(&sshd.program, &sshd.config, Effect::Real)?;
    if let Some(who) = somebody(&wanted.whom, &wanted.exempt) {
        takes_effect(
            &sshd.program,
            &sshd.config,
            &sshd.config,
            &who,
            &plan.program,
        )?;
    }
    let looked = look(plan, &sshd.config, known, start, Instant::now());
    refuse_failures(&looked.findings, &wanted.common, report)?;
    signals.none_came()?;
    *reached = Reached::Reloaded;
    reload(sshd, report).map_err(|why| format!("sshd could not be reloaded ({why})"))?;
    // Whoever interrupts this must not leave an sshd that has read it.
    signals.none_came()?;
    Ok(looked)
}

/// Puts everything back, and has sshd read that if it has read the other.
fn take_back(
    plan: &Plan<'_>,
    replaced: Replaced,
    reached: Reached,
    why: &str,
    report: &mut Report,
) -> Failure {
    let path = plan.place.path().display();
    if let Err(error) = replaced.put_back() {
        return Failure::HalfWay {
            why: format!("{why}; {path} cannot be put back: {error}"),
            way_back: plan.sshd.again("disable ssh"),
        };
    }
    if plan.before.is_none() {
        let _ = record::forget(&plan.sshd);
    }
    if reached == Reached::Reloaded
        && let Err(error) = reload(&plan.sshd, report)
    {
        report.warn(format!("sshd was not reloaded again: {error}"));
    }
    Failure::Refused(format!("{why}; {path} is as it was"))
}

fn say_enabled(plan: &Plan<'_>, looked: &Looked, report: &mut Report) {
    exemptions(plan, looked, report);
    report.say("enabled. KEEP THIS SESSION OPEN, and try a second one now.");
    if let Some(span) = plan.wanted.confirm {
        let seconds = span.as_secs();
        report.say(format!(
            "In {seconds} s it is taken back, unless you say in that second session: duoctl confirm"
        ));
    }
    report.say(format!(
        "See the whole with duoctl check. The way back: {}",
        plan.sshd.again("disable ssh")
    ));
}

/// Not ours to change, but some are not asked because of them, and some in
/// spite of them.
fn exemptions(plan: &Plan<'_>, looked: &Looked, report: &mut Report) {
    let lines = looked
        .lines
        .lines
        .iter()
        .filter(|line| line.is("forcecommand"));
    for line in lines {
        let Some(criteria) = &line.below else {
            continue;
        };
        let names = named(criteria);
        let is_ours = line
            .rest()
            .first()
            .is_some_and(|it| *it == plan.program.to_string_lossy());
        if is_ours || names.is_empty() {
            continue;
        }
        let accounts = looked
            .accounts
            .iter()
            .filter(|it| names.contains(&it.user.name));
        let (asked, unasked): (Vec<_>, Vec<_>) = accounts
            .partition(|account| forced(&account.options, &plan.program) == Forced::LoginDuo);
        let found = format!(
            "another ForceCommand at {}, for 'Match {}'",
            line.place(),
            criteria.join(" ")
        );
        for (words, accounts) in [("asked in spite of it", asked), ("not asked", unasked)] {
            let names: Vec<&str> = accounts.iter().map(|it| it.user.name.as_str()).collect();
            if !names.is_empty() {
                report.warn(format!("{found}: {words}: {}", names.join(" ")));
            }
        }
    }
}

/// The accounts that these criteria name, if they are of one simple kind.
fn named(criteria: &[String]) -> Vec<String> {
    match criteria {
        [keyword, list] if keyword.eq_ignore_ascii_case("user") => {
            list.split(',').map(str::to_owned).collect()
        }
        [keyword, group] if keyword.eq_ignore_ascii_case("group") => {
            crate::ssh::effect::members(group)
        }
        _ => Vec::new(),
    }
}
