//! The folder with `ca.pem` and the configuration file, gone when we are.

use fake_duo::FakeDuo;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What `FakeDuo::write_config` writes.
const FILES: [&str; 2] = ["ca.pem", "login_duo.conf"];

/// A folder whose files, and which itself if it was new, are removed when this is dropped.
pub struct Folder {
    path: PathBuf,
    is_ours: bool,
    is_filled: bool,
}

impl Folder {
    /// A new folder for temporary files.
    pub fn fresh() -> io::Result<Self> {
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let name = format!("fake-duo-{}-{nanos:09}", std::process::id());
        Self::create(parent_that_all_can_enter().join(name))
    }

    /// This folder, made if it is not there.
    pub fn at(path: PathBuf) -> io::Result<Self> {
        if !path.is_dir() {
            return Self::create(path);
        }
        // It may be /etc/duo, and the file the real one.
        if let Some(file) = FILES
            .iter()
            .find(|file| path.join(file).symlink_metadata().is_ok())
        {
            return Err(io::Error::other(format!(
                "{} already exists; remove it or choose another folder",
                path.join(file).display()
            )));
        }
        Ok(Self {
            path,
            is_ours: false,
            is_filled: false,
        })
    }

    fn create(path: PathBuf) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot make {}: {error}", path.display()),
            )
        };
        DirBuilder::new().mode(0o755).create(&path).map_err(named)?;
        // Whatever the umask: login_duo's unprivileged child must be able to read ca.pem.
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(named)?;
        Ok(Self {
            path,
            is_ours: true,
            is_filled: false,
        })
    }

    /// Writes the configuration for `duo`; its path.
    pub fn fill(&mut self, duo: &FakeDuo) -> io::Result<PathBuf> {
        self.is_filled = true;
        duo.write_config(&self.path, extra_lines(duo))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is gone already is as good as removed.
        if self.is_filled {
            for file in FILES {
                let _ = fs::remove_file(self.path.join(file));
            }
        }
        if self.is_ours {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// What the configuration has besides the keys: with a phone, all that a phone can show.
pub fn extra_lines(duo: &FakeDuo) -> &'static str {
    match duo.phone() {
        Some(_) => "pushinfo = yes\nverified_push = yes",
        None => "",
    }
}

/// The usual place for temporary files, unless other users cannot enter it; then /tmp.
fn parent_that_all_can_enter() -> PathBuf {
    let usual = std::env::temp_dir();
    let can_be_entered = |folder: &Path| {
        fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    };
    match fs::canonicalize(&usual) {
        Ok(path) if path.ancestors().all(can_be_entered) => path,
        _ => PathBuf::from("/tmp"),
    }
}
