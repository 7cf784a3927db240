//! Privilege separation: the only file with `unsafe`, and every system call
//! that the safety of the program rests on, in the order in which they happen.
//!
//! A child without privileges talks to the person and to Duo; its parent, back
//! to being the user, waits, and opens the door only on two keys: "allow" on the
//! verdict pipe and exit status 0. The caller controls our arguments,
//! environment, limits, signals and descriptors, and may stop or kill the
//! parent once it is theirs; none of that may ever look like Duo's yes.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, User, chdir, close, dup2_stdout, fork, getgroups, getresgid,
    getresuid, pipe2, setgroups, setresgid, setresuid,
};

use crate::error::Error;

// ---------------------------------------------------------------------------
// As inherited

/// Whether SIGPIPE was ignored when we were started.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Rust's runtime ignores SIGPIPE before `main`: look before it does.
extern "C" fn note_sigpipe() {
    let mut at_start = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction only writes the old action into our zeroed struct, which
    // is a valid value of its type whether or not the call succeeds.
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

/// What the session must get back as it was: signals and environment.
pub struct Inherited {
    /// Each entry as it was given, duplicates and oddities included.
    pub environment: Vec<CString>,
    mask: SigSet,
    dispositions: Vec<(Signal, SigAction)>,
}

/// Takes over signals and environment. From here on `environ` is empty, so that
/// no library finds a proxy, a CA, a resolver option or a locale in it.
///
/// # Errors
/// [`Error::Fault`] if a signal cannot be set.
pub fn take_over() -> Result<Inherited, Error> {
    let environment = take_environment();
    // SAFETY: the name is static; this opens nothing before the first line is logged.
    unsafe { libc::openlog(c"login_duo".as_ptr(), libc::LOG_PID, libc::LOG_AUTHPRIV) };
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
    // A caller that ignores SIGCHLD would take our child's exit status away; a
    // stopped login would keep the terminal in the middle of a question.
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
    /// Puts dispositions and mask back, right before the session starts.
    ///
    /// # Errors
    /// [`Error::Fault`] if one cannot be set.
    pub fn restore_signals(&self) -> Result<(), Error> {
        for (signal, action) in &self.dispositions {
            // SAFETY: the action was in force before, or is SIG_DFL or SIG_IGN.
            unsafe { sigaction(*signal, action) }
                .map_err(|errno| Error::fault("restore a signal", errno.desc()))?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
            .map_err(|errno| Error::fault("restore the signal mask", errno.desc()))
    }
}

/// What ends a login from outside, and the child's own end.
fn watched_signals() -> SigSet {
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
    // SAFETY: only SIG_DFL and SIG_IGN are ever set, so no code of ours runs in a handler.
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
    // SAFETY: no thread exists yet, so nothing changes `environ` under us. It is
    // null or a null-terminated array of C strings in memory that is ours to write.
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

// ---------------------------------------------------------------------------
// Who we are, and whom we become

/// How this process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Setuid root, called by someone else.
    Setuid,
    /// Called by root.
    Root,
    /// A user's own install: no privileges to give up.
    Plain,
}

/// Finds out how this process was started.
///
/// # Errors
/// [`Error::Fault`] if it is setuid to someone who is not root, or setgid.
pub fn standing() -> Result<Standing, Error> {
    let uid = getresuid().map_err(|errno| Error::fault("read the user ids", errno.desc()))?;
    let gid = getresgid().map_err(|errno| Error::fault("read the group ids", errno.desc()))?;
    match (uid.real.is_root(), uid.effective.is_root()) {
        (true, true) => Ok(Standing::Root),
        (false, true) => Ok(Standing::Setuid),
        _ if uid.real == uid.effective && gid.real == gid.effective => Ok(Standing::Plain),
        _ => Err(Error::Fault(
            "login_duo is set-id, but not to root: chown root:root it and chmod 4755 it".to_owned(),
        )),
    }
}

/// The real user id.
pub fn caller_id() -> u32 {
    nix::unistd::getuid().as_raw()
}

/// The id of the user `name`, if there is one.
///
/// # Errors
/// [`Error::Fault`] if it cannot be looked up.
pub fn user_id(name: &str) -> Result<Option<u32>, Error> {
    let user = User::from_name(name)
        .map_err(|errno| Error::fault(&format!("look up the user '{name}'"), errno.desc()))?;
    Ok(user.map(|user| user.uid.as_raw()))
}

/// The account that the child runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivsepUser {
    /// Its user id.
    pub uid: Uid,
    /// Its own group, the only one that the child keeps.
    pub gid: Gid,
    /// What the log should say about the choice, if it is not the best one.
    pub warning: Option<String>,
}

/// The account made for this program.
pub const PRIVSEP_USER: &str = match option_env!("LOGIN_DUO_PRIVSEP_USER") {
    Some(name) => name,
    None => "duo",
};

/// Looks up the account to drop to: [`PRIVSEP_USER`]; where there is none,
/// `sshd`; and, for real root alone (a container, a test), `nobody`.
///
/// # Errors
/// [`Error::Fault`] if there is none, or it is root itself.
pub fn privsep_user(standing: Standing) -> Result<PrivsepUser, Error> {
    let candidates: &[&str] = match standing {
        Standing::Root => &[PRIVSEP_USER, "sshd", "nobody"],
        Standing::Setuid | Standing::Plain => &[PRIVSEP_USER, "sshd"],
    };
    for name in candidates {
        let found = User::from_name(name)
            .map_err(|errno| Error::fault(&format!("look up the user '{name}'"), errno.desc()))?;
        let Some(user) = found else { continue };
        if user.uid.is_root() || user.gid.as_raw() == 0 {
            return Err(Error::Fault(format!(
                "the user '{name}' has root's user or group id"
            )));
        }
        let warning = (*name != PRIVSEP_USER).then(|| {
            format!("there is no user '{PRIVSEP_USER}': running as '{name}' in its place")
        });
        return Ok(PrivsepUser {
            uid: user.uid,
            gid: user.gid,
            warning,
        });
    }
    Err(Error::Fault(format!(
        "there is no user '{PRIVSEP_USER}' to run as, nor 'sshd': create it"
    )))
}

// ---------------------------------------------------------------------------
// The fork

/// What the child holds: where its records go, and its parent's pulse.
pub struct ChildEnds {
    verdict: File,
    life: OwnedFd,
}

impl ChildEnds {
    /// Sends one record: a line of JSON that the parent reads as ours.
    ///
    /// # Errors
    /// [`Error::Fault`] if the parent is gone.
    pub fn send(&mut self, record: &str) -> Result<(), Error> {
        let line = format!("{record}\n");
        self.verdict
            .write_all(line.as_bytes())
            .map_err(|error| Error::fault("send a record", crate::error::system_words(&error)))
    }

    /// Ends this process as soon as its parent lets go of it, whatever it is
    /// doing (a lookup, a read). If the parent did not say so but is gone,
    /// `orphaned` runs first: nobody else is left to write the log's last line.
    ///
    /// # Errors
    /// [`Error::Fault`] if the thread cannot start.
    pub fn watch_parent(&self, orphaned: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let life = self.life.try_clone().map_err(|error| {
            Error::fault("watch the parent", crate::error::system_words(&error))
        })?;
        std::thread::Builder::new()
            .name("life".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                if !told_to_leave(&life) {
                    orphaned();
                }
                leave(1);
            })
            .map(drop)
            .map_err(|error| Error::fault("start a thread", crate::error::system_words(&error)))
    }
}

/// Room for a thread that formats a line and calls the resolver or syslog.
pub const THREAD_STACK: usize = 256 * 1024;

/// Waits for the end of the life pipe: true if the parent said goodbye.
fn told_to_leave(life: &OwnedFd) -> bool {
    let mut byte = [0];
    loop {
        match nix::unistd::read(life, &mut byte) {
            Err(Errno::EINTR) => {}
            read => return read == Ok(1),
        }
    }
}

/// Ends the process at once, other threads and all.
fn leave(status: i32) -> ! {
    // SAFETY: _exit runs no handlers and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Forks. In the child: drops every privilege, proves it, and runs `child`,
/// whose value is its exit status. In the parent: becomes the user for good,
/// proves it, and returns.
///
/// `config` is the one descriptor besides 0 to 2 and the pipes that the child
/// keeps. No thread may exist, and nothing may have been logged.
///
/// # Errors
/// [`Error::Fault`]; there is no child then.
pub fn separate(
    standing: Standing,
    user: Option<&PrivsepUser>,
    config: Option<File>,
    child: impl FnOnce(Option<File>, ChildEnds) -> i32,
) -> Result<Parent, Error> {
    let pipe =
        || pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::fault("make a pipe", errno.desc()));
    let (verdict_read, verdict_write) = pipe()?;
    let (life_read, life_write) = pipe()?;
    let signals = SignalFd::with_flags(
        &watched_signals(),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )
    .map_err(|errno| Error::fault("watch signals", errno.desc()))?;

    // SAFETY: this process has one thread, so the child may do anything that we may.
    match unsafe { fork() } {
        Err(errno) => Err(Error::fault("fork", errno.desc())),
        Ok(ForkResult::Child) => {
            let ends = ChildEnds {
                verdict: File::from(verdict_write),
                life: life_read,
            };
            let kept = [
                config.as_ref().map(|file| file.as_raw_fd()),
                Some(ends.verdict.as_raw_fd()),
                Some(ends.life.as_raw_fd()),
            ];
            if let Err(error) = confine(standing, user, kept) {
                // The parent reports what the child could not: it has no log yet.
                let mut ends = ends;
                let _ = ends.send(&format!("{FAULT_MARK}{error}"));
                leave(1);
            }
            // What confine closed is closed; forget the owners of those numbers.
            std::mem::forget((verdict_read, life_write, signals));
            leave(child(config, ends))
        }
        Ok(ForkResult::Parent { child }) => {
            drop((verdict_write, life_read, config));
            let mut parent = Parent {
                child,
                verdict: File::from(verdict_read),
                life: Some(File::from(life_write)),
                signals,
            };
            if let Err(error) = become_the_user(standing) {
                parent.let_go();
                parent.reap();
                return Err(error);
            }
            Ok(parent)
        }
    }
}

/// Begins the record of a child that could not even confine itself.
pub const FAULT_MARK: &str = "fault: ";

// ---------------------------------------------------------------------------
// The child's side of the wall

/// Leaves the child nothing but its descriptors and its name.
fn confine(
    standing: Standing,
    user: Option<&PrivsepUser>,
    kept: [Option<RawFd>; 3],
) -> Result<(), Error> {
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ] {
        set_disposition(signal, SigHandler::SigDfl)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|errno| Error::fault("unblock signals", errno.desc()))?;

    raise_limits()?;
    match (standing, user) {
        (Standing::Plain, _) => {}
        (_, Some(user)) => irrevocably_become(user)?,
        (_, None) => return Err(Error::Fault("nobody to drop privileges to".to_owned())),
    }

    // After the drop, which resets it to fs.suid_dumpable: no core, and no other
    // process of this uid may trace us or open our descriptors.
    prctl::set_dumpable(false).map_err(|errno| Error::fault("forbid tracing", errno.desc()))?;
    if prctl::get_dumpable() != Ok(false) {
        return Err(Error::Fault(
            "couldn't forbid tracing: it is still allowed".to_owned(),
        ));
    }
    prctl::set_no_new_privs()
        .map_err(|errno| Error::fault("forbid new privileges", errno.desc()))?;
    chdir("/").map_err(|errno| Error::fault("change to '/'", errno.desc()))?;

    // Whatever a library may print, a file that scp or git carries stays whole.
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(|error| Error::fault("open '/dev/null'", crate::error::system_words(&error)))?;
    dup2_stdout(&null).map_err(|errno| Error::fault("redirect stdout", errno.desc()))?;
    drop(null);
    close_all_but(kept)
}

/// Enough for TLS, a resolver and a thread or two; less is refused now, since
/// later it would look like Duo being down.
const NEEDS: [(Resource, rlim_t); 4] = [
    (Resource::RLIMIT_NOFILE, 64),
    (Resource::RLIMIT_AS, 256 << 20),
    (Resource::RLIMIT_DATA, 256 << 20),
    (Resource::RLIMIT_CPU, 60),
];

/// Undoes the caller's limits as far as we may, and refuses too little.
fn raise_limits() -> Result<(), Error> {
    for (resource, wanted) in [
        (Resource::RLIMIT_NOFILE, 1024),
        (Resource::RLIMIT_AS, RLIM_INFINITY),
        (Resource::RLIMIT_DATA, RLIM_INFINITY),
        (Resource::RLIMIT_CPU, RLIM_INFINITY),
        (Resource::RLIMIT_FSIZE, RLIM_INFINITY),
        (Resource::RLIMIT_NPROC, RLIM_INFINITY),
        (Resource::RLIMIT_STACK, 8 << 20),
    ] {
        let (_, hard) = limit(resource)?;
        // Without CAP_SYS_RESOURCE the hard limit is as far as it goes.
        if setrlimit(resource, wanted, wanted.max(hard)).is_err() {
            let _ = setrlimit(resource, wanted.min(hard), hard);
        }
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .map_err(|errno| Error::fault("forbid core files", errno.desc()))?;

    for (resource, need) in NEEDS {
        let (soft, _) = limit(resource)?;
        if soft < need {
            return Err(Error::Fault(format!(
                "{resource:?} is {soft}, and {need} is needed"
            )));
        }
    }
    Ok(())
}

fn limit(resource: Resource) -> Result<(rlim_t, rlim_t), Error> {
    getrlimit(resource).map_err(|errno| Error::fault("read a limit", errno.desc()))
}

/// Drops to `user`, for good, and proves it.
fn irrevocably_become(user: &PrivsepUser) -> Result<(), Error> {
    let dropping = |errno: Errno| Error::fault("drop privileges", errno.desc());
    setgroups(&[user.gid]).map_err(dropping)?;
    setresgid(user.gid, user.gid, user.gid).map_err(dropping)?;
    setresuid(user.uid, user.uid, user.uid).map_err(dropping)?;
    clear_capabilities()?;

    if getgroups().map_err(dropping)? != [user.gid] {
        return Err(Error::Fault(
            "couldn't drop privileges: groups remain".to_owned(),
        ));
    }
    prove_ids(user.uid, user.gid)
}

/// Becomes the caller, whose session this will be; supplementary groups are
/// theirs already.
fn become_the_user(standing: Standing) -> Result<(), Error> {
    if standing != Standing::Setuid {
        return Ok(());
    }
    let dropping = |errno: Errno| Error::fault("drop privileges", errno.desc());
    let uid = getresuid().map_err(dropping)?.real;
    let gid = getresgid().map_err(dropping)?.real;
    setresgid(gid, gid, gid).map_err(dropping)?;
    setresuid(uid, uid, uid).map_err(dropping)?;
    prove_ids(uid, gid)?;

    // The parent is the user's own process from here on, but holds the door: a
    // debugger in it would be Duo's yes. The session's exec undoes this.
    prctl::set_dumpable(false).map_err(|errno| Error::fault("forbid tracing", errno.desc()))?;
    if prctl::get_dumpable() != Ok(false) {
        return Err(Error::Fault(
            "couldn't forbid tracing: it is still allowed".to_owned(),
        ));
    }
    Ok(())
}

/// Proves that this process is `uid` and `gid`, wholly and for good.
fn prove_ids(uid: Uid, gid: Gid) -> Result<(), Error> {
    let failed = || Error::Fault("couldn't drop privileges: they came back".to_owned());
    let uids = getresuid().map_err(|_| failed())?;
    let gids = getresgid().map_err(|_| failed())?;
    let stay = [uids.real, uids.effective, uids.saved]
        .iter()
        .all(|id| *id == uid)
        && [gids.real, gids.effective, gids.saved]
            .iter()
            .all(|id| *id == gid);
    let root = Uid::from_raw(0);
    let back = setresuid(root, root, root).is_ok()
        || nix::unistd::setuid(root).is_ok()
        || nix::unistd::seteuid(root).is_ok();
    let (effective, permitted, _) = capabilities()?;
    if stay && !back && effective == 0 && permitted == 0 {
        Ok(())
    } else {
        Err(failed())
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`, capset(2).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWords {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// This thread's sets: effective, permitted, inheritable.
fn capabilities() -> Result<(u64, u64, u64), Error> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut words = [CapabilityWords::default(); 2];
    // SAFETY: version 3 writes two sets of words, and both arguments outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    if result != 0 {
        return Err(Error::fault("read the capabilities", Errno::last().desc()));
    }
    let [low, high] = words;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((
        join(low.effective, high.effective),
        join(low.permitted, high.permitted),
        join(low.inheritable, high.inheritable),
    ))
}

/// Empties every capability set of this process, and proves it.
fn clear_capabilities() -> Result<(), Error> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let none = [CapabilityWords::default(); 2];
    // SAFETY: version 3 reads two sets of words, and both arguments outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, none.as_ptr()) };
    if result != 0 || capabilities()? != (0, 0, 0) {
        return Err(Error::Fault(
            "couldn't drop privileges: capabilities remain".to_owned(),
        ));
    }
    Ok(())
}

/// Closes every descriptor but 0 to 2 and `kept`.
fn close_all_but(kept: [Option<RawFd>; 3]) -> Result<(), Error> {
    let mut kept: Vec<u32> = kept
        .into_iter()
        .flatten()
        .filter_map(|fd| u32::try_from(fd).ok())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    let mut gaps = Vec::new();
    for fd in kept.iter().copied().filter(|fd| *fd >= 3) {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = fd + 1;
    }
    gaps.push((first, u32::MAX));
    for (first, last) in gaps {
        // SAFETY: closing descriptors touches no memory; `separate` forgets the owners.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) };
        if result != 0 {
            // Before Linux 5.9.
            return close_listed(&kept);
        }
    }
    Ok(())
}

fn close_listed(kept: &[u32]) -> Result<(), Error> {
    let listing = |error: std::io::Error| {
        Error::fault("list the descriptors", crate::error::system_words(&error))
    };
    let mut spare = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(listing)? {
        let name = entry.map_err(listing)?.file_name();
        if let Some(fd) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && fd > 2
            && !kept.contains(&fd)
        {
            spare.push(fd);
        }
    }
    for fd in spare {
        // The listing's own descriptor is among them, and closed already.
        let _ = close(RawFd::try_from(fd).unwrap_or(-1));
    }
    Ok(())
}

// ---------------------------------------------------------------------------
// The parent's side

/// The parent, waiting for the two keys.
pub struct Parent {
    child: Pid,
    verdict: File,
    life: Option<File>,
    signals: SignalFd,
}

/// How the child's life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Killed(Signal),
    /// The person left first: why.
    Left(&'static str),
    /// It neither ends nor can be ended.
    Stuck,
}

/// What the parent knows once the child is gone.
pub struct Report {
    /// What the child wrote on the verdict pipe.
    pub records: Vec<u8>,
    /// How it ended.
    pub end: End,
}

/// More than the child ever writes.
const LONGEST_REPORT: u64 = 256 * 1024;

/// How long a child that was let go may take to end.
const REAPING: Duration = Duration::from_secs(5);

impl Parent {
    /// Waits until the child has ended or the person has gone, and reaps it.
    ///
    /// # Errors
    /// [`Error::Fault`] if waiting itself fails.
    pub fn wait(mut self) -> Result<Report, Error> {
        let mut records = Vec::new();
        let listened = self.listen(&mut records);
        if listened != Ok(None) {
            self.let_go();
        }
        // A child that has said all ends by itself: told to go, it could not
        // choose its exit status.
        let (end, signalled) = self.reap();
        self.let_go();
        // A signal or a hang-up may have come together with the verdict.
        let left = listened?
            .or(signalled)
            .or(self.look_around(PollTimeout::ZERO)?.left);
        Ok(Report {
            records,
            end: left.map_or(end, End::Left),
        })
    }

    /// Collects records until the child closes its pipe; if the person goes
    /// first, says why.
    fn listen(&mut self, records: &mut Vec<u8>) -> Result<Option<&'static str>, Error> {
        loop {
            let seen = self.look_around(PollTimeout::NONE)?;
            if seen.left.is_some() {
                return Ok(seen.left);
            }
            if !seen.verdict {
                continue;
            }
            let mut chunk = [0; 4096];
            let read = match self.verdict.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| {
                    Error::fault("read the verdict", crate::error::system_words(&error))
                })?,
            };
            records.extend_from_slice(chunk.get(..read).unwrap_or_default());
            let flood = u64::try_from(records.len()).is_ok_and(|length| length > LONGEST_REPORT);
            if read == 0 || flood {
                return Ok(None);
            }
        }
    }

    /// One look at everything that may happen, for as long as `timeout`.
    fn look_around(&self, timeout: PollTimeout) -> Result<Seen, Error> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut watched = vec![
            (Source::Verdict, self.verdict.as_fd()),
            (Source::Signals, self.signals.as_fd()),
            (Source::Output, stdout.as_fd()),
            (Source::Output, stderr.as_fd()),
        ];
        if stdin.is_terminal() {
            watched.push((Source::Terminal, stdin.as_fd()));
        }
        let mut seen = Seen::default();
        let mut outputs_gone = 0;
        loop {
            let mut fds: Vec<PollFd<'_>> = watched
                .iter()
                .map(|(source, fd)| PollFd::new(*fd, source.events()))
                .collect();
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::fault("wait for the verdict", errno.desc())),
            }
            let happened: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
            let mut keep = Vec::new();
            for ((source, fd), happened) in watched.into_iter().zip(happened) {
                match (source, happened) {
                    (Source::Verdict, true) => seen.verdict = true,
                    (Source::Signals, true) => seen.left = self.signal()?.or(seen.left),
                    (Source::Terminal, true) => seen.left = Some("the terminal was closed"),
                    (Source::Output, true) => {
                        // Not watched on: its error would wake us at once, for ever.
                        outputs_gone += 1;
                        continue;
                    }
                    (_, false) => {}
                }
                keep.push((source, fd));
            }
            watched = keep;
            if outputs_gone == 2 {
                seen.left = Some("the connection was closed");
            }
            if seen.verdict || seen.left.is_some() || timeout == PollTimeout::ZERO {
                return Ok(seen);
            }
        }
    }

    /// Takes the pending signals; says why the person left, if they did.
    fn signal(&self) -> Result<Option<&'static str>, Error> {
        let mut left = None;
        loop {
            let info = match self.signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(Errno::EAGAIN) => return Ok(left),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::fault("read a signal", errno.desc())),
            };
            let signal = i32::try_from(info.ssi_signo)
                .ok()
                .and_then(|n| Signal::try_from(n).ok());
            left = match signal {
                Some(Signal::SIGCHLD) => left,
                Some(Signal::SIGINT) => Some("interrupted"),
                Some(Signal::SIGHUP) => Some("hung up"),
                _ => Some("terminated"),
            };
        }
    }

    /// Tells the child to go, quietly: the parent writes the last line.
    fn let_go(&mut self) {
        if let Some(mut life) = self.life.take() {
            let _ = life.write_all(b".");
        }
    }

    /// Waits for the child's end, but not for ever: it may have been stopped by
    /// someone whom we cannot overrule. Also says why the person left, if a
    /// signal said so meanwhile.
    fn reap(&mut self) -> (End, Option<&'static str>) {
        let give_up = Instant::now() + REAPING;
        let mut left = None;
        loop {
            match waitpid(self.child, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => return (End::Exited(status), left),
                Ok(WaitStatus::Signaled(_, signal, _)) => return (End::Killed(signal), left),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return (End::Stuck, left),
            }
            let remaining = give_up.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                // Works where both have one uid, or the parent is root's.
                if kill(self.child, Signal::SIGKILL).is_ok() {
                    let _ = waitpid(self.child, None);
                }
                return (End::Stuck, left);
            }
            let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::ZERO);
            let _ = poll(
                &mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)],
                timeout,
            );
            left = self.signal().unwrap_or_default().or(left);
        }
    }
}

/// What the parent watches while it waits.
#[derive(Clone, Copy)]
enum Source {
    /// The child's records, or its end.
    Verdict,
    /// Signals to us, and the child's end.
    Signals,
    /// Descriptor 0 as a terminal: a hang-up.
    Terminal,
    /// Descriptors 1 and 2: when both are broken, nobody is at the other end.
    Output,
}

impl Source {
    fn events(self) -> PollFlags {
        match self {
            Source::Verdict | Source::Signals => PollFlags::POLLIN,
            // Errors and hang-ups are reported in any case.
            Source::Terminal | Source::Output => PollFlags::empty(),
        }
    }
}

#[derive(Default)]
struct Seen {
    verdict: bool,
    left: Option<&'static str>,
}
