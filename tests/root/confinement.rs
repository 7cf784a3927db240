//! Attack 11, and what the two processes are while they wait: nothing to steal
//! from outside, and nothing left to misuse inside.

use std::fs;
use std::process::Command;

use fake_duo::FakeDuo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::process::status;
use crate::machine::{INSTALLS, Install, World};
use crate::support::{ended, run, start};

const PASSCODE: &str = "918273645546372819";

fn waiting(world: &World, mut login: Command) -> (std::process::Child, i32, i32) {
    login.args(["echo", "in"]);
    let child = start(login);
    let (parent, sandboxed) = world.wait_for_push();
    (child, parent, sandboxed)
}

pub fn the_child_has_nothing_and_the_parent_only_what_the_user_has() {
    for install in [Install::Setuid, Install::Root] {
        let world = World::new();
        let (child, parent, sandboxed) = waiting(&world, world.login(install, "manual"));
        let duo = world.uid("duo").to_string();
        assert_eq!(status(sandboxed, "Uid"), [&*duo; 4].join(" "));
        assert_eq!(status(sandboxed, "Gid"), [&*duo; 4].join(" "));
        assert_eq!(status(sandboxed, "Groups"), duo);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(sandboxed, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(sandboxed, "NoNewPrivs"), "1");
        assert_eq!(status(parent, "NoNewPrivs"), "0");
        let cwd = fs::read_link(format!("/proc/{sandboxed}/cwd")).unwrap();
        assert_eq!(cwd.to_str(), Some("/"));
        let limits = fs::read_to_string(format!("/proc/{sandboxed}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core"));
        assert!(core.is_some_and(|line| line.split_whitespace().nth(4) == Some("0")));

        if install == Install::Setuid {
            let user = world.uid("manual").to_string();
            assert_eq!(status(parent, "Uid"), [&*user; 4].join(" "));
            assert_eq!(status(parent, "Gid"), [&*user; 4].join(" "));
            for set in ["CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(status(parent, set), "0000000000000000", "{set}");
            }
        }
        kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
        ended(child);
        world.wait_until_empty();
    }
}

pub fn the_child_keeps_no_descriptor_of_the_callers() {
    let world = World::new();
    let script = "exec 7</etc/passwd 9>/dev/null; exec \"$@\"";
    for install in INSTALLS {
        let login = world.login_through(install, "manual", &["sh", "-c", script, "sh"]);
        let (child, parent, sandboxed) = waiting(&world, login);
        let targets: Vec<String> = fs::read_dir(format!("/proc/{sandboxed}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .collect();
        let passwd = targets.iter().any(|target| target.ends_with("passwd"));
        assert!(!passwd, "{install:?}: {targets:?}");
        assert!(
            targets.len() <= 9,
            "0 to 2, two pipes, the watcher's, the log, Duo: {targets:?}"
        );
        kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
        ended(child);
        world.wait_until_empty();
    }
}

/// What a debugger would need: each fails for `who` on process `pid`.
fn cannot_trace(world: &World, who: &str, pid: i32) {
    let reads = format!(
        "ls /proc/{pid}/fd || readlink /proc/{pid}/exe || head -c 1 /proc/{pid}/environ \
         || exec 3<>/proc/{pid}/mem"
    );
    let attach = format!(
        "import ctypes, sys; libc = ctypes.CDLL(None); \
         sys.exit(0 if libc.ptrace(16, {pid}, 0, 0) == 0 else 1)"
    );
    let as_them = |words: &[&str]| {
        let mut command = match who {
            "duo" => {
                let id = world.uid("duo").to_string();
                let mut command = world.inside();
                command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
                command
            }
            who => world.as_user(who),
        };
        command.args(words);
        run(command)
    };
    let read = as_them(&["sh", "-c", &reads]);
    assert_ne!(read.code(), 0, "{who} reads {pid}: {read:?}");
    assert_eq!(read.stdout(), "", "{who} reads {pid}");
    let attached = as_them(&["/usr/bin/python3", "-c", &attach]);
    assert_ne!(attached.code(), 0, "{who} traces {pid}: {attached:?}");
}

pub fn nobody_can_trace_either_process() {
    let world = World::new();
    let (child, parent, sandboxed) = waiting(&world, world.login(Install::Setuid, "manual"));
    cannot_trace(&world, "manual", parent);
    cannot_trace(&world, "manual", sandboxed);
    cannot_trace(&world, "duo", sandboxed);
    kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
    ended(child);
}

pub fn another_child_of_the_same_user_cannot_be_read_by_a_child() {
    // Root's login: both its processes are out of reach for the other's uid.
    let world = World::new();
    let (child, parent, sandboxed) = waiting(&world, world.login(Install::Root, "manual"));
    cannot_trace(&world, "duo", sandboxed);
    cannot_trace(&world, "duo", parent);
    kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
    ended(child);
}

pub fn the_passcode_is_in_no_environment() {
    let world = World::with("accept_env_factor = yes\n", |_| {});
    for install in INSTALLS {
        let mut login = world.login(install, "manual");
        login.env("DUO_PASSCODE", "push1").env("MARK", "m");
        let (child, parent, sandboxed) = waiting(&world, login);
        for pid in [parent, sandboxed] {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
            let text = String::from_utf8_lossy(&environ);
            assert!(text.contains("MARK=m"), "{text:?}");
            assert!(!text.contains("DUO_PASSCODE=p"), "{text:?}");
        }
        kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
        ended(child);
        world.wait_until_empty();

        let mut login = world.login(install, "allow");
        login.env("DUO_PASSCODE", PASSCODE).env("MARK", "m");
        login.args(["tr '\\0' '\\n' </proc/$$/environ; env"]);
        let ended = run(login);
        assert_eq!(ended.stdout().matches("MARK=m").count(), 2, "{ended:?}");
        assert!(!ended.stdout().contains("DUO_PASSCODE"), "{ended:?}");
        assert!(!ended.stderr().contains(PASSCODE), "{ended:?}");
    }
    for line in world.log() {
        assert!(!line.text.contains(PASSCODE), "{line:?}");
    }
}

/// A kernel setting, put back when dropped.
struct Setting(&'static str, String);

impl Setting {
    fn set(path: &'static str, value: &str) -> Option<Setting> {
        let before = fs::read_to_string(path).ok()?;
        fs::write(path, value).ok()?;
        Some(Setting(path, before))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(self.0, &self.1);
    }
}

pub fn no_core_file_whatever_the_kernel_is_set_to() {
    for dumpable in ["0", "1", "2"] {
        let Some(_setting) = Setting::set("/proc/sys/fs/suid_dumpable", dumpable) else {
            eprintln!("fs.suid_dumpable cannot be set here: only its present value was tried");
            return;
        };
        for install in INSTALLS {
            let world = World::new();
            let through = [
                "sh",
                "-c",
                "ulimit -c unlimited; cd /dev/shm; exec \"$@\"",
                "sh",
            ];
            let mut login = world.login_through(install, "manual", &through);
            login.env("DUO_PASSCODE", PASSCODE);
            let (child, parent, sandboxed) = waiting(&world, login);
            if install == Install::Setuid {
                cannot_trace(&world, "manual", parent);
                cannot_trace(&world, "duo", sandboxed);
            }
            kill(Pid::from_raw(sandboxed), Signal::SIGABRT).unwrap();
            ended(child);
            world.wait_until_empty();

            let mut login = world.login_through(install, "manual", &through);
            login.env("DUO_PASSCODE", PASSCODE).args(["echo", "in"]);
            let child = start(login);
            let (parent, _) = world.wait_for_push();
            kill(Pid::from_raw(parent), Signal::SIGABRT).unwrap();
            let died = ended(child);
            assert!(!died.core_dumped(), "{install:?} {dumpable}");
            world.wait_until_empty();
            let mut search = world.inside();
            search.args([
                "sh",
                "-c",
                "ls /core* /dev/shm/core* /etc/duo/core* 2>/dev/null",
            ]);
            assert_eq!(run(search).stdout(), "", "{install:?} {dumpable}");
        }
    }
}

pub fn the_secret_key_is_nowhere_in_the_parent() {
    let world = World::new();
    let (child, parent, sandboxed) = waiting(&world, world.login(Install::Setuid, "manual"));
    assert!(
        memory_has(sandboxed, FakeDuo::SKEY),
        "the search finds nothing"
    );
    assert!(!memory_has(parent, FakeDuo::SKEY));
    kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
    ended(child);
}

/// Whether a process has that text in memory that it may write.
fn memory_has(pid: i32, text: &str) -> bool {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines()
        .filter(|line| line.contains(" rw"))
        .filter_map(|line| line.split_once(' ')?.0.split_once('-'))
        .any(|(from, to)| {
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let mut bytes = vec![0; usize::try_from(number(to) - number(from)).unwrap()];
            memory.read_exact_at(&mut bytes, number(from)).is_ok()
                && bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
        })
}
