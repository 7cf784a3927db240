//! Which server is trusted to be Duo's: one whose certificate is signed under a
//! pinned root or under a certificate of `cafile` (docs/duo-api.md, *Connection*
//! and *Pinned roots*). Nothing in the environment changes this (docs/security.md,
//! attack 1).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use duo_policy::config::{Config, MinTls};
use duo_policy::error::Error;
use duo_system::system_words;
use nix::libc;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, PeerIncompatible, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};

use crate::certificate;
use crate::cryptography;

/// The roots under which Duo's servers are signed (docs/duo-api.md, *Pinned
/// roots*).
const ROOTS: &[u8] = include_bytes!("roots.pem");

/// A `cafile` is at most this long, in bytes. The bundles that systems ship are
/// less than a tenth of this.
const LARGEST_BUNDLE: u64 = 16 * 1024 * 1024;

/// The settings of the TLS library that the configuration asks for.
///
/// # Errors
/// [`Error::Configuration`] if `cafile` cannot be used.
pub(crate) fn client_config(config: &Config) -> Result<Arc<ClientConfig>, Error> {
    let provider = cryptography::provider()?;
    let verifier: Arc<dyn ServerCertVerifier> = if config.noverify {
        Arc::new(AcceptAny(provider.clone()))
    } else {
        Arc::new(NamingVerifier(verifier(&trusted_roots(config)?)?))
    };
    let versions: &[&SupportedProtocolVersion] = match config.min_tls {
        MinTls::Tls12 => &[&TLS13, &TLS12],
        MinTls::Tls13 => &[&TLS13],
    };
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| set_up(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A login nearly always makes one connection, so there is no session to resume.
    tls.resumption = Resumption::disabled();
    cryptography::prove(&tls)?;
    Ok(Arc::new(tls))
}

fn set_up(error: &dyn std::fmt::Debug) -> Error {
    Error::Fault(format!("couldn't set up TLS: {error:?}"))
}

/// The certificates that are trusted: those of `cafile`, else the pinned ones.
///
/// # Errors
/// [`Error::Configuration`] if `cafile` cannot be used.
pub fn trusted_roots(config: &Config) -> Result<Vec<CertificateDer<'static>>, Error> {
    match &config.cafile {
        Some(path) => bundle(path),
        // A test proves that each of them is usable.
        None => Ok(certificates(ROOTS)),
    }
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten().collect()
}

fn verifier(roots: &[CertificateDer<'static>]) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = cryptography::provider()?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| set_up(&error))
}

/// Checks that the certificates which `host` sent are signed under one of `roots`,
/// and valid at the time `at`.
///
/// # Errors
/// [`Error::Service`] if they are not; [`Error::Configuration`] if `host` cannot be a
/// host's name.
pub fn verify_chain(
    roots: &[CertificateDer<'static>],
    sent: &[CertificateDer<'_>],
    host: &str,
    at: SystemTime,
) -> Result<(), Error> {
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Error::Configuration(format!("'{host}' cannot be a host's name")))?;
    let Some((own, others)) = sent.split_first() else {
        return Err(Error::Service("the server sent no certificate".to_owned()));
    };
    let verified = NamingVerifier(verifier(roots)?).verify_server_cert(
        own,
        others,
        &name,
        &[],
        UnixTime::since_unix_epoch(at),
    );
    let failed = |error| failure(&error, host, MinTls::Tls12);
    verified.map(drop).map_err(failed)
}

/// The common name of a root, or else its organisation.
pub fn name_of(root: &CertificateDer<'_>) -> Option<String> {
    let anchor = webpki::anchor_from_trusted_cert(root).ok()?;
    certificate::name_in(&anchor.subject)
}

/// The content of a regular file of at most [`LARGEST_BUNDLE`] bytes. Anything else
/// is `None`, since a fifo or a device may have no end.
fn read_regular_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut options = File::options();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let status = file.metadata()?;
    if !status.is_file() || status.len() > LARGEST_BUNDLE {
        return Ok(None);
    }
    // With room for one more byte, `read_to_end` finds the end without growing the
    // vector.
    let length = usize::try_from(status.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(length + 1);
    file.take(LARGEST_BUNDLE).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The usable certificates of a `cafile`.
fn bundle(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let name = path.display();
    let bytes = read_regular_file(path).map_err(|error| {
        let who = nix::unistd::User::from_uid(nix::unistd::geteuid());
        let who = who
            .ok()
            .flatten()
            .map_or_else(String::new, |user| user.name);
        let why = system_words(&error);
        let text = format!("the user '{who}' couldn't read cafile '{name}': {why}");
        match is_configuration_mistake(&error) {
            true => Error::Configuration(text),
            false => Error::Fault(text),
        }
    })?;
    let Some(bytes) = bytes else {
        let why = format!("cafile '{name}' is not a regular file of at most 16 MiB");
        return Err(Error::Configuration(why));
    };
    let mut roots = certificates(&bytes);
    roots.retain(|root| webpki::anchor_from_trusted_cert(root).is_ok());
    if roots.is_empty() {
        let why = format!("cafile '{name}' holds no usable certificate in PEM form");
        return Err(Error::Configuration(why));
    }
    Ok(roots)
}

/// Whether a file cannot be read because of a mistake in the configuration. Other
/// causes, such as too many open files, can be a caller's doing, and failmode must
/// not forgive them as a mistake.
fn is_configuration_mistake(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
    )
}

/// Why TLS with `host` failed, from the library's typed error.
pub(crate) fn failure(error: &rustls::Error, host: &str, min_tls: MinTls) -> Error {
    use rustls::Error as Tls;
    match error {
        Tls::AlertReceived(AlertDescription::ProtocolVersion)
        | Tls::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => Error::Service(match min_tls {
            MinTls::Tls12 => "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned(),
            MinTls::Tls13 => "the server does not speak TLS 1.3, as min_tls wants".to_owned(),
        }),
        Tls::InvalidCertificate(why) => Error::Service(certificate::refusal_text(why, host)),
        Tls::AlertReceived(alert) => {
            Error::Service(format!("the server ended it with the TLS alert {alert:?}"))
        }
        Tls::InvalidMessage(_) | Tls::InappropriateMessage { .. } => {
            Error::Service("the answer is not TLS".to_owned())
        }
        Tls::PeerIncompatible(_)
        | Tls::PeerMisbehaved(_)
        | Tls::DecryptError
        | Tls::NoCertificatesPresented
        | Tls::UnsupportedNameType
        | Tls::NoApplicationProtocol
        | Tls::PeerSentOversizedRecord
        | Tls::InappropriateHandshakeMessage { .. } => {
            Error::Service(format!("TLS failed: {error:?}"))
        }
        // The other errors are faults of this machine: no random bytes, no time, no memory.
        _ => Error::Fault(format!("couldn't use TLS: {error:?}")),
    }
}

/// The library's verifier of certificates. Its error says what is wrong with a
/// certificate, but not who signed it, so this type adds the signer's name.
#[derive(Debug)]
struct NamingVerifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for NamingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, name, ocsp, now)
            .map_err(|error| certificate::explained(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The verifier of `noverify = yes`, which accepts every certificate.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
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
        let usable = |der| webpki::anchor_from_trusted_cert(der).is_ok();
        assert!(ders.iter().all(usable));
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
    fn a_cafile_that_a_caller_has_made_unreadable_is_no_mistake() {
        let is_mistake = |number| is_configuration_mistake(&io::Error::from_raw_os_error(number));
        for number in [libc::ENOENT, libc::EACCES, libc::ENOTDIR, libc::EISDIR] {
            assert!(is_mistake(number), "{number}");
        }
        for number in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EIO] {
            assert!(!is_mistake(number), "{number}");
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
        let fifo = dir.path().join("fifo.pem");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for endless in [&fifo, Path::new("/dev/zero"), dir.path()] {
            let error = bundle(endless).unwrap_err();
            assert!(matches!(error, Error::Configuration(_)), "{error}");
        }
        let path = dir.path().join("good.pem");
        std::fs::write(&path, ROOTS).unwrap();
        assert!(bundle(&path).is_ok());
    }

    #[test]
    fn a_root_is_called_by_its_common_name() {
        let names: Vec<_> = certificates(ROOTS).iter().filter_map(name_of).collect();
        assert_eq!(names.len(), FINGERPRINTS.len());
        assert!(names.iter().any(|name| name == "Amazon Root CA 1"));
    }
}
