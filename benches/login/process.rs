//! Whole processes, as the kernel sees them: when they were where, what they
//! cost, and what they hold.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};

/// This program: what it starts again as a clock, and as the floor.
pub fn myself() -> io::Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}

/// The time of one clock that all processes share.
pub fn now() -> io::Result<Duration> {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .map_err(io::Error::from)
}

/// `login_duo` as sshd would start it, but for its log on stderr (to nowhere).
pub fn login(config: &Path, user: &str, command: &str) -> Command {
    login_by(
        Path::new(env!("CARGO_BIN_EXE_login_duo")),
        config,
        user,
        command,
    )
}

/// The same by another program that takes the same options.
pub fn login_by(program: &Path, config: &Path, user: &str, command: &str) -> Command {
    let mut login = Command::new(program);
    login
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22")
        .arg("-d")
        .arg("-c")
        .arg(config)
        .args(["-f", user, command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(folder) = c_library(program) {
        login.env("LD_LIBRARY_PATH", folder);
    }
    login
}

/// Duo's C program, if `LOGIN_DUO_C_PROGRAM` names it.
pub fn c_program() -> Option<PathBuf> {
    let program = std::env::var_os("LOGIN_DUO_C_PROGRAM")?;
    (!program.is_empty()).then(|| PathBuf::from(program))
}

/// Where the C program's library lies if both were unpacked into one folder:
/// USR/sbin/login_duo, USR/lib/TRIPLET/libduo.so.3.
fn c_library(program: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(program.parent()?.parent()?.join("lib")).ok()?;
    folders
        .flatten()
        .map(|folder| folder.path())
        .find(|folder| folder.join("libduo.so.3").exists())
}

/// What one process, with those that it started and waited for, took.
#[derive(Clone, Copy)]
pub struct Cost {
    /// From its start to what it printed: the shared clock's time.
    pub wall: Duration,
    /// Processor time of all of them, user and system.
    pub cpu: Duration,
}

impl Cost {
    /// The median of each.
    pub fn median(costs: &[Cost]) -> Cost {
        let of = |part: fn(&Cost) -> Duration| {
            let mut times: Vec<Duration> = costs.iter().map(part).collect();
            times.sort_unstable();
            times[times.len() / 2]
        };
        Cost {
            wall: of(|cost| cost.wall),
            cpu: of(|cost| cost.cpu),
        }
    }

    /// What is left without another cost that is part of it.
    pub fn without(self, part: Cost) -> Cost {
        Cost {
            wall: self.wall.saturating_sub(part.wall),
            cpu: self.cpu.saturating_sub(part.cpu),
        }
    }
}

/// Runs a command that prints the time, to its end.
pub fn time(command: &mut Command) -> io::Result<Cost> {
    let before = children()?;
    let start = now()?;
    let printed = printed_time(command.stdout(Stdio::piped()).spawn()?)?;
    Ok(Cost {
        wall: printed.saturating_sub(start),
        cpu: children()?.saturating_sub(before),
    })
}

/// Waits for a process that prints the time: that time.
pub fn printed_time(child: Child) -> io::Result<Duration> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match (output.status.success(), text.trim().parse()) {
        (true, Ok(nanoseconds)) => Ok(Duration::from_nanos(nanoseconds)),
        _ => Err(io::Error::other(format!("failed: {}", output.status))),
    }
}

fn children() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let parts = [usage.user_time(), usage.system_time()];
    Ok(parts
        .iter()
        .map(|part| {
            let microseconds = part.tv_sec() * 1_000_000 + part.tv_usec();
            Duration::from_micros(u64::try_from(microseconds).unwrap_or_default())
        })
        .sum())
}

/// A process and those that it forked.
pub fn family(parent: u32) -> io::Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    let mut family = vec![parent];
    family.extend(children.split_whitespace().flat_map(str::parse::<u32>));
    Ok(family)
}

/// Proportional set size, in bytes: shared pages count by how many share them.
pub fn proportional_set_size(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = field.and_then(|field| field.trim().trim_end_matches("kB").trim().parse().ok());
    let kilobytes: u64 = kilobytes.ok_or_else(|| io::Error::other("no Pss"))?;
    Ok(kilobytes * 1024)
}

/// Time on a processor so far, of every thread, to the nanosecond.
pub fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let spent = text.split(' ').next().and_then(|word| word.parse().ok());
        sum += Duration::from_nanos(spent.ok_or_else(|| io::Error::other("no schedstat"))?);
    }
    Ok(sum)
}
