//! What must not be remembered: by whoever forges, plants or breaks the file; of whoever comes
//! another way; and under circumstances that are not what they were.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fake_duo::{Endpoint, Fault, Request, Script, Times};

use super::{Connection, FOLDER, RECORD, REMEMBERED, approvals, file, finals, remembering};
use crate::machine::{Install, SSHD, Sshd, World};
use crate::support::{
    PATIENCE, Terminal, TerminalSize, ended, in_time, run, run_with, start, wait, wait_until,
};

/// A connection on which a person has said yes.
fn approved<'a>(world: &World, sshd: &'a Sshd) -> Connection<'a> {
    approved_by(world, sshd, "push")
}

fn approved_by<'a>(world: &World, sshd: &'a Sshd, user: &'a str) -> Connection<'a> {
    let connection = Connection::open(world, sshd, user);
    assert!(connection.is_asked(world));
    assert!(!connection.is_asked(world));
    connection
}

/// Whether a warning of the log says so, since it was cleared.
fn warns(world: &World, words: &str) -> bool {
    let mut lines = world.log().into_iter();
    lines.any(|line| {
        line.text.starts_with("this connection is not remembered: ") && line.text.contains(words)
    })
}

pub fn a_record_counts_for_its_connection_alone_whatever_else_it_says() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let one = approved(&world, &sshd);
    let other = approved(&world, &sshd);
    let both = fs::read(file(&world, "push")).unwrap();
    assert_eq!(both.len(), 2 * RECORD);
    let (first, second) = both.split_at(RECORD);
    // The first connection's digest with all the rest of the second's, and the reverse.
    let forged = [&first[..32], &second[32..], &first[32..]].concat();
    fs::write(file(&world, "push"), &forged[..RECORD]).unwrap();
    assert!(other.is_asked(&world));
    // That login has written, and left nothing out but what has ended.
    assert_eq!(approvals(&world, "push"), 2);
    fs::write(file(&world, "push"), [&second[..32], &first[32..]].concat()).unwrap();
    assert!(one.is_asked(&world));
    // Of another account.
    let phone = Connection::open(&world, &sshd, "phone");
    assert!(phone.is_asked(&world));
    fs::write(file(&world, "phone"), &both).unwrap();
    assert!(phone.is_asked(&world));
}

pub fn records_that_are_too_old_of_the_future_or_of_another_boot_do_not_count() {
    let world = remembering("remember_max = 1h\n");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let set = |at: usize, change: fn(u64) -> u64| {
        let mut bytes = fs::read(file(&world, "push")).unwrap();
        let field = &mut bytes[at..at + 8];
        let value = u64::from_le_bytes(field.try_into().unwrap());
        field.copy_from_slice(&change(value).to_le_bytes());
        fs::write(file(&world, "push"), bytes).unwrap();
    };
    const BOOT: usize = 32;
    const AT: usize = 48;
    const MINUTE: u64 = 60_000;
    // The machine may have been started a minute ago.
    set(AT, |at| at.wrapping_add(MINUTE));
    assert!(connection.is_asked(&world));
    set(AT, |at| at.wrapping_sub(60 * MINUTE));
    assert!(connection.is_asked(&world));
    set(BOOT, |boot| !boot);
    assert!(connection.is_asked(&world));
    assert!(!connection.is_asked(&world));
    assert_eq!(
        approvals(&world, "push"),
        1,
        "what does not count is removed"
    );
}

pub fn a_file_that_is_cut_too_long_or_garbage_is_not_read_and_begins_anew() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let good = fs::read(file(&world, "push")).unwrap();
    for bytes in [
        good[..RECORD - 1].to_vec(),
        [&good[..], &[0]].concat(),
        good.repeat(257),
        [good.repeat(256), vec![0; 1 << 20]].concat(),
        b"push 127.0.0.1 approved\n".to_vec(),
        vec![0xff; 4 * RECORD],
        Vec::new(),
    ] {
        fs::write(file(&world, "push"), &bytes).unwrap();
        assert!(connection.is_asked(&world), "{} bytes", bytes.len());
        assert!(!connection.is_asked(&world), "{} bytes", bytes.len());
        assert_eq!(approvals(&world, "push"), 1);
    }
}

pub fn a_full_file_of_open_connections_takes_no_other() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let record = fs::read(file(&world, "push")).unwrap();
    let many: Vec<u8> = (0..256_u16)
        .flat_map(|number| [&number.to_le_bytes()[..], &record[2..]].concat())
        .collect();
    fs::write(file(&world, "push"), &many).unwrap();
    assert!(connection.is_asked(&world));
    assert!(connection.is_asked(&world));
    assert!(warns(&world, "256 connections are approved already"));
    assert_eq!(approvals(&world, "push"), 256);
    // Once they have ended there is room.
    drop(connection);
    world.wait_until_empty();
    approved(&world, &sshd);
    assert_eq!(approvals(&world, "push"), 1);
}

pub fn a_folder_or_file_that_is_not_roots_alone_is_not_used() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let (file, folder) = (file(&world, "push"), world.at(FOLDER));
    let uid = Some(world.uid("push"));
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let aside = folder.join("aside");
    type Step<'a> = (&'a str, &'a dyn Fn(), &'a dyn Fn());
    let steps: [Step<'_>; 7] = [
        ("a file for others", &|| mode(&file, 0o644), &|| {
            mode(&file, 0o600)
        }),
        (
            "a file of the user's",
            &|| chown(&file, uid, None).unwrap(),
            &|| chown(&file, Some(0), None).unwrap(),
        ),
        (
            "a hard link",
            &|| fs::hard_link(&file, &aside).unwrap(),
            &|| fs::remove_file(&aside).unwrap(),
        ),
        (
            "a symbolic link",
            &|| {
                fs::rename(&file, &aside).unwrap();
                symlink("aside", &file).unwrap();
            },
            &|| fs::rename(&aside, &file).unwrap(),
        ),
        ("a folder for others", &|| mode(&folder, 0o711), &|| {
            mode(&folder, 0o700)
        }),
        (
            "a folder of the user's",
            &|| chown(&folder, uid, None).unwrap(),
            &|| chown(&folder, Some(0), None).unwrap(),
        ),
        (
            "a folder behind a link",
            &|| {
                fs::rename(&folder, world.at("/run/elsewhere")).unwrap();
                symlink("/run/elsewhere", &folder).unwrap();
            },
            &|| {
                fs::remove_file(&folder).unwrap();
                fs::rename(world.at("/run/elsewhere"), &folder).unwrap();
            },
        ),
    ];
    for (what, spoil, mend) in steps {
        spoil();
        world.clear_log();
        assert!(connection.is_asked(&world), "{what}");
        assert!(
            warns(&world, "/run/login_duo/remember"),
            "{what}: {:?}",
            world.log()
        );
        mend();
        assert!(!connection.is_asked(&world), "{what}");
    }
    // Whoever can write above it could put another folder in its place.
    fs::remove_dir_all(&folder).unwrap();
    mode(&world.at("/run/login_duo"), 0o777);
    assert!(connection.is_asked(&world));
    assert!(!folder.exists());
    assert!(warns(&world, "root alone can write to"));
}

pub fn whatever_has_changed_since_is_asked() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let config = world.sandbox.config();
    let text = fs::read_to_string(&config).unwrap();
    let groups = world.at("/etc/group");
    let known = fs::read_to_string(&groups).unwrap();
    let changes: [(&str, &dyn Fn()); 4] = [
        ("written again", &|| fs::write(&config, &text).unwrap()),
        ("another file", &|| {
            let new = config.with_extension("new");
            fs::copy(&config, &new).unwrap();
            fs::rename(&new, &config).unwrap();
        }),
        ("another group", &|| {
            let more = known.replace("staff:x:", "admins:x:4242:push\nstaff:x:");
            fs::write(&groups, more).unwrap();
        }),
        ("a group less", &|| {
            fs::write(&groups, known.replace(":push,manual", ":manual")).unwrap()
        }),
    ];
    for (what, change) in changes {
        change();
        assert!(connection.is_asked(&world), "{what}");
        assert!(!connection.is_asked(&world), "{what}");
    }
}

pub fn duo_and_failmode_decide_as_ever() {
    for (failmode, opens) in [("safe", true), ("secure", false)] {
        let world = remembering(&format!("failmode = {failmode}\n"));
        let sshd = Sshd::start(&world, "");
        let connection = approved(&world, &sshd);
        let duo = &world.sandbox.duo;
        duo.set_script("push", Script::Deny);
        assert_eq!(connection.ssh("echo in").stdout(), "", "disabled at Duo");
        duo.set_script("push", Script::Enroll);
        assert_eq!(connection.ssh("echo in").stdout(), "");
        duo.set_script("push", Script::Push);
        assert!(!connection.is_asked(&world));
        duo.fault(Endpoint::Any, Fault::Bare { status: 503 }, Times::Always);
        let ended = connection.ssh("echo in");
        assert_eq!(ended.stdout() == "in\n", opens, "{ended:?}");
        let last = finals(&world).pop().unwrap();
        assert!(!last.contains("approved"), "{last}");
    }
}

/// `duoctl forget` returns while a login that has opened the file before waits for preauth.
pub fn what_is_forgotten_during_a_login_is_asked_by_it() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let duo = &world.sandbox.duo;
    let (preauths, auths) = (duo.asked("preauth"), duo.asked("auth"));
    let late = Fault::Delay(Duration::from_secs(2));
    duo.fault(Endpoint::Preauth, late, Times::First(1));
    let session = start(connection.session("echo in"));
    let waits = |requests: &[Request]| {
        let asked = requests.iter().filter(|it| it.endpoint() == "preauth");
        asked.count() > preauths
    };
    assert!(duo.wait_until(waits, PATIENCE));
    let mut forget = world.inside();
    forget.args(["/srv/bin/duoctl", "forget"]);
    run(forget).succeeds();
    assert_eq!(ended(session).stdout(), "in\n");
    assert_eq!(duo.asked("auth"), auths + 1);
    // That yes went to the file that is gone.
    assert!(connection.is_asked(&world));
    assert!(!connection.is_asked(&world));
}

pub fn only_a_persons_yes_is_kept() {
    let world = remembering("failmode = safe\ngroups = *,!night-shift\n");
    let sshd = Sshd::start(&world, "");
    // Duo asks for no second factor; groups let pass; Duo denies.
    for (user, out) in [
        ("allow", "in\n"),
        ("push", "in\n"),
        ("pushdeny", ""),
        ("deny", ""),
    ] {
        let connection = Connection::open(&world, &sshd, user);
        assert_eq!(connection.ssh("echo in").stdout(), out, "{user}");
        assert_eq!(approvals(&world, user), 0, "{user}");
    }
    let duo = &world.sandbox.duo;
    duo.fault(Endpoint::Any, Fault::Bare { status: 503 }, Times::Always);
    let connection = Connection::open(&world, &sshd, "phone");
    assert_eq!(connection.ssh("echo in").stdout(), "in\n");
    assert_eq!(approvals(&world, "phone"), 0, "let in by failmode");
}

pub fn who_leaves_before_the_yes_has_approved_nothing() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "manual");
    let session = start(connection.session("echo in"));
    world.wait_for_push();
    drop(connection);
    assert_eq!(ended(session).stdout(), "");
    world.wait_for_log(|text| text.starts_with("Aborted Duo login"));
    world.sandbox.duo.approve("manual");
    world.wait_until_empty();
    assert_eq!(approvals(&world, "manual"), 0);
}

pub fn two_first_logins_at_once_are_each_asked_and_one_record_is_left() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "manual");
    let both = [(); 2].map(|()| start(connection.session("echo in")));
    let duo = &world.sandbox.duo;
    let rang = |requests: &[Request]| {
        let auths = requests.iter().filter(|it| it.endpoint() == "auth");
        auths.count() == 2
    };
    assert!(duo.wait_until(rang, PATIENCE));
    let both = RefCell::new(both);
    let are_over = || {
        duo.approve("manual");
        let mut both = both.borrow_mut();
        both.iter_mut().all(|it| it.try_wait().unwrap().is_some())
    };
    wait_until(are_over, || "a session is left".to_owned());
    for session in both.into_inner() {
        assert_eq!(ended(session).stdout(), "in\n");
    }
    assert!(!connection.is_asked(&world));
    assert_eq!(approvals(&world, "manual"), 1);
}

pub fn a_dead_master_leaves_nothing_to_the_next() {
    let world = remembering("");
    let sshd = Sshd::listen(&world, &[SSHD], "");
    drop(approved(&world, &sshd));
    let next = Connection::open(&world, &sshd, "push");
    assert!(next.is_asked(&world));
}

/// Runs `script` in the session of an approved connection; returns what it left in `out`.
fn left_behind(connection: &Connection<'_>, world: &World, script: &str) -> String {
    let home = world.at(&format!("/srv/home/{}", connection.user));
    let out = home.join("out");
    let _ = fs::remove_file(&out);
    let ended = connection.ssh(script);
    assert_eq!(ended.code(), 0, "{ended:?}");
    wait_until(|| out.exists(), || format!("{ended:?} {:?}", world.log()));
    fs::read_to_string(out).unwrap()
}

pub fn what_has_no_sshd_above_it_is_asked() {
    let world = remembering("");
    let sshd = Sshd::listen(&world, &[SSHD], "");
    let connection = approved(&world, &sshd);
    let asked = || world.sandbox.duo.asked("auth");
    // By cron, at, systemd: the same user, and no connection.
    let before = asked();
    let mut login = world.login(Install::Setuid, "push");
    login.arg("true");
    assert_eq!(run(login).code(), 0);
    assert_eq!(asked(), before + 1);
    // By hand in the session: a shell that they have.
    let by_hand = "/srv/bin/login_duo 'echo $PPID' </dev/null >out.new; mv out.new out";
    left_behind(&connection, &world, by_hand);
    assert_eq!(asked(), before + 1);
    // What has left the session, as tmux does.
    let orphan = "perl -e 'use POSIX; fork and exit; setsid; fork and exit; sleep 1 while getppid \
                  != 1; exec @ARGV' -- sh -c '/srv/bin/login_duo true >out.new; mv out.new out' \
                  </dev/null >/dev/null 2>&1";
    left_behind(&connection, &world, orphan);
    assert_eq!(asked(), before + 2);
}

/// A listener that adopts orphans (whoever started it may have made it so) stands above the
/// orphans of all connections, and would be the connection of each of them. The user dresses up
/// as sshd there: sshd's own file, with a library that starts login_duo.
pub fn a_listener_that_adopts_orphans_is_nobodys_connection() {
    const ADOPTING: &str = "import ctypes, os, sys; PR_SET_CHILD_SUBREAPER = 36; \
                            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); \
                            os.execv(sys.argv[1], sys.argv[1:])";
    const DRESSED: &str = "#include <stdlib.h>\n__attribute__((constructor)) static void f(void)\
                           { unsetenv(\"LD_PRELOAD\"); _Exit(system(\"/srv/home/run\")); }";
    const ORPHAN: &str = "\
import os, sys, time
parent = os.getpid()
if os.fork():
    sys.exit()
os.setsid()
while os.getppid() == parent:
    time.sleep(0.05)
open('above', 'w').write(open(f'/proc/{os.getppid()}/cmdline').read())
if sys.argv[2:]:
    os.environ['LD_PRELOAD'] = sys.argv.pop()
os.execv(sys.argv[1], sys.argv[1:])
";
    const RUN: &str = "#!/bin/sh\n/srv/bin/login_duo true; mv above out\n";
    let world = remembering("");
    fs::write(world.at("/srv/home/orphan"), ORPHAN).unwrap();
    fs::write(world.at("/srv/home/run"), RUN).unwrap();
    fs::set_permissions(world.at("/srv/home/run"), Permissions::from_mode(0o755)).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-x", "c", "-", "-o"]);
    gcc.arg(world.at("/srv/home/dressed.so"));
    assert_eq!(run_with(gcc, DRESSED.as_bytes()).code(), 0);
    let sshd = Sshd::listen(&world, &["/usr/bin/python3", "-c", ADOPTING, SSHD], "");
    let dressed = format!("{SSHD} /srv/home/dressed.so");
    for program in ["/srv/home/run", &dressed] {
        for user in ["push", "root"] {
            let connection = approved_by(&world, &sshd, user);
            for _ in 0..2 {
                let before = world.sandbox.duo.asked("auth");
                let script =
                    format!("python3 /srv/home/orphan {program} </dev/null >/dev/null 2>&1");
                let above = left_behind(&connection, &world, &script);
                assert!(above.contains("[listener]"), "{above}");
                let after = world.sandbox.duo.asked("auth");
                assert_eq!(after, before + 1, "{program} by {user}");
            }
        }
    }
}

pub fn another_account_below_an_approved_connection_is_asked() {
    let world = remembering("");
    let sshd = Sshd::listen(&world, &[SSHD], "");
    let connection = approved_by(&world, &sshd, "root");
    let (uid, before) = (world.uid("push"), world.sandbox.duo.asked("auth"));
    let by_hand =
        format!("setpriv --reuid {uid} --regid {uid} --init-groups /srv/bin/login_duo id");
    for number in 1..=2 {
        let ended = connection.ssh(&by_hand);
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert_eq!(world.sandbox.duo.asked("auth"), before + number);
    }
    assert_eq!(approvals(&world, "push"), 0);
}

/// In a container sshd may be process 1, and with it the parent of every orphan.
pub fn behind_an_sshd_that_is_process_1_one_yes_serves_one_connection() {
    let world = remembering("");
    let alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let sshd = Sshd::listen(&world, &[&alone[..], &[SSHD]].concat(), "");
    for user in ["push", "root"] {
        let one = approved_by(&world, &sshd, user);
        let above = one.ssh("cat /proc/1/comm; echo $PPID >/dev/null");
        assert_eq!(above.stdout(), "sshd\n", "{above:?}");
        let other = Connection::open(&world, &sshd, user);
        assert!(other.is_asked(&world), "{user}");
        assert!(!other.is_asked(&world), "{user}");
        assert!(!one.is_asked(&world), "{user}");
        // An orphan of one connection is below process 1, as those of all others are.
        let orphan = "perl -e 'use POSIX; fork and exit; setsid; fork and exit; sleep 1 while \
                      getppid != 1; exec @ARGV' -- sh -c '/srv/bin/login_duo true >out.new; \
                      mv out.new out' </dev/null >/dev/null 2>&1";
        for _ in 0..2 {
            let before = world.sandbox.duo.asked("auth");
            left_behind(&one, &world, orphan);
            assert_eq!(world.sandbox.duo.asked("auth"), before + 1, "{user}");
        }
    }
}

pub fn more_than_sixteen_processes_up_is_too_far() {
    let world = remembering("");
    let sshd = Sshd::listen(&world, &[SSHD], "");
    let connection = approved(&world, &sshd);
    let chain = |length: usize| {
        let before = world.sandbox.duo.asked("auth");
        let command = format!(
            "{}/srv/bin/login_duo true",
            "perl -e 'exit system @ARGV' -- ".repeat(length)
        );
        assert_eq!(connection.ssh(&command).code(), 0);
        world.sandbox.duo.asked("auth") - before
    };
    assert_eq!(chain(8), 0);
    assert_eq!(chain(16), 1);
}

pub fn another_pid_namespaces_proc_names_no_connection() {
    let world = remembering("");
    let sshd = Sshd::listen(&world, &[SSHD], "");
    let connection = approved_by(&world, &sshd, "root");
    let before = world.sandbox.duo.asked("auth");
    // With the /proc of outside, where the parent is 0, and with one of its own.
    for mount in ["--kill-child", "--mount-proc"] {
        let inner = format!("unshare --fork --pid {mount} /srv/bin/login_duo true");
        let ended = connection.ssh(&inner);
        assert_eq!(ended.code(), 0, "{ended:?}");
    }
    assert_eq!(world.sandbox.duo.asked("auth"), before + 2);
}

pub fn an_sshd_whose_file_was_replaced_is_the_same_connection() {
    let world = remembering("");
    let copy = world.at("/srv/home/sshd");
    fs::copy("/usr/sbin/sshd", &copy).unwrap();
    let sshd = Sshd::listen(&world, &["/srv/home/sshd"], "");
    let connection = approved(&world, &sshd);
    fs::remove_file(&copy).unwrap();
    assert!(!connection.is_asked(&world));
}

pub fn an_sshd_that_others_can_write_to_is_none() {
    let world = remembering("");
    let copy = world.at("/srv/home/sshd");
    fs::copy("/usr/sbin/sshd", &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o775)).unwrap();
    let sshd = Sshd::listen(&world, &["/srv/home/sshd"], "");
    let connection = Connection::open(&world, &sshd, "push");
    assert!(connection.is_asked(&world));
    assert!(connection.is_asked(&world));
}

pub fn the_child_alone_has_the_file_and_can_make_it_no_longer() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "manual");
    let session = start(connection.session("ls -l /proc/self/fd"));
    let (parent, child) = world.wait_for_push();
    let has = |pid: i32| {
        let folder = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let links = folder.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links.filter(|path| path.starts_with(FOLDER)).count()
    };
    assert_eq!((has(parent), has(child)), (0, 1));
    let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    let size = limits
        .lines()
        .find(|line| line.starts_with("Max file size"))
        .unwrap();
    let words: Vec<&str> = size.split_whitespace().collect();
    assert_eq!(words[3..5], ["16384", "16384"]);
    assert!(world.sandbox.duo.approve("manual"));
    let listing = ended(session);
    assert_eq!(listing.code(), 0);
    assert!(!listing.stdout().contains(FOLDER), "{listing:?}");
}

pub fn a_lock_that_is_never_given_back_does_not_hold_the_login_up() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let script = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); \
                  print('held', flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3");
    holder.args(["-c", script]).arg(file(&world, "push"));
    let mut holder = start(holder);
    let mut stdout = holder.stdout.take().unwrap();
    in_time(move || std::io::Read::read_exact(&mut stdout, &mut [0; 5])).unwrap();
    world.clear_log();
    assert!(connection.is_asked(&world));
    assert!(warns(&world, "lock the approved connections"));
    drop(holder.stdin.take());
    wait(&mut holder);
    assert!(!connection.is_asked(&world));
}

pub fn on_a_terminal_one_line_says_so_and_there_is_no_menu() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = approved(&world, &sshd);
    let mut ssh = connection.client("ssh");
    ssh.env("TERM", "xterm").args(["-tt", "push@127.0.0.1"]);
    let size = TerminalSize {
        rows: 31,
        columns: 97,
    };
    let mut terminal = Terminal::start(&ssh, size);
    terminal.wait_for_text("Approved 0 min ago on this connection");
    terminal.send("exit 7\n");
    assert_eq!(terminal.status(), 7);
    assert!(!terminal.screen().contains("Passcode or option"));
    let last = finals(&world).pop().unwrap();
    assert!(last.ends_with(REMEMBERED), "{last}");
}

/// `hidepid` hides them from users, and root looks.
pub fn a_proc_that_hides_processes_hides_none_from_root() {
    let world = remembering("");
    let mut mount = world.inside();
    mount.args(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"]);
    assert_eq!(run(mount).code(), 0);
    let sshd = Sshd::listen(&world, &[SSHD], "");
    approved(&world, &sshd);
}

/// As in a container: not even root is told which program another's process runs.
pub fn where_root_may_not_see_programs_each_is_asked() {
    let world = remembering("");
    let sshd = Sshd::listen(&world, &["setpriv", "--bounding-set=-sys_ptrace", SSHD], "");
    let connection = Connection::open(&world, &sshd, "push");
    assert!(connection.is_asked(&world));
    assert!(connection.is_asked(&world));
    assert_eq!(approvals(&world, "push"), 0);
}
