//! The configuration file as root left it: opened once without waiting, judged by that descriptor,
//! read whole or not at all. It must stand a fifo, a directory, a link that is swapped between
//! check and use, a file that others can read or write, and one without end (docs/security.md, attack
//! 10).

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use duo_policy::config::{MAX_SIZE, Problem};
use duo_policy::secret::Secret;
use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use crate::privsep::{self, Caller, PrivsepUser, Standing};
use crate::system_words;

/// Where the configuration is, unless somebody says otherwise.
pub const FOLDER: &str = match option_env!("LOGIN_DUO_CONF_DIR") {
    Some(folder) => folder,
    None => "/etc/duo",
};

/// The configuration file, unless somebody says otherwise.
pub fn default_path() -> PathBuf {
    Path::new(FOLDER).join("login_duo.conf")
}

/// Whose the file may be, apart from root (docs/behaviour.md, *Configuration file*). Numbers are user
/// ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners {
    /// The privilege-separation user.
    pub privsep: Option<u32>,
    /// How to find the user `sshd`, to whom the C program's installation gives the file. Asked only
    /// where the file is not root's: this is looked up with privileges.
    pub sshd: Option<fn() -> Option<u32>>,
    /// Whoever runs the program; only where it is not setuid.
    pub caller: Option<u32>,
}

impl Owners {
    /// Whose the file may be for a program that was started so.
    pub fn of(standing: Standing, user: Option<&PrivsepUser>, caller: Caller) -> Owners {
        Owners {
            privsep: user.map(|user| user.uid.as_raw()),
            // Where it cannot be looked up, its files are refused: the stricter answer.
            sshd: Some(|| privsep::user_id("sshd").unwrap_or_default()),
            caller: (standing != Standing::Setuid).then(|| caller.uid.as_raw()),
        }
    }
}

/// A file that passed the checks.
#[derive(Debug)]
pub struct Opened {
    /// At its start.
    pub file: File,
    /// Set if it belongs to a daemon's user; says the `chown`.
    pub warning: Option<Problem>,
}

/// Opens the file and checks that very descriptor: a regular file, of an accepted owner, without
/// any permission for group and others. A symbolic link is followed: it is the file that counts.
///
/// # Errors
/// What is wrong, with the system's words or with the `chown` and `chmod` that mend it.
pub fn open(path: &Path, owners: &Owners) -> Result<Opened, Problem> {
    // O_NONBLOCK: a fifo would stop the login. O_NOCTTY: a terminal would become this session's
    // own.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path);
    let file = opened.map_err(|error| failed("opened", &error))?;
    let status = file.metadata().map_err(|error| failed("checked", &error))?;
    if !status.is_file() {
        return Err(Problem::of_file(format!(
            "is {}, not a regular file",
            kind(status.file_type())
        )));
    }
    let warning = judge(status.uid(), status.mode(), owners, path)?;
    Ok(Opened { file, warning })
}

/// Reads the file to its end.
///
/// # Errors
/// It is longer than [`MAX_SIZE`], it changes under our eyes, or the system's words. Nothing is
/// returned of a file that is read in part: a failmode line might be missing from it.
pub fn read(mut file: &File) -> Result<Secret, Problem> {
    let status = file.metadata();
    let size = status.map_err(|error| failed("checked", &error))?.len();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_SIZE {
        return Err(Problem::too_long());
    }
    // The buffer has its full size from the start: one that grows leaves copies of the secret key
    // behind. The byte more shows whether the end is the end.
    let mut bytes = Zeroizing::new(vec![0; size + 1]);
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read to its end", &error)),
        }
    }
    if length != size {
        return Err(Problem::of_file("changed while it was being read"));
    }
    bytes.truncate(length);
    Ok(Secret::from(std::mem::take(&mut *bytes)))
}

/// Judges a regular file's owner and mode; what is wrong with either is told at once.
fn judge(uid: u32, mode: u32, owners: &Owners, path: &Path) -> Result<Option<Problem>, Problem> {
    let path = path.display();
    // A user's own install has no root to give the file to.
    let rightful = match owners.caller {
        Some(caller) if caller != 0 => caller.to_string(),
        _ => String::from("root"),
    };
    let owner = Some(uid);
    let sshd = owners.sshd.filter(|_| uid != 0).and_then(|find| find());
    let mut faults = Vec::new();
    let mut mending = Vec::new();
    if uid != 0 && ![owners.privsep, sshd, owners.caller].contains(&owner) {
        faults.push(format!("belongs to user id {uid}"));
        mending.push(format!("chown {rightful} {path}"));
    }
    if mode & 0o077 != 0 {
        faults.push(format!(
            "gives permissions to group or others (mode {:04o})",
            mode & 0o7777
        ));
        mending.push(format!("chmod 600 {path}"));
    }
    if !faults.is_empty() {
        let problem = Problem::of_file(faults.join(" and "));
        return Err(problem.mended_by(mending.join(" && ")));
    }
    // Accepted, but the child that talks to the network runs as one of these.
    let daemons = [
        (sshd, "sshd"),
        (owners.privsep, "the privilege-separation user"),
    ];
    let daemon = daemons
        .iter()
        .find(|(id, _)| *id == owner && uid != 0 && owner != owners.caller);
    Ok(daemon.map(|(_, name)| {
        Problem::of_file(format!("belongs to {name}, better to root"))
            .mended_by(format!("chown root {path}"))
    }))
}

fn kind(file: FileType) -> &'static str {
    if file.is_dir() {
        "a directory"
    } else if file.is_fifo() {
        "a fifo"
    } else if file.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn failed(what: &str, error: &io::Error) -> Problem {
    Problem::of_file(format!("cannot be {what}: {}", system_words(error)))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::sys::stat::Mode;
    use nix::unistd::{Uid, mkfifo};

    use super::*;

    /// A folder with the file `c`, 0600, of the running user, and the owners that accept it.
    struct Place {
        folder: tempfile::TempDir,
        owners: Owners,
    }

    impl Place {
        fn new(text: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let place = Self {
                folder,
                owners: Owners {
                    caller: Some(Uid::current().as_raw()),
                    ..Owners::default()
                },
            };
            fs::write(place.path(), text).unwrap();
            place.mode(0o600);
            place
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("c")
        }

        fn mode(&self, mode: u32) {
            fs::set_permissions(self.path(), Permissions::from_mode(mode)).unwrap();
        }

        /// The error, with `C` for the path.
        fn refusal(&self, path: &Path) -> String {
            let problem = open(path, &self.owners).unwrap_err();
            problem.at(path).replace(path.to_str().unwrap(), "C")
        }
    }

    #[test]
    fn a_good_file_is_read_whole() {
        let place = Place::new(b"ikey = \xff\n");
        let opened = open(&place.path(), &place.owners).unwrap();
        assert!(opened.warning.is_none());
        assert_eq!(read(&opened.file).unwrap().expose(), b"ikey = \xff\n");
        place.mode(0o400);
        assert!(open(&place.path(), &place.owners).is_ok());
    }

    #[test]
    fn the_size_has_a_limit() {
        let place = Place::new(&vec![b'\n'; MAX_SIZE]);
        let read_it = || read(&open(&place.path(), &place.owners).unwrap().file);
        assert_eq!(read_it().unwrap().expose().len(), MAX_SIZE);
        fs::write(place.path(), vec![b'\n'; MAX_SIZE + 1]).unwrap();
        assert_eq!(
            read_it().err().unwrap().at(Path::new("C")),
            "C: is longer than 1 MiB"
        );
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let place = Place::new(b"failmode = safe\n");
        let opened = open(&place.path(), &place.owners).unwrap();
        // The descriptor is past the first bytes: as if the file had become shorter.
        (&opened.file).read_exact(&mut [0; 4]).unwrap();
        assert_eq!(
            read(&opened.file).err().unwrap().text,
            "changed while it was being read"
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let folder = File::open("/").unwrap();
        assert_eq!(
            read(&folder).err().unwrap().text,
            "cannot be read to its end: is a directory"
        );
    }

    #[test]
    fn a_link_counts_as_its_file() {
        let place = Place::new(b"");
        let link = place.folder.path().join("link");
        symlink(place.path(), &link).unwrap();
        assert!(open(&link, &place.owners).is_ok());
        place.mode(0o644);
        assert!(open(&link, &place.owners).is_err());
    }

    #[test]
    fn a_fifo_does_not_block() {
        let place = Place::new(b"");
        let fifo = place.folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert_eq!(place.refusal(&fifo), "C: is a fifo, not a regular file");
    }

    #[test]
    fn what_is_no_file() {
        let place = Place::new(b"");
        assert_eq!(
            place.refusal(place.folder.path()),
            "C: is a directory, not a regular file"
        );
        assert_eq!(
            place.refusal(Path::new("/dev/null")),
            "C: is a device, not a regular file"
        );
        let missing = place.folder.path().join("missing");
        assert_eq!(
            place.refusal(&missing),
            "C: cannot be opened: no such file or directory"
        );
    }

    #[test]
    fn any_permission_for_group_or_others_is_refused() {
        let place = Place::new(b"");
        for bit in 0..6 {
            place.mode(0o600 | 1 << bit);
            assert_eq!(
                place.refusal(&place.path()),
                format!(
                    "C: gives permissions to group or others (mode {:04o}); to mend it: chmod 600 C",
                    0o600 | 1 << bit
                )
            );
        }
    }

    fn told(problem: &Problem) -> String {
        let text = problem.at(Path::new("C"));
        text.strip_prefix("C: ").unwrap().to_owned()
    }

    /// Of a file of the user id 4321: what is wrong with it, or the warning.
    fn judged(mode: u32, owners: Owners) -> String {
        match judge(4321, mode, &owners, Path::new("C")) {
            Ok(None) => String::new(),
            Ok(Some(warning)) => format!("warning: {}", told(&warning)),
            Err(problem) => told(&problem),
        }
    }

    #[test]
    fn owners() {
        const MINE: Option<u32> = Some(4321);
        let nobodys = Owners::default();
        let of_caller = |caller| Owners { caller, ..nobodys };
        let of_privsep = |privsep| Owners { privsep, ..nobodys };
        let of_sshd = Owners {
            sshd: Some(|| MINE),
            ..nobodys
        };
        let wrong = "belongs to user id 4321";
        let mend = "to mend it: chown root C";
        let table = [
            (nobodys, format!("{wrong}; {mend}")),
            (of_caller(Some(0)), format!("{wrong}; {mend}")),
            (
                of_caller(Some(1000)),
                format!("{wrong}; to mend it: chown 1000 C"),
            ),
            (of_caller(MINE), String::new()),
            (of_privsep(Some(1000)), format!("{wrong}; {mend}")),
            (
                of_privsep(MINE),
                "warning: belongs to the privilege-separation user, better to root; to mend it: chown root C"
                    .to_owned(),
            ),
            (
                of_sshd,
                "warning: belongs to sshd, better to root; to mend it: chown root C".to_owned(),
            ),
            (
                Owners {
                    privsep: MINE,
                    sshd: Some(|| MINE),
                    caller: Some(1000),
                },
                "warning: belongs to sshd, better to root; to mend it: chown root C".to_owned(),
            ),
        ];
        for (owners, expected) in table {
            assert_eq!(judged(0o100_600, owners), expected, "{owners:?}");
            assert_eq!(judge(0, 0o100_600, &owners, Path::new("C")), Ok(None));
        }
        assert_eq!(
            judged(0o100_666, nobodys),
            "belongs to user id 4321 and gives permissions to group or others (mode 0666); \
             to mend it: chown root C && chmod 600 C"
        );
    }
}
