//! `support`: a report for whoever helps. It is made of facts that have no place for a text of any
//! file (see [`fact`]), so that no secret can be in it; its reader sees it before it is written.

mod fact;
mod ids;
mod settings;
mod system;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use duo_policy::verdict::End;
use duo_system::configuration::{self, Owners};
use duo_system::privsep::{self, Caller, ChildEnds, Confined, Front, OpenFiles, Standing};
use duo_system::system_words;
use duo_wire::Outcome as Came;
use serde_json::{Value, json};

use crate::Start;
use crate::check;
use crate::cli::{Effect, Format, Questions, Support};
use crate::finding::{Finding, Level};
use crate::journal::{self, Source};
use crate::layout;
use crate::look;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::question::{Reply, ask};
use fact::{Fact, Facts};
use settings::Read;

/// The report in the archive.
const NAME: &str = "duoctl-support/facts.json";

/// Runs it.
pub fn run(wanted: &Support, start: &Start, report: &mut Report) -> Outcome {
    let program = layout::program();
    if start.standing == Standing::Own && check::is_the_machines(&program) {
        return Err(Failure::refused(
            "only root may read what a report needs: run it with sudo",
        ));
    }
    let facts = facts(wanted, start, &program);
    let _ = start.inherited.restore_signals();
    // Words and numbers: nothing in it can fail to be written.
    let text = serde_json::to_string_pretty(&facts).unwrap_or_default() + "\n";
    if wanted.common.format == Format::Json {
        let value: Value = json!(facts);
        report.put("report", value);
    }
    for line in text.lines() {
        report.say(line);
    }
    if wanted.common.effect == Effect::DryRun {
        return Ok(Done::Unchanged);
    }
    let shown = wanted.file.display();
    must_say_yes(&wanted.file, wanted.common.questions)?;
    write(&wanted.file, text.as_bytes()).map_err(|error| {
        Failure::refused(format!(
            "{shown} cannot be written: {}",
            system_words(&error)
        ))
    })?;
    report.say(format!("{shown} is written"));
    Ok(Done::Changed)
}

fn facts(wanted: &Support, start: &Start, program: &Path) -> Facts {
    let mut facts = Facts::default();
    facts.add("duoctl", env!("LOGIN_DUO_VERSION"));
    facts.add("cryptography", duo_policy::cryptography::NAME);
    facts.add(
        "login_duo",
        match check::installed_program(program) {
            check::InstalledProgram::Ours => "the same version",
            check::InstalledProgram::Another => "another version or program",
            check::InstalledProgram::Missing => "missing",
        },
    );
    facts.add(
        "run_as",
        match start.standing {
            Standing::Root => "root",
            Standing::Own | Standing::Setuid => "a user",
        },
    );
    facts.add("system", system::facts());
    facts.add("configuration", configuration(wanted, start).facts());
    let seen = look::around(&wanted.config, &wanted.common, start);
    facts.add("findings", levels(&seen.findings));
    facts.add("sshd", system::sshd(&seen.cases, program));
    let [asked, others] = seen.accounts;
    facts.add("accounts_asked", asked);
    facts.add("accounts_not_asked", others);
    facts.add("log", log(program, start.standing));
    facts
}

/// The configuration as a child without privileges reads it.
fn configuration(wanted: &Support, start: &Start) -> Read {
    let caller = Caller::of_this_process();
    let Ok(user) = privsep::privsep_user(start.standing) else {
        return Read::Unreadable;
    };
    let owners = Owners::of(start.standing, user.as_ref(), caller);
    let Ok(opened) = configuration::open(&wanted.config, &owners) else {
        return Read::Unreadable;
    };
    let child = |confined: Confined, mut ends: ChildEnds| {
        let file = confined.ok().and_then(|files| files.config);
        let bytes = file.and_then(|file| configuration::read(&file).ok());
        let read = bytes.map_or(Read::Unreadable, |bytes| Read::of(bytes.expose()));
        let text = serde_json::to_string(&read).unwrap_or_default();
        i32::from(ends.send(&text).is_err())
    };
    let ended = privsep::separate(
        start.standing,
        caller,
        user.as_ref(),
        OpenFiles::config(Some(opened.file)),
        Front::Session,
        child,
    )
    .map(privsep::Parent::wait);
    match ended {
        Ok(ended) if ended.end == End::Exited(0) => {
            serde_json::from_slice(&ended.records).unwrap_or(Read::Unreadable)
        }
        _ => Read::Unreadable,
    }
}

/// The ids of the findings of each level, each once.
fn levels(findings: &[Finding]) -> Facts {
    let of = |level| {
        let those = findings.iter().filter(|finding| finding.level == level);
        let mut ids: Vec<&'static str> = those.map(|finding| ids::known(&finding.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let mut facts = Facts::default();
    facts.add("fail", of(Level::Fail));
    facts.add("warn", of(Level::Warn));
    facts.add("ok", of(Level::Ok));
    facts
}

/// How many logins came out in each way, of the last that the log has.
fn log(program: &Path, standing: Standing) -> Facts {
    let journal = journal::read(program, standing);
    let mut facts = Facts::default();
    facts.add(
        "source",
        match journal.source {
            Source::Journal => "the journal",
            Source::File(_) => "a file",
            Source::Nowhere => "none",
        },
    );
    let count = |outcome: Came| {
        let those = journal.outcomes.iter();
        those.filter(|line| line.outcome == outcome).count()
    };
    for outcome in Came::ALL {
        facts.add(outcome.name(), Fact::from(count(outcome)));
    }
    facts
}

/// Asks the person at the terminal.
fn must_say_yes(file: &Path, questions: Questions) -> Result<(), Failure> {
    let file = file.display();
    match ask(&format!("Write this to {file}?"), questions) {
        Reply::Yes => Ok(()),
        Reply::No => Err(Failure::refused(format!("{file} is not written"))),
        Reply::NobodyThere => {
            let text = "nobody can be asked: look at it with --dry-run, and say --yes";
            Err(Failure::refused(text))
        }
    }
}

/// A new file: one that is there is never written to.
fn write(path: &Path, facts: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(facts.len()).unwrap_or(u64::MAX));
    header.set_mode(0o600);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    header.set_mtime(now.map_or(0, |now| now.as_secs()));
    let mut archive = tar::Builder::new(file);
    archive.append_data(&mut header, NAME, facts)?;
    archive.into_inner()?.sync_all()
}
