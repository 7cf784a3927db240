//! A stall at any stage ends in time.

use std::sync::Arc;
use std::time::Duration;

use duo_wire::Outcome;
use fake_duo::{BlackHole, Endpoint, FakeDuo, Fault, Stage, Times};

use super::{FixedNames, STALL, Scenario, service_error, side_by_side, whatever_failmode};

const ANSWERING: [Stage; 3] = [Stage::BeforeHeaders, Stage::InHeaders, Stage::InBody];

/// Silence, and a byte a second, from each of these stages on.
fn stalls(stages: &[Stage]) -> Vec<Fault> {
    let both = |stage: &Stage| [Fault::Stall(*stage), Fault::Trickle(*stage)];
    stages.iter().flat_map(both).collect()
}

fn always(endpoint: Endpoint, fault: Fault) -> fake_duo::Builder {
    FakeDuo::builder().fault(endpoint, fault, Times::Always)
}

#[test]
fn a_stall_or_a_byte_a_second_before_or_in_tls_ends_in_time() {
    side_by_side(&stalls(&[Stage::BeforeTls, Stage::InTls]), |fault| {
        let make =
            |failmode| Scenario::new(always(Endpoint::Any, fault.clone()), failmode).impatient();
        service_error("push", make, |report| {
            assert!(
                report.detail.contains(": timed out (127.0.0.1:"),
                "{report:?}"
            );
            assert_eq!(report.paths.len(), 0);
            // Three tries, and the pauses between them.
            assert_eq!(report.waits, [1, 2].map(Duration::from_secs));
        });
    });
}

#[test]
fn a_stall_or_a_byte_a_second_in_an_answer_ends_in_time() {
    side_by_side(&stalls(&ANSWERING), |fault| {
        let make = |failmode| {
            let mut scenario = Scenario::new(always(Endpoint::Preauth, fault.clone()), failmode);
            scenario.config.https_timeout = Some(STALL);
            scenario
        };
        service_error("push", make, |report| {
            let start = "No answer from localhost:";
            assert!(report.detail.starts_with(start), "{report:?}");
            assert!(report.detail.ends_with(": timed out"), "{report:?}");
            assert_eq!(report.paths, ["preauth"; 3]);
        });
    });
}

#[test]
fn everything_up_to_preauths_answer_has_one_deadline() {
    for (fault, requests) in [
        (Fault::Stall(Stage::InBody), 1),
        (Fault::Stall(Stage::BeforeTls), 0),
    ] {
        let make = |failmode| {
            let mut scenario = Scenario::new(always(Endpoint::Any, fault.clone()), failmode);
            scenario.config.https_timeout = None;
            scenario.deadlines.tls = Duration::from_secs(60);
            scenario.deadlines.request = Duration::from_millis(500);
            scenario
        };
        service_error("push", make, |report| {
            assert!(report.took < Duration::from_secs(3), "{report:?}");
            assert_eq!(report.paths.len(), requests);
            assert!(report.waits.is_empty(), "no time is left for another try");
        });
    }
}

#[test]
fn an_address_that_swallows_connections_ends_in_time() {
    let make = |failmode| {
        let mut scenario = Scenario::new(FakeDuo::builder(), failmode).impatient();
        let port = scenario.duo().port();
        scenario.config.host.name = "127.0.0.2".to_owned();
        std::mem::forget(BlackHole::start("127.0.0.2", port));
        scenario
    };
    service_error("push", make, |report| {
        assert!(
            report.detail.contains("timed out (127.0.0.2:"),
            "{report:?}"
        );
        assert_eq!(report.paths.len(), 0);
    });
}

#[test]
fn a_name_service_that_hangs_ends_in_time() {
    let make = |failmode| {
        let mut scenario = Scenario::new(FakeDuo::builder(), failmode);
        scenario.names = Arc::new(FixedNames(None));
        scenario.deadlines.request = Duration::from_millis(500);
        scenario
    };
    service_error("push", make, |report| {
        assert_eq!(report.detail, "Couldn't look up localhost: timed out");
        assert_eq!(report.paths.len(), 0);
    });
}

#[test]
fn this_hosts_own_name_never_delays_a_login_by_more_than_its_second() {
    let mut scenario = Scenario::new(FakeDuo::builder(), duo_policy::config::Failmode::Secure);
    scenario.config.host.name = "127.0.0.1".to_owned();
    scenario.names = Arc::new(FixedNames(None));
    let report = scenario.log_in("push");
    assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
    assert!(report.took < super::IN_TIME, "{report:?}");
    let short = nix::unistd::gethostname().unwrap();
    assert_eq!(
        scenario.duo().requests()[0].param("hostname"),
        Some(&*short.to_string_lossy())
    );
}

#[test]
fn auth_without_an_answer_is_not_asked_again() {
    side_by_side(&stalls(&ANSWERING), |fault| {
        let make = |failmode| {
            let mut scenario = Scenario::new(always(Endpoint::Auth, fault.clone()), failmode);
            scenario.config.https_timeout = Some(2 * STALL);
            scenario
        };
        whatever_failmode("push", Outcome::Error, make, |report| {
            assert!(report.detail.starts_with("No answer from"), "{report:?}");
            assert_eq!(report.paths, ["preauth", "auth"]);
        });
    });
}

#[test]
fn a_poll_without_an_answer_is_asked_again_and_is_no_failed_try() {
    // More often than an idempotent request is tried.
    let builder = || {
        FakeDuo::builder().fault(
            Endpoint::AuthStatus,
            Fault::Stall(Stage::BeforeHeaders),
            Times::First(5),
        )
    };
    let make = |failmode| {
        let mut scenario = Scenario::new(builder(), failmode);
        scenario.deadlines.poll = STALL;
        scenario
    };
    whatever_failmode("push", Outcome::Successful, make, |report| {
        assert_eq!((report.count("preauth"), report.count("auth")), (1, 1));
        assert!(report.count("auth_status") >= 6, "{report:?}");
    });
}

#[test]
fn a_person_who_never_answers_is_denied_in_the_end() {
    let fault = Fault::Stall(Stage::BeforeHeaders);
    let make = |failmode| {
        let mut scenario = Scenario::new(always(Endpoint::AuthStatus, fault.clone()), failmode);
        scenario.deadlines.poll = STALL;
        scenario.deadlines.person = Duration::from_millis(900);
        scenario
    };
    whatever_failmode("push", Outcome::Failed, make, |report| {
        assert!(report.detail.contains("timed out"), "{report:?}");
        assert_eq!(report.count("auth"), 1);
    });
}
