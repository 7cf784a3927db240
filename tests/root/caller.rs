//! Attacks 1 to 3, 5, 7, 8, 10, 12 and 13: everything that the caller hands to
//! the program, under `failmode = safe`, which must never be theirs to choose.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::{Duration, Instant};

use fake_duo::{FakeDuo, Script};
use nix::sys::stat::Mode;

use crate::machine::{INSTALLS, Install, Line, World};
use crate::support::{PATIENCE, Terminal, TerminalSize, ended, run, side_by_side, start, wait};

fn safe() -> World {
    World::with("failmode = safe\n", |_| {})
}

/// The command that no denied login may run.
fn canary(mut command: Command) -> Command {
    command.args(["echo", "in"]);
    command
}

// Attack 1

pub fn no_variable_changes_the_outcome() {
    let world = safe();
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let proxy = format!("http://{}", trap.local_addr().unwrap());
    let keys = world.sandbox.path().join("keys");
    let hostile = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("https_proxy", &proxy),
        ("ALL_PROXY", &proxy),
        ("all_proxy", &proxy),
        ("HTTP_PROXY", &proxy),
        ("http_proxy", &proxy),
        ("NO_PROXY", "*"),
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
        ("SSLKEYLOGFILE", keys.to_str().unwrap()),
        ("RES_OPTIONS", "timeout:30 attempts:5 use-vc"),
        ("LOCALDOMAIN", "example.invalid"),
        ("RUST_BACKTRACE", "full"),
        ("RUST_MIN_STACK", "18446744073709551615"),
        ("TZ", ":/etc/duo/login_duo.conf"),
        ("LC_ALL", "tlh_QO.KOI8-R"),
        ("KRB5_CONFIG", "/nonexistent"),
        ("LDAPCONF", "/nonexistent"),
        ("HOME", "/nonexistent"),
        ("USER", "allow"),
        ("LOGNAME", "allow"),
    ];
    let words: Vec<String> = hostile
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    for install in INSTALLS {
        let mut through = vec!["/usr/bin/env", "PATH=/nonexistent"];
        through.extend(words.iter().map(String::as_str));
        let mut asked = world.login_through(install, "push", &through);
        asked.args(["/usr/bin/env"]);
        let ended = run(asked);
        assert_eq!(ended.code(), 0, "{install:?}: {ended:?}");
        // glibc takes these two from every setuid program.
        let taken = |word: &str| word.starts_with("RES_OPTIONS") || word.starts_with("LOCALDOMAIN");
        for word in &words {
            if install == Install::Setuid && taken(word) {
                continue;
            }
            assert!(ended.stdout().contains(word), "{install:?} lost {word}");
        }
        let denied = run(canary(world.login_through(install, "pushdeny", &through)));
        assert_eq!((denied.code(), &*denied.stdout()), (1, ""), "{install:?}");
    }
    assert!(trap.accept().is_err(), "it went to a proxy of the caller's");
    assert!(!keys.exists(), "it wrote the connection's keys");
    assert_eq!(world.sandbox.duo.paths()[..2], ["preauth", "auth"]);
}

pub fn a_library_of_the_callers_is_not_loaded_setuid() {
    let world = safe();
    // A library that is none makes the loader complain, where it tries.
    let library = world.sandbox.path().join("own.so");
    fs::write(&library, "not a library").unwrap();
    for name in ["LD_PRELOAD", "LD_AUDIT"] {
        let variable = format!("{name}={}", library.display());
        let login = |install| {
            let mut login = world.login_through(install, "push", &["env", &variable]);
            login.args(["env"]);
            run(login)
        };
        let (setuid, own) = (login(Install::Setuid), login(Install::Own));
        assert!(own.stderr().contains("own.so"), "{name} does nothing here");
        assert_eq!(setuid.code(), 0, "{setuid:?}");
        assert!(!setuid.stderr().contains("own.so"), "{setuid:?}");
        assert!(!setuid.stdout().contains("own.so"), "{setuid:?}");
    }
}

// Attack 2

pub fn no_limit_of_the_callers_lets_anyone_in_unasked() {
    let world = safe();
    let limits = [
        "--nofile=3:3",
        "--nofile=4:4",
        "--nofile=5:5",
        "--nofile=8:8",
        "--nofile=16:16",
        "--nofile=8:4096",
        "--fsize=0:0",
        "--nproc=0:0",
        "--as=16777216:16777216",
        "--as=67108864:67108864",
        "--data=1048576:1048576",
        "--cpu=1:1",
        "--stack=65536:65536",
        "--memlock=0:0",
        "--sigpending=0:0",
    ];
    for install in INSTALLS {
        for limit in limits {
            let through = ["prlimit", limit];
            let ended = run(canary(world.login_through(install, "pushdeny", &through)));
            assert_ne!(ended.code(), 0, "{install:?} {limit}: {ended:?}");
            assert_eq!(ended.stdout(), "", "{install:?} {limit}: {ended:?}");
        }
    }
    world.wait_until_empty();
    for line in world.log() {
        assert!(!line.text.contains("Failsafe"), "{line:?}");
        assert!(!line.text.contains("Successful"), "{line:?}");
    }
}

pub fn a_limit_that_leaves_too_little_is_a_fault_before_anything_is_asked() {
    let world = safe();
    // The hard limit of a user's own install cannot be raised.
    for (limit, words) in [
        ("--nofile=20:20", "RLIMIT_NOFILE is 20, and 64 is needed"),
        ("--cpu=9:9", "RLIMIT_CPU is 9, and 60 is needed"),
        ("--as=200000000:200000000", "RLIMIT_AS is 200000000"),
        ("--data=100000000:100000000", "RLIMIT_DATA is 100000000"),
    ] {
        world.clear_log();
        let ended = run(canary(world.login_through(
            Install::Own,
            "push",
            &["prlimit", limit],
        )));
        assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{limit}");
        let line = world.final_line();
        let start = "Error in Duo login for 'push' from 192.0.2.7: ";
        assert!(line.starts_with(start) && line.contains(words), "{line}");
    }
    assert!(world.sandbox.duo.paths().is_empty());
}

pub fn a_soft_limit_is_raised_for_the_child_and_kept_for_the_session() {
    let world = safe();
    for install in INSTALLS {
        let mut login = world.login_through(
            install,
            "push",
            &["prlimit", "--nofile=20:4096", "--core=0:0"],
        );
        login.args(["ulimit -Sn; ulimit -Hn"]);
        let ended = run(login);
        assert_eq!(ended.stdout(), "20\n4096\n", "{install:?}: {ended:?}");
    }
}

// Attack 3

/// A caller's timer slack, here of over a minute, goes through exec and fork.
pub fn a_timer_slack_of_the_callers_does_not_stretch_the_childs_deadlines() {
    // prctl(PR_SET_TIMERSLACK, …) by its number: perl has no name for it.
    let slack = format!(
        "syscall({}, 29, 70000000000, 0, 0, 0) == 0 or die; exec @ARGV",
        nix::libc::SYS_prctl
    );
    for install in INSTALLS {
        let world = safe();
        let mut login = world.login_through(install, "manual", &["perl", "-e", &slack]);
        login.args(["echo", "in"]);
        let mut started = start(login);
        let (parent, child) = world.wait_for_push();
        let of = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/timerslack_ns")).unwrap();
        assert_eq!(of(child).trim(), "50000", "{install:?}");
        // The session shall have what it was given.
        assert_eq!(of(parent).trim(), "70000000000", "{install:?}");
        started.kill().unwrap();
        wait(&mut started);
    }
}

/// Any user can bind every port, and the resolver then says that it got no answer.
/// Three name servers that say nothing, and two domains to search.
pub fn silent_name_servers_cost_ten_seconds_and_then_failmode_decides() {
    let silent = "use Socket; $^F = 1000; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die; \
         ioctl($s, 0x8914, my $up = pack('a16s', 'lo', 0x41)) or die; my @taken; \
         for my $n (1..3) { socket(my $port, AF_INET, SOCK_DGRAM, 0) or die; \
         bind($port, sockaddr_in(53, inet_aton(\"127.0.0.$n\"))) or die; push @taken, $port; } \
         exec @ARGV";
    let through = ["unshare", "--net", "perl", "-e", silent];
    let cases = [("safe", 0, "Failsafe"), ("secure", 1, "Failsecure")];
    side_by_side(&cases, |(failmode, status, outcome)| {
        let world = World::with(&format!("failmode = {failmode}\n"), |_| {});
        let name = "api-1.duosecurity.example";
        world.sandbox.edit_config(&world.sandbox.duo.host(), name);
        std::fs::write(world.at("/etc/nsswitch.conf"), "hosts: files dns\n").unwrap();
        let servers = "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n\
             search a.example b.example\n";
        let resolver = world.at("/etc/resolv.conf");
        let _ = std::fs::remove_file(&resolver);
        std::fs::write(&resolver, servers).unwrap();
        let mut login = world.login_through(Install::Root, "push", &through);
        login.args(["exit 0"]);
        let began = Instant::now();
        assert_eq!(run(login).code(), *status);
        let took = began.elapsed();
        let line = world.final_line();
        let why = format!(
            "{outcome} Duo login for 'push' from 192.0.2.7: Couldn't look up {name}: \
             no answer from the name service"
        );
        assert_eq!(line, why);
        assert!(took < Duration::from_secs(16), "{took:?}");
    });
}

/// Threads of `duo` count together under each caller's limit, where root may not
/// raise it. The login of a waiting caller needs none.
pub fn callers_with_a_low_limit_of_processes_do_not_lock_each_other_out() {
    let world = World::new();
    let names = [
        "pushdeny", "allow", "deny", "enroll", "escapes", "phone", "slowpush",
    ];
    for name in names {
        world.sandbox.duo.set_script(name, Script::PushManual);
    }
    let mut logins = Vec::new();
    for name in names {
        for _ in 0..6 {
            let through = ["prlimit", "--nproc=20:20"];
            let mut login = world.login_through(Install::Setuid, name, &through);
            login.args(["exit 7"]);
            logins.push(start(login));
        }
    }
    let all_wait = |requests: &[fake_duo::Request]| {
        let polls = requests.iter().filter(|r| r.endpoint() == "auth_status");
        let pushes: HashSet<_> = polls.map(|poll| poll.param("txid")).collect();
        pushes.len() == logins.len()
    };
    let asked = world.sandbox.duo.wait_until(all_wait, PATIENCE);
    assert!(asked, "{:#?}", world.log());
    for name in names {
        while world.sandbox.duo.approve(name) {}
    }
    for login in logins {
        let ended = ended(login);
        assert_eq!(ended.code(), 7, "{ended:?}");
    }
}

pub fn closed_descriptors_in_every_combination() {
    let cases: Vec<_> = INSTALLS
        .iter()
        .flat_map(|one| [(one, 0..4), (one, 4..8)])
        .collect();
    side_by_side(&cases, |(install, combinations)| {
        let world = safe();
        for closed in combinations.clone() {
            let mut script = "exec \"$@\"".to_owned();
            for (bit, text) in [" <&-", " >&-", " 2>&-"].iter().enumerate() {
                if closed & 1 << bit != 0 {
                    script.push_str(text);
                }
            }
            for (name, expected) in [("push", 7), ("pushdeny", 1)] {
                world.clear_log();
                let through = ["sh", "-c", &script, "sh"];
                let mut login = world.login_through(**install, name, &through);
                login.args(["exit 7"]);
                let ended = run(login);
                assert_eq!(ended.code(), expected, "{install:?} {script} {name}");
                assert!(world.final_line().contains(&format!("'{name}'")));
            }
        }
    });
}

pub fn descriptors_that_are_no_pipe_or_terminal() {
    let world = safe();
    let redirections = [
        "</",
        "</dev/full",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>&1",
    ];
    side_by_side(&redirections, |redirection| {
        for install in INSTALLS {
            for (name, expected) in [("push", 7), ("pushdeny", 1)] {
                let script = format!("exec \"$@\" {redirection}");
                let through = ["sh", "-c", &script, "sh"];
                let mut login = world.login_through(install, name, &through);
                login.args(["exit 7"]);
                let ended = run(login);
                assert_eq!(ended.code(), expected, "{install:?} {script} {name}");
            }
        }
    });
}

pub fn a_callers_own_way_into_the_log_carries_nothing_of_ours() {
    let world = safe();
    let to_the_log = "use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0); \
                      connect(S, pack_sockaddr_un('/dev/log')) or die; \
                      open(STDERR, '>&S'); exec @ARGV";
    let stream = "use Socket; socket(L, AF_UNIX, SOCK_STREAM, 0); my $n = \"/tmp/s$$\"; \
                  bind(L, pack_sockaddr_un($n)); listen(L, 1); \
                  socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un($n)) or die; \
                  open(STDERR, '>&S'); accept(C, L); unlink $n; if (fork) { exec @ARGV } \
                  close(S); close(STDERR); print while sysread(C, $_, 99);";
    let file = "open(STDERR, '>', \"/tmp/f$$\") or die; my $f = \"/tmp/f$$\"; \
                unless (fork) { exec @ARGV } wait; open(F, $f); print <F>; unlink $f;";
    for script in [to_the_log, stream, file] {
        world.clear_log();
        let mut login = world.login_through(Install::Setuid, "push", &["perl", "-e", script]);
        login.args(["-d", "true"]);
        let ended = run(login);
        world.wait_for_log(|text| text.starts_with("Successful Duo login for 'push'"));
        let log = world.log();
        let ours = |line: &Line| line.text.starts_with('[');
        assert!(!log.iter().any(ours), "{script}: {log:#?}");
        assert_eq!((ended.code(), &*ended.stdout()), (0, ""), "{script}");
    }
}

pub fn full_pipes_do_not_hold_the_login_up() {
    let world = safe();
    for (name, expected) in [("push", 7), ("pushdeny", 1)] {
        // Filled by a writer that never blocks, read by nobody.
        let fill = "use Fcntl; pipe(R, W); fcntl(W, F_SETFL, O_NONBLOCK); \
                    1 while syswrite(W, 'x' x 4096); 1 while syswrite(W, 'x'); \
                    fcntl(W, F_SETFL, 0); fcntl(R, F_SETFD, 0); \
                    open(STDOUT, '>&W'); open(STDERR, '>&W'); exec @ARGV";
        let mut login = world.login_through(Install::Setuid, name, &["perl", "-e", fill]);
        login.args(["exit 7"]);
        assert_eq!(run(login).code(), expected, "{name}");
    }
}

pub fn a_terminal_stopped_with_ctrl_s_does_not_hold_the_login_up() {
    let world = safe();
    let mut login = world.login(Install::Setuid, "push");
    login.env("TERM", "xterm").args(["exit 7"]);
    let mut terminal = Terminal::start(&login, TerminalSize::USUAL);
    terminal.wait_for_text("Passcode or option (1-3):");
    terminal.send("\x13");
    terminal.send("1\n");
    let line = world.wait_for_log(|text| text.contains(" Duo login for 'push'"));
    assert!(line.text.starts_with("Successful"), "{line:?}");
    terminal.send("\x11");
    assert_eq!(terminal.status(), 7);
}

// Attack 7

pub fn odd_arguments() {
    let world = safe();
    for install in [Install::Setuid, Install::Own] {
        // An empty name, and the longest command that the kernel takes.
        let empty = ["perl", "-e", "$program = shift; exec {$program} '', @ARGV"];
        let ended = run(canary(world.login_through(install, "push", &empty)));
        assert_eq!(ended.stdout(), "in\n", "{install:?}: {ended:?}");
        let ended = run(canary(world.login_through(install, "pushdeny", &empty)));
        assert_eq!((ended.code(), &*ended.stdout()), (1, ""));

        let mut long = world.login(install, "push");
        long.args(["echo", &"x".repeat(100_000), "| wc -c"]);
        assert_eq!(run(long).stdout(), "100001\n", "{install:?}");
        let mut many = world.login(install, "push");
        many.arg("echo").args(vec!["y"; 20_000]).arg("| wc -w");
        assert_eq!(run(many).stdout(), "20000\n", "{install:?}");
        // Joined, it is longer than one argument may be.
        let mut too_long = world.login(install, "push");
        too_long.arg("echo").args(vec!["zzzzzzzzz"; 20_000]);
        let ended = run(too_long);
        assert_eq!(ended.code(), 126, "{install:?}: {}", ended.stderr());
    }
}

pub fn no_arguments_at_all_not_even_a_name() {
    let world = safe();
    let program = "import ctypes, sys; libc = ctypes.CDLL(None); \
                   libc.execv(sys.argv[1].encode(), (ctypes.c_char_p * 1)(None))";
    let through = ["/usr/bin/python3", "-c", program];
    for (name, expected) in [("push", "in\n"), ("pushdeny", "")] {
        let mut login = world.login_through(Install::Setuid, name, &through);
        login.env("SSH_ORIGINAL_COMMAND", "echo in");
        let ended = run(login);
        assert_eq!(ended.stdout(), expected, "{ended:?}");
    }
}

pub fn every_byte_in_every_variable() {
    use std::os::unix::ffi::OsStrExt;
    let world = safe();
    let bytes: Vec<u8> = (1..=255).collect();
    let odd = std::ffi::OsStr::from_bytes(&bytes);
    for install in INSTALLS {
        for (name, expected) in [("push", 0), ("pushdeny", 1)] {
            world.clear_log();
            let mut login = world.login(install, name);
            for variable in [
                "SSH_CONNECTION",
                "SSH_CLIENT",
                "SSH_TTY",
                "TERM",
                "LANG",
                "LC_ALL",
                "HOME",
                "DUO_PASSCODE",
                "TZ",
                "SSH_ORIGINAL_COMMAND",
                "X",
            ] {
                login.env(variable, odd);
            }
            login.args(["/usr/bin/printenv", "X"]);
            let output = login.output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(expected),
                "{install:?}: {output:?}"
            );
            if expected == 0 {
                assert_eq!(output.stdout, [&bytes[..], b"\n"].concat(), "{install:?}");
            }
            let line = world.final_line();
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

// Attack 8

pub fn no_text_forges_a_line_or_a_field_of_the_log() {
    let forged = "x' from 192.0.2.9 push1";
    let world = World::with("send_gecos = yes\n", |passwd| {
        for line in passwd.iter_mut() {
            *line = line.replace(
                ":push:/srv",
                &format!(":{forged}\u{9b}\x1b[2J\u{202e}:/srv"),
            );
        }
    });
    let connection = "192.0.2.8:\x1b[31m\nSuccessful_Duo_login_for_'root'\r 1 192.0.2.1 22";
    for install in [Install::Setuid, Install::Own] {
        world.clear_log();
        let mut login = world.login(install, "push");
        login.env("SSH_CONNECTION", connection);
        assert_eq!(run(canary(login)).stdout(), "in\n");
        let line = world.final_line();
        let start = r"Successful Duo login for 'x\' from 192.0.2.9 push1\xC2\x9B\x1B[2J\xE2\x80\xAE' from 192.0.2.8:??31m?";
        assert!(line.starts_with(start), "{line}");
        for line in world.log() {
            assert!(!line.text.chars().any(char::is_control), "{line:?}");
        }
    }
}

pub fn no_text_of_duos_reaches_the_terminal_raw() {
    let world = safe();
    let mut login = world.login(Install::Setuid, "escapes");
    login.env("TERM", "dumb").args(["echo", "in"]);
    let mut terminal = Terminal::start(&login, TerminalSize::USUAL);
    terminal.wait_for(|screen| screen.contains("1-") || screen.contains("asscode"));
    terminal.send("1\n");
    assert_eq!(terminal.status(), 0);
    let raw = terminal.raw();
    assert!(!raw.contains(&0x1b), "{}", String::from_utf8_lossy(&raw));
    let ended = run(canary(world.login(Install::Setuid, "escapes")));
    assert_eq!(ended.stdout(), "in\n");
    assert!(!ended.stderr().contains('\x1b'), "{:?}", ended.stderr());
    for line in world.log() {
        assert!(!line.text.chars().any(char::is_control), "{line:?}");
    }
}

// Attack 10

pub fn a_configuration_that_others_could_read_or_write_denies() {
    let world = safe();
    let path = world.sandbox.config();
    let denies = |why: &str| {
        world.clear_log();
        for install in [Install::Setuid, Install::Root] {
            let ended = run(canary(world.login(install, "push")));
            assert_eq!(
                (ended.code(), &*ended.stdout()),
                (1, ""),
                "{why}: {ended:?}"
            );
            assert!(!ended.stderr().contains(FakeDuo::SKEY), "{why}: {ended:?}");
        }
        for line in world.log() {
            assert!(!line.text.contains(FakeDuo::SKEY), "{why}: {line:?}");
        }
    };
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        denies(&format!("mode {mode:o}"));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&path, Some(world.uid("push")), None).unwrap();
    denies("the user's own");
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    denies("missing");
    fs::create_dir(&path).unwrap();
    denies("a directory");
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    denies("a fifo");
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    denies("1 MiB of NUL");
    let garbage = b"\xff[=;\\\n\x01 \x80\r,".repeat(90_000);
    fs::write(&path, garbage).unwrap();
    denies("1 MiB of garbage");
    assert!(world.sandbox.duo.paths().is_empty());
    fs::write(&path, good).unwrap();
    assert_eq!(run(canary(world.login(Install::Root, "push"))).code(), 0);
}

pub fn a_syntax_error_never_shows_the_secret_key() {
    let world = safe();
    let good = fs::read_to_string(world.sandbox.config()).unwrap();
    let key = FakeDuo::SKEY;
    for line in [
        key.to_owned(),
        format!("{key} = x"),
        format!("skey {key}"),
        format!("[{key}"),
        format!("[{key}]"),
        format!("prompts = {key}"),
        format!("failmode = {key}"),
    ] {
        world.clear_log();
        let text = format!("{}\n{line}\n", good.replace("failmode = safe", ""));
        world.sandbox.configure_with(text.as_bytes());
        let ended = run(canary(world.login(Install::Setuid, "push")));
        assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{line}");
        assert!(!ended.stderr().contains(key), "{line}: {}", ended.stderr());
        let in_log = world.log().iter().any(|logged| logged.text.contains(key));
        assert!(!in_log, "{line}: {:?}", world.log());
    }
}

// Attack 12

pub fn a_user_by_hand_chooses_neither_configuration_nor_name() {
    let world = safe();
    for option in ["-c", "-f", "--config", "--user", "--check"] {
        let mut login = world.login(Install::Setuid, "pushdeny");
        login.args([option, "/dev/null", "echo", "in"]);
        let ended = run(login);
        assert_ne!(ended.code(), 0, "{option}: {ended:?}");
        assert_eq!(ended.stdout(), "", "{option}");
    }
    assert!(world.sandbox.duo.paths().is_empty());
}

pub fn nothing_is_written_as_root_to_what_the_caller_chose() {
    let world = safe();
    let trace = world.sandbox.path().join("trace");
    let id = world.uid("push");
    let dropped = format!("setresuid({id}, {id}, {id}) = 0");
    for option in ["--help", "--version", "--nonsense", "--config=/etc/shadow"] {
        let mut login = world.inside();
        login.args(["strace", "-u", "push", "-e", "trace=setresuid,write", "-o"]);
        login.arg(&trace).args(["/srv/bin/login_duo", option]);
        let ended = run(login);
        assert!(!ended.stdout().is_empty() || !ended.stderr().is_empty());
        let calls = fs::read_to_string(&trace).unwrap();
        let place = |what: &str| calls.lines().position(|line| line.starts_with(what));
        assert!(place(&dropped) < place("write("), "{option}: {calls}");
        assert!(place(&dropped).is_some(), "{option}: {calls}");
    }
}

pub fn without_the_setuid_bits_force_the_configuration_stays_closed() {
    let world = safe();
    // no_new_privs takes the setuid bit's effect away: nothing can be read then.
    let through = ["setpriv", "--no-new-privs"];
    let ended = run(canary(world.login_through(
        Install::Setuid,
        "push",
        &through,
    )));
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{ended:?}");
    assert!(world.sandbox.duo.paths().is_empty());
}

pub fn an_account_that_does_not_exist_is_denied() {
    let world = World::with("failmode = safe\n", |passwd| {
        passwd.retain(|line| !line.starts_with("push:"));
    });
    let ended = run(canary(world.login(Install::Setuid, "push")));
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{ended:?}");
    assert!(world.sandbox.duo.paths().is_empty());
}

// Attack 13

pub fn groups_that_cannot_be_looked_up_never_pass() {
    let world = World::with("failmode = safe\ngroups = night-shift\n", |_| {});
    // Not in the group, and the directory is well: passes.
    let ended = run(canary(world.login(Install::Setuid, "manual")));
    assert_eq!(ended.stdout(), "in\n", "{ended:?}");
    assert!(world.final_line().contains("bypassed Duo 2FA"));
    let spoil = |script: &str| {
        let mut command = world.inside();
        command.args(["sh", "-c", script]);
        assert_eq!(run(command).code(), 0);
    };
    for script in [
        "sed -i '/^pushdeny:/d' /etc/group",
        "rm /etc/group",
        "mkdir /etc/group",
        "rmdir /etc/group; echo 'group: nosuchservice' >/etc/nsswitch.conf",
    ] {
        spoil(script);
        let ended = run(canary(world.login(Install::Setuid, "pushdeny")));
        assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{script}");
    }
}

// The privilege-separation user

pub fn without_its_user_it_takes_sshds_and_without_that_it_denies() {
    let without = |names: &'static [&'static str]| {
        World::with("failmode = safe\n", move |passwd| {
            passwd.retain(|line| {
                !names
                    .iter()
                    .any(|name| line.starts_with(&format!("{name}:")))
            });
        })
    };
    let world = without(&["duo"]);
    assert_eq!(run(canary(world.login(Install::Setuid, "push"))).code(), 0);
    world.wait_for_log(|text| text.contains("running as 'sshd'"));

    let world = without(&["duo", "sshd"]);
    let ended = run(canary(world.login(Install::Setuid, "push")));
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{ended:?}");
    assert!(world.final_line().contains("there is no user 'duo'"));
    assert!(world.sandbox.duo.paths().is_empty());
}
