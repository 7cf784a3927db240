//! Whether Duo can be reached and takes our keys, told step by step, so that the first step that
//! fails is seen. Runs without privileges: every byte comes from the network.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;

use super::{Finding, Level};
use crate::api::probe::{Asked, Handshake, Probe, Question, Reached};
use crate::api::transport::Line;
use crate::api::validity::Certificate;
use crate::clock::Deadlines;
use crate::config::{Config, Failmode};
use crate::error::Error;

/// For an answer to `/ping` or `/check`.
const ANSWER: Duration = Duration::from_secs(10);

/// For the name service.
const NAMES: Duration = Duration::from_secs(10);

/// The built-in roots are warned of so long before the last of them expires: a new release must
/// reach every machine by then.
const PINNED_ROOTS_WARNING: i64 = 365;

/// Days; a bundle of one's own is mended faster.
const BUNDLE_WARNING: i64 = 30;

/// Days; servers renew their certificates by themselves, well before.
const CHAIN_WARNING: i64 = 7;

/// Seconds; beyond, a login costs two round trips more.
const CLOCK_TOLERANCE: u64 = 60;

/// Looks at everything between here and Duo, by `until`.
pub fn look(config: &Config, until: Instant) -> Vec<Finding> {
    let deadlines = Deadlines::default();
    let mut findings = Vec::new();
    let whole = match Probe::new(config, &deadlines) {
        Ok(probe) => walk(&probe, config, until, &mut findings),
        Err(error) => {
            findings.push(Finding::fail("network.roots", error.to_string()));
            Err(error)
        }
    };
    findings.push(outcome(config, &whole));
    findings
}

/// The steps in their order; the first that ends the walk is the error.
fn walk(
    probe: &Probe<'_>,
    config: &Config,
    until: Instant,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    if let Some(proxy) = &config.http_proxy {
        let text = format!("through the proxy {}:{}", proxy.host.name, proxy.host.port);
        findings.push(Finding::ok("network.proxy", text));
    }
    let roots = probe.roots()?;
    findings.push(newest_root(&roots, config, now()));

    let next = config
        .http_proxy
        .as_ref()
        .map_or(&config.host, |proxy| &proxy.host);
    let addresses = probe
        .addresses(until.min(Instant::now() + NAMES))
        .inspect_err(|error| {
            let finding = Finding::fail("network.name", error.to_string());
            findings.push(finding.mend(format!("getent ahosts {}", next.name)));
        })?;
    findings.push(Finding::ok(
        "network.name",
        format!("{} is {}", next.name, list(&addresses)),
    ));

    let reached = probe.reach(&addresses, until);
    findings.extend(connections(&reached));
    let handshake = reached.iter().find_map(|reached| match &reached.tls {
        Some(Ok(handshake)) => Some(handshake),
        _ => None,
    });
    let Some(handshake) = handshake else {
        return Err(first_error(reached));
    };
    findings.extend(certificates(handshake, now()));
    findings.push(pin(probe, config, &handshake.chain, &roots));
    questions(probe, until, findings)
}

/// The time, then the keys.
fn questions(probe: &Probe<'_>, until: Instant, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let line = probe.line()?;
    let ask = |line: &Line, question, offset| {
        probe.ask(line, question, offset, until.min(Instant::now() + ANSWER))
    };
    let ping = ask(&line, Question::Ping, 0);
    findings.push(clock(&ping));
    let offset = ping?.offset.unwrap_or_default();
    let check = ask(&line, Question::Check, offset);
    findings.push(keys(&check));
    check?.error.map_or(Ok(()), Err)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    texts.join(", ")
}

/// TCP and TLS of each address; one that works makes the others warnings.
fn connections(reached: &[Reached]) -> Vec<Finding> {
    let works = reached.iter().any(|one| matches!(one.tls, Some(Ok(_))));
    let bad = if works { Level::Warn } else { Level::Fail };
    let mut findings = Vec::new();
    for one in reached {
        let address = one.address;
        findings.push(match &one.tcp {
            Ok(took) => {
                let text = format!("{address} takes connections (round trip {})", span(*took));
                Finding::ok("network.tcp", text)
            }
            Err(error) => Finding::new(bad, "network.tcp", format!("{address}: {error}")),
        });
        findings.extend(one.tls.as_ref().map(|tls| match tls {
            Ok(handshake) => Finding::ok(
                "network.tls",
                format!("{address} speaks {}", handshake.version),
            ),
            Err(error) => Finding::new(bad, "network.tls", error.to_string()),
        }));
    }
    findings
}

fn first_error(reached: Vec<Reached>) -> Error {
    let mut errors = reached
        .into_iter()
        .filter_map(|one| one.tcp.err().or_else(|| one.tls?.err()));
    let first = errors.next();
    first.unwrap_or_else(|| Error::Service("the name has no address".to_owned()))
}

fn span(span: Duration) -> String {
    match span.as_millis() {
        0 => "under 1 ms".to_owned(),
        millis => format!("{millis} ms"),
    }
}

fn certificates(handshake: &Handshake, now: i64) -> Vec<Finding> {
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
    handshake.chain.iter().map(read).collect()
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
fn newest_root(roots: &[CertificateDer<'static>], config: &Config, now: i64) -> Finding {
    const ID: &str = "network.roots";
    let read = roots.iter().filter_map(|der| Certificate::read(der));
    let Some(newest) = read.max_by_key(|root| root.not_after) else {
        return Finding::fail(ID, "there is no usable root");
    };
    match &config.cafile {
        None => {
            let name = format!("'{}', the newest built-in root,", newest.subject);
            let finding = lasting(ID, &name, &newest, now, PINNED_ROOTS_WARNING);
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
            lasting(ID, &name, &newest, now, BUNDLE_WARNING)
        }
    }
}

fn pin(
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

fn clock(ping: &Result<Asked, Error>) -> Finding {
    const ID: &str = "network.clock";
    let asked = match ping {
        Ok(asked) => asked,
        Err(error) => return Finding::fail(ID, format!("/ping: {error}")),
    };
    match (asked.offset, &asked.error) {
        (Some(offset), _) => {
            let took = span(asked.took);
            let way = if offset < 0 { "ahead of" } else { "behind" };
            let seconds = offset.unsigned_abs();
            let text =
                format!("this machine's clock is {seconds} s {way} Duo's (/ping took {took})");
            match seconds {
                0 => Finding::ok(
                    ID,
                    format!("this machine's clock is Duo's (/ping took {took})"),
                ),
                1..CLOCK_TOLERANCE => Finding::ok(ID, text),
                _ => Finding::warn(ID, text).mend("timedatectl set-ntp true"),
            }
        }
        (None, Some(error)) => Finding::fail(ID, format!("/ping: {error}")),
        (None, None) => Finding::fail(ID, format!("/ping: HTTP {}", asked.status)),
    }
}

fn keys(check: &Result<Asked, Error>) -> Finding {
    const ID: &str = "network.keys";
    match check {
        Err(error) => Finding::fail(ID, format!("/check: {error}")),
        Ok(asked) => match (&asked.error, asked.code.and_then(meaning)) {
            (None, _) => {
                let took = span(asked.took);
                Finding::ok(ID, format!("Duo takes ikey and skey (/check took {took})"))
            }
            (Some(error), Some((words, mend))) => {
                Finding::fail(ID, format!("{words} ({error})")).mend(mend)
            }
            (Some(error), None) => Finding::fail(ID, format!("/check: {error}")),
        },
    }
}

/// What Duo's codes mean for the sysadmin, and what to do.
fn meaning(code: u64) -> Option<(&'static str, &'static str)> {
    const COPY: &str = "copy it anew from the application's page in the Duo Admin Panel";
    const STRIPPED: &str = "look for a proxy between here and Duo that changes requests";
    Some(match code {
        40_101 => (
            "Duo got no credentials: something on the way took them out",
            STRIPPED,
        ),
        40_102 => (
            "ikey is wrong: Duo does not know this integration key",
            COPY,
        ),
        40_103 => (
            "skey is wrong: it does not belong to this ikey and host",
            COPY,
        ),
        40_104 => (
            "Duo got no date: something on the way took it out",
            STRIPPED,
        ),
        40_105 => ("this machine's clock is off", "timedatectl set-ntp true"),
        40_301 => (
            "the application is of the wrong type",
            "make a 'UNIX Application' in the Duo Admin Panel and take its keys",
        ),
        40_300..=40_399 => (
            "Duo refuses this application or this machine",
            "look at the application's page in the Duo Admin Panel: is it disabled, or limited to \
             other networks?",
        ),
        42_900..=42_999 => (
            "Duo is busy with too many requests",
            "try again in a minute",
        ),
        _ => return None,
    })
}

/// What all that means for a login.
fn outcome(config: &Config, walk: &Result<(), Error>) -> Finding {
    const ID: &str = "network.outcome";
    match (walk, config.failmode) {
        (Ok(()), _) => Finding::ok(ID, "a login can ask Duo"),
        (Err(Error::Service(_)), Failmode::Safe) => Finding::fail(
            ID,
            "as things are, everybody passes without Duo (failmode = safe)",
        ),
        (Err(_), _) => Finding::fail(ID, "as things are, everybody is denied"),
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

    #[test]
    fn each_code_of_duos_has_words() {
        for code in [
            40_101, 40_102, 40_103, 40_104, 40_105, 40_301, 40_303, 42_901,
        ] {
            assert!(meaning(code).is_some(), "{code}");
        }
        assert!(meaning(50_000).is_none());
    }
}
