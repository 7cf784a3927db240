//! Which system calls the two filters know. The child's has what it must never make,
//! since nobody knows all the calls of the modules that look up names and accounts. The
//! parent of the helper runs our code alone, so its filter has what it may make. Reasons
//! for each line: docs/security.md, *The sandbox*.

use nix::libc::{self, c_long};
use nix::unistd::Pid;

use super::filter::{Answer, Filter, Rule};

const ALLOW: Rule = Rule::Always(Answer::Allow);
const KILL: Rule = Rule::Always(Answer::Kill);

/// The newest call that was looked at for these tables, `open_tree_attr`. Newer ones fail
/// with ENOSYS, as on an older kernel: a C library is prepared for that.
pub(super) const NEWEST: u32 = 467;

/// Calls that the C library's headers do not have yet. New calls have one number on all
/// processors.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;

/// Calls in the order of their numbers, which processors do not share.
#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the compiler runs this, and does not compile a wrong index or number"
)]
const fn sorted<const N: usize>(calls: &[c_long]) -> [u16; N] {
    let mut sorted = [0; N];
    let mut filled = 0;
    while filled < N {
        assert!(calls[filled] >= 0 && calls[filled] <= NEWEST as c_long);
        let number = calls[filled] as u16;
        let mut at = filled;
        while at > 0 && sorted[at - 1] > number {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = number;
        filled += 1;
    }
    sorted
}

/// The number of one call.
const fn one(call: c_long) -> u16 {
    let [number] = sorted(&[call]);
    number
}

/// The filter of the child `own`: what it may never do.
pub(super) fn of_child(own: Pid) -> Filter<'static> {
    const PLAIN: [u16; FORBIDDEN.len()] = sorted(FORBIDDEN);
    Filter {
        special: CONDITIONAL,
        plain: &PLAIN,
        answer: Answer::Kill,
        otherwise: Answer::Allow,
        process: own,
    }
}

const FORBIDDEN: &[c_long] = &[
    // To become another program.
    libc::SYS_execve,
    libc::SYS_execveat,
    // To reach into another process. All children have one user id.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    // To take privileges back.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // To change what the machine is made of.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    // Parts of the kernel that are large, or had many holes, and that no lookup needs.
    libc::SYS_bpf,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_perf_event_open,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // What Landlock does not see: attributes of files, and a port that listens without
    // having been bound.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    libc::SYS_utimensat,
    libc::SYS_listen,
    // The same, as only this processor has it.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

const CONDITIONAL: &[(u16, Rule)] = &[
    // The arguments of clone3 are behind a pointer, which a filter cannot follow: without
    // clone3, a C library takes clone.
    (
        one(libc::SYS_clone3),
        Rule::Always(Answer::Fail(libc::ENOSYS)),
    ),
    (one(libc::SYS_clone), CLONE),
    #[cfg(target_arch = "x86_64")]
    (one(libc::SYS_fork), NO_PROCESS),
    #[cfg(target_arch = "x86_64")]
    (one(libc::SYS_vfork), NO_PROCESS),
    // A process ends itself by a signal where it panics.
    (one(libc::SYS_kill), Rule::ForProcess),
    (one(libc::SYS_tgkill), Rule::ForProcess),
    (one(libc::SYS_prlimit64), PRLIMIT),
    (one(libc::SYS_socket), SOCKET),
    (one(libc::SYS_ioctl), IOCTL),
    // On ext4, room beyond the end of a file is not held to RLIMIT_FSIZE, so that a child
    // could fill the disk by its file of emergency codes.
    (
        one(libc::SYS_fallocate),
        Rule::Always(Answer::Fail(libc::EOPNOTSUPP)),
    ),
    (one(libc::SYS_sendto), fast_open(3)),
    (one(libc::SYS_sendmsg), fast_open(2)),
    (one(libc::SYS_sendmmsg), fast_open(3)),
];

/// A process that is started here would outlive the login. A module that tries is told
/// that it may not.
const NO_PROCESS: Rule = Rule::Always(Answer::Fail(libc::EPERM));

/// Threads alone, and no new namespace.
const CLONE: Rule = Rule::ByArgument {
    argument: 0,
    mask: bits(
        libc::CLONE_NEWNS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET,
    ),
    values: &[0],
    then: &Rule::ByArgument {
        argument: 0,
        mask: bits(libc::CLONE_THREAD),
        values: &[bits(libc::CLONE_THREAD)],
        then: &ALLOW,
        otherwise: &NO_PROCESS,
    },
    otherwise: &KILL,
};

/// The limits of this process, which asks for them by the number 0.
const PRLIMIT: Rule = Rule::ByArgument {
    argument: 0,
    mask: u32::MAX,
    values: &[0],
    then: &ALLOW,
    otherwise: &KILL,
};

/// Sockets of this machine; the routes of the kernel, which order addresses; TCP and UDP,
/// and nothing that Landlock does not take for TCP though it may become TCP (MPTCP).
const SOCKET: Rule = Rule::ByArgument {
    argument: 0,
    mask: u32::MAX,
    values: &[bits(libc::AF_UNIX)],
    then: &ALLOW,
    otherwise: &Rule::ByArgument {
        argument: 0,
        mask: u32::MAX,
        values: &[bits(libc::AF_INET), bits(libc::AF_INET6)],
        then: &Rule::ByArgument {
            argument: 1,
            // Without SOCK_CLOEXEC and SOCK_NONBLOCK.
            mask: 0xf,
            values: &[bits(libc::SOCK_STREAM), bits(libc::SOCK_DGRAM)],
            then: &Rule::ByArgument {
                argument: 2,
                mask: u32::MAX,
                values: &[0, bits(libc::IPPROTO_TCP), bits(libc::IPPROTO_UDP)],
                then: &ALLOW,
                otherwise: &KILL,
            },
            otherwise: &KILL,
        },
        otherwise: &Rule::ByArgument {
            argument: 0,
            mask: u32::MAX,
            values: &[bits(libc::AF_NETLINK)],
            then: &Rule::ByArgument {
                argument: 2,
                mask: u32::MAX,
                values: &[bits(libc::NETLINK_ROUTE)],
                then: &ALLOW,
                otherwise: &KILL,
            },
            otherwise: &KILL,
        },
    },
};

/// No words into the person's terminal, as if they had been typed, no other driver for its
/// line, and no fallocate(2) by its older names.
const IOCTL: Rule = Rule::ByArgument {
    argument: 1,
    mask: u32::MAX,
    values: &[
        TIOCSTI,
        TIOCLINUX,
        TIOCSETD,
        FS_IOC_RESVSP,
        FS_IOC_RESVSP64,
        FS_IOC_ZERO_RANGE,
    ],
    then: &KILL,
    otherwise: &ALLOW,
};

/// ioctl_tty(2), TIOCSETD of TIOCSETD(2const).
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541C;
const TIOCSETD: u32 = 0x5423;

/// linux/falloc.h: `_IOW('X', 40, struct space_resv)`, of 48 bytes; 42; and 57.
const FS_IOC_RESVSP: u32 = 0x4030_5828;
const FS_IOC_RESVSP64: u32 = 0x4030_582A;
const FS_IOC_ZERO_RANGE: u32 = 0x4030_5839;

/// No connection by the first bytes that are sent: Landlock does not see it.
const fn fast_open(argument: u32) -> Rule {
    Rule::ByArgument {
        argument,
        mask: bits(libc::MSG_FASTOPEN),
        values: &[0],
        then: &ALLOW,
        otherwise: &KILL,
    }
}

/// The filter of the parent of `child`, where it executes nothing afterwards: what it may
/// do while it waits.
pub(super) fn of_parent(child: Pid) -> Filter<'static> {
    const PLAIN: [u16; WAITING.len()] = sorted(WAITING);
    Filter {
        special: RESTRICTED,
        plain: &PLAIN,
        answer: Answer::Allow,
        otherwise: Answer::Kill,
        process: child,
    }
}

const WAITING: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_wait4,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Its time.
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    // Its memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    // Its signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_setitimer,
    libc::SYS_getpid,
    libc::SYS_gettid,
];

const RESTRICTED: &[(u16, Rule)] = &[
    (one(libc::SYS_kill), Rule::ForProcess),
    (one(libc::SYS_sendto), TO_NOBODY_ELSE),
    (one(libc::SYS_mmap), NO_CODE),
    (one(libc::SYS_fcntl), FCNTL),
    // Where syslog was restarted in the meantime, the line is lost, and the ruling is not.
    (
        one(libc::SYS_socket),
        Rule::Always(Answer::Fail(libc::EACCES)),
    ),
    (
        one(libc::SYS_connect),
        Rule::Always(Answer::Fail(libc::EACCES)),
    ),
    (
        one(libc::SYS_openat),
        Rule::Always(Answer::Fail(libc::EACCES)),
    ),
];

/// The log, the audit record, and texts for the host: through the sockets that it has, to
/// where these are connected.
const TO_NOBODY_ELSE: Rule = Rule::ByArgument {
    argument: 4,
    mask: u32::MAX,
    values: &[0],
    then: &ALLOW,
    otherwise: &KILL,
};

/// No memory that can be executed.
const NO_CODE: Rule = Rule::ByArgument {
    argument: 2,
    mask: bits(libc::PROT_EXEC),
    values: &[0],
    then: &ALLOW,
    otherwise: &KILL,
};

/// A debug build of the standard library asks of each descriptor that it closes whether
/// it is open.
const FCNTL: Rule = Rule::ByArgument {
    argument: 1,
    mask: u32::MAX,
    values: &[bits(libc::F_GETFD)],
    then: &ALLOW,
    otherwise: &KILL,
};

/// The bits of a constant of the C library.
const fn bits(constant: i32) -> u32 {
    constant.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::answer;
    use super::*;

    const OWN: Pid = Pid::from_raw(4321);

    fn of_child_at(call: c_long, arguments: &[u32]) -> Answer {
        answer(of_child(OWN), one(call).into(), arguments)
    }

    #[test]
    fn each_forbidden_call_kills_and_no_other() {
        for call in FORBIDDEN {
            assert_eq!(of_child_at(*call, &[]), Answer::Kill, "{call}");
        }
        let special: Vec<u16> = CONDITIONAL.iter().map(|(number, _)| *number).collect();
        for number in 0..=NEWEST {
            let is_known = FORBIDDEN.iter().any(|call| u32::from(one(*call)) == number)
                || special.iter().any(|call| u32::from(*call) == number);
            if !is_known {
                let found = answer(of_child(OWN), number, &[]);
                assert_eq!(found, Answer::Allow, "{number}");
            }
        }
    }

    #[test]
    fn a_thread_may_be_started_but_no_process_and_no_namespace() {
        let thread = bits(libc::CLONE_THREAD | libc::CLONE_VM);
        for (flags, expected) in [
            (thread, Answer::Allow),
            (bits(libc::SIGCHLD), Answer::Fail(libc::EPERM)),
            (thread | bits(libc::CLONE_NEWUSER), Answer::Kill),
            (bits(libc::CLONE_NEWNS), Answer::Kill),
        ] {
            assert_eq!(
                of_child_at(libc::SYS_clone, &[flags]),
                expected,
                "{flags:#x}"
            );
        }
        let clone3 = of_child_at(libc::SYS_clone3, &[]);
        assert_eq!(clone3, Answer::Fail(libc::ENOSYS));
    }

    #[test]
    fn sockets_are_of_this_machine_tcp_udp_and_routes() {
        let cloexec = bits(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        let (stream, datagram) = (bits(libc::SOCK_STREAM), bits(libc::SOCK_DGRAM));
        let raw = bits(libc::SOCK_RAW);
        const MPTCP: u32 = 262;
        for (family, kind, protocol, expected) in [
            (libc::AF_UNIX, datagram | cloexec, 0, Answer::Allow),
            (libc::AF_INET, stream | cloexec, 0, Answer::Allow),
            (libc::AF_INET6, stream, 6, Answer::Allow),
            (libc::AF_INET, datagram, 17, Answer::Allow),
            (libc::AF_INET, stream, MPTCP, Answer::Kill),
            (libc::AF_INET, raw, 0, Answer::Kill),
            (libc::AF_INET6, bits(libc::SOCK_SEQPACKET), 0, Answer::Kill),
            (libc::AF_NETLINK, raw | cloexec, 0, Answer::Allow),
            (
                libc::AF_NETLINK,
                raw,
                bits(libc::NETLINK_AUDIT),
                Answer::Kill,
            ),
            (libc::AF_PACKET, datagram, 0, Answer::Kill),
            (libc::AF_VSOCK, stream, 0, Answer::Kill),
        ] {
            let found = of_child_at(libc::SYS_socket, &[bits(family), kind, protocol]);
            assert_eq!(found, expected, "{family} {kind} {protocol}");
        }
    }

    #[test]
    fn a_process_reaches_itself_alone() {
        for (call, argument, expected) in [
            (libc::SYS_kill, 4321, Answer::Allow),
            (libc::SYS_kill, 1, Answer::Kill),
            (libc::SYS_tgkill, 4321, Answer::Allow),
            (libc::SYS_tgkill, 4322, Answer::Kill),
            (libc::SYS_prlimit64, 0, Answer::Allow),
            (libc::SYS_prlimit64, 1, Answer::Kill),
        ] {
            assert_eq!(
                of_child_at(call, &[argument]),
                expected,
                "{call} {argument}"
            );
        }
    }

    #[test]
    fn nothing_is_typed_into_the_terminal_and_no_first_bytes_connect() {
        assert_eq!(of_child_at(libc::SYS_ioctl, &[0, TIOCSTI]), Answer::Kill);
        assert_eq!(of_child_at(libc::SYS_ioctl, &[0, 0x5413]), Answer::Allow);
        let fast_open = bits(libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL);
        let send = |flags| of_child_at(libc::SYS_sendto, &[0, 0, 0, flags]);
        assert_eq!(send(bits(libc::MSG_NOSIGNAL)), Answer::Allow);
        assert_eq!(send(fast_open), Answer::Kill);
    }

    #[test]
    fn no_room_is_taken_beyond_the_end_of_a_file() {
        let refused = Answer::Fail(libc::EOPNOTSUPP);
        assert_eq!(of_child_at(libc::SYS_fallocate, &[4, 1]), refused);
        for by_ioctl in [FS_IOC_RESVSP, FS_IOC_RESVSP64, FS_IOC_ZERO_RANGE] {
            assert_eq!(of_child_at(libc::SYS_ioctl, &[4, by_ioctl]), Answer::Kill);
        }
    }

    #[test]
    fn the_parent_of_the_helper_does_what_it_needs_and_nothing_else() {
        let at = |call, arguments: &[u32]| answer(of_parent(OWN), one(call).into(), arguments);
        for call in WAITING {
            assert_eq!(at(*call, &[]), Answer::Allow, "{call}");
        }
        for call in FORBIDDEN {
            assert_eq!(at(*call, &[]), Answer::Kill, "{call}");
        }
        let code = bits(libc::PROT_READ | libc::PROT_EXEC);
        assert_eq!(at(libc::SYS_mmap, &[0, 0, code]), Answer::Kill);
        assert_eq!(at(libc::SYS_sendto, &[7, 1, 2, 0, 0, 0]), Answer::Allow);
        assert_eq!(at(libc::SYS_sendto, &[7, 1, 2, 0, 4096, 110]), Answer::Kill);
        assert_eq!(at(libc::SYS_kill, &[4321]), Answer::Allow);
        assert_eq!(at(libc::SYS_kill, &[1]), Answer::Kill);
        assert_eq!(at(libc::SYS_clone, &[]), Answer::Kill);
    }
}
