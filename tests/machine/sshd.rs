//! A real sshd, one process a connection, behind a port that the kernel chose;
//! and the real clients for it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{World, path_of};
use crate::support::{Ended, RefusedPort, run, wait_until};

/// What the documentation tells people to write beside `ForceCommand`.
pub const DOCUMENTED: &str = "AllowTcpForwarding no\nAllowStreamLocalForwarding no\n\
                              PermitTunnel no\nX11Forwarding no\nPermitUserRC no\n";

/// A client's option: an exchange of keys that takes much less processor time than
/// the usual one, of which the tests make a thousand.
pub const QUICK_KEYS: &str = "-oKexAlgorithms=curve25519-sha256";

/// The program.
pub const SSHD: &str = "/usr/sbin/sshd";

/// sshd, with `login_duo` as its forced command.
pub struct Sshd {
    pub port: u16,
    folder: PathBuf,
    stopped: Arc<AtomicBool>,
    /// With its port.
    listener: Option<(Child, RefusedPort)>,
}

impl Sshd {
    /// Further lines of its configuration; `ForceCommand` stands before them.
    pub fn start(world: &World, extra: &str) -> Sshd {
        Sshd::start_with(world, &format!("ForceCommand /srv/bin/login_duo\n{extra}"))
    }

    /// Without a forced command.
    pub fn start_with(world: &World, lines: &str) -> Sshd {
        Sshd::start_behind(world, "", lines)
    }

    /// A daemon that listens, as `program` starts it, and forks for each connection.
    pub fn listen(world: &World, program: &[&str], extra: &str) -> Sshd {
        let lines = format!("ForceCommand /srv/bin/login_duo\n{extra}");
        let (folder, config) = Sshd::configure(world, "", &lines);
        let taken = RefusedPort::take();
        let port = taken.number();
        let mut command = world.inside();
        command.args(program).args(["-D", "-f"]);
        command.arg(&config).arg(format!("-oPort={port}"));
        command.args(["-oListenAddress=127.0.0.1", "-E"]);
        command.arg(folder.join("log"));
        let listener = command.stdin(Stdio::null()).spawn().unwrap();
        let listens = || {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            log.contains("Server listening on")
        };
        wait_until(listens, || "sshd does not listen".to_owned());
        Sshd {
            port,
            folder,
            stopped: Arc::default(),
            listener: Some((listener, taken)),
        }
    }

    /// With these lines before all others, so that they win, and those after them.
    pub fn start_behind(world: &World, first: &str, lines: &str) -> Sshd {
        let (folder, config) = Sshd::configure(world, first, lines);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stopped = Arc::new(AtomicBool::new(false));

        let mut sshd = world.inside();
        sshd.args([SSHD, "-i", "-e", "-f"]).arg(&config);
        // As a daemon starts it: at the end of its time sshd ends its own group.
        sshd.process_group(0);
        let log = folder.join("log");
        let stop = stopped.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let connection = OwnedFd::from(connection.unwrap());
                let log = fs::File::options().append(true).create(true).open(&log);
                let mut child = sshd
                    .stdin(connection.try_clone().unwrap())
                    .stdout(connection)
                    .stderr(log.unwrap())
                    .spawn()
                    .unwrap();
                // The command keeps copies of the connection, else it would never close.
                sshd.stdin(Stdio::null()).stdout(Stdio::null());
                std::thread::spawn(move || child.wait());
            }
        });
        Sshd {
            port,
            folder,
            stopped,
            listener: None,
        }
    }

    /// Writes keys and configuration; returns their folder, and the configuration.
    fn configure(world: &World, first: &str, lines: &str) -> (PathBuf, PathBuf) {
        let name = format!("sshd-{}-{}", first.len(), lines.len());
        let folder = world.sandbox.path().join(name);
        fs::create_dir(&folder).unwrap();
        for key in ["host_key", "user_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .status()
                .unwrap();
            assert!(made.success());
        }
        let config = folder.join("sshd_config");
        let at = folder.display();
        let text = format!(
            "{first}HostKey {at}/host_key\nAuthorizedKeysFile {at}/user_key.pub\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             PrintMotd no\nPrintLastLog no\nAcceptEnv DUO_PASSCODE LANG\nMaxSessions 200\n\
             {lines}"
        );
        let text = if text.contains("Subsystem") {
            text
        } else {
            format!("{text}\nSubsystem sftp /usr/lib/openssh/sftp-server\n")
        };
        fs::write(&config, text).unwrap();
        (folder, config)
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.join("sshd_config")
    }

    /// What every client needs to hear.
    pub fn options(&self) -> Vec<String> {
        [
            "-F/dev/null".to_owned(),
            format!("-i{}", self.folder.join("user_key").display()),
            "-oStrictHostKeyChecking=no".to_owned(),
            "-oUserKnownHostsFile=/dev/null".to_owned(),
            "-oLogLevel=ERROR".to_owned(),
            "-oBatchMode=yes".to_owned(),
            QUICK_KEYS.to_owned(),
            format!("-oPort={}", self.port),
        ]
        .to_vec()
    }

    /// A client (`ssh`, `scp`, `sftp`) with those options.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(path_of(program));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("HOME", &self.folder).args(self.options());
        command
    }

    /// A client for a person who answers what is asked.
    pub fn asking_client(&self, program: &str) -> Command {
        let mut command = Command::new(path_of(program));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.folder)
            .env("TERM", "xterm")
            .args(["-oBatchMode=no", "-oNumberOfPasswordPrompts=1"])
            // After PAM_MAXTRIES sshd offers no method, and ssh would ask for a password.
            .arg("-oPreferredAuthentications=publickey,keyboard-interactive")
            .args(self.options());
        command
    }

    /// `ssh` as a program for others to use: rsync, git.
    pub fn remote_shell(&self) -> String {
        format!("ssh {}", self.options().join(" "))
    }

    /// `ssh USER@127.0.0.1 COMMAND`, to its end.
    pub fn ssh(&self, user: &str, command: &str) -> Ended {
        let mut ssh = self.client("ssh");
        ssh.args([&format!("{user}@127.0.0.1"), command]);
        run(ssh)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if let Some((listener, _)) = &mut self.listener {
            let _ = listener.kill().and_then(|()| listener.wait());
            return;
        }
        self.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
