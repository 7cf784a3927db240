//! The scheduling of the child. A caller may start login_duo with so little
//! processor time that it misses deadlines that Duo has met, and under
//! `failmode = safe` that would look like a Duo that is down. So the child resets
//! its scheduling while it is root (docs/security.md, *Causes removed*).

use std::fs;

use duo_policy::error::Error;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::unistd::Pid;

/// The kernel's default timer slack, in nanoseconds: how late a timer may be. The
/// caller's value outlives exec and fork. With a slack of a minute, every
/// deadline would pass before the next address is tried.
const TIMER_SLACK: u64 = 50_000;

/// Takes nice 0, the normal scheduling class, all processors, `oom_score_adj` 0
/// and the default timer slack.
///
/// Where root may not change one of these (a container without CAP_SYS_NICE or
/// CAP_SYS_RESOURCE), but for the timer slack, the caller's value stays: to deny
/// everybody on such a machine would be worse, and a wait that ends too late is a
/// fault of this machine anyway ([`crate::wait`]).
///
/// # Errors
/// [`Error::Fault`] if the timer slack is not the default afterwards.
pub(super) fn reset_priority() -> Result<(), Error> {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: both calls read numbers, and one structure that outlives the call.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const normal);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
    }
    let mut all = CpuSet::new();
    for number in 0..CpuSet::count() {
        // `set` fails only for a number that is not below `count`.
        let _ = all.set(number);
    }
    let _ = sched_setaffinity(Pid::from_raw(0), &all);
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    reset_timer_slack()
}

fn reset_timer_slack() -> Result<(), Error> {
    prctl::set_timerslack(TIMER_SLACK)
        .map_err(|errno| Error::fault("reset the timer slack", errno.desc()))?;
    let slack = prctl::get_timerslack()
        .map_err(|errno| Error::fault("read the timer slack", errno.desc()))?;
    if u64::try_from(slack) == Ok(TIMER_SLACK) {
        Ok(())
    } else {
        Err(Error::Fault(format!(
            "couldn't reset the timer slack: it is {slack} ns"
        )))
    }
}
