//! Whose login it is, as a sysadmin's machine would have it: users, groups, a
//! directory service that is down, a configuration that belongs to someone.

pub mod directory;
pub mod groups;
pub mod identity;
pub mod owner;
pub mod syslog;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use fake_duo::{FakeDuo, Request, Script};

use crate::machine::{Accounts, World};
use crate::support::{Sandbox, run};

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
const STAFF: u32 = 62_000;
/// Carl's, which no database knows.
const NAMELESS: u32 = 62_099;

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

/// A machine with these users and groups.
pub struct Machine(World);

impl Machine {
    /// With this in the configuration.
    pub fn new(configuration: &str) -> Machine {
        // Approved at once, so that nobody polls.
        let builder = FakeDuo::builder().default_script(Script::Sync);
        let machine = Machine(World::of(
            Sandbox::with(builder),
            Accounts::of(PASSWD, GROUP),
        ));
        machine.configure(configuration);
        machine
    }

    /// A folder that it sees under the same path.
    pub fn path(&self) -> &Path {
        self.0.sandbox.path()
    }

    pub fn etc(&self, name: &str) -> PathBuf {
        self.0.at("/etc").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.etc(name), text).expect(name);
    }

    /// A command on it, as root.
    pub fn inside(&self) -> Command {
        self.0.inside()
    }

    /// The configuration anew, with these lines after those that it needs.
    pub fn configure(&self, extra: &str) {
        self.0.sandbox.configure(extra);
    }

    /// Where the configuration is from outside.
    pub fn config(&self) -> PathBuf {
        self.0.sandbox.config()
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
        self.login_by("/srv/bin/login_duo", uid)
    }

    /// The same by a program that is not setuid.
    pub fn plain_login(&self, uid: u32) -> Login<'_> {
        self.login_by("/srv/bin/plain", uid).args(&["-d"])
    }

    fn login_by(&self, program: &str, uid: u32) -> Login<'_> {
        let gid = match uid {
            0 => 0,
            CARL => NAMELESS,
            _ => STAFF,
        };
        let groups = match uid {
            NOBODYS | FAR => "--clear-groups",
            _ => "--init-groups",
        };
        let mut command = self.0.as_ids(uid, gid, groups);
        command
            .env("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22")
            .arg(program);
        Login {
            command,
            duo: &self.0.sandbox.duo,
        }
    }

    /// The packets that syslog got.
    pub fn logged(&self) -> Vec<String> {
        let lines = self.0.log().into_iter();
        let packets = lines.map(|line| line.packet).collect();
        self.0.clear_log();
        packets
    }
}

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
        self.command.args(["echo", "in"]);
        Ended {
            run: run(self.command),
            requests: self.duo.requests().split_off(before),
        }
    }
}

/// A run, over.
pub struct Ended {
    run: crate::support::Ended,
    /// What it asked Duo.
    pub requests: Vec<Request>,
}

impl Ended {
    pub fn stderr(&self) -> String {
        self.run.stderr()
    }

    #[track_caller]
    pub fn assert_let_in(&self) {
        let stdout = self.run.stdout();
        let found = (self.run.status(), &*stdout);
        assert_eq!(found, (0, "in\n"), "{}", self.stderr());
    }

    #[track_caller]
    pub fn assert_denied(&self) {
        let stdout = self.run.stdout();
        let found = (self.run.status(), &*stdout);
        assert_eq!(found, (1, ""), "{}", self.stderr());
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
        let stderr = self.stderr();
        let is_there = stderr.lines().any(|found| found == line);
        assert!(is_there, "no '{line}':\n{stderr}");
    }
}
