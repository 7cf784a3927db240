//! The program that asks PAM is left as it was found: descriptors, threads,
//! children, signals, environment, memory. (What is compared stands in
//! tests/machine/pam_host.c.)

use std::fs;
use std::process::Stdio;

use fake_duo::Script;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{Asked, MODULE, PamWorld, code};
use crate::support::{Ended, RefusedPort, ended, side_by_side, start, wait};

/// KiB of resident memory that a host may grow by, whatever it asks how often.
const GROWTH: i64 = 200;

/// Runs the host with these options on the stack `duo`.
fn host(world: &PamWorld, options: &str, user: &str) -> Asked {
    let mut words: Vec<&str> = options.split_whitespace().collect();
    words.extend(["duo", user]);
    world.host(&words)
}

pub fn nothing_of_it_is_changed_whatever_comes_back() {
    let cases = [
        ("-a 1", "push", code::SUCCESS),
        ("-a 123456", "push", code::SUCCESS),
        ("", "allow", code::SUCCESS),
        ("", "deny", code::ABORT),
        ("", "enroll", code::ABORT),
        ("-a 1 -a 1 -a 1", "pushdeny", code::MAXTRIES),
        ("-c fails", "push", code::ABORT),
        ("-c absent", "push", code::ABORT),
        ("-N", "push", code::USER_UNKNOWN),
        ("", "no-such-account", code::USER_UNKNOWN),
    ];
    let world = PamWorld::new("");
    side_by_side(&cases, |(options, user, expected)| {
        let asked = host(&world, &format!("-n 2 {options}"), user);
        assert_eq!(asked.codes(), [*expected; 2], "{options} {user} {asked:#?}");
        asked.is_unchanged();
    });
}

pub fn nor_where_duo_is_down_or_the_configuration_is_broken() {
    let refused = RefusedPort::take();
    let cases = [
        (
            format!("host = localhost:{}", refused.number()),
            code::SUCCESS,
        ),
        ("nonsense = 1".to_owned(), code::SERVICE_ERR),
    ];
    side_by_side(&cases, |(lines, expected)| {
        let world = PamWorld::new(lines);
        let asked = host(&world, "-n 1", "push");
        let line = world.module_lines();
        assert_eq!(asked.code(), *expected, "{lines} {line:#?}");
        asked.is_unchanged();
    });
}

/// In a host that has used PAM before, with the module itself and the first of them.
pub fn many_authentications_leave_nothing_behind() {
    let world = PamWorld::new("");
    for (user, expected) in [("allow", code::SUCCESS), ("deny", code::ABORT)] {
        let (growth, asked) = world.growth_of_a_host(50, &["-r"], user);
        asked.is_unchanged();
        assert_eq!(asked.codes(), [expected; 50]);
        assert!(growth < GROWTH, "{growth} KiB");
    }
}

pub fn a_host_that_ignores_its_children_gets_the_verdict() {
    each_verdict("-S ignored");
}

pub fn a_host_that_handles_its_children_hears_of_none() {
    each_verdict("-S handled");
}

pub fn a_host_that_reaps_whatever_ends_reaps_none() {
    each_verdict("-r");
    each_verdict("-r -S handled");
}

pub fn a_host_with_eight_busy_threads_gets_the_verdict() {
    each_verdict("-b 8 -r");
}

fn each_verdict(options: &str) {
    let cases = [
        ("-n 3 -a 123456", "push", code::SUCCESS),
        ("-n 3", "deny", code::ABORT),
    ];
    let world = PamWorld::new("");
    side_by_side(&cases, |(more, user, expected)| {
        let asked = host(&world, &format!("{options} {more}"), user);
        asked.is_unchanged();
        assert_eq!(asked.codes(), [*expected; 3], "{asked:#?}");
    });
}

pub fn two_threads_get_each_their_own_verdict() {
    let world = PamWorld::new("failmode = safe");
    let asked = world.host(&["-n", "10", "-q", "-r", "duo", "allow", "deny"]);
    let codes = asked.all("code");
    assert_eq!(codes.len(), 20, "{asked:#?}");
    for line in codes {
        let expected = [
            format!("allow {}", code::SUCCESS),
            format!("deny {}", code::ABORT),
        ];
        assert!(expected.contains(&line.to_owned()), "{line}");
    }
    asked.is_unchanged();
}

pub fn descriptors_0_to_2_closed_in_every_combination() {
    let world = PamWorld::new("");
    let combinations = ["", "0", "1", "2", "01", "02", "12", "012"];
    side_by_side(&combinations, |closed| {
        for (more, user, expected) in [("-a 1", "push", code::SUCCESS), ("", "deny", code::ABORT)] {
            let mut words = vec!["-x", closed];
            words.extend(more.split_whitespace().chain(["duo", user]));
            let asked = world.host(&words);
            assert_eq!(asked.code(), expected, "{closed}: {asked:#?}");
            asked.is_unchanged();
        }
    });
}

pub fn a_module_that_is_loaded_and_unloaded_stays_whole() {
    let world = PamWorld::new("");
    let asked = world.host(&["-n", "50", "dlopen", MODULE]);
    asked.is_unchanged();
}

pub fn the_other_entry_points_say_nothing() {
    let world = PamWorld::new("");
    world.stack_of_all("duo");
    let asked = host(&world, "-o", "allow");
    assert_eq!(asked.all("others"), ["0 0 0 0 3"], "{asked:#?}");
    assert_eq!(world.sandbox.duo.paths(), ["preauth"]);
    assert_eq!(world.module_lines().len(), 1, "{:#?}", world.log());
}

pub fn its_log_stays_the_hosts_and_ours_is_authpriv_with_its_pid() {
    let world = PamWorld::new("");
    let words = ["-l", "-n", "2", "-a", "123456", "duo", "push"];
    let child = start(world.host_command(&words));
    let pid = i32::try_from(child.id()).unwrap();
    let asked = Asked::of(ended(child));
    assert_eq!(asked.codes(), [0, 0]);
    world.wait_until_empty();
    // <157> is local3.notice.
    for text in ["before", "after"] {
        let end = format!("pam_host[{pid}]: {text}");
        let fits = |line: &crate::machine::Line| {
            line.packet.starts_with("<157>") && line.packet.ends_with(&end)
        };
        assert!(world.log().iter().any(fits), "{:#?}", world.log());
    }
    let lines = world.module_lines();
    assert!(!lines.is_empty());
    for line in lines {
        assert_eq!((line.priority >> 3, line.pid), (10, pid), "{line:?}");
    }
}

pub fn a_host_that_is_not_root_is_told_so_and_never_succeeds() {
    let world = PamWorld::new("failmode = safe");
    for user in ["push", "allow", "no-such-account"] {
        world.clear_log();
        let asked = world.host_by(world.as_user("push"), &["-a", "1", "duo", user]);
        assert_eq!(asked.code(), code::AUTHINFO_UNAVAIL, "{asked:#?}");
        asked.is_unchanged();
        world.wait_until_empty();
        let lines = world.module_lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].text.contains("root"), "{lines:#?}");
    }
    assert!(world.sandbox.duo.paths().is_empty());
}

/// What the conversation does, and the code.
pub fn conversations_of_every_kind() {
    let long = "1".repeat(511);
    let cases: Vec<(Vec<&str>, &str, i32)> = vec![
        (vec!["-c", "fails"], "push", code::ABORT),
        (vec!["-c", "no-array"], "push", code::ABORT),
        (vec!["-c", "garbage"], "push", code::ABORT),
        (vec!["-c", "no-text"], "push", code::ABORT),
        (vec!["-c", "absent"], "push", code::ABORT),
        (vec!["-a", ""], "push", code::SUCCESS),
        (vec!["-a", "1\\x0a"], "push", code::SUCCESS),
        (vec!["-a", "123456\\x0d\\x0a"], "push", code::SUCCESS),
        (vec!["-a", " 123 456 "], "push", code::SUCCESS),
        (vec!["-a", &long, "-a", "123456"], "push", code::SUCCESS),
        (
            vec!["-a", &long, "-a", &long, "-a", &long],
            "push",
            code::MAXTRIES,
        ),
        (vec!["-a", "\\xff\\xfe", "-a", "1"], "push", code::SUCCESS),
        (
            vec!["-a", "\\xff\\xfe", "-a", "\\xc0", "-a", "\\x80"],
            "push",
            code::MAXTRIES,
        ),
    ];
    let world = PamWorld::new("failmode = safe");
    side_by_side(&cases, |(options, user, expected)| {
        let words: Vec<&str> = options.iter().copied().chain(["duo", user]).collect();
        let asked = world.host(&words);
        assert_eq!(asked.code(), *expected, "{options:?}: {asked:#?}");
        asked.is_unchanged();
    });
}

/// The host's `free` looks at each answer that the module gives back.
pub fn an_answer_is_overwritten_before_it_is_freed() {
    let world = PamWorld::new("");
    let long = "7".repeat(511);
    let asked = world.asks("duo", "push", &[&long, "000001", "123456"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    asked.is_unchanged();
}

pub fn a_small_stack_is_enough() {
    let world = PamWorld::new("");
    for (options, user, expected) in [
        ("-k 128 -n 2 -a 123456", "push", code::SUCCESS),
        ("-k 64 -n 2 -a 123456", "push", code::SUCCESS),
        ("-k 64 -n 2", "deny", code::ABORT),
    ] {
        let asked = host(&world, options, user);
        assert_eq!(asked.codes(), [expected; 2], "{options}: {asked:#?}");
    }
}

/// Items of a length that nobody has. (Much longer, and libpam's own line for the
/// kernel's audit fails.)
pub fn items_of_any_length_are_survived() {
    let long = "x".repeat(5_000);
    let lines = "y\\x0a".repeat(2_500);
    let world = PamWorld::new("failmode = safe");
    for (option, value) in [
        ("-h", long.as_str()),
        ("-h", &lines),
        ("-u", &long),
        ("-t", &long),
        ("-e", &format!("SSH_CONNECTION={long}")),
        ("-e", &format!("SSH_AUTH_INFO_0={lines}publickey x")),
    ] {
        let asked = world.host(&[option, value, "-a", "1", "duo", "push"]);
        assert_eq!(asked.code(), code::SUCCESS, "{option}");
        asked.is_unchanged();
    }
    let asked = world.host(&["-a", "1", "duo", &long]);
    assert_eq!(asked.code(), code::USER_UNKNOWN);
    world.wait_until_empty();
    for line in world.module_lines() {
        assert!(line.text.len() < 8_192, "{} bytes", line.text.len());
    }
}

/// A pipe that is full and that nobody reads, as the host's stderr.
pub fn debug_into_a_full_pipe_does_not_hold_the_login() {
    let world = PamWorld::new("failmode = safe");
    world.stack_with("duo", "", "conf=/etc/duo/pam_duo.conf debug");
    let fill = "use Fcntl; pipe(R, W); fcntl(W, F_SETFL, O_NONBLOCK); \
                1 while syswrite(W, 'x' x 4096); 1 while syswrite(W, 'x'); \
                fcntl(W, F_SETFL, 0); fcntl(R, F_SETFD, 0); open(STDERR, '>&W'); exec @ARGV";
    for (user, expected) in [("push", code::SUCCESS), ("deny", code::ABORT)] {
        let mut host = world.inside();
        host.args(["perl", "-e", fill]);
        let asked = world.host_by(host, &["-a", "123456", "duo", user]);
        assert_eq!(asked.code(), expected, "{asked:#?}");
    }
}

/// A host that is killed takes the login with it.
fn killed(signal: Signal, until: impl Fn(&PamWorld), words: &[&str]) {
    let world = PamWorld::new("");
    let mut host = world.host_command(words);
    host.stdin(Stdio::null()).stdout(Stdio::null());
    let mut host = host.spawn().unwrap();
    until(&world);
    kill(Pid::from_raw(i32::try_from(host.id()).unwrap()), signal).unwrap();
    wait(&mut host);
    let line = world.final_line();
    assert!(line.starts_with("Aborted Duo login for 'manual'"), "{line}");
}

pub fn a_host_killed_at_the_menu_ends_the_login() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let until = |world: &PamWorld| {
            world.wait_for_halves();
            world.wait_for_preauth();
        };
        killed(signal, until, &["-p", "duo", "manual"]);
    }
}

pub fn a_host_killed_during_a_push_ends_the_login() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let until = |world: &PamWorld| {
            world.wait_for_helper();
        };
        killed(signal, until, &["-a", "1", "duo", "manual"]);
    }
}

/// A host with odd ways, as sudo is one: it runs PAM with INT and QUIT blocked, and a
/// mask is inherited.
fn odd_host(world: &PamWorld) -> std::process::Child {
    let block = "use POSIX; my $set = POSIX::SigSet->new(SIGINT, SIGQUIT, SIGTERM, SIGHUP); \
                 sigprocmask(SIG_BLOCK, $set); $SIG{PIPE} = 'IGNORE'; exec @ARGV";
    let shell = "cd /srv/tmp; umask 0; exec 7</etc/passwd \"$@\"";
    let mut host = world.inside();
    host.args(["perl", "-e", block, "sh", "-c", shell, "sh"]);
    host.env("SECRET", "of-the-host");
    let words = ["-a", "1", "duo", "manual"];
    host.args(world.host_command(&words).get_args().skip(2));
    start(host)
}

pub fn the_helper_has_descriptors_and_an_environment_of_its_own() {
    let world = PamWorld::new("");
    let child = odd_host(&world);
    let (parent, asks) = world.wait_for_helper();
    for pid in [parent, asks] {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert_eq!(environment, b"", "the environment of {pid}");
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(folder.to_str(), Some("/"));
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        for one in open.flatten() {
            let target = fs::read_link(one.path()).unwrap();
            let target = target.to_string_lossy();
            let own = ["/dev/null", "socket:", "pipe:", "anon_inode:", "/etc/duo/"];
            let is_own = own.iter().any(|start| target.starts_with(start));
            assert!(is_own, "{pid} has {target}");
        }
    }
    assert!(world.sandbox.duo.approve("manual"));
    let asked = Asked::of(ended(child));
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
}

pub fn the_helper_hears_signals_that_the_host_has_blocked() {
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ] {
        let world = PamWorld::new("failmode = safe");
        let child = odd_host(&world);
        let (parent, _) = world.wait_for_helper();
        kill(Pid::from_raw(parent), signal).unwrap();
        let asked = Asked::of(ended(child));
        assert_eq!(asked.code(), code::ABORT, "{signal}: {asked:#?}");
        let line = world.final_line();
        assert!(line.starts_with("Aborted Duo login for 'manual'"), "{line}");
    }
}

/// Whoever kills these is root; the kernel may be, for want of memory.
pub fn a_helper_or_child_that_is_killed_denies() {
    for kills_child in [false, true] {
        let world = PamWorld::new("failmode = safe");
        let child = odd_host(&world);
        let (parent, asks) = world.wait_for_helper();
        let victim = if kills_child { asks } else { parent };
        kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        let asked = Asked::of(ended(child));
        assert_eq!(asked.code(), code::SERVICE_ERR, "{asked:#?}");
        world.wait_until_empty();
        let finals = world.module_lines();
        assert!(finals.len() >= 2, "{finals:#?}");
    }
}

pub fn a_hundred_at_once_get_each_their_own_verdict() {
    let world = PamWorld::new("");
    world.sandbox.duo.set_script("pushdeny", Script::Deny);
    let started: Vec<_> = (0..100)
        .map(|number| {
            let user = if number % 2 == 0 { "push" } else { "pushdeny" };
            start(world.host_command(&["-q", "-a", "123456", "duo", user]))
        })
        .collect();
    for (number, child) in started.into_iter().enumerate() {
        let asked = Asked::of(ended(child));
        let expected = if number % 2 == 0 {
            code::SUCCESS
        } else {
            code::ABORT
        };
        assert_eq!(asked.code(), expected, "{asked:#?}");
    }
    world.wait_until_empty();
    let finals = |text: &str| {
        let lines = world.module_lines().into_iter();
        lines.filter(|line| line.text.starts_with(text)).count()
    };
    assert_eq!(finals("Successful Duo login for 'push'"), 50);
    assert_eq!(finals("Aborted Duo login for 'pushdeny'"), 50);
}

/// Nothing but the six functions of the interface, bound when it is loaded, and
/// never unloaded from under a thread of the host's.
pub fn the_module_exports_its_entry_points_alone() {
    let names = Ended::of(std::process::Command::new("nm").args(["-D", "--defined-only", MODULE]));
    let names = names.stdout();
    let mut found: Vec<&str> = names.lines().filter_map(|l| l.split(' ').nth(2)).collect();
    found.sort_unstable();
    let entry_points = [
        "pam_sm_acct_mgmt",
        "pam_sm_authenticate",
        "pam_sm_chauthtok",
        "pam_sm_close_session",
        "pam_sm_open_session",
        "pam_sm_setcred",
    ];
    assert_eq!(found, entry_points);
    let flags = Ended::of(std::process::Command::new("readelf").args(["-dW", MODULE])).stdout();
    for flag in ["NODELETE", "NOW"] {
        assert!(flags.contains(flag), "{flags}");
    }
}
