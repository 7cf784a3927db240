//! Emergency codes (docs/emergency.md): while Duo is down each lets in once, and nothing
//! else does. `LOGIN_DUO_ROUNDS` asks for more rounds of what depends on chance.

pub mod hostile;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use fake_duo::{Endpoint, Fault, Times};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use pam_wire::{Item, Packet};
use serde_json::Value;

use crate::checks::Machine;
use crate::machine::{Accounts, DOCUMENTED, Install, PASSWORD, PamWorld, Sshd, World};
use crate::support::{
    Ended, Sandbox, Terminal, TerminalSize, read_to_end, run, run_quietly, side_by_side, wait_until,
};

const FOLDER: &str = "/var/lib/login_duo/codes";
const QUESTION: &str = "Duo cannot be reached. Emergency code:";
const WRONG: &str = "Wrong emergency code";
const USED_UP: &str = "Code accepted; it is used up now.";
const DOWN: &str = "Couldn't connect to localhost";
const CODES: &str = "failmode = codes\n";

/// How many rounds, if not so many.
fn rounds(usual: usize) -> usize {
    let said = std::env::var("LOGIN_DUO_ROUNDS").ok();
    said.map_or(usual, |rounds| rounds.parse().unwrap())
}

/// A machine whose Duo cannot be asked. This is known at once, and nothing is tried again.
fn without_duo(extra: &str) -> World {
    let sandbox = Sandbox::new();
    sandbox.configure(extra);
    cut(&sandbox);
    World::of(sandbox, Accounts::people())
}

fn cut(sandbox: &Sandbox) {
    let fault = Fault::Bare { status: 503 };
    sandbox.duo.fault(Endpoint::Preauth, fault, Times::Always);
}

/// The same with PAM.
fn pam_without_duo() -> PamWorld {
    let world = PamWorld::new(CODES);
    cut(&world.sandbox);
    world
}

fn duoctl(world: &World, words: &[&str]) -> Ended {
    let mut command = world.inside();
    command.args(["/srv/bin/duoctl", "codes"]).args(words);
    run(command)
}

/// New codes of `user`.
pub fn create(world: &World, user: &str, count: usize) -> Vec<String> {
    let count = count.to_string();
    let ended = duoctl(world, &["create", user, "--count", &count, "--json"]);
    assert_eq!(ended.code(), 0, "{}", ended.text());
    let told: Value = serde_json::from_slice(ended.stdout_bytes()).unwrap();
    let codes = told["codes"].as_array().unwrap().iter();
    codes
        .map(|code| code.as_str().unwrap().to_owned())
        .collect()
}

/// The same for codes of push, on a terminal, with these keys typed at the question. Returns
/// the exit status.
fn create_on_a_terminal(world: &World, options: &[&str], question: &str, keys: &str) -> i32 {
    let mut command = world.inside();
    command.args(["/srv/bin/duoctl", "codes", "create", "push"]);
    let mut terminal = Terminal::start(command.args(options), TerminalSize::USUAL);
    if !question.is_empty() {
        wait_until(
            || terminal.stderr().contains(question),
            || terminal.screen(),
        );
        terminal.send(keys);
    }
    let status = terminal.status();
    let asked = terminal.stderr().matches("Go on? [y/N] ").count();
    assert_eq!(
        asked,
        usize::from(!question.is_empty()),
        "{}",
        terminal.stderr()
    );
    status
}

/// How many codes `user` has left.
pub fn left(world: &World, user: &str) -> u64 {
    let ended = duoctl(world, &["list", user, "--json"]);
    let told: Value = serde_json::from_slice(ended.stdout_bytes()).unwrap();
    told["accounts"][0]["left"].as_u64().unwrap_or_default()
}

fn file(world: &World, user: &str) -> String {
    format!("{FOLDER}/{}", world.uid(user))
}

/// Runs a script as root on that machine.
fn root(world: &World, script: &str) -> String {
    let mut sh = world.inside();
    sh.args(["sh", "-ec", script]);
    run(sh).succeeds()
}

/// A login on a terminal that runs `echo in`.
fn login(world: &World, user: &str) -> Terminal {
    let mut login = world.login(Install::Setuid, user);
    login.env("TERM", "xterm").args(["echo", "in"]);
    Terminal::start(&login, TerminalSize::USUAL)
}

/// A login with these lines typed; whether it got in.
fn gets_in(world: &World, user: &str, lines: &[&str]) -> bool {
    let mut terminal = login(world, user);
    for (number, line) in (1..).zip(lines) {
        let asked = |screen: &str| screen.matches(QUESTION).count() == number;
        terminal.wait_for(asked);
        terminal.send(&format!("{line}\n"));
    }
    let status = terminal.status();
    let is_in = terminal.screen().lines().any(|line| line == "in");
    assert_eq!(is_in, status == 0, "{}", terminal.screen());
    is_in
}

pub fn while_duo_is_down_a_code_lets_in_once() {
    let world = World::with(CODES, |_| {});
    let codes = create(&world, "push", 4);
    world.sandbox.duo.stop();
    let mut terminal = login(&world, "push");
    terminal.wait_for_text(QUESTION);
    terminal.send("0000-0000-0000-0000\n");
    terminal.wait_for_text("Wrong emergency code");
    let typed = codes[2].to_lowercase().replace('-', " ");
    terminal.send(&format!("{typed}\n"));
    assert_eq!(terminal.status(), 0, "{}", terminal.screen());
    terminal.wait_for_text("Code accepted; it is used up now. Codes left: 3.");
    let who = "Duo login for 'push' from 192.0.2.7";
    let line = world.wait_for_log(|text| text.starts_with("Failsafe "));
    let start = format!("Failsafe {who}: emergency code, 3 left: {DOWN}");
    assert!(line.text.starts_with(&start), "{line:?}");
    assert_eq!(line.sender, world.uid("duo"));
    world.wait_for_log(|text| text == format!("Failed {who}: wrong emergency code"));

    assert!(!gets_in(&world, "push", &[codes[2].as_str(); 3]));
    world.wait_for_log(|text| text.starts_with(&format!("Failed {who}: wrong emergency code: ")));
    assert!(gets_in(&world, "push", &[&codes[0]]));
    assert!(gets_in(&world, "push", &["x", &codes[1]]));
    assert_eq!(left(&world, "push"), 1);
    // No code stands anywhere.
    let stored = fs::read(world.at(&file(&world, "push"))).unwrap();
    for code in &codes {
        let plain = code.replace('-', "");
        assert!(!stored.windows(16).any(|bytes| bytes == plain.as_bytes()));
        for line in world.log() {
            assert!(!line.packet.to_uppercase().contains(&code[..9]), "{line:?}");
        }
    }
    // Another account's code is none.
    create(&world, "manual", 1);
    assert!(!gets_in(&world, "manual", &[codes[3].as_str(); 3]));
    assert!(gets_in(&world, "push", &[&codes[3]]));
}

pub fn nobody_is_asked_for_a_code_that_cannot_help() {
    let world = without_duo(CODES);
    let denied = |user: &str, why: &str| {
        world.clear_log();
        let mut terminal = login(&world, user);
        assert_eq!(terminal.status(), 1);
        assert!(!terminal.screen().contains(QUESTION));
        let line = world.final_line();
        let start = format!("Failsecure Duo login for '{user}' from 192.0.2.7: {why}: ");
        assert!(line.starts_with(&start), "{line}");
    };
    denied("push", "this account has no emergency codes");
    let codes = create(&world, "push", 1);
    assert!(gets_in(&world, "push", &[&codes[0]]));
    denied("push", "no emergency code is left");
    create(&world, "push", 1);
    world.clear_log();
    let mut headless = world.login(Install::Setuid, "push");
    headless.args(["echo", "in"]);
    let ended = run(headless);
    assert_eq!((ended.code(), ended.stdout().as_str()), (1, ""));
    assert!(
        ended
            .stderr()
            .contains("nobody can be asked for an emergency code")
    );
    let line = world.final_line();
    assert!(
        line.contains(": nobody can be asked for an emergency code: "),
        "{line}"
    );
    // Where Duo is there, and where failmode is another one, nobody hears of codes.
    assert_eq!(left(&world, "push"), 1);
    for (failmode, opens) in [("safe", true), ("secure", false)] {
        world.sandbox.configure(&format!("failmode = {failmode}\n"));
        assert_eq!(gets_in(&world, "push", &[]), opens);
    }
    let world = World::with(CODES, |_| {});
    create(&world, "push", 1);
    let mut terminal = login(&world, "push");
    terminal.wait_for_text("Passcode or option");
    terminal.send("1\n");
    assert_eq!(terminal.status(), 0);
    let preauth = &world.sandbox.duo.requests()[0];
    assert_eq!(preauth.param("failmode"), Some("closed"));
}

pub fn a_broken_configuration_asks_for_no_code() {
    for mistake in ["prompts = many\n", "cafile = /etc/duo/no-such-file\n"] {
        let world = without_duo(&format!("{CODES}{mistake}"));
        create(&world, "push", 1);
        assert!(!gets_in(&world, "push", &[]), "{mistake}");
        let line = world.final_line();
        assert!(
            line.starts_with("Failsecure Duo login for 'push'"),
            "{line}"
        );
    }
}

/// So many machines share what there is to try: most of it is waiting.
const MACHINES: usize = 8;

/// One code after the other, of an account that gets new ones where it has none left.
struct Supply<'w> {
    world: &'w World,
    codes: Vec<String>,
}

impl Supply<'_> {
    fn of(world: &World) -> Supply<'_> {
        let codes = Vec::new();
        Supply { world, codes }
    }

    fn next(&mut self) -> String {
        if self.codes.is_empty() {
            self.codes = create(self.world, "push", 50);
        }
        self.codes.pop().unwrap()
    }
}

pub fn of_two_logins_with_one_code_one_gets_in() {
    let rounds: Vec<usize> = (0..rounds(MACHINES)).collect();
    let shares: Vec<&[usize]> = rounds.chunks(rounds.len().div_ceil(MACHINES)).collect();
    side_by_side(&shares, |rounds| {
        let world = without_duo(CODES);
        let mut codes = Supply::of(&world);
        for round in *rounds {
            assert!(one_of_two_gets_in(&world, &codes.next()), "round {round}");
        }
        let opened = world.log().into_iter();
        let opened = opened.filter(|line| line.text.starts_with("Failsafe "));
        assert_eq!(opened.count(), rounds.len());
    });
}

/// Whether one of two logins with this code gets in, and the other does not.
fn one_of_two_gets_in(world: &World, code: &str) -> bool {
    let mut both = [login(world, "push"), login(world, "push")];
    for terminal in &both {
        terminal.wait_for_text(QUESTION);
    }
    for terminal in &mut both {
        terminal.send(&format!("{code}\n"));
    }
    let got_in = both.each_mut().map(|terminal| {
        let over = |screen: &str| screen.contains(WRONG) || screen.contains(USED_UP);
        terminal.wait_for(over).contains(USED_UP)
    });
    for (terminal, is_in) in both.iter_mut().zip(got_in) {
        if !is_in {
            terminal.send("\x03");
        }
        assert_eq!(terminal.wait().success(), is_in);
    }
    got_in[0] != got_in[1]
}

pub fn codes_that_are_replaced_or_revoked_are_void_at_once() {
    let world = without_duo(CODES);
    for task in ["create", "revoke"] {
        let old = create(&world, "push", 2);
        let mut terminal = login(&world, "push");
        terminal.wait_for_text(QUESTION);
        assert_eq!(duoctl(&world, &[task, "push"]).code(), 0);
        terminal.send(&format!("{}\n", old[0]));
        assert_eq!(terminal.status(), 1, "{}", terminal.screen());
        let line = world.final_line();
        let replaced = "push' from 192.0.2.7: the emergency codes were replaced meanwhile: ";
        assert!(line.contains(replaced), "{line}");
        world.clear_log();
    }
    // What holds the lock does not keep codes from being revoked.
    let old = create(&world, "push", 2);
    let path = world.at(&file(&world, "push"));
    let holder = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let lock = duo_system::codes::lock(&holder, &duo_system::wait::SystemClock).unwrap();
    let ended = duoctl(&world, &["revoke", "push"]);
    assert_eq!(ended.code(), 0);
    assert!(
        ended.stderr().contains("another login holds them"),
        "{ended:?}"
    );
    drop(lock);
    create(&world, "push", 1);
    assert!(!gets_in(&world, "push", &[old[1].as_str(); 3]));
}

pub fn a_folder_or_file_that_is_not_roots_alone_has_no_codes() {
    let world = without_duo(CODES);
    let codes = create(&world, "push", 1);
    let own = file(&world, "push");
    let uid = world.uid("push");
    root(&world, &format!("cp -a {FOLDER} {FOLDER}.good"));
    let not_a_file = "is not a file of root's alone with mode 0600 and one name";
    let not_a_folder = "is not a folder of root's alone with mode 0700";
    let other = "/var/lib/login_duo/other";
    for (script, why) in [
        (format!("chown {uid} {own}"), not_a_file),
        (format!("chmod 640 {own}"), not_a_file),
        (format!("chmod 602 {own}"), not_a_file),
        (format!("chmod 4600 {own}"), not_a_file),
        (format!("ln {own} {other}"), not_a_file),
        (
            format!("mv {own} {other}; ln -s {other} {own}"),
            "symbolic links",
        ),
        (format!("rm {own}; mkfifo -m 600 {own}"), not_a_file),
        (format!("rm {own}; mkdir -m 700 {own}"), "Is a directory"),
        (format!("rm {own}; mknod -m 600 {own} c 1 3"), not_a_file),
        (format!(": > {own}"), "is damaged"),
        (format!("head -c 5000 /dev/urandom > {own}"), "is damaged"),
        (format!("chown {uid} {FOLDER}"), not_a_folder),
        (format!("chmod 750 {FOLDER}"), not_a_folder),
        (format!("chmod 1700 {FOLDER}"), not_a_folder),
        (
            format!("mv {FOLDER} {other}; ln -s {other} {FOLDER}"),
            "Not a directory",
        ),
        (
            format!("rm -r {FOLDER}; echo > {FOLDER}"),
            "Not a directory",
        ),
        (
            format!("rm -r {FOLDER}"),
            "this account has no emergency codes",
        ),
    ] {
        root(&world, &script);
        assert!(!gets_in(&world, "push", &[]), "{script}");
        let line = world.final_line();
        assert!(line.starts_with("Failsecure "), "{script}: {line}");
        assert!(line.contains(why), "{script}: {line}");
        world.clear_log();
        root(
            &world,
            &format!("rm -rf {FOLDER} {other}; cp -a {FOLDER}.good {FOLDER}"),
        );
    }
    // Whoever needs no code is not kept out by any of this.
    root(&world, &format!("chmod 777 {FOLDER}"));
    world.sandbox.configure("failmode = safe\n");
    assert!(gets_in(&world, "push", &[]));
    root(&world, &format!("chmod 700 {FOLDER}"));
    world.sandbox.configure(CODES);
    assert!(gets_in(&world, "push", &[&codes[0]]));
}

pub fn a_read_only_disk_denies_and_a_full_one_costs_nothing() {
    let world = without_duo(CODES);
    let at = "/var/lib/login_duo";
    root(
        &world,
        &format!("mkdir {at}; mount -t tmpfs -o size=64k,mode=700 none {at}"),
    );
    let codes = create(&world, "push", 2);
    root(&world, &format!("cat /dev/zero > {at}/filler || :"));
    // The slots are there already, so that no code needs room.
    assert!(gets_in(&world, "push", &[&codes[0]]));
    let ended = duoctl(&world, &["create", "push"]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(
        ended.stderr().contains("no space left on device"),
        "{ended:?}"
    );
    assert!(!ended.stdout().contains('-'), "{ended:?}");
    root(&world, &format!("mount -o remount,ro {at}"));
    world.clear_log();
    assert!(!gets_in(&world, "push", &[]));
    let line = world.final_line();
    assert!(line.contains("Read-only file system"), "{line}");
    root(&world, &format!("mount -o remount,rw {at}"));
    assert!(gets_in(&world, "push", &[&codes[1]]));
}

pub fn what_the_disk_refuses_is_denied_with_the_reason() {
    for (call, errno, why) in [
        ("pwrite64", "ENOSPC", "no space left on device"),
        ("pwrite64", "EIO", "I/O error"),
        ("pwrite64", "EROFS", "read-only file system"),
        ("fdatasync", "EIO", "I/O error"),
        ("fdatasync", "ENOSPC", "no space left on device"),
        ("pread64", "EIO", "I/O error"),
    ] {
        // Where strace makes a call fail, it is not one that the filter knows.
        let world = without_duo(&format!("{CODES}sandbox = no\n"));
        let codes = create(&world, "push", 1);
        let inject = format!("inject={call}:error={errno}");
        // The first reads look for a word in the configuration, and say how many codes
        // there are.
        let inject = match call {
            "pread64" => format!("{inject}:when=4+"),
            _ => inject,
        };
        let mut login = world.inside();
        login.env("TERM", "xterm");
        login.args(["strace", "-f", "-u", "push", "-o/dev/null", "-e", &inject]);
        login.args(["/srv/bin/login_duo", "echo", "in"]);
        let mut terminal = Terminal::start(&login, TerminalSize::USUAL);
        terminal.wait_for_text(QUESTION);
        terminal.send(&format!("{}\n", codes[0]));
        assert_eq!(
            terminal.status(),
            1,
            "{call} {errno}: {}",
            terminal.screen()
        );
        let line = world.final_line();
        let start = "Error in Duo login for 'push': couldn't use an emergency code up: ";
        assert!(
            line.starts_with(&format!("{start}{why}: ")),
            "{call} {errno}: {line}"
        );
    }
}

/// The child of a login that was given a code, stopped before or after each of its system
/// calls, and killed there.
pub fn killed_at_each_system_call_a_code_is_never_good_twice() {
    let world = without_duo(CODES);
    let code = Supply::of(&world).next();
    let Killed::Never { stops: all } = killed_at(&world, &code, usize::MAX) else {
        panic!("killed at no stop");
    };
    assert!(all > 20, "{all}");
    let stops: Vec<usize> = (1..all).step_by((all / rounds(16)).max(1)).collect();
    let shares: Vec<&[usize]> = stops.chunks(stops.len().div_ceil(MACHINES)).collect();
    let (kept, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    side_by_side(&shares, |stops| {
        let world = without_duo(CODES);
        let mut codes = Supply::of(&world);
        for stop in *stops {
            let code = codes.next();
            // How many stops there are depends on chance: after the last one, it got in.
            if let Killed::There = killed_at(&world, &code, *stop) {
                match is_good(&world, &code) {
                    true => kept.fetch_add(1, Ordering::Relaxed),
                    false => lost.fetch_add(1, Ordering::Relaxed),
                };
            }
            assert!(!is_good(&world, &code), "stop {stop} of {all}");
        }
    });
    println!(
        "killed at {} of {all} stops: kept {kept:?}, lost {lost:?}",
        stops.len()
    );
    assert!(kept.into_inner() > 0 && lost.into_inner() > 0);
}

/// Whether a login gets in with this code.
fn is_good(world: &World, code: &str) -> bool {
    const NONE: &str = "no emergency code is left";
    let mut terminal = login(world, "push");
    let asked = |screen: &str| screen.contains(QUESTION) || screen.contains(NONE);
    if terminal.wait_for(asked).contains(NONE) {
        return false;
    }
    terminal.send(&format!("{code}\n"));
    let over = |screen: &str| screen.contains(WRONG) || screen.contains(USED_UP);
    let is_good = terminal.wait_for(over).contains(USED_UP);
    if !is_good {
        terminal.send("\x03");
    }
    assert_eq!(terminal.wait().success(), is_good);
    is_good
}

enum Killed {
    There,
    Never { stops: usize },
}

/// A login with this code, whose child is killed at the `stop`th stop after the code was
/// typed. If it lives so long, it gets in.
fn killed_at(world: &World, code: &str, stop: usize) -> Killed {
    let mut terminal = login(world, "push");
    terminal.wait_for_text(QUESTION);
    let (_, child) = world.halves();
    let child = Pid::from_raw(child);
    ptrace::attach(child).unwrap();
    waitpid(child, Some(WaitPidFlag::__WALL)).unwrap();
    ptrace::setoptions(child, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
    terminal.send(&format!("{code}\n"));
    let (mut stops, mut signal) = (0, None);
    let killed = loop {
        ptrace::syscall(child, signal.take()).unwrap();
        match waitpid(child, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::PtraceSyscall(_) => stops += 1,
            WaitStatus::Stopped(_, other) => signal = Some(other),
            _ => break Killed::Never { stops },
        }
        if stops == stop {
            kill(child, Signal::SIGKILL).unwrap();
            waitpid(child, Some(WaitPidFlag::__WALL)).unwrap();
            break Killed::There;
        }
    };
    let got_in = terminal.status() == 0;
    assert_eq!(
        got_in,
        matches!(killed, Killed::Never { .. }),
        "{}",
        terminal.screen()
    );
    killed
}

pub fn duoctl_makes_counts_and_revokes_codes() {
    let world = without_duo(CODES);
    let told = duoctl(&world, &["list"]).succeeds();
    assert!(told.contains("nobody has emergency codes"), "{told}");
    let list = duoctl(&world, &["create", "push", "--count", "3"]).succeeds();
    let page = duoctl(&world, &["create", "manual", "--page"]).succeeds();
    let codes = |text: &str| -> Vec<String> {
        let words = text.split_whitespace();
        let is_code = |word: &&str| word.len() == 19 && word.matches('-').count() == 3;
        words.filter(is_code).map(str::to_owned).collect()
    };
    assert_eq!((codes(&list).len(), codes(&page).len()), (3, 10));
    for what in [FOLDER, &file(&world, "push")] {
        let status = fs::metadata(world.at(what)).unwrap();
        let mode = if what == FOLDER { 0o700 } else { 0o600 };
        assert_eq!((status.uid(), status.mode() & 0o7777), (0, mode), "{what}");
    }
    assert!(gets_in(&world, "push", &[&codes(&list)[0]]));
    assert!(gets_in(&world, "manual", &[&codes(&page)[9]]));
    let told = duoctl(&world, &["list"]).succeeds();
    assert!(told.contains(&format!(
        "push (user id {}): 2 of 3 left",
        world.uid("push")
    )));
    assert!(
        told.contains("9 of 10 left") && told.lines().count() == 2,
        "{told}"
    );
    let told = duoctl(&world, &["revoke", "push"]).succeeds();
    assert!(told.contains("no emergency codes any more"), "{told}");
    let told = duoctl(&world, &["revoke", "push"]).succeeds();
    assert!(told.contains("push has no emergency codes"), "{told}");
    // Codes may outlive their account.
    root(
        &world,
        &format!("cp -p {} {FOLDER}/4000000", file(&world, "manual")),
    );
    let told = duoctl(&world, &["list", "4000000"]).succeeds();
    assert!(
        told.contains("no account (user id 4000000): 9 of 10 left"),
        "{told}"
    );
    duoctl(&world, &["revoke", "4000000"]).succeeds();
    for words in [&["create", "nobody-there"][..], &["revoke", "nobody-there"]] {
        let told = duoctl(&world, words).fails();
        assert!(told.contains("there is no user 'nobody-there'"), "{told}");
    }
    let mut user = world.as_user("push");
    user.args(["/srv/bin/duoctl", "codes", "create", "push"]);
    assert!(run(user).fails().contains("needs root"));
    let leftover = fs::read_dir(world.at(FOLDER)).unwrap().count();
    assert_eq!(leftover, 1);
    assert!(world.log().iter().all(|line| line.program != "duoctl"));
}

pub fn on_a_terminal_unused_codes_are_void_only_after_a_yes() {
    let world = without_duo(CODES);
    let status = |options: &[&str], question: &str, keys: &str| {
        create_on_a_terminal(&world, options, question, keys)
    };
    // Nothing is lost, so nothing is asked.
    assert_eq!(status(&["--count", "2"], "", ""), 0);
    let codes = create(&world, "push", 2);
    let question = "push has 2 unused codes; they are void once there are new ones. Go on? [y/N] ";
    for keys in ["n\n", "\n", "\u{4}"] {
        assert_eq!(status(&[], question, keys), 1, "{keys:?}");
    }
    assert!(gets_in(&world, "push", &[&codes[0]]));
    let question = "push has 1 unused code; it is void once there are new ones. Go on? [y/N] ";
    assert_eq!(status(&[], question, "y\n"), 0);
    assert_eq!(left(&world, "push"), 10);
    assert_eq!(status(&["--count", "3", "--yes"], "", ""), 0);
    assert_eq!(left(&world, "push"), 3);
    for code in create(&world, "push", 1) {
        assert!(gets_in(&world, "push", &[&code]));
    }
    assert_eq!(status(&[], "", ""), 0);
}

pub fn codes_that_nobody_could_read_do_not_replace_the_old_ones() {
    let world = without_duo(CODES);
    let mut old = create(&world, "push", 3);
    for json in ["", "--json"] {
        let script = format!("! /srv/bin/duoctl codes create push {json} 2>&1 >/dev/full");
        let told = root(&world, &script);
        assert!(told.contains("those of before stay"), "{json}: {told}");
        assert_eq!(fs::read_dir(world.at(FOLDER)).unwrap().count(), 1);
        // A reader that has gone.
        let mut duoctl = world.inside();
        duoctl.args(["/srv/bin/duoctl", "codes", "create", "push"]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        duoctl.args(json.split_whitespace()).stdout(writer);
        assert!(!duoctl.status().unwrap().success(), "{json}");
        let code = old.pop().unwrap();
        assert!(gets_in(&world, "push", &[&code]), "{json}");
    }
    // What comes after the codes were printed is said on stderr, and by the exit status.
    let path = world.at(&file(&world, "push"));
    let mut holder = fs::File::options();
    let holder = holder.read(true).write(true).open(path).unwrap();
    let lock = duo_system::codes::lock(&holder, &duo_system::wait::SystemClock).unwrap();
    let ended = duoctl(&world, &["create", "push", "--json"]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(
        ended.stderr().contains("another login holds them"),
        "{ended:?}"
    );
    let told: Value = serde_json::from_slice(ended.stdout_bytes()).unwrap();
    assert_eq!(told["codes"].as_array().unwrap().len(), 10);
    drop(lock);
    assert_eq!(left(&world, "push"), 10);
}

pub fn check_says_who_has_none() {
    let of = |setup: &str| {
        Machine::new()
            .config(CODES)
            .group("admins:x:5003:alice", "sudo:x:5003:alice,bob")
            .setup(setup)
            .check("--as alice")
    };
    let create = |user: &str| format!("/srv/bin/duoctl codes create {user} --count 4 > /dev/null");
    let id = "configuration.codes";
    let admins = "configuration.codes_administrators";
    let found = of("");
    found.is(
        "configuration.failmode",
        "ok",
        "an emergency code is asked for",
    );
    found.is(id, "warn", ": alice, bob; root is not counted");
    found.is_mended_by(id, "duoctl codes create alice");
    found.is(admins, "warn", "nobody in the group 'sudo'");
    found.is("user.codes", "warn", "no emergency codes");
    found.is("sshd.root_way_in", "ok", "with an emergency code");
    assert_eq!(found.ended.code(), 2);

    let found = of(&create("alice"));
    found.is(id, "warn", ": bob;");
    assert!(found.of(admins).is_empty());
    found.is("user.codes", "ok", "4 of 4 emergency codes left");

    let all = ["alice", "bob"].map(create).join("; ");
    let good = "every account of /etc/passwd whom the configuration asks has emergency codes; root is \
         not counted";
    of(&all).is(id, "ok", good);
    let found = of(&format!("{all}; chmod 640 {FOLDER}/5002"));
    found.is(id, "warn", "'bob' has no emergency codes: ");
    let found = of(&format!("{all}; chmod 755 {FOLDER}"));
    found.is(id, "fail", "is not a folder of root's alone");
    let secure = Machine::new()
        .config("failmode = secure\n")
        .check("--as alice");
    assert!(secure.of(id).is_empty() && secure.of("user.codes").is_empty());
}

pub fn check_looks_at_every_account_and_names_those_that_it_cannot_see() {
    let id = "configuration.codes";
    let admins = "configuration.codes_administrators";
    // An administrator after the 200th account.
    let create = "/srv/bin/duoctl codes create u1; cd /var/lib/login_duo/codes; \
                  for n in $(seq 6002 6250); do cp -p 6001 $n; done; cd /";
    let many: String = (1..=250)
        .map(|n| format!("u{n}:x:{}:6000::/:/bin/sh\n", 6000 + n))
        .collect();
    let machine = || {
        Machine::new()
            .config(CODES)
            .passwd("bob:x:", &format!("{many}bob:x:"))
            .passwd("alice:x:5001:5001:Alice:/:/bin/sh\n", "")
            .group("admins:x:5003:alice", "sudo:x:5003:bob")
            .setup(&format!("{{ {create}; }} >/dev/null"))
    };
    let found = machine().check("");
    found.is(id, "warn", "cannot be reached: bob; root is not counted");
    found.is(admins, "warn", "nobody in the group 'sudo'");
    found.is_mended_by(admins, "duoctl codes create bob");
    let all = machine().setup("/srv/bin/duoctl codes create bob >/dev/null");
    all.check("").is(id, "ok", "every account of /etc/passwd");
    let directory = "sed 's/^passwd:.*/passwd: files sss/' /etc/nsswitch.conf >/run/n; \
                     grep -q ^passwd: /run/n || echo 'passwd: files sss' >>/run/n; \
                     cat /run/n >/etc/nsswitch.conf";
    let found = Machine::new().config(CODES).setup(directory).check("");
    found.is(
        id,
        "warn",
        "root and the accounts of a directory service are not counted",
    );
}

pub fn from_far_away_with_the_network_cut() {
    let world = World::with(CODES, |_| {});
    let codes = create(&world, "push", 1);
    let sshd = Sshd::start(&world, DOCUMENTED);
    world.sandbox.duo.stop();
    let ssh = || {
        let mut ssh = sshd.client("ssh");
        ssh.env("TERM", "xterm").args(["-tt", "push@127.0.0.1"]);
        Terminal::start(&ssh, TerminalSize::USUAL)
    };
    let mut without = ssh();
    without.wait_for_text(QUESTION);
    for number in 2..=3 {
        without.send("\n");
        without.wait_for(|screen| screen.matches(QUESTION).count() == number);
    }
    without.send("123456\n");
    assert_eq!(without.status(), 1);
    let mut with = ssh();
    with.wait_for_text(QUESTION);
    with.send(&format!("{}\n", codes[0]));
    with.wait_for_text("Codes left: 0. Ask your administrator for new ones.");
    with.send("echo i''n; exit 7\n");
    assert_eq!(with.status(), 7);
    assert!(with.screen().contains("\nin"), "{}", with.screen());
    // Programs that nobody answers for are denied.
    let headless = sshd.ssh("push", "echo in");
    assert_eq!((headless.code(), headless.stdout().as_str()), (1, ""));
}

/// sudo's input: the password, then these lines.
fn after_the_password(lines: &[&str]) -> String {
    let lines = std::iter::once(PASSWORD).chain(lines.iter().copied());
    lines.map(|line| format!("{line}\n")).collect()
}

pub fn in_front_of_sudo_and_su() {
    let world = pam_without_duo();
    let is_root = |ended: &Ended| ended.stdout().contains("uid=0(root)");
    let sudo = |line: &str| world.sudo("push", &["id"], &after_the_password(&[line; 3]));
    let denied = sudo("x");
    assert!(!is_root(&denied), "{denied:?}");
    let codes = create(&world, "push", 3);
    let ended = sudo(&codes[0]);
    assert!(is_root(&ended), "{ended:?}");
    assert!(ended.stderr().contains(QUESTION), "{ended:?}");
    assert!(ended.text().contains("Codes left: 2."), "{ended:?}");
    let start = "Failsafe Duo login for 'push': emergency code, 2 left: ";
    world.wait_for_log(|text| text.starts_with(start));
    assert!(!is_root(&sudo(&codes[0])));
    // Without the first factor a code is nothing.
    let ended = world.sudo("push", &["id"], &format!("{}\n", codes[1]).repeat(4));
    assert!(!is_root(&ended), "{ended:?}");
    assert_eq!(left(&world, "push"), 2);
    // su to root asks whoever runs it, and su to another asks the other.
    let roots = create(&world, "root", 1);
    let su = |line: &str| world.su("push", &["-c", "id"], &after_the_password(&[line; 3]));
    assert!(!is_root(&su(&roots[0])));
    assert!(is_root(&su(&codes[1])));
    let others = create(&world, "manual", 1);
    let su = |line: &str| {
        let input = after_the_password(&[line; 3]);
        world.su("push", &["-c", "id", "manual"], &input)
    };
    assert_ne!(su(&codes[2]).code(), 0);
    assert_eq!(su(&others[0]).code(), 0);
    // Nothing of the host is changed by the lookup, and a small stack is enough for it.
    let codes = create(&world, "push", 2);
    let stack = ["-k", "64", "-a", &codes[0], "duo", "push"];
    assert_eq!(world.host(&stack).code(), crate::machine::code::SUCCESS);
    let asked = world.asks("duo", "push", &[&codes[1]]);
    assert_eq!(asked.is_unchanged().code(), crate::machine::code::SUCCESS);
    // An account that only the host knows has none.
    let asked = world.asks("duo", "no-such-account", &[]);
    assert_eq!(asked.code(), crate::machine::code::USER_UNKNOWN);
}

/// A host that names one account and has the codes of another one opened.
pub fn codes_of_another_account_are_good_for_nothing() {
    let world = pam_without_duo();
    let codes = create(&world, "manual", 1);
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    let (module, socket) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let (ruling, pipe) = std::io::pipe().unwrap();
    send_items(&module, &[(Item::User, b"push"), (Item::Service, b"sudo")]);
    let mut answer = Packet::new();
    answer.set_answer(Some(codes[0].as_bytes()));
    send(module.as_raw_fd(), answer.as_bytes(), MsgFlags::empty()).unwrap();
    let mut helper = world.inside();
    let uid = world.uid("manual");
    helper
        .args(["sh", "-c"])
        .arg(format!(
            "exec 3<&0 4>&1 </dev/null >/dev/null /usr/libexec/login_duo/pam-duo-helper 1 {uid} \
             conf=/etc/duo/pam_duo.conf"
        ))
        .stdin(Stdio::from(socket))
        .stdout(Stdio::from(pipe));
    assert!(run_quietly(&mut helper).success());
    drop(helper);
    assert_eq!(read_to_end(ruling), b"f");
    let line = world.wait_for_final();
    let why = "the emergency codes that were opened are another account's";
    let start = format!("Failsecure Duo login for 'push': {why}: ");
    assert!(line.starts_with(&start), "{line}");
    assert_eq!(left(&world, "manual"), 1);
    drop(module);
}

fn send_items(module: &OwnedFd, items: &[(Item, &[u8])]) {
    let mut packet = Packet::new();
    for (item, value) in items {
        packet.put(*item, value);
    }
    send(module.as_raw_fd(), packet.as_bytes(), MsgFlags::empty()).unwrap();
}

pub fn behind_sshd_with_pam() {
    let world = pam_without_duo();
    let codes = create(&world, "push", 2);
    let sshd = world.sshd("AuthenticationMethods keyboard-interactive\n");
    let mut ssh = sshd.asking_client("ssh");
    ssh.arg("push@127.0.0.1");
    let mut terminal = Terminal::start(&ssh, TerminalSize::USUAL);
    terminal.wait_for_text("assword:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(QUESTION);
    terminal.send("x\n");
    terminal.wait_for(|screen| screen.matches(QUESTION).count() == 2);
    terminal.send(&format!("{}\n", codes[0]));
    // sshd shows it once the session begins.
    terminal.wait_for_text("Codes left: 1. Ask your administrator for new ones.");
    terminal.send("exit 5\n");
    assert_eq!(terminal.status(), 5);
    let start = "Failsafe Duo login for 'push' from 127.0.0.1: emergency code, 1 left: ";
    world.wait_for_log(|text| text.starts_with(start));
}
