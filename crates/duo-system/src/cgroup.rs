//! Leaving the control groups that the caller may control. Whoever runs sudo from a
//! control group of their own can freeze it, or starve it of processor time and memory,
//! and a frozen process sees no delay at all; under `failmode = safe` that would look
//! like a Duo that is down. So the helper moves itself to the root of each hierarchy
//! while it is root (docs/security.md, *Causes removed*).

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use duo_policy::error::Error;

/// Controllers of version 1 that can stop or slow a process. The other hierarchies of
/// version 1, such as systemd's own, are left as they are.
const CONTROLLERS: [&str; 6] = ["freezer", "cpu", "cpuset", "memory", "blkio", "pids"];

/// A hierarchy of control groups, as far as it is mounted here.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Where it is mounted.
    root: PathBuf,
    /// The control group of this process, below the root. `None` if it is not below what
    /// is mounted, so that nobody here can look at it.
    own: Option<PathBuf>,
}

/// Moves this process to the root of each hierarchy, as it is mounted, which must be
/// root's alone. Where the kernel refuses that (some containers), the control group that
/// this process is in must be root's alone.
///
/// # Errors
/// [`Error::Fault`] if someone else than root may still control this process.
/// `failmode = safe` must not open then.
pub fn leave() -> Result<(), Error> {
    let unread =
        |error: io::Error| Error::fault("find the control groups", crate::system_words(&error));
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(unread)?;
    let groups = fs::read_to_string("/proc/self/cgroup").map_err(unread)?;
    for hierarchy in hierarchies(&mounts, &groups) {
        let is_out = hierarchy.own.as_deref() == Some(Path::new(""))
            || fs::write(hierarchy.root.join("cgroup.procs"), "0").is_ok();
        let another = match is_out {
            // What a container has mounted as the root may be a user's own group.
            true => anothers(hierarchy.root),
            false => hierarchy.controlled_by_another(),
        };
        if let Some(path) = another {
            return Err(Error::Fault(format!(
                "no control group that is root's alone: '{}' is not",
                path.display()
            )));
        }
    }
    Ok(())
}

impl Hierarchy {
    /// The first control of this process's group, or of one above it, that someone else
    /// than root may use; the root if the group cannot be looked at.
    fn controlled_by_another(&self) -> Option<PathBuf> {
        let Some(own) = &self.own else {
            return Some(self.root.clone());
        };
        let mut groups: Vec<PathBuf> = own
            .ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .map(|part| self.root.join(part))
            .collect();
        groups.push(self.root.clone());
        groups.into_iter().find_map(anothers)
    }
}

/// The group itself, or the file in it, that someone else than root may change; the group
/// if it cannot be looked at.
fn anothers(group: PathBuf) -> Option<PathBuf> {
    let is_roots = |status: io::Result<Metadata>| {
        status.is_ok_and(|status| status.uid() == 0 && status.mode() & 0o022 == 0)
    };
    let Some(entries) = fs::read_dir(&group)
        .ok()
        .filter(|_| is_roots(fs::metadata(&group)))
    else {
        return Some(group);
    };
    for entry in entries {
        let Ok(entry) = entry else {
            return Some(group);
        };
        // A folder in it is another control group, and everybody may ask older kernels to
        // be told of events.
        let controls = entry.file_type().is_ok_and(|kind| !kind.is_dir())
            && entry.file_name() != "cgroup.event_control";
        if controls && !is_roots(entry.metadata()) {
            return Some(entry.path());
        }
    }
    None
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
        let mount = match (is_second_version, stops) {
            (true, _) => mounted(mounts, "cgroup2", None),
            (false, Some(name)) => mounted(mounts, "cgroup", Some(name)),
            (false, None) => None,
        };
        if let Some((mounted_group, root)) = mount {
            let own = Path::new(own).strip_prefix(mounted_group).ok();
            // `..` leads out of the control group namespace.
            let own = own.filter(|own| !own.components().any(|part| part == Component::ParentDir));
            let own = own.map(Path::to_owned);
            found.push(Hierarchy { root, own });
        }
    }
    found
}

/// Which control group of a file system of this type, with this option, is mounted, and
/// where.
fn mounted<'a>(mounts: &'a str, kind: &str, option: Option<&str>) -> Option<(&'a Path, PathBuf)> {
    mounts.lines().find_map(|line| {
        // proc_pid_mountinfo(5): the fourth field is what is mounted, the fifth where; after
        // ` - ` come the type, the source and the options of the file system.
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_kind = after.next() == Some(kind);
        let mut options = after.nth(1).unwrap_or_default().split(',');
        let fits = is_kind && option.is_none_or(|name| options.any(|option| option == name));
        let mut fields = before.split(' ').skip(3);
        let (what, place) = (fields.next()?, fields.next()?);
        fits.then(|| (Path::new(what), PathBuf::from(place)))
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
            34 30 0:30 /box /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
            35 30 0:31 /box /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let groups = "\
            6:pids:/other\n\
            5:freezer:/box/mine:with:colons\n\
            4:cpu,cpuacct:/\n\
            2:net_cls:/x\n\
            1:name=systemd:/user.slice\n\
            0::/user.slice/a\n";
        let hierarchy = |root: &str, own: Option<&str>| Hierarchy {
            root: root.into(),
            own: own.map(PathBuf::from),
        };
        assert_eq!(
            hierarchies(mounts, groups),
            [
                hierarchy("/sys/fs/cgroup/pids", None),
                hierarchy("/sys/fs/cgroup/freezer", Some("mine:with:colons")),
                hierarchy("/sys/fs/cgroup/cpu,cpuacct", Some("")),
                hierarchy("/sys/fs/cgroup/unified", Some("user.slice/a")),
            ]
        );
        assert_eq!(hierarchies("", groups), []);
        let outside = hierarchies(mounts, "0::/../x\n");
        assert_eq!(outside, [hierarchy("/sys/fs/cgroup/unified", None)]);
        assert!(outside[0].controlled_by_another().is_some());
    }

    #[test]
    fn a_group_of_another_user_or_above_it_is_not_roots_alone() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("a/b");
        fs::create_dir_all(&own).unwrap();
        let hierarchy = Hierarchy {
            root: root.path().to_owned(),
            own: Some("a/b".into()),
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
