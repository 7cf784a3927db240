//! `remember = connection`: one yes serves one connection of a real sshd, and nothing else.
//! What real clients make of it stands here, what must fail in `attacks`, and what duoctl says
//! of it in `told`.

pub mod attacks;
pub mod clients;
pub mod told;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::machine::{SSHD, Sshd, World};
use crate::support::{Ended, run, start, wait_until};

/// Where root keeps the approvals.
const FOLDER: &str = "/run/login_duo/remember";

/// What a later login of the same minute says.
const REMEMBERED: &str = ": approved 0 min ago on this connection";

/// The bytes of one approval (docs/security.md, *Remembered connections*).
const RECORD: usize = 64;

/// A machine that remembers, with these lines more in the configuration.
fn remembering(lines: &str) -> World {
    World::with(&format!("remember = connection\n{lines}"), |_| {})
}

/// One connection, over which other clients go.
struct Connection<'a> {
    sshd: &'a Sshd,
    user: &'a str,
    socket: PathBuf,
    master: Child,
}

impl<'a> Connection<'a> {
    fn open(world: &World, sshd: &'a Sshd, user: &'a str) -> Connection<'a> {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let socket = world.sandbox.path().join(format!("c{number}"));
        let mut master = sshd.client("ssh");
        master.args(["-M", "-N", "-S"]).arg(&socket);
        master.arg(format!("{user}@127.0.0.1"));
        let master = start(master);
        wait_until(|| socket.exists(), || "no control socket".to_owned());
        Connection {
            sshd,
            user,
            socket,
            master,
        }
    }

    /// A client (`ssh`, `scp`, `sftp`) that goes over this connection.
    fn client(&self, program: &str) -> Command {
        let mut client = self.sshd.client(program);
        client.arg(self.option());
        client
    }

    fn option(&self) -> String {
        format!("-oControlPath={}", self.socket.display())
    }

    /// A command in a session of this connection.
    fn session(&self, command: &str) -> Command {
        let mut ssh = self.client("ssh");
        ssh.args([&format!("{}@127.0.0.1", self.user), command]);
        ssh
    }

    fn ssh(&self, command: &str) -> Ended {
        run(self.session(command))
    }

    /// Runs a session; returns whether its person was asked.
    fn is_asked(&self, world: &World) -> bool {
        let before = world.sandbox.duo.asked("auth");
        let ended = self.ssh("echo in");
        assert_eq!(ended.stdout(), "in\n", "{ended:?} {:?}", world.log());
        world.sandbox.duo.asked("auth") > before
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let _ = self.master.kill().and_then(|()| self.master.wait());
    }
}

/// The account's file.
fn file(world: &World, user: &str) -> PathBuf {
    world.at(&format!("{FOLDER}/{}", world.uid(user)))
}

/// How many approvals it holds.
fn approvals(world: &World, user: &str) -> usize {
    let bytes = fs::read(file(world, user)).unwrap_or_default();
    assert!(bytes.len().is_multiple_of(RECORD), "{}", bytes.len());
    bytes.len() / RECORD
}

/// The texts of the log that are final lines, in order.
fn finals(world: &World) -> Vec<String> {
    let lines = world.log().into_iter().map(|line| line.text);
    lines
        .filter(|text| crate::machine::is_final(text))
        .collect()
}

pub fn one_yes_serves_every_session_of_one_connection() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "push");
    assert!(connection.is_asked(&world));
    for _ in 0..5 {
        assert!(!connection.is_asked(&world));
    }
    let duo = &world.sandbox.duo;
    assert_eq!((duo.asked("preauth"), duo.asked("auth")), (6, 1));
    let finals = finals(&world);
    assert!(finals[0].starts_with("Successful Duo login for 'push' from 127.0.0.1: "));
    for line in &finals[1..] {
        let expected = format!("Skipped Duo login for 'push' from 127.0.0.1{REMEMBERED}");
        assert_eq!(*line, expected);
    }
    assert_eq!(approvals(&world, "push"), 1);
}

pub fn another_connection_at_the_same_time_is_asked() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let one = Connection::open(&world, &sshd, "push");
    let other = Connection::open(&world, &sshd, "push");
    assert!(one.is_asked(&world));
    assert!(other.is_asked(&world));
    assert!(!one.is_asked(&world));
    assert!(!other.is_asked(&world));
    // Without a master.
    let before = world.sandbox.duo.asked("auth");
    assert_eq!(sshd.ssh("push", "echo in").stdout(), "in\n");
    assert_eq!(world.sandbox.duo.asked("auth"), before + 1);
}

pub fn behind_a_listener_users_and_root_are_asked_once_a_connection() {
    let world = remembering("");
    let sshd = Sshd::listen(&world, &[SSHD], "");
    for user in ["push", "root"] {
        let one = Connection::open(&world, &sshd, user);
        let other = Connection::open(&world, &sshd, user);
        assert!(one.is_asked(&world), "{user}");
        assert!(!one.is_asked(&world), "{user}");
        assert!(other.is_asked(&world), "{user}");
        assert!(!other.is_asked(&world), "{user}");
        assert!(!one.is_asked(&world), "{user}");
    }
}

/// The first login that remembers makes them, with the group of whoever logs in.
pub fn what_a_users_login_makes_has_roots_group() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "push");
    assert!(connection.is_asked(&world));
    let of = |path: &Path| {
        let status = fs::metadata(path).unwrap();
        (status.uid(), status.gid(), status.mode() & 0o7777)
    };
    let folder = world.at(FOLDER);
    assert_eq!(of(folder.parent().unwrap()), (0, 0, 0o755));
    assert_eq!(of(&folder), (0, 0, 0o700));
    assert_eq!(of(&file(&world, "push")), (0, 0, 0o600));
}

pub fn without_the_key_each_is_asked_and_nothing_is_made() {
    for lines in ["", "remember = no\n", "; remember = connection\n"] {
        let world = World::with(lines, |_| {});
        let sshd = Sshd::start(&world, "");
        let connection = Connection::open(&world, &sshd, "push");
        assert!(connection.is_asked(&world));
        assert!(connection.is_asked(&world));
        assert_eq!(approvals(&world, "push"), 0);
        if lines != "remember = no\n" {
            assert!(!world.at("/run/login_duo").exists());
        }
    }
}
