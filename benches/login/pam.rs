//! A passcode through PAM: pamtester with the module, in a mount namespace with stacks
//! of its own, less what pamtester takes with a module that does nothing.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

/// Nothing of this machine is touched: what is mounted here goes with the process, and
/// no line reaches the log.
const STACKS: &str = r#"
set -e
mount -t tmpfs -o mode=755 none /etc/pam.d
echo "auth required $2 conf=$3" >/etc/pam.d/duo
echo 'auth required pam_permit.so' >/etc/pam.d/nothing
mount -t tmpfs -o mode=755 none /usr/libexec
mkdir /usr/libexec/login_duo
cp "$1" /usr/libexec/login_duo/pam-duo-helper
[ ! -e /dev/log ] || mount --bind /dev/null /dev/log
echo ready
exec cat
"#;

/// The namespace.
pub struct Stacks {
    holder: Child,
}

impl Stacks {
    /// With a configuration whose menu asks. `None` where PAM cannot be asked so.
    pub fn new(config: &Path) -> io::Result<Option<Stacks>> {
        let has_pamtester = Path::new("/usr/bin/pamtester").exists();
        if !geteuid().is_root() || !has_pamtester {
            return Ok(None);
        }
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", STACKS, "sh"])
            .arg(env!("CARGO_BIN_EXE_pam-duo-helper"))
            .arg(module()?)
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = holder.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.as_str() {
            "ready\n" => Ok(Some(Stacks { holder })),
            _ => Err(io::Error::other("no mount namespace")),
        }
    }

    /// One authentication with the right passcode, from the start of pamtester to its end.
    pub fn passcode(&self) -> io::Result<Duration> {
        self.pamtester("duo")
    }

    /// The same without Duo.
    pub fn nothing(&self) -> io::Result<Duration> {
        self.pamtester("nothing")
    }

    fn pamtester(&self, service: &str) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut child = Command::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .args(["/usr/bin/pamtester", service, "root", "authenticate"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A module that does nothing reads nothing.
            let _ = stdin.write_all(format!("{}\n", fake_duo::PASSCODE).as_bytes());
        }
        match child.wait()?.success() {
            true => Ok(begun.elapsed()),
            false => Err(io::Error::other(format!("pamtester {service} failed"))),
        }
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// The module, built as the programs of this bench were.
pub fn module() -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "-p", "pam-duo"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .status()?;
    let folder = Path::new(env!("CARGO_BIN_EXE_pam-duo-helper")).parent();
    match (built.success(), folder) {
        (true, Some(folder)) => Ok(folder.join("libpam_duo.so")),
        _ => Err(io::Error::other("the module could not be built")),
    }
}
