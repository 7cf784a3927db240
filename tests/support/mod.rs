//! What every test here stands on: a fake Duo service, a configuration, and
//! the built `login_duo` as a process, on pipes or on a pseudo-terminal.
//!
//! Tests wait for events (a text on the screen, a request at the service, the
//! end of a process), at most [`PATIENCE`], and never for a number of seconds.

mod answers;
mod findings;
mod install_sh;
mod pam;
mod run;
mod terminal;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fake_duo::{Builder, FakeDuo};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt,
};

pub use answers::{not_duos, refusals_of_any_shape};
pub use findings::Found;
pub use install_sh::{install_sh, release, tree};
pub use pam::{PREBUILT, pam_module};
pub use run::{Ended, ended, in_time, read_to_end, run, run_quietly, run_with, start, wait};
pub use terminal::{Terminal, TerminalSize};

/// Longer than any event takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until that is so; else says what was wrong.
pub fn wait_until(so: impl Fn() -> bool, wrong: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "{}", wrong());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `test` on each of `cases` side by side: most of what it does is waiting.
pub fn side_by_side<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// Raises a flag when it goes, also where a test fails: what runs beside the test until
/// then would have no end.
pub struct Raises<'a>(pub &'a AtomicBool);

impl Drop for Raises<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Closes a socket. A process that another test starts has a copy of it until it executes;
/// this waits for that too.
pub fn close(socket: UnixDatagram) {
    let path = socket.local_addr().expect("its address");
    let another = UnixDatagram::unbound().expect("a socket");
    another
        .connect(path.as_pathname().expect("a path"))
        .expect("it is open");
    another.set_nonblocking(true).expect("its mode");
    drop(socket);
    let is_closed = || {
        let sent = another.send(b"is anybody there?");
        sent.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    wait_until(is_closed, || "the socket is still open".to_owned());
}

/// Writes a program. Another process does it: where this one had the file open, one that
/// another test starts could have it still when the program is to run.
pub fn write_program(path: &Path, text: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"]);
    shell.arg(path);
    run_with(shell, text.as_bytes()).succeeds();
}

/// A port of 127.0.0.1 that refuses connections as long as this lives: it is
/// taken, so no other test's service gets it, and nobody listens; or until sshd, which is
/// told its number, does.
pub struct RefusedPort(OwnedFd);

impl RefusedPort {
    /// Takes a free one.
    pub fn take() -> RefusedPort {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
        let any = SockaddrIn::new(127, 0, 0, 1, 0);
        bind(socket.as_raw_fd(), &any).unwrap();
        RefusedPort(socket)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        let address: SockaddrIn = getsockname(self.0.as_raw_fd()).unwrap();
        address.port()
    }
}

/// The built program that checks an installation, and its first arguments.
pub fn check_command() -> (&'static Path, &'static [&'static str]) {
    (Path::new(env!("CARGO_BIN_EXE_duoctl")), &["check"])
}

/// A service, a folder with a configuration for it, and what to run.
pub struct Sandbox {
    /// The service.
    pub duo: FakeDuo,
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// The service as it is by default, with pushes that take 50 ms.
    pub fn new() -> Sandbox {
        Sandbox::with(FakeDuo::builder())
    }

    /// A service of one's own making.
    pub fn with(builder: Builder) -> Sandbox {
        Sandbox::with_delay(builder, Duration::from_millis(50))
    }

    /// A service of one's own making, with pushes that take so long.
    pub fn with_delay(builder: Builder, delay: Duration) -> Sandbox {
        let duo = builder.push_delay(delay).start();
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The unprivileged child reads the CA's certificate in it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("the folder's mode");
        let sandbox = Sandbox { duo, folder };
        sandbox.configure("");
        sandbox
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration anew, with these lines after those that it needs.
    pub fn configure(&self, extra: &str) -> PathBuf {
        self.duo
            .write_config(self.path(), extra)
            .expect("a configuration file")
    }

    /// Writes this very text as the configuration, as its owner should have it.
    pub fn configure_with(&self, text: &[u8]) -> PathBuf {
        let path = self.config();
        fs::write(&path, text).expect("a configuration file");
        path
    }

    /// The configuration as it stands, with each `from` replaced.
    pub fn edit_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("the configuration");
        assert!(text.contains(from), "no '{from}' in the configuration");
        self.configure_with(text.replace(from, to).as_bytes());
    }

    /// Where the configuration is.
    pub fn config(&self) -> PathBuf {
        self.path().join("login_duo.conf")
    }

    /// `login_duo -d -c CONFIG -f USER`, in an empty environment but for PATH,
    /// with a client address. The log goes to stderr.
    pub fn login(&self, user: &str) -> Login {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login_duo"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22")
            .arg("-d")
            .arg("-c")
            .arg(self.config())
            .args(["-f", user]);
        Login {
            command,
            input: Vec::new(),
        }
    }
}

/// One run of `login_duo`, to be.
pub struct Login {
    command: Command,
    input: Vec<u8>,
}

impl Login {
    /// Further arguments: the command.
    pub fn args(mut self, words: &[&str]) -> Login {
        self.command.args(words);
        self
    }

    /// A variable in the environment.
    pub fn env(mut self, name: &str, value: &str) -> Login {
        self.command.env(name, value);
        self
    }

    /// No such variable in the environment.
    pub fn env_remove(mut self, name: &str) -> Login {
        self.command.env_remove(name);
        self
    }

    /// Started by a shell's `script`, which finds the whole command in `"$@"`.
    pub fn through(mut self, script: &str) -> Login {
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().args(["-c", script, "sh"]);
        shell.arg(self.command.get_program());
        shell.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        self.command = shell;
        self
    }

    /// What the session reads from stdin.
    pub fn input(mut self, bytes: &[u8]) -> Login {
        self.input = bytes.to_vec();
        self
    }

    /// Runs it headless, on pipes, to its end.
    pub fn run(self) -> Ended {
        run_with(self.command, &self.input)
    }

    /// Runs it headless with this stderr, to its end; returns the exit status.
    pub fn run_with_stderr(mut self, stderr: impl Into<Stdio>) -> i32 {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("login_duo starts");
        wait(&mut child).code().expect("it was not killed")
    }

    /// Runs it on a terminal of the usual size.
    pub fn on_terminal(self) -> Terminal {
        self.on_terminal_of(TerminalSize::USUAL)
    }

    /// Runs it on a terminal.
    pub fn on_terminal_of(mut self, size: TerminalSize) -> Terminal {
        if !self.command.get_envs().any(|(name, _)| name == "TERM") {
            self.command.env("TERM", "xterm").env("LANG", "C.UTF-8");
        }
        Terminal::start(&self.command, size)
    }
}

/// The lines of `text` that are wanted.
pub fn lines(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    text.lines()
        .filter(|line| wanted(line))
        .map(|line| format!("{line}\n"))
        .collect()
}
