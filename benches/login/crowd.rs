//! Many logins at once: what each holds while it waits for its person, and how
//! long the last has to wait when all come together.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use fake_duo::FakeDuo;
use pty_process::blocking as pty;

use crate::process::{self, family, login};

/// How many.
pub const CROWD: usize = 500;
/// Logins on a terminal that are looked at.
const TERMINALS: usize = 10;
/// For a crowd to arrive on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// After this, the notice of a headless login has been written.
const SETTLED: Duration = Duration::from_secs(4);
/// For how long waiting is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// What a waiting login costs.
pub struct Waiting {
    /// Of both processes, in bytes.
    pub set_size: u64,
    /// Processor time of a headless login in a minute, both processes.
    pub headless: Duration,
    /// The same on a terminal.
    pub terminal: Duration,
}

/// Lets a crowd wait for the user `manual`, looks, and lets them in.
pub fn waiting(duo: &FakeDuo, config: &Path) -> io::Result<Waiting> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(
            login(config, "manual", "true")
                .stdout(Stdio::null())
                .spawn()?,
        );
    }
    all_wait(duo, CROWD)?;
    let pids = pids(&crowd)?;
    let mut set_size = 0;
    for pid in &pids {
        set_size += process::proportional_set_size(*pid)?;
    }
    let headless = a_minute_of(&pids, CROWD)?;
    let_in(duo, crowd)?;

    let mut few = Vec::new();
    for _ in 0..TERMINALS {
        few.push(on_a_terminal(config)?);
    }
    all_wait(duo, CROWD + TERMINALS)?;
    let terminal = a_minute_of(&self::pids(&few)?, TERMINALS)?;
    let_in(duo, few)?;
    Ok(Waiting {
        set_size: set_size / u64::try_from(CROWD).unwrap_or(1),
        headless,
        terminal,
    })
}

/// Starts a crowd at once: each one's time from the common start to its command,
/// in order.
pub fn rush(config: &Path, clock: &str) -> io::Result<Vec<Duration>> {
    let start = process::now()?;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(
            login(config, "push", clock)
                .env("DUO_PASSCODE", fake_duo::PASSCODE)
                .spawn()?,
        );
    }
    let mut times = Vec::new();
    for child in crowd {
        times.push(process::printed_time(child)?.saturating_sub(start));
    }
    times.sort_unstable();
    Ok(times)
}

/// The second `auth_status` of each is open: the first told that it was pushed.
fn all_wait(duo: &FakeDuo, count: usize) -> io::Result<()> {
    let polls = |requests: &[fake_duo::Request]| {
        let polls = requests
            .iter()
            .filter(|request| request.endpoint() == "auth_status");
        polls.count() >= 2 * count
    };
    match duo.wait_until(polls, PATIENCE) {
        true => Ok(()),
        false => Err(io::Error::other("not all of them came to wait")),
    }
}

fn let_in(duo: &FakeDuo, crowd: Vec<Child>) -> io::Result<()> {
    duo.approve("manual");
    for mut child in crowd {
        let status = child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("a login failed: {status}")));
        }
    }
    Ok(())
}

fn pids(crowd: &[Child]) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for child in crowd {
        pids.extend(family(child.id())?);
    }
    Ok(pids)
}

/// The mean processor time of one of `count` logins in a minute of waiting.
fn a_minute_of(pids: &[u32], count: usize) -> io::Result<Duration> {
    thread::sleep(SETTLED);
    let before = spent(pids)?;
    thread::sleep(WATCHED);
    let taken = spent(pids)?.saturating_sub(before);
    let count = u32::try_from(count).unwrap_or(1);
    Ok(taken.mul_f64(60.0 / WATCHED.as_secs_f64()) / count)
}

fn spent(pids: &[u32]) -> io::Result<Duration> {
    pids.iter().map(|pid| process::processor_time(*pid)).sum()
}

/// A login on a terminal of its own, which takes the default factor by itself.
fn on_a_terminal(config: &Path) -> io::Result<Child> {
    let headless = login(config, "manual", "true");
    let (keyboard, line) = pty::open().map_err(io::Error::other)?;
    let started = pty::Command::new(headless.get_program())
        .args(headless.get_args())
        .env_clear()
        .envs([("TERM", "xterm"), ("LANG", "C.UTF-8")]);
    let child = started.spawn(line).map_err(io::Error::other)?;
    let mut screen = File::from(keyboard.as_fd().try_clone_to_owned()?);
    thread::spawn(move || {
        let mut shown = [0; 1024];
        while screen.read(&mut shown).is_ok_and(|length| length > 0) {}
        drop(keyboard);
    });
    Ok(child)
}
