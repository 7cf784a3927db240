//! What a test needs of the machine.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Whether missing means failed.
pub fn required() -> bool {
    std::env::var("LOGIN_DUO_E2E").is_ok_and(|value| value == "required")
}

/// The first thing that is missing, in words; programs stand by name, and
/// `root` for a root who may make mount namespaces, and `control groups` for one
/// who may add to those.
pub fn missing(programs: &[&str]) -> Option<String> {
    programs.iter().find_map(|program| match *program {
        "root" => (!may_make_namespaces()).then(|| "root, with its own mounts".to_owned()),
        "control groups" => {
            (!crate::standstill::may_make_groups()).then(|| "control groups to add to".to_owned())
        }
        "paramiko" => (!crate::programs::has_paramiko()).then(|| "python3-paramiko".to_owned()),
        program => find(program).is_none().then(|| program.to_owned()),
    })
}

/// Where a program is.
pub fn find(program: &str) -> Option<String> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| Path::new(path).exists())
}

fn may_make_namespaces() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        nix::unistd::geteuid().is_root()
            && ["unshare", "nsenter", "setpriv", "mount"]
                .iter()
                .all(|program| find(program).is_some())
            && Command::new("unshare")
                .args(["-m", "mount", "-t", "tmpfs", "none", "/srv"])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    })
}
