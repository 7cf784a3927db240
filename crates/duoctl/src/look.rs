//! What `status` and `support` tell of: everything that `check` finds, and what sshd would do with
//! two logins, of somebody whom no Match block names and of root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duo_policy::config::Failmode;

use crate::Start;
use crate::check::sshd::run::{self, SshdOptions};
use crate::check::sshd::{self, ANYBODY, ANYWHERE, Forced, Scope, Spec, forced};
use crate::check::{self, CHECK_TIME};
use crate::cli::{Check, Common};
use crate::finding::Finding;

/// What was seen.
pub struct Seen {
    /// All findings of a check.
    pub findings: Vec<Finding>,
    /// What a login means while Duo is away, if the configuration can be used.
    pub failmode: Option<Failmode>,
    /// For how long a yes counts on its connection, if the configuration can be used.
    pub remembered_for: Option<Duration>,
    /// What applies to everybody, then to root, where sshd could be asked.
    pub cases: Vec<(&'static str, SshdOptions)>,
    /// Whether PAM's module is in use, and login_duo is not.
    pub is_pam_alone: bool,
    /// The failmode of each configuration that PAM's module reads.
    pub pam_failmodes: BTreeMap<PathBuf, Failmode>,
    /// The services of PAM that ask Duo.
    pub asking: Vec<check::pam::Asking>,
    /// How many accounts of this machine are sent to login_duo, and how many are not.
    pub accounts: [usize; 2],
}

/// Looks.
pub fn around(config: &Path, common: &Common, start: &Start) -> Seen {
    let begun = Instant::now();
    let wanted = Check::of(config, common);
    let asking = check::pam::seen_by(start.standing);
    let (mut findings, known) = check::front_ends(&wanted, &asking, start.standing, begun);
    let facts = known.facts_with(check::pam::with(&asking));
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let sshd_config = common.sshd_config.as_ref().map(absolute);
    let about = Scope {
        configuration: sshd_config.as_deref(),
        shown: sshd_config
            .as_deref()
            .unwrap_or(Path::new(sshd::CONFIGURATION)),
        user: None,
        client: None,
    };
    let until = begun + CHECK_TIME;
    let looked = sshd::look(&about, &facts, start.standing, until);
    match check::leaves_sshd_out(&wanted, &asking) {
        true => findings.push(check::pam::sshd_asks_nobody()),
        false => findings.extend(looked.findings),
    }
    findings.extend(check::pam::sshd_findings(
        &looked.cases,
        &asking,
        facts.program,
    ));
    let asked = looked.accounts.iter();
    let asked = asked.filter(|account| forced(&account.options, facts.program) == Forced::LoginDuo);
    let asked = asked.count();
    let program = run::find();
    let cases = [("everybody", ANYBODY), ("root", "root")]
        .into_iter()
        .filter_map(|(name, user)| {
            let spec = Spec::of(user, ANYWHERE).to_string();
            let settings = run::options(program?, sshd_config.as_deref(), &spec, until);
            Some((name, settings.ok()?))
        });
    Seen {
        failmode: facts.failmode,
        remembered_for: known.remembered_for(),
        is_pam_alone: check::is_pam_alone(&wanted, &asking),
        asking,
        pam_failmodes: known.pam_failmodes.clone(),
        cases: cases.collect(),
        accounts: [asked, looked.accounts.len().saturating_sub(asked)],
        findings,
    }
}
