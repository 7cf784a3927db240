//! Which connection of sshd's a login came on, from /proc alone. In doubt there is none, and the
//! person is asked (docs/security.md, *Remembered connections*).
//!
//! sshd forks for each connection, and that process is root's: the monitor, or, where root logs
//! in, whoever serves the connection. The listener is sshd and root's too, and is common to all
//! connections, so it must never be taken for one of them.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use duo_policy::remember::{Boot, Connection};
use nix::unistd::Uid;

/// The most processes that are looked at on the way up. A login is two or three below its
/// connection.
const MOST_STEPS: usize = 16;

/// The process 1 ends up above whatever loses its parent, so it is nobody's connection, even if
/// it is sshd, as in some containers.
const INIT: u32 = 1;

/// Finds the connection of this process, whose account is `caller`.
pub(super) fn find(caller: Uid) -> Option<Connection> {
    let mut below = Process::read("self")?;
    for _ in 0..MOST_STEPS {
        let process = below.read_parent()?;
        if process.pid == INIT {
            return None;
        }
        if process.is_all(Uid::from_raw(0))
            && let Some(program) = Program::of_sshd(process.pid)
        {
            let is_found = is_of_one_connection(&process, program, &below, caller);
            return is_found.then(|| process.as_connection()).flatten();
        }
        below = process;
    }
    None
}

/// Whether `sshd`, which runs `program`, serves one connection, which is the caller's, and is not
/// the listener.
///
/// For a user, the process below it is sshd's too, forked and not executed, and in the session
/// that sshd has made for this connection. A process that came to be below the listener (which
/// may be a subreaper, by whoever started it) is in another session than the listener. For root
/// sshd has no such process everywhere: there another sshd must be right above.
///
/// The file of the process below is looked at last. In the session of sshd's own there is none of
/// a file system of the user's, where a look might never return.
fn is_of_one_connection(sshd: &Process, program: Program, below: &Process, caller: Uid) -> bool {
    below.is_all(caller)
        && match caller.is_root() {
            true => is_below_another(sshd),
            false => below.session == sshd.session && Program::of_sshd(below.pid) == Some(program),
        }
}

fn is_below_another(sshd: &Process) -> bool {
    let above = sshd.read_parent();
    above.is_some_and(|above| {
        above.is_all(Uid::from_raw(0)) && Program::of_sshd(above.pid).is_some()
    })
}

/// What /proc says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    session: u32,
    start: u64,
    /// Real, effective, saved, and that for files.
    uids: [u32; 4],
}

impl Process {
    /// Reads `/proc/NAME`. `None` if that cannot be read, or if the process is in another pid
    /// namespace than this mount of /proc: its number there names another process here.
    fn read(name: &str) -> Option<Process> {
        let stat = read_once(&format!("/proc/{name}/stat"))?;
        let status = read_once(&format!("/proc/{name}/status"))?;
        Process::parse(&stat, &status)
    }

    fn read_parent(&self) -> Option<Process> {
        let parent = Process::read(&self.parent.to_string())?;
        // The number of a parent that ended meanwhile may have gone to a process that is younger.
        let is_parent = parent.pid == self.parent && parent.start <= self.start;
        is_parent.then_some(parent)
    }

    fn parse(stat: &[u8], status: &[u8]) -> Option<Process> {
        // The name stands in parentheses, and may hold blanks and parentheses itself.
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let (before, after) = stat.split_at_checked(close)?;
        let before = std::str::from_utf8(before.split(|byte| *byte == b' ').next()?).ok()?;
        let after = std::str::from_utf8(after.get(1..)?).ok()?;
        // The first of them is the third of all.
        let field = |number: usize| after.split_ascii_whitespace().nth(number - 3);
        let pid: u32 = before.parse().ok()?;
        if numbers(status, b"NSpid:")? != [pid] {
            return None;
        }
        Some(Process {
            pid,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
            uids: numbers(status, b"Uid:")?.try_into().ok()?,
        })
    }

    /// Whether it has no other user id than this one.
    fn is_all(&self, uid: Uid) -> bool {
        self.uids == [uid.as_raw(); 4]
    }

    fn as_connection(&self) -> Option<Connection> {
        Some(Connection {
            boot: boot()?,
            pid: self.pid,
            session: self.session,
            start: self.start,
        })
    }
}

/// A file of /proc, which the kernel gives whole to one read. `None` if it is longer than any that
/// is expected here: `status` has the groups of a process in it, 11 bytes each at most.
fn read_once(path: &str) -> Option<Vec<u8>> {
    const ROOM: usize = 16 * 1024;
    let mut bytes = vec![0; ROOM];
    let length = File::open(path).ok()?.read(&mut bytes).ok()?;
    bytes.truncate(length);
    (length < ROOM).then_some(bytes)
}

/// The numbers in the line of `status` that begins with `key`. The kernel escapes line ends in
/// the process's name, which is the first line.
fn numbers(status: &[u8], key: &[u8]) -> Option<Vec<u32>> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(key))?;
    let words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.map(|word| word.parse().ok()).collect()
}

/// The file that a process of sshd's was executed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Program {
    device: u64,
    inode: u64,
}

impl Program {
    /// The program of the process, if it is sshd's and root's. The name alone would be enough
    /// for a process of root's, and the file is asked for all the same. Where an upgrade has
    /// replaced the file, the kernel says that it was deleted: the process still runs it, and
    /// its connection is still the same.
    fn of_sshd(pid: u32) -> Option<Program> {
        const NAMES: [&[u8]; 2] = [b"sshd", b"sshd-session"];
        const DELETED: &[u8] = b" (deleted)";
        let link = format!("/proc/{pid}/exe");
        let path = fs::read_link(&link).ok()?;
        let path = path.as_os_str().as_encoded_bytes();
        let path = path.strip_suffix(DELETED).unwrap_or(path);
        let name = path.rsplit(|byte| *byte == b'/').next()?;
        if !NAMES.contains(&name) {
            return None;
        }
        // Through the link: this is the file itself, wherever its name leads to now.
        let status = fs::metadata(&link).ok()?;
        let is_roots = status.is_file() && status.uid() == 0 && status.mode() & 0o022 == 0;
        is_roots.then(|| Program {
            device: status.dev(),
            inode: status.ino(),
        })
    }
}

/// The id of this boot.
pub fn boot() -> Option<Boot> {
    let text = read_once("/proc/sys/kernel/random/boot_id")?;
    text.first_chunk().copied()
}

/// Whether a connection could be found here, as far as that is known without one: /proc tells of
/// this process, by its own number, and of the boot.
pub fn can_be_found() -> bool {
    let own = Process::read("self");
    own.is_some_and(|own| own.pid == std::process::id()) && boot().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// proc_pid_stat(5), of a process with this name.
    fn stat(name: &str) -> Vec<u8> {
        format!(
            "4242 ({name}) S 4240 4241 4239 34816 4242 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 \
             10 11 12\n"
        )
        .into_bytes()
    }

    const STATUS: &[u8] =
        b"Name:\tx\nUmask:\t0022\nPid:\t4242\nUid:\t1\t2\t3\t4\nNStgid:\t4242\nNSpid:\t4242\n";

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let expected = Process {
            pid: 4242,
            parent: 4240,
            session: 4239,
            start: 987_654,
            uids: [1, 2, 3, 4],
        };
        for name in ["sshd", "a b", "x) S 1 1 1 (y", ")", "", "\n1 (z) R 1 2 3"] {
            let found = Process::parse(&stat(name), STATUS);
            assert_eq!(found.as_ref(), Some(&expected), "{name:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_no_process() {
        let replaced = |from: &str, to: &str| {
            let text = String::from_utf8(STATUS.to_vec()).unwrap();
            text.replace(from, to).into_bytes()
        };
        for status in [
            b"".to_vec(),
            // In another pid namespace, or of a mount of another one.
            replaced("NSpid:\t4242", "NSpid:\t4242\t7"),
            replaced("NSpid:\t4242", "NSpid:\t7"),
            replaced("NSpid:", "Other:"),
            replaced("Uid:\t1\t2\t3\t4", "Uid:\t1\t2\t3"),
            replaced("Uid:\t1", "Uid:\t-1"),
        ] {
            assert_eq!(Process::parse(&stat("x"), &status), None);
        }
        for stat in [
            &b""[..],
            b"4242",
            b"4242 (x) S 1 2",
            b") (",
            b"x (y) S 1 1 1",
        ] {
            assert_eq!(Process::parse(stat, STATUS), None, "{stat:?}");
        }
    }

    #[test]
    fn this_process_and_its_parent_are_read() {
        let own = Process::read("self").unwrap();
        assert_eq!(own.pid, std::process::id());
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(own.read_parent().unwrap().start <= own.start);
        assert_eq!(Process::read("no such process"), None);
        assert!(boot().is_some() && can_be_found());
    }

    #[test]
    fn a_program_of_another_name_or_owner_is_not_sshds() {
        assert_eq!(Program::of_sshd(std::process::id()), None);
        assert_eq!(Program::of_sshd(0), None);
    }
}
