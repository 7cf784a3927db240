//! Leaving the control groups that the caller may control. Whoever runs sudo from a
//! control group of their own can freeze it, or starve it of processor time and memory,
//! and a frozen process sees no delay at all; under `failmode = safe` that would look
//! like a Duo that is down. So the helper moves itself to the root of each hierarchy
//! while it is root (docs/security.md, *Causes removed*).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use duo_policy::error::Error;

/// Controllers of version 1 that can stop or slow a process. The other hierarchies of
/// version 1, such as systemd's own, are left as they are.
const CONTROLLERS: [&str; 6] = ["freezer", "cpu", "cpuset", "memory", "blkio", "pids"];

/// The files of a control group that decide what becomes of its processes.
const CONTROLS: [&str; 9] = [
    "",
    "cgroup.procs",
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.subtree_control",
    "cpu.max",
    "memory.high",
    "memory.max",
    "freezer.state",
];

/// A hierarchy of control groups.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Where it is mounted.
    root: PathBuf,
    /// The control group of this process, below the root.
    own: PathBuf,
}

/// Moves this process to the root of each hierarchy. Where the kernel refuses that (some
/// containers), the control group that this process is in must be root's alone.
///
/// # Errors
/// [`Error::Fault`] if someone else than root may still control this process.
/// `failmode = safe` must not open then.
pub fn leave() -> Result<(), Error> {
    let unread = |error: std::io::Error| {
        Error::fault("find the control groups", crate::system_words(&error))
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(unread)?;
    let groups = fs::read_to_string("/proc/self/cgroup").map_err(unread)?;
    for hierarchy in hierarchies(&mounts, &groups) {
        if hierarchy.own.as_os_str().is_empty()
            || fs::write(hierarchy.root.join("cgroup.procs"), "0").is_ok()
        {
            continue;
        }
        if let Some(path) = hierarchy.controlled_by_another() {
            return Err(Error::Fault(format!(
                "the control group '{}' is not root's alone, and could not be left",
                path.display()
            )));
        }
    }
    Ok(())
}

impl Hierarchy {
    /// The first control of this process's group, or of one above it, that someone else
    /// than root may use.
    fn controlled_by_another(&self) -> Option<PathBuf> {
        let mut groups: Vec<PathBuf> = self
            .own
            .ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .map(|part| self.root.join(part))
            .collect();
        groups.push(self.root.clone());
        let controls = groups
            .iter()
            .flat_map(|group| CONTROLS.iter().map(|name| group.join(name)));
        controls.into_iter().find(|path| !is_roots_alone(path))
    }
}

/// Whether only root may change this file. One that is not there controls nothing.
fn is_roots_alone(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(status) => status.uid() == 0 && status.mode() & 0o022 == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The hierarchies that are mounted and that can stop or slow this process, from the
/// texts of /proc/self/mountinfo and /proc/self/cgroup.
fn hierarchies(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in groups.lines() {
        // `hierarchy-ID:controller-list:cgroup-path`, cgroups(7).
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(own)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let is_second_version = id == "0" && controllers.is_empty();
        let stops = controllers
            .split(',')
            .find(|name| CONTROLLERS.contains(name));
        let root = match (is_second_version, stops) {
            (true, _) => mounted(mounts, "cgroup2", None),
            (false, Some(name)) => mounted(mounts, "cgroup", Some(name)),
            (false, None) => None,
        };
        if let Some(root) = root {
            let own = PathBuf::from(own.trim_start_matches('/'));
            found.push(Hierarchy { root, own });
        }
    }
    found
}

/// Where a file system of this type, with this option, is mounted.
fn mounted(mounts: &str, kind: &str, option: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        // proc_pid_mountinfo(5): the mount point is the fifth field; after ` - ` come the
        // type, the source and the options of the file system.
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_kind = after.next() == Some(kind);
        let mut options = after.nth(1).unwrap_or_default().split(',');
        let fits = is_kind && option.is_none_or(|name| options.any(|option| option == name));
        fits.then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hierarchy_that_can_stop_a_process_is_found() {
        let mounts = "\
            30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
            31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
            32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            34 30 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n";
        let groups = "\
            5:freezer:/mine:with:colons\n\
            4:cpu,cpuacct:/\n\
            2:net_cls:/x\n\
            1:name=systemd:/user.slice\n\
            0::/user.slice/a\n";
        let hierarchy = |root: &str, own: &str| Hierarchy {
            root: root.into(),
            own: own.into(),
        };
        assert_eq!(
            hierarchies(mounts, groups),
            [
                hierarchy("/sys/fs/cgroup/freezer", "mine:with:colons"),
                hierarchy("/sys/fs/cgroup/cpu,cpuacct", ""),
                hierarchy("/sys/fs/cgroup/unified", "user.slice/a"),
            ]
        );
        assert_eq!(hierarchies("", groups), []);
    }

    #[test]
    fn a_group_of_another_user_or_above_it_is_not_roots_alone() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("a/b");
        fs::create_dir_all(&own).unwrap();
        let hierarchy = Hierarchy {
            root: root.path().to_owned(),
            own: "a/b".into(),
        };
        let is_root = fs::metadata(&own).unwrap().uid() == 0;
        assert_eq!(hierarchy.controlled_by_another().is_none(), is_root);
        let freeze = root.path().join("a/cgroup.freeze");
        fs::write(&freeze, "0").unwrap();
        let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&freeze, writable).unwrap();
        let found = hierarchy.controlled_by_another().unwrap();
        assert!(!is_root || found == freeze, "{}", found.display());
    }
}
