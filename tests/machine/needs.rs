//! What a test needs of this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::namespaces;

/// Whether missing means failed. What is shipped is measured in a run of its own.
pub fn required(needs: &[&str]) -> bool {
    let required = std::env::var("LOGIN_DUO_E2E").is_ok_and(|value| value == "required");
    // Not every distribution has sudo-rs.
    let optional = ["shipped", "sudo-rs"];
    required && !needs.iter().any(|need| optional.contains(need))
}

/// The first thing that is missing, in words. Programs stand by name; `root` is
/// a root who may make namespaces, `a copy` one whose file systems can be overlaid,
/// `tracing` one who may trace, `control groups` one who may make them, `user
/// namespaces` those of an ordinary user, `PAM` is Linux-PAM with pam_unix,
/// `sudo-rs` a sudo that is it, `paramiko` the library, `Duo's C program` the one of
/// `LOGIN_DUO_C_PROGRAM`, and `Duo's C module` the one that is unpacked beside it;
/// `shipped` is the binary as it is shipped.
pub fn missing(needs: &[&'static str]) -> Option<String> {
    static LOOKED_FOR: Mutex<BTreeMap<&str, Option<String>>> = Mutex::new(BTreeMap::new());
    let mut known = LOOKED_FOR.lock().expect("what was looked for");
    needs.iter().find_map(|need| {
        let entry = known.entry(need).or_insert_with(|| look_for(need));
        entry.clone()
    })
}

/// One of them, in words, if it is missing.
fn look_for(need: &str) -> Option<String> {
    match need {
        "root" => (!namespaces::inside()).then(|| "root, with its own namespaces".to_owned()),
        "user namespaces" => {
            (!may_have_user_namespaces()).then(|| "user namespaces for users".to_owned())
        }
        "tracing" => (!may_trace()).then(|| "a root who may trace".to_owned()),
        "a copy" => namespaces::may_copy().err(),
        "shipped" => std::env::var_os("LOGIN_DUO_SHIPPED")
            .is_none()
            .then(|| "LOGIN_DUO_SHIPPED".to_owned()),
        "Duo's C program" => std::env::var_os("LOGIN_DUO_C_PROGRAM")
            .filter(|program| Path::new(program).is_file())
            .is_none()
            .then(|| "LOGIN_DUO_C_PROGRAM names no program".to_owned()),
        "PAM" => find("cc")
            .filter(|_| has_pam())
            .is_none()
            .then(|| "PAM, and cc for a program that asks it".to_owned()),
        "control groups" => {
            (!may_make_control_groups()).then(|| "control groups that root may make".to_owned())
        }
        "sudo-rs" => sudo_rs().is_none().then(|| "sudo-rs".to_owned()),
        "Duo's C module" => (!has_c_module())
            .then(|| "pam_duo.so beside the program of LOGIN_DUO_C_PROGRAM".to_owned()),
        "paramiko" => (!succeeds(Command::new("/usr/bin/python3").args(["-c", "import paramiko"])))
            .then(|| "python3-paramiko".to_owned()),
        program => find(program).is_none().then(|| program.to_owned()),
    }
}

/// Whether the package of Duo's module is unpacked where the program's is.
fn has_c_module() -> bool {
    let program = std::env::var_os("LOGIN_DUO_C_PROGRAM").unwrap_or_default();
    let root = Path::new(&program).ancestors().nth(3).map(Path::to_owned);
    let libs = root.map(|root| ["lib", "usr/lib"].map(|lib| root.join(lib)));
    let below = libs.into_iter().flatten().flat_map(|lib| {
        let entries = std::fs::read_dir(lib).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join("security/pam_duo.so"))
    });
    below.into_iter().any(|module| module.is_file())
}

/// Where a program is.
pub fn find(program: &str) -> Option<String> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| Path::new(path).exists())
}

/// The same for a program whose PATH is to be another one. With its path, the standard
/// library does not copy this process in order to start it, which takes longer.
pub fn path_of(program: &str) -> String {
    find(program).unwrap_or_else(|| program.to_owned())
}

/// Where sudo-rs is, under its own name or sudo's.
pub fn sudo_rs() -> Option<String> {
    let named = std::env::var("LOGIN_DUO_SUDO_RS").ok();
    let places = ["/usr/lib/cargo/bin/sudo", "/usr/bin/sudo-rs"];
    let places = places.into_iter().map(str::to_owned);
    named
        .into_iter()
        .chain(places)
        .find(|path| Path::new(path).is_file())
}

/// Where Linux-PAM looks for modules, by distribution.
fn has_pam() -> bool {
    let folders = [
        "/usr/lib/x86_64-linux-gnu/security",
        "/usr/lib/aarch64-linux-gnu/security",
        "/usr/lib64/security",
        "/usr/lib/security",
    ];
    folders
        .iter()
        .any(|folder| Path::new(folder).join("pam_unix.so").exists())
}

/// Whether a command succeeds, whatever it says.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn may_have_user_namespaces() -> bool {
    let mut trial = Command::new("setpriv");
    trial.args([
        "--reuid",
        "65534",
        "--clear-groups",
        "unshare",
        "--user",
        "true",
    ]);
    succeeds(&mut trial)
}

fn may_make_control_groups() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut places = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next() == Some("cgroup2")).then(|| Path::new(place).join("login_duo-test-try"))
    });
    places.any(|path| {
        let made = std::fs::create_dir(&path).is_ok();
        let _ = std::fs::remove_dir(&path);
        made
    })
}

fn may_trace() -> bool {
    succeeds(Command::new("strace").args(["-o", "/dev/null", "true"]))
}
