//! The folder of codes: one file for each user id, which is always whole. A file is replaced
//! by another one and never written over, so a login that has the old one open sees that it
//! lost its name, and gives no code of it any more.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use duo_system::account_file::{self, Missing};
use duo_system::codes::{FOLDER, lock, read, slots};
use duo_system::system_words;
use duo_system::wait::SystemClock;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{FlockOperation, flock};

use crate::outcome::Failure;
use crate::state;

/// The folder, locked for this duoctl.
pub struct Store {
    folder: File,
}

/// A file of codes that counts for nothing yet.
#[must_use]
pub struct New<'s> {
    store: &'s Store,
    uid: u32,
}

/// What is said of a change that was made all the same.
type Warning = Option<String>;

impl Store {
    /// Opens the folder, and makes it first if it is missing.
    ///
    /// # Errors
    /// It cannot be made, is not root's alone, or another duoctl works in it.
    pub fn open_or_make() -> Result<Store, Failure> {
        let folder = Path::new(FOLDER);
        if !folder.exists() {
            let made = state::make_folder(Path::new(state::FOLDER))
                .and_then(|()| state::make_folder(folder));
            made.map_err(|error| failed("make the folder", &system_words(&error)))?;
        }
        Store::open()?.ok_or_else(|| failed("open the folder", "it is gone again"))
    }

    /// Opens the folder; `None` if there is none.
    ///
    /// # Errors
    /// It is not root's alone, or another duoctl works in it.
    pub fn open() -> Result<Option<Store>, Failure> {
        let opened = account_file::open_folder(Path::new(FOLDER));
        let Some(folder) = opened.map_err(|error| Failure::refused(error.to_string()))? else {
            return Ok(None);
        };
        flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => {
                failed("lock the folder", "another duoctl works in it")
            }
            errno => failed("lock the folder", &system_words(&errno.into())),
        })?;
        Ok(Some(Store { folder }))
    }

    /// Writes a file beside that of `uid`, down to the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, uid: u32, bytes: &[u8]) -> Result<New<'_>, Failure> {
        let name = new_name(uid);
        // What a duoctl has left that was killed. The lock keeps every other one out.
        self.unlink(&name)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.folder, name.as_str(), flags, mode)
            .and_then(|file| fchmod(file.as_fd(), mode).map(|()| File::from(file)))
            .map_err(|errno| failed("make a file", errno.desc()))?;
        let new = New { store: self, uid };
        let mut writer = &file;
        writer
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| failed("write a file", &system_words(&error)))?;
        Ok(new)
    }

    /// Takes the file of `uid` away; `None` if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, uid: u32) -> Result<Option<Warning>, Failure> {
        let mut is_there = false;
        let warning = self.while_locked(uid, || {
            is_there = self.unlink(&uid.to_string())?;
            self.settle()
        })?;
        Ok(is_there.then_some(warning))
    }

    /// Changes the file of `uid` while no login uses up a code of it. Whoever holds its lock
    /// for too long does not keep codes from being revoked.
    fn while_locked(
        &self,
        uid: u32,
        change: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Warning, Failure> {
        // Where it is not as it should be, no login opens it either.
        let old = account_file::open(Path::new(FOLDER), uid, Missing::Leave);
        let old = old.ok().flatten();
        let lock = old.as_ref().map(|old| lock(old, &SystemClock));
        change()?;
        Ok(match lock {
            Some(Err(error)) => Some(format!(
                "the old codes are void now, but a login may just have used one: {error}"
            )),
            Some(Ok(_)) | None => None,
        })
    }

    fn unlink(&self, name: &str) -> Result<bool, Failure> {
        match unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(failed("take a file away", errno.desc())),
        }
    }

    fn settle(&self) -> Result<(), Failure> {
        let synced = self.folder.sync_all();
        synced.map_err(|error| failed("write the folder", &system_words(&error)))
    }
}

impl New<'_> {
    /// Puts the new file in the place of the old one.
    ///
    /// # Errors
    /// The system's.
    pub fn put_in_place(self) -> Result<Warning, String> {
        let Store { folder } = self.store;
        let (from, to) = (new_name(self.uid), self.uid.to_string());
        let put = || {
            renameat(folder, from.as_str(), folder, to.as_str())
                .map_err(|errno| failed("put a file in its place", errno.desc()))?;
            self.store.settle()
        };
        let done = self.store.while_locked(self.uid, put);
        done.map_err(|failure| match failure {
            Failure::Refused(why) | Failure::Usage(why) | Failure::HalfWay { why, .. } => why,
        })
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        // It is gone once it is in its place.
        let _ = self.store.unlink(&new_name(self.uid));
    }
}

fn new_name(uid: u32) -> String {
    format!("{uid}.new")
}

/// How many codes an account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// That are good.
    pub left: usize,
    /// That were made.
    pub made: usize,
}

/// The codes of each user id, or why it has none.
pub type Counts = BTreeMap<u32, Result<Count, String>>;

/// Those of this machine.
///
/// # Errors
/// The folder is not as it must be.
pub fn counts() -> Result<Counts, Failure> {
    let folder = Path::new(FOLDER);
    let opened = account_file::open_folder(folder);
    if opened
        .map_err(|error| Failure::refused(error.to_string()))?
        .is_none()
    {
        return Ok(Counts::new());
    }
    let entries = fs::read_dir(folder)
        .map_err(|error| failed("read the folder", &system_words(&error)))?
        .flatten();
    let uids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(uids.map(|uid| (uid, count(uid))).collect())
}

fn count(uid: u32) -> Result<Count, String> {
    let file = account_file::open(Path::new(FOLDER), uid, Missing::Leave)
        .map_err(|error| error.to_string())?
        .ok_or("the file is gone again")?;
    let bytes = read(&file).map_err(|error| system_words(&error))?;
    let slots = slots(&bytes)?;
    Ok(Count {
        left: slots.left(),
        made: slots.made(),
    })
}

fn failed(what: &str, why: &str) -> Failure {
    Failure::refused(format!("couldn't {what} in '{FOLDER}': {why}"))
}
