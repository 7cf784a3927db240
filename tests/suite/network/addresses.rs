//! Every address of a name, in order, until one completes the handshake.

use std::sync::Arc;

use duo_policy::config::{Failmode, Host};
use duo_wire::Outcome;
use fake_duo::{BlackHole, FakeDuo, Tls};

use super::{Bench, Given, STALL, service_error, whatever_failmode};

/// A bench whose service is `duo.example`, with these addresses.
fn duo_example(failmode: Failmode, addresses: &[&'static str]) -> Bench {
    let mut bench = Bench::new(FakeDuo::builder().name("duo.example"), failmode);
    bench.config.host.name = "duo.example".to_owned();
    bench.names = Arc::new(Given(Some(addresses.to_vec())));
    bench
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
        let mut bench = make(failmode);
        bench.deadlines.tcp = STALL;
        let port = bench.duo().port();
        let _hole = BlackHole::start("127.0.0.2", port);
        let wrong = FakeDuo::builder()
            .bind(&["127.0.0.3"])
            .port(port)
            .tls(Tls::WrongHost)
            .start();
        let came = bench.log_in("push");
        assert_eq!(came.outcome, Outcome::Successful, "{came:?}");
        assert_eq!((came.count("preauth"), came.count("auth")), (1, 1));
        assert_eq!((bench.duo().connections(), wrong.connections()), (1, 1));
        assert_eq!(wrong.paths().len(), 0);
    }
}

#[test]
fn without_a_good_one_each_is_named_with_its_reason() {
    for (failmode, outcome) in [
        (Failmode::Safe, Outcome::Failsafe),
        (Failmode::Secure, Outcome::Failsecure),
    ] {
        let mut bench = duo_example(failmode, &["127.0.0.4", "127.0.0.2", "127.0.0.3"]);
        bench.deadlines.tcp = STALL;
        let port = bench.duo().port();
        let _hole = BlackHole::start("127.0.0.2", port);
        let wrong = FakeDuo::builder().bind(&["127.0.0.3"]).port(port).start();
        let came = bench.log_in("push");
        assert_eq!(came.outcome, outcome, "{came:?}");
        let start = format!(
            "Couldn't connect to duo.example:{port}: connection refused (127.0.0.4:{port}), \
             timed out (127.0.0.2:{port}), the server's certificate is for 'localhost', "
        );
        assert!(came.detail.starts_with(&start), "{came:?}");
        let end = format!(", not 'duo.example' (127.0.0.3:{port})");
        assert!(came.detail.ends_with(&end), "{came:?}");
        assert_eq!(wrong.connections(), 3, "three tries");
        assert_eq!(came.paths.len() + wrong.paths().len(), 0);
    }
}

#[test]
fn a_good_address_is_remembered_for_the_next_connection() {
    let mut bench = duo_example(Failmode::Secure, &["127.0.0.3", "127.0.0.1"]);
    let port = bench.duo().port();
    let wrong = FakeDuo::builder().bind(&["127.0.0.3"]).port(port).start();
    // No connection is used twice.
    bench.deadlines.idle = std::time::Duration::ZERO;
    let came = bench.log_in("push");
    assert_eq!(came.outcome, Outcome::Successful, "{came:?}");
    assert!(bench.duo().connections() >= 3);
    assert_eq!(wrong.connections(), 1);
}

#[test]
fn a_host_may_be_an_address_of_either_kind() {
    for host in ["127.0.0.1", "[::1]"] {
        let make = |failmode| {
            let mut bench = Bench::new(FakeDuo::builder().bind(&["127.0.0.1", "::1"]), failmode);
            let port = bench.duo().port();
            bench.config.host = Host::parse(&format!("{host}:{port}"), 443).unwrap();
            // Nothing is looked up: nobody would answer.
            bench.names = Arc::new(Given(None));
            bench
        };
        whatever_failmode("push", Outcome::Successful, make, |came| {
            assert_eq!((came.count("preauth"), came.count("auth")), (1, 1));
        });
    }
}

#[test]
fn a_name_that_nobody_knows_is_a_service_error() {
    let make = |failmode| duo_example(failmode, &[]);
    service_error("push", make, |came| {
        assert_eq!(came.detail, "Couldn't look up duo.example: name not found");
    });
    let make = |failmode| {
        let mut bench = Bench::new(FakeDuo::builder(), failmode);
        bench.config.host.name = "no-such-name.invalid".to_owned();
        bench.names = Arc::new(duo_net::names::SystemNames);
        bench.deadlines.request = std::time::Duration::from_secs(6);
        bench
    };
    service_error("push", make, |came| {
        let start = "Couldn't look up no-such-name.invalid: ";
        assert!(came.detail.starts_with(start), "{came:?}");
        assert_eq!(came.paths.len(), 0);
    });
}
