//! How small a login is: system calls, memory, what the binary is linked to,
//! and its size. Times are for `cargo bench`.
//!
//! Measured is the binary that `LOGIN_DUO_SHIPPED` names, as `cargo build
//! --release` makes it; without, the one that was built for the tests, in which
//! the features of the tests' own dependencies are, and often no optimisation.
//! What cannot be measured here is ignored, by name; where the environment says
//! `LOGIN_DUO_E2E=required`, missing means failed.
#![allow(missing_docs, reason = "a program")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use fake_duo::{FakeDuo, Script};
use libtest_mimic::{Arguments, Failed, Trial};

const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let shipped = shipped().map(drop).ok_or("LOGIN_DUO_SHIPPED");
    let traced = can_trace().then_some(()).ok_or("root and strace");
    let required = std::env::var_os("LOGIN_DUO_E2E").is_some_and(|value| value == "required");
    // Memory and size are budgets of what is shipped: whoever builds for
    // debugging asks for more.
    let trials = vec![
        trial(
            "a_headless_login_takes_350_system_calls_at_most",
            traced,
            required,
            system_calls,
        ),
        trial(
            "neither_process_ever_holds_more_than_8_mib",
            shipped,
            false,
            peak_memory,
        ),
        trial(
            "it_is_linked_to_libc_libm_and_libgcc_s_at_most",
            Ok(()),
            required,
            libraries,
        ),
        trial(
            "the_stripped_binary_is_2_5_mib_at_most",
            shipped,
            false,
            binary_size,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The binary as it is shipped, if we were told.
fn shipped() -> Option<PathBuf> {
    std::env::var_os("LOGIN_DUO_SHIPPED").map(PathBuf::from)
}

/// What is measured.
fn login_duo() -> PathBuf {
    shipped().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_login_duo")))
}

/// A test that needs something; without it, ignored or, where it must be here,
/// failed.
fn trial(
    name: &str,
    needs: Result<(), &'static str>,
    required: bool,
    test: fn() -> Result<(), Failed>,
) -> Trial {
    match needs {
        Ok(()) => Trial::test(name, test),
        Err(what) if required => Trial::test(name, move || Err(format!("needs {what}").into())),
        Err(what) => Trial::test(name, test)
            .with_kind(format!("needs {what}"))
            .with_ignored_flag(true),
    }
}

/// Whether this process may trace another, and give it mounts of its own.
fn can_trace() -> bool {
    let tried = Command::new("unshare")
        .args(["--mount", "strace", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// A service, and a folder with a configuration for it.
struct Place {
    duo: FakeDuo,
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Place {
    fn new() -> io::Result<Place> {
        let duo = FakeDuo::builder()
            .user("manual", Script::PushManual)
            .try_start()?;
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let config = duo.write_config(folder.path(), "accept_env_factor = yes")?;
        Ok(Place {
            duo,
            folder,
            config,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Both processes, up to the command's exec. The least of three: on a busy
/// machine the threads wait for each other more often.
fn system_calls() -> Result<(), Failed> {
    const BUDGET: usize = 350;
    let place = Place::new()?;
    let mut least: Option<String> = None;
    let count = |trace: &String| until_the_session(trace).len();
    for _ in 0..3 {
        let trace = traced_login(&place)?;
        if least
            .as_ref()
            .is_none_or(|least| count(&trace) < count(least))
        {
            least = Some(trace);
        }
    }
    let least = least.unwrap_or_default();
    let calls = until_the_session(&least);
    println!("{} system calls", calls.len());
    if calls.len() <= BUDGET {
        return Ok(());
    }
    let all = calls.join("\n");
    Err(format!("{} system calls, not {BUDGET}:\n{all}", calls.len()).into())
}

/// strace's lines for a headless login with the account `duo`, as install.sh
/// makes it: without, each login would look for it in every directory there is.
fn traced_login(place: &Place) -> Result<String, Failed> {
    let trace = place.path("trace");
    let accounts = place.path("passwd");
    let known = fs::read_to_string("/etc/passwd")?;
    let nobody = nix::unistd::User::from_name("nobody")?.ok_or("no user 'nobody'")?;
    let duo = format!("duo:x:{}:{}::/:/bin/false", nobody.uid, nobody.gid);
    fs::write(&accounts, format!("{known}{duo}\n"))?;
    fs::set_permissions(&accounts, Permissions::from_mode(0o644))?;

    // A mount that ends with the process and that nobody else sees.
    let script = r#"mount --bind "$1" /etc/passwd && shift && exec "$@""#;
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&accounts)
        .args(["strace", "-f", "-o"])
        .arg(&trace)
        .arg(login_duo())
        .args(["-d", "-c"])
        .arg(&place.config)
        .arg("true")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DUO_PASSCODE", fake_duo::PASSCODE)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(fs::read_to_string(&trace)?),
        false => Err(format!("the traced login: {status}").into()),
    }
}

/// The calls of every process and thread before the second execve, which starts
/// the session. strace writes a call that another one interrupts twice; and a
/// debug build asks of each descriptor that it closes whether it is open.
fn until_the_session(trace: &str) -> Vec<&str> {
    let begun = |line: &&str| {
        let call = line
            .split_once(' ')
            .map_or("", |(_, call)| call.trim_start());
        !call.starts_with(['<', '+', '-']) && !call.contains(", F_GETFD")
    };
    let mut programs = 0;
    trace
        .lines()
        .filter(begun)
        .take_while(|line| {
            programs += usize::from(line.contains(" execve("));
            programs < 2
        })
        .collect()
}

/// The high-water mark of both while the person is being asked: by then the
/// configuration, the handshake and the answers have all been read. (`getrusage`
/// would tell of this process instead, if it is larger: a started program
/// inherits the mark of whoever started it.)
fn peak_memory() -> Result<(), Failed> {
    const BUDGET: u64 = 8 * 1024;
    let place = Place::new()?;
    let mut login = Command::new(login_duo())
        .args(["-d", "-c"])
        .arg(&place.config)
        .args(["-f", "manual", "true"])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let polled = |requests: &[fake_duo::Request]| {
        requests
            .iter()
            .filter(|request| request.endpoint() == "auth_status")
            .count()
            >= 2
    };
    if !place.duo.wait_until(polled, PATIENCE) {
        return Err("it did not come to wait".into());
    }
    let parent = login.id();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    let child: u32 = children.trim().parse().map_err(|_| "not one child")?;
    let peaks = [high_water_mark(parent)?, high_water_mark(child)?];
    place.duo.approve("manual");
    let status = login.wait()?;
    println!("parent {} KiB, child {} KiB", peaks[0], peaks[1]);
    match status.success() && peaks.iter().all(|peak| *peak <= BUDGET) {
        true => Ok(()),
        false => Err(format!("{status}, peaks of {peaks:?} KiB, not {BUDGET}").into()),
    }
}

fn high_water_mark(pid: u32) -> Result<u64, Failed> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = field.and_then(|field| field.trim().trim_end_matches("kB").trim().parse().ok());
    Ok(kilobytes.ok_or("no VmHWM")?)
}

fn libraries() -> Result<(), Failed> {
    let output = Command::new("ldd").arg(login_duo()).output()?;
    let listing = String::from_utf8_lossy(&output.stdout);
    let found: BTreeSet<&str> = listing
        .split_whitespace()
        .filter(|word| word.starts_with("lib"))
        .collect();
    let known = BTreeSet::from(["libc.so.6", "libm.so.6", "libgcc_s.so.1"]);
    match !found.is_empty() && found.is_subset(&known) {
        true => Ok(()),
        false => Err(format!("linked to {found:?}").into()),
    }
}

fn binary_size() -> Result<(), Failed> {
    const BUDGET: u64 = 5 * 1024 * 1024 / 2;
    let size = fs::metadata(login_duo())?.len();
    println!("{size} bytes");
    match size <= BUDGET {
        true => Ok(()),
        false => Err(format!("{size} bytes, not {BUDGET}").into()),
    }
}
