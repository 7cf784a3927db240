//! `confirm`: not built yet.

use crate::Start;
use crate::cli::Confirm;
use crate::outcome::{Failure, Outcome, Report};

/// Runs it.
pub fn run(wanted: &Confirm, start: &Start, report: &mut Report) -> Outcome {
    let _ = (&wanted.common, start, report);
    Err(Failure::refused("not built yet"))
}
