//! Where the tests that need root run: mount, pid, net and uts namespaces of
//! their own, and within them, for a test that rewrites a machine, a copy of this
//! one. The kernel ends every process and mount of them with the test run,
//! whatever ends that.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::needs::{find, succeeds};
use crate::support::{Ended, PREBUILT, check_command, pam_module};

/// Set in the namespaces, to their kind.
const KIND: &str = "LOGIN_DUO_TEST_NAMESPACES";

const OWN: [&str; 8] = [
    "--mount",
    "--propagation=private",
    "--net",
    "--uts",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// Whether this process runs in namespaces of the tests' own.
pub fn inside() -> bool {
    std::env::var_os(KIND).is_some()
}

/// Whether this process runs in a copy of the machine.
pub fn in_a_copy() -> bool {
    std::env::var_os(KIND).is_some_and(|kind| kind == "copy")
}

/// Runs this very program again in namespaces of its own, if that can be done
/// here. Returns if it runs in them already, or cannot.
pub fn enter() {
    if inside() || !may_make_them() {
        return;
    }
    let this = std::env::current_exe().expect("this program");
    // Built here: within the namespaces there is no network.
    let pam = pam_module();
    let error = Command::new("unshare")
        .args(OWN)
        .args(["sh", "-c", include_str!("shared.sh"), "shared"])
        .args([
            Path::new(env!("CARGO_BIN_EXE_login_duo")),
            check_command().0,
            &pam.helper,
            &pam.module,
        ])
        .arg(this)
        .args(std::env::args_os().skip(1))
        .env(KIND, "shared")
        .env(PREBUILT, &pam.module)
        .exec();
    panic!("unshare: {error}");
}

fn may_make_them() -> bool {
    let tools = ["unshare", "nsenter", "setpriv", "mount", "perl"];
    nix::unistd::geteuid().is_root()
        && tools.iter().all(|tool| find(tool).is_some())
        && succeeds(
            Command::new("unshare")
                .args(OWN)
                .args(["mount", "-t", "tmpfs", "none", "/srv"]),
        )
}

/// Runs the test `name` of this program again, in a copy of the machine: its
/// /etc, /usr and /run, which the test may rewrite.
pub fn run_in_a_copy(name: &str) -> Result<(), String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    copy(&this, &["--exact", name])
}

/// Whether this machine can be copied.
pub fn may_copy() -> Result<(), String> {
    static TRIED: OnceLock<Result<(), String>> = OnceLock::new();
    match inside() {
        true if in_a_copy() => Ok(()),
        true => TRIED
            .get_or_init(|| copy(Path::new("true"), &[]))
            .clone()
            .map_err(|why| format!("a copy of this machine: {why}")),
        false => Err("root, with its own namespaces".to_owned()),
    }
}

/// Runs a program in a copy; what it said, if it failed.
fn copy(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let ended = Ended::of_a_test(
        Command::new("unshare")
            // With process ids of its own, nobody else's login keeps an account from being
            // removed, and an sshd does not outlive its test.
            .args(["--mount", "--propagation=private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", include_str!("copy.sh"), "copy"])
            .arg(scratch.path())
            .arg(program)
            .args(arguments)
            .env(KIND, "copy"),
    );
    match ended.code() {
        0 => Ok(()),
        _ => Err(ended.text()),
    }
}
