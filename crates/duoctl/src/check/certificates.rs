//! Findings about the server's certificates: which root they lead to, and whether
//! they are valid for some days more. When a certificate ends, everybody is denied,
//! or everybody passes, from one second to the next. The dates of a trusted root
//! itself are not checked, since the TLS library ignores them.

use std::time::{Duration, SystemTime};

use duo_net::tls;
use duo_policy::config::Config;
use rustls::pki_types::CertificateDer;

use crate::finding::Finding;

/// Days. A server that works well has renewed its certificate by so many days before
/// the end.
const DAYS: u64 = 7;

/// How many certificates are trusted.
pub fn roots(roots: &[CertificateDer<'static>], config: &Config) -> Finding {
    const ID: &str = "network.roots";
    let count = roots.len();
    let number = if count == 1 { "root is" } else { "roots are" };
    let whose = match &config.cafile {
        None => "built in".to_owned(),
        Some(path) => format!("from {}", path.display()),
    };
    Finding::ok(ID, format!("{count} {number} trusted, {whose}"))
}

/// Whether the certificates that the server sent are valid [`DAYS`] after `now`.
pub fn chain(
    sent: &[CertificateDer<'static>],
    config: &Config,
    roots: &[CertificateDer<'static>],
    now: SystemTime,
) -> Finding {
    const ID: &str = "network.certificate";
    let later = now + Duration::from_secs(DAYS * 86_400);
    match tls::verify_chain(roots, sent, &config.host.name, later) {
        Ok(()) => Finding::ok(
            ID,
            format!("its certificates are valid for {DAYS} days more"),
        ),
        Err(_) => Finding::warn(ID, format!("its certificates end within {DAYS} days")),
    }
}

/// The trusted root to which the certificates that the server sent lead.
pub fn anchor(
    sent: &[CertificateDer<'static>],
    config: &Config,
    roots: &[CertificateDer<'static>],
    now: SystemTime,
) -> Finding {
    const ID: &str = "network.pin";
    let vouches = |root: &&CertificateDer<'static>| {
        let alone = std::slice::from_ref(*root);
        tls::verify_chain(alone, sent, &config.host.name, now).is_ok()
    };
    match roots.iter().find(vouches).and_then(tls::name_of) {
        Some(name) => Finding::ok(ID, format!("the root '{name}' vouches for it")),
        None => Finding::warn(ID, "which root stands behind the server could not be told"),
    }
}
