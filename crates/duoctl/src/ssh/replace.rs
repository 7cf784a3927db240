//! One file in the place of another. The file is never missing and never half
//! written, whatever happens in between, and what was there can be put back
//! without room on the disk: it stays beside, by a link and not by a copy.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::outcome::Failure;

/// A file that was replaced, and can be put back.
#[derive(Debug)]
#[must_use]
pub struct Replaced {
    path: PathBuf,
    /// What was there.
    before: Option<PathBuf>,
}

/// Replaces the file at `path` by these bytes, keeping owner and mode, or takes
/// it away.
///
/// # Errors
/// The system's; the file is as it was then.
pub fn replace(path: &Path, bytes: Option<&[u8]>) -> io::Result<Replaced> {
    replace_like(path, bytes, path)
}

/// As `replace`, with owner and mode of the file `like`.
///
/// # Errors
/// The system's; the file is as it was then.
pub fn replace_like(path: &Path, bytes: Option<&[u8]>, like: &Path) -> io::Result<Replaced> {
    let before = beside(path, ".before");
    remove(&before)?;
    let was_there = path.try_exists()?;
    if was_there {
        fs::hard_link(path, &before).or_else(|_| fs::copy(path, &before).map(drop))?;
    }
    let replaced = Replaced {
        path: path.to_owned(),
        before: was_there.then_some(before),
    };
    let done = match bytes {
        Some(bytes) => write(path, bytes, like),
        None => remove(path),
    };
    match done.and_then(|()| settle(path)) {
        Ok(()) => Ok(replaced),
        Err(error) => {
            replaced.put_back()?;
            Err(error)
        }
    }
}

/// A file, what shall be in it (`None` for no file at all), and the file whose owner and
/// mode it gets.
pub type Replacement<'a> = (&'a Path, Option<&'a [u8]>, &'a Path);

/// Replaces all of them or none.
///
/// # Errors
/// A file could not be written: nothing has changed, or, where another one could not be
/// put back, it is half-way, and `way_back` mends that.
pub fn replace_all<'a>(
    files: impl IntoIterator<Item = Replacement<'a>>,
    way_back: &str,
) -> Result<Vec<Replaced>, Failure> {
    let mut done = Vec::new();
    for (path, bytes, like) in files {
        match replace_like(path, bytes, like) {
            Ok(replaced) => done.push(replaced),
            Err(error) => {
                let path = path.display();
                let text = format!("{path} cannot be written, and is as it was: {error}");
                return Err(match put_all_back(done) {
                    Ok(()) => Failure::Refused(text),
                    Err(error) => Failure::HalfWay {
                        why: format!("{text}; another file was not put back: {error}"),
                        way_back: way_back.to_owned(),
                    },
                });
            }
        }
    }
    Ok(done)
}

impl Replaced {
    /// Puts back what was there.
    ///
    /// # Errors
    /// The system's.
    pub fn put_back(self) -> io::Result<()> {
        match &self.before {
            Some(before) => fs::rename(before, &self.path)?,
            None => remove(&self.path)?,
        }
        settle(&self.path)
    }

    /// Forgets what was there.
    pub fn keep(self) {
        if let Some(before) = self.before {
            let _ = remove(&before);
        }
    }
}

fn write(path: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    let new = beside(path, ".new");
    remove(&new)?;
    let written = fill(&new, like, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = remove(&new);
    }
    written
}

fn fill(new: &Path, like: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(new)?;
    if let Ok(status) = fs::metadata(like) {
        fchown(&file, Some(status.uid()), Some(status.gid()))?;
        file.set_permissions(status.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts all of them back.
///
/// # Errors
/// The first that could not be; the others are tried all the same.
pub fn put_all_back(replaced: Vec<Replaced>) -> io::Result<()> {
    let mut outcome = Ok(());
    // The last one first, so that nothing is named that is not there any more.
    for one in replaced.into_iter().rev() {
        outcome = outcome.and(one.put_back());
    }
    outcome
}

/// Makes what was done to the folder last.
fn settle(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file that may not be there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// sshd includes `*.conf`, and so neither of these.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn all_are_replaced_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (one, none) = (folder.path().join("one"), folder.path().join("no/two"));
        fs::write(&one, "old").unwrap();
        let new = Some(&b"new"[..]);
        let files = [(&*one, new, &*one), (&*none, new, &*none)];
        let failure = replace_all(files, "again").unwrap_err();
        assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
        assert_eq!(fs::read(&one).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["one"]);
        for replaced in replace_all(files.into_iter().take(1), "again").unwrap() {
            replaced.keep();
        }
        assert_eq!(fs::read(&one).unwrap(), b"new");
    }

    #[test]
    fn a_file_is_replaced_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let replaced = replace(&path, Some(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        replaced.put_back().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace(&path, Some(b"new")).unwrap().keep();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"new".to_vec(), vec!["x".to_owned()])
        );
        let gone = replace(&path, None).unwrap();
        assert!(!path.exists());
        gone.put_back().unwrap();
        assert_eq!(names(folder.path()), ["x"]);
    }

    #[test]
    fn a_file_that_was_not_there_goes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        replace(&path, Some(b"new")).unwrap().put_back().unwrap();
        assert!(names(folder.path()).is_empty());
    }
}
