//! Approvals of connections on this machine (`remember = connection`): root finds the connection
//! and opens the account's file, and the child without privileges reads and writes that one
//! descriptor (docs/security.md, *Remembered connections*).

mod accounts;
mod connection;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use duo_policy::config;
use duo_policy::error::Error;
use duo_policy::remember::{Approval, Approvals, Boot, Connection, FileIdentity, Full, Now};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, Uid, getsid};
use zeroize::Zeroizing;

use crate::account_file::{self, Lock, Missing, Patience, Sharing};
use crate::system_words;
use crate::wait::SystemClock;

pub use accounts::{accounts, forget, open_connections};
pub use connection::{boot, can_be_found};

/// Where the files are, one for each user id.
pub const FOLDER: &str = "/run/login_duo/remember";

/// For the lock of the file: 0.1 s in all. Without the lock the person is asked, so a login
/// does not wait long for it.
const PATIENCE: Patience = Patience {
    tries: 20,
    pause: Duration::from_millis(5),
};

/// The most bytes of a configuration file that are searched. A longer file counts as one that
/// may say `remember`.
const SEARCHED: usize = 8 * 1024;

/// What root leaves to the child.
#[derive(Debug)]
pub struct Opened {
    /// The connection on which this login came.
    pub connection: Connection,
    /// The configuration file, as it was before it was read.
    pub configuration: FileIdentity,
    file: File,
}

/// With root's rights: finds the connection on which the login of `caller` came, and opens that
/// account's file. `None` if the configuration does not ask for it, or if there is no such
/// connection.
///
/// The configuration's bytes stay bytes: nothing is parsed as root.
///
/// # Errors
/// [`Error::Fault`] if the folder or the file is not root's alone, or with the system's words.
pub fn open(configuration: &File, caller: Uid) -> Result<Option<Opened>, Error> {
    if !is_wanted(configuration) {
        return Ok(None);
    }
    let Some(connection) = connection::find(caller) else {
        return Ok(None);
    };
    let identity = identity(configuration)?;
    let folder = Path::new(FOLDER);
    account_file::make_folder(folder)?;
    let file = account_file::open(folder, caller.as_raw(), Missing::Create)?;
    Ok(file.map(|file| Opened {
        connection,
        configuration: identity,
        file,
    }))
}

/// Whether the configuration may say `remember`. In doubt it may.
fn is_wanted(configuration: &File) -> bool {
    let mut bytes = Zeroizing::new(vec![0; SEARCHED]);
    match configuration.read_at(&mut bytes, 0) {
        Ok(length) if length < SEARCHED => {
            config::may_remember(bytes.get(..length).unwrap_or_default())
        }
        Ok(_) | Err(_) => true,
    }
}

fn identity(file: &File) -> Result<FileIdentity, Error> {
    let status = file
        .metadata()
        .map_err(|error| Error::fault("look at the configuration", system_words(&error)))?;
    Ok(FileIdentity {
        device: status.dev(),
        inode: status.ino(),
        modified: (status.mtime(), status.mtime_nsec()),
    })
}

impl Opened {
    /// The approvals of the account.
    ///
    /// # Errors
    /// [`Error::Fault`] if the file is locked for too long, is no file of approvals, or with
    /// the system's words.
    pub fn approvals(&self) -> Result<Approvals, Error> {
        let _lock = lock(&self.file, Sharing::Readers)?;
        if self.is_forgotten()? {
            return Ok(Approvals::default());
        }
        self.read()?.ok_or_else(|| {
            let text = "the file of approved connections holds something else";
            Error::Fault(text.to_owned())
        })
    }

    /// Writes an approval of now, and leaves out those that count no longer. A file that holds
    /// something else begins anew.
    ///
    /// # Errors
    /// [`Error::Fault`] if the file is full or is locked for too long, or with the system's
    /// words.
    pub fn add(&self, approval: Approval, now: &Now) -> Result<(), Error> {
        let _lock = lock(&self.file, Sharing::Nobody)?;
        let mut approvals = self.read()?.unwrap_or_default();
        approvals.forget_ended(now, is_open);
        approvals.add(approval).map_err(|Full| {
            let most = Approvals::MOST;
            Error::Fault(format!("{most} connections are approved already"))
        })?;
        self.write(&approvals.to_file())
            .map_err(|error| Error::fault("write the approved connections", system_words(&error)))
    }

    /// Whether root has removed the file since it was opened (`duoctl forget`): then it holds
    /// no approval, whatever is in it.
    fn is_forgotten(&self) -> Result<bool, Error> {
        let status = self.file.metadata().map_err(|error| {
            Error::fault("look at the approved connections", system_words(&error))
        })?;
        Ok(status.nlink() == 0)
    }

    /// `None` if the file holds something else.
    fn read(&self) -> Result<Option<Approvals>, Error> {
        read(&self.file)
            .map_err(|error| Error::fault("read the approved connections", system_words(&error)))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, 0)?;
        self.file.set_len(bytes.len() as u64)
    }
}

impl AsRawFd for Opened {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Reads a file of approvals; `None` if it holds something else.
///
/// # Errors
/// Those of the system.
pub fn read(file: &File) -> io::Result<Option<Approvals>> {
    // One byte more than it may have.
    let bytes = account_file::read(file, Approvals::LONGEST_FILE + 1)?;
    Ok(Approvals::read(&bytes))
}

/// Whether the process that names a connection is there. A child in the sandbox sees no other
/// process in /proc, but the kernel tells it their sessions; and a process that has the number
/// of one that ended is hardly the leader of a session with that number again.
pub fn is_open(approval: &Approval) -> bool {
    let (pid, session) = approval.process();
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    let found = getsid(Some(Pid::from_raw(pid))).map(|session| session.as_raw().cast_unsigned());
    pid > 0 && found == Ok(session)
}

/// Now, for approvals that count so long.
///
/// # Errors
/// [`Error::Fault`] if the clock cannot be read.
pub fn now(boot: Boot, longest: Duration) -> Result<Now, Error> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_err(|errno| Error::fault("read the clock", errno.desc()))?;
    Ok(Now {
        boot,
        time: Duration::from(time),
        longest,
    })
}

fn lock(file: &File, sharing: Sharing) -> Result<Lock<'_>, Error> {
    Lock::take(file, sharing, PATIENCE, &SystemClock)
        .map_err(|errno| Error::fault("lock the approved connections", errno.desc()))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use duo_policy::remember::Circumstances;
    use duo_policy::secret::Secret;

    use super::*;

    static SKEY: LazyLock<Secret> = LazyLock::new(|| Secret::from("s".to_owned()));

    const BOOT: Boot = [7; 36];

    fn opened(file: File, pid: u32, session: u32) -> Opened {
        Opened {
            connection: Connection {
                boot: BOOT,
                pid,
                session,
                start: 1,
            },
            configuration: FileIdentity {
                device: 1,
                inode: 2,
                modified: (3, 4),
            },
            file,
        }
    }

    fn circumstances(of: &Opened) -> Circumstances<'_> {
        Circumstances {
            connection: &of.connection,
            uid: 1,
            groups: &[],
            duo_user: "alice",
            ikey: "i",
            skey: &SKEY,
            host: "h",
            configuration: of.configuration,
        }
    }

    fn own_process() -> (u32, u32) {
        let session = getsid(None).unwrap().as_raw().cast_unsigned();
        (std::process::id(), session)
    }

    fn approve(of: &Opened) -> Result<(), Error> {
        let now = now(BOOT, Duration::from_secs(60)).unwrap();
        of.add(Approval::new(&circumstances(of), now.time).unwrap(), &now)
    }

    #[test]
    fn an_approval_is_found_again_and_ended_connections_make_room() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let file = || path.reopen().unwrap();
        // Of a process that there is not, as the number is beyond the kernel's most.
        let ended = opened(file(), 0x7fff_fff0, 5);
        approve(&ended).unwrap();
        assert_eq!(ended.approvals().unwrap().count(), 1);
        let (pid, session) = own_process();
        let open = opened(file(), pid, session);
        approve(&open).unwrap();
        let approvals = open.approvals().unwrap();
        assert_eq!(approvals.count(), 1);
        let now = now(BOOT, Duration::from_secs(60)).unwrap();
        let digest = circumstances(&open).digest().unwrap();
        assert!(approvals.age(&digest, &now).is_some());
        let of_another = circumstances(&ended).digest().unwrap();
        assert!(approvals.age(&of_another, &now).is_none());
        assert_eq!(path.path().metadata().unwrap().len(), 64);
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_begins_anew() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let (pid, session) = own_process();
        let open = opened(path.reopen().unwrap(), pid, session);
        for garbage in [vec![1; 63], vec![0; 257 * 64], vec![9; 1 << 20]] {
            std::fs::write(path.path(), &garbage).unwrap();
            let text = open.approvals().unwrap_err().to_string();
            assert!(text.contains("something else"), "{text}");
            approve(&open).unwrap();
            assert_eq!(open.approvals().unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_that_was_removed_since_it_was_opened_holds_no_approval() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let (pid, session) = own_process();
        let open = opened(path.reopen().unwrap(), pid, session);
        approve(&open).unwrap();
        assert_eq!(open.approvals().unwrap().count(), 1);
        path.close().unwrap();
        assert_eq!(open.approvals().unwrap().count(), 0);
        // What is said on it later goes to nobody's file.
        approve(&open).unwrap();
        assert_eq!(open.approvals().unwrap().count(), 0);
    }

    #[test]
    fn a_lock_that_is_held_for_ever_is_an_error_in_time() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let (pid, session) = own_process();
        let open = opened(path.reopen().unwrap(), pid, session);
        let other = path.reopen().unwrap();
        let held = lock(&other, Sharing::Nobody).unwrap();
        assert!(open.approvals().is_err() && approve(&open).is_err());
        drop(held);
        let held = lock(&other, Sharing::Readers).unwrap();
        assert!(open.approvals().is_ok() && approve(&open).is_err());
        drop(held);
        approve(&open).unwrap();
    }

    #[test]
    fn the_word_in_the_configuration_is_what_makes_root_look() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let wants = |text: &str| {
            std::fs::write(path.path(), text).unwrap();
            is_wanted(&path.reopen().unwrap())
        };
        assert!(!wants("[duo]\nikey = x\n;remember = connection\n"));
        assert!(wants("[duo]\nremember=connection\n"));
        assert!(wants("\u{feff}remember = connection"));
        assert!(wants(&"#\n".repeat(SEARCHED)));
    }
}
