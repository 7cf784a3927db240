//! Whom we take for Duo: the pinned roots, or `cafile`, and what a refused
//! certificate reads like.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::config::Config;
use crate::error::{Error, system_words};

/// Mozilla's roots under which Duo's servers are signed.
const ROOTS: &[u8] = include_bytes!("roots.pem");

/// What the TLS library needs to know, from the configuration.
///
/// # Errors
/// [`Error::Configuration`] if `cafile` cannot be used.
pub fn client_config(config: &Config) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::fault("set up TLS", error))?;
    let mut tls = if config.noverify {
        let anyone = Arc::new(Anyone(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(anyone)
            .with_no_client_auth()
    } else {
        let roots = match &config.cafile {
            Some(path) => bundle(path)?,
            None => pinned(),
        };
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    // One connection a login: nothing to resume.
    tls.resumption = Resumption::disabled();
    Ok(Arc::new(tls))
}

fn pinned() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(ROOTS).flatten() {
        // A test proves that each of them is usable.
        let _ = roots.add(der);
    }
    roots
}

fn bundle(path: &Path) -> Result<RootCertStore, Error> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        Error::Configuration(format!(
            "couldn't read cafile '{name}': {}",
            system_words(&error)
        ))
    })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).flatten());
    if roots.is_empty() {
        let why = format!("cafile '{name}' holds no usable certificate in PEM form");
        return Err(Error::Configuration(why));
    }
    Ok(roots)
}

/// Why TLS with `host` failed, from the library's typed error.
pub fn failure(error: &rustls::Error, host: &str) -> Error {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(why) => Error::Service(certificate(why, host)),
        Tls::AlertReceived(alert) => Error::Service(format!("TLS alert {alert:?}")),
        Tls::InvalidMessage(_) | Tls::InappropriateMessage { .. } => {
            Error::Service("the answer is not TLS".to_owned())
        }
        Tls::PeerIncompatible(why) => Error::Service(format!("no common TLS version: {why:?}")),
        Tls::PeerMisbehaved(_)
        | Tls::DecryptError
        | Tls::NoCertificatesPresented
        | Tls::UnsupportedNameType
        | Tls::NoApplicationProtocol
        | Tls::PeerSentOversizedRecord
        | Tls::InappropriateHandshakeMessage { .. } => {
            Error::Service(format!("TLS failed: {error}"))
        }
        // No random bytes, no time, no memory: ours, not Duo's.
        _ => Error::fault("use TLS", error),
    }
}

fn certificate(why: &CertificateError, host: &str) -> String {
    match why {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired {} ago, on {} (this machine's clock says {})",
            span(time, not_after),
            day(not_after),
            day(time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is not valid before {}, in {} (this machine's clock says {})",
            day(not_before),
            span(not_before, time),
            day(time)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            // The library gives them as `DnsName("x")`; the name is in the quotes.
            let names: Vec<&str> = presented
                .iter()
                .map(|name| name.split('"').nth(1).unwrap_or(name))
                .collect();
            format!(
                "the server's certificate is for '{}', not '{host}'",
                names.join("', '")
            )
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate is not signed by a trusted root".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server's certificate is a CA; make one with CA:FALSE and subjectAltName".to_owned()
        }
        other => format!("the server's certificate is not acceptable: {other:?}"),
    }
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

/// `noverify = yes`: any certificate will do.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The fingerprints that the roots were picked by.
    const FINGERPRINTS: [&str; 14] = [
        "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
        "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
        "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
        "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
        "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
        "2ce1cb0bf9d2f9e102993fbe215152c3b2dd0cabde1c68e5319b839154dbb7f5",
        "7431e5f4c3c1ce4690774f0b61e05440883ba9a01ed00ba6abd7806ed3b118cf",
        "018e13f0772532cf809bd1b17281867283fc48c6e13be9c69812854a490c1b05",
        "371a00dc0533b3721a7eeb40e8419e70799d2b0a0f2c1d80693165f7cec4ad75",
        "4fa3126d8d3a11d1c4855a4f807cbad6cf919d3a5a88b03bea2c6372d93c40c9",
        "cbb9c44d84b8043e1050ea31a69f514955d7bfd2e2c6b49301019ad61d9f5058",
        "8d25cd97229dbf70356bda4eb3cc734031e24cf00fafcfd32dc76eb5841c7ea8",
        "349dfa4058c5e263123b398ae795573c4e1313c83fe68f93556cd5e8031b3c7d",
        "5d56499be4d2e08bcfcad08a3e38723d50503bde706948e42f55603019e528ae",
    ];

    #[test]
    fn each_root_in_the_binary_is_one_of_those_that_were_picked() {
        let ders: Vec<_> = CertificateDer::pem_slice_iter(ROOTS)
            .map(Result::unwrap)
            .collect();
        let mut found: Vec<String> = ders
            .iter()
            .map(|der| {
                Sha256::digest(der)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect()
            })
            .collect();
        found.sort();
        let mut wanted = FINGERPRINTS.map(str::to_owned);
        wanted.sort();
        assert_eq!(found, wanted);
        assert_eq!(pinned().len(), FINGERPRINTS.len());
    }

    /// notAfter, the second time in the certificate's `Validity`: UTCTime has
    /// two digits for the year (1950 to 2049), GeneralizedTime four.
    fn expiry_year(der: &[u8]) -> u32 {
        let times: Vec<&[u8]> = der
            .windows(15)
            .filter(|window| {
                matches!(window[..2], [0x17, 13] | [0x18, 15])
                    && window[2..].iter().take(10).all(u8::is_ascii_digit)
            })
            .collect();
        let text = std::str::from_utf8(&times[1][2..]).unwrap();
        match times[1][0] {
            0x17 => 2000 + text[..2].parse::<u32>().unwrap(),
            _ => text[..4].parse().unwrap(),
        }
    }

    #[test]
    fn no_root_in_the_binary_has_expired() {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let this_year = 1970 + u32::try_from(now / 31_556_952).unwrap();
        for der in CertificateDer::pem_slice_iter(ROOTS).map(Result::unwrap) {
            assert!(
                expiry_year(&der) > this_year,
                "expires in {}",
                expiry_year(&der)
            );
        }
    }

    #[test]
    fn a_cafile_that_cannot_be_used_is_a_configuration_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = bundle(&dir.path().join("none.pem")).unwrap_err();
        assert!(
            matches!(&missing, Error::Configuration(text) if text.contains("none.pem")
            && text.contains("no such file or directory")),
            "{missing}"
        );
        for content in [
            "",
            "garbage",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let path = dir.path().join("bad.pem");
            std::fs::write(&path, content).unwrap();
            assert!(
                matches!(bundle(&path), Err(Error::Configuration(_))),
                "{content}"
            );
        }
        let path = dir.path().join("good.pem");
        std::fs::write(&path, ROOTS).unwrap();
        assert!(bundle(&path).is_ok());
    }

    #[test]
    fn a_refused_certificate_reads_as_what_it_is() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let expired = CertificateError::ExpiredContext {
            time: at(3 * 86_400 + 60),
            not_after: at(30),
        };
        let text = certificate(&expired, "h");
        assert!(text.contains("expired 3 days ago"), "{text}");
        assert!(
            text.contains("Thu, 01 Jan 1970") && text.contains("Sun, 04 Jan 1970"),
            "{text}"
        );
        let name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("h").unwrap(),
            presented: vec!["DnsName(\"x.example\")".into()],
        };
        assert_eq!(
            certificate(&name, "h"),
            "the server's certificate is for 'x.example', not 'h'"
        );
    }
}
