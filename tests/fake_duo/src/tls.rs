//! Certificates made at start, good and bad, and what stands at the door in TLS's place.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use std::io;
use std::sync::{Arc, OnceLock};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, version};

/// How the service presents itself on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// TLS 1.2 and 1.3, a certificate for the service's names and addresses, signed by the CA of `ca_pem`.
    #[default]
    Good,
    /// A certificate for `elsewhere.example`.
    WrongHost,
    /// A certificate signed by itself, which `ca_pem` does not vouch for.
    SelfSigned,
    /// A certificate signed by itself, which is also what `ca_pem` holds: as good as [`Tls::Good`].
    SelfSignedTrusted,
    /// A CA's certificate used as the server's, as `openssl req -x509` makes it; it is also what `ca_pem` holds.
    CaAsServer,
    /// Expired three days ago.
    Expired,
    /// Valid from three days from now.
    NotYetValid,
    /// Signed by a CA that is not that of `ca_pem`.
    UnknownCa,
    /// Good, but TLS 1.2 alone.
    Tls12Only,
    /// Good, but TLS 1.3 alone.
    Tls13Only,
    /// Answers the client's hello with one of TLS 1.1.
    Tls11,
    /// Answers the client's hello with the alert `handshake_failure`.
    Alert,
    /// Plain HTTP: no TLS at all.
    Plain,
}

/// The names that `serve --tls` takes, and what each is.
pub const TLS_VARIANTS: &[(&str, Tls, &str)] = &[
    (
        "good",
        Tls::Good,
        "valid for localhost and the bound addresses",
    ),
    ("wrong-host", Tls::WrongHost, "for elsewhere.example"),
    (
        "self-signed",
        Tls::SelfSigned,
        "signed by itself, not in ca.pem",
    ),
    (
        "self-signed-trusted",
        Tls::SelfSignedTrusted,
        "signed by itself, in ca.pem",
    ),
    (
        "ca-as-server",
        Tls::CaAsServer,
        "a CA's certificate, in ca.pem (openssl req -x509)",
    ),
    ("expired", Tls::Expired, "since three days"),
    ("not-yet-valid", Tls::NotYetValid, "in three days"),
    (
        "unknown-ca",
        Tls::UnknownCa,
        "signed by another CA than that of ca.pem",
    ),
    ("tls12-only", Tls::Tls12Only, "good, TLS 1.2 alone"),
    ("tls13-only", Tls::Tls13Only, "good, TLS 1.3 alone"),
    ("tls11", Tls::Tls11, "answers with a hello of TLS 1.1"),
    ("alert", Tls::Alert, "answers with a TLS alert"),
    ("plain", Tls::Plain, "plain HTTP"),
];

impl Tls {
    /// The variant of this name in [`TLS_VARIANTS`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TLS_VARIANTS
            .iter()
            .find(|(candidate, ..)| *candidate == name)
            .map(|(_, variant, _)| *variant)
    }
}

/// What a connection meets once it is accepted.
#[derive(Clone)]
pub enum Door {
    Tls(Arc<ServerConfig>),
    Plain,
    /// These bytes after the client's hello, then the end.
    Hello(&'static [u8]),
}

/// A record with a ServerHello that says TLS 1.1 (03 02) and names a cipher suite of its time.
const HELLO_OF_TLS_11: &[u8] = b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02\
    fake-duo fake-duo fake-duo fake \x00\xc0\x13\x00";
/// A record with the fatal alert `handshake_failure`.
const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";
/// The first third of a record that would hold a ServerHello.
pub const HALF_A_HELLO: &[u8] =
    b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03fake-duo fake-duo fake-duo fake ";

/// The CA whose certificates the tests trust: one for the whole process, so that several services can share a name.
static AUTHORITY: OnceLock<Result<Authority, rcgen::Error>> = OnceLock::new();

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = params(name, &[], Validity::NOW)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }
}

/// Days from now.
#[derive(Clone, Copy)]
struct Validity(i64, i64);

impl Validity {
    const NOW: Self = Self(-30, 365);
    const PAST: Self = Self(-33, -3);
    const FUTURE: Self = Self(3, 33);
}

fn params(
    name: &str,
    names: &[String],
    valid: Validity,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now.saturating_add(Duration::days(valid.0));
    params.not_after = now.saturating_add(Duration::days(valid.1));
    Ok(params)
}

/// The door for a variant, and the PEM of what a client is to trust. `names` are host names and addresses.
pub fn door(tls: Tls, names: &[String]) -> io::Result<(Door, String)> {
    let authority = AUTHORITY
        .get_or_init(|| Authority::new("fake-duo CA, for tests only"))
        .as_ref()
        .map_err(io::Error::other)?;
    let pem = authority.certificate.pem();
    let door = match tls {
        Tls::Plain => Door::Plain,
        Tls::Tls11 => Door::Hello(HELLO_OF_TLS_11),
        Tls::Alert => Door::Hello(ALERT),
        _ => {
            let (certificate, key) =
                certificate(tls, names, authority).map_err(io::Error::other)?;
            let door = Door::Tls(config(tls, &certificate, &key)?);
            let is_trusted_itself = matches!(tls, Tls::SelfSignedTrusted | Tls::CaAsServer);
            return Ok((
                door,
                if is_trusted_itself {
                    certificate.pem()
                } else {
                    pem
                },
            ));
        }
    };
    Ok((door, pem))
}

fn certificate(
    tls: Tls,
    names: &[String],
    authority: &Authority,
) -> Result<(Certificate, KeyPair), rcgen::Error> {
    let elsewhere = ["elsewhere.example".to_owned()];
    let (names, valid) = match tls {
        Tls::WrongHost => (elsewhere.as_slice(), Validity::NOW),
        Tls::Expired => (names, Validity::PAST),
        Tls::NotYetValid => (names, Validity::FUTURE),
        _ => (names, Validity::NOW),
    };
    let mut params = params("fake-duo server, for tests only", names, valid)?;
    let key = KeyPair::generate()?;
    if tls == Tls::CaAsServer {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        return Ok((params.self_signed(&key)?, key));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = match tls {
        Tls::SelfSigned | Tls::SelfSignedTrusted => params.self_signed(&key)?,
        Tls::UnknownCa => {
            let stranger = Authority::new("fake-duo CA that nobody trusts")?;
            params.signed_by(&key, &stranger.issuer)?
        }
        _ => params.signed_by(&key, &authority.issuer)?,
    };
    Ok((certificate, key))
}

fn config(tls: Tls, certificate: &Certificate, key: &KeyPair) -> io::Result<Arc<ServerConfig>> {
    let versions: &[&SupportedProtocolVersion] = match tls {
        Tls::Tls12Only => &[&version::TLS12],
        Tls::Tls13Only => &[&version::TLS13],
        _ => &[&version::TLS13, &version::TLS12],
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_records_are_as_long_as_they_say() {
        assert_eq!(HELLO_OF_TLS_11.len(), 5 + 0x2a);
        assert_eq!(ALERT.len(), 7);
        assert!(HALF_A_HELLO.len() < 5 + 0x7a);
    }
}
