//! `forget`: which connections are approved (`remember = connection`), of one user or of all.

use duo_policy::remember::LONGEST;
use duo_system::privsep;
use duo_system::remember;
use serde_json::json;

use crate::cli::{Effect, Forget};
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::{Start, needs_root};

/// Runs it.
pub fn run(wanted: &Forget, start: &Start, report: &mut Report) -> Outcome {
    needs_root(start)?;
    let failed = |error: duo_policy::error::Error| Failure::refused(error.to_string());
    let mut accounts = remember::accounts().map_err(failed)?;
    if let Some(user) = &wanted.user {
        let uid = user_id(user)?;
        accounts.retain(|account| *account == uid);
    }
    // A file that cannot be read is removed all the same.
    let counts = accounts
        .iter()
        .map(|uid| remember::open_connections(*uid, LONGEST));
    let connections: usize = counts.map(Result::unwrap_or_default).sum();
    report.put("connections", json!(connections));
    report.put("accounts", json!(accounts));
    if accounts.is_empty() {
        report.say("nothing is remembered");
        return Ok(Done::Unchanged);
    }
    let number = accounts.len();
    let what = format!("approved connections that are open: {connections}, accounts: {number}");
    if wanted.common.effect == Effect::DryRun {
        report.say(format!("would forget {what}"));
        return Ok(Done::WouldChange);
    }
    for uid in accounts {
        remember::forget(uid).map_err(failed)?;
    }
    report.say(format!("forgotten: {what}"));
    Ok(Done::Changed)
}

/// By name; a number may be that of an account that is gone.
fn user_id(user: &str) -> Result<u32, Failure> {
    let named = privsep::user_id(user).map_err(|error| Failure::refused(error.to_string()))?;
    named
        .or_else(|| user.parse().ok())
        .ok_or_else(|| Failure::refused(format!("there is no user '{user}'")))
}
