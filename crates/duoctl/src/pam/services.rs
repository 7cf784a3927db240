//! The files of PAM's services on this machine, as they are and as they would be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::stack::{Files, Step, steps};

/// The administrator's files, which count before the distribution's.
pub const FOLDER: &str = "etc/pam.d";

/// The distribution's.
const VENDOR: &str = "usr/lib/pam.d";

/// Services that are enabled together: the same person, the same program.
const FAMILIES: [&[&str]; 4] = [&["sshd"], &["sudo", "sudo-i"], &["su", "su-l"], &["login"]];

/// The services that come with the one of this name; none if it is not known here.
pub fn family(name: &str) -> Option<&'static [&'static str]> {
    FAMILIES.into_iter().find(|names| names.contains(&name))
}

/// Every service that can be enabled.
pub fn all() -> impl Iterator<Item = &'static str> {
    FAMILIES.into_iter().flatten().copied()
}

/// PAM's files, with some of them as they would be.
#[derive(Debug, Clone)]
pub struct Services {
    root: PathBuf,
    /// What stands in a file, whatever is on the disk.
    pub instead: BTreeMap<PathBuf, Vec<u8>>,
}

impl Services {
    /// Those of this machine.
    pub fn of_this_machine() -> Services {
        Services::below(Path::new("/"))
    }

    /// Those of the machine whose files are below `root`.
    pub fn below(root: &Path) -> Services {
        Services {
            root: root.to_owned(),
            instead: BTreeMap::new(),
        }
    }

    /// The administrator's file of a service, whether or not it is there. Where that is a
    /// symbolic link, the file to which it leads, so that whoever writes it keeps the link.
    pub fn own_file(&self, service: &str) -> PathBuf {
        let path = self.root.join(FOLDER).join(service);
        path.canonicalize().unwrap_or(path)
    }

    /// The distribution's file of a service.
    pub fn vendor_file(&self, service: &str) -> PathBuf {
        self.root.join(VENDOR).join(service)
    }

    /// The steps of a service's auth stack, if it has a file.
    pub fn steps(&self, service: &str) -> Option<Vec<Step>> {
        self.read(service)?;
        Some(steps(self, service))
    }

    /// The names of all services that have a file.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = [FOLDER, VENDOR]
            .iter()
            .flat_map(|folder| fs::read_dir(self.root.join(folder)).into_iter().flatten())
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            // What editors and packages leave beside a file is no service in use.
            .filter(|name| !name.contains(['.', '~', '#']))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Files for Services {
    fn read(&self, name: &str) -> Option<(String, Vec<u8>)> {
        let paths = match name.starts_with('/') {
            true => vec![PathBuf::from(name)],
            false => vec![self.own_file(name), self.vendor_file(name)],
        };
        paths.into_iter().find_map(|path| {
            let bytes = match self.instead.get(&path) {
                Some(bytes) => bytes.clone(),
                None => fs::read(&path).ok()?,
            };
            Some((path.display().to_string(), bytes))
        })
    }
}
