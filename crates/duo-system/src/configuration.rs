//! Opening and reading the configuration file. The file is opened once and without waiting, its
//! owner, type and mode are checked on that descriptor, and it is read whole or not at all. It may
//! be a fifo, a directory, a link that is replaced between check and use, a file that others can
//! read or write, or a file without end (docs/security.md, attack 10).

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

/// The folder of the default configuration file (`LOGIN_DUO_CONF_DIR` at build time).
pub const FOLDER: &str = match option_env!("LOGIN_DUO_CONF_DIR") {
    Some(folder) => folder,
    None => "/etc/duo",
};

/// The path of login_duo's configuration file where no option names another.
pub fn default_path() -> PathBuf {
    Path::new(FOLDER).join("login_duo.conf")
}

/// The path of pam_duo.so's configuration file where no argument names another.
pub fn default_pam_path() -> PathBuf {
    Path::new(FOLDER).join("pam_duo.conf")
}

/// The user ids, apart from root's, to whom the file may belong (docs/behaviour.md, *Configuration
/// file*).
#[derive(Clone, Copy, Debug, Default)]
pub struct Owners {
    /// The privilege-separation user.
    privsep: Option<u32>,
    /// Looks up the user `sshd`, to whom the C program's installation gives the file. Called only
    /// where the file is not root's, since the lookup happens with privileges.
    sshd: Option<fn() -> Option<u32>>,
    /// The caller, where the program is not setuid.
    caller: Option<u32>,
}

impl Owners {
    /// The owners that a program accepts that was started like this.
    pub fn of(standing: Standing, user: Option<&PrivsepUser>, caller: Caller) -> Owners {
        Owners {
            privsep: user.map(|user| user.uid.as_raw()),
            // If the lookup of sshd fails, a file of sshd's is refused: the stricter answer.
            sshd: Some(|| privsep::user_id("sshd").unwrap_or_default()),
            caller: (standing != Standing::Setuid).then(|| caller.uid.as_raw()),
        }
    }
}

/// A file that passed the checks.
#[derive(Debug)]
pub struct Opened {
    /// The file, of which nothing has been read yet.
    pub file: File,
    /// The warning, with its `chown`, if the file belongs to the user of a daemon.
    pub warning: Option<Problem>,
}

/// Opens the file and checks that same descriptor: it must be a regular file of an accepted owner,
/// without any permission for group and others. A symbolic link is followed, and its target checked.
///
/// # Errors
/// The problem, with the system's words or with the `chown` and `chmod` that mend it.
pub fn open(path: &Path, owners: &Owners) -> Result<Opened, Problem> {
    // Without O_NONBLOCK, opening a fifo would wait for a writer. Without O_NOCTTY, a terminal
    // could become this session's controlling terminal.
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
    let warning = check_owner_and_mode(status.uid(), status.mode(), owners, path)?;
    Ok(Opened { file, warning })
}

/// Reads the file to its end.
///
/// # Errors
/// The problem: the file is longer than [`MAX_SIZE`], it changes while it is read, or read fails.
/// No part of such a file is returned, since the missing part may have a failmode line.
pub fn read(mut file: &File) -> Result<Secret, Problem> {
    let status = file.metadata();
    let size = status.map_err(|error| failed("checked", &error))?.len();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_SIZE {
        return Err(Problem::too_long());
    }
    // The buffer has its full size from the start: a buffer that grows leaves copies of the secret
    // key in memory. It has one byte more, to see whether the file has grown.
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

/// Checks a regular file's owner and mode, and returns a warning if the owner is accepted but not
/// the best one. The error has what is wrong with both.
fn check_owner_and_mode(
    uid: u32,
    mode: u32,
    owners: &Owners,
    path: &Path,
) -> Result<Option<Problem>, Problem> {
    let path = path.display();
    // In a user's own install the file should be the user's.
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
    // These owners are accepted with a warning: the child that talks to the network runs as one of
    // them, and could rewrite the file if it was taken over.
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

        /// The error of opening `path`, with `C` for the path.
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
        // The descriptor is past the first bytes, as if the file had become shorter.
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
    fn what_is_no_regular_file_is_refused() {
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

    fn without_path(problem: &Problem) -> String {
        let text = problem.at(Path::new("C"));
        text.strip_prefix("C: ").unwrap().to_owned()
    }

    /// The problem or the warning of a file that belongs to the user id 4321.
    fn checked(mode: u32, owners: Owners) -> String {
        match check_owner_and_mode(4321, mode, &owners, Path::new("C")) {
            Ok(None) => String::new(),
            Ok(Some(warning)) => format!("warning: {}", without_path(&warning)),
            Err(problem) => without_path(&problem),
        }
    }

    #[test]
    fn only_root_the_daemons_and_the_caller_may_own_the_file() {
        const MINE: Option<u32> = Some(4321);
        let nobody = Owners::default();
        let of_caller = |caller| Owners { caller, ..nobody };
        let of_privsep = |privsep| Owners { privsep, ..nobody };
        let of_sshd = Owners {
            sshd: Some(|| MINE),
            ..nobody
        };
        let wrong = "belongs to user id 4321";
        let mend = "to mend it: chown root C";
        let table = [
            (nobody, format!("{wrong}; {mend}")),
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
            assert_eq!(checked(0o100_600, owners), expected, "{owners:?}");
            let of_root = check_owner_and_mode(0, 0o100_600, &owners, Path::new("C"));
            assert_eq!(of_root, Ok(None));
        }
        assert_eq!(
            checked(0o100_666, nobody),
            "belongs to user id 4321 and gives permissions to group or others (mode 0666); \
             to mend it: chown root C && chmod 600 C"
        );
    }
}
