//! Each fault of docs/duo-api.md through the module: what the network and the service
//! do wrong has the outcome of the table, in time, and the host does not notice.

use std::time::{Duration, Instant};

use fake_duo::{Endpoint, FakeDuo, Fault, Stage, Times, Tls};

use crate::machine::{PamWorld, code};
use crate::support::{not_duos, refusals_of_any_shape, side_by_side};

/// More than any of these needs, and less than a host's own patience.
const IN_TIME: Duration = Duration::from_secs(30);

/// How many machines share a table.
const MACHINES: usize = 4;

/// Runs each of `faults` at this endpoint, and asserts the code and how often a phone
/// may have rung.
fn each(endpoint: Endpoint, failmode: &str, faults: &[Fault], expected: i32, most_auths: usize) {
    let shares: Vec<&[Fault]> = faults.chunks(faults.len().div_ceil(MACHINES)).collect();
    side_by_side(&shares, |share| {
        let world = PamWorld::new(&format!("failmode = {failmode}\nhttps_timeout = 3"));
        for fault in *share {
            let before = world.sandbox.duo.asked("auth");
            world.sandbox.duo.clear_faults();
            world
                .sandbox
                .duo
                .fault(endpoint, fault.clone(), Times::Always);
            let began = Instant::now();
            let asked = world.asks("duo", "push", &["1"]);
            let (log, took) = (world.module_lines(), began.elapsed());
            assert_eq!(asked.code(), expected, "{endpoint:?} {fault:?}: {log:#?}");
            asked.is_unchanged();
            assert!(took < IN_TIME, "{endpoint:?} {fault:?} {took:?}");
            let auths = world.sandbox.duo.asked("auth") - before;
            assert!(
                auths <= most_auths,
                "{endpoint:?} {fault:?} rings {auths} times"
            );
        }
    });
}

fn foreign_answers() -> Vec<Fault> {
    not_duos().into_iter().map(|(fault, _)| fault).collect()
}

pub fn an_answer_that_is_not_duos_is_decided_by_failmode() {
    let faults = foreign_answers();
    each(Endpoint::Preauth, "safe", &faults, code::SUCCESS, 0);
    each(Endpoint::Preauth, "secure", &faults, code::SERVICE_ERR, 0);
}

pub fn the_same_later_is_an_error_and_rings_once() {
    let faults: Vec<Fault> = foreign_answers()
        .into_iter()
        // An answer of auth need not have a `result`.
        .filter(|fault| *fault != Fault::WrongResult)
        .collect();
    each(Endpoint::Auth, "safe", &faults, code::SERVICE_ERR, 1);
    each(Endpoint::AuthStatus, "safe", &faults, code::SERVICE_ERR, 1);
}

pub fn a_4xx_of_any_shape_denies() {
    let faults = refusals_of_any_shape();
    each(Endpoint::Preauth, "safe", &faults, code::ABORT, 0);
    each(Endpoint::Auth, "safe", &faults, code::ABORT, 1);
}

/// Connections that stall, trickle, close and reset at every stage.
pub fn a_connection_that_breaks_is_decided_by_failmode_before_an_answer() {
    let stages = [
        Stage::BeforeTls,
        Stage::InTls,
        Stage::BeforeHeaders,
        Stage::InHeaders,
        Stage::InBody,
    ];
    let breaks: Vec<Fault> = stages
        .iter()
        .flat_map(|stage| [Fault::Close(*stage), Fault::Reset(*stage)])
        .collect();
    each(Endpoint::Any, "safe", &breaks, code::SUCCESS, 0);
    each(Endpoint::Any, "secure", &breaks, code::SERVICE_ERR, 0);
    let later: Vec<Fault> = stages[2..]
        .iter()
        .map(|stage| Fault::Reset(*stage))
        .collect();
    each(Endpoint::Auth, "safe", &later, code::SERVICE_ERR, 1);
}

pub fn a_connection_that_stalls_ends_in_time() {
    let stages = [Stage::BeforeHeaders, Stage::InHeaders, Stage::InBody];
    side_by_side(&stages, |stage| {
        for fault in [Fault::Stall(*stage), Fault::Trickle(*stage)] {
            let world = PamWorld::new("failmode = secure\nhttps_timeout = 1");
            world
                .sandbox
                .duo
                .fault(Endpoint::Preauth, fault.clone(), Times::Always);
            let began = Instant::now();
            let asked = world.asks("duo", "push", &["1"]);
            assert_eq!(asked.code(), code::SERVICE_ERR, "{fault:?}: {asked:#?}");
            assert!(began.elapsed() < IN_TIME, "{fault:?}");
        }
    });
}

pub fn what_is_not_due_may_be_wrong_or_there_twice() {
    let spared = [Fault::DuplicateKeys, Fault::Chunked, Fault::SayClose];
    each(Endpoint::Any, "secure", &spared, code::SUCCESS, 1);
    // A question may be asked again, and auth may not: whether it went out before the
    // connection was seen to be closed is a matter of chance.
    let closes = [Fault::CloseAfterAnswer];
    each(Endpoint::AuthStatus, "secure", &closes, code::SUCCESS, 1);
}

/// The C module keeps a reply of 3 GB in the host's memory.
pub fn an_endless_answer_does_not_grow_the_host() {
    for fault in [Fault::EndlessBody, Fault::HugeBody, Fault::DeepBrackets] {
        let world = PamWorld::new("failmode = secure");
        world
            .sandbox
            .duo
            .fault(Endpoint::Preauth, fault.clone(), Times::Always);
        let (growth, asked) = world.growth_of_a_host(3, &["-a", "1"], "push");
        assert_eq!(
            asked.codes(),
            [code::SERVICE_ERR; 3],
            "{fault:?} {asked:#?}"
        );
        assert!(growth < 200, "{fault:?}: {growth} KiB");
    }
}

pub fn a_hostile_server_is_not_duo() {
    let variants = [
        Tls::WrongHost,
        Tls::SelfSigned,
        Tls::Expired,
        Tls::NotYetValid,
        Tls::UnknownCa,
        Tls::Tls11,
        Tls::Alert,
        Tls::Plain,
    ];
    side_by_side(&variants, |tls| {
        let world = PamWorld::with(FakeDuo::builder().tls(*tls), "failmode = secure");
        let asked = world.asks("duo", "allow", &["1"]);
        assert_eq!(asked.code(), code::SERVICE_ERR, "{tls:?} {asked:#?}");
        assert!(world.sandbox.duo.paths().is_empty(), "{tls:?}");
    });
}

pub fn a_clock_that_is_off_is_found_out() {
    let world = PamWorld::with(FakeDuo::builder().clock_offset(3_600), "failmode = secure");
    let asked = world.asks("duo", "push", &["1"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert!(world.sandbox.duo.asked("ping") > 0);
}
