//! Which requests are sent again after a failure, and which are not.

use std::time::Duration;

use duo_policy::config::Failmode;
use duo_wire::Outcome;
use fake_duo::{Endpoint, FakeDuo, Fault, Stage, Times};

use super::{Scenario, service_error, whatever_failmode};

const STAGES: [Stage; 3] = [Stage::BeforeHeaders, Stage::InHeaders, Stage::InBody];

/// Each way in which a connection breaks once a request is under way.
fn breaks() -> Vec<Fault> {
    STAGES
        .into_iter()
        .flat_map(|stage| [Fault::Close(stage), Fault::Reset(stage)])
        .chain([
            Fault::DropAfter(0),
            Fault::DropAfter(1),
            Fault::DropAfter(60),
        ])
        .collect()
}

#[test]
fn preauth_is_tried_three_times_with_one_and_two_seconds_between() {
    for fault in breaks() {
        let twice = |failmode| {
            let builder =
                FakeDuo::builder().fault(Endpoint::Preauth, fault.clone(), Times::First(2));
            Scenario::new(builder, failmode)
        };
        whatever_failmode("push", Outcome::Successful, twice, |report| {
            assert_eq!(
                (report.count("preauth"), report.count("auth")),
                (3, 1),
                "{fault:?}"
            );
            assert_eq!(report.waits[..2], [1, 2].map(Duration::from_secs));
        });
        let always = |failmode| {
            let builder = FakeDuo::builder().fault(Endpoint::Any, fault.clone(), Times::Always);
            Scenario::new(builder, failmode)
        };
        service_error("push", always, |report| {
            assert!(
                report
                    .detail
                    .starts_with("Lost the connection to localhost:"),
                "{report:?}"
            );
            assert_eq!(report.paths, ["preauth"; 3], "{fault:?}");
        });
    }
}

#[test]
fn a_connection_that_breaks_before_tls_is_made_anew() {
    for fault in [
        Fault::Close(Stage::BeforeTls),
        Fault::Reset(Stage::BeforeTls),
        Fault::Close(Stage::InTls),
        Fault::Reset(Stage::InTls),
    ] {
        let make = |failmode| {
            let builder = FakeDuo::builder().fault(Endpoint::Any, fault.clone(), Times::First(2));
            Scenario::new(builder, failmode)
        };
        whatever_failmode("push", Outcome::Successful, make, |report| {
            assert_eq!(
                (report.count("preauth"), report.count("auth")),
                (1, 1),
                "{fault:?}"
            );
        });
    }
}

#[test]
fn auth_is_sent_once_however_the_connection_breaks() {
    for fault in breaks() {
        let make = |failmode| {
            let builder = FakeDuo::builder().fault(Endpoint::Auth, fault.clone(), Times::Always);
            Scenario::new(builder, failmode)
        };
        whatever_failmode("push", Outcome::Error, make, |report| {
            assert_eq!(report.paths, ["preauth", "auth"], "{fault:?}");
            assert!(
                report.detail.starts_with("Lost the connection to"),
                "{report:?}"
            );
        });
    }
}

#[test]
fn a_poll_whose_connection_breaks_is_asked_again() {
    for fault in breaks() {
        let make = |failmode| {
            let builder =
                FakeDuo::builder().fault(Endpoint::AuthStatus, fault.clone(), Times::First(2));
            Scenario::new(builder, failmode)
        };
        whatever_failmode("push", Outcome::Successful, make, |report| {
            assert_eq!(
                (report.count("preauth"), report.count("auth")),
                (1, 1),
                "{fault:?}"
            );
        });
    }
}

#[test]
fn five_hundreds_are_answers_and_are_not_asked_for_again() {
    for status in [500, 503] {
        let make = |failmode| {
            let fault = Fault::Bare { status };
            Scenario::new(
                FakeDuo::builder().fault(Endpoint::Any, fault, Times::Always),
                failmode,
            )
        };
        service_error("push", make, |report| {
            assert_eq!(report.detail, format!("HTTP {status}"));
            assert_eq!(report.paths, ["preauth"]);
        });
    }
}

/// Someone who takes 300 ms at the menu.
fn slow_at_the_menu(failmode: Failmode, fault: Fault) -> Scenario {
    let builder = FakeDuo::builder().fault(Endpoint::Preauth, fault, Times::Always);
    let mut scenario = Scenario::new(builder, failmode);
    scenario.typed_line = Some(("1", Duration::from_millis(300)));
    scenario
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_is_not_used_for_auth() {
    for fault in [
        Fault::CloseWhenIdle(Duration::from_millis(50)),
        Fault::CloseAfterAnswer,
        Fault::SayClose,
    ] {
        for failmode in [Failmode::Safe, Failmode::Secure] {
            let scenario = slow_at_the_menu(failmode, fault.clone());
            let report = scenario.log_in("push");
            assert_eq!(report.outcome, Outcome::Successful, "{fault:?}: {report:?}");
            assert_eq!((report.count("preauth"), report.count("auth")), (1, 1));
            let requests = scenario.duo().requests();
            assert_eq!((requests[0].connection, requests[1].connection), (1, 2));
        }
    }
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_not_used_for_auth() {
    for (idle, connection) in [(100, 2), (60_000, 1)] {
        let mut scenario = slow_at_the_menu(Failmode::Secure, Fault::None);
        scenario.deadlines.idle = Duration::from_millis(idle);
        let report = scenario.log_in("push");
        assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
        assert_eq!(scenario.duo().requests()[1].connection, connection);
        assert_eq!((report.count("preauth"), report.count("auth")), (1, 1));
    }
}

#[test]
fn auth_goes_out_again_where_not_a_byte_of_it_was_sent() {
    let mut scenario = slow_at_the_menu(
        Failmode::Secure,
        Fault::CloseWhenIdle(Duration::from_millis(50)),
    );
    // The first connection carries preauth; the next two never get to TLS.
    scenario
        .duo()
        .fault(Endpoint::Any, Fault::None, Times::First(0));
    scenario.typed_line = Some(("1", Duration::from_millis(300)));
    let duo = scenario.duo();
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            let asked = duo.wait_until(
                |requests| requests.first().is_some_and(|first| first.status != 0),
                super::IN_TIME,
            );
            assert!(asked, "no preauth");
            duo.fault(
                Endpoint::Any,
                Fault::Close(Stage::BeforeTls),
                Times::First(2),
            );
        });
        scenario.log_in("push")
    });
    assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
    assert_eq!(scenario.duo().connections(), 4);
    assert_eq!((report.count("preauth"), report.count("auth")), (1, 1));
}

#[test]
fn a_clock_that_is_an_hour_off_costs_one_ping() {
    for offset in [-3_600, 3_600] {
        for failmode in [Failmode::Safe, Failmode::Secure] {
            let scenario = Scenario::new(FakeDuo::builder().clock_offset(offset), failmode);
            let report = scenario.log_in("push");
            assert_eq!(report.outcome, Outcome::Successful, "{report:?}");
            assert_eq!(report.paths[..4], ["preauth", "ping", "preauth", "auth"]);
            assert_eq!((report.count("ping"), scenario.duo().connections()), (1, 1));
        }
    }
}

#[test]
fn ping_tells_the_clocks_apart_and_check_proves_keys_and_clock() {
    let scenario = Scenario::new(FakeDuo::builder().clock_offset(3_600), Failmode::Secure);
    let asked = scenario.with_client("push", |client| (client.ping(), client.check()));
    let (offset, checked) = asked.expect("a client");
    assert!(offset.is_ok_and(|offset| (3_598..=3_602).contains(&offset)));
    assert_eq!(checked, Ok(()));
    assert_eq!(scenario.duo().paths(), ["ping", "check"]);

    let mut scenario = Scenario::new(FakeDuo::builder(), Failmode::Secure);
    scenario.config.skey = "x".repeat(40).into();
    let checked = scenario.with_client("push", |client| client.check());
    let trouble = checked.expect("a client").unwrap_err();
    assert!(
        trouble.error.to_string().contains("wrong skey"),
        "{trouble:?}"
    );
    assert_eq!(trouble.code, Some(40_103));
}

#[test]
fn a_clock_that_no_ping_mends_is_a_service_error() {
    let clock = Fault::Status {
        status: 401,
        code: 40_105,
    };
    let bare = Fault::Bare { status: 401 };
    let times = [
        (
            clock.clone(),
            0_i64,
            2,
            "Duo says that this machine's clock is off",
        ),
        (bare.clone(), 0, 1, "HTTP 401: invalid ikey or skey"),
        (bare, 3_600, 2, "HTTP 401: invalid ikey or skey"),
    ];
    for (fault, offset, preauths, words) in times {
        let make = |failmode| {
            let builder = FakeDuo::builder().clock_offset(offset);
            Scenario::new(
                builder.fault(Endpoint::Preauth, fault.clone(), Times::Always),
                failmode,
            )
        };
        service_error("push", make, |report| {
            assert!(report.detail.contains(words), "{report:?}");
            assert_eq!(
                (report.count("ping"), report.count("preauth")),
                (1, preauths)
            );
        });
    }
    // With an absurd time from /ping, the client does not crash and asks once.
    for time in [
        "-9223372036854775808",
        "9223372036854775807",
        "null",
        "1e99",
    ] {
        let make = |failmode| {
            let builder = FakeDuo::builder().fault(Endpoint::Preauth, clock.clone(), Times::Always);
            let time = Fault::Response(format!(r#"{{"time":{time}}}"#));
            Scenario::new(builder.fault(Endpoint::Ping, time, Times::Always), failmode)
        };
        service_error("push", make, |report| assert_eq!(report.count("ping"), 1));
    }
}
