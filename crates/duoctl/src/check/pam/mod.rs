//! Findings about the services of PAM that ask Duo: whether every way through
//! their stacks needs both factors, what leads to root beside them, and whether a
//! line that was enabled is still there.

mod beside;

use std::collections::BTreeMap;
use std::path::PathBuf;

use duo_policy::config::Failmode;
use duo_system::privsep::Standing;

use super::sshd::rules::{Forced, forced};
use super::sshd::{Case, Users};
use crate::cli::{With, pam_configuration};
use crate::finding::{Finding, Level};
use crate::layout::{MODULE, MODULE_COMES_FROM, MODULES};
use crate::pam::module::{self, Module};
use crate::pam::proof::{self, AFTER_KEY, ROOT_OK, is_duo};
use crate::pam::services::{self, Services};
use crate::pam::stack::{Does, Step};
use crate::pam::{self, record, sshd};

/// A service that asks Duo.
#[derive(Debug)]
pub struct Asking {
    /// Its name.
    pub service: String,
    steps: Vec<Step>,
    /// The first step that asks Duo.
    duo: Step,
}

impl Asking {
    /// The configuration that its line names.
    pub fn config(&self) -> PathBuf {
        let Does::Ask { arguments, .. } = &self.duo.does else {
            return pam_configuration();
        };
        // Of several the last counts.
        let named = arguments
            .iter()
            .rev()
            .find_map(|it| it.strip_prefix("conf="));
        named.map_or_else(pam_configuration, PathBuf::from)
    }

    /// Where its line stands.
    pub fn place(&self) -> String {
        self.duo.shown()
    }

    /// The module that its line names.
    pub fn module(&self) -> Option<Module> {
        let Does::Ask { module, .. } = &self.duo.does else {
            return None;
        };
        let path = match module.starts_with('/') {
            true => PathBuf::from(module),
            false => module::folder()?.join(module),
        };
        Some(Module {
            name: module.clone(),
            path,
        })
    }

    /// What sshd must ask for before the module, if this is sshd's stack.
    fn with(&self) -> Option<With> {
        (self.service == "sshd").then(|| match self.duo.has_argument(AFTER_KEY) {
            true => With::Keys,
            false => With::Passwords,
        })
    }
}

/// Every service that asks Duo. PAM is the machine's, and so root's to look at.
pub fn seen_by(standing: Standing) -> Vec<Asking> {
    match standing {
        Standing::Root => asking(),
        Standing::Setuid | Standing::Own => Vec::new(),
    }
}

/// Every service that asks Duo.
pub fn asking() -> Vec<Asking> {
    let services = Services::of_this_machine();
    let of = |service: String| {
        let steps = services.steps(&service)?;
        let duo = steps.iter().find(|step| is_duo(step)).cloned()?;
        Some(Asking {
            service,
            steps,
            duo,
        })
    };
    let names = services.names().into_iter();
    // What others include is judged where it is included.
    let is_service = |name: &String| !name.starts_with("common-") && !name.ends_with("-auth");
    names.filter(is_service).filter_map(of).collect()
}

/// What sshd must ask for before PAM's module, where its stack has one.
pub fn with(asking: &[Asking]) -> Option<With> {
    asking.iter().find_map(Asking::with)
}

/// The findings about all of them. `failmodes` are those of their configurations.
pub fn findings(asking: &[Asking], failmodes: &BTreeMap<PathBuf, Failmode>) -> Vec<Finding> {
    let mut findings = modules(asking);
    for one in asking {
        findings.extend(stack(one));
        if failmodes.get(&one.config()) == Some(&Failmode::Safe) {
            findings.extend(pam::safe(&one.service));
        }
    }
    findings.extend(left_out(asking));
    findings.extend(vanished());
    findings.extend(beside::findings(asking));
    findings
}

fn modules(asking: &[Asking]) -> Vec<Finding> {
    let mut seen: Vec<Module> = Vec::new();
    let mut findings = Vec::new();
    for module in asking.iter().filter_map(Asking::module) {
        if seen.contains(&module) {
            continue;
        }
        let shown = module.path.display();
        if module::is_ours(&module.path) {
            findings.extend(module::findings(&module));
        } else if module.path.is_file() {
            let text = format!("{shown} is not the {MODULE} of this duoctl");
            findings.push(Finding::warn("pam.module", text).mend("duoctl adopt"));
        } else {
            let text = format!("{shown} is missing: whoever should be asked is denied");
            findings.push(Finding::fail("pam.module", text).mend(MODULE_COMES_FROM));
        }
        seen.push(module);
    }
    findings
}

/// Whether every way through a stack needs both factors.
fn stack(asking: &Asking) -> Vec<Finding> {
    const STACK: &str = "pam.stack";
    let service = &asking.service;
    let judged = proof::judge(&asking.steps);
    let mut findings = Vec::new();
    for step in judged
        .ways_around
        .iter()
        .filter_map(|at| asking.steps.get(*at))
    {
        let shown = step.shown();
        findings.push(match step.module() {
            ROOT_OK => Finding::ok(
                "pam.way_around",
                format!("{service}: root is not asked, by {shown}"),
            ),
            module if MODULES.contains(&module) => {
                let text = format!("{service}: {shown} lets in whom Duo has denied");
                Finding::fail("pam.way_around", text).mend(format!("auth required {module}"))
            }
            _ => pam::way_around(service, &shown),
        });
    }
    let place = asking.place();
    if judged.is_only_factor {
        let text =
            format!("{service}: Duo's yes alone lets in, and so does its failmode ({place})");
        let mend = match service.as_str() {
            "sshd" => "the line behind the first factor; with keys: after=publickey",
            _ => "the line behind the first factor",
        };
        findings.push(Finding::fail("pam.only_factor", text).mend(mend));
    }
    if judged.lets_nobody_in {
        let text = format!("{service}: nobody gets in, whatever Duo says ({place})");
        findings.push(Finding::fail("pam.locked_out", text));
    }
    if judged.asks_early {
        findings.push(pam::asks_early(service));
    }
    if !findings.iter().any(|it| it.level == Level::Fail) {
        let text = format!("{service}: both factors are needed on every way ({place})");
        findings.push(Finding::ok(STACK, text));
    }
    findings
}

/// The other services of a program that asks Duo in one of them: Debian's `sudo -i` is
/// `sudo-i` to PAM, with a file of its own.
fn left_out(asking: &[Asking]) -> Vec<Finding> {
    let services = Services::of_this_machine();
    let enabled = record::enabled();
    let asks = |name: &str| asking.iter().any(|one| one.service == name);
    let mut findings = Vec::new();
    for one in asking {
        let family = services::family(&one.service).unwrap_or_default();
        for other in family {
            // One that was enabled and asks no more has vanished.
            let is_told = enabled.iter().any(|name| name == other);
            if asks(other) || is_told || services.steps(other).is_none() {
                continue;
            }
            let text = format!(
                "{other} does not ask Duo, though {} does: whoever has the first factor goes that way",
                one.service
            );
            let mend = format!("duoctl enable pam {}", one.service);
            findings.push(Finding::fail("pam.left_out", text).mend(mend));
        }
    }
    findings
}

/// Lines that were enabled and are gone: a package's upgrade may put its own file
/// in the place of ours.
fn vanished() -> Vec<Finding> {
    let services = Services::of_this_machine();
    let gone = record::enabled().into_iter().filter(|name| {
        let asks = |steps: Vec<Step>| steps.iter().any(is_duo);
        !services.steps(name).is_some_and(asks)
    });
    gone.map(|name| {
        let path = services.own_file(&name);
        let text = format!(
            "{name} was enabled, and {} does not ask Duo any more",
            path.display()
        );
        Finding::fail("pam.vanished", text).mend(format!(
            "duoctl enable pam {name}, or: duoctl disable pam {name}"
        ))
    })
    .collect()
}

/// Where other services ask Duo, and sshd is left out.
pub fn sshd_asks_nobody() -> Finding {
    let text = "sshd asks nobody: neither a ForceCommand nor its stack of PAM leads to Duo";
    Finding::warn("sshd.force_command", text).mend("duoctl enable pam sshd, or: duoctl enable ssh")
}

/// What sshd does with a stack that asks Duo.
pub fn sshd_findings(cases: &[Case], asking: &[Asking], program: &std::path::Path) -> Vec<Finding> {
    let Some(with) = with(asking) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut everybody = cases.iter().filter(|case| case.users == Users::Everybody);
    let others_are_asked =
        everybody.all(|case| sshd::meets(&case.options, with) == sshd::Meets::Duo);
    for case in cases {
        let who = case.users.label();
        let is_forced = forced(&case.options, program) == Forced::LoginDuo;
        let meets = sshd::meets(&case.options, with);
        match (meets, is_forced) {
            (sshd::Meets::Duo, true) => {
                let text = format!("both PAM and login_duo ask Duo, for {who}");
                findings.push(
                    Finding::warn("sshd.asked_twice", text)
                        .mend("duoctl disable ssh, or: duoctl disable pam sshd"),
                );
            }
            (sshd::Meets::Duo, false) => {
                let text = format!("sshd has PAM ask Duo for {who}");
                findings.push(Finding::ok("sshd.authentication_methods", text));
            }
            // Whom login_duo asks, PAM need not.
            (_, true) => {}
            (_, false) => {
                let mut found = sshd::method_findings(&who, &case.options, with);
                // Whom a Match block leaves out is left out on purpose.
                if meets == sshd::Meets::NoDuo && others_are_asked {
                    found
                        .iter_mut()
                        .for_each(|finding| finding.level = Level::Warn);
                }
                findings.extend(found);
            }
        }
    }
    findings
}
