//! Every address of a name, in order, until one completes the handshake.

use std::sync::Arc;

use duo_policy::config::{Failmode, Host};
use duo_wire::Outcome;
use fake_duo::{BlackHole, FakeDuo, Tls};

use super::{FixedNames, STALL, Scenario, service_error, whatever_failmode};

/// A scenario whose service is `duo.example`, with these addresses.
fn duo_example(failmode: Failmode, addresses: &[&'static str]) -> Scenario {
    let mut scenario = Scenario::new(FakeDuo::builder().name("duo.example"), failmode);
    scenario.config.host.name = "duo.example".to_owned();
    scenario.names = Arc::new(FixedNames(Some(addresses.to_vec())));
    scenario
}

#[test]
fn after_one_that_refuses_one_that_swallows_and_one_with_a_wrong_certificate_the_good_one() {
    let make = |failmode| {
        duo_example(
            failmode,
            &["127.0.0.4", "127.0.0.2", "127.0.0.3", "127.0.0.1"],
        )
    };
    for failmode in [Failmode::Safe, Failmode::Secure] {
        let mut scenario = make(failmode);
        scenario.deadlines.tcp = STALL;
        let port = scenario.duo().port();
        let _hole = BlackHole::start("127.0.0.2", port);
        let wrong = FakeDuo::builder()
            .bind(&["127.0.0.3"])
            .port(port)
            .tls(Tls::WrongHost)
            .start();
        let report = scenario.log_in("push");
        assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
        assert_eq!((report.count("preauth"), report.count("auth")), (1, 1));
        assert_eq!((scenario.duo().connections(), wrong.connections()), (1, 1));
        assert_eq!(wrong.paths().len(), 0);
    }
}

#[test]
fn without_a_good_one_each_is_named_with_its_reason() {
    for (failmode, outcome) in [
        (Failmode::Safe, Outcome::Failsafe),
        (Failmode::Secure, Outcome::Failsecure),
    ] {
        let mut scenario = duo_example(failmode, &["127.0.0.4", "127.0.0.2", "127.0.0.3"]);
        scenario.deadlines.tcp = STALL;
        let port = scenario.duo().port();
        let _hole = BlackHole::start("127.0.0.2", port);
        let wrong = FakeDuo::builder().bind(&["127.0.0.3"]).port(port).start();
        let report = scenario.log_in("push");
        assert_eq!(report.outcome, outcome, "{report:?}");
        let start = format!(
            "Couldn't connect to duo.example:{port}: connection refused (127.0.0.4:{port}), \
             timed out (127.0.0.2:{port}), the server's certificate is for 'localhost', "
        );
        assert!(report.detail.starts_with(&start), "{report:?}");
        let end = format!(", not 'duo.example' (127.0.0.3:{port})");
        assert!(report.detail.ends_with(&end), "{report:?}");
        assert_eq!(wrong.connections(), 3, "three tries");
        assert_eq!(report.paths.len() + wrong.paths().len(), 0);
    }
}

#[test]
fn a_good_address_is_remembered_for_the_next_connection() {
    let mut scenario = duo_example(Failmode::Secure, &["127.0.0.3", "127.0.0.1"]);
    let port = scenario.duo().port();
    let wrong = FakeDuo::builder().bind(&["127.0.0.3"]).port(port).start();
    // No connection is used twice.
    scenario.deadlines.idle = std::time::Duration::ZERO;
    let report = scenario.log_in("push");
    assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
    assert!(scenario.duo().connections() >= 3);
    assert_eq!(wrong.connections(), 1);
}

#[test]
fn a_host_may_be_an_address_of_either_kind() {
    for host in ["127.0.0.1", "[::1]"] {
        let make = |failmode| {
            let mut scenario =
                Scenario::new(FakeDuo::builder().bind(&["127.0.0.1", "::1"]), failmode);
            let port = scenario.duo().port();
            scenario.config.host = Host::parse(&format!("{host}:{port}"), 443).unwrap();
            // An address is not looked up: this resolver would never answer.
            scenario.names = Arc::new(FixedNames(None));
            scenario
        };
        whatever_failmode("push", Outcome::Successful, make, |report| {
            assert_eq!((report.count("preauth"), report.count("auth")), (1, 1));
        });
    }
}

#[test]
fn a_name_that_nobody_knows_is_a_service_error() {
    let make = |failmode| duo_example(failmode, &[]);
    service_error("push", make, |report| {
        assert_eq!(
            report.detail,
            "Couldn't look up duo.example: name not found"
        );
    });
    let make = |failmode| {
        let mut scenario = Scenario::new(FakeDuo::builder(), failmode);
        scenario.config.host.name = "no-such-name.invalid".to_owned();
        scenario.names = Arc::new(duo_net::names::SystemNames);
        scenario.deadlines.request = std::time::Duration::from_secs(6);
        scenario
    };
    service_error("push", make, |report| {
        let start = "Couldn't look up no-such-name.invalid: ";
        assert!(report.detail.starts_with(start), "{report:?}");
        assert_eq!(report.paths.len(), 0);
    });
}
