//! Attack 2, with time as the limit: a caller may stop us, whole or in part,
//! until every deadline has passed. Under `failmode = safe` that must not look
//! like Duo being down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use fake_duo::{Endpoint, Fault, Stage, Times};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::support::PATIENCE;
use crate::world::{Install, World, ended, start};

/// Longer than a process that is awake is ever kept from running.
const STOPPED: Duration = Duration::from_secs(3);

/// A login that `safe` is about to let in, since Duo does not answer preauth;
/// and the process that asks.
fn about_to_be_let_in() -> (World, Child, Pid) {
    let world = World::with("failmode = safe\nhttps_timeout = 1\n", |_| {});
    let silent = Fault::Stall(Stage::BeforeHeaders);
    world
        .sandbox
        .duo
        .fault(Endpoint::Preauth, silent, Times::Always);
    let mut login = world.login(Install::Setuid, "push");
    login.args(["echo", "in"]);
    let child = start(login);
    let asks = |requests: &[fake_duo::Request]| !requests.is_empty();
    assert!(world.sandbox.duo.wait_until(asks, PATIENCE), "no preauth");
    let asking = Pid::from_raw(world.halves().1);
    (world, child, asking)
}

/// No session, and this reason in the log.
fn denied(world: &World, child: Child, why: &str) {
    let ended = ended(child);
    let line = world.final_line();
    let start = format!("Error in Duo login for 'push' from 192.0.2.7: {why}");
    assert!(line.starts_with(&start), "{line}");
    assert_eq!((ended.code(), ended.stdout.as_str()), (1, ""));
}

pub fn duo_that_is_silent_while_we_are_awake_is_down() {
    let (world, child, _) = about_to_be_let_in();
    let ended = ended(child);
    let line = world.final_line();
    let start = "Failsafe Duo login for 'push' from 192.0.2.7: ";
    assert!(line.starts_with(start), "{line}");
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "in\n"));
}

pub fn a_frozen_child_does_not_take_its_own_silence_for_duos() {
    let (world, child, asking) = about_to_be_let_in();
    kill(asking, Signal::SIGSTOP).unwrap();
    std::thread::sleep(STOPPED);
    kill(asking, Signal::SIGCONT).unwrap();
    denied(&world, child, "this machine stood still for ");
}

pub fn a_waiting_thread_stopped_alone_does_not_take_its_own_silence_for_duos() {
    let (world, child, asking) = about_to_be_let_in();
    // As a control group of its own would; the thread that watches runs on.
    ptrace::seize(asking, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(asking).unwrap();
    waitpid(asking, Some(WaitPidFlag::__WALL)).unwrap();
    std::thread::sleep(STOPPED);
    ptrace::detach(asking, None).unwrap();
    denied(&world, child, "this machine stood still for ");
}

pub fn a_thread_put_into_a_control_group_of_its_own_denies() {
    let (world, child, asking) = about_to_be_let_in();
    let group = Group::beside(asking);
    group.take(asking);
    denied(
        &world,
        child,
        "a thread was moved to another control group: ",
    );
}

/// A control group for single threads, gone with the test.
struct Group(PathBuf);

impl Group {
    /// In a hierarchy that lets single threads be moved from where `process` is.
    fn beside(process: Pid) -> Group {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
        let parent = groups.lines().find_map(place).expect("a control group");
        let group = Group(parent.join(format!("login_duo-test-{process}")));
        fs::create_dir(&group.0).unwrap();
        if group.0.join("cgroup.type").exists() {
            fs::write(group.0.join("cgroup.type"), "threaded").unwrap();
        }
        group
    }

    fn take(&self, thread: Pid) {
        let old = self.0.join("tasks");
        let file = if old.exists() {
            old
        } else {
            self.0.join("cgroup.threads")
        };
        fs::write(file, thread.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where a line of `/proc/PID/cgroup` leads, if threads can be moved there:
/// the freezer of old, or the one hierarchy of today.
fn place(line: &str) -> Option<PathBuf> {
    let (id, rest) = line.split_once(':')?;
    let (kinds, path) = rest.split_once(':')?;
    let mounts: &[&str] = match (id, kinds) {
        (_, "freezer") => &["/sys/fs/cgroup/freezer"],
        ("0", "") => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
        _ => &[],
    };
    mounts
        .iter()
        .map(|mount| Path::new(mount).join(path.trim_start_matches('/')))
        .find(|place| place.join("cgroup.procs").exists())
}

/// Whether there are control groups that we may add to.
pub fn may_make_groups() -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(parent) = groups.lines().find_map(place) else {
        return false;
    };
    let trial = parent.join(format!("login_duo-trial-{}", std::process::id()));
    fs::create_dir(&trial).is_ok() && fs::remove_dir(&trial).is_ok()
}
