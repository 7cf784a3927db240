//! What a login costs, measured on whole processes of the release binary
//! against the fake Duo service, beside the least that any client could do.
//!
//! `cargo bench` prints the table of benches/README.md, takes about two minutes
//! of a quiet machine, and fails if a budget is exceeded.
#![allow(missing_docs, reason = "a program")]
#![allow(clippy::indexing_slicing, reason = "a wrong index ends the bench")]

#[path = "login/crowd.rs"]
mod crowd;
#[path = "login/floor.rs"]
mod floor;
#[path = "login/pam.rs"]
mod pam;
#[path = "login/process.rs"]
mod process;
#[path = "login/relay.rs"]
mod relay;

use std::fmt::Display;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use fake_duo::{FakeDuo, Script};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use process::Cost;

/// Runs of each kind, and those before them that only warm the caches.
const RUNS: usize = 50;
const WARM_UPS: usize = 5;
/// One way of the long path: long beside what the relay's threads add.
const ONE_WAY: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["clock"] => print_the_time(),
        ["floor", host, ca] => floor::log_in(host, Path::new(ca)).and_then(|()| print_the_time()),
        _ => bench(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("a budget is exceeded");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_the_time() -> io::Result<bool> {
    println!("{}", process::now()?.as_nanos());
    Ok(true)
}

fn bench() -> io::Result<bool> {
    // A service and a crowd's pipes in one process.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(8_192).max(soft), hard)?;
    let place = Place::new()?;
    let mut table = Table::new();
    one_login(&place, &mut table)?;
    through_pam(&place, &mut table)?;
    round_trips(&place, &mut table)?;

    let waiting = crowd::waiting(&place.duo, &place.config)?;
    let megabytes = |bytes: u64| bytes as f64 / 1_048_576.0;
    let size = megabytes(waiting.set_size);
    table.row("memory of one of 500 waiting logins, MiB", size, 3.0);
    table.row(
        "processor, waiting headless, ms a minute",
        milliseconds(waiting.headless),
        0.1,
    );
    table.row(
        "processor, waiting on a terminal, ms a minute",
        milliseconds(waiting.terminal),
        5.0,
    );

    let times = crowd::rush(&place.config, &place.clock)?;
    let p99 = times[times.len() * 99 / 100];
    table.row("500 logins at once, p99, s", p99.as_secs_f64(), 5.0);
    Ok(table.holds)
}

/// A service, its configurations, and the command that tells the time.
struct Place {
    duo: FakeDuo,
    _folder: tempfile::TempDir,
    ca: PathBuf,
    config: PathBuf,
    host: String,
    /// The same service behind the long path.
    far_config: PathBuf,
    far_host: String,
    clock: String,
}

impl Place {
    fn new() -> io::Result<Place> {
        const FAR: &str = "127.0.0.2";
        let duo = FakeDuo::builder()
            .name(FAR)
            .user("manual", Script::PushManual)
            .poll_limit(Duration::from_secs(3_600))
            .try_start()?;
        let folder = tempfile::tempdir()?;
        let far_folder = folder.path().join("far");
        std::fs::create_dir(&far_folder)?;
        // The unprivileged child reads the CA's certificate.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let far = format!("{FAR}:{}", duo.port());
        relay::start(&far, duo.address(), ONE_WAY)?;
        let settings = "accept_env_factor = yes\nautopush = yes";
        let config = duo.write_config(folder.path(), settings)?;
        let far_config = duo.write_config(&far_folder, &format!("{settings}\nhost = {far}"))?;
        Ok(Place {
            ca: folder.path().join("ca.pem"),
            clock: format!("exec {} clock", process::myself()?),
            host: duo.host(),
            duo,
            _folder: folder,
            config,
            far_config,
            far_host: far,
        })
    }

    /// A headless login with a passcode, up to its command.
    fn login(&self, config: &Path) -> io::Result<Cost> {
        let mut login = process::login(config, "push", &self.clock);
        process::time(login.env("DUO_PASSCODE", fake_duo::PASSCODE))
    }

    /// The same by Duo's C program.
    fn login_by(&self, program: &Path) -> io::Result<Cost> {
        let mut login = process::login_by(program, &self.config, "push", &self.clock);
        process::time(login.env("DUO_PASSCODE", fake_duo::PASSCODE))
    }

    fn floor(&self, host: &str) -> io::Result<Cost> {
        let mut floor = Command::new(process::myself()?);
        process::time(floor.args(["floor", host]).arg(&self.ca))
    }

    /// The account's shell, which a login's command pays for too.
    fn shell(&self) -> io::Result<Cost> {
        let caller = duo_system::privsep::Caller::of_this_process();
        let account =
            duo_system::account::Account::of(caller.uid.as_raw()).map_err(io::Error::other)?;
        process::time(Command::new(account.shell).args(["-c", &self.clock]))
    }
}

/// Logins, floors and, where it is given, the C program's logins by turns, so
/// that all see the same machine.
fn one_login(place: &Place, table: &mut Table) -> io::Result<()> {
    let c_program = process::c_program();
    let (mut logins, mut floors, mut shells) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_c = Vec::new();
    for run in 0..WARM_UPS + RUNS {
        let costs = (
            place.login(&place.config)?,
            place.floor(&place.host)?,
            place.shell()?,
        );
        let by_c_program = match &c_program {
            Some(program) => Some(place.login_by(program)?),
            None => None,
        };
        if run >= WARM_UPS {
            logins.push(costs.0);
            floors.push(costs.1);
            shells.push(costs.2);
            by_c.extend(by_c_program);
        }
    }
    let (floor, shell) = (Cost::median(&floors), Cost::median(&shells));
    // A login's command is run by the account's shell, whose time is not ours.
    let login = Cost::median(&logins).without(shell);
    table.row("headless login, ms", milliseconds(login.wall), 12.0);
    let busy = milliseconds(login.cpu);
    table.row("headless login, processor, ms", busy, 10.0);
    table.note("the floor, ms", milliseconds(floor.wall));
    table.note("the floor, processor, ms", milliseconds(floor.cpu));
    table.row("login to floor", share(login.wall, floor.wall), 2.5);
    if by_c.is_empty() {
        print_row("the C program: LOGIN_DUO_C_PROGRAM", "not set", "");
        return Ok(());
    }
    let c = Cost::median(&by_c).without(shell);
    table.note("the C program, ms", milliseconds(c.wall));
    table.note("the C program, processor, ms", milliseconds(c.cpu));
    table.row("login to C program", share(login.wall, c.wall), 0.07);
    let busy = share(login.cpu, c.cpu);
    table.row("login to C program, processor", busy, 0.35);
    Ok(())
}

/// The same passcode by turns through pamtester and through login_duo.
fn through_pam(place: &Place, table: &mut Table) -> io::Result<()> {
    let size = std::fs::metadata(pam::module()?)?.len();
    table.row("the PAM module, KiB", size as f64 / 1_024.0, 400.0);
    let folder = tempfile::tempdir()?;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open)?;
    let config = place.duo.write_config(folder.path(), "")?;
    let Some(stacks) = pam::Stacks::new(&config)? else {
        print_row("through PAM: root and pamtester", "not here", "");
        return Ok(());
    };
    let (mut with, mut without, mut logins) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..WARM_UPS + RUNS {
        let times = (
            stacks.passcode()?,
            stacks.nothing()?,
            place.login(&place.config)?,
        );
        if run >= WARM_UPS {
            with.push(times.0);
            without.push(times.1);
            logins.push(times.2);
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let passcode = median(&mut with).saturating_sub(median(&mut without));
    let login = Cost::median(&logins).without(place.shell()?);
    table.note("a passcode through PAM, ms", milliseconds(passcode));
    table.row("PAM to login_duo", share(passcode, login.wall), 1.2);
    Ok(())
}

/// How many times a login crosses a long path and back.
fn round_trips(place: &Place, table: &mut Table) -> io::Result<()> {
    const RUNS: u32 = 10;
    // The best of each: what is more than that is the machine's.
    let (mut near, mut far, mut floor) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let (mut connections, mut requests) = (0, 0);
    for _ in 0..RUNS {
        let before = (place.duo.connections(), place.duo.requests().len());
        near = near.min(place.login(&place.config)?.wall);
        far = far.min(place.login(&place.far_config)?.wall);
        connections += place.duo.connections() - before.0;
        requests += place.duo.requests().len() - before.1;
        floor = floor.min(place.floor(&place.far_host)?.wall);
    }
    let longer = far.saturating_sub(near);
    let trips = longer.as_secs_f64() / (2.0 * ONE_WAY.as_secs_f64());
    let each = |number: usize| number as f64 / f64::from(2 * RUNS);
    table.row("round trips, TLS and two requests", trips, 3.1);
    table.row(
        "login to floor, over the long path",
        share(far, floor),
        1.15,
    );
    table.row("requests a login", each(requests), 2.0);
    let connected = each(connections);
    table.row(
        "connections a login (one more round trip each)",
        connected,
        1.0,
    );
    Ok(())
}

/// How much of `whole` one time is.
fn share(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The table, printed as it grows.
struct Table {
    holds: bool,
}

impl Table {
    fn new() -> Table {
        println!("| what | measured | budget |\n| --- | ---: | ---: |");
        Table { holds: true }
    }

    fn row(&mut self, what: &str, measured: f64, budget: f64) {
        self.holds &= measured <= budget;
        let over = if measured <= budget { "" } else { " **over**" };
        let budget = format!("{budget}{over}");
        print_row(what, format!("{measured:.2}"), budget);
    }

    fn note(&self, what: &str, measured: f64) {
        print_row(what, format!("{measured:.2}"), "");
    }
}

fn print_row(what: &str, measured: impl Display, budget: impl Display) {
    println!("| {what} | {measured} | {budget} |");
}
