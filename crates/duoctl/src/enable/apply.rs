//! The part of `enable` that changes the machine, and takes all of it back if
//! anything goes wrong or a signal comes.

use std::time::Instant;

use super::transaction::{Transaction, Written};
use super::{Plan, look, refuse_failures, say_lines, say_way_back};
use crate::Start;
use crate::check::Known;
use crate::check::sshd::{Forced, Looked, forced};
use crate::cli::Effect;
use crate::outcome::{Done, Outcome, Report};
use crate::pending::Waiting;
use crate::signals::Signals;
use crate::ssh::accept::accepts;
use crate::ssh::effect::{somebody, takes_effect};

/// Writes the lines and has sshd read them.
pub fn apply(plan: &Plan<'_>, known: &Known, start: &Start, report: &mut Report) -> Outcome {
    let path = plan.place.path();
    let signals = Signals::block()?;
    let waiting = Waiting::Sshd {
        config: plan.sshd.config.clone(),
        place: plan.place.clone(),
        before: plan.before.clone(),
    };
    let transaction = Transaction {
        files: vec![Written {
            path: path.to_owned(),
            bytes: plan.place.file_with(Some(&plan.lines))?,
            like: path.to_owned(),
        }],
        sshd: Some(&plan.sshd),
        waiting: plan.wanted.confirm.map(|span| (span, vec![waiting])),
        way_back: plan.sshd.again("disable ssh"),
    };
    report.say(format!("writing to {}:", path.display()));
    say_lines(&plan.lines, report);
    let looked = transaction.carry_out(&signals, report, |report| {
        verify(plan, known, start, report)
    })?;
    say_enabled(plan, &looked, report);
    Ok(Done::Changed)
}

/// Judges what is written.
fn verify(
    plan: &Plan<'_>,
    known: &Known,
    start: &Start,
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
    Ok(looked)
}

fn say_enabled(plan: &Plan<'_>, looked: &Looked, report: &mut Report) {
    exemptions(plan, looked, report);
    report.say("enabled. KEEP THIS SESSION OPEN, and try a second one now.");
    say_way_back(plan.wanted.confirm, &plan.sshd.again("disable ssh"), report);
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
