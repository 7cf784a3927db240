//! `install.sh`, and what it changes.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `install.sh`, to be run without a terminal.
pub fn install_sh(arguments: &[&str]) -> Command {
    let mut command = Command::new(format!("{}/install.sh", env!("CARGO_MANIFEST_DIR")));
    command.args(arguments).stdin(Stdio::null());
    for name in ["PREFIX", "DESTDIR", "CONFDIR", "SSHD", "SUDO_USER"] {
        command.env_remove(name);
    }
    command
}

/// Bytes of a file that no test here writes: its content is not looked at.
const LARGE: u64 = 64 * 1024;

/// Everything under these folders: path, kind, mode, owner, content.
pub fn tree(roots: &[&Path]) -> BTreeSet<String> {
    let mut entries = BTreeSet::new();
    let mut left: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    while let Some(path) = left.pop() {
        let Ok(status) = fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = if status.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .map(|entry| entry.expect("an entry").path()),
            );
            "folder".to_owned()
        } else if status.is_file() && status.len() > LARGE {
            format!("file of {} bytes", status.len())
        } else if status.is_file() {
            let mut hasher = DefaultHasher::new();
            hasher.write(&fs::read(&path).expect("a file"));
            format!("file {:x}", hasher.finish())
        } else {
            "other".to_owned()
        };
        let (mode, uid, gid) = (status.mode(), status.uid(), status.gid());
        entries.insert(format!("{} {kind} {mode:o} {uid}:{gid}", path.display()));
    }
    entries
}
