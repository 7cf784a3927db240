//! What keeps `remember = connection` from remembering: then people are asked as if it were not
//! set, and this says why. The child looks, so it sees of root's folder what everybody sees.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use duo_policy::config::{Config, Remember};
use duo_system::remember;
use duo_system::system_words;

use crate::finding::{Finding, quoted};

const ID: &str = "configuration.remember";

/// Bit of CAP_SYS_PTRACE in the sets of proc_pid_status(5): without it not even root is told
/// which program a process of another user's runs.
const SEE_PROGRAMS: u64 = 1 << 19;

/// Looks, if the configuration asks for it. `program` is login_duo.
pub fn findings(config: &Config, program: &Path) -> Vec<Finding> {
    if config.remember == Remember::No {
        return Vec::new();
    }
    let useless = |why: &str| {
        let text = format!("remember = connection does nothing here: {why}");
        vec![Finding::warn(ID, text)]
    };
    if !super::is_the_machines(program) {
        return useless("only a login_duo that is setuid root finds the connection");
    }
    if !remember::can_be_found() {
        return useless("/proc does not tell of this pid namespace");
    }
    if !may_see_programs() {
        return useless("this container takes CAP_SYS_PTRACE away, so sshd cannot be found");
    }
    let folders = Path::new(remember::FOLDER).ancestors().take(3);
    let wrong: Vec<Finding> = folders.filter_map(folder).collect();
    if !wrong.is_empty() {
        return wrong;
    }
    let minutes = config.remember_max.as_secs() / 60;
    let text = format!("one yes serves all sessions of one connection, for {minutes} min at most");
    vec![Finding::ok(ID, text)]
}

fn may_see_programs() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounding = bounding.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    bounding.is_none_or(|set| set & SEE_PROGRAMS != 0)
}

/// What is wrong with the folder, or with one above it. One that is missing is made.
fn folder(path: &Path) -> Option<Finding> {
    let name = path.display();
    let status = match fs::symlink_metadata(path) {
        Ok(status) => status,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            let text = format!("{name} cannot be looked at: {}", system_words(&error));
            return Some(Finding::warn(ID, text));
        }
    };
    let (is_good, what, mode) = match path == Path::new(remember::FOLDER) {
        true => {
            let mode = status.mode() & 0o7777;
            (
                mode == 0o700,
                "a folder of root's alone with mode 0700",
                "700",
            )
        }
        false => {
            let is_roots = status.mode() & 0o022 == 0;
            (is_roots, "a folder that root alone can write to", "755")
        }
    };
    if status.is_dir() && status.uid() == 0 && is_good {
        return None;
    }
    let text = format!("nothing is remembered: {name} is not {what}");
    let finding = Finding::warn(ID, text);
    Some(match status.is_dir() {
        true => {
            let path = quoted(path);
            finding.mend(format!("chown root:root {path} && chmod {mode} {path}"))
        }
        false => finding,
    })
}
