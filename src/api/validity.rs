//! How long a certificate lasts and whose it is: what the TLS library checks but does not tell.
//! Reads no more of the DER than the two names and the two dates; its bytes are the network's.
#![forbid(unsafe_code)]

use super::certificate::{element, name};

/// What `--check` says of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's common name, else its organisation.
    pub subject: String,
    /// The last moment at which it is valid, in seconds since 1970.
    pub not_after: i64,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Certificate {
    /// Reads a certificate; `None` if it is not one. Source: RFC 5280, 4.1.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (certificate, _) = sequence(der)?;
        let (mut rest, _) = sequence(certificate)?;
        if let Some((VERSION, _, after)) = element(rest) {
            rest = after;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            (_, _, rest) = element(rest)?;
        }
        let (validity, rest) = sequence(rest)?;
        let (subject, _) = sequence(rest)?;
        let (_, _, not_after) = element(validity)?;
        let (tag, not_after, _) = element(not_after)?;
        Some(Certificate {
            subject: name(subject).unwrap_or_else(|| "nameless".to_owned()),
            not_after: seconds(tag, not_after)?,
        })
    }
}

/// A SEQUENCE's content, and what follows it.
fn sequence(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    (tag == SEQUENCE).then_some((content, rest))
}

/// `YYMMDDhhmmssZ` (1950 to 2049) or `YYYYMMDDhhmmssZ`. Source: RFC 5280, 4.1.2.5.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let pair = |at: usize| {
        let [tens, ones] = digits.get(at..at + 2)? else {
            return None;
        };
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
        Some(digit(tens)? * 10 + digit(ones)?)
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = pair(0)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let day = days(year, pair(at)?, pair(at + 2)?);
    Some(day * 86_400 + pair(at + 4)? * 3_600 + pair(at + 6)? * 60 + pair(at + 8)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March,
/// so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn roots() -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(include_bytes!("roots.pem"))
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn the_pinned_roots_read_as_what_they_are() {
        let read: Vec<_> = roots()
            .iter()
            .map(|der| Certificate::read(der).unwrap())
            .collect();
        let amazon = read
            .iter()
            .find(|root| root.subject == "Amazon Root CA 1")
            .unwrap();
        // 2038-01-17 00:00:00 UTC, as `openssl x509 -enddate` says.
        assert_eq!(amazon.not_after, 2_147_299_200);
        assert!(read.iter().all(|root| root.subject != "nameless"));
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        assert_eq!(seconds(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(UTC_TIME, b"000229120000Z"), Some(951_825_600));
        assert_eq!(
            seconds(GENERALIZED_TIME, b"20500101000000Z"),
            Some(2_524_608_000)
        );
        assert_eq!(
            seconds(GENERALIZED_TIME, b"99991231235959Z"),
            Some(253_402_300_799)
        );
        for odd in [
            &b""[..],
            b"Z",
            b"7001010000Z",
            b"7001010000000",
            b"70010100000xZ",
        ] {
            assert_eq!(seconds(UTC_TIME, odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_certificate_cut_anywhere_is_none() {
        let der = roots().swap_remove(0);
        for end in 0..der.len() {
            assert_eq!(Certificate::read(&der[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn a_spoilt_certificate_is_read_or_not(at in 0..800_usize, byte in any::<u8>()) {
            let mut der = roots().swap_remove(0).to_vec();
            der[at] = byte;
            let _ = Certificate::read(&der);
        }
    }
}
