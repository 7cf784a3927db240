//! A machine as one login sees it: its own `/etc`, a setuid `login_duo` and a
//! fake Duo, in a mount namespace that ends with the login.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fake_duo::{FakeDuo, Request, Script};

/// The account that the child drops to.
pub const DUO: u32 = 61_000;
/// The C program's usual owner of the configuration.
pub const SSHD: u32 = 61_001;
/// In `staff`, by her primary group, and in nothing else.
pub const ANNA: u32 = 61_010;
/// In `staff`, and, as supplementary groups, in `admins` and `domain users`.
pub const BERT: u32 = 61_011;
/// In a primary group that has no name.
pub const CARL: u32 = 61_012;
/// In `staff`; her GECOS field has parts.
pub const DORA: u32 = 61_013;
/// Known to a directory only, if to anyone.
pub const FAR: u32 = 61_050;
/// No account has it.
pub const NOBODYS: u32 = 61_099;
/// The group that all but Carl have as their primary one.
pub const STAFF: u32 = 62_000;
/// Carl's, which no database knows.
pub const NAMELESS: u32 = 62_099;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
duo:x:61000:61000::/nonexistent:/usr/sbin/nologin
sshd:x:61001:61000::/nonexistent:/usr/sbin/nologin
anna:x:61010:62000:Anna:/:/bin/sh
bert:x:61011:62000:Bert:/:/bin/sh
carl:x:61012:62099:Carl:/:/bin/sh
dora:x:61013:62000:Dora D.,Room 1,,dora@example.com:/:/bin/sh
";

const GROUP: &str = "\
root:x:0:
duo:x:61000:
staff:x:62000:
admins:x:62001:bert
domain users:x:62002:anja,bert
empty:x:62003:
";

/// Puts `$1/etc` in the place of `/etc` (and a log in that of `/dev/log`), for
/// this process alone, and becomes the user `$2` with the group `$3`.
const ENTER: &str = r#"
set -e
place=$1 uid=$2 gid=$3 groups=$4
shift 4
mount --bind "$place/etc" /etc
if [ -e "$place/log" ]; then
    mkdir -p "$place/dev"
    mount -t tmpfs -o mode=755 none "$place/dev"
    for device in null zero full random urandom tty; do
        : >"$place/dev/$device"
        mount --bind "/dev/$device" "$place/dev/$device"
    done
    ln -s "$place/log" "$place/dev/log"
    mount --rbind "$place/dev" /dev
fi
exec setpriv --reuid "$uid" --regid "$gid" "$groups" "$@"
"#;

/// What these tests lack here, if anything.
pub fn lacking() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("only root can make a machine".to_owned());
    }
    let tools = ["unshare", "mount", "setpriv"];
    if let Some(tool) = tools.into_iter().find(|tool| !has(tool)) {
        return Some(format!("there is no '{tool}'"));
    }
    let try_it = Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    let works = try_it.is_ok_and(|output| output.status.success());
    (!works).then(|| "no mount namespace may be made here".to_owned())
}

/// Whether there is such a program.
pub fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(tool).is_file())
}

/// The machine.
pub struct Machine {
    /// Its Duo.
    pub duo: FakeDuo,
    folder: tempfile::TempDir,
}

impl Machine {
    /// With the users and groups above, and this in the configuration.
    pub fn new(configuration: &str) -> Machine {
        let duo = FakeDuo::builder()
            // Approved at once, so that nobody polls.
            .default_script(Script::Sync)
            .start();
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        let machine = Machine { duo, folder };
        fs::create_dir_all(machine.path().join("etc/duo")).expect("/etc");
        machine.write("etc/passwd", PASSWD);
        machine.write("etc/group", GROUP);
        machine.write(
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        );
        for known in ["hosts", "resolv.conf", "ld.so.cache", "ld.so.conf"] {
            // What is not there is not needed.
            let _ = fs::copy(Path::new("/etc").join(known), machine.etc(known));
        }
        machine.configure(configuration);
        machine.install(SETUID);
        machine
    }

    /// Puts `login_duo` here with this mode.
    fn install(&self, mode: u32) {
        let copy = self.path().join("login_duo");
        if !copy.exists() {
            fs::copy(env!("CARGO_BIN_EXE_login_duo"), &copy).expect("a copy of login_duo");
        }
        chown(&copy, Some(0), Some(0)).expect("its owner");
        fs::set_permissions(&copy, Permissions::from_mode(mode)).expect("its mode");
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn etc(&self, name: &str) -> PathBuf {
        self.path().join("etc").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect(name);
    }

    /// The configuration anew, with these lines after those that it needs.
    pub fn configure(&self, extra: &str) {
        let folder = self.path().join("etc/duo");
        self.duo
            .write_config(&folder, extra)
            .expect("a configuration");
        // Where it will be seen.
        let text = fs::read_to_string(self.config()).expect("the configuration");
        let seen = text.replace(&*folder.to_string_lossy(), "/etc/duo");
        fs::write(self.config(), seen).expect("the configuration");
    }

    /// Where the configuration is from outside.
    pub fn config(&self) -> PathBuf {
        self.etc("duo/login_duo.conf")
    }

    /// Gives the configuration away.
    pub fn give_config_to(&self, uid: u32) {
        chown(self.config(), Some(uid), None).expect("another owner");
    }

    /// A login of this user by the setuid program: `login_duo -d echo in`.
    pub fn login(&self, uid: u32) -> Login<'_> {
        self.login_to_syslog(uid).args(&["-d"])
    }

    /// The same without `-d`.
    pub fn login_to_syslog(&self, uid: u32) -> Login<'_> {
        self.login_by(SETUID, uid)
    }

    /// The same by a program that is not setuid.
    pub fn plain_login(&self, uid: u32) -> Login<'_> {
        self.login_by(0o755, uid).args(&["-d"])
    }

    fn login_by(&self, mode: u32, uid: u32) -> Login<'_> {
        self.install(mode);
        let gid = match uid {
            0 => 0,
            CARL => NAMELESS,
            _ => STAFF,
        };
        let groups = match uid {
            NOBODYS | FAR => "--clear-groups",
            _ => "--init-groups",
        };
        let mut command = Command::new("unshare");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22")
            .args(["-m", "/bin/sh", "-c", ENTER, "sh"])
            .arg(self.path())
            .args([uid.to_string(), gid.to_string()])
            .arg(groups)
            .arg(self.path().join("login_duo"));
        Login {
            command,
            duo: &self.duo,
        }
    }
}

/// The mode of a program that takes on its owner's rights.
const SETUID: u32 = 0o4755;

/// One run of `login_duo`, to be.
pub struct Login<'a> {
    command: Command,
    duo: &'a FakeDuo,
}

impl Login<'_> {
    pub fn args(mut self, words: &[&str]) -> Self {
        self.command.args(words);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Headless, with `echo in` for the command, to its end.
    pub fn run(mut self) -> Ended {
        let before = self.duo.requests().len();
        let output = self.command.args(["echo", "in"]).output();
        Ended {
            output: output.expect("login_duo runs"),
            requests: self.duo.requests().split_off(before),
        }
    }
}

/// A run, over.
pub struct Ended {
    output: Output,
    /// What it asked Duo.
    pub requests: Vec<Request>,
}

impl Ended {
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub fn has(&self, line: &str) -> bool {
        self.stderr().lines().any(|found| found == line)
    }

    #[track_caller]
    pub fn assert_let_in(&self) {
        let stdout = String::from_utf8_lossy(&self.output.stdout);
        let found = (self.output.status.code(), &*stdout);
        assert_eq!(found, (Some(0), "in\n"), "{}", self.stderr());
    }

    #[track_caller]
    pub fn assert_denied(&self) {
        let stdout = String::from_utf8_lossy(&self.output.stdout);
        let found = (self.output.status.code(), &*stdout);
        assert_eq!(found, (Some(1), ""), "{}", self.stderr());
    }

    /// The user names that Duo was told, each once.
    pub fn told(&self) -> Vec<&str> {
        let requests = self.requests.iter();
        let mut names: Vec<_> = requests.filter_map(|one| one.param("username")).collect();
        names.dedup();
        names
    }

    #[track_caller]
    pub fn assert_logged(&self, line: &str) {
        assert!(self.has(line), "no '{line}':\n{}", self.stderr());
    }
}
