//! Where Duo and the proxy are: a name or an address with a port (docs/duo-api.md,
//! *Connection*).
//! Only letters, digits and `-._:` get through, so a `Host` may stand in a header, a log line or an
//! error as it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::secret::Secret;

/// The port of HTTPS, which [`Host`] leaves out when displayed.
pub const HTTPS: u16 = 443;

/// The port of a proxy that is configured without one (docs/duo-api.md, *Connection*).
const PROXY: u16 = 80;

/// `name`, `name:port`, an IPv4 address, or `[IPv6]:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// In lower case, an IPv6 address without brackets: as the canonical request and TLS want it.
    pub name: String,
    /// 1 to 65535.
    pub port: u16,
}

impl Host {
    /// Reads a host as the file has it. The port is `default_port` if the text has none.
    ///
    /// # Errors
    /// What is wrong, to follow the key's name; never a part of `text`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, &'static str> {
        if text.contains("://") {
            return Err("has a scheme: the name alone belongs here");
        }
        if text.contains(['/', '@', ' ', '\t']) {
            return Err("must be a name or an address, without path, '@' or blank");
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest
                    .split_once(']')
                    .ok_or("has no ']' after its IPv6 address")?;
                address
                    .parse::<Ipv6Addr>()
                    .map_err(|_| "has no valid IPv6 address in its brackets")?;
                match port {
                    "" => (address, None),
                    _ => (
                        address,
                        Some(port.strip_prefix(':').ok_or("has text after its ']'")?),
                    ),
                }
            }
            None if text.parse::<Ipv6Addr>().is_ok() => {
                return Err("needs brackets around its IPv6 address");
            }
            None => {
                let (name, port) = text
                    .split_once(':')
                    .map_or((text, None), |(name, port)| (name, Some(port)));
                (checked_name(name)?, port)
            }
        };
        let port = port.map_or(Ok(default_port), checked_port)?;
        Ok(Self {
            name: name.to_ascii_lowercase(),
            port,
        })
    }

    /// The address, if the host is an address and not a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }
}

/// As written in a URL: `name`, `name:port`, `[IPv6]:port`, the port only where it is not 443.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]", self.name)?;
        } else {
            f.write_str(&self.name)?;
        }
        match self.port {
            HTTPS => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

/// Checks a name by RFC 1123, but allows the underscore that some internal names have. Anything that
/// ends in a number is an IPv4 address or a mistake, since the resolver would take `10.1` for
/// 10.0.0.1.
fn checked_name(name: &str) -> Result<&str, &'static str> {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(label_is_good) {
        return Err("is not a valid host name");
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return Err("is not a valid IPv4 address");
    }
    Ok(name)
}

fn checked_port(port: &str) -> Result<u16, &'static str> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err("has a port that is not a number from 1 to 65535"),
    }
}

/// The proxy that carries the connection to Duo (`http_proxy`):
/// `[http://][user:pw@]host[:port][/]`.
#[derive(Clone)]
pub struct Proxy {
    /// Its own host and port.
    pub host: Host,
    /// `user:pw` as written, to be sent without decoding.
    pub credentials: Option<Secret>,
}

impl Proxy {
    /// Reads a proxy as the file has it. The last `@` ends the credentials, so a password may hold one.
    ///
    /// # Errors
    /// What is wrong, to follow the key's name; never a part of `value`.
    pub fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let rest = without_scheme(value)?;
        let (credentials, host) = match rest.iter().rposition(|byte| *byte == b'@') {
            Some(at) => {
                let (credentials, host) = rest.split_at_checked(at).unwrap_or((rest, b""));
                (Some(credentials), host.strip_prefix(b"@").unwrap_or(host))
            }
            None => (None, rest),
        };
        if credentials.is_some_and(|credentials| !credentials.contains(&b':')) {
            return Err("has credentials that are not 'user:password'");
        }
        let host = std::str::from_utf8(host.strip_suffix(b"/").unwrap_or(host));
        Ok(Self {
            host: Host::parse(host.map_err(|_| "is not a valid host name")?, PROXY)?,
            credentials: credentials.map(|bytes| Secret::from(bytes.to_vec())),
        })
    }
}

/// `value` without `http://`. A scheme has only letters, digits and `+-.` before its `://`. Credentials
/// may hold `://` too, after the `:` that ends the user's name.
fn without_scheme(value: &[u8]) -> Result<&[u8], &'static str> {
    let Some(end) = value.windows(3).position(|three| three == b"://") else {
        return Ok(value);
    };
    let (scheme, rest) = value.split_at_checked(end).unwrap_or((b"", value));
    let is_scheme = scheme
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    match (scheme, is_scheme) {
        (scheme, _) if scheme.eq_ignore_ascii_case(b"http") => {
            Ok(rest.strip_prefix(b"://").unwrap_or(rest))
        }
        (_, true) => Err("must be an 'http://' proxy: no other scheme is spoken"),
        (_, false) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let table = [
            ("API-1.DuoSecurity.com", "api-1.duosecurity.com"),
            ("duo.example:443", "duo.example"),
            ("duo.example:8443", "duo.example:8443"),
            ("localhost", "localhost"),
            ("in_side", "in_side"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("[2001:DB8::7]", "[2001:db8::7]"),
            ("[2001:db8::7]:65535", "[2001:db8::7]:65535"),
        ];
        for (text, expected) in table {
            assert_eq!(
                Host::parse(text, HTTPS)
                    .map(|host| host.to_string())
                    .as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        let host = Host::parse("[2001:DB8::7]:1", HTTPS).unwrap();
        assert_eq!(
            (host.name.as_str(), host.address()),
            ("2001:db8::7", Some("2001:db8::7".parse().unwrap()))
        );
        assert_eq!(Host::parse("a.example", HTTPS).unwrap().address(), None);
    }

    #[test]
    fn wrong_hosts() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = "a.".repeat(127) + "a";
        let table = [
            (
                "https://a.example",
                "has a scheme: the name alone belongs here",
            ),
            (
                "a.example/",
                "must be a name or an address, without path, '@' or blank",
            ),
            (
                "me@a.example",
                "must be a name or an address, without path, '@' or blank",
            ),
            (
                "a.example b",
                "must be a name or an address, without path, '@' or blank",
            ),
            (
                "a.example:",
                "has a port that is not a number from 1 to 65535",
            ),
            (
                "a.example:0",
                "has a port that is not a number from 1 to 65535",
            ),
            (
                "a.example:65536",
                "has a port that is not a number from 1 to 65535",
            ),
            (
                "a.example:+1",
                "has a port that is not a number from 1 to 65535",
            ),
            (
                "a.example:1:2",
                "has a port that is not a number from 1 to 65535",
            ),
            ("2001:db8::7", "needs brackets around its IPv6 address"),
            ("[2001:db8::7", "has no ']' after its IPv6 address"),
            ("[192.0.2.1]", "has no valid IPv6 address in its brackets"),
            (
                "[fe80::1%eth0]",
                "has no valid IPv6 address in its brackets",
            ),
            ("[::1]443", "has text after its ']'"),
            ("10.1", "is not a valid IPv4 address"),
            ("256.0.0.1", "is not a valid IPv4 address"),
            ("", "is not a valid host name"),
            (":443", "is not a valid host name"),
            ("a..b", "is not a valid host name"),
            ("a.example.", "is not a valid host name"),
            ("-a.example", "is not a valid host name"),
            ("a\u{1b}b", "is not a valid host name"),
            ("z\u{fc}rich.example", "is not a valid host name"),
            (&long, "is not a valid host name"),
            (&longer, "is not a valid host name"),
        ];
        for (text, expected) in table {
            assert_eq!(Host::parse(text, HTTPS), Err(expected), "{text}");
        }
    }

    fn proxy(value: &str) -> Result<(String, Option<String>), &'static str> {
        let proxy = Proxy::parse(value.as_bytes())?;
        let credentials = proxy
            .credentials
            .map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap());
        Ok((proxy.host.to_string(), credentials))
    }

    #[test]
    fn proxies() {
        let table = [
            ("proxy.example", "proxy.example:80", None),
            ("http://proxy.example:3128/", "proxy.example:3128", None),
            ("HTTP://[::1]:8080", "[::1]:8080", None),
            (
                "http://me:p%40w@proxy.example",
                "proxy.example:80",
                Some("me:p%40w"),
            ),
            (
                "me:p@w:/ ://x@proxy.example/",
                "proxy.example:80",
                Some("me:p@w:/ ://x"),
            ),
            (":@10.0.0.1", "10.0.0.1:80", Some(":")),
        ];
        for (value, host, credentials) in table {
            assert_eq!(
                proxy(value),
                Ok((host.to_owned(), credentials.map(str::to_owned))),
                "{value}"
            );
        }
    }

    #[test]
    fn wrong_proxies() {
        let scheme = "must be an 'http://' proxy: no other scheme is spoken";
        let path = "must be a name or an address, without path, '@' or blank";
        let table = [
            ("https://proxy.example", scheme),
            ("socks5h://me:pw@proxy.example", scheme),
            ("://proxy.example", scheme),
            (
                "me@proxy.example",
                "has credentials that are not 'user:password'",
            ),
            (
                "@proxy.example",
                "has credentials that are not 'user:password'",
            ),
            ("http://proxy.example/path", path),
            ("proxy.example//", path),
            ("http://", "is not a valid host name"),
            ("me:pw@", "is not a valid host name"),
        ];
        for (value, expected) in table {
            assert_eq!(proxy(value), Err(expected), "{value}");
        }
        assert!(Proxy::parse(b"\xff").is_err());
    }
}
