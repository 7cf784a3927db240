//! A pseudo-terminal with an emulator behind it: what a person would see.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pty_process::blocking as pty;

use super::{PATIENCE, lines};

/// How large the terminal is.
#[derive(Clone, Copy)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl TerminalSize {
    /// What most terminals begin with.
    pub const USUAL: TerminalSize = TerminalSize {
        rows: 24,
        columns: 80,
    };
}

/// A process on a terminal. Its stderr, where the log goes, is a file.
pub struct Terminal {
    child: Child,
    keyboard: Option<pty::Pty>,
    /// Dropped, it ends the reader, which holds the terminal's other copy.
    plug: Option<std::io::PipeWriter>,
    shown: Arc<Shown>,
    log: File,
}

/// What the terminal shows, and a bell for whoever waits for it.
struct Shown {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    parser: vt100::Parser,
    raw: Vec<u8>,
    closed: bool,
}

impl Terminal {
    /// Starts `command` as the session leader of a new terminal.
    pub fn start(command: &Command, size: TerminalSize) -> Terminal {
        let (keyboard, line) = pty::open().expect("a pseudo-terminal");
        keyboard
            .resize(pty_process::Size::new(size.rows, size.columns))
            .expect("its size");
        let log = tempfile::tempfile().expect("a file for the log");
        let mut started = pty::Command::new(command.get_program())
            .args(command.get_args())
            .env_clear()
            .stderr(log.try_clone().expect("the log's descriptor"));
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                started = started.env(name, value);
            }
        }
        let child = started.spawn(line).expect("login_duo starts");
        let shown = Arc::new(Shown {
            state: Mutex::new(State {
                parser: vt100::Parser::new(size.rows, size.columns, 200),
                raw: Vec::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let mut screen = File::from(
            std::os::fd::AsFd::as_fd(&keyboard)
                .try_clone_to_owned()
                .expect("the terminal's end"),
        );
        let shows = shown.clone();
        let (socket, plug) = std::io::pipe().expect("a pipe");
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                // EIO: the last process has left the terminal.
                let read = match something_to_read(&screen, &socket) {
                    true => screen.read(&mut chunk).unwrap_or(0),
                    false => 0,
                };
                let mut state = shows.state.lock().expect("the screen");
                state.raw.extend_from_slice(&chunk[..read]);
                state.parser.process(&chunk[..read]);
                state.closed = read == 0;
                shows.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Terminal {
            child,
            keyboard: Some(keyboard),
            plug: Some(plug),
            shown,
            log,
        }
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        self.keyboard
            .as_mut()
            .expect("a keyboard")
            .write_all(keys.as_bytes())
            .expect("typed");
    }

    /// Makes the terminal larger or smaller, as its user does at a window's edge.
    pub fn resize(&mut self, size: TerminalSize) {
        let mut state = self.shown.state.lock().expect("the screen");
        let keyboard = self.keyboard.as_ref().expect("a keyboard");
        keyboard
            .resize(pty_process::Size::new(size.rows, size.columns))
            .expect("its size");
        state.parser.screen_mut().set_size(size.rows, size.columns);
    }

    /// Waits until the screen's text fits; returns it.
    pub fn wait_for(&self, what: impl Fn(&str) -> bool) -> String {
        let so = |state: &State| state.closed || what(&screen_text(state));
        let text = match self.wait_for_state(so) {
            Ok(state) => screen_text(&state),
            Err(screen) => screen,
        };
        assert!(
            what(&text),
            "it never came; the screen:\n{text}\n\nthe log:\n{}",
            self.log()
        );
        text
    }

    /// Waits until the terminal is so; else returns what the screen shows in the end.
    fn wait_for_state(&self, so: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>, String> {
        let end = Instant::now() + PATIENCE;
        let mut state = self.shown.state.lock().expect("the screen");
        while !so(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(screen_text(&state));
            }
            let woken = self.shown.changed.wait_timeout(state, left);
            state = woken.expect("the screen").0;
        }
        Ok(state)
    }

    /// Waits until the screen has this text.
    pub fn wait_for_text(&self, text: &str) -> String {
        self.wait_for(|screen| screen.contains(text))
    }

    /// What the screen shows, without blanks at the ends.
    pub fn screen(&self) -> String {
        screen_text(&self.shown.state.lock().expect("the screen"))
    }

    /// What each row of the screen shows, as far as there is anything: a long
    /// line stands on two.
    pub fn rows(&self) -> String {
        let state = self.shown.state.lock().expect("the screen");
        let screen = state.parser.screen();
        let rows = screen.rows(0, screen.size().1);
        let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// The terminal's settings, as text.
    pub fn settings(&self) -> String {
        let keyboard = self.keyboard.as_ref().expect("a keyboard");
        let settings = nix::sys::termios::tcgetattr(keyboard).expect("settings");
        format!(
            "{:?} {:?} {:?} {:?} {:?}",
            settings.input_flags,
            settings.output_flags,
            settings.control_flags,
            settings.local_flags,
            settings.control_chars
        )
    }

    /// Every byte that was sent to the terminal.
    pub fn raw(&self) -> Vec<u8> {
        self.shown.state.lock().expect("the screen").raw.clone()
    }

    /// The process id of login_duo's parent half.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Pulls the plug.
    pub fn hang_up(&mut self) {
        self.plug = None;
        if let Err(screen) = self.wait_for_state(|state| state.closed) {
            panic!("the terminal stays open:\n{screen}");
        }
        self.keyboard = None;
    }

    /// Waits for the end; returns the exit status.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("login_duo ends") {
                break status;
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("it does not end; the screen:\n{}", self.screen());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if self.keyboard.is_some()
            && let Err(screen) = self.wait_for_state(|state| state.closed)
        {
            panic!("a process holds the terminal:\n{screen}");
        }
        status
    }

    /// Waits for the end; returns the exit status' number.
    pub fn status(&mut self) -> i32 {
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| panic!("killed: {status}\n{}", self.log()))
    }

    /// The log so far.
    pub fn log(&self) -> String {
        lines(&self.stderr(), |line| line.starts_with('['))
    }

    /// The log's last line.
    pub fn last_line(&self) -> String {
        self.log().lines().last().unwrap_or_default().to_owned()
    }

    /// All that stderr got so far.
    pub fn stderr(&self) -> String {
        let mut log = self.log.try_clone().expect("the log's descriptor");
        let mut text = Vec::new();
        log.rewind().expect("the log's start");
        log.read_to_end(&mut text).expect("the log");
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Waits for output; false if the plug was pulled.
fn something_to_read(screen: &File, socket: &std::io::PipeReader) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [
        PollFd::new(screen.as_fd(), PollFlags::POLLIN),
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
    ];
    poll(&mut fds, PollTimeout::NONE).expect("poll");
    fds[1].any() != Some(true)
}

fn screen_text(state: &State) -> String {
    let text = state.parser.screen().contents();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}
