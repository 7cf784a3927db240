//! Duo's request signature: parameters, canonical request, HMAC.
//!
//! Written from Duo's description alone and on purpose not shared with the program under test, so that one mistake cannot
//! hide in both.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha512;

/// The hash under the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// HMAC-SHA1: 40 hex digits.
    Sha1,
    /// HMAC-SHA512: 128 hex digits.
    Sha512,
}

impl Digest {
    /// The digest that makes signatures of this length, if any does.
    #[must_use]
    pub fn of_signature(signature: &str) -> Option<Self> {
        match signature.len() {
            40 => Some(Self::Sha1),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }
}

/// Percent-encodes `text` as RFC 3986 has it: everything but letters, digits and `-._~`, in upper-case hex.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Undoes [`encode`], and takes `+` for a blank as forms have it; `None` for a broken `%XX` or what is not UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? * 16 + hex_digit(bytes.next()?)?,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Splits `a=1&b=2` and decodes each side; `None` where a pair has no `=` or is not encoded as a form is.
#[must_use]
pub fn decode_pairs(raw: &str) -> Option<Vec<(String, String)>> {
    if raw.is_empty() {
        return Some(Vec::new());
    }
    raw.split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

/// The parameters as they are signed and sent: encoded, sorted by encoded name, joined by `&`.
#[must_use]
pub fn canonical_parameters(parameters: &[(String, String)]) -> String {
    let mut pairs: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    let joined: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    joined.join("&")
}

/// The five lines that are signed. `host` is without port; `parameters` as [`canonical_parameters`] makes them.
#[must_use]
pub fn canonical_request(
    date: &str,
    method: &str,
    host: &str,
    path: &str,
    parameters: &str,
) -> String {
    format!(
        "{date}\n{}\n{}\n{path}\n{parameters}",
        method.to_ascii_uppercase(),
        host.to_ascii_lowercase()
    )
}

/// The signature of a canonical request, in lower-case hex.
#[must_use]
pub fn sign(digest: Digest, secret_key: &str, canonical: &str) -> String {
    match digest {
        Digest::Sha1 => hmac_hex::<Hmac<Sha1>>(secret_key, canonical),
        Digest::Sha512 => hmac_hex::<Hmac<Sha512>>(secret_key, canonical),
    }
}

fn hmac_hex<M: Mac + KeyInit>(key: &str, text: &str) -> String {
    // HMAC takes keys of any length; an empty signature matches none.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    mac.update(text.as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_KEY: &str = "Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep";

    fn parameters(pairs: &[(&str, &str)]) -> String {
        let owned: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        canonical_parameters(&owned)
    }

    #[test]
    fn duos_own_published_example() {
        let canonical = canonical_request(
            "Tue, 21 Aug 2012 17:29:18 -0000",
            "POST",
            "api-XXXXXXXX.duosecurity.com",
            "/accounts/v1/account/list",
            &parameters(&[("username", "root"), ("realname", "First Last")]),
        );
        assert_eq!(
            sign(Digest::Sha1, SECRET_KEY, &canonical),
            "2d97d6166319781b5a3a07af39d366f491234edc"
        );
        assert_eq!(
            sign(Digest::Sha512, SECRET_KEY, &canonical),
            "1bffb8924348f7db7da9e7d7d749ded93aafd02d8e904960da7b96c57510220185a64a2827ee8f24ac5d30802a9ee97e59de44b304b18242f0d596d15a8122af"
        );
    }

    #[test]
    fn preauth_with_every_kind_of_character() {
        let canonical = canonical_request(
            "Sat, 21 Nov 2026 16:31:48 +0000",
            "POST",
            "API-1A2B3C4D.duosecurity.com",
            "/auth/v2/preauth",
            &parameters(&[
                ("username", "zoë+admin@example.com"),
                ("text_prompt", "1"),
                ("ipaddr", "2001:db8::7"),
                ("hostname", "web 01~a.example"),
                ("failmode", "open"),
            ]),
        );
        assert_eq!(
            sign(Digest::Sha1, SECRET_KEY, &canonical),
            "ee1b04b66ff8ccd53b4e8a2f0aed52536df03c6d"
        );
        assert_eq!(
            sign(Digest::Sha512, SECRET_KEY, &canonical),
            "49f0a6cdc880c03656a375f8a25c2e2fb95809020f8d748858fa06f4ecb84b120d29c828c6cf49529e28d3b821bd040be66f53c2cc4e6f7c67e31a8f3fe33e9a"
        );
    }

    #[test]
    fn a_get_request() {
        let canonical = canonical_request(
            "Sat, 21 Nov 2026 16:31:48 +0000",
            "GET",
            "api-1a2b3c4d.duosecurity.com",
            "/auth/v2/auth_status",
            &parameters(&[("txid", "45f7c92b-f45f-4862-8545-e0f58e78075a")]),
        );
        assert_eq!(
            sign(Digest::Sha1, SECRET_KEY, &canonical),
            "d853c00d9d4bae0e2476e2b34aa72a7d6c1acd5d"
        );
        assert_eq!(
            sign(Digest::Sha512, SECRET_KEY, &canonical),
            "71accb4f2c6d7b0b06b9899052712360549ef0d9d3ddb7a0d883a8a8a7c3bb868e57bfacf47af09abb8564bf58115e6bb0b72d00e8103925407f5ac07b040559"
        );
    }

    #[test]
    fn decoding_undoes_encoding_and_refuses_what_is_broken() {
        assert_eq!(encode("a b~ë/"), "a%20b~%C3%AB%2F");
        assert_eq!(decode("a%20b~%C3%AB%2f").as_deref(), Some("a b~ë/"));
        assert_eq!(decode("a+b").as_deref(), Some("a b"));
        assert_eq!(decode("%F"), None);
        assert_eq!(decode("%+1"), None);
        assert_eq!(decode("%FF"), None);
        assert_eq!(decode_pairs("novalue"), None);
    }
}
