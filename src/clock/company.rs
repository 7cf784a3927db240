//! Whether our threads are still in one another's company: a caller whose
//! control groups we were born into may move a single thread into another one,
//! and freeze or starve it there while the rest of us sees nothing.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use crate::error::system_words;

/// What speaks against all threads of this process being in the same control
/// groups, if anything does.
pub(super) fn apart() -> Option<String> {
    apart_in(Path::new("/proc/self/task"))
}

fn apart_in(tasks: &Path) -> Option<String> {
    match same_groups(tasks) {
        Ok(true) => None,
        Ok(false) => Some("a thread was moved to another control group".to_owned()),
        Err(error) => {
            let why = system_words(&error);
            Some(format!(
                "couldn't read this process's control groups: {why}"
            ))
        }
    }
}

/// Whether each folder here holds the same `cgroup`.
///
/// # Errors
/// If what is there cannot be read.
fn same_groups(tasks: &Path) -> io::Result<bool> {
    let mut first = None;
    // Where there is no /proc, or a kernel without control groups, there is
    // nothing to be told apart by; no caller can take either away.
    for task in unless_missing(fs::read_dir(tasks))?.into_iter().flatten() {
        let task = task?.path();
        let groups = unless_missing(fs::read(task.join("cgroup")))?;
        // A thread may end while we look. In hierarchies of the first version it
        // is then said to be at the root, wherever it was. Read second: who ends
        // never lives again.
        let stat = unless_missing(fs::read(task.join("stat")))?;
        if let (Some(groups), Some(stat)) = (groups, stat)
            && !ends(&stat)
            && *first.get_or_insert_with(|| groups.clone()) != groups
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether this is the `stat` of a thread that is about to be gone.
fn ends(stat: &[u8]) -> bool {
    // The kernel's PF_EXITING, in the seventh field after the name, which may
    // hold anything, brackets too.
    const EXITING: u32 = 4;
    let after_name = stat.rsplit(|byte| *byte == b')').next();
    let flags = after_name
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .and_then(|rest| rest.split_whitespace().nth(6)?.parse::<u32>().ok());
    flags.is_some_and(|flags| flags & EXITING != 0)
}

fn unless_missing<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: u32 = 0x0040_0140;

    /// The folder of a process whose threads are in these groups; `None` is one
    /// that is gone while we look.
    fn process(threads: &[Option<&str>]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, groups) in threads.iter().enumerate() {
            let thread = folder.path().join(number.to_string());
            fs::create_dir(&thread).unwrap();
            if let Some(groups) = groups {
                fs::write(thread.join("cgroup"), groups).unwrap();
                set_flags(&folder, number, LIVES);
            }
        }
        folder
    }

    fn set_flags(process: &tempfile::TempDir, thread: usize, flags: u32) {
        let mut stat = b"7 (a) R 4 \xff) S 1 7 7 0 -1 ".to_vec();
        stat.extend(format!("{flags} 102 0 0\n").bytes());
        let path = process.path().join(thread.to_string()).join("stat");
        fs::write(path, stat).unwrap();
    }

    fn look(threads: &[Option<&str>]) -> bool {
        same_groups(process(threads).path()).unwrap()
    }

    #[test]
    fn threads_in_the_same_groups_are_together() {
        assert!(look(&[Some("0::/user.slice\n")]));
        assert!(look(&[Some("0::/a\n"), Some("0::/a\n"), None]));
        assert!(look(&[None]));
        assert_eq!(apart(), None, "as this test's own are");
    }

    #[test]
    fn a_thread_in_a_group_of_its_own_is_seen() {
        assert!(!look(&[Some("0::/a\n"), Some("0::/a/frozen\n")]));
        let old = ["6:freezer:/\n1:cpu:/\n", "6:freezer:/x\n1:cpu:/\n"];
        assert!(!look(&[Some(old[0]), None, Some(old[1]), Some(old[0])]));
    }

    /// Else a login at which the resolver's thread happens to end is denied while
    /// Duo is down.
    #[test]
    fn a_thread_that_ends_is_not_apart_though_it_is_shown_at_the_root() {
        let groups = ["1:cpu:/\n0::/a\n", "1:cpu:/x\n0::/a\n"];
        for (ending, threads) in [
            (0, [groups[0], groups[1], groups[1]]),
            (2, [groups[1], groups[1], groups[0]]),
        ] {
            let process = process(&threads.map(Some));
            assert!(!same_groups(process.path()).unwrap(), "all of them live");
            set_flags(&process, ending, LIVES | 4);
            assert!(same_groups(process.path()).unwrap());
        }
    }

    #[test]
    fn no_proc_tells_nothing_and_one_that_cannot_be_read_is_no_proof() {
        assert!(same_groups(Path::new("/nonexistent")).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("task");
        fs::write(&file, "").unwrap();
        assert_eq!(
            apart_in(&file).as_deref(),
            Some("couldn't read this process's control groups: not a directory")
        );
    }
}
