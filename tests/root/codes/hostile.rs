//! Attacks 2 and 3 under `failmode = codes`: limits, descriptors and a process that stands
//! still. No fault of this machine asks for a code, and nobody gets in without one, by
//! login_duo or as root by sudo.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use fake_duo::{Endpoint, Fault, Stage, Times};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{
    CODES, QUESTION, after_the_password, create, left, login, pam_without_duo, root, without_duo,
};
use crate::machine::{PamWorld, World};
use crate::module::attacks::is_root;
use crate::support::{
    Ended, PATIENCE, Terminal, TerminalSize, ended, run_with, side_by_side, start,
};

/// More than the standing still that an alibi bears.
const STOPPED: Duration = Duration::from_secs(3);

/// Limits that leave a login too little, or nearly.
const LIMITS: [&str; 9] = [
    "--nofile=3:3",
    "--nofile=5:5",
    "--nofile=16:16",
    "--fsize=0:0",
    "--nproc=0:0",
    "--as=16777216:16777216",
    "--data=1048576:1048576",
    "--cpu=1:1",
    "--stack=65536:65536",
];

const ZERO: [&str; 2] = ["prlimit", "--fsize=0:0"];

const SOFT_ZERO: [&str; 2] = ["prlimit", "--fsize=0:unlimited"];

/// As in a container: root may not raise a hard limit there, and the setuid bit gives no
/// such right either.
const WITHOUT_RESOURCE: &str = "--bounding-set=-sys_resource";

/// Who is asked: by the setuid program, and by root's own call.
const USERS: [&str; 2] = ["push", "root"];

/// A command of this user's, who may not raise a limit.
fn bounded(world: &World, user: &str) -> Command {
    let mut command = world.inside();
    command.args(["setpriv", WITHOUT_RESOURCE]);
    if user != "root" {
        let uid = world.uid(user).to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--init-groups"]);
    }
    command
}

/// `login_duo` behind `before` and these words, in a shell that says how it ended.
fn login_behind(mut before: Command, words: &[&str]) -> Command {
    const AROUND: &str = "trap : INT; \"$@\"; echo \"status $?\" >/dev/tty";
    before.env("TERM", "xterm");
    before.args(["sh", "-c", AROUND, "sh"]).args(words);
    before.args(["/srv/bin/login_duo", "touch", "/run/in/it"]);
    before
}

/// A machine whose Duo is down, with one code of `user`'s, and a folder to show who gets in.
fn with_one_code(user: &str) -> (World, String) {
    let world = without_duo(CODES);
    root(&world, "mkdir -m 777 /run/in");
    let code = create(&world, user, 1).remove(0);
    (world, code)
}

/// Sees that this login is denied, or asks and is left at the question.
fn is_out(world: &World, login: &Command, how: &str) {
    let mut terminal = Terminal::start(login, TerminalSize::USUAL);
    let has_come = |screen: &str| screen.contains(QUESTION) || screen.contains("status ");
    if terminal.wait_for(has_come).contains(QUESTION) {
        terminal.send("\x03");
    }
    let screen = terminal.wait_for_text("status ");
    assert!(!screen.contains("status 0"), "{how}: {screen}");
    terminal.wait();
    assert!(!world.at("/run/in/it").exists(), "{how}: {screen}");
    world.wait_until_empty();
    let mut log = world.log().into_iter();
    assert!(!log.any(|line| line.text.starts_with("Failsafe")), "{how}");
}

/// Whether this login, which is asked, gets in with the code.
fn gets_in_behind(world: &World, login: &Command, code: &str) -> bool {
    let mut terminal = Terminal::start(login, TerminalSize::USUAL);
    terminal.wait_for_text(QUESTION);
    terminal.send(&format!("{code}\n"));
    let screen = terminal.wait_for_text("status ");
    terminal.wait();
    let is_in = screen.contains("status 0");
    assert_eq!(world.at("/run/in/it").exists(), is_in, "{screen}");
    is_in
}

pub fn no_limit_of_the_callers_opens_or_costs_a_code() {
    let cases = USERS.map(|user| [(user, false), (user, true)]).concat();
    side_by_side(&cases, |(user, may_not_raise)| {
        let (world, code) = with_one_code(user);
        let before = || match may_not_raise {
            true => bounded(&world, user),
            false => world.as_user(user),
        };
        for limit in LIMITS {
            let login = login_behind(before(), &["prlimit", limit]);
            is_out(&world, &login, &format!("{user} {limit}"));
        }
        assert_eq!(left(&world, user), 1);
        let low = ["prlimit", "--nofile=20:4096", "--nproc=60:60"];
        assert!(gets_in_behind(&world, &login_behind(before(), &low), &code));
    });
}

pub fn a_file_size_of_zero_denies_with_the_reason_and_keeps_the_code() {
    side_by_side(&USERS, |user| {
        let (world, code) = with_one_code(user);
        let login = login_behind(bounded(&world, user), &ZERO);
        assert!(!gets_in_behind(&world, &login, &code));
        let line = world.the_final_line();
        let start = format!("Error in Duo login for '{user}': {TOO_LARGE}");
        assert!(line.text.starts_with(&start), "{line:?}");
        // The child's own line.
        assert_eq!(line.sender, world.uid("duo"));
        assert_eq!(left(&world, user), 1);
        // A soft limit is raised.
        world.clear_log();
        let login = login_behind(bounded(&world, user), &SOFT_ZERO);
        assert!(gets_in_behind(&world, &login, &code));
    });
}

pub fn closed_descriptors_open_nothing() {
    let cases = USERS.map(|user| [(user, 0..4), (user, 4..8)]).concat();
    side_by_side(&cases, |(user, combinations)| {
        let (world, code) = with_one_code(user);
        for closed in combinations.clone() {
            let mut script = "exec \"$@\"".to_owned();
            for (bit, text) in [" <&-", " >&-", " 2>&-"].iter().enumerate() {
                if closed & 1 << bit != 0 {
                    script.push_str(text);
                }
            }
            let login = login_behind(world.as_user(user), &["sh", "-c", &script, "sh"]);
            is_out(&world, &login, &format!("{user} {script}"));
        }
        assert_eq!(left(&world, user), 1);
        let login = login_behind(world.as_user(user), &[]);
        assert!(gets_in_behind(&world, &login, &code));
    });
}

/// A machine whose Duo says nothing, so that a login waits for a second, and would then ask.
fn silent(world: &World) {
    let silent = Fault::Stall(Stage::BeforeHeaders);
    let duo = &world.sandbox.duo;
    duo.fault(Endpoint::Preauth, silent, Times::Always);
}

/// Stops the child while Duo says nothing, for longer than an alibi bears.
fn freeze_the_child(world: &World) {
    let asks = |requests: &[fake_duo::Request]| !requests.is_empty();
    assert!(world.sandbox.duo.wait_until(asks, PATIENCE), "no preauth");
    let child = Pid::from_raw(world.halves().1);
    kill(child, Signal::SIGSTOP).unwrap();
    std::thread::sleep(STOPPED);
    kill(child, Signal::SIGCONT).unwrap();
}

const TOO_LARGE: &str = "couldn't use an emergency code up: file too large: ";

const STOOD_STILL: &str = "this machine stood still for ";

pub fn a_frozen_child_asks_for_no_code() {
    let world = World::with("failmode = codes\nhttps_timeout = 1\n", |_| {});
    silent(&world);
    create(&world, "push", 1);
    let mut terminal = login(&world, "push");
    freeze_the_child(&world);
    assert_eq!(terminal.status(), 1, "{}", terminal.screen());
    assert!(!terminal.screen().contains(QUESTION));
    let line = world.final_line();
    let start = "Error in Duo login for 'push' from 192.0.2.7: ";
    assert!(line.starts_with(&format!("{start}{STOOD_STILL}")), "{line}");
    assert_eq!(left(&world, "push"), 1);
}

/// `sudo -S`, by `push` behind these words.
fn sudo(mut before: Command, words: &[&str]) -> Command {
    before.args(words).args(["sudo", "-S", "id"]);
    before
}

#[track_caller]
fn is_not_root(world: &PamWorld, ended: &Ended, how: &str) {
    assert!(!is_root(ended), "{how}: {ended:?}");
    world.wait_until_empty();
    let mut lines = world.module_lines().into_iter();
    let opened = lines.any(|line| line.text.starts_with("Failsafe"));
    assert!(!opened, "{how}: {:#?}", world.module_lines());
}

pub fn in_front_of_sudo_limits_and_descriptors_open_nothing() {
    let mut ways: Vec<Vec<&str>> = LIMITS.map(|limit| vec!["prlimit", limit]).into();
    for script in [
        "exec \"$@\" >&-",
        "exec \"$@\" 2>&-",
        "exec \"$@\" 3</ 4</ 5</",
    ] {
        ways.push(vec!["sh", "-c", script, "sh"]);
    }
    let shares: Vec<&[Vec<&str>]> = ways.chunks(2).collect();
    let typed = after_the_password(&["0000-0000-0000-0000"]);
    side_by_side(&shares, |ways| {
        let world = pam_without_duo();
        let code = create(&world, "push", 1).remove(0);
        for way in *ways {
            let ended = run_with(sudo(world.as_user("push"), way), typed.as_bytes());
            is_not_root(&world, &ended, &way.join(" "));
        }
        assert_eq!(left(&world, "push"), 1);
        let low = sudo(world.as_user("push"), &["prlimit", "--nofile=40:4096"]);
        let ended = run_with(low, after_the_password(&[&code]).as_bytes());
        assert!(is_root(&ended), "{ended:?}");
    });
}

pub fn in_front_of_sudo_a_file_size_of_zero_denies_with_the_reason() {
    let world = pam_without_duo();
    let code = create(&world, "push", 1).remove(0);
    let typed = after_the_password(&[&code]);
    let ended = run_with(sudo(bounded(&world, "push"), &ZERO), typed.as_bytes());
    is_not_root(&world, &ended, "without the right to raise it");
    let line = world.wait_for_log(crate::machine::is_final);
    let start =
        "Error in Duo login for 'push': couldn't use an emergency code up: file too large: ";
    assert!(line.text.starts_with(start), "{line:?} {ended:?}");
    assert_eq!(line.sender, world.uid("duo"));
    assert_eq!(left(&world, "push"), 1);
    let ended = run_with(sudo(bounded(&world, "push"), &SOFT_ZERO), typed.as_bytes());
    assert!(is_root(&ended), "{ended:?}");
}

pub fn in_front_of_sudo_a_frozen_child_asks_for_no_code() {
    let world = PamWorld::new("failmode = codes\nhttps_timeout = 1\n");
    silent(&world);
    let code = create(&world, "push", 1).remove(0);
    let mut sudo = start(sudo(world.as_user("push"), &[]));
    let mut input = sudo.stdin.take().unwrap();
    input
        .write_all(after_the_password(&[&code]).as_bytes())
        .unwrap();
    freeze_the_child(&world);
    let ended = ended(sudo);
    is_not_root(&world, &ended, "frozen");
    assert!(!ended.text().contains(QUESTION), "{ended:?}");
    let line = world.wait_for_final();
    let start = format!("Error in Duo login for 'push': {STOOD_STILL}");
    assert!(line.starts_with(&start), "{line}");
    assert_eq!(left(&world, "push"), 1);
}
