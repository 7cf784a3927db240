//! The built program: its log lines, its time and memory, and a terminal that was
//! stopped.

use std::process::Command;
use std::time::{Duration, Instant};

use fake_duo::{Endpoint, FakeDuo, FakeProxy, Fault, RetryAfter, Stage, Times};

use super::{IN_TIME, side_by_side};
use crate::support::{Ended, PATIENCE, Sandbox};

#[test]
fn a_stall_ends_by_https_timeout() {
    side_by_side(&[("safe", 0), ("secure", 1)], |(failmode, status)| {
        let sandbox = Sandbox::new();
        sandbox.configure(&format!("https_timeout = 1\nfailmode = {failmode}\n"));
        let fault = Fault::Stall(Stage::InBody);
        sandbox.duo.fault(Endpoint::Preauth, fault, Times::Always);
        let started = Instant::now();
        let ended = sandbox.login("push").args(&["echo", "in"]).run();
        assert_eq!(ended.status(), *status, "{}", ended.stderr());
        let words = format!(": No answer from {}: timed out", sandbox.duo.host());
        assert!(ended.last_line().ends_with(&words), "{}", ended.last_line());
        assert_eq!(sandbox.duo.paths(), ["preauth"; 3]);
        // Three answers of 1 s each, and pauses of 1 s and 2 s between them.
        assert!(started.elapsed() >= Duration::from_secs(6));
        assert!(started.elapsed() < Duration::from_secs(6) + IN_TIME);
    });
}

#[test]
fn a_terminal_stopped_with_ctrl_s_while_duo_is_busy_opens_nothing() {
    side_by_side(&["safe", "secure"], |failmode| {
        let sandbox = Sandbox::new();
        sandbox.configure(&format!("failmode = {failmode}\n"));
        for (wait, times) in [(1, Times::First(2)), (3_600, Times::Always)] {
            let limit = Fault::RateLimited(RetryAfter::Seconds(wait));
            sandbox.duo.fault(Endpoint::Preauth, limit, times);
        }
        let mut terminal = sandbox.login("push").args(&["echo", "in"]).on_terminal();
        terminal.wait_for_text("Duo is busy: trying again in 1 s");
        terminal.send("\x13");
        let asked = sandbox
            .duo
            .wait_until(|requests| requests.len() == 3, PATIENCE);
        assert!(asked, "the login goes on");
        assert_eq!(terminal.status(), 1);
        let line =
            "[4] Aborted Duo login for 'push' from 192.0.2.7: HTTP 429: Duo is rate limiting";
        assert_eq!(terminal.last_line(), line);
        assert_eq!(sandbox.duo.paths(), ["preauth"; 3]);
    });
}

#[test]
fn a_proxys_password_is_in_no_log_and_an_https_proxy_is_a_mistake() {
    let proxy = FakeProxy::builder().credentials("user", "other").start();
    let sandbox = Sandbox::new();
    sandbox.configure(&format!(
        "failmode = secure\nhttp_proxy = http://user:hunter2@{}\n",
        proxy.address()
    ));
    let ended = sandbox.login("push").args(&["echo", "in"]).run();
    assert_eq!(ended.status(), 1);
    let line = ended.last_line();
    assert!(
        line.contains("HTTP 407") && line.contains(&proxy.address()),
        "{line}"
    );
    assert!(!ended.stderr().contains("hunter2"), "{}", ended.stderr());

    sandbox.configure(&format!(
        "failmode = secure\nhttp_proxy = https://user:hunter2@{}\n",
        proxy.address()
    ));
    let ended = sandbox.login("push").args(&["echo", "in"]).run();
    assert_eq!(ended.status(), 1);
    let words = "must be an 'http://' proxy";
    assert!(ended.stderr().contains(words), "{}", ended.stderr());
    assert!(!ended.stderr().contains("hunter2"), "{}", ended.stderr());
    assert_eq!(sandbox.duo.connections(), 0);
}

#[test]
fn no_body_takes_more_than_so_much_memory() {
    // The kernel counts whoever starts a program into the program's own peak,
    // and this process has run hundreds of services: so one of its own.
    const ALONE: &str = "LOGIN_DUO_SUITE_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let name = "network::program::no_body_takes_more_than_so_much_memory";
        alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1");
        Ended::of(&mut alone).succeeds();
        return;
    }
    // The heaviest JSON that fits: each `{"":0},` is a tree of its own.
    let heavy = format!("[{}0]", r#"{"":0},"#.repeat(149_000));
    for fault in [
        Fault::EndlessBody,
        Fault::HugeBody,
        Fault::DeepBrackets,
        Fault::Body(heavy.into_bytes()),
    ] {
        let sandbox = Sandbox::new();
        sandbox.configure("failmode = secure\n");
        sandbox
            .duo
            .fault(Endpoint::Preauth, fault.clone(), Times::Always);
        let ended = sandbox.login("push").args(&["echo", "in"]).run();
        assert_eq!(ended.status(), 1, "{}", ended.stderr());
        let line = ended.last_line();
        assert!(
            line.starts_with("[4] Failsecure Duo login"),
            "{fault:?}: {line}"
        );
    }
    // The largest of all processes that this process has waited for.
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    let kibibytes = usage.unwrap().max_rss();
    assert!(kibibytes < 192 * 1024, "{kibibytes} KiB");
    eprintln!("largest: {kibibytes} KiB");
}

#[test]
fn a_login_without_trouble_asks_for_no_more_than_it_needs() {
    let sandbox = Sandbox::with(FakeDuo::builder());
    sandbox.configure("failmode = secure\n");
    assert_eq!(sandbox.login("push").args(&["true"]).run().status(), 0);
    assert_eq!(
        (sandbox.duo.connections(), sandbox.duo.handshakes()),
        (1, 1)
    );
    let paths = sandbox.duo.paths();
    assert_eq!(paths[..2], ["preauth", "auth"]);
    assert!(!paths.iter().any(|path| path == "ping"), "{paths:?}");
}
