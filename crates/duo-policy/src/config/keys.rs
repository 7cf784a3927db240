//! The keys of the configuration file and how the value of each kind is read (docs/behaviour.md,
//! *Configuration file*). A reader says what is wrong in words that follow the key's name, and
//! never repeats the value: it may be the secret key, pasted into the wrong line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use Value::{Good, Odd};

use super::{Failmode, HTTPS, Host, MinTls, Proxy, Signature};
use crate::groups::{self, Groups};
use crate::secret::Secret;

/// A key that the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As the file spells it.
    pub name: &'static str,
    /// How it counts.
    pub kind: KeyKind,
}

/// How a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The file is broken without it.
    Required,
    /// Has a default.
    Optional,
    /// Another spelling of the key named.
    Alias(&'static str),
    /// Accepted, does nothing.
    Deprecated,
}

/// Every key, in the order of the table in docs/behaviour.md.
pub const KEYS: &[Key] = &[
    key("ikey", KeyKind::Required),
    key("skey", KeyKind::Required),
    key("host", KeyKind::Required),
    key("failmode", KeyKind::Optional),
    key("groups", KeyKind::Optional),
    key("group", KeyKind::Alias("groups")),
    key("pushinfo", KeyKind::Optional),
    key("autopush", KeyKind::Optional),
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
    key("send_gecos", KeyKind::Optional),
    key("gecos_delim", KeyKind::Optional),
    key("gecos_username_pos", KeyKind::Optional),
    key("gecos_parsed", KeyKind::Deprecated),
    key("dev_fips_mode", KeyKind::Deprecated),
];

const fn key(name: &'static str, kind: KeyKind) -> Key {
    Key { name, kind }
}

/// The key that is spelt so, an alias resolved; `None` if there is none.
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
    /// As it should be.
    Good(T),
    /// Usable, and the file's owner should know what of it.
    Odd(T, &'static str),
}

pub(super) type Reading<T> = Result<Value<T>, &'static str>;

/// The keys that Duo hands out. A blank in one is a comment that began with `#`: with such a key
/// every login would get a 401, and pass by failmode without a word.
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
        Good(text) | Odd(text, _) => Good(text.into()),
    })
}

pub(super) fn host(value: &[u8]) -> Reading<Host> {
    let text = std::str::from_utf8(value).map_err(|_| "is not UTF-8")?;
    Host::parse(text, HTTPS).map(Good)
}

pub(super) fn proxy(value: &[u8]) -> Reading<Proxy> {
    Proxy::parse(value).map(Good)
}

/// `safe` or `secure`, to the letter: whoever writes `Secure` must not be given the default,
/// `safe`.
pub(super) fn failmode(value: &[u8]) -> Reading<Failmode> {
    match value {
        b"safe" => Ok(Good(Failmode::Safe)),
        b"secure" => Ok(Good(Failmode::Secure)),
        _ => Err("must be 'safe' or 'secure', in lower case"),
    }
}

pub(super) fn signature(value: &[u8]) -> Reading<Signature> {
    match value {
        b"sha512" => Ok(Good(Signature::Sha512)),
        b"sha1" => Ok(Good(Signature::Sha1)),
        _ => Err("must be 'sha512' or 'sha1'"),
    }
}

/// As the C program spells the versions. The two oldest are not spoken at all, and a file that
/// allows them allows 1.2 too.
pub(super) fn min_tls(value: &[u8]) -> Reading<MinTls> {
    match value {
        b"1.0" | b"1.1" => Ok(Odd(
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
        Ok(0) => Ok(Odd(1, "is less than 1: 1 is used")),
        Err(_) if value.starts_with(b"-") => Ok(Odd(1, "is less than 1: 1 is used")),
        _ => Ok(Odd(10, "is more than 10: 10 is used")),
    }
}

/// Seconds; `None` for 0 and less. More than a day is a day, so that no deadline overflows the
/// clock.
pub(super) fn timeout(value: &[u8]) -> Reading<Option<Duration>> {
    const DAY: u64 = 24 * 60 * 60;
    Ok(match u64::try_from(integer(value)?) {
        Err(_) | Ok(0) => Good(None),
        Ok(seconds @ ..=DAY) => Good(Some(Duration::from_secs(seconds))),
        Ok(_) => Odd(
            Some(Duration::from_secs(DAY)),
            "is more than a day: a day is used",
        ),
    })
}

/// An absolute path; a relative one would be the caller's choice.
pub(super) fn path(value: &[u8]) -> Reading<PathBuf> {
    match value {
        [b'/', ..] => Ok(Good(PathBuf::from(OsStr::from_bytes(value)))),
        _ => Err("must be an absolute path"),
    }
}

pub(super) fn delimiter(value: &[u8]) -> Reading<u8> {
    match value {
        // It separates the fields of the passwd file, so no GECOS can hold it.
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
        return Ok(Odd(groups, why));
    }
    Ok(Good(groups))
}

/// A whole number, or the nearest that fits.
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

/// How an unknown name is told: quoted only if it cannot well be a secret, which has digits, or
/// capitals, or is longer (docs/security.md, attack 10).
pub(super) fn unknown(what: &str, name: &[u8]) -> String {
    let is_harmless = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    match std::str::from_utf8(name) {
        Ok(text) if (1..=32).contains(&name.len()) && name.iter().all(is_harmless) => {
            format!("unknown {what} '{text}'")
        }
        _ => format!("unknown {what}"),
    }
}
