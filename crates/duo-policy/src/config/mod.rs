//! The configuration file, `/etc/duo/login_duo.conf`. Every mistake in it is reported with its line.
//! No value is guessed, since a wrong guess can switch the second factor off.

mod host;
mod ini;
mod keys;
mod parse;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use host::{HTTPS, Host, Proxy};
pub(crate) use ini::is_blank;
pub use keys::{KEYS, Key, KeyKind};
pub use parse::{keys_in, keys_that_differ, may_remember, parse};

use crate::groups::Groups;
use crate::secret::Secret;

/// The most bytes that a configuration file may have.
pub const MAX_SIZE: usize = 1024 * 1024;

/// The file's decisions. A key that the file does not have is at its default (docs/behaviour.md,
/// *Configuration file*).
#[derive(Clone)]
pub struct Config {
    /// The integration key.
    pub ikey: String,
    /// The secret key, which signs each request.
    pub skey: Secret,
    /// Duo's API host.
    pub host: Host,
    /// What a service error means before Duo has answered. Default: safe.
    pub failmode: Failmode,
    /// The failmode for a mistake that shows only after parsing, such as a `cafile` that cannot be
    /// used: safe only if the file says so beyond doubt, as in [`Broken::failmode`].
    pub failmode_if_broken: Failmode,
    /// The groups whose members are asked (`groups`, `group`); `None` if everybody is asked.
    pub groups: Option<Groups>,
    /// Show the command in the push (`pushinfo`). Default: no.
    pub push_info: bool,
    /// The first attempt takes the default factor. Default: no.
    pub autopush: bool,
    /// Plain lines on a terminal, and no counter, for screen readers. Default: no.
    pub accessible: bool,
    /// Tell Duo that codes for Verified Push can be shown here; never with `autopush`. Default: no.
    pub verified_push: bool,
    /// Attempts, 1 to 10. Default: 3.
    pub prompts: u8,
    /// Print `/etc/motd` after success. Default: no.
    pub motd: bool,
    /// Take the first answer from `$DUO_PASSCODE`. Default: no.
    pub accept_env_factor: bool,
    /// Send this host's own address where the client's is unknown. Default: no.
    pub fallback_local_ip: bool,
    /// For one answer of Duo, from one second to one day; `None` for no limit. Default: 30 seconds.
    pub https_timeout: Option<Duration>,
    /// The proxy on the way to Duo; `None` for a direct connection.
    pub http_proxy: Option<Proxy>,
    /// The absolute path of a file of trusted roots in PEM; `None` for the pinned roots.
    pub cafile: Option<PathBuf>,
    /// Verify neither certificate nor name. Default: no.
    pub noverify: bool,
    /// The oldest version of TLS that is spoken. Default: 1.2.
    pub min_tls: MinTls,
    /// Show the menu also where a terminal came with a client's command, which
    /// is more often a program than a person. Default: no.
    pub prompt_for_commands: bool,
    /// The hash of the request's signature. Default: SHA-512.
    pub signature: Signature,
    /// Shut the process in that talks to Duo (docs/security.md, *The sandbox*). Default: yes.
    pub sandbox: bool,
    /// What a person's yes counts for. Default: this one login.
    pub remember: Remember,
    /// How long one yes counts at most, from a minute to a day. Default: 8 hours.
    pub remember_max: Duration,
    /// Where syslog sorts the lines of a login (`syslog_facility`). Default: authpriv.
    pub syslog_facility: Facility,
    /// The part of the GECOS field that is the Duo name. Default: none, so that the Duo name is
    /// the login name.
    pub gecos: Gecos,
}

impl Config {
    /// Who is connected to: the proxy, or else Duo.
    pub fn next_hop(&self) -> &Host {
        self.http_proxy
            .as_ref()
            .map_or(&self.host, |proxy| &proxy.host)
    }
}

/// What a service error means before Duo has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failmode {
    /// The login is allowed.
    Safe,
    /// The login is denied.
    Secure,
    /// The person is asked for an emergency code, and the login is denied without one.
    Codes,
}

impl Failmode {
    /// The word that the file has for it.
    pub fn word(self) -> &'static str {
        match self {
            Failmode::Safe => "safe",
            Failmode::Secure => "secure",
            Failmode::Codes => "codes",
        }
    }
}

/// What a person's yes counts for (`remember`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remember {
    /// The login that was asked.
    No,
    /// Each login that comes on the same connection of sshd's, for `remember_max`.
    Connection,
}

/// The oldest version of TLS that is spoken (`min_tls`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinTls {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// The hash of the HMAC (docs/duo-api.md, *Signing*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// HMAC-SHA-512.
    Sha512,
    /// HMAC-SHA-1.
    Sha1,
}

/// A facility of syslog, as syslog(3) numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Default for Facility {
    fn default() -> Facility {
        Facility::AUTHPRIV
    }
}

impl Facility {
    /// For what only administrators may read.
    pub const AUTHPRIV: Facility = Facility(10);

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// The part of the GECOS field that is the Duo name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gecos {
    /// None of it.
    No,
    /// All of it (`send_gecos`).
    Whole,
    /// One part (`gecos_username_pos`), which wins over `send_gecos`, as in the C program.
    Part {
        /// What stands between the parts: ASCII punctuation, not `:` (`gecos_delim`).
        delimiter: u8,
        /// From 1.
        position: usize,
    },
}

/// A mistake in the file, or something unusual that is logged as a warning. It holds no text of the
/// file but known keys, and unknown names of at most 32 bytes, all of them `a-z` or `_`
/// (docs/security.md, attack 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What the problem is about, so that no code searches its text.
    pub kind: ProblemKind,
    /// The line, from 1; `None` if the problem is about the whole file.
    pub line: Option<usize>,
    /// The text, in lower case, with names quoted and without a full stop.
    pub text: String,
    /// The command that mends the problem, if there is one.
    pub mend: Option<String>,
}

/// What a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The file as such: it cannot be read, or its owner or mode is not as it must be.
    File,
    /// A line, or a key that is missing.
    Content,
    /// `noverify` is on.
    Noverify,
    /// Every pattern of `groups` is negated, so nobody is asked.
    NobodyAsked,
}

impl Problem {
    /// `FILE:LINE: text`, or `FILE: text`; and then `; to mend it: COMMAND` if there is
    /// such a command.
    pub fn at(&self, file: &Path) -> String {
        let file = file.display();
        let place = match self.line {
            Some(line) => format!("{file}:{line}: {}", self.text),
            None => format!("{file}: {}", self.text),
        };
        match &self.mend {
            Some(command) => format!("{place}; to mend it: {command}"),
            None => place,
        }
    }

    /// A problem of the file as such.
    pub fn of_file(text: impl Into<String>) -> Self {
        Self {
            kind: ProblemKind::File,
            line: None,
            text: text.into(),
            mend: None,
        }
    }

    /// The same problem, with the command that mends it.
    pub fn mended_by(self, command: impl Into<String>) -> Self {
        Self {
            mend: Some(command.into()),
            ..self
        }
    }

    /// The problem of a file that is longer than [`MAX_SIZE`].
    pub fn too_long() -> Self {
        Self::of_file("is longer than 1 MiB")
    }

    fn in_line(kind: ProblemKind, line: Option<usize>, text: impl Into<String>) -> Self {
        Self {
            kind,
            line,
            text: text.into(),
            mend: None,
        }
    }
}

/// A file without mistakes.
#[derive(Clone)]
pub struct Parsed {
    /// The file's decisions.
    pub config: Config,
    /// The warnings that are logged at each login, in the order of their lines.
    pub warnings: Vec<Problem>,
}

/// A file with mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The mistakes in the order of their lines, those of the whole file last. Of more than 100,
    /// the first 100 and one that says how many more there are.
    pub problems: Vec<Problem>,
    /// As in [`Parsed`].
    pub warnings: Vec<Problem>,
    /// What the file says beyond doubt: set only if there is a `failmode` and every one in the
    /// file, whatever its section, has the same valid value after continuation lines are joined.
    /// Only `Some(Safe)` may open the door to a broken file (docs/behaviour.md, *Failmode*).
    pub failmode: Option<Failmode>,
    /// As in [`Config`]: who logs in is looked up whatever is wrong with the file.
    pub sandbox: bool,
    /// As in [`Config`]: the mistakes belong where the lines of other logins go.
    pub syslog_facility: Facility,
}
