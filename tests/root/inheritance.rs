//! Attack 5, and *The session*: it is exactly what the same caller would have
//! started without login_duo.

use std::process::Command;

use crate::machine::{INSTALLS, Install, World};
use crate::support::{Terminal, TerminalSize, run, run_quietly};

/// What a process is made of, as it can say itself.
const PORTRAIT: &str = "umask; pwd; ulimit -a -S; ulimit -a -H; env | sort; \
    grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap...|Sig(Blk|Ign)|CoreDumping)' /proc/self/status; \
    for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; id; cat /proc/self/oom_score_adj; nice";

/// Closes what another test, side by side in this process, had open in the moment of the
/// fork.
const ONLY_OURS: [&str; 3] = [
    "perl",
    "-e",
    "use POSIX (); POSIX::close($_) for 3 .. 1023; exec @ARGV",
];

fn portraits(install: Install, world: &World, through: &[&str]) -> (String, String) {
    let through = &[&ONLY_OURS, through].concat();
    let mut login = world.login_through(install, "push", through);
    login.env("DUO_PASSCODE", "1");
    login.args([PORTRAIT]);
    let with = run(login);
    assert_eq!(with.code(), 0, "{with:?}");
    let mut plain = match install {
        Install::Root => world.inside(),
        _ => world.as_user("push"),
    };
    plain.env("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22");
    plain.args(through).args(["/bin/bash", "-c", PORTRAIT]);
    (with.stdout(), run(plain).stdout())
}

pub fn the_session_is_what_it_would_be_without_login_duo() {
    let world = World::new();
    let open =
        "umask 0137; cd /var/lib; ulimit -n 777; exec 5</etc/passwd 8>/dev/null; exec \"$@\"";
    for install in INSTALLS {
        let (with, without) = portraits(install, &world, &["sh", "-c", open, "sh"]);
        assert_eq!(with, without, "{install:?}");
        assert!(with.contains("NoNewPrivs:\t0") && with.contains("/var/lib"));
    }
}

pub fn sigpipe_ignored_or_default_at_start_is_the_same_in_the_session() {
    // The bit of SIGPIPE (13).
    for (script, expected) in [("exec @ARGV", 0), ("$SIG{PIPE} = 'IGNORE'; exec @ARGV", 1)] {
        let world = World::new();
        for install in INSTALLS {
            let mut login = world.login_through(install, "push", &["perl", "-e", script]);
            login.args(["grep SigIgn /proc/self/status"]);
            let ended = run(login);
            let said = ended.stdout();
            let mask = said.split_whitespace().nth(1).expect("a mask");
            let mask = u64::from_str_radix(mask, 16).unwrap();
            assert_eq!(mask >> 12 & 1, expected, "{install:?}: {ended:?}");
        }
    }
}

pub fn every_disposition_and_the_mask_are_handed_on() {
    let ignores = "$SIG{$_} = 'IGNORE' for qw(CHLD INT TERM HUP QUIT PIPE TSTP TTIN TTOU USR1); \
                   exec @ARGV";
    let blocks = "use POSIX; my $set = POSIX::SigSet->new(SIGCHLD, SIGTERM, SIGHUP, SIGUSR2, \
                  SIGPIPE, SIGTSTP); sigprocmask(SIG_BLOCK, $set); exec @ARGV";
    let world = World::new();
    for script in [ignores, blocks] {
        for install in INSTALLS {
            let (with, without) = portraits(install, &world, &["perl", "-e", script]);
            assert_eq!(with, without, "{install:?} {script}");
        }
    }
}

pub fn the_shell_and_its_name() {
    let world = World::with("", |passwd| {
        for (name, shell) in [
            ("push", "/bin/dash"),
            ("allow", ""),
            ("phone", "/srv/none"),
            ("slowpush", "/etc/passwd"),
        ] {
            let line = passwd
                .iter_mut()
                .find(|line| line.starts_with(&format!("{name}:")));
            let line = line.unwrap();
            *line = line.replace(":/bin/bash", &format!(":{shell}"));
        }
    });
    let said = |name: &str| {
        let mut login = world.login(Install::Setuid, name);
        login.args(["echo $0"]);
        run(login)
    };
    assert_eq!(said("push").stdout(), "dash\n");
    assert_eq!(said("allow").stdout(), "sh\n");
    let missing = said("phone");
    assert_eq!(missing.code(), 127);
    assert_eq!(
        missing.others(),
        "login_duo: /srv/none: No such file or directory\n"
    );
    let unfit = said("slowpush");
    assert_eq!(unfit.code(), 126);
    assert_eq!(
        unfit.others(),
        "login_duo: /etc/passwd: Permission denied\n"
    );
}

pub fn without_a_command_it_is_a_login_shell() {
    let world = World::new();
    let mut login = world.login(Install::Setuid, "push");
    login.env("TERM", "xterm").env("LANG", "C.UTF-8");
    let mut terminal = Terminal::start(&login, TerminalSize::USUAL);
    terminal.wait_for_text("Passcode or option (1-");
    terminal.send("\n");
    terminal.wait_for_text("Success. Logging you in...");
    terminal.send("echo name=$0; exit 3\n");
    terminal.wait_for_text("name=-bash");
    assert_eq!(terminal.status(), 3);
}

pub fn the_message_of_the_day_is_for_a_shell_on_a_terminal() {
    let world = World::with("motd = yes\ngroups = staff\n", |_| {});
    let mut writing = world.inside();
    writing.args(["sh", "-c", "echo 'the day has a message' >/etc/motd"]);
    assert!(run_quietly(&mut writing).success());
    let message = "the day has a message";
    let size = TerminalSize {
        rows: 40,
        columns: 80,
    };
    // Whether Duo asks, what is typed at its menu, the command, and whether the message comes.
    for (name, typed, command, shown) in [
        ("push", "1\n", None, true),
        ("push", "1\n", Some("true"), false),
        ("push", "\x04", None, false),
        // Not in the group.
        ("allow", "", None, true),
        ("allow", "", Some("true"), false),
    ] {
        let mut login = world.login(Install::Setuid, name);
        login.env("TERM", "xterm").args(command);
        let mut terminal = Terminal::start(&login, size);
        if !typed.is_empty() {
            terminal.wait_for_text("Passcode or option (1-3):");
            terminal.send(typed);
        }
        if command.is_none() && typed != "\x04" {
            // What is typed before Duo's yes is not the shell's.
            terminal.wait_for_text(message);
            terminal.send("exit\n");
        }
        terminal.wait();
        let times = terminal.screen().matches(message).count();
        assert_eq!(times, usize::from(shown), "{name} {command:?} {typed:?}");
    }
    let headless = run(world.login(Install::Setuid, "push"));
    assert_eq!((headless.code(), &*headless.stdout()), (0, ""));
}

pub fn sudo_works_in_the_session() {
    // A setuid program of root's gets its privileges: no_new_privs is not set.
    let world = World::new();
    let mut copy = world.inside();
    copy.args([
        "sh",
        "-c",
        "cp /usr/bin/id /srv/bin/id && chmod 4755 /srv/bin/id",
    ]);
    assert_eq!(run(copy).code(), 0);
    let mut login: Command = world.login(Install::Setuid, "push");
    login.args(["/srv/bin/id -u"]);
    assert_eq!(run(login).stdout(), "0\n");
}
