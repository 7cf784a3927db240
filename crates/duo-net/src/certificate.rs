//! The text about a refused certificate, made from the TLS library's typed error
//! (docs/duo-api.md, *Connection*): a sysadmin must see at once whether the
//! certificate, the clock, the name or the roots are wrong.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, OtherError};
use webpki::EndEntityCert;

/// The most names of a certificate that are shown.
const MOST_NAMES: usize = 5;

/// The most characters of a name that are shown, so that it does not hide the
/// text behind it.
const LONGEST_NAME: usize = 100;

/// Who signed a certificate that is not signed under a trusted root.
#[derive(Debug, Clone, PartialEq, Eq)]
enum UnknownSigner {
    /// The certificate is self-signed.
    Itself,
    /// The issuer with this name.
    Issuer(String),
    /// The certificate has no readable name of its issuer.
    Unnamed,
}

/// The TLS library carries a value of this type in its own error, and asks for
/// `Display` and `Error`.
impl fmt::Display for UnknownSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnknownSigner::Itself => f.write_str("by itself"),
            UnknownSigner::Issuer(issuer) => write!(f, "by '{issuer}'"),
            UnknownSigner::Unnamed => f.write_str("by nobody that it names"),
        }
    }
}

impl std::error::Error for UnknownSigner {}

/// The same error, but an unknown issuer with the issuer's name.
pub fn explained(error: rustls::Error, certificate: &CertificateDer<'_>) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            CertificateError::Other(OtherError(Arc::new(signer_of(certificate)))).into()
        }
        other => other,
    }
}

fn signer_of(certificate: &CertificateDer<'_>) -> UnknownSigner {
    match EndEntityCert::try_from(certificate) {
        Ok(certificate) if certificate.issuer() == certificate.subject() => UnknownSigner::Itself,
        Ok(certificate) => {
            name_in(certificate.issuer()).map_or(UnknownSigner::Unnamed, UnknownSigner::Issuer)
        }
        Err(_) => UnknownSigner::Unnamed,
    }
}

/// The text that says why the certificate of `host` was refused.
pub fn refusal_text(why: &CertificateError, host: &str) -> String {
    let text = match why {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "expired {} ago, on {} (this machine's clock says {})",
            span(time, not_after),
            day(not_after),
            day(time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "is not valid before {}, in {} (this machine's clock says {})",
            day(not_before),
            span(not_before, time),
            day(time)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => wrong_host(presented, host),
        CertificateError::UnknownIssuer => "is not signed by a trusted root".to_owned(),
        CertificateError::Other(OtherError(other)) => match other.downcast_ref::<UnknownSigner>() {
            Some(signer) => format!("is not signed by a trusted root, but {signer}"),
            None => match other.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::CaUsedAsEndEntity) => {
                    "is a CA; make one with CA:FALSE and subjectAltName".to_owned()
                }
                _ => format!("is not acceptable: {other:?}"),
            },
        },
        other => format!("is not acceptable: {other:?}"),
    };
    format!("the server's certificate {text}")
}

fn wrong_host(presented: &[String], host: &str) -> String {
    let mut names: Vec<String> = presented
        .iter()
        .take(MOST_NAMES)
        .map(|name| format!("'{}'", cut(&bare(name))))
        .collect();
    if names.is_empty() {
        return format!("is for no host at all, not '{host}': it has no subjectAltName");
    }
    if let Some(more @ 1..) = presented.len().checked_sub(MOST_NAMES) {
        names.push(format!("{more} more"));
    }
    format!("is for {}, not '{host}'", names.join(", "))
}

/// The name alone: the library gives names as `DnsName("x")` and
/// `IpAddress(0::1)`.
fn bare(name: &str) -> String {
    let within = name.split_once('(').map_or(name, |(_, rest)| rest);
    let name = within.trim_end_matches(')').trim_matches('"');
    let address: Result<IpAddr, _> = name.parse();
    address.map_or_else(|_| name.to_owned(), |address| address.to_string())
}

fn cut(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

fn day(time: &UnixTime) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

fn span(later: &UnixTime, earlier: &UnixTime) -> String {
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    match (seconds / 86_400, seconds / 3_600) {
        (0, 0) => format!("{} minutes", seconds / 60),
        (0, 1) => "1 hour".to_owned(),
        (0, hours) => format!("{hours} hours"),
        (1, _) => "1 day".to_owned(),
        (days, _) => format!("{days} days"),
    }
}

/// The common name in an X.501 name, or else its organisation, unless that is
/// empty. Source: RFC 5280, 4.1.2.4; `bytes` is the content of the outer
/// SEQUENCE.
pub(crate) fn name_in(mut bytes: &[u8]) -> Option<String> {
    const SET: u8 = 0x31;
    const SEQUENCE: u8 = 0x30;
    const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    const ORGANISATION: &[u8] = &[0x55, 4, 10];
    let mut organisation = None;
    while let Some((SET, content, rest)) = element(bytes) {
        bytes = rest;
        let Some((SEQUENCE, attribute, _)) = element(content) else {
            continue;
        };
        let value = element(attribute).and_then(|(_, kind, rest)| Some((kind, element(rest)?.1)));
        let text = |value| cut(&String::from_utf8_lossy(value));
        match value {
            Some((_, [])) => {}
            Some((COMMON_NAME, value)) => return Some(text(value)),
            Some((ORGANISATION, value)) => organisation = Some(text(value)),
            _ => {}
        }
    }
    organisation
}

/// A DER element's tag and content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        // No name is longer than 64 KiB.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn dates_are_told_both_ours_and_theirs() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let expired = CertificateError::ExpiredContext {
            time: at(3 * 86_400 + 60),
            not_after: at(30),
        };
        assert_eq!(
            refusal_text(&expired, "h"),
            "the server's certificate expired 3 days ago, on Thu, 01 Jan 1970 00:00:30 GMT \
             (this machine's clock says Sun, 04 Jan 1970 00:01:00 GMT)"
        );
        let early = CertificateError::NotValidYetContext {
            time: at(0),
            not_before: at(7_200),
        };
        assert_eq!(
            refusal_text(&early, "h"),
            "the server's certificate is not valid before Thu, 01 Jan 1970 02:00:00 GMT, in 2 hours \
             (this machine's clock says Thu, 01 Jan 1970 00:00:00 GMT)"
        );
        for (seconds, text) in [(60, "1 minutes"), (3_600, "1 hour"), (86_400, "1 day")] {
            assert_eq!(span(&at(seconds), &at(0)), text);
        }
    }

    #[test]
    fn a_wrong_host_is_told_with_both_names_and_not_with_hundreds() {
        let text = |presented: &[&str]| {
            let why = CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("h").unwrap(),
                presented: presented.iter().map(|name| (*name).to_owned()).collect(),
            };
            refusal_text(&why, "h")
        };
        assert_eq!(
            text(&["DnsName(\"x.example\")", "IpAddress(192.0.2.1)"]),
            "the server's certificate is for 'x.example', '192.0.2.1', not 'h'"
        );
        assert_eq!(
            text(&["DnsName(\"x\")"; 300]),
            "the server's certificate is for 'x', 'x', 'x', 'x', 'x', 295 more, not 'h'"
        );
        let long = text(&[&"x".repeat(60_000)]);
        assert!(long.len() < 200 && long.ends_with("x', not 'h'"), "{long}");
        assert_eq!(
            text(&[]),
            "the server's certificate is for no host at all, not 'h': it has no subjectAltName"
        );
    }

    #[test]
    fn an_unknown_issuer_is_named() {
        for (signer, text) in [
            (UnknownSigner::Itself, "by itself"),
            (UnknownSigner::Issuer("x".into()), "by 'x'"),
            (UnknownSigner::Unnamed, "by nobody that it names"),
        ] {
            let why = CertificateError::Other(OtherError(Arc::new(signer)));
            assert_eq!(
                refusal_text(&why, "h"),
                format!("the server's certificate is not signed by a trusted root, but {text}")
            );
        }
    }

    #[test]
    fn a_name_is_its_common_name_or_its_organisation() {
        let attribute = |kind: u8, text: &str| {
            let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
            let mut pair = vec![6, 3, 0x55, 4, kind, 12, length(text.as_bytes())];
            pair.extend(text.as_bytes());
            let mut set = vec![0x31, length(&pair) + 2, 0x30, length(&pair)];
            set.extend(pair);
            set
        };
        let (country, organisation, common) =
            (attribute(6, "XX"), attribute(10, "Org"), attribute(3, "CA"));
        assert_eq!(
            name_in(&[&*country, &organisation, &common].concat()),
            Some("CA".into())
        );
        assert_eq!(
            name_in(&[&*country, &organisation].concat()),
            Some("Org".into())
        );
        assert_eq!(name_in(&country), None);
        // Fuzzing found that an empty common name was shown as a name.
        let empty = attribute(3, "");
        assert_eq!(name_in(&empty), None);
        assert_eq!(
            name_in(&[&*organisation, &empty].concat()).as_deref(),
            Some("Org")
        );
    }

    #[test]
    fn broken_names_are_no_names() {
        for bytes in [
            &b""[..],
            b"\x31",
            b"\x31\x05\x30",
            b"\x31\x80",
            b"\x31\x84\xff\xff\xff\xff",
            b"\x31\x00\x31\x00",
            b"\x31\x02\x30\x00",
            b"\x31\x07\x30\x05\x06\x03\x55\x04\x03",
        ] {
            assert_eq!(name_in(bytes), None, "{bytes:?}");
        }
        let long = [&b"\x31\x82\x01\x02"[..], &[0; 258]].concat();
        assert_eq!(
            element(&long).map(|(tag, content, _)| (tag, content.len())),
            Some((0x31, 258))
        );
    }
}
