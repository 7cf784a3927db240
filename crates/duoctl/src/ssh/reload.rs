//! Has the listening sshd read its configuration. Open sessions are other
//! processes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Sshd;
use super::tool::{has_systemd, systemctl};
use crate::check::sshd::{ANYBODY, ANYWHERE, Spec, run};
use crate::outcome::Report;

/// For sshd to listen again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at its pid file.
const PAUSE: Duration = Duration::from_millis(50);

/// Reloads it, if it runs, and returns once it listens with the new configuration: until
/// then a login meets the old one, and a session that shall prove something proves nothing.
///
/// # Errors
/// Why it did not; it may be gone.
pub fn reload(sshd: &Sshd, report: &mut Report) -> Result<(), String> {
    let unit = match sshd.is_usual() && has_systemd() {
        true => ["ssh.service", "sshd.service"]
            .into_iter()
            .find(|unit| systemctl(&["--quiet", "is-active", unit])),
        false => None,
    };
    let spec = Spec::of(ANYBODY, ANYWHERE).to_string();
    let until = Instant::now() + PATIENCE;
    let settings = run::options(&sshd.program, Some(&sshd.config), &spec, until)
        .map_err(|finding| finding.text)?;
    let file = Path::new(settings.value("pidfile"));
    let before = listening(file).map(|pid| (pid, stamp(file)));
    match (unit, before) {
        (Some(unit), _) => {
            report.say(format!("systemctl reload {unit}"));
            if !systemctl(&["reload", unit]) {
                return Err(format!("systemctl reload {unit} failed"));
            }
        }
        (None, Some((pid, _))) => {
            report.say(format!("kill -HUP {pid}, the listening sshd"));
            kill(pid, Signal::SIGHUP)
                .map_err(|errno| format!("kill -HUP {pid}: {}", errno.desc()))?;
        }
        (None, None) => {
            report.warn(format!(
                "no running sshd was found by '{}': if one runs, have it reload its configuration",
                file.display()
            ));
            return Ok(());
        }
    }
    match before {
        Some((pid, stamp)) => wait_until_it_listens(pid, file, stamp, report),
        None => Ok(()),
    }
}

/// The process that a pid file names, if it is an sshd.
fn listening(file: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    is_sshd(pid).then(|| Pid::from_raw(pid))
}

fn is_sshd(pid: i32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim() == "sshd")
}

/// sshd keeps its process id, and writes its pid file anew once it listens
/// again. One that is gone could not start again.
fn wait_until_it_listens(
    pid: Pid,
    file: &Path,
    before: Option<Stamp>,
    report: &mut Report,
) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        sleep(PAUSE);
        if !is_alive(pid) {
            return Err("sshd is gone since".to_owned());
        }
        let now = stamp(file);
        if now.is_some() && now != before {
            return Ok(());
        }
    }
    report.warn("sshd does not say that it listens again; look whether a second session works");
    Ok(())
}

/// A process that waits to be reaped has ended.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// What changes when a file is written anew: its number, and when it was written.
type Stamp = (u64, i64, i64);

fn stamp(file: &Path) -> Option<Stamp> {
    let status = fs::metadata(file).ok()?;
    (status.len() > 0).then(|| (status.ino(), status.mtime(), status.mtime_nsec()))
}
