//! Attack 2, with time as the limit: a caller may stop us, whole or in part,
//! until every deadline has passed. Under `failmode = safe` that must not look
//! like Duo being down.

use std::process::Child;
use std::time::Duration;

use fake_duo::{Endpoint, Fault, Stage, Times};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::machine::{Install, World};
use crate::support::{PATIENCE, ended, start};

/// Longer than a process that is awake is ever kept from running.
const STOPPED: Duration = Duration::from_secs(4);

/// A login that `safe` is about to let in, since Duo does not answer preauth;
/// and the process that asks.
fn about_to_be_let_in(https_timeout: u32) -> (World, Child, Pid) {
    let extra = format!("failmode = safe\nhttps_timeout = {https_timeout}\n");
    let world = World::with(&extra, |_| {});
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
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""));
}

pub fn duo_that_is_silent_while_we_are_awake_is_down() {
    let (world, child, _) = about_to_be_let_in(1);
    let ended = ended(child);
    let line = world.final_line();
    let start = "Failsafe Duo login for 'push' from 192.0.2.7: ";
    assert!(line.starts_with(start), "{line}");
    assert_eq!((ended.code(), &*ended.stdout()), (0, "in\n"));
}

pub fn a_frozen_child_does_not_take_its_own_silence_for_duos() {
    let (world, child, asking) = about_to_be_let_in(1);
    kill(asking, Signal::SIGSTOP).unwrap();
    std::thread::sleep(STOPPED);
    kill(asking, Signal::SIGCONT).unwrap();
    denied(&world, child, "this machine stood still for ");
}

/// Each stop ends before the deadline, so the wait itself ends in time.
pub fn a_child_frozen_again_and_again_for_a_moment_does_not_either() {
    let (world, child, asking) = about_to_be_let_in(8);
    for _ in 0..3 {
        kill(asking, Signal::SIGSTOP).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        kill(asking, Signal::SIGCONT).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    denied(&world, child, "this machine stood still for ");
}

pub fn a_waiting_thread_stopped_alone_does_not_take_its_own_silence_for_duos() {
    let (world, child, asking) = about_to_be_let_in(1);
    // As a control group of its own would.
    ptrace::seize(asking, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(asking).unwrap();
    waitpid(asking, Some(WaitPidFlag::__WALL)).unwrap();
    std::thread::sleep(STOPPED);
    ptrace::detach(asking, None).unwrap();
    denied(&world, child, "this machine stood still for ");
}
