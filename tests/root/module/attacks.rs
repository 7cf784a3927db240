//! docs/security.md, attacker U in front of sudo and su, under `failmode = safe`: the
//! user has code execution and the first factor, and root is the prize. Whatever they
//! do, they are not let in without Duo's yes.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use crate::machine::{PASSWORD, PamWorld, code, process};
use crate::support::{
    Ended, ended, read_to_end, run, run_quietly, run_with, side_by_side, start, wait_until,
};

/// The password, and each passcode that sudo and su may ask for, all wrong.
fn wrong_passcodes() -> String {
    format!("{PASSWORD}\n000001\n000001\n000001\n").repeat(3)
}

/// How a user becomes root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Sudo,
    Su,
}

const PROGRAMS: [Program; 2] = [Program::Sudo, Program::Su];

impl Program {
    /// The command, started by that user through a program that sets something.
    fn through(self, world: &PamWorld, user: &str, through: &[&str]) -> Command {
        let mut command = world.as_user(user);
        command.args(through);
        match self {
            Program::Sudo => command.args(["/usr/bin/sudo", "-S", "id"]),
            Program::Su => command.args(["/bin/su", "-c", "id"]),
        };
        command
    }
}

/// Whether `id` ran as root.
pub fn is_root(ended: &Ended) -> bool {
    ended.stdout().contains("uid=0(root)")
}

/// Asserts that nobody was let in, by the output and by the log.
#[track_caller]
fn is_out(world: &PamWorld, ended: &Ended, how: &str) {
    assert!(!is_root(ended), "{how}: {ended:?}");
    assert_ne!(ended.code(), 0, "{how}: {ended:?}");
    world.wait_until_empty();
    for line in world.module_lines() {
        let opens = ["Failsafe", "Successful", "Skipped", "bypassed"];
        let opened = opens.iter().any(|word| line.text.contains(word));
        assert!(!opened, "{how}: {line:?}");
    }
}

/// A login of `manual`, whose phone rings; and the helper's two processes.
fn ringing(
    world: &PamWorld,
    program: Program,
    through: &[&str],
) -> (std::process::Child, i32, i32) {
    use std::io::Write;
    // Whoever runs these tests in the background, or under nohup, ignores signals.
    let through = [&["env", "--default-signal"], through].concat();
    let mut child = start(program.through(world, "manual", &through));
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(format!("{PASSWORD}\n1\n").as_bytes())
        .unwrap();
    let (parent, asks) = world.wait_for_helper();
    (child, parent, asks)
}

pub fn no_limit_at_start_lets_anyone_in_unasked() {
    let limits = [
        "--nofile=3:3",
        "--nofile=4:4",
        "--nofile=5:5",
        "--nofile=8:8",
        "--nofile=10:10",
        "--nofile=16:16",
        "--nofile=8:4096",
        "--fsize=0:0",
        "--nproc=0:0",
        "--nproc=1:1",
        "--as=16777216:16777216",
        "--as=67108864:67108864",
        "--data=1048576:1048576",
        "--cpu=1:1",
        "--stack=65536:65536",
        "--stack=131072:131072",
        "--memlock=0:0",
        "--sigpending=0:0",
        "--msgqueue=0:0",
        "--locks=0:0",
    ];
    side_by_side(&PROGRAMS, |program| {
        let world = PamWorld::new("failmode = safe");
        for limit in limits {
            let su = program.through(&world, "push", &["prlimit", limit]);
            let ended = run_with(su, wrong_passcodes().as_bytes());
            is_out(&world, &ended, limit);
        }
    });
}

pub fn a_low_limit_of_ones_own_does_not_lock_one_out() {
    let limits = ["--nofile=40:4096", "--core=0:0", "--nproc=50:50"];
    side_by_side(&PROGRAMS, |program| {
        let world = PamWorld::new("failmode = secure");
        for limit in limits {
            let su = program.through(&world, "push", &["prlimit", limit]);
            let ended = run_with(su, format!("{PASSWORD}\n123456\n").as_bytes());
            assert!(is_root(&ended), "{program:?} {limit}: {ended:?}");
        }
    });
}

/// Everything that an unprivileged process can try on a running one.
pub fn the_user_can_do_nothing_to_the_helper_and_its_child() {
    side_by_side(&PROGRAMS, |program| {
        let world = PamWorld::new("failmode = safe");
        let (child, parent, asks) = ringing(&world, *program, &[]);
        for pid in [parent, asks] {
            let pid = pid.to_string();
            let proc = format!("/proc/{pid}");
            let tries: Vec<Vec<String>> = [
                format!("kill -KILL {pid}"),
                format!("kill -STOP {pid}"),
                format!("kill -TERM {pid}"),
                format!("kill -INT {pid}"),
                format!("prlimit --pid {pid} --nofile=3:3"),
                format!("prlimit --pid {pid} --cpu=1:1"),
                format!("prlimit --pid {pid} --as=1000000:1000000"),
                format!("renice -n 19 -p {pid}"),
                format!("chrt --idle -p 0 {pid}"),
                format!("taskset -p 1 {pid}"),
                format!("ionice -c 3 -p {pid}"),
                format!("choom -n 1000 -p {pid}"),
                format!("ls {proc}/fd/0"),
                format!("cat {proc}/environ"),
                format!("cat {proc}/maps"),
                format!("head -c 1 {proc}/mem"),
                format!("sh -c echo${{IFS}}1000>{proc}/oom_score_adj"),
                format!("sh -c echo${{IFS}}1>{proc}/timerslack_ns"),
                format!("sh -c echo${{IFS}}1>{proc}/clear_refs"),
                format!("readlink -e {proc}/cwd"),
                format!("readlink -e {proc}/exe"),
            ]
            .iter()
            .map(|text| text.split(' ').map(str::to_owned).collect())
            .collect();
            for words in tries {
                let mut attempt = world.as_user("manual");
                attempt.args(&words);
                let ended = run(attempt);
                assert_ne!(ended.code(), 0, "{program:?} {words:?}: {ended:?}");
            }
        }
        assert!(world.sandbox.duo.approve("manual"));
        let ended = ended(child);
        assert!(is_root(&ended), "unharmed: {ended:?}");
    });
}

pub fn the_user_traces_neither_the_helper_nor_its_host() {
    let world = PamWorld::new("failmode = safe");
    let (child, parent, asks) = ringing(&world, Program::Su, &[]);
    let host = i32::try_from(child.id()).unwrap();
    for pid in [parent, asks, host] {
        let mut strace = world.as_user("manual");
        strace.args([
            "timeout",
            "5",
            "strace",
            "-o",
            "/dev/null",
            "-p",
            &pid.to_string(),
        ]);
        let ended = run(strace);
        assert!(ended.stderr().contains("not permitted"), "{ended:?}");
    }
    assert!(world.sandbox.duo.deny("manual"));
    let ended = ended(child);
    is_out(&world, &ended, "traced");
    // A program that is traced from its start is not setuid.
    for program in PROGRAMS {
        let through = ["strace", "-f", "-o", "/dev/null"];
        let su = program.through(&world, "push", &through);
        let ended = run_with(su, wrong_passcodes().as_bytes());
        is_out(&world, &ended, "traced from its start");
    }
}

/// su keeps its caller's real user id, so its caller may signal it.
pub fn signals_to_su_open_nothing_and_leave_a_line() {
    for signal in ["KILL", "TERM", "INT", "QUIT", "HUP", "ABRT"] {
        let world = PamWorld::new("failmode = safe");
        let (child, _, _) = ringing(&world, Program::Su, &[]);
        let mut shot = world.as_user("manual");
        shot.args(["kill", &format!("-{signal}"), &child.id().to_string()]);
        assert_eq!(run(shot).code(), 0, "{signal}");
        let ended = ended(child);
        assert!(!is_root(&ended), "{signal} {ended:?}");
        let line = world.final_line();
        assert!(line.starts_with("Aborted Duo login for 'manual'"), "{line}");
    }
}

pub fn su_stopped_and_continued_gets_the_verdict_that_came() {
    for approves in [true, false] {
        let world = PamWorld::new("failmode = safe\nprompts = 1");
        let (child, _, _) = ringing(&world, Program::Su, &[]);
        let host = child.id().to_string();
        let send = |name: &str| {
            let mut kill = world.as_user("manual");
            kill.args(["kill", name, &host]);
            assert_eq!(run(kill).code(), 0);
        };
        send("-STOP");
        let settled = match approves {
            true => world.sandbox.duo.approve("manual"),
            false => world.sandbox.duo.deny("manual"),
        };
        assert!(settled);
        // The verdict is in the log while the host stands still.
        let start = if approves { "Successful" } else { "Failed" };
        world.wait_for_log(|text| text.starts_with(&format!("{start} Duo login for 'manual'")));
        send("-CONT");
        let ended = ended(child);
        assert_eq!(is_root(&ended), approves, "{ended:?}");
    }
}

pub fn a_caller_that_ignores_or_blocks_every_signal_gets_the_verdict() {
    let ignores = "$SIG{$_} = 'IGNORE' for qw(CHLD INT TERM HUP QUIT PIPE TSTP USR1 USR2); \
                   exec @ARGV";
    let blocks = "use POSIX; my $all = POSIX::SigSet->new; $all->fillset; \
                  sigprocmask(SIG_BLOCK, $all); exec @ARGV";
    let cases: Vec<_> = PROGRAMS
        .iter()
        .flat_map(|program| [ignores, blocks].map(|script| (*program, script)))
        .collect();
    side_by_side(&cases, |(program, script)| {
        let world = PamWorld::new("failmode = safe");
        let through = ["perl", "-e", script];
        let su = program.through(&world, "push", &through);
        let yes = run_with(su, format!("{PASSWORD}\n123456\n").as_bytes());
        assert!(is_root(&yes), "{program:?} {script}: {yes:?}");
        world.wait_until_empty();
        world.clear_log();
        let su = program.through(&world, "deny", &through);
        let no = run_with(su, wrong_passcodes().as_bytes());
        is_out(&world, &no, script);
    });
}

pub fn no_variable_changes_the_outcome() {
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let proxy = format!("http://{}", trap.local_addr().unwrap());
    let hostile = [
        format!("HTTPS_PROXY={proxy}"),
        format!("https_proxy={proxy}"),
        format!("ALL_PROXY={proxy}"),
        format!("http_proxy={proxy}"),
        "NO_PROXY=*".to_owned(),
        "SSL_CERT_FILE=/nonexistent".to_owned(),
        "SSL_CERT_DIR=/nonexistent".to_owned(),
        "SSLKEYLOGFILE=/srv/tmp/pam-keys".to_owned(),
        "RES_OPTIONS=timeout:30 attempts:5 use-vc".to_owned(),
        "LOCALDOMAIN=example.invalid".to_owned(),
        "RUST_BACKTRACE=full".to_owned(),
        "RUST_MIN_STACK=18446744073709551615".to_owned(),
        "TZ=:/etc/duo/pam_duo.conf".to_owned(),
        "LC_ALL=tlh_QO.KOI8-R".to_owned(),
        "KRB5_CONFIG=/nonexistent".to_owned(),
        "LDAPCONF=/nonexistent".to_owned(),
        "HOME=/nonexistent".to_owned(),
        "USER=allow".to_owned(),
        "LOGNAME=allow".to_owned(),
        "SUDO_USER=allow".to_owned(),
        "PAM_USER=allow".to_owned(),
        "DUO_PASSCODE=123456".to_owned(),
        "LOGIN_DUO_HELPER=/bin/true".to_owned(),
        "PAM_DUO_HELPER=/bin/true".to_owned(),
        "SSH_CONNECTION=192.0.2.66 1 192.0.2.1 22".to_owned(),
        "SSH_AUTH_INFO_0=publickey x".to_owned(),
        "LD_PRELOAD=/nonexistent.so".to_owned(),
        "LD_LIBRARY_PATH=/srv/tmp".to_owned(),
        "LD_AUDIT=/nonexistent.so".to_owned(),
        "GLIBC_TUNABLES=glibc.malloc.check=3".to_owned(),
        "MALLOC_CHECK_=3".to_owned(),
    ];
    side_by_side(&PROGRAMS, |program| {
        let world = PamWorld::new("failmode = safe");
        let mut through = vec!["env"];
        through.extend(hostile.iter().map(String::as_str));
        let su = program.through(&world, "push", &through);
        let no = run_with(su, wrong_passcodes().as_bytes());
        is_out(&world, &no, "the environment");
        for request in world.sandbox.duo.requests() {
            assert_eq!(request.param("ipaddr"), None, "{request}");
            assert_ne!(request.param("username"), Some("allow"), "{request}");
        }
        let su = program.through(&world, "push", &through);
        let yes = run_with(su, format!("{PASSWORD}\n123456\n").as_bytes());
        assert!(is_root(&yes), "{program:?} {yes:?}");
    });
    assert!(trap.accept().is_err(), "it went to a proxy of the caller's");
    assert!(!std::path::Path::new("/srv/tmp/pam-keys").exists());
}

/// With the first factor behind them, and a push that is denied.
pub fn odd_descriptors_let_nobody_in() {
    let redirections = [
        "<&-",
        ">&-",
        "2>&-",
        "<&- >&-",
        "<&- >&- 2>&-",
        "</",
        "</dev/null",
        "</dev/full",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>&1",
        "3</ 4</ 5</ 6</ 7</ 8</ 9</",
    ];
    let cases: Vec<_> = PROGRAMS
        .iter()
        .flat_map(|program| redirections.map(|how| (*program, how)))
        .collect();
    side_by_side(&cases, |(program, redirection)| {
        let world = PamWorld::new("failmode = safe\nautopush = yes");
        world.stack("sudo", "");
        world.stack("su", "");
        let script = format!("exec \"$@\" {redirection}");
        for (user, allowed) in [("pushdeny", false), ("push", true)] {
            // stdout shows nothing where it is closed.
            let mut command = world.as_user(user);
            command.args(["sh", "-c", &script, "sh"]);
            let proof = format!("touch /srv/home/{user}/was-root");
            match program {
                Program::Sudo => command.args(["sudo", "-S", "sh", "-c", &proof]),
                Program::Su => command.args(["su", "-c", &proof]),
            };
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::null());
            run_quietly(&mut command);
            let inside = world.at(&format!("/srv/home/{user}/was-root"));
            assert!(allowed || !inside.exists(), "{program:?} {redirection}");
            world.wait_until_empty();
            let lines = world.module_lines();
            assert!(
                !lines.iter().any(|line| line.text.contains("Failsafe")),
                "{lines:#?}"
            );
        }
    });
}

pub fn the_helper_takes_back_what_the_caller_made_slow() {
    // prctl(PR_SET_TIMERSLACK, …) by its number: perl has no name for it.
    let slack = format!(
        "syscall({}, 29, 300000000, 0, 0, 0) == 0 or die; exec @ARGV",
        libc::SYS_prctl
    );
    let all = process::status(std::process::id().try_into().unwrap(), "Cpus_allowed");
    side_by_side(&PROGRAMS, |program| {
        let world = PamWorld::new("failmode = safe");
        let through = [
            "nice",
            "-n",
            "19",
            "chrt",
            "--idle",
            "0",
            "taskset",
            "--cpu-list",
            "0",
            "choom",
            "-n",
            "1000",
            "--",
            "perl",
            "-e",
            &slack,
        ];
        let (child, parent, asks) = ringing(&world, *program, &through);
        let of = |pid: i32| {
            let read = |name: &str| {
                let text = fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
                text.trim().to_owned()
            };
            [
                process::stat(pid, 19),
                process::stat(pid, 41),
                process::status(pid, "Cpus_allowed"),
                read("timerslack_ns"),
                read("oom_score_adj"),
            ]
        };
        for pid in [parent, asks] {
            assert_eq!(of(pid), ["0", "0", &all, "50000", "0"], "{program:?}");
        }
        assert!(world.sandbox.duo.deny("manual"));
        kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
        let ended = ended(child);
        is_out(&world, &ended, "slow");
    });
}

/// The kernel weighs the sessions of the root control group against each other, and
/// each may make itself light.
pub fn the_child_leaves_the_callers_session_for_the_scheduler() {
    if !std::path::Path::new("/proc/self/autogroup").exists() {
        return;
    }
    let world = PamWorld::new("failmode = safe");
    let script = "echo 19 >/proc/self/autogroup; exec \"$@\"";
    let through = ["setsid", "-w", "sh", "-c", script, "sh"];
    let (child, _, asks) = ringing(&world, Program::Su, &through);
    let weight = fs::read_to_string(format!("/proc/{asks}/autogroup")).unwrap();
    assert!(weight.trim().ends_with("nice 0"), "{weight}");
    assert!(world.sandbox.duo.approve("manual"));
    assert!(is_root(&ended(child)));
}

/// What execve leaves of a personality, and a timer.
pub fn personalities_and_timers_of_the_callers_let_nobody_in() {
    let cases: [&[&str]; 6] = [
        &["setarch", "--uname-2.6"],
        &["setarch", "--3gb"],
        &["setarch", "--sticky-timeouts"],
        &[
            "setarch",
            "--whole-seconds",
            "--short-inode",
            "--mmap-page-zero",
        ],
        &["setarch", "--addr-no-randomize", "--read-implies-exec"],
        &["perl", "-e", "alarm 1; exec @ARGV"],
    ];
    side_by_side(&cases, |through| {
        for program in PROGRAMS {
            let world = PamWorld::new("failmode = safe");
            let su = program.through(&world, "push", through);
            let ended = run_with(su, wrong_passcodes().as_bytes());
            is_out(&world, &ended, &through.join(" "));
        }
    });
}

/// Root of a user namespace of one's own is no root.
pub fn a_host_in_a_user_namespace_gets_nothing() {
    let world = PamWorld::new("failmode = safe");
    for through in [
        &["unshare", "--user", "--map-root-user"][..],
        &["unshare", "-U"],
    ] {
        let mut host = world.as_user("push");
        host.args(through);
        let asked = world.host_by(host, &["-a", "1", "duo", "push"]);
        assert!(!asked.codes().contains(&code::SUCCESS), "{asked:#?}");
        for program in PROGRAMS {
            let su = program.through(&world, "push", through);
            let ended = run_with(su, wrong_passcodes().as_bytes());
            is_out(&world, &ended, "in a user namespace");
        }
    }
    assert!(world.sandbox.duo.paths().is_empty());
}

/// The helper by hand: by the user, and by root without the module.
pub fn the_helper_by_hand_does_nothing() {
    let world = PamWorld::new("failmode = safe");
    for user in ["push", "root"] {
        for words in [
            &[][..],
            &["1"],
            &["1", "0"],
            &["1", "0", "debug"],
            &["1", "0", "conf=/etc/shadow", "debug"],
        ] {
            let mut command = world.as_user(user);
            command
                .arg("/usr/libexec/login_duo/pam-duo-helper")
                .args(words);
            let ended = run(command);
            assert_eq!(ended.code(), 1, "{user} {words:?}: {ended:?}");
            assert!(!ended.text().contains("$6$"), "{ended:?}");
        }
    }
    assert!(world.sandbox.duo.paths().is_empty());
}

/// A claim that did not arrive names nobody. It is not an account that does not exist: a
/// stack may ignore `user_unknown`.
pub fn a_login_without_a_claim_is_a_fault() {
    for failmode in ["safe", "secure"] {
        let world = PamWorld::new(&format!("failmode = {failmode}"));
        let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let (module, socket) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (ruling, pipe) = std::io::pipe().unwrap();
        let mut helper = world.inside();
        helper
            .args(["sh", "-c"])
            .arg("exec 3<&0 4>&1 </dev/null >/dev/null /usr/libexec/login_duo/pam-duo-helper 1")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::from(pipe));
        drop(module);
        assert!(run_quietly(&mut helper).success());
        // It has this process's copy of the pipe.
        drop(helper);
        assert_eq!(read_to_end(ruling), b"f", "{:#?}", world.module_lines());
        let line = "Error in Duo login for '?': pam_duo.so sent no claim";
        assert_eq!(world.finals(), [line]);
        assert!(world.sandbox.duo.paths().is_empty());
    }
}

/// How many; `LOGIN_DUO_TRIES` says more for a long run.
fn tries() -> usize {
    let said = std::env::var("LOGIN_DUO_TRIES").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// At every nice value, and each with another limit or none.
pub fn a_hundred_tries_let_nobody_in_and_leave_a_line_each() {
    let world = PamWorld::new("failmode = safe\nprompts = 1");
    let limits = ["--core=0", "--nofile=80", "--nproc=60", "--stack=1048576"];
    let all: Vec<usize> = (0..tries()).collect();
    for some in all.chunks(10) {
        side_by_side(some, |number| {
            let nice = format!("{}", number % 20);
            let limit = limits[number % limits.len()];
            let through = ["nice", "-n", &nice, "prlimit", limit];
            let program = PROGRAMS[number % 2];
            let su = program.through(&world, "push", &through);
            let ended = run_with(su, format!("{PASSWORD}\n{number:07}\n").as_bytes());
            assert!(!is_root(&ended), "{ended:?}");
        });
    }
    wait_until(
        || world.finals().len() == all.len(),
        || format!("{} of {}", world.finals().len(), all.len()),
    );
    let opened = |line: &String| !line.starts_with("Failed");
    let odd: Vec<String> = world.finals().into_iter().filter(opened).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}
