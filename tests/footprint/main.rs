//! How small a login is: system calls, memory, and, of a release build, the
//! size of the binary and what it is linked to. Times are for `cargo bench`.
//!
//! What cannot be measured here is ignored, by name; where the environment says
//! `LOGIN_DUO_E2E=required`, missing means failed.
#![allow(missing_docs, reason = "a program")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use fake_duo::{FakeDuo, Script};
use libtest_mimic::{Arguments, Failed, Trial};

const LOGIN_DUO: &str = env!("CARGO_BIN_EXE_login_duo");
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let release = (!cfg!(debug_assertions)).then_some(()).ok_or("release");
    let traced = (nix::unistd::Uid::effective().is_root() && there_is("strace"))
        .then_some(())
        .ok_or("root and strace");
    let required = std::env::var_os("LOGIN_DUO_E2E").is_some_and(|value| value == "required");
    // Memory and size are budgets of the release build: whoever builds for
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
            release,
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
            release,
            false,
            binary_size,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
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

fn there_is(program: &str) -> bool {
    let found = Command::new(program)
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
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

/// Both processes, up to the command's exec, with the account `duo` as install.sh
/// makes it: without, each login would look for it in every directory there is.
fn system_calls() -> Result<(), Failed> {
    const BUDGET: usize = 350;
    let place = Place::new()?;
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
        .args([LOGIN_DUO, "-d", "-c"])
        .arg(&place.config)
        .arg("true")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DUO_PASSCODE", fake_duo::PASSCODE)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("the traced login: {status}").into());
    }
    let trace = fs::read_to_string(&trace)?;
    let calls = until_the_session(&trace);
    println!("{} system calls", calls.len());
    if calls.len() <= BUDGET {
        return Ok(());
    }
    let all = calls.join("\n");
    Err(format!("{} system calls, not {BUDGET}:\n{all}", calls.len()).into())
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
    let mut login = Command::new(LOGIN_DUO)
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
    let output = Command::new("ldd").arg(LOGIN_DUO).output()?;
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

/// Built as it is shipped: the one beside this test has the features that the
/// tests' own dependencies ask of shared ones.
fn binary_size() -> Result<(), Failed> {
    const BUDGET: u64 = 5 * 1024 * 1024 / 2;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--bin",
            "login_duo",
        ])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .arg("--target-dir")
        .arg(&target)
        .status()?;
    if !built.success() {
        return Err(format!("cargo build: {built}").into());
    }
    let size = fs::metadata(target.join("release/login_duo"))?.len();
    println!("{size} bytes");
    match size <= BUDGET {
        true => Ok(()),
        false => Err(format!("{size} bytes, not {BUDGET}").into()),
    }
}
