//! A machine for one test: a mount namespace with accounts, a log and an
//! installed `login_duo` of its own, and the fake Duo service behind it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use fake_duo::FakeDuo;

use crate::support::{PATIENCE, Sandbox};

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

/// Accounts, named after what the service does with them.
const PEOPLE: [&str; 9] = [
    "push", "manual", "pushdeny", "allow", "deny", "enroll", "escapes", "phone", "slowpush",
];

/// A machine for one test.
pub struct World {
    pub sandbox: Sandbox,
    first_uid: u32,
    holder: Child,
    pushes: AtomicUsize,
    log: Arc<SystemLog>,
}

/// What syslog got.
#[derive(Default)]
struct SystemLog {
    lines: Mutex<Vec<Line>>,
    changed: Condvar,
}

/// One line of syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Facility and severity, as syslog packs them.
    pub priority: u32,
    pub pid: i32,
    pub text: String,
}

impl World {
    pub fn new() -> World {
        World::with("", |_| {})
    }

    /// With these lines in the configuration, and the accounts changed by `edit`.
    pub fn with(extra: &str, edit: impl Fn(&mut Vec<String>)) -> World {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let builder = FakeDuo::builder().user("root", fake_duo::Script::Push);
        let sandbox = Sandbox::with(builder);
        sandbox.configure(extra);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed) % 400;
        let first_uid = 100_000_000 + std::process::id() % 100_000 * 16_000 + number * 40;
        write_accounts(sandbox.path(), first_uid, edit);
        let log = listen(&sandbox.path().join("syslog"));

        let mut holder = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c"])
            .arg(include_str!("setup.sh"))
            .arg("setup")
            .arg(sandbox.path())
            .arg(env!("CARGO_BIN_EXE_login_duo"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n", "the namespace could not be set up");
        World {
            sandbox,
            first_uid,
            holder,
            pushes: AtomicUsize::new(0),
            log,
        }
    }

    /// The user id of an account.
    pub fn uid(&self, name: &str) -> u32 {
        match name {
            "root" => 0,
            "duo" => self.first_uid,
            _ => {
                let place = PEOPLE.iter().position(|person| *person == name);
                self.first_uid + 2 + u32::try_from(place.expect(name)).unwrap()
            }
        }
    }

    /// A command inside, as root, in an environment with nothing but PATH.
    pub fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("--")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin");
        command
    }

    /// A command inside, as this user.
    pub fn as_user(&self, name: &str) -> Command {
        let mut command = self.inside();
        let id = self.uid(name).to_string();
        if name == "root" {
            return command;
        }
        command.args(["setpriv", "--reuid", &id, "--regid", &id, "--init-groups"]);
        command
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
                let file = self.sandbox.path().join(format!("own-{name}.conf"));
                fs::copy(self.sandbox.config(), &file).unwrap();
                chown(&file, Some(self.uid(name)), None).unwrap();
                command
                    .arg("/srv/bin/plain")
                    .arg("-c")
                    .arg(format!("/etc/duo/own-{name}.conf"))
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
        self.catch_up();
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits until a line of the log fits.
    pub fn wait_for_log(&self, what: impl Fn(&str) -> bool) -> Line {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| what(&line.text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such line in the log: {lines:#?}");
            lines = self.log.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits until the log has all that was sent so far: a packet of our own
    /// comes behind it.
    fn catch_up(&self) {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("mark {};", MARKS.fetch_add(1, Ordering::Relaxed));
        let sender = UnixDatagram::unbound().unwrap();
        sender
            .send_to(mark.as_bytes(), self.sandbox.path().join("syslog"))
            .unwrap();
        self.wait_for_log(|text| text.ends_with(&mark));
        let mut lines = self.log.lines.lock().unwrap();
        lines.retain(|line| !line.text.ends_with(&mark));
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.catch_up();
        self.log.lines.lock().unwrap().clear();
    }

    /// Waits until nothing of the login is left, then returns the one final
    /// line that it wrote.
    pub fn final_line(&self) -> String {
        self.wait_for_log(is_final);
        self.wait_until_empty();
        let finals: Vec<Line> = self
            .log()
            .into_iter()
            .filter(|line| is_final(&line.text))
            .collect();
        assert_eq!(finals.len(), 1, "one final line: {finals:#?}");
        finals[0].text.clone()
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
        let logins: Vec<i32> = self
            .processes()
            .into_iter()
            .filter(|(_, name)| name == "login_duo" || name == "plain")
            .map(|(pid, _)| pid)
            .collect();
        for child in &logins {
            let parent = parent_of(*child);
            if logins.contains(&parent) {
                return (parent, *child);
            }
        }
        panic!("no login with two processes: {:?}", self.processes());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        // Its standard input closed, `cat` ends; the mounts go with the last process.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn is_final(text: &str) -> bool {
    text.contains(" Duo login for '") || text.contains(" bypassed Duo 2FA ")
}

fn parent_of(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .nth(1)
        .and_then(|parent| parent.parse().ok())
        .unwrap_or_default()
}

/// Waits until that is so; else says what was wrong.
pub fn wait_until(so: impl Fn() -> bool, wrong: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "{}", wrong());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn write_accounts(folder: &Path, first: u32, edit: impl Fn(&mut Vec<String>)) {
    let mut passwd = vec![
        "root:*:0:0:root:/srv/home/root:/bin/bash".to_owned(),
        format!("duo:*:{first}:{first}::/nonexistent:/usr/sbin/nologin"),
        format!("sshd:*:{0}:{0}::/run/sshd:/usr/sbin/nologin", first + 1),
    ];
    let mut groups = vec![
        "root:x:0:".to_owned(),
        "tty:x:5:".to_owned(),
        format!("duo:x:{first}:"),
        format!("sshd:x:{}:", first + 1),
        format!("staff:x:{}:push,manual", first + 30),
        format!("night-shift:x:{}:push", first + 31),
    ];
    for (id, name) in (first + 2..).zip(PEOPLE) {
        passwd.push(format!(
            "{name}:*:{id}:{id}:{name}:/srv/home/{name}:/bin/bash"
        ));
        groups.push(format!("{name}:x:{id}:"));
    }
    edit(&mut passwd);
    let switch = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n";
    fs::write(folder.join("passwd"), passwd.join("\n") + "\n").unwrap();
    fs::write(folder.join("group"), groups.join("\n") + "\n").unwrap();
    fs::write(folder.join("nsswitch.conf"), switch).unwrap();
}

/// A syslog: a socket, and whoever reads it.
fn listen(path: &Path) -> Arc<SystemLog> {
    let socket = UnixDatagram::bind(path).expect("a syslog socket");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    let log = Arc::new(SystemLog::default());
    let writes = log.clone();
    std::thread::spawn(move || {
        let mut packet = vec![0; 64 * 1024];
        while let Ok(length) = socket.recv(&mut packet) {
            let line = parse(&String::from_utf8_lossy(&packet[..length]));
            writes.lines.lock().unwrap().push(line);
            writes.changed.notify_all();
        }
    });
    log
}

/// `<N>Nov 21 18:00:00 login_duo[PID]: text`
fn parse(packet: &str) -> Line {
    let packet = packet.trim_end_matches(['\0', '\n']);
    let fields = packet.strip_prefix('<').and_then(|rest| {
        let (priority, rest) = rest.split_once('>')?;
        let (head, text) = rest.split_once("]: ")?;
        let (head, pid) = head.rsplit_once('[')?;
        head.ends_with(" login_duo").then_some(())?;
        Some(Line {
            priority: priority.parse().ok()?,
            pid: pid.parse().ok()?,
            text: text.to_owned(),
        })
    });
    // sshd logs here too; it is no line of ours.
    fields.unwrap_or_else(|| Line {
        priority: 0,
        pid: 0,
        text: format!("(not login_duo) {packet}"),
    })
}

/// A headless run, over.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit status, or 128 and the signal, as a shell has it.
    pub fn code(&self) -> i32 {
        let signal = self.status.signal().map(|signal| 128 + signal);
        self.status.code().or(signal).unwrap_or_default()
    }
}

/// Starts a command on pipes.
pub fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

/// Waits for its end.
pub fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().expect("the command ends");
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command on pipes to its end.
pub fn run(command: Command) -> Ended {
    ended(start(command))
}

/// Runs a command on pipes to its end, with this as its input.
pub fn run_with(command: Command, input: &[u8]) -> std::process::Output {
    let mut child = start(command);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}
