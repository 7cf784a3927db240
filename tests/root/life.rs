//! Attack 4: signals, hang-ups and deaths at every stage. Nobody gets in
//! without an allow or after they have gone, nothing is left behind, and the
//! log has one final line.

use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{INSTALLS, Install, World, is_final, process};
use crate::support::{Terminal, TerminalSize, ended, run, start, wait, wait_until};

const MENU: &str = "Passcode or option (1-";

fn waiting(world: &World, install: Install) -> (Child, i32, i32) {
    waiting_as(world, world.login(install, "manual"))
}

/// A headless login that waits for a push which nobody answers.
fn waiting_as(world: &World, mut login: Command) -> (Child, i32, i32) {
    login.args(["echo", "in"]);
    let child = start(login);
    let (parent, sandboxed) = world.wait_for_push();
    (child, parent, sandboxed)
}

fn send(signal: Signal, pid: i32) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// No session, and this final line.
fn denied(world: &World, child: Child, line: &str) {
    let ended = ended(child);
    assert_ne!(ended.code(), 0, "{ended:?}");
    assert_eq!(ended.stdout(), "", "{ended:?}");
    let last = world.final_line();
    assert!(last.contains(line), "{last}");
}

pub fn signals_to_the_parent_end_the_login() {
    for install in INSTALLS {
        for (signal, why) in [
            (Signal::SIGINT, "interrupted"),
            (Signal::SIGTERM, "terminated"),
            (Signal::SIGQUIT, "terminated"),
            (Signal::SIGHUP, "hung up"),
        ] {
            let world = World::new();
            let (child, parent, _) = waiting(&world, install);
            send(signal, parent);
            let line = format!("Aborted Duo login for 'manual' from 192.0.2.7: {why}");
            denied(&world, child, &line);
        }
    }
}

pub fn signals_to_the_child_deny() {
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGSYS] {
        let world = World::new();
        let (child, _, sandboxed) = waiting(&world, Install::Setuid);
        send(signal, sandboxed);
        let line = format!(
            "Error in Duo login for 'manual' from 192.0.2.7: the child was killed by {signal}"
        );
        denied(&world, child, &line);
    }
}

/// Killing the session's leader hangs up its foreground, and Ctrl-C reaches
/// everybody: the child must live to write the log.
pub fn signals_of_the_terminal_do_not_end_the_child() {
    let world = World::new();
    let (child, _, sandboxed) = waiting(&world, Install::Setuid);
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
    ] {
        send(signal, sandboxed);
    }
    assert!(world.sandbox.duo.approve("manual"));
    assert_eq!(ended(child).stdout(), "in\n");
}

pub fn the_users_own_signals_do_not_reach_the_child() {
    let world = World::new();
    let (mut child, parent, sandboxed) = waiting(&world, Install::Setuid);
    let mut shot = world.as_user("manual");
    shot.args(["sh", "-c", &format!("kill -KILL {sandboxed}")]);
    assert_ne!(run(shot).code(), 0);
    assert!(child.try_wait().unwrap().is_none());
    let mut shot = world.as_user("manual");
    shot.args(["sh", "-c", &format!("kill -TERM {parent}")]);
    assert_eq!(run(shot).code(), 0);
    denied(&world, child, "Aborted Duo login for 'manual'");
}

pub fn a_killed_parent_leaves_a_line_and_no_process() {
    for install in INSTALLS {
        let world = World::new();
        let (child, parent, _) = waiting(&world, install);
        send(Signal::SIGKILL, parent);
        let line = "Aborted Duo login for 'manual' from 192.0.2.7: login_duo was killed";
        denied(&world, child, line);
    }
}

pub fn a_denial_is_logged_though_the_parent_is_stopped_and_then_killed() {
    let world = World::new();
    let (child, parent, _) = waiting(&world, Install::Setuid);
    send(Signal::SIGSTOP, parent);
    assert!(world.sandbox.duo.deny("manual"));
    let line = "Failed Duo login for 'manual' from 192.0.2.7: ";
    world.wait_for_log(|text| text.starts_with(line));
    send(Signal::SIGKILL, parent);
    denied(&world, child, line);
}

/// The parent is the user's own process, so prlimit(2) works on it.
pub fn descriptors_taken_from_the_parent_do_not_keep_its_line_out_of_the_log() {
    let take = |world: &World, parent: i32| {
        let mut take = world.as_user("manual");
        take.args(["prlimit", "--pid", &parent.to_string(), "--nofile=0:"]);
        assert_eq!(run(take).code(), 0);
    };
    let world = World::new();
    let (child, parent, _) = waiting(&world, Install::Setuid);
    take(&world, parent);
    assert!(world.sandbox.duo.deny("manual"));
    let line = "Failed Duo login for 'manual' from 192.0.2.7: ";
    denied(&world, child, line);

    // Without descriptors there is no account, and so no session.
    let world = World::new();
    let (child, parent, _) = waiting(&world, Install::Setuid);
    take(&world, parent);
    assert!(world.sandbox.duo.approve("manual"));
    denied(
        &world,
        child,
        "Successful Duo login for 'manual' from 192.0.2.7: ",
    );
}

pub fn a_stopped_child_does_not_hold_the_parent_for_ever() {
    let world = World::new();
    let (mut child, parent, sandboxed) = waiting(&world, Install::Setuid);
    send(Signal::SIGSTOP, sandboxed);
    wait_until(
        || state(std::iter::once(parent), "T") == 1,
        || "the child is not stopped".to_owned(),
    );
    send(Signal::SIGHUP, parent);
    world.wait_for_log(|text| {
        text.contains("Aborted Duo login for 'manual' from 192.0.2.7: hung up")
    });
    assert_eq!(wait(&mut child).code(), Some(1));
    // Whoever stopped it may let it go on: it leaves at once. It cannot know whether
    // the parent's line has come, so it says the same again.
    send(Signal::SIGCONT, sandboxed);
    world.wait_until_empty();
    let finals = || {
        let lines = world.log().into_iter().map(|line| line.text);
        lines.filter(|text| is_final(text)).collect::<Vec<String>>()
    };
    wait_until(|| finals().len() == 2, || format!("{:#?}", finals()));
    assert_eq!(finals()[0], finals()[1]);
    assert_eq!(ended(child).stdout(), "");
}

pub fn a_stopped_parent_opens_nothing_by_itself() {
    let world = World::new();
    let (child, parent, sandboxed) = waiting(&world, Install::Setuid);
    send(Signal::SIGSTOP, parent);
    send(Signal::SIGKILL, sandboxed);
    send(Signal::SIGCONT, parent);
    denied(&world, child, "killed by SIGKILL");
}

pub fn a_signal_that_comes_with_the_verdict_wins() {
    let world = World::new();
    let (child, parent, _) = waiting(&world, Install::Setuid);
    send(Signal::SIGSTOP, parent);
    assert!(world.sandbox.duo.approve("manual"));
    wait_until(
        || state(world.processes().into_iter().map(|(pid, _)| pid), "Z") == 1,
        || "the child has not ended".to_owned(),
    );
    send(Signal::SIGTERM, parent);
    send(Signal::SIGCONT, parent);
    let ended = ended(child);
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""));
    world.wait_until_empty();
    let start = "Duo login for 'manual' from 192.0.2.7: ";
    let mut lines = world.log();
    lines.retain(|line| line.text.contains(start));
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    // The yes was in the log already; what became of it is too.
    assert_eq!(
        texts,
        [
            format!("Successful {start}push1"),
            format!("Aborted {start}terminated after Duo's yes")
        ]
    );
}

/// How many children of these processes are in that state. (A zombie has no
/// namespace any more, so it is not among the machine's processes.)
fn state(parents: impl Iterator<Item = i32>, wanted: &str) -> usize {
    parents
        .flat_map(process::children)
        .filter(|child| process::stat(*child, 3) == wanted)
        .count()
}

pub fn tstp_ttin_and_ttou_stop_neither() {
    let world = World::new();
    let (child, parent, sandboxed) = waiting(&world, Install::Setuid);
    for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        send(signal, parent);
        send(signal, sandboxed);
    }
    assert!(world.sandbox.duo.approve("manual"));
    let ended = ended(child);
    assert_eq!((ended.code(), &*ended.stdout()), (0, "in\n"));
}

pub fn a_terminal_that_is_closed_ends_the_login_at_the_menu() {
    hang_up(|_, _| {});
}

pub fn a_terminal_that_is_closed_ends_the_login_while_it_waits() {
    hang_up(|world, terminal| {
        terminal.send("1\n");
        world.wait_for_push();
    });
}

fn hang_up(until: impl Fn(&World, &mut Terminal)) {
    let world = World::new();
    let mut login = world.login(Install::Setuid, "manual");
    login.env("TERM", "xterm").args(["echo", "in"]);
    let mut terminal = Terminal::start(&login, TerminalSize::USUAL);
    terminal.wait_for_text(MENU);
    until(&world, &mut terminal);
    // As the kernel does when the other end goes: the reader's copy is open still.
    let (parent, _) = world.halves();
    send(Signal::SIGHUP, parent);
    assert_eq!(terminal.status(), 1);
    let line = world.final_line();
    assert_eq!(
        line,
        "Aborted Duo login for 'manual' from 192.0.2.7: hung up"
    );
}

pub fn output_that_is_broken_on_one_side_only_keeps_waiting_without_spinning() {
    let world = World::new();
    let mut login = world.login(Install::Setuid, "manual");
    login.args(["exit", "7"]);
    let mut child = start(login);
    drop(child.stderr.take());
    let (parent, _) = world.wait_for_push();
    let before = process::ticks(parent);
    // A parent that spins burns this within three tenths of a second.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let burnt = process::ticks(parent) - before;
    assert!(burnt < 10, "{burnt} ticks");
    assert!(world.sandbox.duo.approve("manual"));
    assert_eq!(ended(child).code(), 7);
}

pub fn output_that_is_broken_on_both_sides_ends_the_login() {
    let world = World::new();
    let mut login = world.login(Install::Setuid, "manual");
    login.args(["echo", "in"]);
    let mut child = start(login);
    world.wait_for_push();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(wait(&mut child).code(), Some(1));
    assert!(world.final_line().ends_with("the connection was closed"));
}

pub fn a_caller_that_ignores_or_blocks_every_signal() {
    let ignores = "$SIG{$_} = 'IGNORE' for qw(CHLD INT TERM HUP QUIT PIPE TSTP USR1); exec @ARGV";
    let blocks = "use POSIX; my $all = POSIX::SigSet->new; $all->fillset; \
                  sigprocmask(SIG_BLOCK, $all); exec @ARGV";
    for script in [ignores, blocks] {
        for install in INSTALLS {
            let world = World::new();
            for (name, expected) in [("push", 7), ("pushdeny", 1)] {
                let mut login = world.login_through(install, name, &["perl", "-e", script]);
                login.args(["exit 7"]);
                assert_eq!(run(login).code(), expected, "{install:?} {name} {script}");
            }
            world.wait_for_log(|text| text.contains("Duo login for 'pushdeny'"));
            world.clear_log();
            let login = world.login_through(install, "manual", &["perl", "-e", script]);
            let (child, parent, _) = waiting_as(&world, login);
            send(Signal::SIGTERM, parent);
            denied(&world, child, "Aborted Duo login for 'manual'");
        }
    }
}

pub fn the_session_has_no_zombie() {
    let world = World::new();
    for install in INSTALLS {
        let mut login = world.login(install, "push");
        login.args(["cat /proc/$$/task/$$/children; :"]);
        let ended = run(login);
        // The one child is cat itself.
        let children = ended.stdout().split_whitespace().count();
        assert!(children <= 1, "{install:?}: {ended:?}");
        assert_eq!(ended.code(), 0);
    }
}
