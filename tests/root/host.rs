//! A copy of this machine with accounts, a running sshd and Duo, which the tests
//! of install.sh and of `duoctl enable` may rewrite.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::QUICK_KEYS;
use crate::support::{Ended, RefusedPort, Sandbox, install_sh, tree, wait_until};

/// What is installed, beside duoctl and the pieces of the PAM style (`shared.sh`).
pub const PROGRAM: &str = "/srv/release/login_duo";
pub const CONFIG: &str = "/etc/duo/login_duo.conf";
pub const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
pub const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-login_duo.conf";
pub const ALICE: &str = "ldtest_alice";
pub const BOB: &str = "ldtest_bob";
pub const GROUP: &str = "ldtest_asked";
pub const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf\n";

/// What sshd's configuration begins with.
#[derive(Clone, Copy)]
pub enum DropIns {
    Included,
    NotIncluded,
}

/// A copy of this machine with two accounts, a running sshd, and Duo.
pub struct Machine {
    pub sandbox: Sandbox,
    port: RefusedPort,
}

impl Machine {
    pub fn new(drop_ins: DropIns) -> Machine {
        add_accounts();
        let port = RefusedPort::take();
        let machine = Machine {
            sandbox: Sandbox::new(),
            port,
        };
        machine.make_keys();
        machine.configure_sshd(match drop_ins {
            DropIns::Included => INCLUDE,
            DropIns::NotIncluded => "",
        });
        machine.start_sshd();
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    /// Configures what is installed for the Duo service here.
    pub fn configure(&self) {
        let written = fs::read(self.sandbox.config()).expect("read");
        fs::write(CONFIG, written).expect("the configuration");
    }

    pub fn make_keys(&self) {
        for name in ["host", "own"] {
            let path = self.path(name);
            succeed(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(path),
            );
        }
        fs::copy(self.path("own.pub"), self.path("keys")).expect("copied");
    }

    /// sshd's configuration, between these first lines and the end.
    pub fn configure_sshd(&self, first: &str) {
        let folder = self.sandbox.path().display();
        let text = format!(
            "{first}ListenAddress 127.0.0.1:{}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/keys\n\
             PidFile /run/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nX11Forwarding yes\n",
            self.port.number()
        );
        fs::write(SSHD_CONFIG, text).expect("sshd's configuration");
    }

    pub fn start_sshd(&self) {
        succeed(
            Command::new("/usr/sbin/sshd")
                .arg("-E")
                .arg(self.path("sshd.log")),
        );
        self.wait_for_sshd();
    }

    /// It writes its process id when it listens, also after a reload.
    pub fn wait_for_sshd(&self) {
        wait_until(
            || {
                TcpStream::connect(("127.0.0.1", self.port.number())).is_ok()
                    && Path::new("/run/sshd.pid").exists()
            },
            || "sshd does not listen".to_owned(),
        );
    }

    pub fn ssh(&self, user: &str) -> Command {
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .arg(QUICK_KEYS)
            .arg("-i")
            .arg(self.path("own"))
            .args([
                "-p",
                &self.port.number().to_string(),
                &format!("{user}@127.0.0.1"),
            ])
            .stdin(Stdio::null());
        command
    }

    /// Logs in, and says whether Duo was asked.
    pub fn is_asked(&self, user: &str) -> bool {
        self.wait_for_sshd();
        let before = self.sandbox.duo.paths().len();
        let ran = Ended::of(self.ssh(user).arg("echo hello"));
        assert!(
            ran.text().contains("hello") && ran.code() == 0,
            "{}",
            ran.text()
        );
        self.sandbox.duo.paths().len() > before
    }

    /// Installs, and configures it for the Duo service here.
    pub fn install(&self) {
        Ended::of(&mut install_sh(&["--binary", PROGRAM])).succeeds();
        self.configure();
    }

    pub fn uninstall(&self) {
        Ended::of(&mut install_sh(&["--uninstall", "--purge"])).succeeds();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        stop_sshd();
    }
}

pub fn stop_sshd() {
    let Ok(text) = fs::read_to_string("/run/sshd.pid") else {
        return;
    };
    let pid: i32 = text.trim().parse().expect("a process id");
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    );
    wait_until(
        || !Path::new("/run/sshd.pid").exists(),
        || "sshd does not end".to_owned(),
    );
}

pub fn succeed(command: &mut Command) {
    Ended::of(command).succeeds();
}

pub fn add_accounts() {
    if nix::unistd::User::from_name(ALICE).is_ok_and(|found| found.is_some()) {
        // A test's second machine.
        return;
    }
    succeed(Command::new("groupadd").arg(GROUP));
    for (name, groups) in [(ALICE, GROUP), (BOB, "")] {
        succeed(
            Command::new("useradd").args(["-m", "-s", "/bin/sh", "-p", "*", "-G", groups, name]),
        );
    }
}

/// The machine as install.sh could change it, without the spare copies that useradd keeps.
pub fn state() -> BTreeSet<String> {
    let folders = [
        "/etc",
        "/usr/sbin",
        "/usr/share/man/man5",
        "/usr/share/man/man8",
    ];
    let all = tree(&folders.map(Path::new));
    let spare = |line: &String| {
        let path = line.split(' ').next().unwrap_or_default();
        path.ends_with('-') || path.ends_with(".pwd.lock")
    };
    all.into_iter().filter(|line| !spare(line)).collect()
}

pub fn assert_same(before: &BTreeSet<String>) {
    let after = state();
    let differences: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

pub fn mode(path: &str) -> (u32, u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let status = fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    (status.mode() & 0o7777, status.uid(), status.gid())
}

/// Whether duoctl keeps something for a later run. Which files of /etc/duo install.sh and
/// duoctl have made stays for a purge.
pub fn keeps_something() -> bool {
    let kept = fs::read_dir("/var/lib/login_duo").into_iter().flatten();
    kept.flatten().any(|entry| entry.file_name() != "written")
}
