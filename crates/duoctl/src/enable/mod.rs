//! `enable ssh`: has sshd run login_duo. One transaction: everything is judged
//! on a trial configuration first, then the lines are written, judged again and
//! read by sshd, and whatever goes wrong takes all of it back.

mod apply;
mod exempt;
mod login;
mod named;
pub mod pam;
pub mod transaction;
mod way_in;

pub use exempt::has_locked_password;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duo_system::configuration;

use crate::check::sshd::{self, Looked, Scope};
use crate::check::{self, CHECK_TIME, Known};
use crate::cli::{Check, Common, Effect, Enable, Whom};
use crate::finding::{Finding, Level};
use crate::layout;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pending;
use crate::question::{Reply, ask};
use crate::signals::{Patience, lock};
use crate::ssh::accept::accepts;
use crate::ssh::block;
use crate::ssh::candidate::Candidate;
use crate::ssh::effect::{somebody, takes_effect};
use crate::ssh::place::Place;
use crate::ssh::{Sshd, Style};
use crate::{Start, needs_root};

/// What shall be enabled, where.
struct Plan<'a> {
    wanted: &'a Enable,
    sshd: Sshd,
    program: PathBuf,
    place: Place,
    /// Our lines as they shall be.
    lines: Vec<u8>,
    /// Our lines as they are.
    before: Option<Vec<u8>>,
}

/// Runs it.
pub fn run(wanted: &Enable, start: &Start, report: &mut Report) -> Outcome {
    needs_root(start)?;
    let _lock = match wanted.common.effect {
        Effect::Real => Some(lock(Patience::None)?),
        Effect::DryRun => None,
    };
    let plan = plan(wanted)?;
    if plan.before.as_ref() == Some(&plan.lines) {
        report.say(format!(
            "{} has these lines already",
            plan.place.path().display()
        ));
        say_what_waits(report)?;
        return Ok(Done::Unchanged);
    }
    if pending::read()?.is_some() {
        let text = "what was enabled before still waits: duoctl confirm, or duoctl confirm --no";
        return Err(Failure::refused(text));
    }
    let known = judge(&plan, start, report)?;
    if wanted.common.effect == Effect::DryRun {
        report.say(format!(
            "would write this to {}, and reload sshd:",
            plan.place.path().display()
        ));
        say_lines(&plan.lines, report);
        return Ok(Done::WouldChange);
    }
    // Until something is written, Ctrl-C may simply end this.
    let _ = start.inherited.restore_signals();
    login::test(wanted, &plan.program, report)?;
    apply::apply(&plan, &known, start, report)
}

/// The member of the JSON object that says how long `confirm` is waited for; `status` has it too.
pub const TAKEN_BACK: &str = "taken_back_in_seconds";

fn say_what_waits(report: &mut Report) -> Result<(), Failure> {
    if let Some(pending) = pending::read()? {
        let left = pending.left().as_secs();
        report.put(TAKEN_BACK, left.into());
        report.warn(format!(
            "it is taken back in {left} s, unless: duoctl confirm"
        ));
    }
    Ok(())
}

/// Where the lines go, and what they are.
fn plan(wanted: &Enable) -> Result<Plan<'_>, Failure> {
    let sshd = Sshd::find(&wanted.common)?;
    let program = layout::program();
    if !program.is_file() {
        let text = format!("there is no {}: install it first", program.display());
        return Err(Failure::Refused(text));
    }
    // A shell starts what ForceCommand names.
    let name = program.to_string_lossy();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._@+-".contains(letter);
    if !name.chars().all(is_plain) {
        let text = format!("sshd's configuration cannot name '{name}': install it elsewhere");
        return Err(Failure::Refused(text));
    }
    named::exist(wanted)?;
    accepts(&sshd.program, &sshd.config, wanted.common.effect).map_err(|why| {
        Failure::Refused(format!(
            "sshd does not accept its configuration as it is; nothing has changed: {why}"
        ))
    })?;
    let place = Place::choose(&sshd, Style::Forced)?;
    Ok(Plan {
        wanted,
        lines: block::lines(&wanted.whom, &wanted.exempt, &program),
        before: place.ours()?,
        sshd,
        program,
        place,
    })
}

/// The whole check, with sshd as it would be.
fn judge(plan: &Plan<'_>, start: &Start, report: &mut Report) -> Result<Known, Failure> {
    let began = Instant::now();
    let check = Check {
        config: configuration::default_path(),
        user: None,
        duo_user: None,
        client: None,
        unused: None,
        common: plan.wanted.common.clone(),
    };
    let (mut findings, known) = check::login_duo(&check, start.standing, began);
    let candidate = Candidate::of(&plan.sshd, &plan.place, &plan.lines)?;
    let unchanged = |why: String| Failure::Refused(format!("nothing has changed: {why}"));
    accepts(
        &plan.sshd.program,
        &candidate.path,
        plan.wanted.common.effect,
    )
    .map_err(unchanged)?;
    let who = somebody(&plan.wanted.whom, &plan.wanted.exempt);
    if let Some(who) = &who {
        takes_effect(
            &plan.sshd.program,
            &candidate.path,
            &plan.sshd.config,
            who,
            &plan.program,
        )
        .map_err(unchanged)?;
    }
    let looked = look(plan, &candidate.path, &known, start, began);
    findings.extend(exempt::look(plan.wanted, &looked.accounts, start.standing));
    if plan.wanted.whom == Whom::Everybody {
        findings.extend(way_in::look(
            &looked.accounts,
            &plan.program,
            start.standing,
        ));
    }
    findings.extend(looked.findings);
    if who.is_none() {
        report.warn("nobody to whom this applies is known here, so sshd -T could not show it");
    }
    refuse_failures(&findings, &plan.wanted.common, report)
        .map_err(|what| Failure::Refused(format!("{what}; nothing has changed")))?;
    Ok(known)
}

/// What `check` finds of sshd with the configuration at `path`. Where nobody is
/// known to whom the lines apply, sshd's answers say nothing about them.
fn look(plan: &Plan<'_>, path: &Path, known: &Known, start: &Start, began: Instant) -> Looked {
    let who = somebody(&plan.wanted.whom, &plan.wanted.exempt);
    let about = Scope {
        configuration: Some(path),
        shown: &plan.sshd.config,
        user: who.as_deref(),
        client: None,
    };
    let mut looked = sshd::look(&about, &known.facts(), start.standing, began + CHECK_TIME);
    if who.is_none() {
        looked.findings.clear();
    }
    looked
}

/// With one of these everybody is denied, so nobody can have meant to accept it.
const NEVER_ACCEPTED: [&str; 2] = ["configuration.syntax", "pam.helper"];

/// Says what fails, and whether that was accepted.
fn refuse_failures(
    findings: &[Finding],
    common: &Common,
    report: &mut Report,
) -> Result<(), String> {
    let mut refused: Vec<&str> = Vec::new();
    for finding in findings.iter().filter(|it| it.level == Level::Fail) {
        let is_accepted = common.accepted.iter().any(|id| *id == finding.id)
            && !NEVER_ACCEPTED.contains(&&*finding.id);
        let word = if is_accepted { "accepted" } else { "FAIL" };
        report.say(format!("{word}  {}  [{}]", finding.text, finding.id));
        if is_accepted {
            continue;
        }
        if let Some(mend) = &finding.mend {
            report.say(format!("      {mend}"));
        }
        if !refused.contains(&&*finding.id) {
            refused.push(&finding.id);
        }
    }
    let is_hopeless = refused.iter().any(|id| NEVER_ACCEPTED.contains(id));
    match (refused.is_empty(), is_hopeless) {
        (true, _) => Ok(()),
        (false, true) => Err("mend what FAILs first: with that, nobody would get in".to_owned()),
        (false, false) => Err(format!(
            "mend what FAILs first, or accept it with --accept {}",
            refused.join(" --accept ")
        )),
    }
}

fn say_lines(lines: &[u8], report: &mut Report) {
    let text = String::from_utf8_lossy(lines).into_owned();
    text.lines().for_each(|line| report.say(line));
}

/// What waits for `duoctl confirm`, and how all of it is taken back.
fn say_way_back(confirm: Option<Duration>, way_back: &str, report: &mut Report) {
    if let Some(span) = confirm {
        let seconds = span.as_secs();
        report.put(TAKEN_BACK, seconds.into());
        report.say(format!(
            "In {seconds} s it is taken back, unless you say in that second session: duoctl confirm"
        ));
    }
    report.say(format!(
        "See the whole with duoctl check. The way back: {way_back}"
    ));
}

/// Whether a person says yes; `--yes` is that person.
fn is_answered_yes(question: &str, common: &Common) -> Result<bool, Failure> {
    match ask(question, common.questions) {
        Reply::Yes => Ok(true),
        Reply::No => Ok(false),
        Reply::NobodyThere => {
            let text = format!("{question} Say --yes to that; nothing has changed");
            Err(Failure::Refused(text))
        }
    }
}
