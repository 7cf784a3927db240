//! A throw-away machine: a mount namespace with accounts, a log and an installed
//! `login_duo` of its own, and the fake Duo service behind it. All of them live
//! in the namespaces that [`namespaces::enter`] makes for the whole test run.

mod accounts;
mod journal;
pub mod namespaces;
mod needs;
mod pam;
pub mod process;
mod sshd;
mod syslog;
#[macro_use]
mod trials;

use std::fs;
use std::io::Read;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use fake_duo::{FakeDuo, Script};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use accounts::Accounts;
pub use journal::{Entry, Journal};
pub use needs::{path_of, sudo_rs};
pub use pam::{Asked, MODULE, PASSWORD, PamWorld, code};
pub use sshd::{DOCUMENTED, QUICK_KEYS, SSHD, Sshd};
pub use syslog::{Line, is_final};
pub use trials::{Test, run_tests};

use crate::support::{PATIENCE, Sandbox, in_time, wait_until};
use syslog::Syslog;

/// How `login_duo` is installed, and who calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    /// Setuid root, called by a user.
    Setuid,
    /// Called by root.
    Root,
    /// A user's own, with a configuration of theirs.
    Own,
}

/// All of them.
pub const INSTALLS: [Install; 3] = [Install::Setuid, Install::Root, Install::Own];

/// A machine for one test.
pub struct World {
    pub sandbox: Sandbox,
    accounts: Accounts,
    holder: Child,
    pushes: AtomicUsize,
    log: Syslog,
}

/// A command that root runs on a machine made of this folder (with `passwd`,
/// `group`, `nsswitch.conf`), which is /etc/duo there, and which ends with it.
pub fn once(folder: &Path) -> Command {
    let mut command = Command::new(path_of("unshare"));
    command
        .args(["--mount", "--propagation=private", "sh", "-c"])
        .arg(include_str!("world.sh"))
        .arg("world")
        .arg(folder)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

impl World {
    pub fn new() -> World {
        World::with("", |_| {})
    }

    /// With these lines in the configuration, and the accounts changed by `edit`.
    pub fn with(extra: &str, edit: impl Fn(&mut Vec<String>)) -> World {
        let builder = FakeDuo::builder().user("root", Script::Push);
        let sandbox = Sandbox::with(builder);
        sandbox.configure(extra);
        let everybody = Accounts::people();
        let mut accounts = everybody.clone();
        edit(&mut accounts.passwd);
        // Whoever was taken off the machine still has a number.
        World::build(sandbox, &accounts, everybody)
    }

    /// Of a service with its configuration, and these accounts.
    pub fn of(sandbox: Sandbox, accounts: Accounts) -> World {
        World::build(sandbox, &accounts.clone(), accounts)
    }

    fn build(sandbox: Sandbox, written: &Accounts, accounts: Accounts) -> World {
        written.write(sandbox.path());
        let log = Syslog::listen(sandbox.path().join("syslog"));
        let mut holder = once(sandbox.path())
            .args(["sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut stdout = holder.stdout.take().unwrap();
        let ready = in_time(move || {
            let mut ready = [0; "ready\n".len()];
            stdout.read_exact(&mut ready).map(|()| ready)
        });
        let is_ready = ready.is_ok_and(|line| &line == b"ready\n");
        assert!(is_ready, "the namespace could not be set up");
        let world = World {
            sandbox,
            accounts,
            holder,
            pushes: AtomicUsize::new(0),
            log,
        };
        for (name, uid, gid) in world.accounts.homes() {
            let home = world.at(&format!("/srv/home/{name}"));
            fs::create_dir(&home).unwrap();
            chown(&home, Some(uid), Some(gid)).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(&home, private).unwrap();
        }
        world
    }

    /// Where a file of the machine is for this process.
    pub fn at(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// The user id of an account.
    pub fn uid(&self, name: &str) -> u32 {
        self.accounts.ids(name).0
    }

    /// A command inside, as root, in an environment with nothing but PATH.
    pub fn inside(&self) -> Command {
        let mut command = Command::new(path_of("nsenter"));
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("--")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin");
        command
    }

    /// A command inside, as this user, with the groups that `groups` says in
    /// setpriv's words.
    pub fn as_ids(&self, uid: u32, gid: u32, groups: &str) -> Command {
        let mut command = self.inside();
        command.args(["setpriv", "--reuid", &uid.to_string()]);
        command.args(["--regid", &gid.to_string(), groups]);
        command
    }

    /// A command inside, as this user.
    pub fn as_user(&self, name: &str) -> Command {
        if name == "root" {
            return self.inside();
        }
        let (uid, gid) = self.accounts.ids(name);
        self.as_ids(uid, gid, "--init-groups")
    }

    /// `login_duo`, started by that user, with `through` before it: a program
    /// that sets something and executes its arguments.
    pub fn login_through(&self, install: Install, name: &str, through: &[&str]) -> Command {
        let mut command = match install {
            Install::Root => self.inside(),
            _ => self.as_user(name),
        };
        command.env("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22");
        command.args(through);
        match install {
            Install::Setuid => command.arg("/srv/bin/login_duo"),
            Install::Root => command.args(["/srv/bin/login_duo", "-f", name]),
            Install::Own => {
                // A new one each time: another login may be reading.
                static FILES: AtomicUsize = AtomicUsize::new(0);
                let own = format!("own-{}.conf", FILES.fetch_add(1, Ordering::Relaxed));
                let file = self.sandbox.path().join(&own);
                fs::copy(self.sandbox.config(), &file).unwrap();
                chown(&file, Some(self.uid(name)), None).unwrap();
                command
                    .arg("/srv/bin/plain")
                    .arg("-c")
                    .arg(format!("/etc/duo/{own}"))
            }
        };
        command
    }

    /// `login_duo`, started by that user.
    pub fn login(&self, install: Install, name: &str) -> Command {
        self.login_through(install, name, &[])
    }

    /// What syslog got so far.
    pub fn log(&self) -> Vec<Line> {
        self.log.lines()
    }

    /// Waits until a line of the log fits.
    pub fn wait_for_log(&self, what: impl Fn(&str) -> bool) -> Line {
        self.log.wait_for(what)
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.log.clear();
    }

    /// Waits until nothing of the login is left, then returns the text of the one
    /// final line that it wrote.
    pub fn final_line(&self) -> String {
        self.the_final_line().text
    }

    /// The same with all that syslog got of it.
    pub fn the_final_line(&self) -> Line {
        self.wait_for_log(is_final);
        self.wait_until_empty();
        let mut finals = self.log();
        finals.retain(|line| is_final(&line.text));
        assert_eq!(finals.len(), 1, "one final line: {finals:#?}");
        finals.remove(0)
    }

    /// The processes inside: pid and name.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let namespace = fs::read_link(format!("/proc/{}/ns/mnt", self.holder.id()));
        let namespace = namespace.expect("the namespace");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            if fs::read_link(entry.path().join("ns/mnt")).ok() == Some(namespace.clone())
                && u32::try_from(pid) != Ok(self.holder.id())
            {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push((pid, name.trim().to_owned()));
            }
        }
        found
    }

    /// Waits until no process is left inside.
    pub fn wait_until_empty(&self) {
        wait_until(
            || self.processes().is_empty(),
            || format!("left behind: {:?}", self.processes()),
        );
    }

    /// Waits until one push more than before was asked for; returns the two processes of
    /// the one login that runs: the waiting parent, and the child.
    pub fn wait_for_push(&self) -> (i32, i32) {
        let before = self.pushes.fetch_add(1, Ordering::Relaxed);
        let asked = self.sandbox.duo.wait_until(
            |requests| {
                let auths = requests.iter().filter(|r| r.endpoint() == "auth");
                let manual = auths
                    .clone()
                    .filter(|r| r.param("username") == Some("manual"));
                let mut polled: Vec<_> = requests
                    .iter()
                    .filter(|r| r.endpoint() == "auth_status")
                    .map(|r| r.param("txid"))
                    .collect();
                polled.sort_unstable();
                polled.dedup();
                // Each transaction that began is waited for by now.
                manual.count() > before && polled.len() >= auths.count()
            },
            PATIENCE,
        );
        assert!(asked, "no push: {:?}", self.log());
        self.halves()
    }

    /// The two processes of the one login that runs.
    pub fn halves(&self) -> (i32, i32) {
        let missing = || panic!("no login with two processes: {:?}", self.processes());
        self.find_halves().unwrap_or_else(missing)
    }

    /// The same, if there are two.
    pub fn find_halves(&self) -> Option<(i32, i32)> {
        let programs = ["login_duo", "plain", "pam-duo-helper"];
        let logins: Vec<i32> = self
            .processes()
            .into_iter()
            .filter(|(_, name)| programs.contains(&name.as_str()))
            .map(|(pid, _)| pid)
            .collect();
        logins.iter().find_map(|child| {
            let parent = process::stat(*child, 4).parse().ok();
            let parent = parent.filter(|parent| logins.contains(parent))?;
            Some((parent, *child))
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // Its standard input closed, `cat` ends; the mounts go with the last process.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
