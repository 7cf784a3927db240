//! Control groups for single threads.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

/// One of them, gone with the test.
pub struct Group(PathBuf);

impl Group {
    /// In a hierarchy that lets single threads be moved from where `process` is.
    pub fn beside(process: Pid) -> Group {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
        let parent = groups.lines().find_map(place).expect("a control group");
        let group = Group(parent.join(format!("login_duo-test-{process}")));
        fs::create_dir(&group.0).unwrap();
        if group.0.join("cgroup.type").exists() {
            fs::write(group.0.join("cgroup.type"), "threaded").unwrap();
        }
        group
    }

    pub fn take(&self, thread: Pid) {
        let old = self.0.join("tasks");
        let file = if old.exists() {
            old
        } else {
            self.0.join("cgroup.threads")
        };
        fs::write(file, thread.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where a line of `/proc/PID/cgroup` leads, if threads can be moved there:
/// the freezer of old, or the one hierarchy of today.
fn place(line: &str) -> Option<PathBuf> {
    let (id, rest) = line.split_once(':')?;
    let (kinds, path) = rest.split_once(':')?;
    let mounts: &[&str] = match (id, kinds) {
        (_, "freezer") => &["/sys/fs/cgroup/freezer"],
        ("0", "") => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
        _ => &[],
    };
    mounts
        .iter()
        .map(|mount| Path::new(mount).join(path.trim_start_matches('/')))
        .find(|place| place.join("cgroup.procs").exists())
}

/// Whether there are control groups that we may add to.
pub fn may_make_groups() -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(parent) = groups.lines().find_map(place) else {
        return false;
    };
    let trial = parent.join(format!("login_duo-trial-{}", std::process::id()));
    fs::create_dir(&trial).is_ok() && fs::remove_dir(&trial).is_ok()
}
