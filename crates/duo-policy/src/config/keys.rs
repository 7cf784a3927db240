//! The keys of the configuration file and how the value of each kind is read (docs/behaviour.md,
//! *Configuration file*). The function that reads a value says what is wrong in words that follow
//! the key's name. It never repeats the value, which may be the secret key, pasted into the wrong
//! line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use Value::{Good, WithWarning};

use super::{Failmode, HTTPS, Host, MinTls, Proxy, Remember, Signature};
use crate::clock;
use crate::cryptography::{ALGORITHMS, Algorithms};
use crate::groups::{self, Groups};
use crate::remember::LONGEST;
use crate::secret::Secret;

/// A key that the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name as the file spells it.
    pub name: &'static str,
    /// What the program does with it.
    pub kind: KeyKind,
}

/// What the program does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A file without this key has a mistake.
    Required,
    /// A file without this key gets the default.
    Optional,
    /// This key is another spelling of the key with this name.
    Alias(&'static str),
    /// The key is accepted and does nothing.
    Deprecated,
}

/// Every key that the program knows.
pub const KEYS: &[Key] = &[
    key("ikey", KeyKind::Required),
    key("skey", KeyKind::Required),
    key("host", KeyKind::Required),
    key("failmode", KeyKind::Optional),
    key("groups", KeyKind::Optional),
    key("group", KeyKind::Alias("groups")),
    key("pushinfo", KeyKind::Optional),
    key("autopush", KeyKind::Optional),
    key("accessible", KeyKind::Optional),
    key("verified_push", KeyKind::Optional),
    key("prompts", KeyKind::Optional),
    key("motd", KeyKind::Optional),
    key("accept_env_factor", KeyKind::Optional),
    key("fallback_local_ip", KeyKind::Optional),
    key("https_timeout", KeyKind::Optional),
    key("http_proxy", KeyKind::Optional),
    key("cafile", KeyKind::Optional),
    key("noverify", KeyKind::Optional),
    key("min_tls", KeyKind::Optional),
    key("prompt_for_commands", KeyKind::Optional),
    key("signature", KeyKind::Optional),
    key("sandbox", KeyKind::Optional),
    key("remember", KeyKind::Optional),
    key("remember_max", KeyKind::Optional),
    key("syslog_facility", KeyKind::Optional),
    key("send_gecos", KeyKind::Optional),
    key("gecos_delim", KeyKind::Optional),
    key("gecos_username_pos", KeyKind::Optional),
    key("gecos_parsed", KeyKind::Deprecated),
    key("dev_fips_mode", KeyKind::Deprecated),
];

const fn key(name: &'static str, kind: KeyKind) -> Key {
    Key { name, kind }
}

/// The key with this name; for an alias, the key that it stands for.
pub(super) fn known(spelling: &[u8]) -> Option<Key> {
    let key = KEYS.iter().find(|key| key.name.as_bytes() == spelling)?;
    match key.kind {
        KeyKind::Alias(name) => known(name.as_bytes()),
        _ => Some(*key),
    }
}

/// A value that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<T> {
    /// The value is right.
    Good(T),
    /// The value can be used, with a warning that follows the key's name.
    WithWarning(T, &'static str),
}

/// What came of reading a value. The error is a mistake, in words that follow the key's name.
pub(super) type Reading<T> = Result<Value<T>, &'static str>;

/// Reads `ikey` or `skey`. A blank in one comes, as a rule, from a comment that begins with `#`. Such
/// a key would make Duo answer every login with a 401, and under `safe` everybody would be let in.
pub(super) fn text(value: &[u8]) -> Reading<String> {
    let text = std::str::from_utf8(value).map_err(|_| "is not UTF-8")?;
    match text {
        _ if text.contains(|c: char| c.is_control() && c != '\t') => {
            Err("has a control character in it")
        }
        _ if text.contains([' ', '\t']) => Err("has a blank in it (a comment begins with ' ;')"),
        _ => Ok(Good(text.to_owned())),
    }
}

pub(super) fn secret(value: &[u8]) -> Reading<Secret> {
    Ok(match text(value)? {
        Good(text) | WithWarning(text, _) => Good(text.into()),
    })
}

pub(super) fn host(value: &[u8]) -> Reading<Host> {
    let text = std::str::from_utf8(value).map_err(|_| "is not UTF-8")?;
    Host::parse(text, HTTPS).map(Good)
}

pub(super) fn proxy(value: &[u8]) -> Reading<Proxy> {
    Proxy::parse(value).map(Good)
}

/// `safe`, `secure` or `codes`, to the letter: whoever writes `Secure` must not be given the default,
/// `safe`.
pub(super) fn failmode(value: &[u8]) -> Reading<Failmode> {
    match value {
        b"safe" => Ok(Good(Failmode::Safe)),
        b"secure" => Ok(Good(Failmode::Secure)),
        b"codes" => Ok(Good(Failmode::Codes)),
        _ => Err("must be 'safe', 'secure' or 'codes', in lower case"),
    }
}

pub(super) fn signature(value: &[u8]) -> Reading<Signature> {
    match value {
        b"sha512" => Ok(Good(Signature::Sha512)),
        b"sha1" if ALGORITHMS == Algorithms::FipsApproved => {
            Err("must be 'sha512' in this build, which has FIPS-approved algorithms alone")
        }
        b"sha1" => Ok(Good(Signature::Sha1)),
        _ => Err("must be 'sha512' or 'sha1'"),
    }
}

/// What a person's yes counts for.
pub(super) fn remember(value: &[u8]) -> Reading<Remember> {
    match value {
        b"no" => Ok(Good(Remember::No)),
        b"connection" => Ok(Good(Remember::Connection)),
        _ => Err("must be 'no' or 'connection'"),
    }
}

/// From a minute to a day.
pub(super) fn remember_max(value: &[u8]) -> Reading<Duration> {
    const BOUNDS: std::ops::RangeInclusive<u64> = 60..=LONGEST.as_secs();
    let span = std::str::from_utf8(value).ok();
    let span = span.and_then(clock::written_span);
    span.filter(|span| BOUNDS.contains(&span.as_secs()))
        .map(Good)
        .ok_or("must be a time from '1m' to '24h', such as '30m' or '8h'")
}

/// The number of a facility, syslog(3).
pub(super) fn facility(value: &[u8]) -> Reading<u8> {
    match value {
        b"user" => Ok(Good(1)),
        b"auth" => Ok(Good(4)),
        b"authpriv" => Ok(Good(10)),
        [b'l', b'o', b'c', b'a', b'l', digit @ b'0'..=b'7'] => Ok(Good(16 + (digit - b'0'))),
        _ => Err("must be 'authpriv', 'auth', 'user' or 'local0' to 'local7'"),
    }
}

/// A version as the C program spells it. TLS 1.0 and 1.1 are never spoken, and a file that allows
/// them allows 1.2 too.
pub(super) fn min_tls(value: &[u8]) -> Reading<MinTls> {
    match value {
        b"1.0" | b"1.1" => Ok(WithWarning(
            MinTls::Tls12,
            "allows a version that is never spoken: 1.2 is used",
        )),
        b"1.2" => Ok(Good(MinTls::Tls12)),
        b"1.3" => Ok(Good(MinTls::Tls13)),
        _ => Err("must be '1.0', '1.1', '1.2' or '1.3'"),
    }
}

pub(super) fn boolean(value: &[u8]) -> Reading<bool> {
    let is_one_of = |words: [&str; 4]| {
        words
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
    };
    if is_one_of(["yes", "true", "on", "1"]) {
        Ok(Good(true))
    } else if is_one_of(["no", "false", "off", "0"]) {
        Ok(Good(false))
    } else {
        Err("must be 'yes' or 'no'")
    }
}

/// 1 to 10 attempts; the C program too takes the nearest bound.
pub(super) fn prompts(value: &[u8]) -> Reading<u8> {
    match u8::try_from(integer(value)?) {
        Ok(number @ 1..=10) => Ok(Good(number)),
        Ok(0) => Ok(WithWarning(1, "is less than 1: 1 is used")),
        Err(_) if value.starts_with(b"-") => Ok(WithWarning(1, "is less than 1: 1 is used")),
        _ => Ok(WithWarning(10, "is more than 10: 10 is used")),
    }
}

/// Seconds; `None` for 0 and less. More than a day is a day, so that no deadline overflows the
/// clock.
pub(super) fn timeout(value: &[u8]) -> Reading<Option<Duration>> {
    const DAY: u64 = 24 * 60 * 60;
    Ok(match u64::try_from(integer(value)?) {
        Err(_) | Ok(0) => Good(None),
        Ok(seconds @ ..=DAY) => Good(Some(Duration::from_secs(seconds))),
        Ok(_) => WithWarning(
            Some(Duration::from_secs(DAY)),
            "is more than a day: a day is used",
        ),
    })
}

/// An absolute path. A relative one would depend on the caller's working directory.
pub(super) fn path(value: &[u8]) -> Reading<PathBuf> {
    match value {
        [b'/', ..] => Ok(Good(PathBuf::from(OsStr::from_bytes(value)))),
        _ => Err("must be an absolute path"),
    }
}

pub(super) fn delimiter(value: &[u8]) -> Reading<u8> {
    match value {
        // A `:` separates the fields of the passwd file, so no GECOS field can hold one.
        b":" => Err("must not be ':'"),
        [byte] if byte.is_ascii_punctuation() => Ok(Good(*byte)),
        _ => Err("must be one punctuation character"),
    }
}

pub(super) fn position(value: &[u8]) -> Reading<usize> {
    match usize::try_from(integer(value)?) {
        Ok(position @ 1..) => Ok(Good(position)),
        _ => Err("must be 1 or more"),
    }
}

pub(super) fn groups(value: &[u8]) -> Reading<Groups> {
    let groups = Groups::parse(value)?;
    if groups::has_empty_pattern(value) {
        let why = "has a comma with no group beside it: blanks separate pattern-lists";
        return Ok(WithWarning(groups, why));
    }
    Ok(Good(groups))
}

/// A whole number, or the nearest one that fits the type.
fn integer(value: &[u8]) -> Result<i64, &'static str> {
    let (is_negative, digits) = match value {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("must be a whole number");
    }
    let add = |sum: i64, digit: &u8| {
        sum.saturating_mul(10)
            .saturating_add(i64::from(digit.saturating_sub(b'0')))
    };
    let size = digits.iter().fold(0, add);
    Ok(if is_negative { -size } else { size })
}

/// The text about an unknown key or section. The name is quoted only if it is unlikely to be a secret
/// key: secret keys have digits or capitals, or are longer (docs/security.md, attack 10).
pub(super) fn unknown(what: &str, name: &[u8]) -> String {
    let is_harmless = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    match std::str::from_utf8(name) {
        Ok(text) if (1..=32).contains(&name.len()) && name.iter().all(is_harmless) => {
            format!("unknown {what} '{text}'")
        }
        _ => format!("unknown {what}"),
    }
}
