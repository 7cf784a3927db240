//! The program: `serve` and `demo` as a sysadmin runs them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod client;
mod limit;

use client::{Client, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

fn fake_duo(arguments: &[&str]) -> Command {
    limit::end_a_run_that_hangs();
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
        &["serve", "--phone=0.0.0.0"],
        &["serve", "--phone", "127.0.0.1"],
        &["phone", "http://127.0.0.1:1/no-such-phone/"],
        &["phone", "not-an-address"],
        &["demo", "--login-duo", "/no/such/file"],
        &["demo", "--pam", "--", "login"],
        &["demo", "--pam", "--", "sudo", "id"],
        &["demo", "--pam", "--login-duo", "/bin/true"],
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

/// A folder for one test's `XDG_RUNTIME_DIR`, gone afterwards.
struct Runtime(PathBuf);

impl Runtime {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fake-duo-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn fake_duo(&self, arguments: &[&str]) -> Command {
        let mut command = fake_duo(arguments);
        command.env("XDG_RUNTIME_DIR", &self.0);
        command
    }

    /// Starts it with a keyboard.
    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.fake_duo(arguments);
        Running(command.stdin(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A program that ends with its test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            send(&self.0, Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

/// The lines that a program prints, as they come.
struct Says(mpsc::Receiver<String>);

impl Says {
    fn of(child: &mut Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self(receiver)
    }

    /// Waits for a line with this in it.
    fn wait_for(&self, wanted: &str) -> String {
        let next = || self.0.recv_timeout(PATIENCE).ok();
        std::iter::from_fn(next)
            .find(|line| line.contains(wanted))
            .unwrap_or_else(|| panic!("never '{wanted}'"))
    }
}

#[test]
fn serve_with_a_phone_is_played_from_a_second_pane() {
    let runtime = Runtime::new("pane");
    let mut service = runtime.start(&["serve", "--tls", "plain", "--phone"]);
    let log = Says::of(&mut service.0);
    let address = log.wait_for("phone http://127.0.0.1:");
    let ready = log.wait_for("ready host=");
    let (host, config) = ready
        .strip_prefix("ready host=")
        .unwrap()
        .split_once(" config=")
        .unwrap();
    let written = std::fs::read_to_string(config).unwrap();
    assert!(written.contains("pushinfo = yes\nverified_push = yes\n"));

    let mut pane = runtime.start(&["phone"]);
    let says = Says::of(&mut pane.0);
    let mut keyboard = pane.0.stdin.take().unwrap();
    says.wait_for("TEST DOUBLE: not Duo");
    says.wait_for("Passcode of every user: 123456");

    let mut client = Client::plain_at(host);
    let txid = client.begin("alice", "push1");
    says.wait_for("#1 Push for alice");
    says.wait_for("a 1 approves, d 1 denies, f 1 reports fraud");
    for (typed, told) in [
        ("yes 1", "Say a (approve, or press a key)"),
        ("a", "Which one?"),
        ("a 2", "No push or call of this number waits."),
        ("approve 1", "#1 for alice: approved"),
    ] {
        writeln!(keyboard, "{typed}").unwrap();
        says.wait_for(told);
    }
    assert!(client.follow(&txid).last().unwrap().starts_with("allow"));

    let txid = client.begin("bob", "phone1");
    says.wait_for("k 2 presses a key");
    writeln!(keyboard, "h #2").unwrap();
    says.wait_for("#2 for bob: denied");
    assert!(client.follow(&txid).last().unwrap().starts_with("deny"));
    client.begin("carol", "smsrefresh1");
    says.wait_for("Passcode of carol, by SMS: 7654321");

    // The phone goes with its service, and leaves nothing behind.
    let place = runtime.0.join("fake-duo/phone");
    let left = std::fs::read_to_string(&place).unwrap();
    assert_eq!(format!("phone {left}"), address);
    assert_eq!(
        place.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    send(&service.0, Signal::SIGTERM);
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
    says.wait_for("The service has ended.");
    assert_eq!(pane.0.wait().unwrap().code(), Some(0));
    assert!(!place.exists());
    let output = runtime.fake_duo(&["phone"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no phone is there"));
}

#[test]
fn a_second_pane_asks_for_the_code_of_a_verified_push_and_ends_with_its_input() {
    let runtime = Runtime::new("code");
    let duo = fake_duo::FakeDuo::builder()
        .phone("127.0.0.1:0".parse().unwrap())
        .start();
    let mut client = Client::new(&duo);
    let mut call = client::Call::preauth("verified");
    let supports = ("client_supports_verified_push".to_owned(), "1".to_owned());
    call.parameters.push(supports);
    let named = client.call(&call).response();
    let mut call = client::Call::auth("verified", "verified_push1");
    let named = named["txid"].as_str().unwrap().to_owned();
    call.parameters.push(("txid".to_owned(), named));
    let txid = client.call(&call).response();

    let mut pane = runtime.start(&["phone", &duo.phone().unwrap()]);
    let says = Says::of(&mut pane.0);
    let mut keyboard = pane.0.stdin.take().unwrap();
    says.wait_for("a 1 CODE approves");
    for (typed, told) in [
        ("a 1", "A verified push wants the code"),
        ("a 1 999", "That was not the code"),
        ("a 1 708", "#1 for verified: approved"),
    ] {
        writeln!(keyboard, "{typed}").unwrap();
        says.wait_for(told);
    }
    let followed = client.follow(txid["txid"].as_str().unwrap());
    assert!(followed.last().unwrap().starts_with("allow"));
    drop(keyboard);
    assert_eq!(pane.0.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_is_taken_from_no_folder_that_others_can_write_to() {
    let runtime = Runtime::new("others");
    let folder = runtime.0.join("fake-duo");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("phone"), "http://127.0.0.1:1/theirs/").unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = runtime.fake_duo(&["phone"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is not a folder of yours alone"));
}

#[test]
fn demo_with_a_phone_opens_it_in_the_browser_of_whoever_sits_there() {
    let runtime = Runtime::new("browser");
    let browser = runtime.0.join("browser");
    std::fs::write(&browser, "#!/bin/sh\necho \"opened $1\" > /dev/tty\n").unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand_in.sh");
    let (mut screen, line) = pty_process::blocking::open().unwrap();
    let mut child = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_fake-duo"))
        .args(["demo", "--phone", "--login-duo", stand_in, "--", "wait"])
        .env("XDG_RUNTIME_DIR", &runtime.0)
        .env("BROWSER", &browser)
        .spawn(line)
        .unwrap();
    let (mut shown, mut chunk) = (String::new(), [0; 1024]);
    // Until the end, or EIO: the last process has left the terminal.
    while let Ok(length @ 1..) = screen.read(&mut chunk) {
        shown.push_str(&text(&chunk[..length]));
        if ["opened http", "waiting\r\n"]
            .iter()
            .all(|it| shown.contains(it))
        {
            send(&child, Signal::SIGTERM);
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(9), "{shown}");
    let address = shown.split_once("the phone: ").unwrap().1;
    let address = address.lines().next().unwrap();
    assert!(address.starts_with("http://127.0.0.1:"), "{address}");
    assert!(shown.contains(&format!("opened {address}\r\n")), "{shown}");
    assert!(
        shown.contains("in a second terminal: cargo run -q -p fake-duo -- phone\r\n"),
        "{shown}"
    );
}

#[test]
fn a_phone_off_the_loopback_is_warned_of() {
    // An address for documentation: no machine has it.
    let output = fake_duo(&["serve", "--phone=192.0.2.1:8080"])
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("THE PHONE IS ON THE NETWORK, at 192.0.2.1"),
        "{stderr}"
    );
    assert!(
        stderr.contains("cannot listen on 192.0.2.1:8080"),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(2));
}
