//! What takes back in time: a timer of systemd's, with a unit that does it at
//! the next start of the machine; where there is no systemd, a process of its
//! own, which outlives the session that started it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::session::Process;
use crate::finding::quoted;
use crate::ssh::replace::remove;
use crate::ssh::tool::{ask, has_systemd, systemctl, tool};

/// The unit that runs when the machine starts, before sshd.
const UNIT: &str = "login_duo-confirm";

/// The timer, with a unit of its own: systemd would not reload sshd as long as
/// one runs that is ordered before it.
const TIMER: &str = "login_duo-confirm-due";

/// Where the administrator's own units are.
const UNITS: &str = "/etc/systemd/system";

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// Nothing yet.
    None,
    /// systemd.
    Systemd,
    /// A process of this program.
    Process(Process),
}

impl Timer {
    /// What `start` will begin with, so that it is known whenever that ends.
    pub fn planned() -> Timer {
        match has_systemd() {
            true => Timer::Systemd,
            false => Timer::None,
        }
    }

    /// Has `duoctl confirm --no` run after `span`.
    ///
    /// # Errors
    /// Why nothing will.
    pub fn start(span: Duration) -> Result<Timer, String> {
        match has_systemd() {
            true => with_systemd(span).inspect_err(|_| remove_unit()),
            false => with_a_process(span),
        }
    }

    /// Ends it.
    pub fn stop(self) {
        match self {
            Timer::None => {}
            Timer::Systemd => {
                systemctl(&["stop", &format!("{TIMER}.timer")]);
                remove_unit();
                systemctl(&["daemon-reload"]);
            }
            Timer::Process(process) => {
                let is_me = process.pid == nix::unistd::getpid().as_raw();
                if !is_me && Process::of(process.pid) == Some(process) {
                    let _ = kill(Pid::from_raw(process.pid), Signal::SIGTERM);
                }
            }
        }
    }
}

fn own_file() -> Result<PathBuf, String> {
    fs::read_link("/proc/self/exe").map_err(|error| error.to_string())
}

fn unit_file() -> PathBuf {
    Path::new(UNITS).join(format!("{UNIT}.service"))
}

/// Has systemd start the unit with the machine.
fn wanted_file() -> PathBuf {
    Path::new(UNITS).join(format!("multi-user.target.wants/{UNIT}.service"))
}

fn with_systemd(span: Duration) -> Result<Timer, String> {
    let unit = format!(
        "[Unit]\n\
         Description=Take back what duoctl enabled and nobody confirmed\n\
         Before=ssh.service sshd.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={} confirm --no\n",
        quoted(&own_file()?)
    );
    write_unit(&unit).map_err(|error| format!("{}: {error}", unit_file().display()))?;
    if !systemctl(&["daemon-reload"]) {
        return Err("systemctl daemon-reload failed".to_owned());
    }
    let mut command = tool("systemd-run").ok_or("there is no systemd-run")?;
    command
        .arg("--quiet")
        .arg(format!("--on-active={}", span.as_secs()))
        .arg("--timer-property=AccuracySec=1s")
        .arg(format!("--unit={TIMER}"))
        .arg(own_file()?)
        .args(["confirm", "--no"]);
    let said = ask(command);
    match said.good {
        true => Ok(Timer::Systemd),
        false => Err(format!("systemd-run: {}", said.why())),
    }
}

fn write_unit(text: &str) -> io::Result<()> {
    let wanted = wanted_file();
    if let Some(folder) = wanted.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(unit_file(), text)?;
    remove(&wanted)?;
    symlink(unit_file(), wanted)
}

fn remove_unit() {
    let _ = remove(&wanted_file());
    let _ = remove(&unit_file());
}

fn with_a_process(span: Duration) -> Result<Timer, String> {
    let mut command = Command::new(own_file()?);
    command
        .args(["confirm", "--no", "--after"])
        .arg(format!("{}s", span.as_secs()))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().map_err(|error| error.to_string())?;
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    let process = Process::of(pid).ok_or("it ended at once")?;
    Ok(Timer::Process(process))
}
