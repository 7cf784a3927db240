//! The program: `serve` and `demo` as a sysadmin runs them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn fake_duo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-duo"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn demo(what: &[&str]) -> Command {
    let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand_in.sh");
    let mut command = fake_duo(&["demo", "--login-duo", stand_in, "--"]);
    command.args(what);
    command
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn serve_writes_a_configuration_logs_requests_and_cleans_up() {
    let mut child = fake_duo(&["serve", "--tls", "plain", "--fault", "check/bare:503"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next().unwrap().unwrap();
    let (host, config) = ready
        .strip_prefix("ready host=")
        .unwrap()
        .split_once(" config=")
        .unwrap();
    let written = std::fs::read_to_string(config).unwrap();
    assert!(written.contains(&format!("host = {host}\n")));
    let folder = Path::new(config).parent().unwrap();
    assert_eq!(
        folder.metadata().unwrap().permissions().mode() & 0o777,
        0o755
    );

    for (path, status) in [("ping", "200"), ("check", "503")] {
        let port = host.rsplit_once(':').unwrap().1;
        let mut tcp = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        write!(
            tcp,
            "GET /auth/v2/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let line = lines.next().unwrap().unwrap();
        assert!(
            line.starts_with(&format!("GET /auth/v2/{path} -> {status}")),
            "{line}"
        );
    }
    send(&child, Signal::SIGTERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("FOR TESTS ONLY"));
    assert!(!folder.exists());
}

#[test]
fn serve_cleans_up_whichever_way_it_is_stopped() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut child = fake_duo(&["serve"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        let folder = Path::new(ready.split_once(" config=").unwrap().1)
            .parent()
            .unwrap();
        assert!(folder.exists());
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(!folder.exists(), "{signal}");
    }
}

#[test]
fn serve_never_overwrites_a_configuration() {
    let folder = std::env::temp_dir().join(format!("fake-duo-real-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let real = folder.join("login_duo.conf");
    std::fs::write(&real, "real").unwrap();
    let output = fake_duo(&["serve", "--dir", folder.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("already exists"));
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "real");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What every demo leaves behind: nothing but its last line.
fn assert_concluded(output: &Output, how: &str) {
    let stderr = text(&output.stderr);
    let last = stderr.lines().last().unwrap();
    assert_eq!(
        last,
        format!("fake-duo: login_duo {how}; the service saw no request.")
    );
}

#[test]
fn demo_runs_login_duo_as_sshd_would_and_ends_as_it_did() {
    let output = demo(&["tell", "a b", "-c", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let stdout = text(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(
        lines[1..],
        ["127.0.0.1 50022 127.0.0.1 22", "a b", "-c", "x"]
    );
    assert!(!Path::new(lines[0]).parent().unwrap().exists());
    assert_concluded(&output, "ended with status 7");

    let output = demo(&["die"]).output().unwrap();
    assert_eq!(output.status.code(), Some(137));
    assert_concluded(&output, "was killed by signal 9");
}

#[test]
fn demo_outlives_the_terminals_signals_and_hands_on_the_others() {
    let mut child = demo(&["wait"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting\n");
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGTERM,
    ] {
        send(&child, signal);
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    assert_concluded(&output, "ended with status 9");
}

#[test]
fn wrong_uses_end_with_status_2() {
    for arguments in [
        &["serve", "--fault", "no-such-fault"][..],
        &["serve", "--tls", "no-such-variant"],
        &["serve", "--bind", "192.0.2.1"],
        &["serve", "--user", "alice"],
        &["demo", "--login-duo", "/no/such/file"],
        &[],
    ] {
        let output = fake_duo(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn the_readme_names_every_user_fault_and_variant() {
    let readme = include_str!("../README.md");
    let users = fake_duo::USERS.iter().map(|(name, ..)| *name);
    let faults = fake_duo::FAULTS.iter().map(|(name, _)| *name);
    let variants = fake_duo::TLS_VARIANTS.iter().map(|(name, ..)| *name);
    for name in users.chain(faults).chain(variants) {
        assert!(readme.contains(&format!("| `{name}` |")), "{name}");
    }
}
