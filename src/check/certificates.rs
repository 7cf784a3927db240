//! How long the certificates between here and Duo last: an expired root locks everybody out, or
//! lets everybody in, on one day and without a warning.
#![forbid(unsafe_code)]

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::{Finding, Level};
use crate::api::probe::Probe;
use crate::api::validity::Certificate;
use crate::config::Config;

/// The built-in roots are warned of so long before the last of them expires: a new release must
/// reach every machine by then.
const PINNED_ROOTS_WARNING: i64 = 365;

/// Days; a bundle of one's own is mended faster.
const BUNDLE_WARNING: i64 = 30;

/// Days; servers renew their certificates by themselves, well before.
const CHAIN_WARNING: i64 = 7;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// How long each certificate that the server sent lasts.
pub fn chain(chain: &[CertificateDer<'static>]) -> Vec<Finding> {
    let now = now();
    let read = |der: &CertificateDer<'static>| match Certificate::read(der) {
        Some(certificate) => {
            let name = format!("the certificate '{}'", certificate.subject);
            lasting(
                "network.certificate",
                &name,
                &certificate,
                now,
                CHAIN_WARNING,
            )
        }
        None => Finding::warn(
            "network.certificate",
            "a certificate of the chain is unreadable",
        ),
    };
    chain.iter().map(read).collect()
}

/// How long a certificate lasts.
fn lasting(id: &'static str, name: &str, of: &Certificate, now: i64, warning: i64) -> Finding {
    let days = of.not_after.saturating_sub(now).div_euclid(86_400);
    match days {
        ..0 => Finding::fail(
            id,
            format!("{name} expired {} days ago", days.saturating_abs()),
        ),
        _ if days < warning => Finding::warn(id, format!("{name} expires in {days} days")),
        _ => Finding::ok(id, format!("{name} expires in {days} days")),
    }
}

/// When the last of the trusted roots expires, nothing here trusts Duo any more.
pub fn newest_root(roots: &[CertificateDer<'static>], config: &Config) -> Finding {
    const ID: &str = "network.roots";
    let read = roots.iter().filter_map(|der| Certificate::read(der));
    let Some(newest) = read.max_by_key(|root| root.not_after) else {
        return Finding::fail(ID, "there is no usable root");
    };
    match &config.cafile {
        None => {
            let name = format!("'{}', the newest built-in root,", newest.subject);
            let finding = lasting(ID, &name, &newest, now(), PINNED_ROOTS_WARNING);
            match finding.level {
                Level::Ok => finding,
                _ => {
                    finding.mend("install a newer login_duo, or set cafile to the system's bundle")
                }
            }
        }
        Some(path) => {
            let name = format!(
                "'{}', the newest root in {},",
                newest.subject,
                path.display()
            );
            lasting(ID, &name, &newest, now(), BUNDLE_WARNING)
        }
    }
}

/// The root that stands behind the server.
pub fn pin(
    probe: &Probe<'_>,
    config: &Config,
    chain: &[CertificateDer<'static>],
    roots: &[CertificateDer<'static>],
) -> Finding {
    const ID: &str = "network.pin";
    if config.noverify {
        return Finding::fail(ID, "no root stands behind the server: noverify is on");
    }
    let root = probe
        .anchor(chain, roots)
        .and_then(|der| Certificate::read(der));
    match root {
        Some(root) => {
            let name = format!("the root '{}', which vouches for it,", root.subject);
            lasting(ID, &name, &root, now(), BUNDLE_WARNING)
        }
        None => Finding::warn(ID, "which root stands behind the server could not be told"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasts(days: i64, warning: i64) -> Level {
        let root = Certificate {
            subject: "r".into(),
            not_after: days * 86_400 + 100,
        };
        lasting("network.roots", "", &root, 100, warning).level
    }

    #[test]
    fn pinned_roots_are_warned_of_a_year_before_the_last_expires() {
        assert_eq!(lasts(365, PINNED_ROOTS_WARNING), Level::Ok);
        assert_eq!(lasts(364, PINNED_ROOTS_WARNING), Level::Warn);
        assert_eq!(lasts(0, PINNED_ROOTS_WARNING), Level::Warn);
        assert_eq!(lasts(-1, PINNED_ROOTS_WARNING), Level::Fail);
    }
}
