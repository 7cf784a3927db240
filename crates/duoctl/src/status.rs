//! `status`: on one screen, what is installed, who is asked, whether Duo is there, what waits for
//! `confirm`, and how the last logins came out.

use duo_policy::config::Failmode;
use duo_policy::remember::LONGEST;
use duo_system::privsep::Standing;
use duo_system::remember;
use serde_json::{Value, json};

use crate::Start;
use crate::check::sshd::{Forced, forced};
use crate::check::{self, InstalledProgram};
use crate::cli::{Common, Status};
use crate::enable::TAKEN_BACK;
use crate::finding::{Finding, Level};
use crate::journal::{self, Source};
use crate::layout;
use crate::look::{self, Seen};
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pending;
use crate::ssh::place::Place;
use crate::ssh::{Sshd, Style};

/// Logins that are told.
const MOST_LOGINS: usize = 5;

/// Runs it.
pub fn run(wanted: &Status, start: &Start, report: &mut Report) -> Outcome {
    let program = layout::program();
    if start.standing == Standing::Own && check::is_the_machines(&program) {
        return Err(Failure::refused(
            "only root can look at this: run it with sudo",
        ));
    }
    let seen = look::around(&wanted.config, &wanted.common, start);
    let _ = start.inherited.restore_signals();

    let own = crate::version();
    let (installed, word) = match check::installed_program(&program) {
        InstalledProgram::Ours => (own, "same"),
        InstalledProgram::Another => (format!("not {own}, or another program"), "another"),
        InstalledProgram::Missing => ("missing".to_owned(), "missing"),
    };
    report.say(row(
        "login_duo",
        &format!("{installed} ({})", program.display()),
    ));
    report.put("login_duo", word.into());

    configuration(wanted, &seen, report);
    duo(&seen, report);
    sshd(&seen, &program, report);
    lines(&wanted.common, report);
    pam(&seen, report);
    remembered(&seen, report);
    waiting(report);
    logins(&program, start.standing, report);
    let count = |level| {
        seen.findings
            .iter()
            .filter(|found| found.level == level)
            .count()
    };
    let (failures, warnings) = (count(Level::Fail), count(Level::Warn));
    report.put("failures", failures.into());
    report.put("check_warnings", warnings.into());
    report.say(row(
        "Check",
        &match (failures, warnings) {
            (0, 0) => "all good".to_owned(),
            _ => format!("failures: {failures}, warnings: {warnings} (duoctl check)"),
        },
    ));
    Ok(Done::Unchanged)
}

fn row(name: &str, text: &str) -> String {
    format!("{name:<14} {text}")
}

fn configuration(wanted: &Status, seen: &Seen, report: &mut Report) {
    let path = wanted.config.display();
    let (text, word) = match seen.failmode.map(Failmode::word) {
        Some(word) => (format!("failmode = {word}"), word.into()),
        None => ("cannot be used".to_owned(), Value::Null),
    };
    let text = match seen.is_pam_alone {
        true => format!("{path} is not in use: no ForceCommand names login_duo"),
        false => format!("{path}, {text}"),
    };
    report.say(row("Configuration", &text));
    report.put("failmode", word);
}

/// Whether a login could ask Duo now, in the words of the finding that is not good.
fn duo(seen: &Seen, report: &mut Report) {
    let of = |id: &str| seen.findings.iter().find(|finding| finding.id == id);
    let is_there = of("network.outcome").is_some_and(|found| found.level == Level::Ok);
    let bad = |finding: &&Finding| {
        finding.level == Level::Fail
            && finding.id.starts_with("network.")
            && finding.id != "network.outcome"
    };
    let text = match (is_there, seen.findings.iter().find(bad)) {
        (true, _) => "is there, and takes the keys".to_owned(),
        (false, Some(finding)) => format!("cannot be asked: {}", finding.text),
        (false, None) => "was not asked".to_owned(),
    };
    report.say(row("Duo", &text));
    report.put("duo", is_there.into());
}

/// Who is asked, as `sshd -T` says it.
fn sshd(seen: &Seen, program: &std::path::Path, report: &mut Report) {
    let is_asked = |settings| forced(settings, program) == Forced::LoginDuo;
    let told: Vec<_> = seen
        .cases
        .iter()
        .map(|(name, settings)| match is_asked(settings) {
            true => format!("{name}: asked"),
            false => format!("{name}: not asked"),
        })
        .collect();
    let [asked, others] = seen.accounts;
    let text = match told.is_empty() {
        true => "cannot be asked (duoctl check says why)".to_owned(),
        false => format!(
            "{}; accounts that are asked: {asked}, that are not: {others}",
            told.join(", ")
        ),
    };
    report.say(row("sshd", &text));
    for (name, settings) in &seen.cases {
        report.put(&format!("asked_{name}"), is_asked(settings).into());
    }
    report.put("accounts_asked", asked.into());
    report.put("accounts_not_asked", others.into());
}

/// Where the lines are that `enable` wrote.
fn lines(common: &Common, report: &mut Report) {
    let places = Sshd::find(common).and_then(|sshd| Place::with_lines(&sshd, Style::Forced));
    let places = places.unwrap_or_default();
    let paths: Vec<_> = places
        .iter()
        .map(|place| place.path().display().to_string())
        .collect();
    let text = match paths.is_empty() {
        true => "none (duoctl enable ssh)".to_owned(),
        false => paths.join(", "),
    };
    report.say(row("Lines of ours", &text));
    report.put("enabled_in", json!(paths));
}

/// The services that ask Duo, whoever wrote their lines.
fn pam(seen: &Seen, report: &mut Report) {
    let names: Vec<&str> = seen.asking.iter().map(|it| it.service.as_str()).collect();
    let text = match names.is_empty() {
        true => "no service asks Duo (duoctl enable pam SERVICE)".to_owned(),
        false => names.join(", "),
    };
    report.say(row("PAM", &text));
    report.put("pam_services", json!(names));
    for (path, failmode) in &seen.pam_failmodes {
        let text = format!("{}, failmode = {}", path.display(), failmode.word());
        report.say(row("", &text));
    }
}

/// The open connections on which a person has said yes less than `remember_max` ago. Their next
/// session is not asked, unless the configuration or the account's groups have changed since,
/// which only the secret key could tell.
fn remembered(seen: &Seen, report: &mut Report) {
    // A configuration that cannot be read may be mended.
    let longest = seen.remembered_for.unwrap_or(LONGEST);
    let counted = remember::accounts().and_then(|accounts| {
        let counts = accounts
            .into_iter()
            .map(|uid| remember::open_connections(uid, longest));
        let counts: Vec<usize> = counts.collect::<Result<_, _>>()?;
        let accounts = counts.iter().filter(|count| **count > 0).count();
        Ok((counts.iter().sum::<usize>(), accounts))
    });
    let (text, word) = match counted {
        Ok((0, _)) => ("no connection".to_owned(), 0.into()),
        Ok((connections, accounts)) => {
            let text = format!("connections: {connections}, accounts: {accounts} (duoctl forget)");
            (text, connections.into())
        }
        Err(error) => (format!("it cannot be told: {error}"), Value::Null),
    };
    report.say(row("Remembered", &text));
    report.put("remembered_connections", word);
}

/// What is taken back unless it is confirmed.
fn waiting(report: &mut Report) {
    let (text, left) = match pending::read() {
        Ok(None) => ("nothing".to_owned(), Value::Null),
        Ok(Some(pending)) => {
            let left = pending.left().as_secs();
            let text = format!("it is taken back in {left} s unless: duoctl confirm");
            (text, left.into())
        }
        Err(_) => ("it cannot be told: not root".to_owned(), Value::Null),
    };
    report.say(row("To confirm", &text));
    report.put(TAKEN_BACK, left);
}

fn logins(program: &std::path::Path, standing: Standing, report: &mut Report) {
    let journal = journal::read(program, standing);
    let from = match &journal.source {
        Source::Journal => "from the journal".to_owned(),
        Source::File(path) => format!(
            "from {}, where every user of this machine can have lines written",
            path.display()
        ),
        Source::Nowhere => "no log was found".to_owned(),
    };
    let first = journal.outcomes.len().saturating_sub(MOST_LOGINS);
    let last = journal.outcomes.get(first..).unwrap_or_default();
    report.say(row("Last logins", &format!("{}, {from}", last.len())));
    for line in last {
        report.say(format!("  {}  {}", line.when, line.text));
    }
    let told: Vec<_> = last
        .iter()
        .map(|line| {
            let outcome = line.outcome.name();
            json!({"when": line.when, "outcome": outcome, "text": line.text})
        })
        .collect();
    report.put("last_logins", json!(told));
}
