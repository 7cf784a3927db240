//! What a caller may have done to our turn at the processor, undone while the
//! child is still root. A process that hardly runs misses every deadline that
//! Duo has met, and under `failmode = safe` that would look like Duo being down
//! (docs/security.md, *Causes removed*).

use std::fs;

use duo_policy::error::Error;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::unistd::Pid;

/// What the kernel gives to a process by default: nanoseconds that a timer may
/// be late. A caller's own choice, of a minute say, comes through exec and
/// fork, and would let every deadline pass before the next address is tried.
const TIMER_SLACK: u64 = 50_000;

/// Takes nice 0, the normal scheduling class, all processors, the default timer
/// slack, and no preference for the out-of-memory killer.
///
/// Where root may not do one of these (a container without CAP_SYS_NICE or
/// CAP_SYS_RESOURCE), it stays as it is: to deny everybody on such a machine
/// would be worse, and a wait that ends too late is a fault anyway
/// ([`crate::wait`]).
///
/// # Errors
/// [`Error::Fault`] if the timer slack is not the default afterwards.
pub(super) fn reset_priority() -> Result<(), Error> {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: both calls take numbers, and a structure that outlives the call.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const normal);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
    }
    let mut all = CpuSet::new();
    for number in 0..CpuSet::count() {
        // Every number below `count` fits.
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
