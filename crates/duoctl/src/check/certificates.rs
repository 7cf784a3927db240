//! Who vouches for the server, and whether the chain that it shows is valid for
//! some days more: one that ends locks everybody out, or lets everybody in, on
//! one day and without a warning. (A trust anchor's own dates count for nothing:
//! the TLS library does not look at them.)

use std::time::{Duration, SystemTime};

use duo_net::tls;
use duo_policy::config::Config;
use rustls::pki_types::CertificateDer;

use crate::finding::Finding;

/// Servers renew their certificates by themselves, well before that many days.
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

/// Whether what the server sent will do in some days still.
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

/// The root that stands behind the server.
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
