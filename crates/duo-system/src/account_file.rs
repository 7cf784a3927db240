//! Files of root's with records about one account, one file for each user id. Root opens the
//! file before it drops privileges, and the child gets that one descriptor: a child that was
//! taken over can touch the records of no other account (docs/security.md, attacks 16 and 17).

mod lock;

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use duo_policy::error::Error;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_path, openat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown};

use crate::system_words;

pub use lock::Lock;
pub(crate) use lock::{Patience, Sharing};

const ROOT: (Uid, Gid) = (Uid::from_raw(0), Gid::from_raw(0));

/// What to do where an account has no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Leave it so.
    Leave,
    /// Make an empty one.
    Create,
}

/// Opens the file of the account `uid` in `folder`, for reading and writing. `None` if there is
/// no such folder, or no such file and `missing` says to leave it so.
///
/// The folder must be root's, with mode 0700, and no link. The file must be a regular file of
/// root's with mode 0600, with one name and no link: whoever owns another kind of file could
/// write records that count, or read them.
///
/// # Errors
/// [`Error::Fault`] if one of these is not so, or with the system's words.
pub fn open(folder: &Path, uid: u32, missing: Missing) -> Result<Option<File>, Error> {
    let Some(opened_folder) = open_folder(folder)? else {
        return Ok(None);
    };
    let name = uid.to_string();
    let path = folder.join(&name);
    let flags =
        OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = openat(&opened_folder, name.as_str(), flags, Mode::empty());
    let opened = match (opened, missing) {
        (Err(Errno::ENOENT), Missing::Leave) => return Ok(None),
        (Err(Errno::ENOENT), Missing::Create) => create(&opened_folder, &name, flags),
        (opened, _) => opened,
    };
    let file = File::from(opened.map_err(|errno| failed("open", &path, errno))?);
    let status = file
        .metadata()
        .map_err(|error| Error::fault(&looking_at(&path), system_words(&error)))?;
    let is_one_file = status.is_file() && status.nlink() == 1;
    if !is_one_file || !is_roots_alone(&status, 0o600) {
        let path = path.display();
        return Err(Error::Fault(format!(
            "'{path}' is not a file of root's alone with mode 0600 and one name"
        )));
    }
    Ok(Some(file))
}

fn create(folder: &File, name: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = openat(folder, name, flags | OFlag::O_CREAT, mode)?;
    // The umask is the caller's, and may have taken bits away; the group is the caller's too.
    fchmod(&file, mode)?;
    fchown(&file, Some(ROOT.0), Some(ROOT.1))?;
    Ok(file)
}

/// Opens and checks the folder; `None` if there is none.
///
/// # Errors
/// As [`open`].
pub fn open_folder(folder: &Path) -> Result<Option<File>, Error> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = match open_path(folder, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        opened => opened.map_err(|errno| failed("open", folder, errno))?,
    };
    let opened = File::from(opened);
    let status = opened
        .metadata()
        .map_err(|error| Error::fault(&looking_at(folder), system_words(&error)))?;
    if !is_roots_alone(&status, 0o700) {
        let folder = folder.display();
        return Err(Error::Fault(format!(
            "'{folder}' is not a folder of root's alone with mode 0700"
        )));
    }
    Ok(Some(opened))
}

/// Makes the folder and the one above it, if they are not there. [`open`] checks the folder
/// itself, whoever made it.
///
/// # Errors
/// [`Error::Fault`] if a folder above it is a link, or is not root's, or others may write to it:
/// they could put another folder in its place. Or with the system's words.
pub fn make_folder(folder: &Path) -> Result<(), Error> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(folder);
    if let Some(above) = parent.parent() {
        check_parent(above)?;
    }
    make(parent, 0o755)?;
    check_parent(parent)?;
    make(folder, 0o700)
}

fn make(folder: &Path, mode: u32) -> Result<(), Error> {
    let made = DirBuilder::new().mode(mode).create(folder);
    let made = match made {
        // Another login was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made.and_then(|()| give_to_root(folder, mode)),
    };
    made.map_err(|error| {
        let folder = folder.display();
        Error::fault(&format!("make '{folder}'"), system_words(&error))
    })
}

/// The umask and the group were the caller's: the one may have taken bits away, and the other
/// shall have no folder of root's.
fn give_to_root(folder: &Path, mode: u32) -> io::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = File::from(open_path(folder, flags, Mode::empty())?);
    made.set_permissions(Permissions::from_mode(mode))?;
    fchown(&made, Some(ROOT.0), Some(ROOT.1))?;
    Ok(())
}

fn check_parent(folder: &Path) -> Result<(), Error> {
    let status = fs::symlink_metadata(folder)
        .map_err(|error| Error::fault(&looking_at(folder), system_words(&error)))?;
    if status.is_dir() && status.uid() == 0 && status.mode() & 0o022 == 0 {
        return Ok(());
    }
    let folder = folder.display();
    Err(Error::Fault(format!(
        "'{folder}' is not a folder that root alone can write to"
    )))
}

/// Reads a file from its beginning, as a whole or its first `most` bytes.
///
/// # Errors
/// Those of the system.
pub(crate) fn read(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read_at(room, length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn is_roots_alone(status: &Metadata, mode: u32) -> bool {
    status.uid() == 0 && status.mode() & 0o7777 == mode
}

fn failed(what: &str, path: &Path, errno: Errno) -> Error {
    Error::fault(&format!("{what} '{}'", path.display()), errno.desc())
}

fn looking_at(path: &Path) -> String {
    format!("look at '{}'", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};
    use std::path::PathBuf;

    use nix::unistd::mkfifo;

    use super::*;

    /// A folder of root's, 0700. `None` for an ordinary user, who can make no such folder.
    fn folder() -> Option<tempfile::TempDir> {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        Uid::effective().is_root().then_some(folder)
    }

    fn error(folder: &Path, uid: u32) -> String {
        open(folder, uid, Missing::Leave).unwrap_err().to_string()
    }

    #[test]
    fn an_account_without_a_file_has_no_records() {
        let Some(folder) = folder() else { return };
        assert!(open(folder.path(), 1000, Missing::Leave).unwrap().is_none());
        let nowhere = folder.path().join("no such folder");
        assert!(open(&nowhere, 1000, Missing::Create).unwrap().is_none());
    }

    #[test]
    fn a_new_file_is_roots_alone_and_is_found_again() {
        let Some(folder) = folder() else { return };
        assert!(
            open(folder.path(), 1000, Missing::Create)
                .unwrap()
                .is_some()
        );
        assert!(open(folder.path(), 1000, Missing::Leave).unwrap().is_some());
        let status = fs::metadata(folder.path().join("1000")).unwrap();
        assert_eq!(status.mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_roots_alone_is_refused() {
        let Some(folder) = folder() else { return };
        let path = |uid: u32| -> PathBuf { folder.path().join(uid.to_string()) };
        for uid in 1..=3 {
            fs::write(path(uid), "").unwrap();
            fs::set_permissions(path(uid), Permissions::from_mode(0o600)).unwrap();
        }
        chown(path(1), Some(1000), None).unwrap();
        fs::set_permissions(path(2), Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(path(3), folder.path().join("another name")).unwrap();
        fs::create_dir(path(4)).unwrap();
        mkfifo(&path(5), Mode::from_bits_truncate(0o600)).unwrap();
        symlink(path(3), path(6)).unwrap();
        for uid in [1, 2, 3, 5] {
            let text = error(folder.path(), uid);
            assert!(text.contains("is not a file of root's alone"), "{text}");
        }
        for (uid, why) in [(4, Errno::EISDIR), (6, Errno::ELOOP)] {
            let text = error(folder.path(), uid);
            assert!(text.ends_with(why.desc()), "{text}");
        }
    }

    #[test]
    fn a_folder_is_made_where_root_alone_can_write() {
        let Some(above) = folder() else { return };
        let parent = above.path().join("parent");
        let wanted = parent.join("records");
        for mode in [0o770, 0o1777] {
            fs::set_permissions(above.path(), Permissions::from_mode(mode)).unwrap();
            let text = make_folder(&wanted).unwrap_err().to_string();
            assert!(text.ends_with("root alone can write to"), "{text}");
        }
        fs::set_permissions(above.path(), Permissions::from_mode(0o755)).unwrap();
        make_folder(&wanted).unwrap();
        make_folder(&wanted).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(&parent), mode(&wanted)), (0o755, 0o700));
        assert!(open(&wanted, 1000, Missing::Create).unwrap().is_some());
        fs::remove_dir_all(&parent).unwrap();
        let elsewhere = above.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &parent).unwrap();
        assert!(make_folder(&wanted).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_roots_alone_is_refused() {
        let Some(folder) = folder() else { return };
        for mode in [0o755, 0o770, 0o1700] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            assert!(error(folder.path(), 1).contains("is not a folder of root's alone"));
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        chown(folder.path(), Some(1000), None).unwrap();
        assert!(error(folder.path(), 1).contains("is not a folder of root's alone"));
        let link = folder.path().with_extension("link");
        symlink(folder.path(), &link).unwrap();
        let text = error(&link, 1);
        fs::remove_file(&link).unwrap();
        assert!(text.contains("open "), "{text}");
    }
}
