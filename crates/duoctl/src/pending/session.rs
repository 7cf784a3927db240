//! Which login session this process belongs to. Whoever confirms shows that a
//! session can be made, so the one that was open already does not count, nor
//! does another window of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::getsid;
use serde::{Deserialize, Serialize};

/// Processes above this one that are looked at.
const MOST_ANCESTORS: usize = 64;

/// A process that no other one is ever taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// When it began, in the kernel's ticks since the start of the machine.
    pub began: u64,
}

impl Process {
    /// The process that has this id now.
    pub fn of(pid: i32) -> Option<Process> {
        stat(pid).map(|(_, began)| Process { pid, began })
    }
}

/// A login session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Changes with each start of the machine.
    boot: String,
    /// The audit subsystem's number, where pam_loginuid gives one.
    audit: Option<u32>,
    /// The leader of the kernel's session.
    leader: Option<Process>,
    /// The processes above this one that serve nobody else.
    ancestors: Vec<Process>,
}

impl Session {
    /// This process's.
    pub fn of_this_process() -> Session {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let audit = text("/proc/self/sessionid").trim().parse().ok();
        let leader = getsid(None).ok().and_then(|pid| Process::of(pid.as_raw()));
        Session {
            boot: text("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            audit: audit.filter(|number| *number != u32::MAX),
            leader,
            ancestors: ancestors(),
        }
    }

    /// Whether both are one login.
    pub fn is_same(&self, other: &Session) -> bool {
        if self.boot != other.boot {
            return false;
        }
        if let (Some(one), Some(two)) = (self.audit, other.audit)
            && one != two
        {
            return false;
        }
        let is_common = |process: &Process| other.ancestors.contains(process);
        self.leader == other.leader || self.ancestors.iter().any(is_common)
    }
}

/// Up to process 1 or the sshd that takes connections, both of which serve
/// every session.
fn ancestors() -> Vec<Process> {
    let mut found = Vec::new();
    let mut next = stat(own_pid()).map(|(parent, _)| parent);
    while let Some(pid) = next.filter(|pid| *pid > 1) {
        if found.len() == MOST_ANCESTORS || takes_connections(pid) {
            break;
        }
        let Some((parent, began)) = stat(pid) else {
            break;
        };
        found.push(Process { pid, began });
        next = Some(parent);
    }
    found
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// The parent of a process, and when it began.
fn stat(pid: i32) -> Option<(i32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold blanks and brackets.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let parent = fields.nth(1)?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some((parent, began))
}

/// Whether this is root's sshd, and its title says that it listens.
fn takes_connections(pid: i32) -> bool {
    let process = format!("/proc/{pid}");
    let process = Path::new(&process);
    let is_roots = fs::metadata(process).is_ok_and(|status| status.uid() == 0);
    let title = fs::read(process.join("cmdline")).unwrap_or_default();
    let title = String::from_utf8_lossy(&title);
    is_roots && title.starts_with("sshd") && title.contains("[listener]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(audit: Option<u32>, leader: i32, ancestors: &[i32]) -> Session {
        let process = |pid: &i32| Process {
            pid: *pid,
            began: 7,
        };
        Session {
            boot: "b".into(),
            audit,
            leader: Some(process(&leader)),
            ancestors: ancestors.iter().map(process).collect(),
        }
    }

    #[test]
    fn another_window_of_a_session_is_the_same_session() {
        let first = session(None, 10, &[10, 9, 8]);
        for (other, expected) in [
            (session(None, 10, &[10]), true),
            (session(None, 20, &[20, 9, 8]), true),
            (session(None, 20, &[20, 18]), false),
            (session(Some(3), 20, &[20, 18]), false),
        ] {
            assert_eq!(first.is_same(&other), expected, "{other:?}");
            assert_eq!(other.is_same(&first), expected, "{other:?}");
        }
        // The same number may be inherited by a whole container.
        let audited = session(Some(3), 10, &[10, 9, 8]);
        assert!(audited.is_same(&session(Some(3), 20, &[8])));
        assert!(!audited.is_same(&session(Some(3), 20, &[18])));
        assert!(!audited.is_same(&session(Some(4), 20, &[8])));
        // A number that was used before the machine was restarted says nothing.
        let restarted = Session {
            boot: "c".into(),
            ..first.clone()
        };
        assert!(!first.is_same(&restarted));
    }

    #[test]
    fn a_process_knows_its_own_session() {
        let own = Session::of_this_process();
        assert!(own.is_same(&Session::of_this_process()));
        // The leader may have ended, or stand outside of this container; the
        // program that started this test runs.
        assert!(own.leader.is_some() || !own.ancestors.is_empty());
    }
}
