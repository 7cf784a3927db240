//! Starting the helper so that the host does not notice. sshd, sudo and login reap
//! children of their own, and handle or ignore SIGCHLD; a child of this module's must
//! not come into their way.
//!
//! So there is a process between. It is made with an exit signal of 0, for which the
//! host gets no SIGCHLD and no answer from `waitpid(-1)`, whatever the host does with
//! SIGCHLD. It starts the helper and ends at once, so the helper belongs to init, and
//! this module reaps the process between by its id with `__WALL`.
//!
//! Between clone and execve only raw system calls happen: another thread of the host
//! may hold a lock of the C library's, which nobody would ever release in the copy.

use core::ffi::{CStr, c_char, c_int, c_long};

use crate::descriptor::Descriptor;
use crate::log;

/// The helper's path (`LOGIN_DUO_HELPER` at build time).
#[macro_export]
macro_rules! helper_path {
    () => {
        env!("PAM_DUO_HELPER")
    };
}

/// `before`, the helper's path and `after`, as bytes.
#[macro_export]
macro_rules! concat_helper {
    ($before:literal, $after:literal) => {
        concat!($before, $crate::helper_path!(), $after).as_bytes()
    };
}

const HELPER: &[u8] = concat_helper!("", "\0");

/// What the pipe holds if the helper could not be executed.
pub const NOT_STARTED: u8 = b'!';

/// The most arguments that a line of a stack may give this module.
const MOST_ARGUMENTS: usize = 60;

/// A helper that was started.
pub struct Started {
    /// The socket for packets.
    pub socket: Descriptor,
    /// The pipe with the ruling.
    pub pipe: Descriptor,
}

/// Starts the helper, with this process's id, `account` and `arguments` as its arguments.
///
/// # Errors
/// Why not, for the log.
pub fn start(account: Option<u32>, arguments: &[*const c_char]) -> Result<Started, &'static str> {
    let pid = number(Some(log::own_pid()));
    let account = number(account);
    // The helper's name, two numbers, the arguments, and a null pointer at the end.
    let mut argv = [core::ptr::null::<c_char>(); MOST_ARGUMENTS + 4];
    if arguments.len() > MOST_ARGUMENTS {
        return Err("too many arguments in the line of the PAM stack");
    }
    let first = [
        HELPER.as_ptr().cast(),
        pid.as_ptr().cast(),
        account.as_ptr().cast(),
    ];
    for (to, from) in argv.iter_mut().zip(first.iter().chain(arguments)) {
        *to = *from;
    }

    const NO_PIPE: &str = "couldn't make a pipe or a socket";
    let (socket, socket_of_helper) = socket_pair().ok_or(NO_PIPE)?;
    let (pipe, pipe_of_helper) = pipe().ok_or(NO_PIPE)?;
    let ends = [socket_of_helper.number(), pipe_of_helper.number()];
    match run(&argv, ends) {
        true => Ok(Started { socket, pipe }),
        false => Err("couldn't start a process"),
    }
}

/// A number as a C string; an empty one where there is no number.
fn number(number: Option<u32>) -> [u8; 11] {
    let mut digits = [0; 10];
    let mut text = [0; 11];
    if let Some(number) = number {
        for (to, from) in text.iter_mut().zip(log::decimal(number, &mut digits)) {
            *to = *from;
        }
    }
    text
}

fn socket_pair() -> Option<(Descriptor, Descriptor)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the call writes two numbers.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    owned(made, fds)
}

fn pipe() -> Option<(Descriptor, Descriptor)> {
    let mut fds = [-1; 2];
    // SAFETY: the call writes two numbers.
    let made = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) };
    owned(made, fds)
}

fn owned(made: c_int, [one, two]: [c_int; 2]) -> Option<(Descriptor, Descriptor)> {
    if made != 0 {
        return None;
    }
    // Both are owned before one of them may fail to move.
    let (one, two) = (Descriptor::own(one), Descriptor::own(two));
    Some((one?, two?))
}

/// Makes the process between and reaps it. Returns whether it has started the helper.
fn run(argv: &[*const c_char], ends: [c_int; 2]) -> bool {
    // A handler of the host's must not run in the copies, nor a signal end them halfway.
    let all = u64::MAX;
    let mut before = 0_u64;
    // SAFETY: raw system calls with pointers to numbers of the size that they are told.
    unsafe {
        set_mask(&raw const all, &raw mut before);
        let between = clone(0);
        if between == 0 {
            become_the_process_between(argv, ends);
        }
        let mut status = -1;
        if between > 0 {
            libc::syscall(
                libc::SYS_wait4,
                between,
                &raw mut status,
                libc::__WALL,
                core::ptr::null::<u8>(),
            );
        }
        set_mask(&raw const before, core::ptr::null_mut());
        status == 0
    }
}

/// Sets the signal mask of this thread, with the signals that the C library keeps for
/// itself.
///
/// # Safety
/// Both are null or point to a number.
unsafe fn set_mask(mask: *const u64, before: *mut u64) {
    // SAFETY: the kernel's set has 64 bits.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            mask,
            before,
            size_of::<u64>(),
        )
    };
}

/// Copies this process, as fork(2) does, and nothing of the C library's runs. The copy
/// tells its end by `exit_signal`. Returns 0 in the copy.
///
/// # Safety
/// The copy may only make system calls.
unsafe fn clone(exit_signal: c_int) -> c_long {
    const NONE: c_long = 0;
    #[cfg(not(target_arch = "s390x"))]
    let (first, second) = (c_long::from(exit_signal), NONE);
    #[cfg(target_arch = "s390x")]
    let (first, second) = (NONE, c_long::from(exit_signal));
    // SAFETY: without CLONE_VM the copy has memory and a stack of its own.
    unsafe { libc::syscall(libc::SYS_clone, first, second, NONE, NONE, NONE) }
}

/// `struct clone_args`, clone(2), as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Copies this process, and the copy begins in the root of the control groups of version
/// 2. The helper would leave the host's control group anyway, but for a move the kernel
/// waits until no processor is in the midst of a fork: 12 ms and more on a busy machine.
/// Where this cannot be done, the copy stays where it is. It ends with SIGCHLD.
///
/// # Safety
/// The copy may only make system calls.
unsafe fn clone_into_the_root_group() -> c_long {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: system calls on numbers, C strings, and one structure that outlives them.
    unsafe {
        // Beside version 1, systemd mounts version 2 below it.
        for path in [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"] {
            let group = libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC,
            );
            let Ok(cgroup) = u64::try_from(group) else {
                continue;
            };
            let arguments = CloneArguments {
                flags: CLONE_INTO_CGROUP,
                exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
                cgroup,
                ..CloneArguments::default()
            };
            let size = size_of::<CloneArguments>();
            let copy = libc::syscall(libc::SYS_clone3, &raw const arguments, size);
            // In the copy the descriptor closes on exec.
            if copy >= 0 {
                return copy;
            }
            libc::syscall(libc::SYS_close, group);
        }
        clone(libc::SIGCHLD)
    }
}

/// Becomes root alone, starts the helper, and ends: with 0 if it was started.
fn become_the_process_between(argv: &[*const c_char], ends: [c_int; 2]) -> ! {
    // SAFETY: system calls on numbers and on memory of this copy.
    unsafe {
        // The user who runs sudo may stop a process whose real user id is theirs.
        let is_root = libc::syscall(libc::SYS_setresgid, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_setgroups, 0, core::ptr::null::<u8>()) == 0
            && libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0;
        if !is_root {
            exit(1);
        }
        match clone_into_the_root_group() {
            0 => become_the_helper(argv, ends),
            1.. => exit(0),
            _ => exit(1),
        }
    }
}

/// Gives the helper its descriptors and executes it. If that fails, the pipe says so.
///
/// # Safety
/// `argv` ends with a null pointer.
unsafe fn become_the_helper(argv: &[*const c_char], ends: [c_int; 2]) -> ! {
    /// Above each number that the helper's descriptors get.
    const FREE: c_int = 10;
    let environment = [core::ptr::null::<c_char>()];
    let is_debugged = argv.iter().skip(3).any(|argument| {
        // SAFETY: the arguments are C strings up to the null pointer.
        !argument.is_null() && unsafe { CStr::from_ptr(*argument) }.to_bytes() == b"debug"
    });
    // SAFETY: system calls on numbers and on memory of this copy.
    unsafe {
        let [socket, pipe] =
            ends.map(|end| libc::syscall(libc::SYS_fcntl, end, libc::F_DUPFD, FREE));
        let null = libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            c"/dev/null".as_ptr(),
            libc::O_RDWR,
        );
        let put = |from: c_long, to: c_int| libc::syscall(libc::SYS_dup3, from, to, 0) >= 0;
        // What debug shows goes to the host's own stderr. The socket and the pipe come
        // last, since `null` may have one of their numbers.
        let has_all = put_null(null, 0)
            && put_null(null, 1)
            && (is_debugged || put_null(null, 2))
            && put(socket, pam_wire::SOCKET)
            && put(pipe, pam_wire::PIPE);
        if has_all {
            libc::syscall(
                libc::SYS_execve,
                HELPER.as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
            );
        }
        let told = [NOT_STARTED];
        libc::syscall(libc::SYS_write, pipe, told.as_ptr(), told.len());
        exit(1)
    }
}

/// Puts `null` in the place of `to`, unless it stands there already.
///
/// # Safety
/// Only system calls: none.
unsafe fn put_null(null: c_long, to: c_int) -> bool {
    // SAFETY: a system call on numbers.
    null >= 0
        && (null == c_long::from(to) || unsafe { libc::syscall(libc::SYS_dup3, null, to, 0) } >= 0)
}

fn exit(status: c_int) -> ! {
    loop {
        // SAFETY: ends this copy at once.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}
