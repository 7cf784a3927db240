//! Duo's program: where it is, which file it reads, and what both must be like for it to ask. Its
//! source is not read; which file it reads stands in the program as a text.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use duo_system::{privsep, system_words};
use serde::{Deserialize, Serialize};

use crate::outcome::{Failure, Report};
use crate::ssh::replace::{remove, replace};
use crate::state;

/// More than the program has, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// The user that it runs as, and to whom its file must belong.
const USER: &str = "sshd";

/// Setuid, as it must be to read its file.
const MODE: u32 = 0o4755;

/// For its file.
const CONFIG_MODE: u32 = 0o600;

/// Duo's program.
#[derive(Debug, Serialize, Deserialize)]
pub struct Theirs {
    /// Its file.
    pub program: PathBuf,
    /// The file that it reads.
    pub config: PathBuf,
    /// To whom that file belonged.
    owner: Option<u32>,
}

/// Where it is written down what was adopted.
pub fn record() -> PathBuf {
    state::file("adopted.json")
}

/// Where install.sh puts the program aside that it replaces.
pub fn kept_by_installer(ours: &Path) -> PathBuf {
    ours.with_file_name("login_duo.before")
}

impl Theirs {
    /// The one at `program`.
    ///
    /// # Errors
    /// It is not there, or is none of Duo's.
    pub fn of(program: &Path) -> Result<Theirs, Failure> {
        let shown = program.display();
        let bytes = content(program)
            .map_err(|error| Failure::refused(format!("{shown}: {}", system_words(&error))))?;
        let config = configuration_in(&bytes).ok_or_else(|| {
            Failure::refused(format!(
                "{shown} names no login_duo.conf: it is not Duo's login_duo"
            ))
        })?;
        let owner = fs::metadata(&config).map(|status| status.uid());
        let owner = owner.ok().filter(|uid| *uid != 0);
        Ok(Theirs {
            program: program.to_owned(),
            config,
            owner,
        })
    }

    /// The one that was adopted.
    ///
    /// # Errors
    /// None was.
    pub fn noted() -> Result<Theirs, Failure> {
        let bytes = fs::read(record()).map_err(|_| {
            Failure::refused("nothing was adopted here: name Duo's program with --from")
        })?;
        let theirs: Theirs = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::refused(format!("{} cannot be used: {error}", record().display()))
        })?;
        match theirs.program.is_file() {
            true => Ok(theirs),
            false => Err(Failure::refused(format!(
                "{} is gone: install its package again first",
                theirs.program.display()
            ))),
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The system's.
    pub fn note(&self) -> Result<(), Failure> {
        let path = record();
        let written = (|| {
            state::make_folder(Path::new(state::FOLDER))?;
            let bytes = serde_json::to_vec(self)?;
            replace(&path, Some(&bytes))?.keep();
            Ok(())
        })();
        written.map_err(|error: io::Error| {
            Failure::refused(format!("{}: {}", path.display(), system_words(&error)))
        })
    }

    /// Takes the place of `ours` in one step; where that one is then, without its setuid bit.
    ///
    /// # Errors
    /// The system's; all is as it was then.
    pub fn take_the_place_of(&self, ours: &Path) -> io::Result<PathBuf> {
        let aside = ours.with_file_name("login_duo.after");
        remove(&aside)?;
        fs::hard_link(ours, &aside)?;
        fs::rename(&self.program, ours).inspect_err(|_| {
            let _ = remove(&aside);
        })?;
        fs::set_permissions(&aside, Permissions::from_mode(0o755))?;
        Ok(aside)
    }

    /// Gives the program its setuid bit, and its file to the user that it runs as: without either
    /// it lets everybody in.
    ///
    /// # Errors
    /// The system's; all is as it was then.
    pub fn make_ready(&self, report: &mut Report) -> Result<Readied, Failure> {
        let user = privsep::user_id(USER).ok().flatten();
        let owner = self.owner.or(user).ok_or_else(|| {
            Failure::refused(format!(
                "there is no user '{USER}', as whom Duo's program runs"
            ))
        })?;
        let mut readied = Readied::default();
        for (path, uid, mode) in [(&self.program, 0, MODE), (&self.config, owner, CONFIG_MODE)] {
            let shown = path.display();
            if let Err(error) = readied.set(path, uid, mode) {
                readied.undo(report);
                let why = system_words(&error);
                return Err(Failure::refused(format!(
                    "{shown} cannot be made ready: {why}"
                )));
            }
            report.say(format!("{shown} belongs to user id {uid}, mode {mode:04o}"));
        }
        Ok(readied)
    }
}

/// Owner and mode of files before they were changed.
#[derive(Default)]
pub struct Readied(Vec<(PathBuf, u32, u32, u32)>);

impl Readied {
    fn set(&mut self, path: &Path, uid: u32, mode: u32) -> io::Result<()> {
        let status = fs::metadata(path)?;
        let gid = if uid == 0 { 0 } else { status.gid() };
        self.0.push((
            path.to_owned(),
            status.uid(),
            status.gid(),
            status.mode() & 0o7777,
        ));
        put(path, uid, gid, mode)
    }

    /// Gives all of them back.
    pub fn undo(self, report: &mut Report) {
        for (path, uid, gid, mode) in self.0 {
            if let Err(error) = put(&path, uid, gid, mode) {
                let why = system_words(&error);
                report.warn(format!("{} is not as it was: {why}", path.display()));
            }
        }
    }
}

/// The owner first: a change of owner takes the setuid bit away.
fn put(path: &Path, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    chown(path, Some(uid), Some(gid))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// A program's bytes.
///
/// # Errors
/// The system's.
pub fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The path of login_duo's configuration that stands in a program.
fn configuration_in(program: &[u8]) -> Option<PathBuf> {
    path_in(program, "login_duo.conf")
}

/// The path of a file of this name that stands in a program.
pub fn path_in(program: &[u8], name: &str) -> Option<PathBuf> {
    let text = format!("/{name}\0");
    let at = program
        .windows(text.len())
        .position(|window| window == text.as_bytes())?;
    let before = program.get(..at)?;
    let is_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
    let length = before.iter().rev().take_while(|byte| is_path(byte)).count();
    let folder = before.get(at - length..)?;
    let folder = std::str::from_utf8(folder).ok()?;
    folder
        .starts_with('/')
        .then(|| Path::new(folder).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_a_program_reads_stands_in_it() {
        let of = |program: &[u8]| configuration_in(program);
        assert_eq!(
            of(b"\x7fELF\0Couldn't\0/etc/security/login_duo.conf\0/etc/motd\0"),
            Some(PathBuf::from("/etc/security/login_duo.conf"))
        );
        assert_eq!(of(b"\x7fELF\0relative/login_duo.conf\0"), None);
        assert_eq!(of(b"\x7fELF\0/etc/pam_duo.conf\0"), None);
    }

    #[test]
    fn what_was_made_ready_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "").unwrap();
        put(
            &path,
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
            0o640,
        )
        .unwrap();
        let mut readied = Readied::default();
        readied
            .set(&path, nix::unistd::geteuid().as_raw(), 0o4755)
            .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4755);
        for (path, uid, gid, mode) in readied.0 {
            put(&path, uid, gid, mode).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    }
}
