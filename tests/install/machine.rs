//! A copy of this machine to break: /etc, /usr and /run as they are, in a mount namespace that
//! only this process sees.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set in the copy: the folder that holds what differs from the machine.
const IN_THE_COPY: &str = "LOGIN_DUO_TEST_COPY";

/// Run by root in a new mount namespace, with the scratch folder as `$1`: everything written goes
/// to a file system in memory.
const COPY: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
for folder in etc usr; do
    mkdir "$1/$folder" "$1/$folder.work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$folder,workdir=$1/$folder.work" "/$folder"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd
mount -t tmpfs -o mode=755 tmpfs /home
"#;

/// What this machine lacks for the tests that need one.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("they need root".to_owned());
    }
    for program in [
        "sshd",
        "ssh",
        "ssh-keygen",
        "useradd",
        "su",
        "unshare",
        "mount",
    ] {
        let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists());
        if !found {
            return Some(format!("there is no {program}"));
        }
    }
    None
}

/// Starts this program again in a copy of the machine. Returns there, or here with the reason why
/// there is none.
pub fn enter_a_copy_of_this_machine() -> Option<String> {
    if std::env::var_os(IN_THE_COPY).is_some() {
        return None;
    }
    if let Some(what) = missing() {
        return Some(what);
    }
    let scratch = tempfile::tempdir().ok()?;
    let enter = |script: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(scratch.path());
        command
    };
    let tried = enter(COPY).output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Some(format!("no mount namespace of their own: {why}"));
        }
        Err(error) => return Some(format!("unshare: {error}")),
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let script = format!("{COPY}\nshift; exec \"$@\"");
    let status = enter(&script)
        .args(arguments)
        .env(IN_THE_COPY, scratch.path())
        .status();
    drop(scratch);
    let code = status.ok().and_then(|status| status.code()).unwrap_or(1);
    std::process::exit(code)
}

/// `install.sh`, to be run without a terminal.
pub fn install_sh(arguments: &[&str]) -> Command {
    let mut command = Command::new(format!("{}/install.sh", env!("CARGO_MANIFEST_DIR")));
    command.args(arguments).stdin(Stdio::null());
    for name in ["PREFIX", "DESTDIR", "CONFDIR", "SSHD", "SUDO_USER"] {
        command.env_remove(name);
    }
    command
}

/// A run that is over.
pub struct Ran {
    pub status: i32,
    /// stdout, then stderr.
    pub text: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Ran {
        let output = command.output().expect("it starts");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ran {
            status: output.status.code().unwrap_or(-1),
            text,
        }
    }

    /// What it said.
    pub fn succeeds(self) -> String {
        assert_eq!(self.status, 0, "{}", self.text);
        self.text
    }

    /// What it said.
    pub fn fails(self) -> String {
        assert_eq!(self.status, 1, "{}", self.text);
        self.text
    }
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
        } else if status.is_file() {
            let mut hasher = DefaultHasher::new();
            fs::read(&path).expect("a file").hash(&mut hasher);
            format!("file {:x}", hasher.finish())
        } else {
            "other".to_owned()
        };
        let (mode, uid, gid) = (status.mode(), status.uid(), status.gid());
        entries.insert(format!("{} {kind} {mode:o} {uid}:{gid}", path.display()));
    }
    entries
}
