//! `duoctl enable pam` on a copy of this machine, behind the real sudo, su and
//! sshd.

pub mod adopt;
pub mod check;
pub mod enable;
pub mod table;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fake_duo::Script;

use crate::host::*;
use crate::support::{Ended, RefusedPort, Terminal, TerminalSize, ended, pam_module, run_with};

/// The configuration that the module reads.
pub const PAM_CONFIG: &str = "/etc/duo/pam_duo.conf";

/// Alice's first factor, and what is none.
pub const RIGHT: &str = "correct horse";
const WRONG: &str = "battery staple";

const HELPER: &str = "/usr/libexec/login_duo/pam-duo-helper";

/// A machine on which the module is installed, and nothing enabled.
pub struct Pam {
    pub machine: Machine,
    /// Where nobody answers.
    nobody: RefusedPort,
}

/// An sshd that lets in by keys alone, root too.
pub const KEYS: &str = "PasswordAuthentication no\nPermitRootLogin yes\n";

/// The installed program, to be run without a terminal.
pub fn duoctl(arguments: &[&str]) -> Ended {
    let mut command = Command::new("/usr/sbin/duoctl");
    Ended::of(command.args(arguments).stdin(Stdio::null()))
}

/// The folder in which PAM looks for modules.
pub fn module_folder() -> PathBuf {
    let libs = ["/usr/lib64", "/usr/lib", "/lib64", "/lib"].map(Path::new);
    let below = libs.into_iter().flat_map(|lib| {
        let entries = fs::read_dir(lib).into_iter().flatten().flatten();
        let own = lib.join("security");
        entries
            .map(|entry| entry.path().join("security"))
            .chain([own])
    });
    let mut found = below.filter(|folder| folder.join("pam_unix.so").is_file());
    found.next().expect("PAM's modules")
}

impl Pam {
    pub fn new() -> Pam {
        let pam = Pam {
            machine: Machine::new(DropIns::Included),
            nobody: RefusedPort::take(),
        };
        let mut chpasswd = Command::new("chpasswd");
        chpasswd.args(["-c", "SHA512"]);
        let lines: String = [ALICE, BOB, "root"]
            .map(|name| format!("{name}:{RIGHT}\n"))
            .concat();
        run_with(chpasswd, lines.as_bytes()).succeeds();
        pam.machine.install();
        install_module();
        without_delays();
        pam.configure("secure", Duo::Yes, Selected::Yes);
        fs::create_dir_all("/etc/sudoers.d").expect("a folder");
        let rights = format!(
            "Defaults timestamp_timeout=0, passwd_tries=1, !lecture\n{ALICE} ALL=(ALL:ALL) ALL\n"
        );
        fs::write("/etc/sudoers.d/ldtest", rights).expect("written");
        fs::set_permissions("/etc/sudoers.d/ldtest", fs::Permissions::from_mode(0o440)).unwrap();
        pam
    }

    /// Configures the module; Duo says so to everybody.
    pub fn configure(&self, failmode: &str, duo: Duo, selected: Selected) {
        let sandbox = &self.machine.sandbox;
        let groups = match selected {
            Selected::Yes => "",
            Selected::No => "groups = root\n",
        };
        sandbox.configure(&format!(
            "failmode = {failmode}\nautopush = yes\nprompts = 1\n{groups}"
        ));
        let mut text = fs::read_to_string(sandbox.config()).expect("read");
        if duo == Duo::Down {
            let lines = text.lines().map(|line| match line.starts_with("host") {
                true => format!("host = 127.0.0.1:{}\n", self.nobody.number()),
                false => format!("{line}\n"),
            });
            text = lines.collect();
        }
        let script = match duo {
            Duo::No => Script::PushDenied,
            Duo::Yes | Duo::Down => Script::Push,
        };
        for user in [ALICE, BOB, "root"] {
            sandbox.duo.set_script(user, script);
        }
        fs::write(PAM_CONFIG, text).expect("written");
        fs::set_permissions(PAM_CONFIG, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// How often Duo was asked to ring somebody.
    pub fn rung(&self) -> usize {
        let paths = self.machine.sandbox.duo.paths();
        paths.iter().filter(|path| *path == "auth").count()
    }

    /// sshd as it is after `enable pam sshd`, or as it was.
    pub fn sshd(&self, lines: &str) {
        stop_sshd();
        let drop_in = "/etc/ssh/sshd_config.d/50-ldtest.conf";
        fs::write(drop_in, lines).expect("written");
        self.machine.start_sshd();
    }
}

/// A wrong password is told at once: there are many of them here.
fn without_delays() {
    for (path, from, to) in [
        (
            "/etc/pam.d/common-auth",
            "pam_unix.so nullok",
            "pam_unix.so nullok nodelay",
        ),
        ("/etc/pam.d/login", "delay=3000000", "delay=0"),
        ("/etc/login.defs", "#FAIL_DELAY\n", "FAIL_DELAY 0\n"),
    ] {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.contains(from) {
            fs::write(path, text.replace(from, to)).expect("written");
        }
    }
}

/// As install.sh will.
pub fn install_module() {
    let built = pam_module();
    let module = module_folder().join("pam_duo.so");
    fs::copy(&built.module, &module).expect("copied");
    fs::set_permissions(&module, fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir_all(Path::new(HELPER).parent().unwrap()).expect("a folder");
    fs::copy(&built.helper, HELPER).expect("copied");
    fs::set_permissions(HELPER, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What Duo says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duo {
    Yes,
    No,
    Down,
}

/// Whether `groups` has somebody asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    Yes,
    No,
}

/// What is given as the first factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    Right,
    Wrong,
    Absent,
}

impl Factor {
    fn password(self) -> String {
        match self {
            Factor::Right => format!("{RIGHT}\n"),
            Factor::Wrong => format!("{WRONG}\n"),
            Factor::Absent => String::new(),
        }
    }
}

/// A command by an ordinary user of this machine.
fn by(user: &str, program: &str) -> Command {
    let account = nix::unistd::User::from_name(user).unwrap().expect(user);
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            &account.uid.to_string(),
            "--regid",
            &account.gid.to_string(),
        ])
        .args(["--init-groups", program])
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .current_dir("/");
    command
}

/// Whether Alice becomes root by sudo.
pub fn sudo(arguments: &[&str], factor: Factor) -> bool {
    let mut command = by(ALICE, "sudo");
    command
        .args(["-S", "-k"])
        .args(arguments)
        .args(["id", "-u"]);
    said(command, factor, "0")
}

/// Whether Alice becomes another user by su.
pub fn su(arguments: &[&str], target: &str, factor: Factor) -> bool {
    let mut command = by(ALICE, "su");
    command.args(arguments).args([target, "-c", "id -un"]);
    said(command, factor, target)
}

/// Whether the service lets Alice in, by an application of PAM.
pub fn pamtester(service: &str, factor: Factor) -> bool {
    let mut command = Command::new("pamtester");
    command
        .args([service, ALICE, "authenticate"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    let ended = run_with(command, factor.password().as_bytes());
    ended.code() == 0
}

/// Whether a command says this; sudo's own words may come after its command's.
fn said(command: Command, factor: Factor, line: &str) -> bool {
    let ended = run_with(command, factor.password().as_bytes());
    let is_said = ended.stdout().lines().any(|it| it == line);
    assert_eq!(is_said, ended.code() == 0, "{}", ended.text());
    is_said
}

/// Whether Alice gets in by ssh, with her key or without, and with a password.
pub fn ssh(pam: &Pam, has_key: bool, factor: Factor) -> bool {
    ssh_as(pam, ALICE, has_key, factor)
}

/// The same for any user.
pub fn ssh_as(pam: &Pam, user: &str, has_key: bool, factor: Factor) -> bool {
    pam.machine.wait_for_sshd();
    ssh_once(pam, user, has_key, factor)
}

/// The same while sshd may be away for a moment.
pub fn ssh_once(pam: &Pam, user: &str, has_key: bool, factor: Factor) -> bool {
    let machine = &pam.machine;
    let mut command = machine.ssh(user);
    let askpass = machine.path("askpass");
    let answer = match factor {
        Factor::Absent => "exit 1\n".to_owned(),
        factor => format!("echo '{}'\n", factor.password().trim_end()),
    };
    fs::File::create(&askpass)
        .and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(0o755))?;
            file.write_all(format!("#!/bin/sh\n{answer}").as_bytes())
        })
        .expect("written");
    let own = machine.path("own");
    let hidden = machine.path("own.hidden");
    if !has_key {
        fs::rename(&own, &hidden).expect("hidden");
    }
    // The first of several values counts.
    let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-o",
        "BatchMode=no",
        "-o",
        "NumberOfPasswordPrompts=1",
        "-o",
        "IdentitiesOnly=yes",
    ])
    .args(arguments)
    .arg("id -un")
    .env("SSH_ASKPASS", &askpass)
    .env("SSH_ASKPASS_REQUIRE", "force")
    .env("DISPLAY", ":0")
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped());
    command.stdin(Stdio::null());
    let child = ssh.spawn().expect("ssh starts");
    let ended = ended(child);
    if !has_key {
        fs::rename(&hidden, &own).expect("shown");
    }
    let is_in = ended.stdout().trim_end() == user;
    assert_eq!(is_in, ended.code() == 0, "{}", ended.text());
    is_in
}
