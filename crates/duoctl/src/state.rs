//! What duoctl keeps for a later run of its own, in a folder of root's alone: what waits for
//! `confirm`, what was adopted, which files a purge takes. Root puts back what stands there, so
//! nobody else may write there.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// Root's alone. The emergency codes are in a folder of it (`duo_system::codes`).
pub const FOLDER: &str = "/var/lib/login_duo";

const MODE: u32 = 0o700;

/// A file of that folder.
pub fn file(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Makes a folder of this process's user alone, who is root, unless it is there.
///
/// # Errors
/// It belongs to somebody else, or others may use it; or the system's.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match DirBuilder::new().mode(MODE).create(folder) {
        Ok(()) => settle(folder)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let status = fs::metadata(folder)?;
    let is_own = status.uid() == Uid::effective().as_raw();
    if status.is_dir() && is_own && status.mode() & 0o7777 == MODE {
        return Ok(());
    }
    let folder = folder.display();
    Err(io::Error::other(format!(
        "'{folder}' is not a folder of root's alone with mode 0700"
    )))
}

/// The umask may have taken bits away, and the group may be another one than root's.
fn settle(folder: &Path) -> io::Result<()> {
    let made = File::open(folder)?;
    made.set_permissions(Permissions::from_mode(MODE))?;
    match Uid::effective().is_root() {
        true => fchown(&made, Some(0), Some(0)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn the_codes_are_in_this_folder() {
        let codes = Path::new(duo_system::codes::FOLDER);
        assert_eq!(codes.parent(), Some(Path::new(FOLDER)));
    }

    #[test]
    fn a_folder_is_made_once_and_for_its_owner_alone() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("lib/state");
        make_folder(&folder).unwrap();
        make_folder(&folder).unwrap();
        let status = fs::metadata(&folder).unwrap();
        assert_eq!(status.mode() & 0o7777, 0o700);
        if Uid::effective().is_root() {
            assert_eq!((status.uid(), status.gid()), (0, 0));
        }
    }

    #[test]
    fn a_folder_that_others_can_use_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("state");
        let is_refused = || {
            let error = make_folder(&folder).unwrap_err().to_string();
            error.ends_with("is not a folder of root's alone with mode 0700")
        };
        make_folder(&folder).unwrap();
        for mode in [0o755, 0o770, 0o1700] {
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            assert!(is_refused(), "{mode:o}");
        }
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        make_folder(&folder).unwrap();
        if Uid::effective().is_root() {
            chown(&folder, Some(1000), None).unwrap();
            assert!(is_refused());
        }
        fs::remove_dir(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        assert!(is_refused());
        fs::remove_file(&folder).unwrap();
        symlink(above.path().join("nowhere"), &folder).unwrap();
        assert!(make_folder(&folder).is_err());
    }
}
