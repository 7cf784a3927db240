//! System calls on a caller's descriptor that may block although poll said that
//! they would not: another process can read the byte, or fill the room, between
//! the two calls (docs/security.md, attack 3).

use std::sync::atomic::{AtomicBool, Ordering};

use duo_policy::error::Error;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// How often a call that blocks is interrupted. One signal could come right before
/// the call and be lost, so there is always a next one.
const INTERVAL: libc::timeval = libc::timeval {
    tv_sec: 0,
    tv_usec: 100_000,
};

/// Whether SIGALRM interrupts system calls. In a program that has not asked for
/// that, it would end the process.
static IS_HANDLED: AtomicBool = AtomicBool::new(false);

extern "C" fn do_nothing(_signal: i32) {}

/// Lets SIGALRM interrupt system calls and do nothing else. Returns what it did
/// before.
///
/// # Errors
/// [`Error::Fault`] if the signal cannot be set.
pub(super) fn handle_alarms() -> Result<SigAction, Error> {
    // Without SA_RESTART, so that the kernel does not begin the call again.
    let handler = SigHandler::Handler(do_nothing);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler touches nothing.
    let before = unsafe { sigaction(Signal::SIGALRM, &action) }
        .map_err(|errno| Error::fault("set a signal", errno.desc()))?;
    IS_HANDLED.store(true, Ordering::Relaxed);
    Ok(before)
}

/// From here on no call is interrupted: SIGALRM is the session's again.
pub(super) fn leave_alarms() {
    IS_HANDLED.store(false, Ordering::Relaxed);
}

/// Calls `call`, which makes one system call in the only thread that makes such
/// calls. If it blocks, it fails with EINTR after a tenth of a second.
pub(crate) fn interrupted_if_it_blocks<T>(call: impl FnOnce() -> T) -> T {
    if !IS_HANDLED.load(Ordering::Relaxed) {
        return call();
    }
    let before = set_timer(libc::itimerval {
        it_interval: INTERVAL,
        it_value: INTERVAL,
    });
    let result = call();
    // The caller may have started a timer, which is the session's.
    set_timer(before);
    result
}

/// Sets the timer that sends SIGALRM, and returns what it was.
fn set_timer(timer: libc::itimerval) -> libc::itimerval {
    let mut before = std::mem::MaybeUninit::<libc::itimerval>::zeroed();
    // SAFETY: setitimer reads the first value and writes the second, which is zeroed
    // and so a valid value, a timer that is off, if the call fails.
    unsafe {
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, before.as_mut_ptr());
        before.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    #[test]
    fn a_call_that_blocks_is_interrupted_and_the_timer_is_as_before() {
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        // SAFETY: the child makes system calls only, and ends with _exit.
        match unsafe { fork() }.unwrap() {
            // The signal goes to the first thread of a process, and the first thread of
            // this one runs no test.
            ForkResult::Child => {
                let is_set = handle_alarms().is_ok();
                let read = interrupted_if_it_blocks(|| nix::unistd::read(&reader, &mut [0]));
                let off = libc::timeval {
                    tv_sec: 0,
                    tv_usec: 0,
                };
                let timer = set_timer(libc::itimerval {
                    it_interval: off,
                    it_value: off,
                });
                let is_off = timer.it_interval.tv_usec == 0 && timer.it_value.tv_usec == 0;
                let is_good = is_set && read == Err(nix::Error::EINTR) && is_off;
                // SAFETY: _exit touches no memory of this program.
                unsafe { libc::_exit(i32::from(!is_good)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
    }
}
