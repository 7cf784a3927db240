//! `duoctl enable --confirm`: taken back by itself, unless somebody confirms in
//! another session.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::host::*;
use crate::support::{Ended, wait, wait_until};

const PENDING: &str = "/var/lib/login_duo/pending.json";
const UNIT: &str = "/etc/systemd/system/login_duo-confirm.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/login_duo-confirm.service";

fn duoctl(arguments: &[&str]) -> Ended {
    let mut command = Command::new("/usr/sbin/duoctl");
    Ended::of(command.args(arguments).stdin(Stdio::null()))
}

fn enable(more: &[&str]) -> Ended {
    let mut all = vec!["enable", "ssh", "--accept", "no-way-in"];
    all.extend(more);
    duoctl(&all)
}

fn wait_until_taken_back(before: &std::collections::BTreeSet<String>) {
    wait_until(
        || !Path::new(DROP_IN).exists() && !Path::new(PENDING).exists(),
        || "it is not taken back".to_owned(),
    );
    assert_same(before);
}

/// The processes of duoctl that are left.
fn waiting() -> usize {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes
        .filter(|entry| {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            name.trim() == "duoctl" && !stat.contains(") Z ")
        })
        .count()
}

pub fn confirmed_from_another_session_it_stays() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let said = enable(&["--confirm", "1h"]).succeeds();
    assert!(
        said.contains("unless you say in that second session"),
        "{said}"
    );
    let status = fs::metadata("/var/lib/login_duo").expect("a folder");
    assert_eq!(status.permissions().mode() & 0o7777, 0o700);
    let enabled = state();

    // The session that was open before shows nothing.
    let refused = duoctl(&["confirm"]).fails();
    assert!(refused.contains("log in a second time"), "{refused}");
    let again = enable(&["--confirm", "1h"]).succeeds();
    assert!(again.contains("it is taken back in"), "{again}");
    let refused = enable(&["--group", GROUP]).fails();
    assert!(refused.contains("still waits"), "{refused}");

    let said = Ended::of(machine.ssh("root").arg("duoctl confirm")).succeeds();
    assert!(said.contains("confirmed"), "{said}");
    assert!(!keeps_something());
    wait_until(|| waiting() == 0, || "a process is left".to_owned());
    assert_same(&enabled);
    assert!(machine.is_asked(ALICE));
    let said = duoctl(&["confirm"]).succeeds();
    assert!(said.contains("nothing waits"), "{said}");
}

/// Another window of one connection needed no second login.
pub fn another_window_of_the_same_connection_does_not_confirm() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let socket = machine.path("socket");
    let path = format!("ControlPath={}", socket.display());
    let first = |command: &str| {
        let mut ssh = machine.ssh("root");
        ssh.args(["-o", &path, command]);
        Ended::of(&mut ssh)
    };
    let mut master = machine.ssh("root");
    master.args(["-M", "-N", "-o", &path]);
    let mut master = master.spawn().expect("ssh starts");
    wait_until(|| socket.exists(), || "no connection".to_owned());
    first("duoctl enable ssh --accept no-way-in --confirm 1h").succeeds();
    let refused = first("duoctl confirm").fails();
    assert!(refused.contains("log in a second time"), "{refused}");
    Ended::of(machine.ssh("root").arg("duoctl confirm")).succeeds();
    let _ = master.kill();
    wait(&mut master);
}

pub fn run_out_it_is_taken_back() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    enable(&["--confirm", "1s"]).succeeds();
    wait_until_taken_back(&before);
    assert!(!machine.is_asked(ALICE));
    wait_until(|| waiting() == 0, || "a process is left".to_owned());
    // Who comes too late has confirmed nothing.
    let refused = duoctl(&["confirm"]).fails();
    assert!(refused.contains("nothing is enabled"), "{refused}");
}

/// What was enabled before comes back, and not nothing.
pub fn taken_back_to_what_was_enabled_before() {
    for drop_ins in [DropIns::Included, DropIns::NotIncluded] {
        let machine = Machine::new(drop_ins);
        machine.install();
        enable(&["--group", GROUP]).succeeds();
        let before = state();
        enable(&["--confirm", "1h"]).succeeds();
        assert!(machine.is_asked(BOB));
        let said = duoctl(&["confirm", "--no"]).succeeds();
        assert!(said.contains("taken back"), "{said}");
        assert_same(&before);
        assert!(machine.is_asked(ALICE) && !machine.is_asked(BOB));
    }
}

/// The person at it may have lost the connection, which is what it is for.
pub fn the_enabling_session_is_killed() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let mut command = machine.ssh("root");
    command
        .arg("-tt")
        .arg("duoctl enable ssh --accept no-way-in --confirm 3s; sleep 600")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut session: Child = command.spawn().expect("ssh starts");
    wait_until(
        || Path::new(DROP_IN).exists() && Path::new(PENDING).exists(),
        || "it is not enabled".to_owned(),
    );
    let _ = session.kill();
    wait(&mut session);
    wait_until_taken_back(&before);
    assert!(!machine.is_asked(ALICE));
}

/// What goes wrong while enabling leaves nothing that waits.
pub fn a_refused_enable_leaves_nothing_that_waits() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let folder = "/etc/ssh/sshd_config.d";
    succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k", "none", folder]));
    fs::write(format!("{folder}/50-full.conf"), "# \n".repeat(1365)).expect("written");
    enable(&["--confirm", "1h"]).fails();
    assert!(!Path::new(PENDING).exists());
    wait_until(|| waiting() == 0, || "a process is left".to_owned());
    succeed(Command::new("umount").arg(folder));
    assert_same(&before);
}

/// `disable` is the stronger word.
pub fn disabled_nothing_waits() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    enable(&["--confirm", "1h"]).succeeds();
    duoctl(&["disable", "all"]).succeeds();
    assert!(!Path::new(PENDING).exists());
    wait_until(|| waiting() == 0, || "a process is left".to_owned());
    assert_same(&before);
}

/// Whoever holds the lock of duoctl keeps everything from being taken back and confirmed.
pub fn no_user_can_hold_up_what_is_to_be_taken_back() {
    const LOCK: &str = "/run/duoctl.lock";
    let machine = Machine::new(DropIns::Included);
    machine.install();
    // As another version has made it.
    fs::write(LOCK, "").unwrap();
    fs::set_permissions(LOCK, fs::Permissions::from_mode(0o644)).unwrap();
    let hold = || {
        let flock = format!("flock --shared {LOCK} true || exit 1");
        Ended::of(Command::new("su").args([ALICE, "-s", "/bin/sh", "-c", &flock]))
    };
    hold().succeeds();
    enable(&["--confirm", "1h"]).succeeds();
    let denied = hold().fails();
    assert!(denied.contains("Permission denied"), "{denied}");
    duoctl(&["disable", "all"]).succeeds();
    fs::remove_file(LOCK).unwrap();
    enable(&[]).succeeds();
    hold().fails();
}

/// A stand-in for systemd's programs, which writes down what it is told.
fn systemd() -> impl Fn() -> String {
    let log = "/run/ldtest-systemd";
    for name in ["systemctl", "systemd-run"] {
        let path = format!("/usr/bin/{name}");
        let _ = fs::remove_file(&path);
        let script = format!(
            "#!/bin/sh\necho \"{name} $*\" >>{log}\ncase $* in *is-active*) exit 3 ;; esac\n"
        );
        fs::write(&path, script).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    fs::create_dir_all("/run/systemd/system").expect("a folder");
    move || fs::read_to_string(log).unwrap_or_default()
}

/// With systemd a timer waits, and a unit takes it back when the machine starts.
pub fn with_systemd_a_restart_takes_it_back() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let said = systemd();
    let before = state();
    enable(&["--confirm", "10m"]).succeeds();
    assert!(
        said().contains("systemd-run --quiet --on-active=600 ")
            && said().contains("--unit=login_duo-confirm-due /usr/sbin/duoctl confirm --no\n"),
        "{}",
        said()
    );
    assert_eq!(waiting(), 0);
    assert_eq!(fs::read_link(WANTED).expect("a link"), Path::new(UNIT));
    let unit = fs::read_to_string(UNIT).expect("a unit");
    assert!(unit.contains("Before=ssh.service sshd.service"), "{unit}");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));

    // The machine starts: no sshd runs yet, and no session is left.
    stop_sshd();
    succeed(Command::new("/bin/sh").args(["-c", command.expect("a command")]));
    assert_same(&before);
    assert!(!Path::new(UNIT).exists() && !Path::new(PENDING).exists());
    machine.start_sshd();
    assert!(!machine.is_asked(ALICE));
}

/// Nothing is enabled that nothing would take back.
pub fn without_a_timer_nothing_is_enabled() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let _said = systemd();
    fs::remove_file("/usr/bin/systemd-run").expect("removed");
    let before = state();
    let refused = enable(&["--confirm", "10m"]).fails();
    assert!(
        refused.contains("nothing would take it back in time"),
        "{refused}"
    );
    assert_same(&before);
    assert!(!Path::new(PENDING).exists());
}
