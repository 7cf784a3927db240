//! A program on pipes, to its end.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use super::lines;

/// A headless run, over.
#[derive(Debug)]
pub struct Ended(Output);

/// Starts a command on pipes.
pub fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

/// Waits for its end.
pub fn ended(child: Child) -> Ended {
    Ended(child.wait_with_output().expect("the command ends"))
}

/// Runs a command on pipes to its end.
pub fn run(command: Command) -> Ended {
    ended(start(command))
}

/// Runs a command on pipes to its end, with this as its input.
pub fn run_with(command: Command, input: &[u8]) -> Ended {
    let mut child = start(command);
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // The input is written beside the reading, so that neither waits for the other.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let ended = ended(child);
    writer.join().expect("the input is written");
    ended
}

impl Ended {
    /// Runs a command whose standard input is set already.
    pub fn of(command: &mut Command) -> Ended {
        Ended(command.output().expect("the command starts"))
    }

    /// The exit status; a signal is a failure.
    pub fn status(&self) -> i32 {
        let killed = || panic!("killed: {}", self.stderr());
        self.0.status.code().unwrap_or_else(killed)
    }

    /// The exit status, or 128 and the signal, as a shell has it.
    pub fn code(&self) -> i32 {
        let signal = self.0.status.signal().map(|signal| 128 + signal);
        self.0.status.code().or(signal).unwrap_or_default()
    }

    /// Whether a signal killed it and left a core file.
    pub fn core_dumped(&self) -> bool {
        self.0.status.core_dumped()
    }

    /// What stdout got.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    /// What stdout got, byte for byte.
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.0.stdout
    }

    /// All that stderr got.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// What stdout got, then what stderr got.
    pub fn text(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// The lines on stderr that are the log's: `[N] …`.
    pub fn log(&self) -> String {
        lines(&self.stderr(), |line| line.starts_with('['))
    }

    /// The lines on stderr that are for people: `Duo: …`.
    pub fn told(&self) -> String {
        lines(&self.stderr(), |line| line.starts_with("Duo: "))
    }

    /// The lines on stderr that are not login_duo's for people.
    pub fn others(&self) -> String {
        lines(&self.stderr(), |line| !line.starts_with("Duo: "))
    }

    /// The log's last line.
    pub fn last_line(&self) -> String {
        self.log().lines().last().unwrap_or_default().to_owned()
    }

    /// Asserts status 0; returns what it said.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code(), 0, "{}", self.text());
        self.text()
    }

    /// Asserts status 1; returns what it said.
    #[track_caller]
    pub fn fails(self) -> String {
        assert_eq!(self.code(), 1, "{}", self.text());
        self.text()
    }
}
