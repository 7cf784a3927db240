//! The configuration's place: another file comes there in one step, and the one before stands
//! beside it. Whoever reads the place at any moment finds a whole file, 0600.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use duo_policy::secret::Secret;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{getegid, geteuid};

/// Who may read and write a configuration: its owner.
const MODE: u32 = 0o600;

/// A place that no other duoctl changes while this value lives.
pub struct Place {
    path: PathBuf,
    /// None where there is no folder yet.
    lock: Option<Flock<File>>,
}

/// Why a place cannot be had.
pub enum Unavailable {
    /// Another process changes it.
    Busy,
    /// The system's words.
    Failed(io::Error),
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Unavailable::Failed(error)
    }
}

/// The file that a path leads to, links followed; the path itself where there is none.
pub fn behind_links(path: &Path) -> PathBuf {
    fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// The folder of a path.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

impl Place {
    /// Locks the folder, if there is one.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn take(path: &Path) -> Result<Place, Unavailable> {
        let path = behind_links(path);
        let lock = match lock(folder_of(&path)) {
            Ok(lock) => Some(lock),
            Err(Unavailable::Failed(error)) if error.kind() == ErrorKind::NotFound => None,
            Err(unavailable) => return Err(unavailable),
        };
        Ok(Place { path, lock })
    }

    /// Where the file is kept that stood here before.
    pub fn before(path: &Path) -> PathBuf {
        beside(path, ".before")
    }

    /// Where the file is kept that a restored one has replaced.
    pub fn undone(path: &Path) -> PathBuf {
        beside(path, ".undone")
    }

    /// Puts `new` here and `old` to `kept`. Before the last step nothing here has changed.
    ///
    /// # Errors
    /// The system's words.
    pub fn replace(&self, new: &Secret, old: Option<(&Secret, &Path)>) -> io::Result<()> {
        let folder = folder_of(&self.path);
        if self.lock.is_none() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)?;
        }
        let coming = beside(&self.path, ".new");
        // Both files are on the disk before either takes its place: a full disk changes nothing.
        let result = write(&coming, new).and_then(|()| {
            if let Some((old, kept)) = old {
                let going = beside(&self.path, ".old");
                write(&going, old)
                    .and_then(|()| fs::rename(&going, kept))
                    .inspect_err(|_| remove(&going))?;
            }
            fs::rename(&coming, &self.path)
        });
        result.inspect_err(|_| remove(&coming))?;
        open_folder(folder)?.sync_all()
    }
}

fn open_folder(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(folder)
}

fn lock(folder: &Path) -> Result<Flock<File>, Unavailable> {
    match Flock::lock(open_folder(folder)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::Error::EWOULDBLOCK)) => Err(Unavailable::Busy),
        Err((_, errno)) => Err(Unavailable::Failed(errno.into())),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path
        .file_name()
        .unwrap_or(OsStr::new("login_duo.conf"))
        .to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// A new file of this process's user, for nobody else, on the disk when this returns.
fn write(path: &Path, bytes: &Secret) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    // The umask may have taken bits away, and a setgid folder gives its group.
    file.set_permissions(Permissions::from_mode(MODE))?;
    fchown(&file, Some(geteuid().as_raw()), Some(getegid().as_raw()))?;
    let written = file
        .write_all(bytes.expose())
        .and_then(|()| file.sync_all());
    written.inspect_err(|_| remove(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn what_stood_here_stands_beside_and_both_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/c");
        let place = Place::take(&path).ok().unwrap();
        place.replace(&secret("one"), None).unwrap();
        let before = Place::before(&path);
        let old = secret("one");
        place
            .replace(&secret("two"), Some((&old, &before)))
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(&before).unwrap(), b"one");
        for path in [&path, &before] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o600);
        }
        assert_eq!(fs::read_dir(folder_of(&path)).unwrap().count(), 2);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("c"));
        fs::write(&file, "one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Place::take(&link)
            .ok()
            .unwrap()
            .replace(&secret("two"), None)
            .unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn two_at_once_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let first = Place::take(&path).ok().unwrap();
        assert!(matches!(Place::take(&path), Err(Unavailable::Busy)));
        drop(first);
        assert!(Place::take(&path).is_ok());
    }

    #[test]
    fn where_the_disk_is_full_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let place = Place::take(&path).ok().unwrap();
        place.replace(&secret("one"), None).unwrap();
        // A folder where the file before should go: it cannot be written.
        let before = Place::before(&path);
        fs::create_dir_all(before.join("x")).unwrap();
        let old = secret("one");
        assert!(
            place
                .replace(&secret("two"), Some((&old, &before)))
                .is_err()
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
