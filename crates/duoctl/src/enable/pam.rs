//! `enable pam`: has services of PAM ask Duo. One transaction over the files of
//! all of them and, for sshd, over its configuration: everything is judged
//! first, then written, judged again, and taken back whatever goes wrong.

use std::path::PathBuf;
use std::time::Instant;

use duo_policy::config::Failmode;

use super::transaction::{Transaction, Written};
use super::{refuse_failures, say_lines, say_way_back};
use crate::check::sshd::{AskedSshd, Case, Forced, Scope, forced};
use crate::check::{self, CHECK_TIME};
use crate::cli::{Check, Effect, EnablePam, Test, With, pam_configuration};
use crate::finding::Finding;
use crate::layout;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pam::module::{self, Module};
use crate::pam::plan::{First, OurLine, Planned, plan};
use crate::pam::services::Services;
use crate::pam::{self, record};
use crate::pending::{self, Waiting};
use crate::signals::{Patience, Signals, lock};
use crate::ssh::accept::accepts;
use crate::ssh::candidate::Candidate;
use crate::ssh::place::Place;
use crate::ssh::{Sshd, Style};
use crate::{Start, needs_root, test};

/// What shall be enabled.
struct Plan<'a> {
    wanted: &'a EnablePam,
    module: Module,
    config: PathBuf,
    files: Vec<Planned>,
    sshd: Option<Ssh>,
}

/// What changes in sshd's configuration.
struct Ssh {
    sshd: Sshd,
    place: Place,
    with: With,
    /// Our lines as they shall be.
    lines: Vec<u8>,
    /// Our lines as they are.
    before: Option<Vec<u8>>,
    /// Whether it has not asked PAM until now.
    used_no_pam: bool,
}

/// Runs it.
pub fn run(wanted: &EnablePam, start: &Start, report: &mut Report) -> Outcome {
    needs_root(start)?;
    let _lock = match wanted.common.effect {
        Effect::Real => Some(lock(Patience::None)?),
        Effect::DryRun => None,
    };
    let plan = plan_of(wanted)?;
    let names: Vec<&str> = plan
        .files
        .iter()
        .map(|file| file.service.as_str())
        .collect();
    report.put("services", names.clone().into());
    if plan.is_done() {
        report.say(format!("{}: enabled like this already", names.join(", ")));
        super::say_what_waits(report)?;
        return Ok(Done::Unchanged);
    }
    if pending::read()?.is_some() {
        let text = "what was enabled before still waits: duoctl confirm, or duoctl confirm --no";
        return Err(Failure::refused(text));
    }
    judge(&plan, start, report)?;
    if wanted.common.effect == Effect::DryRun {
        plan.say("would write this to", report);
        return Ok(Done::WouldChange);
    }
    test_login(wanted, &plan.config, start, report)?;
    apply(&plan, report)
}

/// `--test-user`: asks Duo as the helper does, with the configuration that these lines read.
fn test_login(
    wanted: &EnablePam,
    config: &std::path::Path,
    start: &Start,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(user) = &wanted.test_user else {
        return Ok(());
    };
    super::login::may_be_made(user, &wanted.common)?;
    let attempt = Test {
        user: user.clone(),
        config: config.to_owned(),
        service: None,
        duo_user: None,
        client: None,
        common: wanted.common.clone(),
    };
    test::must_be_let_in(&attempt, start, report).map_err(|failure| match failure {
        Failure::Refused(why) => Failure::Refused(format!("{why}; nothing has changed")),
        other => other,
    })
}

/// Where the lines go, and what they are.
fn plan_of(wanted: &EnablePam) -> Result<Plan<'_>, Failure> {
    let refused = |why: String| Failure::Refused(format!("{why}; nothing has changed"));
    let module = module::find().map_err(refused)?;
    let config = wanted.config.clone().unwrap_or_else(pam_configuration);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._@+-".contains(letter);
    for path in [&module.path, &config] {
        let name = path.to_string_lossy();
        if !name.starts_with('/') || !name.chars().all(is_plain) {
            return Err(refused(format!("a line of PAM cannot name '{name}'")));
        }
    }
    let sshd = match wanted.families.contains(&["sshd"].as_slice()) {
        true => Some(ssh_of(wanted)?),
        false => None,
    };
    Ok(Plan {
        files: files_of(wanted, &module, sshd.as_ref()).map_err(refused)?,
        wanted,
        module,
        config,
        sshd,
    })
}

/// The files of all families, as they are on the disk now.
fn files_of(
    wanted: &EnablePam,
    module: &Module,
    sshd: Option<&Ssh>,
) -> Result<Vec<Planned>, String> {
    let services = Services::of_this_machine();
    let line = OurLine {
        module: module.name.clone(),
        conf: wanted.config.clone(),
    };
    let mut files = Vec::new();
    for family in &wanted.families {
        let is_by_key = *family == ["sshd"] && sshd.is_some_and(|ssh| ssh.with == With::Keys);
        let first = match is_by_key {
            true => First::Key,
            false => First::InTheStack,
        };
        files.extend(plan(&services, family, &line, first)?);
    }
    Ok(files)
}

fn ssh_of(wanted: &EnablePam) -> Result<Ssh, Failure> {
    let sshd = Sshd::find(&wanted.common)?;
    accepts(&sshd.program, &sshd.config, wanted.common.effect).map_err(|why| {
        Failure::Refused(format!(
            "sshd does not accept its configuration as it is; nothing has changed: {why}"
        ))
    })?;
    let place = Place::choose(&sshd, Style::Pam)?;
    let before = place.ours()?;
    let scope = scope(&sshd, None);
    let cases = logins(&scope)?.cases;
    let is_ours = |with: &With| {
        let ours = String::from_utf8_lossy(before.as_deref().unwrap_or_default()).into_owned();
        let line = format!("AuthenticationMethods {}", with.methods());
        ours.lines().any(|it| it == line)
    };
    let enabled = [With::Keys, With::Passwords].into_iter().find(is_ours);
    let with = wanted
        .with
        .or(enabled)
        .or_else(|| pam::sshd::derived(&cases))
        .ok_or_else(|| {
            Failure::refused(
                "sshd takes passwords, and perhaps keys: say --with keys, to ask Duo after a \
                 key, or --with passwords, to ask Duo after the password; nothing has changed",
            )
        })?;
    let options = cases.first().map(|case| case.options.clone());
    let options = options.unwrap_or_default();
    Ok(Ssh {
        used_no_pam: options.value("usepam") == "no",
        lines: pam::sshd::lines(with, &options),
        sshd,
        place,
        with,
        before,
    })
}

fn scope<'a>(sshd: &'a Sshd, tried: Option<&'a std::path::Path>) -> Scope<'a> {
    Scope {
        configuration: Some(tried.unwrap_or(&sshd.config)),
        shown: &sshd.config,
        user: None,
        client: None,
    }
}

/// What sshd does with a login of each kind, and with each account.
fn logins(scope: &Scope<'_>) -> Result<AskedSshd, Failure> {
    check::sshd::ask(scope, Instant::now() + CHECK_TIME)
        .map_err(|finding| Failure::Refused(format!("{}; nothing has changed", finding.text)))
}

impl Plan<'_> {
    fn is_done(&self) -> bool {
        let is_same = |ssh: &Ssh| ssh.before.as_ref() == Some(&ssh.lines);
        self.files.iter().all(|file| file.then == file.now)
            && self.sshd.as_ref().is_none_or(is_same)
    }

    /// Files of PAM that change.
    fn changed(&self) -> impl Iterator<Item = &Planned> {
        self.files.iter().filter(|file| file.then != file.now)
    }

    fn says_sshd(&self) -> Option<&Ssh> {
        let is_new = |ssh: &&Ssh| ssh.before.as_ref() != Some(&ssh.lines);
        self.sshd.as_ref().filter(is_new)
    }

    /// What is written where, and what becomes of the lines that were there.
    fn say(&self, verb: &str, report: &mut Report) {
        for file in self.changed() {
            report.say(format!("{verb} {}:", file.path.display()));
            if let Some(vendor) = &file.copy_of {
                report.say(format!("(a copy of {}, with)", vendor.display()));
            }
            say_lines(&file.ours(), report);
        }
        if let Some(ssh) = self.says_sshd() {
            report.say(format!(
                "{verb} {}, and have sshd reload it:",
                ssh.place.path().display()
            ));
            say_lines(&ssh.lines, report);
        }
    }

    fn way_back(&self) -> String {
        let names: Vec<&str> = self
            .wanted
            .families
            .iter()
            .filter_map(|family| family.first().copied())
            .collect();
        let what = format!("disable pam {}", names.join(" "));
        match &self.sshd {
            Some(ssh) => ssh.sshd.again(&what),
            None => format!("duoctl {what}"),
        }
    }
}

/// The whole check, with everything as it would be.
fn judge(plan: &Plan<'_>, start: &Start, report: &mut Report) -> Result<(), Failure> {
    let began = Instant::now();
    let unchanged = |why: String| Failure::Refused(format!("{why}; nothing has changed"));
    let mut findings = module::findings(&plan.module);
    let check = Check::of(&plan.config, &plan.wanted.common);
    let (found, failmode) = check::pam_duo(&check, start.standing, began);
    // Until something is written, Ctrl-C may simply end this.
    let _ = start.inherited.restore_signals();
    findings.extend(found);
    findings.extend(stack_findings(plan, failmode));
    if let Some(ssh) = &plan.sshd {
        let candidate = Candidate::of(&ssh.sshd, &ssh.place, &ssh.lines)?;
        accepts(
            &ssh.sshd.program,
            &candidate.path,
            plan.wanted.common.effect,
        )
        .map_err(|why| Failure::Refused(format!("nothing has changed: {why}")))?;
        let asked = logins(&scope(&ssh.sshd, Some(&candidate.path)))?;
        let (cases, accounts) = (&asked.cases, &asked.accounts);
        findings.extend(pam::sshd::unseen_findings(asked.unseen_lines(), ssh.with));
        pam::sshd::must_hold(cases, ssh.with).map_err(unchanged)?;
        warn(ssh, cases, report);
        findings.extend(pam::sshd::findings(
            cases,
            accounts,
            ssh.with,
            start.standing,
        ));
        if !pam::sshd::has_way_in(accounts, ssh.with) {
            findings.push(super::way_in::missing());
        }
    }
    refuse_failures(&findings, &plan.wanted.common, report).map_err(unchanged)
}

/// What an administrator may not expect.
fn warn(ssh: &Ssh, cases: &[Case], report: &mut Report) {
    if ssh.used_no_pam {
        let text = "sshd did not ask PAM before (UsePAM no): the account and session lines of \
                    /etc/pam.d/sshd count now too";
        report.warn(text);
    }
    let program = layout::program();
    let is_forced = |case: &&Case| forced(&case.options, &program) == Forced::LoginDuo;
    if cases.iter().any(|case| is_forced(&case)) {
        report.warn("login_duo asks Duo too, in the same login: duoctl disable ssh");
    }
}

/// What the stacks would let happen.
fn stack_findings(plan: &Plan<'_>, failmode: Option<Failmode>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &plan.files {
        let service = &file.service;
        for way in file.ways_around.iter().filter(|way| !way.is_root) {
            findings.push(pam::way_around(service, &way.shown));
        }
        if file.asks_early {
            findings.push(pam::asks_early(service));
        }
        if failmode == Some(Failmode::Safe) {
            findings.extend(pam::safe(service));
        }
    }
    findings
}

/// Writes it all.
fn apply(plan: &Plan<'_>, report: &mut Report) -> Outcome {
    let signals = Signals::block()?;
    let mut files = Vec::new();
    let mut waiting = Vec::new();
    for file in plan.changed() {
        waiting.push(Waiting::Pam {
            service: file.service.clone(),
            path: file.path.clone(),
            before: file.now.clone(),
            after: file.then.clone(),
        });
        files.push(Written {
            path: file.path.clone(),
            bytes: file.then.clone(),
            like: file.copy_of.clone().unwrap_or_else(|| file.path.clone()),
        });
    }
    if let Some(ssh) = plan.says_sshd() {
        waiting.push(Waiting::Sshd {
            config: ssh.sshd.config.clone(),
            place: ssh.place.clone(),
            before: ssh.before.clone(),
        });
        let path = ssh.place.path().to_owned();
        files.push(Written {
            bytes: ssh.place.file_with(Some(&ssh.lines))?,
            like: path.clone(),
            path,
        });
    }
    let ours = plan.changed().map(|file| file.service.as_str());
    let (path, bytes) = record::with(ours);
    files.push(Written {
        like: path.clone(),
        path,
        bytes,
    });
    let transaction = Transaction {
        files,
        sshd: plan.says_sshd().map(|ssh| &ssh.sshd),
        waiting: plan.wanted.confirm.map(|span| (span, waiting)),
        way_back: plan.way_back(),
    };
    plan.say("writing to", report);
    transaction.carry_out(&signals, report, |_| verify(plan))?;
    say_enabled(plan, report);
    Ok(Done::Changed)
}

/// Judges what is written, from the disk.
fn verify(plan: &Plan<'_>) -> Result<(), String> {
    let files = files_of(plan.wanted, &plan.module, plan.sshd.as_ref())?;
    if let Some(file) = files.iter().find(|file| file.then != file.now) {
        return Err(format!("{} is not what was written", file.path.display()));
    }
    let Some(ssh) = &plan.sshd else {
        return Ok(());
    };
    accepts(&ssh.sshd.program, &ssh.sshd.config, Effect::Real)?;
    let asked = check::sshd::ask(&scope(&ssh.sshd, None), Instant::now() + CHECK_TIME)
        .map_err(|finding| finding.text)?;
    pam::sshd::must_hold(&asked.cases, ssh.with)
}

fn say_enabled(plan: &Plan<'_>, report: &mut Report) {
    for file in &plan.files {
        let service = &file.service;
        for way in file.ways_around.iter().filter(|way| way.is_root) {
            report.say(format!("{service}: root is not asked, by {}", way.shown));
        }
        if file.asks_early {
            let text = "asks Duo after a wrong password too, since the stack goes on: whoever \
                        knows a name can ring a phone, but not get in";
            report.warn(format!("{service} {text}"));
        }
        if !file.replaced.is_empty() && file.then != file.now {
            let lines = file.replaced.join("; ");
            report.say(format!(
                "{service}: switched off, and kept for the way back: {lines}"
            ));
        }
    }
    report
        .say("enabled. KEEP THIS SESSION OPEN, with a root shell in it, and try a second one now.");
    say_way_back(plan.wanted.confirm, &plan.way_back(), report);
}
