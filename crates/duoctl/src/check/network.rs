//! Findings about the network: whether Duo can be reached and accepts the keys, one finding a step, so
//! that the first step that fails is seen. The child does this, without privileges, since every byte
//! comes from the network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use duo_net::connect::Route;
use duo_net::names::SystemNames;
use duo_net::{CLOCK_TOLERANCE, Client, Person, tls};
use duo_policy::api::Answered;
use duo_policy::api::reply::Trouble;
use duo_policy::clock::Deadlines;
use duo_policy::config::Config;
use duo_policy::error::Error;
use duo_policy::verdict::{self, Meaning};
use duo_system::privsep::ChildEnds;
use duo_system::wait::{SystemClock, Waiter};

use super::certificates;
use super::probe::{self, MOST_ADDRESSES, Reached};
use crate::finding::{Finding, Level};

/// The time for an answer to `/ping` or `/check`.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The time for the name service.
const NAME_TIME: Duration = Duration::from_secs(10);

/// The deadlines of a login, but shorter, since the whole check takes less than a minute. A Duo that
/// is busy becomes a finding, and is not waited for.
pub fn deadlines() -> Deadlines {
    Deadlines {
        request: ANSWER_TIME,
        backoffs: 0,
        ..Deadlines::default()
    }
}

/// Checks everything between this machine and Duo, until `until` at most.
pub fn findings(config: &Config, ends: &ChildEnds, until: Instant) -> Vec<Finding> {
    let waiter = Waiter::new(&SystemClock, Some(&ends.life));
    let mut findings = Vec::new();
    let reached = try_steps(config, &waiter, until, &mut findings);
    findings.push(outcome(config, &reached));
    findings
}

/// Tries the steps in their order and adds a finding for each.
///
/// # Errors
/// The error of the first step that fails. The later steps are not tried.
fn try_steps(
    config: &Config,
    waiter: &Waiter<'_>,
    until: Instant,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    if let Some(proxy) = &config.http_proxy {
        let text = format!("through the proxy {}:{}", proxy.host.name, proxy.host.port);
        findings.push(Finding::ok("network.proxy", text));
    }
    let deadlines = deadlines();
    let roots = tls::trusted_roots(config).inspect_err(|error| {
        findings.push(Finding::fail("network.roots", error.to_string()));
    })?;
    findings.push(certificates::roots(&roots, config));

    let route = Route::new(config, &deadlines, Arc::new(SystemNames), waiter)?;
    let next = config
        .http_proxy
        .as_ref()
        .map_or(&config.host, |proxy| &proxy.host);
    let mut addresses = route
        .addresses(until.min(Instant::now() + NAME_TIME))
        .inspect_err(|error| {
            let finding = Finding::fail("network.name", error.to_string());
            findings.push(finding.mend(format!("getent ahosts {}", next.name)));
        })?;
    addresses.truncate(MOST_ADDRESSES);
    let text = match next.address() {
        Some(address) => format!("{address} is an address: no name is looked up"),
        None => format!("{} is {}", next.name, list(&addresses)),
    };
    findings.push(Finding::ok("network.name", text));

    let reached = probe::reach(config, &deadlines, &addresses, until);
    findings.extend(connections(&reached));
    let handshake = reached.iter().find_map(|reached| match &reached.tls {
        Some(Ok(handshake)) => Some(handshake),
        _ => None,
    });
    let Some(handshake) = handshake else {
        return Err(first_error(reached));
    };
    if config.noverify {
        let text = "no root stands behind the server: noverify is on";
        findings.push(Finding::fail("network.pin", text));
    } else {
        let (sent, now) = (&handshake.chain, SystemTime::now());
        findings.push(certificates::chain(sent, config, &roots, now));
        findings.push(certificates::anchor(sent, config, &roots, now));
    }
    ask_duo(config, &deadlines, waiter, findings)
}

/// Asks Duo for its time and whether it accepts the keys, with the client of a login.
fn ask_duo(
    config: &Config,
    deadlines: &Deadlines,
    waiter: &Waiter<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let mut duo = Client::new(config, Person::nobody(), deadlines, waiter, &|_| {})?;
    let start = Instant::now();
    let ping = duo.ping();
    findings.push(clock(&ping, start.elapsed()));
    ping?;
    let start = Instant::now();
    let check = duo.check();
    findings.push(keys(&check, start.elapsed()));
    check.map_err(|trouble| trouble.error)
}

fn list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    texts.join(", ")
}

/// The findings about TCP and TLS of each address. If one address works, a failure of another is a
/// warning.
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

fn clock(ping: &Result<i64, Error>, took: Duration) -> Finding {
    const ID: &str = "network.clock";
    let offset = match ping {
        Ok(offset) => *offset,
        Err(error) => return Finding::fail(ID, format!("/ping: {error}")),
    };
    let took = span(took);
    let way = if offset < 0 { "ahead of" } else { "behind" };
    let seconds = offset.unsigned_abs();
    let text = format!("this machine's clock is {seconds} s {way} Duo's (/ping took {took})");
    match seconds {
        0 => Finding::ok(
            ID,
            format!("this machine's clock is Duo's (/ping took {took})"),
        ),
        1..CLOCK_TOLERANCE => Finding::ok(ID, text),
        _ => Finding::warn(ID, text).mend("timedatectl set-ntp true"),
    }
}

fn keys(check: &Result<(), Trouble>, took: Duration) -> Finding {
    const ID: &str = "network.keys";
    let trouble = match check {
        Ok(()) => {
            let took = span(took);
            return Finding::ok(ID, format!("Duo takes ikey and skey (/check took {took})"));
        }
        Err(trouble) => trouble,
    };
    let error = &trouble.error;
    match trouble.code.and_then(meaning) {
        Some((words, mend)) => Finding::fail(ID, format!("{words} ({error})")).mend(mend),
        None => Finding::fail(ID, format!("/check: {error}")),
    }
}

/// What a code of Duo's means for the sysadmin, and what to do (docs/duo-api.md, *Envelope*).
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

/// What these findings mean for a login, by the same failmode table as at a login.
fn outcome(config: &Config, reached: &Result<(), Error>) -> Finding {
    const ID: &str = "network.outcome";
    let error = match reached {
        Ok(()) => return Finding::ok(ID, "a login can ask Duo"),
        Err(error) => error,
    };
    let stated = match error {
        // A mistake in `cafile` lets people pass only if the file itself says failmode = safe.
        Error::Configuration(_) => config.failmode_if_broken,
        _ => config.failmode,
    };
    let text = match verdict::failmode(error, Answered::NotYet, stated) {
        meaning if meaning.opens() => {
            "as things are, everybody passes without Duo (failmode = safe)"
        }
        Meaning::AsksForACode => {
            "as things are, whoever has no emergency code is denied (failmode = codes)"
        }
        Meaning::Is(_) => "as things are, everybody is denied",
    };
    Finding::fail(ID, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::probe::Handshake;

    fn reached(tcp: Result<Duration, Error>, tls: Option<Result<Handshake, Error>>) -> Reached {
        Reached {
            address: SocketAddr::from(([192, 0, 2, 1], 443)),
            tcp,
            tls,
        }
    }

    #[test]
    fn a_dead_address_beside_one_that_works_is_a_warning() {
        let dead = || reached(Err(Error::Service("timed out".into())), None);
        let refused = || {
            let error = Error::Service("the answer is not TLS".into());
            reached(Ok(Duration::ZERO), Some(Err(error)))
        };
        let good = reached(
            Ok(Duration::ZERO),
            Some(Ok(Handshake {
                version: "TLS 1.3",
                took: Duration::ZERO,
                chain: Vec::new(),
            })),
        );
        let levels = |reached: &[Reached]| -> Vec<Level> {
            connections(reached).iter().map(|f| f.level).collect()
        };
        use Level::{Fail, Ok as Good, Warn};
        assert_eq!(levels(&[dead(), refused()]), [Fail, Good, Fail]);
        assert_eq!(
            levels(&[dead(), refused(), good]),
            [Warn, Good, Warn, Good, Good]
        );
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
