//! Approvals that count for one connection of sshd's (`remember = connection`): what names a
//! connection, what an approval holds for, and the file of them, to which a child without
//! privileges writes (docs/security.md, *Remembered connections*).
//!
//! An earlier child may have been taken over, so the file is hostile: it is records of one size,
//! nothing in it is believed but a digest that is computed again, and a time.

use std::time::Duration;

use crate::config::Signature;
use crate::cryptography::hmac_hex;
use crate::secret::Secret;

/// The id of a boot, as /proc/sys/kernel/random/boot_id has it.
pub type Boot = [u8; 36];

/// The longest that an approval may count under any configuration.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A connection: the process of sshd's that is root's and belongs to it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The boot in which the other three name a process.
    pub boot: Boot,
    /// The process.
    pub pid: u32,
    /// Its session, getsid(2).
    pub session: u32,
    /// When it was started, in clock ticks since the boot: field 22 of proc_pid_stat(5).
    pub start: u64,
}

/// A file as it was at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// When it was written to: seconds, and nanoseconds of the second.
    pub modified: (i64, i64),
}

/// All that must be as it was when a person said yes. Anything else, and they are asked.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// Whose account it is.
    pub uid: u32,
    /// The account's groups, in the order of their numbers.
    pub groups: &'a [u32],
    /// The name that Duo knows.
    pub duo_user: &'a str,
    /// The integration key.
    pub ikey: &'a str,
    /// The secret key, without which nobody can write an approval that counts.
    pub skey: &'a Secret,
    /// Duo's host and port.
    pub host: &'a str,
    /// The configuration file.
    pub configuration: FileIdentity,
}

impl Circumstances<'_> {
    /// Their digest, keyed with the secret key; `None` if there is none. Each part has its length
    /// in front, so that no two sets of them become the same bytes; and no request to Duo, which
    /// the same key signs, begins like this.
    pub fn digest(&self) -> Option<Digest> {
        let connection = self.connection;
        let file = self.configuration;
        let mut numbers = vec![
            u64::from(connection.pid),
            u64::from(connection.session),
            connection.start,
            u64::from(self.uid),
            file.device,
            file.inode,
            file.modified.0.cast_unsigned(),
            file.modified.1.cast_unsigned(),
        ];
        // The groups stand last, so that each number before them has its place.
        numbers.extend(self.groups.iter().map(|group| u64::from(*group)));
        let mut bytes = Vec::new();
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let texts = [self.duo_user, self.ikey, self.host].map(str::as_bytes);
        let mut message = b"login_duo connection 1".to_vec();
        for part in [&connection.boot[..], &bytes].into_iter().chain(texts) {
            message.extend_from_slice(&(part.len() as u64).to_le_bytes());
            message.extend_from_slice(part);
        }
        let digits = hmac_hex(Signature::Sha512, self.skey.expose(), &message);
        digits.as_bytes().first_chunk().copied().map(Digest)
    }
}

/// What an approval holds for: the first 128 bits of the HMAC, as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// A person's yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    digest: Digest,
    /// The first digits of the boot's id: enough to clear away what another boot has left.
    boot: [u8; 8],
    start: u64,
    /// By CLOCK_BOOTTIME, in milliseconds.
    at: u64,
    pid: u32,
    session: u32,
}

impl Approval {
    /// The bytes of one. They divide a page, so a write that is cut at the end of a page cuts no
    /// record.
    pub const SIZE: usize = 64;

    /// A yes of now, under these circumstances.
    pub fn new(circumstances: &Circumstances<'_>, now: Duration) -> Option<Approval> {
        let connection = circumstances.connection;
        Some(Approval {
            digest: circumstances.digest()?,
            boot: start_of(&connection.boot),
            start: connection.start,
            at: milliseconds(now),
            pid: connection.pid,
            session: connection.session,
        })
    }

    /// The process that names its connection, and that process's session.
    pub fn process(&self) -> (u32, u32) {
        (self.pid, self.session)
    }

    fn append_to(&self, file: &mut Vec<u8>) {
        file.extend_from_slice(&self.digest.0);
        file.extend_from_slice(&self.boot);
        file.extend_from_slice(&self.start.to_le_bytes());
        file.extend_from_slice(&self.at.to_le_bytes());
        file.extend_from_slice(&self.pid.to_le_bytes());
        file.extend_from_slice(&self.session.to_le_bytes());
    }

    fn from_bytes(bytes: &[u8]) -> Option<Approval> {
        let (digest, rest) = bytes.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let (pid, rest) = rest.split_first_chunk()?;
        Some(Approval {
            digest: Digest(*digest),
            boot: *boot,
            start: u64::from_le_bytes(*start),
            at: u64::from_le_bytes(*at),
            pid: u32::from_le_bytes(*pid),
            session: u32::from_le_bytes(*rest.first_chunk()?),
        })
    }

    /// How old it is; `None` if it is of the future.
    fn age(&self, now: Duration) -> Option<Duration> {
        let age = milliseconds(now).checked_sub(self.at)?;
        Some(Duration::from_millis(age))
    }
}

fn start_of(boot: &Boot) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *boot;
    [a, b, c, d, e, f, g, h]
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What is so when approvals are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// This boot.
    pub boot: Boot,
    /// The time by CLOCK_BOOTTIME.
    pub time: Duration,
    /// How long an approval counts (`remember_max`).
    pub longest: Duration,
}

impl Now {
    fn counts(&self, approval: &Approval) -> bool {
        let age = approval.age(self.time);
        approval.boot == start_of(&self.boot) && age.is_some_and(|age| age < self.longest)
    }
}

/// Each connection that a file may hold is approved already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The approvals of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals(Vec<Approval>);

impl Approvals {
    /// The most that a file may hold.
    pub const MOST: usize = 256;

    /// The most bytes of a file.
    pub const LONGEST_FILE: usize = Approvals::MOST * Approval::SIZE;

    /// Reads a file; `None` if it is anything but whole records, or has too many.
    pub fn read(file: &[u8]) -> Option<Approvals> {
        let records = file.chunks_exact(Approval::SIZE);
        let is_whole = records.remainder().is_empty() && file.len() <= Approvals::LONGEST_FILE;
        let approvals = records.map(Approval::from_bytes).collect::<Option<_>>();
        approvals.filter(|_| is_whole).map(Approvals)
    }

    /// The file of them.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for approval in &self.0 {
            approval.append_to(&mut file);
        }
        file
    }

    /// How long ago a person said yes under these circumstances, if that counts still.
    pub fn age(&self, digest: &Digest, now: &Now) -> Option<Duration> {
        let all = self.0.iter();
        let fits = |approval: &&Approval| approval.digest == *digest && now.counts(approval);
        all.filter(fits)
            .filter_map(|approval| approval.age(now.time))
            .min()
    }

    /// Takes out what counts no longer: the approvals of another boot, those that are too old,
    /// and those of connections that have ended.
    pub fn forget_ended(&mut self, now: &Now, is_open: impl Fn(&Approval) -> bool) {
        self.0
            .retain(|approval| now.counts(approval) && is_open(approval));
    }

    /// Adds an approval, in the place of one for the same circumstances.
    ///
    /// # Errors
    /// [`Full`] if there is no room for it.
    pub fn add(&mut self, approval: Approval) -> Result<(), Full> {
        self.0.retain(|known| known.digest != approval.digest);
        if self.0.len() >= Approvals::MOST {
            return Err(Full);
        }
        self.0.push(approval);
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    const BOOT: Boot = *b"01234567-89ab-cdef-0123-456789abcdef";

    fn connection(pid: u32) -> Connection {
        Connection {
            boot: BOOT,
            pid,
            session: pid,
            start: 1_000 + u64::from(pid),
        }
    }

    static SKEY: LazyLock<Secret> = LazyLock::new(|| Secret::from("the secret key".to_owned()));

    fn circumstances(connection: &Connection) -> Circumstances<'_> {
        Circumstances {
            skey: &SKEY,
            connection,
            uid: 1000,
            groups: &[27, 1000],
            duo_user: "alice",
            ikey: "DIXXXXXXXXXXXXXXXXXX",
            host: "api-x.duosecurity.com",
            configuration: FileIdentity {
                device: 1,
                inode: 2,
                modified: (3, 4),
            },
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u32) -> Now {
        Now {
            boot: BOOT,
            time: MINUTE * minutes,
            longest: MINUTE * 60,
        }
    }

    fn approved(pid: u32, minutes: u32) -> Approval {
        Approval::new(&circumstances(&connection(pid)), MINUTE * minutes).unwrap()
    }

    #[test]
    fn an_approval_counts_from_its_time_for_so_long_and_no_longer() {
        let digest = circumstances(&connection(7)).digest().unwrap();
        let mut all = Approvals::default();
        all.add(approved(7, 100)).unwrap();
        let file = all.to_file();
        assert_eq!(file.len(), Approval::SIZE);
        let all = Approvals::read(&file).unwrap();
        assert_eq!(all.age(&digest, &at(100)), Some(Duration::ZERO));
        assert_eq!(all.age(&digest, &at(159)), Some(MINUTE * 59));
        assert_eq!(all.age(&digest, &at(160)), None);
        assert_eq!(all.age(&digest, &at(99)), None, "of the future");
    }

    #[test]
    fn whatever_differs_is_asked() {
        let same = connection(7);
        let of = |change: fn(&mut Connection)| {
            let mut other = same;
            change(&mut other);
            other
        };
        let others = [
            of(|it| it.pid = 8),
            of(|it| it.start += 1),
            of(|it| it.session = 8),
            of(|it| it.boot = [0; 36]),
        ];
        let base = circumstances(&same);
        let file = base.configuration;
        let mut all: Vec<Circumstances<'_>> = others.iter().map(circumstances).collect();
        all.push(Circumstances { uid: 1001, ..base });
        for groups in [&[27][..], &[27, 1000, 1001], &[]] {
            all.push(Circumstances { groups, ..base });
        }
        for duo_user in ["bob", "alic", "aliceD"] {
            all.push(Circumstances { duo_user, ..base });
        }
        all.push(Circumstances {
            duo_user: "aliceD",
            ikey: "IXXXXXXXXXXXXXXXXXX",
            ..base
        });
        all.push(Circumstances { ikey: "DI", ..base });
        all.push(Circumstances { host: "x", ..base });
        for configuration in [
            FileIdentity { device: 9, ..file },
            FileIdentity { inode: 9, ..file },
            FileIdentity {
                modified: (3, 5),
                ..file
            },
            FileIdentity {
                modified: (4, 4),
                ..file
            },
        ] {
            all.push(Circumstances {
                configuration,
                ..base
            });
        }
        let mut approvals = Approvals::default();
        approvals
            .add(Approval::new(&base, MINUTE).unwrap())
            .unwrap();
        assert!(approvals.age(&base.digest().unwrap(), &at(1)).is_some());
        let another = Secret::from("another key".to_owned());
        all.push(Circumstances {
            skey: &another,
            ..base
        });
        for (number, other) in all.iter().enumerate() {
            let digest = other.digest().unwrap();
            assert_eq!(approvals.age(&digest, &at(1)), None, "{number}");
        }
    }

    #[test]
    fn what_is_no_file_of_ours_is_none() {
        let mut record = Vec::new();
        approved(7, 1).append_to(&mut record);
        assert!(Approvals::read(b"").is_some());
        for length in [1, 63, 65, 127] {
            assert_eq!(Approvals::read(&record.repeat(2)[..length]), None);
        }
        assert!(Approvals::read(&record.repeat(256)).is_some());
        assert_eq!(Approvals::read(&record.repeat(257)), None);
        let garbage = Approvals::read(&[0xff; 128]).unwrap();
        let digest = circumstances(&connection(7)).digest().unwrap();
        assert_eq!(garbage.age(&digest, &at(1)), None);
    }

    #[test]
    fn what_counts_no_longer_makes_room() {
        let mut all = Approvals::default();
        for pid in 0..256 {
            all.add(approved(pid, 50)).unwrap();
        }
        assert_eq!(all.add(approved(300, 50)), Err(Full));
        assert_eq!(all.add(approved(3, 55)), Ok(()), "in its own place");
        let even = |approval: &Approval| approval.process().0.is_multiple_of(2);
        all.forget_ended(&at(60), even);
        assert_eq!(all.count(), 128);
        let another_boot = Now {
            boot: [7; 36],
            ..at(60)
        };
        for now in [another_boot, at(110), at(49)] {
            let mut all = all.clone();
            all.forget_ended(&now, |_| true);
            assert_eq!(all.count(), 0);
        }
    }
}
