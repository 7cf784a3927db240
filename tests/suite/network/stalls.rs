//! A stall at any stage ends in time.

use std::sync::Arc;
use std::time::Duration;

use duo_wire::Outcome;
use fake_duo::{BlackHole, Endpoint, FakeDuo, Fault, Stage, Times};

use super::{Bench, Given, STALL, service_error, side_by_side, whatever_failmode};

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
            |failmode| Bench::new(always(Endpoint::Any, fault.clone()), failmode).impatient();
        service_error("push", make, |came| {
            assert!(came.detail.contains(": timed out (127.0.0.1:"), "{came:?}");
            assert_eq!(came.paths.len(), 0);
            // Three tries, and the pauses between them.
            assert_eq!(came.waits, [1, 2].map(Duration::from_secs));
        });
    });
}

#[test]
fn a_stall_or_a_byte_a_second_in_an_answer_ends_in_time() {
    side_by_side(&stalls(&ANSWERING), |fault| {
        let make = |failmode| {
            let mut bench = Bench::new(always(Endpoint::Preauth, fault.clone()), failmode);
            bench.config.https_timeout = Some(STALL);
            bench
        };
        service_error("push", make, |came| {
            let start = "No answer from localhost:";
            assert!(came.detail.starts_with(start), "{came:?}");
            assert!(came.detail.ends_with(": timed out"), "{came:?}");
            assert_eq!(came.paths, ["preauth"; 3]);
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
            let mut bench = Bench::new(always(Endpoint::Any, fault.clone()), failmode);
            bench.config.https_timeout = None;
            bench.deadlines.tls = Duration::from_secs(60);
            bench.deadlines.request = Duration::from_millis(500);
            bench
        };
        service_error("push", make, |came| {
            assert!(came.took < Duration::from_secs(3), "{came:?}");
            assert_eq!(came.paths.len(), requests);
            assert!(came.waits.is_empty(), "no time is left for another try");
        });
    }
}

#[test]
fn an_address_that_swallows_connections_ends_in_time() {
    let make = |failmode| {
        let mut bench = Bench::new(FakeDuo::builder(), failmode).impatient();
        let port = bench.duo().port();
        bench.config.host.name = "127.0.0.2".to_owned();
        std::mem::forget(BlackHole::start("127.0.0.2", port));
        bench
    };
    service_error("push", make, |came| {
        assert!(came.detail.contains("timed out (127.0.0.2:"), "{came:?}");
        assert_eq!(came.paths.len(), 0);
    });
}

#[test]
fn a_name_service_that_hangs_ends_in_time() {
    let make = |failmode| {
        let mut bench = Bench::new(FakeDuo::builder(), failmode);
        bench.names = Arc::new(Given(None));
        bench.deadlines.request = Duration::from_millis(500);
        bench
    };
    service_error("push", make, |came| {
        assert_eq!(came.detail, "Couldn't look up localhost: timed out");
        assert_eq!(came.paths.len(), 0);
    });
}

#[test]
fn this_hosts_own_name_never_delays_a_login_by_more_than_its_second() {
    let mut bench = Bench::new(FakeDuo::builder(), duo_policy::config::Failmode::Secure);
    bench.config.host.name = "127.0.0.1".to_owned();
    bench.names = Arc::new(Given(None));
    let came = bench.log_in("push");
    assert_eq!(came.outcome, Outcome::Successful, "{came:?}");
    assert!(came.took < super::IN_TIME, "{came:?}");
    let short = nix::unistd::gethostname().unwrap();
    assert_eq!(
        bench.duo().requests()[0].param("hostname"),
        Some(&*short.to_string_lossy())
    );
}

#[test]
fn auth_without_an_answer_is_not_asked_again() {
    side_by_side(&stalls(&ANSWERING), |fault| {
        let make = |failmode| {
            let mut bench = Bench::new(always(Endpoint::Auth, fault.clone()), failmode);
            bench.config.https_timeout = Some(2 * STALL);
            bench
        };
        whatever_failmode("push", Outcome::Error, make, |came| {
            assert!(came.detail.starts_with("No answer from"), "{came:?}");
            assert_eq!(came.paths, ["preauth", "auth"]);
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
        let mut bench = Bench::new(builder(), failmode);
        bench.deadlines.poll = STALL;
        bench
    };
    whatever_failmode("push", Outcome::Successful, make, |came| {
        assert_eq!((came.count("preauth"), came.count("auth")), (1, 1));
        assert!(came.count("auth_status") >= 6, "{came:?}");
    });
}

#[test]
fn a_person_who_never_answers_is_denied_in_the_end() {
    let fault = Fault::Stall(Stage::BeforeHeaders);
    let make = |failmode| {
        let mut bench = Bench::new(always(Endpoint::AuthStatus, fault.clone()), failmode);
        bench.deadlines.poll = STALL;
        bench.deadlines.person = Duration::from_millis(900);
        bench
    };
    whatever_failmode("push", Outcome::Failed, make, |came| {
        assert!(came.detail.contains("timed out"), "{came:?}");
        assert_eq!(came.count("auth"), 1);
    });
}
