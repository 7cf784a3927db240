//! Signing: the canonical form of a request and its HMAC.
//!
//! Source: docs/duo-api.md, *Signing*. What is signed is sent byte for byte, so
//! the signature and the request use the same [`Parameters`].

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::config::Signature;
use crate::cryptography::hmac_hex;
use crate::secret::Secret;

/// A request's parameters: encoded, sorted by encoded name, joined.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameters(String);

impl Parameters {
    /// Encodes `pairs`; their order does not matter.
    pub fn new(pairs: &[(&str, &str)]) -> Parameters {
        let mut encoded: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| (encode(name), encode(value)))
            .collect();
        encoded.sort();
        let joined: Vec<String> = encoded
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Parameters(joined.join("&"))
    }

    /// The query string or the form body.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Percent-encoding by RFC 3986: all but the unreserved characters as `%XX`, of the UTF-8 bytes.
pub fn encode(text: &str) -> String {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or('0');
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    encoded
}

/// `time` by RFC 2822, in UTC: `Tue, 21 Aug 2012 17:29:18 +0000`, whatever the locale.
pub fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time).replace("GMT", "+0000")
}

/// The keys of an application at Duo.
pub struct Keys {
    /// The integration key, which names the application.
    pub ikey: String,
    /// The secret key, which signs its requests.
    pub skey: Secret,
    /// The hash of the HMAC.
    pub signature: Signature,
}

impl Keys {
    /// The value of `Authorization` for a request. `host` is without its port.
    pub fn authorization(
        &self,
        date: &str,
        method: &str,
        host: &str,
        path: &str,
        parameters: &Parameters,
    ) -> String {
        let canonical = canonical(date, method, host, path, parameters);
        let signature = self.sign(&canonical);
        format!(
            "Basic {}",
            BASE64.encode(format!("{}:{signature}", self.ikey))
        )
    }

    fn sign(&self, canonical: &str) -> String {
        hmac_hex(self.signature, self.skey.expose(), canonical.as_bytes())
    }
}

fn canonical(date: &str, method: &str, host: &str, path: &str, parameters: &Parameters) -> String {
    [
        date,
        method,
        &host.to_ascii_lowercase(),
        path,
        parameters.as_str(),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SKEY: &str = "Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep";

    fn keys(signature: Signature) -> Keys {
        Keys {
            ikey: "DI".into(),
            skey: Secret::from(SKEY.to_owned()),
            signature,
        }
    }

    fn assert_signs(canonical: &str, sha1: &str, sha512: &str) {
        assert_eq!(keys(Signature::Sha1).sign(canonical), sha1);
        assert_eq!(keys(Signature::Sha512).sign(canonical), sha512);
    }

    #[test]
    fn duos_published_example_signs_as_published() {
        let parameters = Parameters::new(&[("username", "root"), ("realname", "First Last")]);
        assert_eq!(parameters.as_str(), "realname=First%20Last&username=root");
        assert_signs(
            &canonical(
                "Tue, 21 Aug 2012 17:29:18 -0000",
                "POST",
                "api-XXXXXXXX.duosecurity.com",
                "/accounts/v1/account/list",
                &parameters,
            ),
            "2d97d6166319781b5a3a07af39d366f491234edc",
            "1bffb8924348f7db7da9e7d7d749ded93aafd02d8e904960da7b96c57510220185a64a2827ee8f24ac5d3\
             0802a9ee97e59de44b304b18242f0d596d15a8122af",
        );
    }

    #[test]
    fn a_preauth_with_every_kind_of_letter_signs_as_specified() {
        let parameters = Parameters::new(&[
            ("username", "zoë+admin@example.com"),
            ("text_prompt", "1"),
            ("ipaddr", "2001:db8::7"),
            ("hostname", "web 01~a.example"),
            ("failmode", "open"),
        ]);
        assert_signs(
            &canonical(
                "Sat, 21 Nov 2026 16:31:48 +0000",
                "POST",
                "API-1A2B3C4D.duosecurity.com",
                "/auth/v2/preauth",
                &parameters,
            ),
            "ee1b04b66ff8ccd53b4e8a2f0aed52536df03c6d",
            "49f0a6cdc880c03656a375f8a25c2e2fb95809020f8d748858fa06f4ecb84b120d29c828c6cf49529e28d\
             3b821bd040be66f53c2cc4e6f7c67e31a8f3fe33e9a",
        );
    }

    #[test]
    fn an_auth_status_signs_as_specified() {
        let parameters = Parameters::new(&[("txid", "45f7c92b-f45f-4862-8545-e0f58e78075a")]);
        assert_signs(
            &canonical(
                "Sat, 21 Nov 2026 16:31:48 +0000",
                "GET",
                "api-1a2b3c4d.duosecurity.com",
                "/auth/v2/auth_status",
                &parameters,
            ),
            "d853c00d9d4bae0e2476e2b34aa72a7d6c1acd5d",
            "71accb4f2c6d7b0b06b9899052712360549ef0d9d3ddb7a0d883a8a8a7c3bb868e57bfacf47af09abb856\
             4bf58115e6bb0b72d00e8103925407f5ac07b040559",
        );
    }

    #[test]
    fn the_date_is_rfc_2822_in_english_and_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_345_570_158);
        assert_eq!(date(time), "Tue, 21 Aug 2012 17:29:18 +0000");
    }

    #[test]
    fn the_header_names_the_ikey_and_holds_the_signature() {
        let header =
            keys(Signature::Sha1).authorization("d", "GET", "h", "/", &Parameters::new(&[]));
        let decoded = BASE64
            .decode(header.strip_prefix("Basic ").unwrap())
            .unwrap();
        let text = String::from_utf8(decoded).unwrap();
        assert!(text.starts_with("DI:") && text.len() == 3 + 40);
    }
}
