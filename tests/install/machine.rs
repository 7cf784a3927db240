//! A copy of this machine to break: /etc, /usr and /run as they are, in a mount namespace that
//! one process and its children see.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Set in a copy.
const IN_A_COPY: &str = "LOGIN_DUO_TEST_COPY";

/// Run by root in a new mount namespace, with the scratch folder as `$1` and the
/// program behind it: everything written goes to a file system in memory.
const COPY: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
mkdir "$1/usr" "$1/usr.work"
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$1/usr,workdir=$1/usr.work" /usr
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd
mount -t tmpfs -o mode=755 tmpfs /home
# An install of the machine's own.
userdel duo 2>/dev/null || :
rm -rf /etc/duo /etc/ssh/sshd_config.d/00-login_duo.conf /usr/sbin/login_duo
rm -f /usr/sbin/login_duo.before /usr/share/man/man8/login_duo.8 /usr/share/man/man5/login_duo.conf.5
shift
exec "$@"
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
    if is_a_copy() {
        return None;
    }
    static TRIED: OnceLock<Option<String>> = OnceLock::new();
    TRIED.get_or_init(|| copy("true", &[]).err()).clone()
}

/// Whether this process runs in one already.
pub fn is_a_copy() -> bool {
    std::env::var_os(IN_A_COPY).is_some()
}

/// Runs the test `name` of this program in a copy of the machine.
pub fn run_in_a_copy(name: &str) -> Result<(), String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    copy(&this.to_string_lossy(), &["--exact", name])
}

/// Runs a program in a copy; what it said, if it failed.
fn copy(program: &str, arguments: &[&str]) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let output = Command::new("unshare")
        // With process ids of its own, nobody else's login keeps an account from being removed,
        // and an sshd does not outlive its test.
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", COPY, "sh"])
        .arg(scratch.path())
        .arg(program)
        .args(arguments)
        .env(IN_A_COPY, "yes")
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err([output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat()),
    }
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
