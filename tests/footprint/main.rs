//! How small a login is: system calls, memory, what the binary is linked to,
//! and its size. Times are for `cargo bench`.
//!
//! Measured is the binary that `LOGIN_DUO_SHIPPED` names, as `cargo build
//! --release` makes it; without, the one that was built for the tests, in which
//! the features of the tests' own dependencies are, and often no optimisation.

#![allow(missing_docs, reason = "a test's name says what it is about")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

#[macro_use]
#[path = "../machine/mod.rs"]
#[allow(dead_code, unused_imports, reason = "tests/root uses the rest")]
mod machine;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "tests/suite uses the rest")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use fake_duo::{FakeDuo, Script};

use support::{Ended, PATIENCE, Sandbox, pam_module};

fn main() -> ExitCode {
    // Beside others, a login's threads wait for each other more often.
    machine::run_tests(everything(), 1)
}

fn everything() -> Vec<machine::Test> {
    tests! {
        (): ["root", "tracing"] {
            a_headless_login_takes_413_system_calls_at_most,
            the_log_costs_a_login_8_system_calls_at_most,
        }
        (): ["shipped"] {
            neither_process_ever_holds_more_than_8_mib,
            the_stripped_binary_is_2_1_mib_at_most,
            the_pam_module_is_400_kib_at_most,
        }
        (): ["root", "shipped", "PAM"] {
            a_thousand_authentications_grow_the_host_by_less_than_200_kib,
        }
        (): ["objdump"] {
            the_pam_module_is_linked_to_libc_and_libpam,
        }
        (): [] {
            it_is_linked_to_libc_libm_and_libgcc_s_at_most,
        }
    }
}

/// What the FIPS module asks the kernel for at its start: random numbers, and memory that
/// a fork wipes.
const FIPS_SELF_TEST: usize = if cfg!(feature = "fips") { 45 } else { 0 };

/// The binary as it is shipped, if we were told.
fn shipped() -> Option<PathBuf> {
    std::env::var_os("LOGIN_DUO_SHIPPED").map(PathBuf::from)
}

/// What is measured.
fn login_duo() -> PathBuf {
    shipped().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_login_duo")))
}

/// A service whose person never answers, and a configuration for it.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with(FakeDuo::builder().user("manual", Script::PushManual));
    sandbox.configure("accept_env_factor = yes");
    sandbox
}

/// Both processes, up to the command's exec. The least of three: on a busy
/// machine the threads wait for each other more often.
fn a_headless_login_takes_413_system_calls_at_most() {
    // The sandbox makes 63 of them: Landlock and the filter 59, for 10 rules and the
    // folders that this machine may not have; the others read nsswitch.conf, and try
    // clone3 before clone.
    const BUDGET: usize = 350 + 63 + FIPS_SELF_TEST;
    let sandbox = sandbox();
    let traces: Vec<String> = (0..3).map(|_| traced_login(&sandbox)).collect();
    let counted = traces.iter().map(|trace| until_the_session(trace));
    let least = counted.min_by_key(Vec::len).unwrap();
    println!("{} system calls", least.len());
    let all = least.join("\n");
    assert!(
        least.len() <= BUDGET,
        "{} system calls, not {BUDGET}:\n{all}",
        least.len()
    );
}

/// What two lines (`Asking Duo`, and the final one) cost in the journal, and in syslog where
/// there is no journal, beside a login that writes them to stderr alone.
fn the_log_costs_a_login_8_system_calls_at_most() {
    const BUDGET: usize = 8;
    let world = machine::World::with("accept_env_factor = yes\n", |_| {});
    // A line of syslog has the local time, for which syslog(3) read this file as well.
    fs::remove_file(world.at("/etc/localtime")).unwrap();
    let in_syslog = |lines: usize| {
        assert_eq!(world.log().len(), lines, "{:#?}", world.log());
        world.clear_log();
    };
    let unlogged = least_calls(&world, &["-d"], || in_syslog(0));
    let by_syslog = least_calls(&world, &[], || in_syslog(2));
    let journal = machine::Journal::listen(world.at("/run/systemd/journal/socket"));
    let by_journal = least_calls(&world, &[], || {
        assert_eq!(journal.entries().len(), 2);
        in_syslog(0);
    });

    println!("journal {by_journal}, syslog {by_syslog}, neither {unlogged} system calls");
    for counted in [by_journal, by_syslog] {
        assert!(
            counted <= unlogged + BUDGET,
            "{counted} system calls, not {unlogged} and {BUDGET}"
        );
    }
}

/// The system calls of a headless login of root's, but for what its threads wait for each
/// other; the least of eight. `has_logged` looks at the log after each.
fn least_calls(world: &machine::World, options: &[&str], has_logged: impl Fn()) -> usize {
    let counts = (0..8).map(|_| {
        let mut login = world.inside();
        login
            .args(["strace", "-f", "-o", "/etc/duo/trace", "/srv/bin/login_duo"])
            .args(options)
            .arg("true")
            .env("DUO_PASSCODE", fake_duo::PASSCODE)
            .stdin(Stdio::null());
        Ended::of(&mut login).succeeds();
        world.wait_until_empty();
        has_logged();
        let trace = fs::read_to_string(world.sandbox.path().join("trace")).unwrap();
        let calls = until_the_session(&trace).into_iter();
        calls.filter(|call| !call.contains(" futex(")).count()
    });
    counts.min().unwrap()
}

/// strace's lines for a headless login with the account `duo`, as install.sh
/// makes it: without, each login would look for it in every directory there is.
fn traced_login(sandbox: &Sandbox) -> String {
    let trace = sandbox.path().join("trace");
    let accounts = sandbox.path().join("passwd");
    let known = fs::read_to_string("/etc/passwd").unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let duo = format!("duo:x:{}:{}::/:/bin/false", nobody.uid, nobody.gid);
    fs::write(&accounts, format!("{known}{duo}\n")).unwrap();

    // A mount that ends with the process and that nobody else sees.
    let script = r#"mount --bind "$1" /etc/passwd && shift && exec "$@""#;
    let mut login = Command::new("unshare");
    login
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&accounts)
        .args(["strace", "-f", "-o"])
        .arg(&trace)
        .arg(login_duo())
        .args(["-d", "-c"])
        .arg(sandbox.config())
        .arg("true")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DUO_PASSCODE", fake_duo::PASSCODE)
        .stdin(Stdio::null());
    Ended::of(&mut login).succeeds();
    fs::read_to_string(&trace).unwrap()
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
fn neither_process_ever_holds_more_than_8_mib() {
    const BUDGET: u64 = 8 * 1024;
    let sandbox = sandbox();
    let mut login = Command::new(login_duo())
        .args(["-d", "-c"])
        .arg(sandbox.config())
        .args(["-f", "manual", "true"])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let polled = |requests: &[fake_duo::Request]| {
        let polls = requests.iter().map(fake_duo::Request::endpoint);
        polls.filter(|endpoint| *endpoint == "auth_status").count() >= 2
    };
    let waits = sandbox.duo.wait_until(polled, PATIENCE);
    assert!(waits, "it did not come to wait");
    let parent = login.id();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let child: u32 = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let peaks = [high_water_mark(parent), high_water_mark(child)];
    sandbox.duo.approve("manual");
    assert!(login.wait().unwrap().success());
    println!("parent {} KiB, child {} KiB", peaks[0], peaks[1]);
    assert!(
        peaks.iter().all(|peak| *peak <= BUDGET),
        "peaks of {peaks:?} KiB, not {BUDGET}"
    );
}

fn high_water_mark(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = field.unwrap().trim().trim_end_matches("kB").trim();
    kilobytes.parse().unwrap()
}

fn the_pam_module_is_400_kib_at_most() {
    const BUDGET: u64 = 400 * 1024;
    let size = fs::metadata(&pam_module().module).unwrap().len();
    println!("{size} bytes");
    assert!(size <= BUDGET, "{size} bytes, not {BUDGET}");
}

/// With the module itself and the first of them.
fn a_thousand_authentications_grow_the_host_by_less_than_200_kib() {
    const BUDGET: i64 = 200;
    let world = machine::PamWorld::new("");
    let (growth, asked) = world.growth_of_a_host(1_000, &["-r"], "allow");
    println!("{growth} KiB");
    asked.is_unchanged();
    assert_eq!(asked.codes(), vec![machine::code::SUCCESS; 1_000]);
    assert!(growth < BUDGET, "{growth} KiB, not {BUDGET}");
}

/// What the module itself names: libpam has libraries of its own.
fn the_pam_module_is_linked_to_libc_and_libpam() {
    let listing = Ended::of(Command::new("objdump").arg("-p").arg(&pam_module().module)).stdout();
    let needed = listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("NEEDED"));
    let found: BTreeSet<&str> = needed.map(str::trim).collect();
    assert_eq!(found, BTreeSet::from(["libc.so.6", "libpam.so.0"]));
}

fn it_is_linked_to_libc_libm_and_libgcc_s_at_most() {
    let listing = Ended::of(Command::new("ldd").arg(login_duo())).stdout();
    let words = listing.split_whitespace();
    let found: BTreeSet<&str> = words.filter(|word| word.starts_with("lib")).collect();
    let known = BTreeSet::from(["libc.so.6", "libm.so.6", "libgcc_s.so.1"]);
    assert!(
        !found.is_empty() && found.is_subset(&known),
        "linked to {found:?}"
    );
}

fn the_stripped_binary_is_2_1_mib_at_most() {
    // The FIPS module is one object, which the linker may not take apart.
    const FIPS_MODULE: u64 = if cfg!(feature = "fips") { 22 } else { 0 };
    const BUDGET: u64 = (21 + FIPS_MODULE) * 1024 * 1024 / 10;
    let size = fs::metadata(login_duo()).unwrap().len();
    println!("{size} bytes");
    assert!(size <= BUDGET, "{size} bytes, not {BUDGET}");
}
