//! `fake-duo demo` on a terminal, as a newcomer runs it.
#![allow(dead_code)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pty_process::blocking as pty;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// But for what the demo builds first.
pub const PATIENCE_WITH_CARGO: Duration = Duration::from_secs(900);

/// What was shown so far, and a bell for whoever waits for it.
type Shown = Arc<(Mutex<String>, Condvar)>;

/// One login.
pub struct Demo {
    pub child: Child,
    keyboard: pty::Pty,
    shown: Shown,
    pub folder: PathBuf,
}

impl Demo {
    /// Starts it with these arguments.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_through(name, &[], arguments)
    }

    /// The same, through a program that sets something and executes its arguments.
    pub fn start_through(name: &str, through: &[&str], arguments: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("fake-duo-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (keyboard, line) = pty::open().unwrap();
        let words = [
            usual_signals(),
            through,
            &[env!("CARGO_BIN_EXE_fake-duo"), "demo"],
            arguments,
        ]
        .concat();
        let child = pty::Command::new(words[0])
            .args(&words[1..])
            .env("XDG_RUNTIME_DIR", &folder)
            .env("BROWSER", "")
            .env("PS1", "$ ")
            .spawn(line)
            .unwrap();
        let shown = Shown::default();
        let mut screen = File::from(keyboard.as_fd().try_clone_to_owned().unwrap());
        let shows = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The end, or EIO: the last process has left the terminal.
            while let Ok(length @ 1..) = screen.read(&mut chunk) {
                let text = String::from_utf8_lossy(&chunk[..length]).into_owned();
                shows.0.lock().unwrap().push_str(&text);
                shows.1.notify_all();
            }
        });
        Self {
            child,
            keyboard,
            shown,
            folder,
        }
    }

    /// Types these keys.
    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this text has been shown so many times; all that was shown.
    pub fn wait_for(&self, text: &str, times: usize) -> String {
        self.wait_so_long_for(PATIENCE, text, times)
    }

    /// The same with another patience.
    pub fn wait_so_long_for(&self, patience: Duration, text: &str, times: usize) -> String {
        let shown = self.shown.0.lock().unwrap();
        let (shown, result) = self
            .shown
            .1
            .wait_timeout_while(shown, patience, |shown| shown.matches(text).count() < times)
            .unwrap();
        assert!(!result.timed_out(), "never '{text}':\n{shown}");
        shown.clone()
    }

    /// The phone's address, as it was printed.
    pub fn phone(&self) -> String {
        let shown = self.wait_so_long_for(PATIENCE_WITH_CARGO, "or, in a second terminal", 1);
        let address = shown.split_once("the phone: ").unwrap().1;
        address.lines().next().unwrap().trim().to_owned()
    }

    /// Its exit status.
    pub fn end(&mut self) -> i32 {
        let status = self.end_within(PATIENCE);
        status.expect("it ends in time").code().unwrap()
    }

    fn end_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            let status = self.child.try_wait().unwrap();
            if status.is_some() || Instant::now() > end {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Words before a command that takes back what whoever runs the tests ignores, as nohup
/// does: that is inherited. Not every `env` can do that.
fn usual_signals() -> &'static [&'static str] {
    static WORDS: OnceLock<&[&str]> = OnceLock::new();
    WORDS.get_or_init(|| {
        let words = &["env", "--default-signal"];
        let mut trial = Command::new(words[0]);
        trial.args(&words[1..]).arg("true");
        trial.stdin(Stdio::null()).stderr(Stdio::null());
        match trial.status() {
            Ok(status) if status.success() => words,
            _ => &[],
        }
    })
}

impl Drop for Demo {
    fn drop(&mut self) {
        // What a terminal says that is closed: a login ends, and a shell behind it.
        if let Ok(None) = self.child.try_wait() {
            let pid = Pid::from_raw(self.child.id().try_into().unwrap());
            let _ = kill(pid, Signal::SIGHUP);
            if self.end_within(PATIENCE).is_none() {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
