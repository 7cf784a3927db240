//! Signals and environment. The caller chose both, so they are replaced before
//! anything else happens, and given to the session as they were.

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};

use duo_policy::error::Error;
use nix::libc;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};

use super::interrupt::{handle_alarms, leave_alarms};
use crate::log::Identity;

/// Whether SIGPIPE was ignored when this program was started.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Reads the disposition of SIGPIPE before `main`, since Rust's runtime ignores
/// the signal before `main` too (docs/security.md, attack 5).
extern "C" fn note_sigpipe() {
    let mut at_start = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction only writes the old action into `at_start`, which is zeroed
    // and so a valid value of its type whether or not the call succeeds.
    let handler = unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), at_start.as_mut_ptr());
        at_start.assume_init().sa_sigaction
    };
    SIGPIPE_WAS_IGNORED.store(handler == libc::SIG_IGN, Ordering::Relaxed);
}

// SAFETY: the loader calls each pointer of this section once, before the
// runtime starts; `note_sigpipe` needs no runtime and ignores the arguments.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_SIGPIPE: extern "C" fn() = note_sigpipe;

/// Signals and environment as this program was started with them. The session
/// gets them back.
pub struct Inherited {
    /// Each entry as it was given: duplicates, and entries without `=`, too.
    pub environment: Vec<CString>,
    mask: SigSet,
    dispositions: Vec<(Signal, SigAction)>,
}

/// Keeps the signal dispositions, the signal mask and the environment for the
/// session, and replaces them with this program's. From here on `environ` is
/// empty, so that no library finds a proxy, a CA, a resolver option or a locale in
/// it (docs/security.md, attack 1). A library that writes to syslog itself, such as a
/// module that looks up names, does so under the name of `identity`, and not under the
/// one that the caller gave this process.
///
/// # Errors
/// [`Error::Fault`] if a signal cannot be set.
pub fn take_over(identity: Identity) -> Result<Inherited, Error> {
    let environment = take_environment();
    // SAFETY: openlog keeps the pointer, and the text is static.
    unsafe { libc::openlog(identity.name().as_ptr(), libc::LOG_PID, libc::LOG_AUTHPRIV) };
    let mut mask = SigSet::empty();
    sigprocmask(
        SigmaskHow::SIG_BLOCK,
        Some(&watched_signals()),
        Some(&mut mask),
    )
    .map_err(|errno| Error::fault("block signals", errno.desc()))?;

    let mut dispositions = Vec::new();
    let at_start = match SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed) {
        true => SigHandler::SigIgn,
        false => SigHandler::SigDfl,
    };
    dispositions.push((Signal::SIGPIPE, plain_action(at_start)));
    dispositions.push((Signal::SIGALRM, handle_alarms()?));
    // The caller may have blocked it.
    let alarm: SigSet = std::iter::once(Signal::SIGALRM).collect();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&alarm), None)
        .map_err(|errno| Error::fault("unblock a signal", errno.desc()))?;
    // Where SIGCHLD is ignored, the kernel drops the child's exit status. A login
    // that is stopped by Ctrl-Z would keep the terminal in the middle of a question.
    for (signal, handler) in [
        (Signal::SIGCHLD, SigHandler::SigDfl),
        (Signal::SIGTSTP, SigHandler::SigIgn),
        (Signal::SIGTTIN, SigHandler::SigIgn),
        (Signal::SIGTTOU, SigHandler::SigIgn),
    ] {
        dispositions.push((signal, set_disposition(signal, handler)?));
    }
    Ok(Inherited {
        environment,
        mask,
        dispositions,
    })
}

impl Inherited {
    /// Restores the dispositions and the mask, right before the session starts.
    ///
    /// # Errors
    /// [`Error::Fault`] if a disposition or the mask cannot be set.
    pub fn restore_signals(&self) -> Result<(), Error> {
        leave_alarms();
        for (signal, action) in &self.dispositions {
            // SAFETY: the action was in force at the start, or is SIG_DFL or SIG_IGN.
            unsafe { sigaction(*signal, action) }
                .map_err(|errno| Error::fault("restore a signal", errno.desc()))?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
            .map_err(|errno| Error::fault("restore the signal mask", errno.desc()))
    }
}

/// In the child: ignores the signals that the terminal sends, so that the child
/// lives to write its line in the log. When the session's leader is killed, the
/// kernel hangs up the foreground group, and Ctrl-C reaches that whole group. The
/// parent tells the child over the life pipe (docs/security.md, *Life and death*).
///
/// # Errors
/// [`Error::Fault`] if a disposition or the mask cannot be set.
pub(super) fn ignore_signals() -> Result<(), Error> {
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ] {
        set_disposition(signal, SigHandler::SigIgn)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|errno| Error::fault("unblock signals", errno.desc()))
}

/// In the child: lets a write beyond the limit of a file's size fail, and not kill.
///
/// # Errors
/// [`Error::Fault`] if the disposition cannot be set.
pub(super) fn ignore_file_size() -> Result<(), Error> {
    set_disposition(Signal::SIGXFSZ, SigHandler::SigIgn).map(drop)
}

/// In the parent of a host's helper: listens to the signals that end a login although
/// the host ignored them, and blocks no other one. sudo blocks SIGINT and SIGQUIT while
/// PAM runs, and both outlive exec.
///
/// # Errors
/// [`Error::Fault`] if a disposition or the mask cannot be set.
pub(super) fn listen_to_signals() -> Result<(), Error> {
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ] {
        set_disposition(signal, SigHandler::SigDfl)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&watched_signals()), None)
        .map_err(|errno| Error::fault("unblock signals", errno.desc()))
}

/// The signals that the parent waits for: those that end a login from outside,
/// and the one that reports the child's end.
pub(super) fn watched_signals() -> SigSet {
    [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ]
    .into_iter()
    .collect()
}

fn plain_action(handler: SigHandler) -> SigAction {
    SigAction::new(handler, SaFlags::empty(), SigSet::empty())
}

fn set_disposition(signal: Signal, handler: SigHandler) -> Result<SigAction, Error> {
    // SAFETY: SIG_DFL and SIG_IGN run no code of this program.
    unsafe { sigaction(signal, &plain_action(handler)) }
        .map_err(|errno| Error::fault("set a signal", errno.desc()))
}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Copies the environment, overwrites the passcode in the original (which
/// /proc/PID/environ shows), and empties it.
fn take_environment() -> Vec<CString> {
    const PASSCODE: &[u8] = b"DUO_PASSCODE=";
    let mut entries = Vec::new();
    // SAFETY: no other thread exists, so nothing else changes `environ`. It is null
    // or a null-terminated array of C strings in memory that this process may write.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            let entry = CStr::from_ptr(*next);
            entries.push(entry.to_owned());
            if entry.to_bytes().starts_with(PASSCODE) {
                for offset in PASSCODE.len()..entry.to_bytes().len() {
                    (*next).add(offset).write_volatile(0);
                }
            }
            next = next.add(1);
        }
        libc::clearenv();
    }
    entries
}
