//! The emergency codes of an account, in a file that root opened for this login before it
//! dropped its privileges. A code is used up before it opens anything, so that of two logins
//! with one code only one gets in, and a machine that stops in between costs a code and never
//! gives one twice (docs/emergency.md, *How a code is used up*).

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use duo_policy::clock::Clock;
use duo_policy::codes::{Code, EmergencyCodes, LONGEST_FILE, Slots, USED};
use duo_policy::error::Error;
use duo_policy::verdict::UsedUp;
use nix::errno::Errno;

use crate::account::Account;
use crate::account_file::{self, Lock, Missing, Patience, Sharing};
use crate::privsep::Standing;
use crate::system_words;

/// The folder of the codes: one file for each user id. duoctl makes it.
pub const FOLDER: &str = "/var/lib/login_duo/codes";

/// For the lock of the file: 2 s in all. Another login needs some milliseconds. A process that
/// holds the lock for longer was taken over, or stands still: a user can freeze their own
/// login_duo in a control group of theirs. Both deny logins of their own account alone, and
/// root makes and revokes its codes all the same.
const PATIENCE: Patience = Patience {
    tries: 200,
    pause: Duration::from_millis(10),
};

/// The file of one account, as root opened it.
#[derive(Debug)]
pub struct Opened {
    /// Whose it is.
    uid: u32,
    /// Why there is none, if something is wrong.
    trouble: Option<Error>,
}

/// Opens the file of the account `uid`, as root. What is wrong with it is told only to a login
/// that needs a code: nothing here keeps anybody out who does not.
pub fn open(standing: Standing, uid: Option<u32>) -> (Option<File>, Option<Opened>) {
    let (Some(uid), Standing::Root | Standing::Setuid) = (uid, standing) else {
        return (None, None);
    };
    match account_file::open(Path::new(FOLDER), uid, Missing::Leave) {
        Ok(file) => (file, Some(Opened { uid, trouble: None })),
        Err(error) => {
            let trouble = Some(error);
            (None, Some(Opened { uid, trouble }))
        }
    }
}

/// The codes of the account that logs in, in the child.
pub struct Codes<'a> {
    file: Result<&'a File, String>,
    clock: &'a dyn Clock,
}

impl<'a> Codes<'a> {
    /// The codes in `file`, which root opened as `opened` says, if they are those of `account`.
    pub fn of(
        account: &Account,
        file: Option<&'a File>,
        opened: Option<&Opened>,
        clock: &'a dyn Clock,
    ) -> Codes<'a> {
        let file = match (file, opened) {
            // What the front end said of this login, before anybody looked the account up, is
            // not what its codes may depend on.
            (Some(_), Some(opened)) if !account.has_uid(opened.uid) => {
                Err("the emergency codes that were opened are another account's".to_owned())
            }
            (Some(file), Some(_)) => Ok(file),
            (None, Some(Opened { trouble, .. })) if trouble.is_some() => {
                let trouble = trouble.iter().map(ToString::to_string);
                Err(trouble.collect())
            }
            _ => Err("this account has no emergency codes".to_owned()),
        };
        Codes { file, clock }
    }

    fn try_to_use_up(&self, file: &File, code: &Code) -> Result<Option<UsedUp>, Error> {
        let failed = |error: std::io::Error| Error::fault(USING_UP, system_words(&error));
        let _lock = lock(file, self.clock)?;
        // Whoever makes or revokes codes takes this lock too, before the file loses its name.
        // NFS renames an open file instead of removing it, so the folder must be on a local file
        // system (docs/emergency.md, *How a code is used up*).
        if file.metadata().map_err(failed)?.nlink() == 0 {
            return Err(Error::Fault(
                "the emergency codes were replaced meanwhile".to_owned(),
            ));
        }
        // Another login may have used the code up since this one began.
        let bytes = read(file).map_err(failed)?;
        let slots = slots(&bytes).map_err(Error::Fault)?;
        let Some(place) = slots.find(code) else {
            return Ok(None);
        };
        file.write_all_at(&USED, place).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        let left = slots.left().saturating_sub(1);
        Ok(Some(UsedUp { left }))
    }
}

const USING_UP: &str = "use an emergency code up";

impl EmergencyCodes for Codes<'_> {
    fn left(&self) -> Result<usize, String> {
        let file = self.file.clone()?;
        let failed = |error| Error::fault("read the emergency codes", system_words(&error));
        let bytes = read(file).map_err(|error| failed(error).to_string())?;
        slots(&bytes).map(|slots| slots.left())
    }

    fn use_up(&self, code: &Code) -> Result<Option<UsedUp>, Error> {
        let file = self.file.clone().map_err(Error::Fault)?;
        self.try_to_use_up(file, code)
    }
}

/// The whole file, or as much of it as may be one of codes.
///
/// # Errors
/// Those of the system.
pub fn read(file: &File) -> std::io::Result<Vec<u8>> {
    account_file::read(file, LONGEST_FILE)
}

/// The slots in the bytes of a file of codes.
///
/// # Errors
/// Why the account has no codes.
pub fn slots(bytes: &[u8]) -> Result<Slots<'_>, String> {
    Slots::read(bytes).ok_or_else(|| "the file of emergency codes is damaged".to_owned())
}

/// Takes the lock of a file of codes, and waits 2 s at most for whoever holds it.
///
/// # Errors
/// [`Error::Fault`] if it cannot be had.
pub fn lock<'a>(file: &'a File, clock: &dyn Clock) -> Result<Lock<'a>, Error> {
    Lock::take(file, Sharing::Nobody, PATIENCE, clock).map_err(|errno| {
        let why = match errno {
            Errno::EAGAIN => "another login holds them",
            other => other.desc(),
        };
        Error::fault("lock the emergency codes", why)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use duo_policy::codes::{CODE, SALT, file_of};
    use zeroize::Zeroizing;

    use super::*;
    use crate::wait::SystemClock;

    fn code(number: u8) -> Code {
        Code::of(Zeroizing::new([number; CODE]))
    }

    /// A file with so many codes, by its path.
    fn made(count: u8) -> tempfile::NamedTempFile {
        let codes: Vec<_> = (0..count).map(|n| (code(n), [n; SALT])).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), file_of(&codes)).unwrap();
        file
    }

    fn opened(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn codes(file: &File) -> Codes<'_> {
        Codes {
            file: Ok(file),
            clock: &SystemClock,
        }
    }

    #[test]
    fn a_code_is_good_once() {
        let made = made(3);
        let file = opened(made.path());
        let codes = codes(&file);
        assert_eq!(codes.left(), Ok(3));
        assert_eq!(codes.use_up(&code(9)), Ok(None));
        assert_eq!(codes.use_up(&code(1)), Ok(Some(UsedUp { left: 2 })));
        assert_eq!(codes.use_up(&code(1)), Ok(None));
        assert_eq!(codes.left(), Ok(2));
    }

    /// `LOGIN_DUO_ROUNDS=1000` makes a thousand of it.
    #[test]
    fn of_two_logins_with_one_code_one_gets_in() {
        let rounds = std::env::var("LOGIN_DUO_ROUNDS").ok();
        let rounds = rounds.map_or(50, |rounds| rounds.parse().unwrap());
        for round in 0..rounds {
            let made = made(2);
            let barrier = Barrier::new(2);
            let log_in = || {
                let file = opened(made.path());
                barrier.wait();
                codes(&file).use_up(&code(1)).unwrap().is_some()
            };
            let both = thread::scope(|scope| {
                let other = scope.spawn(log_in);
                [log_in(), other.join().unwrap()]
            });
            assert_ne!(both[0], both[1], "round {round}");
        }
    }

    #[test]
    fn a_file_that_was_replaced_gives_no_code_any_more() {
        let made = made(2);
        let file = opened(made.path());
        made.close().unwrap();
        let error = codes(&file).use_up(&code(1)).unwrap_err();
        assert!(error.to_string().contains("replaced"), "{error}");
    }

    #[test]
    fn a_lock_that_is_never_given_back_is_waited_for_in_vain_and_not_for_ever() {
        let made = made(2);
        let (holder, file) = (opened(made.path()), opened(made.path()));
        let lock = super::lock(&holder, &SystemClock).unwrap();
        let error = codes(&file).use_up(&code(1)).unwrap_err();
        assert!(error.to_string().contains("another login holds them"));
        drop(lock);
        assert!(codes(&file).use_up(&code(1)).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_written_opens_nothing() {
        let made = made(2);
        let read_only = File::open(made.path()).unwrap();
        let error = codes(&read_only).use_up(&code(1)).unwrap_err();
        assert!(matches!(error, Error::Fault(_)), "{error}");
        assert_eq!(codes(&read_only).left(), Ok(2));
    }

    #[test]
    fn a_damaged_file_has_no_codes() {
        let made = made(2);
        for bytes in [&b""[..], b"x", &[0; 5_000]] {
            std::fs::write(made.path(), bytes).unwrap();
            let file = opened(made.path());
            assert!(codes(&file).left().is_err());
            assert!(codes(&file).use_up(&code(1)).is_err());
        }
    }
}
