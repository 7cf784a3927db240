//! Findings for `--as USER`: whether a login of this user would be asked, and what Duo answers. Duo is
//! asked for preauth only, which rings no phone.

use std::path::Path;

use duo_ask::{Claim, Subject};
use duo_net::Client;
use duo_policy::api::Duo;
use duo_policy::api::menu::Menu;
use duo_policy::api::reply::Preauth;
use duo_policy::config::Config;
use duo_policy::error::Error;
use duo_policy::groups::{self, Directory, Gate, Reason};
use duo_system::account::Account;
use duo_system::privsep::ChildEnds;
use duo_system::system_words;
use duo_system::wait::{SystemClock, Waiter};
use nix::unistd::{AccessFlags, User, access};

use super::codes::Counted;
use super::local::is_login_shell;
use super::{codes, network};
use crate::finding::{Finding, Level, quoted};

/// The login that is tried.
#[derive(Debug, Clone)]
pub struct TrialLogin {
    /// The login name.
    pub name: String,
    /// The name that Duo knows, if it is not that of a login of this user.
    pub duo_user: Option<String>,
    /// The client's address.
    pub client: Option<String>,
}

/// Tries the login as far as preauth. `duo` says whether Duo can be asked.
pub fn findings(
    login: &TrialLogin,
    config: Option<&Config>,
    counted: &Counted,
    duo: Reachable,
    ends: &ChildEnds,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (account, uid) = match account(&login.name, &mut findings) {
        Ok(account) => account,
        Err(finding) => return vec![finding],
    };
    findings.push(shell(&account));
    let Some(config) = config else {
        return findings;
    };
    let (gate, asked) = gate(config, &account);
    findings.push(gate);
    if asked {
        findings.extend(codes::of_user(config, counted, uid, &account.name));
    }
    let (duo_user, note) = account.duo_name(login.duo_user.as_deref(), &config.gecos);
    findings.push(match note {
        Some(note) => Finding::warn("user.duo_name", format!("'{duo_user}' to Duo: {note}")),
        None => Finding::ok("user.duo_name", format!("'{duo_user}' to Duo")),
    });
    if asked && duo == Reachable::Yes {
        findings.push(match preauth(login, uid, config, &duo_user, ends) {
            Ok(answer) => preauth_finding(&answer),
            Err(error) => Finding::fail("user.duo", format!("preauth: {error}")),
        });
    }
    findings
}

/// Whether the network leads to Duo, by the findings about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachable {
    /// A login can ask Duo.
    Yes,
    /// A request to Duo would only fail as the network check did.
    No,
}

/// The account of a login name, and its user id. (login_duo itself has the user id from the start.)
fn account(name: &str, findings: &mut Vec<Finding>) -> Result<(Account, u32), Finding> {
    const ID: &str = "user.account";
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => return Err(Finding::fail(ID, format!("there is no user '{name}'"))),
        Err(errno) => {
            let text = format!(
                "'{name}' cannot be looked up: {}",
                system_words(&errno.into())
            );
            return Err(Finding::fail(ID, text));
        }
    };
    let uid = user.uid.as_raw();
    let account = Account::of(uid).map_err(|error| Finding::fail(ID, error.to_string()))?;
    findings.push(match account.name == name {
        true => Finding::ok(ID, format!("'{name}' has the user id {uid}")),
        false => Finding::warn(
            ID,
            format!(
                "'{name}' has the user id of '{}', and logs in under that name",
                account.name
            ),
        ),
    });
    Ok((account, uid))
}

fn shell(account: &Account) -> Finding {
    const ID: &str = "user.shell";
    let (name, path) = (account.shell.display(), account.shell.as_path());
    let mend = format!(
        "usermod --shell /bin/sh {}",
        quoted(Path::new(&account.name))
    );
    // Nobody logs in with such a shell, whether or not it can be run.
    if !is_login_shell(&path.to_string_lossy()) {
        return Finding::ok(ID, format!("the shell {name} lets nobody in"));
    }
    match access(path, AccessFlags::X_OK) {
        Ok(()) => Finding::ok(ID, format!("the shell is {name}")),
        Err(errno) => {
            let words = system_words(&errno.into());
            Finding::fail(ID, format!("the shell {name} cannot be run: {words}")).mend(mend)
        }
    }
}

/// The finding that says what the gate decides and why, and whether the user is asked.
fn gate(config: &Config, account: &Account) -> (Finding, bool) {
    const ID: &str = "user.gate";
    let denied =
        |error: &dyn std::fmt::Display| (Finding::fail(ID, format!("denied: {error}")), false);
    let decided = match groups::gate(config.groups.as_ref(), account) {
        Ok(decided) => decided,
        Err(error) => return denied(&error),
    };
    let names = match config.groups.is_some().then(|| account.group_names()) {
        Some(Ok(names)) => names,
        Some(Err(error)) => return denied(&error),
        None => Vec::new(),
    };
    let names_text: Vec<_> = names
        .iter()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    let names_text = names_text.join(", ");
    match decided {
        Gate::Ask(Reason::Everybody) => (
            Finding::ok(
                ID,
                "asked by the configuration, as everybody is (no groups)",
            ),
            true,
        ),
        Gate::Ask(Reason::Matched) => {
            let list = config
                .groups
                .as_ref()
                .and_then(|groups| groups.first_match(&names));
            let text = format!(
                "asked: '{}' takes the groups {names_text}",
                list.unwrap_or_default()
            );
            (Finding::ok(ID, text), true)
        }
        Gate::Ask(Reason::Doubt(why)) => {
            (Finding::warn(ID, format!("asked, in doubt: {why}")), true)
        }
        Gate::Pass => {
            let text = format!("not asked: groups takes none of the groups {names_text}");
            (Finding::warn(ID, text), false)
        }
    }
}

fn preauth(
    login: &TrialLogin,
    uid: u32,
    config: &Config,
    duo_user: &str,
    ends: &ChildEnds,
) -> Result<Preauth, Error> {
    let claim = Claim {
        subject: Subject::Uid(uid),
        objection: None,
        duo_user: None,
        client: login.client.clone(),
        service: String::new(),
        terminal: None,
        command: None,
        passcode: None,
    };
    let person = duo_ask::person(&claim, duo_user, config);
    let deadlines = network::deadlines();
    let waiter = Waiter::new(&SystemClock, Some(&ends.life));
    Client::new(config, person, &deadlines, &waiter, &|_| {})?.preauth()
}

/// The finding about Duo's answer.
fn preauth_finding(answer: &Preauth) -> Finding {
    let (level, text) = match answer {
        Preauth::Auth(menu) => (Level::Ok, format!("Duo would ask: {}", choices(menu))),
        Preauth::Allow(why) => (
            Level::Warn,
            format!("Duo lets in without a second factor: {why}"),
        ),
        Preauth::Deny(why) => (Level::Fail, format!("Duo denies: {why}")),
        Preauth::Enroll { text, url } => {
            let text = format!("Duo wants this user to enrol first: {text}");
            let url = url.as_ref().map(|url| format!(" {url}"));
            (Level::Fail, text + &url.unwrap_or_default())
        }
    };
    Finding::new(level, "user.duo", text)
}

/// The choices of the menu, on one line.
fn choices(menu: &Menu) -> String {
    let choices: Vec<String> = menu
        .choices()
        .iter()
        .map(|choice| format!("{}. {}", choice.key, choice.label))
        .collect();
    match choices.is_empty() {
        true => "for a passcode".to_owned(),
        false => choices.join("; "),
    }
}
