//! `install.sh`, and what it changes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `install.sh`, to be run without a terminal.
pub fn install_sh(arguments: &[&str]) -> Command {
    let mut command = Command::new(format!("{}/install.sh", env!("CARGO_MANIFEST_DIR")));
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "PREFIX",
        "DESTDIR",
        "CONFDIR",
        "PAMDIR",
        "LAYOUT",
        "SSHD",
        "SUDO_USER",
    ] {
        command.env_remove(name);
    }
    command
}

/// Puts into this folder what `cargo build --release` makes, for `--binary`: the
/// programs, and of the module what install.sh looks at. The login_duo among them.
#[allow(dead_code)]
pub fn release(folder: &Path, helper: &str) -> String {
    let programs = [
        ("login_duo", env!("CARGO_BIN_EXE_login_duo")),
        ("duoctl", env!("CARGO_BIN_EXE_duoctl")),
        ("pam-duo-helper", env!("CARGO_BIN_EXE_pam-duo-helper")),
    ];
    for (name, program) in programs {
        symlink(program, folder.join(name)).expect("a link");
    }
    let header = fs::read(programs[0].1).expect("a program")[..64].to_vec();
    let text = format!("couldn't run '{helper}'");
    let module = [header, text.into_bytes()].concat();
    fs::write(folder.join("libpam_duo.so"), module).expect("a module");
    folder.join("login_duo").display().to_string()
}

/// Bytes of a file that no test here writes: its content is not looked at.
const LARGE: u64 = 64 * 1024;

/// Another number for another content. (It is quick where nothing is optimised, which the
/// standard library's hashes are not.)
fn digest(content: &[u8]) -> u64 {
    content.chunks(8).fold(0, |digest: u64, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let mixed = digest.rotate_left(5) ^ u64::from_le_bytes(word);
        mixed.wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

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
            let content = fs::read(&path).expect("a file");
            format!("file of {} bytes, {:x}", content.len(), digest(&content))
        } else {
            "other".to_owned()
        };
        let (mode, uid, gid) = (status.mode(), status.uid(), status.gid());
        entries.insert(format!("{} {kind} {mode:o} {uid}:{gid}", path.display()));
    }
    entries
}
