//! The file by which `fake-duo phone` finds the phone that the same user started last.
//!
//! The address in it lets whoever reads it approve, so only that user may. In /tmp another user could have made the folder
//! before: it must be the user's own.

use crate::say;
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// The file, while its service runs.
pub struct Rendezvous {
    path: PathBuf,
    address: String,
}

impl Rendezvous {
    /// Leaves the address there; says why if it cannot, since the phone works without.
    pub fn keep(address: &str) -> Option<Self> {
        Self::try_keep(address)
            .inspect_err(|error| say(&format!("fake-duo phone needs the address: {error}")))
            .ok()
    }

    fn try_keep(address: &str) -> io::Result<Self> {
        let folder = folder()?;
        let path = folder.join("phone");
        // A new file under the old name: whoever reads it sees the one or the other.
        let fresh = folder.join(format!("phone.{}", std::process::id()));
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?
            .write_all(address.as_bytes())?;
        fs::rename(&fresh, &path)?;
        Ok(Self {
            path,
            address: address.to_owned(),
        })
    }
}

impl Drop for Rendezvous {
    fn drop(&mut self) {
        // Another service may have been started since.
        if fs::read_to_string(&self.path).is_ok_and(|address| address == self.address) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The address that was left last.
pub fn find() -> io::Result<String> {
    let path = folder()?.join("phone");
    fs::read_to_string(&path).map_err(|_| {
        io::Error::other(
            "no phone is there: start fake-duo serve --phone or demo --phone, or name the address that it printed",
        )
    })
}

fn folder() -> io::Result<PathBuf> {
    let of_session = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let folder = match of_session {
        Some(path) => PathBuf::from(path).join("fake-duo"),
        None => PathBuf::from(format!("/tmp/fake-duo.{}", geteuid())),
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = folder.symlink_metadata()?;
    let is_ours =
        metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0;
    match is_ours {
        true => Ok(folder),
        false => Err(io::Error::other(format!(
            "{} is not a folder of yours alone",
            folder.display()
        ))),
    }
}
