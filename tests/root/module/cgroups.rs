//! docs/security.md, attacker U with a control group of their own in front of sudo and
//! su: a frozen process sees no delay, and a starved one takes its own slowness for
//! Duo's. Version 2, and version 1 where it is mounted.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use fake_duo::{Endpoint, Fault, Stage, Times};

use crate::codes;
use crate::machine::{PASSWORD, PamWorld};
use crate::support::{Ended, Raises, ended, run_with, start};

/// A control group of the user's own in one hierarchy; gone with this.
struct Group(PathBuf);

impl Group {
    /// Below `root`, where a hierarchy is mounted.
    fn new(root: &Path, world: &PamWorld, user: &str) -> Group {
        static GROUPS: AtomicU32 = AtomicU32::new(0);
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("login_duo-test-{}-{number}", Self::run());
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        let group = Group(path);
        // cpuset begins empty, and takes nobody so.
        for name in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(text) = fs::read_to_string(root.join(name)) {
                let _ = fs::write(group.0.join(name), text.trim());
            }
        }
        group.give_to(world.uid(user));
        group
    }

    /// One number for each run: this process is 2 in each of them.
    fn run() -> u128 {
        static RUN: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
        *RUN.get_or_init(|| {
            let time = std::time::UNIX_EPOCH.elapsed();
            time.map_or(0, |time| time.as_nanos())
        })
    }

    fn give_to(&self, uid: u32) {
        chown(&self.0, Some(uid), None).unwrap();
        for entry in fs::read_dir(&self.0).unwrap().flatten() {
            chown(entry.path(), Some(uid), None).unwrap();
        }
    }

    /// Writes a control, as the user could; whether there is such a one.
    fn set(&self, name: &str, value: &str) -> bool {
        fs::OpenOptions::new()
            .write(true)
            .open(self.0.join(name))
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .is_ok()
    }

    fn freeze(&self) -> bool {
        self.set("cgroup.freeze", "1") || self.set("freezer.state", "FROZEN")
    }

    fn thaw(&self) {
        let _ = self.set("cgroup.freeze", "0") || self.set("freezer.state", "THAWED");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.thaw();
        for _ in 0..200 {
            // Whoever is left moves up.
            let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            let above = self.0.parent().unwrap().join("cgroup.procs");
            for pid in members.lines() {
                let _ = fs::write(&above, pid);
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Where hierarchies are mounted that can stop or starve a process.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let controllers = ["freezer", "cpu", "cpuset", "memory", "blkio", "pids"];
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (place, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            let mut options = options.split(',');
            let wanted = kind == "cgroup2"
                || kind == "cgroup" && options.any(|one| controllers.contains(&one));
            wanted.then(|| PathBuf::from(place))
        })
        .collect()
}

/// Puts a command into these groups: root does it, as a session of the user's would be.
fn in_groups(world: &PamWorld, groups: &[Group], user: &str, words: &[&str]) -> Command {
    let mut script = String::new();
    for group in groups {
        script += &format!("echo $$ >'{}/cgroup.procs' || exit 99; ", group.0.display());
    }
    script += "exec \"$@\"";
    let plain = world.as_user(user);
    let mut command = world.inside();
    command.args(["sh", "-c", &script, "sh"]);
    // After nsenter's own argument and `--`.
    command.args(plain.get_args().skip(2)).args(words);
    command
}

fn su(world: &PamWorld, groups: &[Group], user: &str, program: &str) -> Command {
    let words: &[&str] = match program {
        "sudo" => &["sudo", "-S", "id"],
        _ => &["su", "-c", "id"],
    };
    in_groups(world, groups, user, words)
}

fn type_in(child: &mut Child, text: &str) {
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
}

fn is_root(ended: &Ended) -> bool {
    ended.stdout().contains("uid=0(root)")
}

fn groups_everywhere(world: &PamWorld, user: &str) -> Vec<Group> {
    let all = hierarchies();
    all.iter()
        .map(|root| Group::new(root, world, user))
        .collect()
}

/// The control groups of a process that are the test's.
fn groups_of(pid: i32) -> Vec<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = groups
        .lines()
        .filter(|line| line.contains("login_duo-test-"));
    own.map(str::to_owned).collect()
}

pub fn the_helper_leaves_the_callers_control_groups() {
    for program in ["sudo", "su"] {
        let world = PamWorld::new("failmode = safe");
        let groups = groups_everywhere(&world, "manual");
        assert!(!groups.is_empty(), "no control groups here");
        let mut child = start(su(&world, &groups, "manual", program));
        type_in(&mut child, &format!("{PASSWORD}\n1\n"));
        let (parent, asks) = world.wait_for_helper();
        let host = i32::try_from(child.id()).unwrap();
        assert_eq!(groups_of(host).len(), groups.len(), "{:?}", groups_of(host));
        for pid in [parent, asks] {
            assert_eq!(groups_of(pid), [""; 0], "{program}");
        }
        assert!(world.sandbox.duo.approve("manual"));
        assert!(is_root(&ended(child)));
    }
}

/// The host stands still; the login goes on, and its line is in the log.
pub fn a_frozen_host_does_not_hold_the_helper() {
    for program in ["sudo", "su"] {
        let world = PamWorld::new("failmode = safe");
        let groups = groups_everywhere(&world, "manual");
        let mut child = start(su(&world, &groups, "manual", program));
        type_in(&mut child, &format!("{PASSWORD}\n1\n"));
        world.wait_for_helper();
        let frozen = groups.iter().filter(|group| group.freeze()).count();
        assert!(frozen > 0, "nothing freezes here");
        assert!(world.sandbox.duo.approve("manual"));
        world.wait_for_log(|text| text.starts_with("Successful Duo login for 'manual'"));
        assert!(child.try_wait().unwrap().is_none(), "{program} is frozen");
        groups.iter().for_each(Group::thaw);
        assert!(is_root(&ended(child)));
    }
}

/// Tries to become root with this input, so often, while the caller's groups are frozen and
/// thawed all the time, at every moment of a start.
fn is_out_while_frozen_again_and_again(world: &PamWorld, tries: usize, typed: &str) {
    let groups = groups_everywhere(world, "push");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pause = 100;
            while !over.load(Ordering::Relaxed) {
                groups.iter().for_each(|group| {
                    group.freeze();
                });
                std::thread::sleep(std::time::Duration::from_micros(pause * 3));
                groups.iter().for_each(Group::thaw);
                std::thread::sleep(std::time::Duration::from_micros(pause));
                pause = pause * 7 % 4_001;
            }
        });
        let _over = Raises(&over);
        for number in 0..tries {
            let program = if number % 2 == 0 { "sudo" } else { "su" };
            let command = su(world, &groups, "push", program);
            let ended = run_with(command, typed.as_bytes());
            assert!(!is_root(&ended), "{program}: {ended:?}");
        }
    });
    world.wait_until_empty();
    let lines = world.module_lines();
    let opened = lines.iter().any(|line| line.text.contains("Failsafe"));
    assert!(!opened && !lines.is_empty(), "{lines:#?}");
}

pub fn freezing_again_and_again_lets_nobody_in() {
    let world = PamWorld::new("failmode = safe\nprompts = 1");
    let typed = format!("{PASSWORD}\n000001\n").repeat(3);
    is_out_while_frozen_again_and_again(&world, 12, &typed);
}

pub fn freezing_again_and_again_opens_nothing_without_a_code() {
    let world = PamWorld::new("failmode = codes");
    let down = Fault::Bare { status: 503 };
    let duo = &world.sandbox.duo;
    duo.fault(Endpoint::Preauth, down, Times::Always);
    let code = codes::create(&world, "push", 1).remove(0);
    let typed = format!("{PASSWORD}\n0000-0000-0000-0000\n");
    is_out_while_frozen_again_and_again(&world, 3, &typed);
    assert_eq!(codes::left(&world, "push"), 1);
    // Thawed, and in the same kind of group, the code lets in.
    let groups = groups_everywhere(&world, "push");
    let command = su(&world, &groups, "push", "sudo");
    let ended = run_with(command, format!("{PASSWORD}\n{code}\n").as_bytes());
    assert!(is_root(&ended), "{ended:?}");
}

/// Starved of processor time, memory and processes.
pub fn a_starved_host_gets_the_verdict_or_none() {
    let controls: [&[(&str, &str)]; 4] = [
        // A twentieth of a processor: version 2, then 1.
        &[("cpu.max", "5000 100000"), ("cpu.cfs_quota_us", "5000")],
        &[("memory.high", "1M"), ("memory.limit_in_bytes", "9M")],
        &[("memory.max", "4M"), ("memory.limit_in_bytes", "3M")],
        &[("pids.max", "2")],
    ];
    crate::support::side_by_side(&controls, |controls| {
        let world = PamWorld::new("failmode = safe\nprompts = 1");
        let groups = groups_everywhere(&world, "push");
        let set = |(name, value): &(&str, &str)| groups.iter().any(|group| group.set(name, value));
        if !controls.iter().any(set) {
            println!("not here: {controls:?}");
            return;
        }
        for (typed, may) in [("000001", false), ("123456", true)] {
            let command = su(&world, &groups, "push", "su");
            let ended = run_with(command, format!("{PASSWORD}\n{typed}\n").as_bytes());
            assert!(may || !is_root(&ended), "{controls:?} {ended:?}");
            world.wait_until_empty();
            for line in world.module_lines() {
                assert!(!line.text.contains("Failsafe"), "{controls:?} {line:?}");
            }
        }
    });
}

/// In some containers no group can be left. Then `safe` opens only where the group is
/// root's alone.
pub fn where_the_group_cannot_be_left_safe_opens_only_for_roots_groups() {
    for (owner, opens) in [("push", false), ("root", true)] {
        let world = PamWorld::new("failmode = safe");
        let ill = Fault::Bare { status: 503 };
        world.sandbox.duo.fault(Endpoint::Any, ill, Times::Always);
        let groups = groups_everywhere(&world, owner);
        for root in hierarchies() {
            make_unwritable(&world, &root, &root);
        }
        let ended = down(&world, &groups);
        let lines = world.module_lines();
        assert_eq!(is_root(&ended), opens, "{owner}: {ended:?} {lines:#?}");
    }
}

/// Root's group, which cannot be left, and which somebody freezes: the helper takes its
/// own silence for nobody else's.
pub fn a_frozen_helper_does_not_take_its_own_silence_for_duos() {
    let world = PamWorld::new("failmode = safe\nhttps_timeout = 1");
    let silent = Fault::Stall(Stage::BeforeHeaders);
    world
        .sandbox
        .duo
        .fault(Endpoint::Preauth, silent, Times::Always);
    let groups = groups_everywhere(&world, "root");
    for root in hierarchies() {
        make_unwritable(&world, &root, &root);
    }
    let mut child = start(command_down(&world, &groups));
    type_in(&mut child, &format!("{PASSWORD}\n1\n"));
    world.wait_for_preauth();
    assert!(groups.iter().filter(|group| group.freeze()).count() > 0);
    // Longer than a process that is awake is ever kept from running.
    std::thread::sleep(std::time::Duration::from_secs(4));
    groups.iter().for_each(Group::thaw);
    let ended = ended(child);
    assert!(!is_root(&ended), "{ended:?}");
    let line = world.final_line();
    assert!(line.contains("this machine stood still"), "{line}");
}

/// The same where the mount does not begin at the hierarchy's root, as in a container
/// without a namespace for control groups: there the mounted part is the user's own.
pub fn nor_where_only_a_part_of_the_hierarchy_is_mounted() {
    let cases = [
        // A group below the mounted one, which is root's, and the mounted one itself.
        ("root", "ro"),
        ("push", "ro"),
        ("push", "rw"),
    ];
    for (owner, mode) in cases {
        let world = PamWorld::new("failmode = safe");
        let ill = Fault::Bare { status: 503 };
        world.sandbox.duo.fault(Endpoint::Any, ill, Times::Always);
        let groups = groups_everywhere(&world, owner);
        for (root, group) in hierarchies().iter().zip(&groups) {
            show_a_part(&world, &group.0, root, mode);
        }
        // The groups are entered by their paths outside of the machine.
        let ended = down(&world, &groups);
        let lines = world.module_lines();
        assert_eq!(
            is_root(&ended),
            owner == "root",
            "{owner} {mode}: {ended:?} {lines:#?}"
        );
    }
}

/// Shows `what` alone at `place` on this machine, where the hierarchy was.
fn show_a_part(world: &PamWorld, what: &Path, place: &Path, mode: &str) {
    let script = "mkdir -p /run/part && mount --bind \"$1\" /run/part && umount -l \"$2\" && \
                  mount --bind /run/part \"$2\" && umount /run/part && \
                  mount -o \"remount,bind,$3\" \"$2\"";
    let mut mount = world.inside();
    mount
        .args(["sh", "-c", script, "sh"])
        .arg(what)
        .arg(place)
        .arg(mode);
    crate::support::run(mount).succeeds();
}

/// Shows `what` at `place`, read-only, on this machine.
fn make_unwritable(world: &PamWorld, what: &Path, place: &Path) {
    let script = "mount --bind \"$1\" \"$2\" && mount -o remount,bind,ro \"$2\"";
    let mut mount = world.inside();
    mount.args(["sh", "-c", script, "sh"]).arg(what).arg(place);
    assert_eq!(crate::support::run(mount).code(), 0);
}

/// su while Duo is down, from these groups, entered before their mounts are hidden.
fn down(world: &PamWorld, groups: &[Group]) -> Ended {
    let command = command_down(world, groups);
    run_with(command, format!("{PASSWORD}\n1\n").as_bytes())
}

fn command_down(world: &PamWorld, groups: &[Group]) -> Command {
    // Outside of the machine's mounts, which are read-only by now.
    let mut script = String::new();
    for group in groups {
        script += &format!("echo $$ >'{}/cgroup.procs' || exit 99; ", group.0.display());
    }
    script += "exec \"$@\"";
    let plain = world.as_user("push");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(plain.get_program());
    command.args(plain.get_args()).args(["su", "-c", "id"]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command
}
