//! A service's stack with our line in it, as the proof has it: what no acceptance can make good
//! refuses it, and what lets somebody in without Duo is named.

use super::{First, Planned};
use crate::pam::proof::{self, Judgement, ROOT_OK, is_duo, is_first_factor};
use crate::pam::services::Services;
use crate::pam::stack::Step;

/// A line that lets somebody in without Duo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayAround {
    /// Module, file and line.
    pub shown: String,
    /// Whether it says yes to root, and to nobody else.
    pub is_root: bool,
}

/// A stack that was proved.
pub(super) struct Candidate {
    ways_around: Vec<WayAround>,
    asks_early: bool,
}

impl Candidate {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(
        files: &Services,
        service: &str,
        old: &[Step],
        first: First,
    ) -> Result<Candidate, String> {
        let new = files.steps(service).unwrap_or_default();
        let judged = proof::judge(&new);
        refuse(&judged, &new, first)?;
        if first == First::InTheStack {
            let compared = proof::compare(old, &new);
            if compared.lets_in {
                return Err("it would let in somebody who was not let in before".into());
            }
            if compared.locks_out {
                return Err("a line that was not reached before could lock somebody out".into());
            }
        }
        let blamed = judged.ways_around.iter().filter_map(|at| new.get(*at));
        let ways_around = blamed.map(|step| WayAround {
            shown: step.shown(),
            is_root: step.module() == ROOT_OK,
        });
        Ok(Candidate {
            ways_around: ways_around.collect(),
            asks_early: judged.asks_early,
        })
    }

    /// The plan with what was found out about its stack.
    pub(super) fn into_planned(self, planned: Planned) -> Planned {
        Planned {
            ways_around: self.ways_around,
            asks_early: self.asks_early,
            ..planned
        }
    }
}

/// What no acceptance can make good.
fn refuse(judged: &Judgement, stack: &[Step], first: First) -> Result<(), String> {
    let steps = || judged.ways_around.iter().filter_map(|at| stack.get(*at));
    let ends =
        steps().find(|step| is_first_factor(step) || is_duo(step) || step.module().is_empty());
    if let Some(step) = ends {
        let place = step.shown();
        return Err(format!(
            "{place} ends the stack before Duo is asked, or does not heed Duo's no"
        ));
    }
    if judged.is_only_factor {
        return Err("Duo would be the only factor".into());
    }
    if judged.lets_nobody_in {
        return Err("nobody would get in".into());
    }
    match stack.iter().find(|step| is_first_factor(step)) {
        Some(step) if first == First::Key => {
            Err(format!("{} would still ask for a password", step.shown()))
        }
        _ => Ok(()),
    }
}
