//! A program on pipes, to its end.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{PATIENCE, lines};

/// No program of a test takes this long, on a busy machine either.
const LONGEST: Duration = Duration::from_secs(300);

/// What `wait` returns. The test fails where that never comes: it may wait for a program
/// that does not do what it should.
pub fn in_time<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(wait()));
    match hear.recv_timeout(LONGEST) {
        Ok(got) => got,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("waited for {LONGEST:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the wait failed"),
    }
}

/// All that comes from a pipe or a socket until its other side closes it.
pub fn read_to_end(mut from: impl Read + Send + 'static) -> Vec<u8> {
    in_time(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("it can be read");
        bytes
    })
}

/// Waits for the end of a program whose output nobody needs; kills one that does not end.
pub fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + LONGEST;
    loop {
        if let Some(status) = child.try_wait().expect("its status") {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("it has run for {LONGEST:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command whose streams are set already, and waits for its end.
pub fn run_quietly(command: &mut Command) -> ExitStatus {
    wait(&mut command.spawn().expect("the command starts"))
}

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

/// Waits for its end; kills one that does not end, and tells what it said.
pub fn ended(child: Child) -> Ended {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let output = hear.recv_timeout(LONGEST).unwrap_or_else(|_| {
        let _ = kill(pid, Signal::SIGKILL);
        let said = hear.recv_timeout(PATIENCE);
        panic!("it has run for {LONGEST:?}: {said:?}");
    });
    Ended(output.expect("the command ends"))
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
    in_time(move || writer.join()).expect("the input is written");
    ended
}

impl Ended {
    /// Runs a whole test as a command: it has a limit of its own.
    #[allow(dead_code, reason = "tests/suite runs none")]
    pub fn of_a_test(command: &mut Command) -> Ended {
        Ended(command.output().expect("the test starts"))
    }

    /// Runs a command whose standard input is set already.
    pub fn of(command: &mut Command) -> Ended {
        // Moved to where it can be waited for, and back: whoever has it may run it again.
        let mut moved = std::mem::replace(command, Command::new("true"));
        let (moved, output) = in_time(move || {
            let output = moved.output();
            (moved, output)
        });
        *command = moved;
        Ended(output.expect("the command starts"))
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
