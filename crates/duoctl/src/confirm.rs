//! `confirm`: yes to what waits for it; with `--no`, it is taken back at once.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::setsid;

use crate::cli::{Answer, Confirm, Effect};
use crate::disable::is_anything_enabled;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pending::session::Session;
use crate::pending::{self, Pending};
use crate::signals::{Patience, Signals, lock};
use crate::{Start, needs_root};

/// Runs it.
pub fn run(wanted: &Confirm, start: &Start, report: &mut Report) -> Outcome {
    needs_root(start)?;
    match wanted.answer {
        Answer::Yes => yes(wanted, report),
        Answer::No => no(wanted, report, Patience::None),
        Answer::NoAfter(span) => {
            wait_beside_every_session(span)?;
            no(wanted, report, Patience::Endless)
        }
    }
}

/// Outlives the session that started this process: a hang-up of its terminal
/// does not reach a session of one's own.
fn wait_beside_every_session(span: Duration) -> Result<(), Failure> {
    // It is no leader when `enable` has started it; by hand it may be one.
    let _ = setsid();
    let end: SigSet = [Signal::SIGTERM].into_iter().collect();
    end.thread_unblock()
        .map_err(|errno| Failure::refused(errno.desc()))?;
    sleep(span);
    Ok(())
}

fn yes(wanted: &Confirm, report: &mut Report) -> Outcome {
    let _lock = lock(Patience::None)?;
    let Some(pending) = pending::read()? else {
        // A program that confirms must not take what was taken back for confirmed.
        if !is_anything_enabled(&wanted.common)? {
            return Err(Failure::refused(
                "nothing waits for this, and nothing is enabled: if something waited, its time \
                 ran out and it was taken back",
            ));
        }
        report.say("nothing waits for this");
        return Ok(Done::Unchanged);
    };
    if pending.session.is_same(&Session::of_this_process()) {
        return Err(same_session(&pending));
    }
    if wanted.common.effect == Effect::DryRun {
        report.say("would keep what is enabled");
        return Ok(Done::WouldChange);
    }
    pending.end();
    report.say("confirmed: what was enabled stays");
    Ok(Done::Changed)
}

/// The session that enabled it was open before, and shows nothing.
fn same_session(pending: &Pending) -> Failure {
    let left = pending.left().as_secs();
    Failure::refused(format!(
        "this is the session that enabled it: log in a second time, and confirm there \
         ({left} s are left). To take it back now: duoctl confirm --no"
    ))
}

fn no(wanted: &Confirm, report: &mut Report, patience: Patience) -> Outcome {
    let _lock = lock(patience)?;
    let Some(pending) = pending::read()? else {
        report.say("nothing waits for this");
        return Ok(Done::Unchanged);
    };
    if wanted.common.effect == Effect::DryRun {
        for path in pending.paths() {
            report.say(format!("would take {} back", path.display()));
        }
        return Ok(Done::WouldChange);
    }
    // Half of it would be worse than either.
    let _signals = Signals::block()?;
    pending.take_back(report)?;
    report.say("taken back");
    Ok(Done::Changed)
}
