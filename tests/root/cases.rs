//! What public reports and attacks have shown to go wrong, with the right
//! outcome: the parent belongs to the caller as soon as it has dropped its
//! privileges, and a process that is root's must not.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Child, Command};

use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{Install, Line, World, process};
use crate::support::{Ended, Terminal, TerminalSize, ended, run, side_by_side, start, wait_until};

const MENU: &str = "Passcode or option (1-";
const WRONG: &str = "000001\n";
const START: &str = "Duo login for 'manual' from 192.0.2.7: ";

/// A login of `manual` on a terminal of which it is the session's leader, at the
/// menu; and its parent.
fn at_the_menu(world: &World, install: Install) -> (Terminal, i32) {
    let mut login = world.login(install, "manual");
    login.env("TERM", "xterm").args(["echo", "in"]);
    let terminal = Terminal::start(&login, TerminalSize::USUAL);
    terminal.wait_for_text(MENU);
    let parent = terminal.pid();
    assert_eq!(process::stat(parent, 6), parent.to_string(), "the session");
    assert_eq!(world.halves().0, parent);
    (terminal, parent)
}

fn send(signal: Signal, pid: i32) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn stop(parent: i32) {
    send(Signal::SIGSTOP, parent);
    let is_stopped = || process::stat(parent, 3) == "T";
    wait_until(is_stopped, || "not stopped".to_owned());
}

/// Runs a command as `manual`; whether it succeeds.
fn as_the_user(world: &World, words: &[&str]) -> bool {
    let mut command = world.as_user("manual");
    command.args(words);
    run(command).code() == 0
}

/// The lines that tell of an outcome, all logged by `duo`.
fn outcomes(world: &World) -> Vec<String> {
    let of_outcome = |line: &Line| line.text.contains(" Duo login for '");
    let lines: Vec<Line> = world.log().into_iter().filter(of_outcome).collect();
    let duo = world.uid("duo");
    assert!(lines.iter().all(|line| line.sender == duo), "{lines:#?}");
    lines.into_iter().map(|line| line.text).collect()
}

// The parent is killed

/// Where a login is when it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Menu,
    Push,
    WrongPasscode,
}

/// Brings a login on a terminal that far; `kills` does the rest, and the line
/// that says so is the last one, logged once, by `duo`.
fn killed(install: Install, kills: impl Fn(&mut Terminal, i32) + Sync) {
    let stages = [Stage::Menu, Stage::Push, Stage::WrongPasscode];
    let cases = stages.map(|stage| ["safe", "secure"].map(|failmode| (stage, failmode)));
    side_by_side(cases.as_flattened(), |(stage, failmode)| {
        let world = World::with(&format!("failmode = {failmode}\n"), |_| {});
        let (mut terminal, parent) = at_the_menu(&world, install);
        match stage {
            Stage::Menu => {}
            Stage::Push => {
                terminal.send("1\n");
                world.wait_for_push();
            }
            Stage::WrongPasscode => {
                terminal.send(WRONG);
                terminal.wait_for(|screen| screen.matches(MENU).count() == 2);
            }
        }
        kills(&mut terminal, parent);
        terminal.wait();
        assert!(!terminal.screen().lines().any(|line| line == "in"));
        world.wait_until_empty();
        let mut lines = outcomes(&world);
        let last = lines.pop().unwrap_or_default();
        let expected =
            ["login_duo was killed", "interrupted"].map(|why| format!("Aborted {START}{why}"));
        assert!(expected.contains(&last), "{stage:?} {failmode}: '{last}'");
        // A wrong passcode has its own line.
        let wrong = usize::from(*stage == Stage::WrongPasscode);
        assert_eq!(lines.len(), wrong, "{stage:?} {failmode}: {lines:#?}");
        assert!(
            lines.iter().all(|line| line.starts_with("Failed ")),
            "{lines:#?}"
        );
    });
}

pub fn a_killed_leader_of_the_session_leaves_one_line_of_duos() {
    for install in [Install::Setuid, Install::Root] {
        killed(install, |_, parent| send(Signal::SIGKILL, parent));
    }
}

pub fn a_leader_stopped_interrupted_and_killed_leaves_one_line_of_duos() {
    killed(Install::Setuid, |terminal, parent| {
        stop(parent);
        terminal.send("\x03");
        // The terminal has taken it when it has shown it.
        terminal.wait_for_text("^C");
        send(Signal::SIGKILL, parent);
    });
}

pub fn a_parent_killed_before_the_child_says_who_it_is_leaves_a_line_with_the_name() {
    let world = World::new();
    let mut login = late_at(&world, "chdir");
    let is_late = |pid: &i32| {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        call.starts_with(&format!("{} ", libc::SYS_chdir))
    };
    let pids = || world.processes().into_iter().map(|(pid, _)| pid);
    let child = || pids().find(is_late);
    wait_until(|| child().is_some(), || "no child that is late".to_owned());
    let parent = process::stat(child().unwrap(), 4);
    wait_until(
        || as_the_user(&world, &["kill", "-KILL", &parent]),
        || "the parent never became the caller's".to_owned(),
    );
    world.wait_for_log(|text| text == "Aborted Duo login for 'manual': login_duo was killed");
    assert_eq!(outcomes(&world).len(), 1);
    // Nobody's phone rings for a login that is over, and Duo is not even asked.
    assert_eq!(world.sandbox.duo.requests().len(), 0);
    login.kill().unwrap();
    ended(login);
    world.wait_until_empty();
}

// The parent's descriptors are taken

pub fn a_parent_without_descriptors_still_has_its_line_with_the_name() {
    // With four, the parent can wait no longer, and has one left to log with.
    side_by_side(&["--nofile=0:0", "--nofile=4:4"], |limit| {
        let world = World::with("prompts = 1\n", |_| {});
        let (mut terminal, parent) = at_the_menu(&world, Install::Setuid);
        let pid = parent.to_string();
        assert!(as_the_user(&world, &["prlimit", "--pid", &pid, limit]));
        terminal.send(WRONG);
        terminal.wait();
        world.wait_until_empty();
        let lines = outcomes(&world);
        assert_eq!(lines.len(), 1, "{limit}: {lines:#?} of {:#?}", world.log());
        let failed = format!("Failed {START}");
        assert!(lines[0].starts_with(&failed), "{limit}: {lines:#?}");
    });
}

// The setuid bit has no effect

/// `login_duo -c MINE -f root echo in` by a user, behind these words: refused,
/// and MINE stays closed.
fn is_refused(through: &[&str]) {
    let world = World::new();
    let mine = world.sandbox.path().join("mine.conf");
    fs::copy(world.sandbox.config(), &mine).unwrap();
    chown(&mine, Some(world.uid("push")), None).unwrap();
    let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    watch.add_watch(&mine, AddWatchFlags::IN_OPEN).unwrap();

    let mut login = world.as_user("push");
    login.args(through);
    login.args([
        "/srv/bin/login_duo",
        "-c",
        "/etc/duo/mine.conf",
        "-f",
        "root",
    ]);
    login.args(["echo", "in"]);
    let ended: Ended = run(login);
    let stderr = ended.stderr();
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{stderr}");
    let says = |words: &str| stderr.lines().any(|line| line.contains(words));
    assert!(says("setuid") && says("effective"), "{stderr}");
    let opened = watch.read_events();
    assert!(opened.is_err(), "it opened the file: {opened:?}");
    assert!(world.sandbox.duo.paths().is_empty());
}

pub fn a_setuid_program_under_no_new_privs_refuses_to_run() {
    is_refused(&["setpriv", "--no-new-privs"]);
}

pub fn a_setuid_program_under_the_callers_tracer_refuses_to_run() {
    is_refused(&["strace", "-f", "-o", "/dev/null"]);
}

pub fn a_setuid_program_in_a_user_namespace_refuses_to_run() {
    is_refused(&["unshare", "--user"]);
    // The caller is root there, but the program's file is not root's.
    is_refused(&["unshare", "--user", "--map-root-user"]);
}

// A process is stopped while it is root's

/// A login by `manual` in which each process is late at that system call: there is
/// time to do what a caller could do with luck. (A test on a busy machine, too.)
fn late_at(world: &World, call: &str) -> Child {
    let mut login = world.inside();
    login.args(["strace", "-f", "-u", "manual", "-o", "/dev/null", "-e"]);
    login.arg(format!("inject={call}:delay_enter=4000000:when=1"));
    login.args(["/srv/bin/login_duo", "echo", "in"]);
    start(login)
}

/// The processes of login_duo that have root's effective user id.
fn of_root(world: &World) -> Vec<i32> {
    let ours = world.processes().into_iter();
    ours.filter(|(_, name)| name == "login_duo")
        .map(|(pid, _)| pid)
        .filter(|pid| {
            let ids = process::status(*pid, "Uid");
            ids.split(' ').nth(1) == Some("0")
        })
        .collect()
}

pub fn a_child_that_is_roots_still_cannot_be_stopped_by_the_caller() {
    let world = World::new();
    let mut login = late_at(&world, "setgroups");
    // The first of them is the child's, before it drops what it has.
    let child = || {
        let is_late = |pid: &i32| {
            let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            call.starts_with(&format!("{} ", libc::SYS_setgroups))
        };
        of_root(&world).into_iter().find(is_late)
    };
    wait_until(
        || child().is_some(),
        || "no child that is root's".to_owned(),
    );
    let child = child().unwrap().to_string();
    let stopped = as_the_user(&world, &["kill", "-STOP", &child]);
    let parent = process::stat(child.parse().unwrap(), 4);
    // From when on they can is the parent's affair; nothing of root's may stay.
    wait_until(
        || as_the_user(&world, &["kill", "-KILL", &parent]),
        || "the parent never became the caller's".to_owned(),
    );
    wait_until(
        || of_root(&world).is_empty(),
        || format!("root's still: {:?}; stopped: {stopped}", of_root(&world)),
    );
    assert!(!stopped, "the caller could stop it");
    login.kill().unwrap();
    ended(login);
    world.wait_until_empty();
}

pub fn a_process_that_has_opened_the_configuration_cannot_be_stopped_by_the_caller() {
    let world = World::new();
    let login = late_at(&world, "/^(clone|fork|vfork)$");
    let has_opened = |pid: &i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut targets = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        targets.any(|target| target.ends_with("login_duo.conf"))
    };
    let holder = || of_root(&world).into_iter().find(has_opened);
    wait_until(|| holder().is_some(), || "it opened nothing".to_owned());
    let pid = holder().unwrap().to_string();
    let stopped = as_the_user(&world, &["kill", "-STOP", &pid]);
    assert!(!stopped, "the caller could stop it");
    let (parent, _) = world.wait_for_push();
    send(Signal::SIGTERM, parent);
    ended(login);
    world.wait_until_empty();
}

pub fn a_parent_that_drops_its_privileges_cannot_be_stopped_with_an_id_of_roots() {
    let world = World::new();
    let login = late_at(&world, "prctl");
    let drops = |pid: &i32| {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let forbids_tracing = format!("{} {:#x} ", libc::SYS_prctl, libc::PR_SET_DUMPABLE);
        call.starts_with(&forbids_tracing)
            && process::status(*pid, "Uid").split(' ').any(|id| id == "0")
    };
    let pids = || world.processes().into_iter().map(|(pid, _)| pid);
    wait_until(
        || pids().any(|pid| drops(&pid)),
        || "the parent never dropped its privileges".to_owned(),
    );
    let pid = pids().find(drops).unwrap();
    let ids = process::status(pid, "Uid");
    let stopped = as_the_user(&world, &["kill", "-STOP", &pid.to_string()]);
    assert!(!stopped, "the caller could stop it: its ids are {ids}");
    let (parent, _) = world.wait_for_push();
    assert_eq!(parent, pid);
    send(Signal::SIGTERM, parent);
    ended(login);
    world.wait_until_empty();
}

// The parent is stopped

/// A login on a terminal whose parent is stopped at the menu, whose push
/// `answer` then settles: the line comes all the same, and is the last.
fn while_stopped(line: &str, answer: fn(&World) -> bool, then: fn(&mut Terminal, i32)) {
    let world = World::with("prompts = 1\n", |_| {});
    let (mut terminal, parent) = at_the_menu(&world, Install::Setuid);
    stop(parent);
    terminal.send("1\n");
    world.wait_for_push();
    assert!(answer(&world));
    world.wait_for_log(|text| text.starts_with(line));
    assert_eq!(process::stat(parent, 3), "T", "the parent went on");
    then(&mut terminal, parent);
    terminal.wait();
    world.wait_until_empty();
    let lines = outcomes(&world);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with(line), "{lines:#?}");
}

pub fn a_denial_is_in_the_log_while_the_parent_is_stopped() {
    let line = format!("Failed {START}");
    while_stopped(
        &line,
        |world| world.sandbox.duo.deny("manual"),
        |_, parent| {
            send(Signal::SIGKILL, parent);
        },
    );
}

pub fn a_yes_is_in_the_log_while_the_parent_is_stopped() {
    let line = format!("Successful {START}");
    let approve: fn(&World) -> bool = |world| world.sandbox.duo.approve("manual");
    while_stopped(&line, approve, |_, parent| send(Signal::SIGKILL, parent));
    while_stopped(&line, approve, |terminal, parent| {
        send(Signal::SIGCONT, parent);
        terminal.wait_for(|screen| screen.lines().any(|line| line == "in"));
    });
}

// The child is made slow

pub fn the_child_takes_back_what_the_caller_made_slow() {
    // prctl(PR_SET_TIMERSLACK, …) by its number: perl has no name for it.
    let slack = format!(
        "syscall({}, 29, 60000000000, 0, 0, 0) == 0 or die; exec @ARGV",
        libc::SYS_prctl
    );
    let all = process::status(std::process::id().try_into().unwrap(), "Cpus_allowed");
    // Each as the kernel numbers it: SCHED_BATCH, SCHED_IDLE.
    for (policy, number) in [("--batch", "3"), ("--idle", "5")] {
        for install in [Install::Setuid, Install::Root] {
            let world = World::with("failmode = safe\n", |_| {});
            let through = [
                "nice",
                "-n",
                "19",
                "chrt",
                policy,
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
            let mut login: Command = world.login_through(install, "manual", &through);
            login.args(["echo", "in"]);
            let login = start(login);
            let (parent, child) = world.wait_for_push();
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
            assert_eq!(
                of(child),
                ["0", "0", &all, "50000", "0"],
                "{install:?} {policy}"
            );
            // The session has what its caller had.
            let [nice, scheduling, processors, slack, score] = of(parent);
            assert_eq!(
                [&nice, &scheduling, &slack, &score],
                ["19", number, "60000000000", "1000"]
            );
            assert_ne!(processors, all);
            send(Signal::SIGTERM, parent);
            ended(login);
            world.wait_until_empty();
        }
    }
}
