//! Answers of every kind: `stat` and `result` alone decide (docs/duo-api.md,
//! *Envelope*).

use std::time::{Duration, Instant};

use duo_wire::Outcome;
use fake_duo::{Endpoint, FakeDuo, Fault, Script, Shape, Times};

use super::{STALL, Scenario, service_error, whatever_failmode};
use crate::support::{Sandbox, not_duos, refusals_of_any_shape};

fn answered(
    endpoint: Endpoint,
    fault: &Fault,
) -> impl Fn(duo_policy::config::Failmode) -> Scenario {
    let fault = fault.clone();
    move |failmode| {
        let builder = FakeDuo::builder().fault(endpoint, fault.clone(), Times::Always);
        Scenario::new(builder, failmode)
    }
}

#[test]
fn an_answer_that_is_not_duos_is_a_service_error_and_is_not_asked_for_again() {
    for (fault, words) in not_duos() {
        service_error("push", answered(Endpoint::Preauth, &fault), |report| {
            assert!(report.detail.contains(words), "{fault:?}: {report:?}");
            assert_eq!(report.paths, ["preauth"], "{fault:?}");
        });
    }
}

#[test]
fn the_same_in_place_of_auths_answer_or_a_status_is_an_error_and_rings_once() {
    for (fault, _) in not_duos() {
        for (endpoint, requests) in [
            (Endpoint::Auth, &["preauth", "auth"][..]),
            (Endpoint::AuthStatus, &["preauth", "auth", "auth_status"]),
        ] {
            // An answer of auth need not have a `result`, so that fault changes nothing there.
            let is_due = fault != Fault::WrongResult || endpoint != Endpoint::Auth;
            if is_due {
                let make = answered(endpoint, &fault);
                whatever_failmode("push", Outcome::Error, make, |report| {
                    assert_eq!(report.paths, requests, "{fault:?}");
                });
            }
        }
    }
}

#[test]
fn a_hundred_continue_for_ever_ends_in_time() {
    let impatient = |endpoint| {
        let make = answered(endpoint, &Fault::ContinueForever);
        move |failmode| {
            let mut scenario = make(failmode);
            scenario.config.https_timeout = Some(2 * STALL);
            scenario
        }
    };
    service_error("push", impatient(Endpoint::Preauth), |report| {
        assert!(report.count("preauth") <= 3, "{report:?}");
    });
    whatever_failmode(
        "push",
        Outcome::Error,
        impatient(Endpoint::Auth),
        |report| {
            assert_eq!(report.count("auth"), 1, "{report:?}");
        },
    );
}

#[test]
fn what_is_not_due_may_be_wrong_or_there_twice() {
    for fault in [Fault::DuplicateKeys, Fault::Chunked] {
        let make = answered(Endpoint::Any, &fault);
        whatever_failmode("push", Outcome::Successful, make, |report| {
            assert_eq!(
                (report.count("preauth"), report.count("auth")),
                (1, 1),
                "{fault:?}"
            );
        });
    }
    // A menu of which nothing can be read still has Duo's own choice.
    for shape in [Shape::Prompt, Shape::Devices] {
        let make = |failmode| {
            let builder = FakeDuo::builder().shape(shape);
            Scenario::new(
                builder.fault(Endpoint::Preauth, Fault::WrongTypes, Times::Always),
                failmode,
            )
        };
        for failmode in [
            duo_policy::config::Failmode::Safe,
            duo_policy::config::Failmode::Secure,
        ] {
            let report = make(failmode).log_in("push");
            assert!(
                !matches!(report.outcome, Outcome::Failsafe | Outcome::Skipped),
                "Duo said 'auth': {report:?}"
            );
        }
    }
    let status = answered(Endpoint::AuthStatus, &Fault::WrongTypes);
    whatever_failmode("push", Outcome::Successful, status, |_| {});
}

#[test]
fn no_is_no_whatever_stands_beside_it() {
    for (user, outcome) in [
        ("deny", Outcome::Aborted),
        ("nullpreauth", Outcome::Aborted),
        ("unknownpreauth", Outcome::Aborted),
        ("enroll", Outcome::Aborted),
    ] {
        for fault in [Fault::None, Fault::WrongTypes, Fault::DuplicateKeys] {
            let make = answered(Endpoint::Preauth, &fault);
            whatever_failmode(user, outcome, make, |report| {
                assert_eq!(report.paths, ["preauth"], "{fault:?}");
            });
        }
    }
    for user in ["nulls", "unknownresult", "pushdeny"] {
        let make = |failmode| Scenario::new(FakeDuo::builder(), failmode);
        whatever_failmode(user, Outcome::Failed, make, |report| {
            assert_eq!(report.count("auth"), 1);
        });
    }
    let four_hundreds = [
        (400, 40_002),
        (403, 40_301),
        (404, 40_401),
        (405, 40_501),
        (418, 41_801),
    ];
    for (status, code) in four_hundreds {
        let fault = Fault::Status { status, code };
        let make = answered(Endpoint::Preauth, &fault);
        whatever_failmode("push", Outcome::Aborted, make, |report| {
            assert!(
                report.detail.starts_with(&format!("HTTP {status}: {code}")),
                "{report:?}"
            );
            assert_eq!(report.paths, ["preauth"]);
        });
    }
    for code in [40_301, 7, 123_456] {
        let fault = Fault::Fail {
            code: Some(code),
            message: "no".into(),
        };
        let make = answered(Endpoint::Preauth, &fault);
        whatever_failmode("push", Outcome::Aborted, make, |report| {
            assert!(report.detail.contains(&format!("{code}: no")), "{report:?}");
        });
    }
}

/// A proxy's page, of any size and shape, must not pass for Duo being down.
#[test]
fn a_4xx_denies_whatever_its_body() {
    for fault in refusals_of_any_shape() {
        let make = answered(Endpoint::Preauth, &fault);
        whatever_failmode("push", Outcome::Aborted, make, |report| {
            assert!(report.detail.starts_with("HTTP 40"), "{report:?}");
            assert_eq!(report.paths, ["preauth"], "{report:?}");
        });
    }
}

#[test]
fn a_fail_under_200_is_told_by_its_code() {
    let fault = Fault::Fail {
        code: Some(40_001),
        message: "no".into(),
    };
    let make = answered(Endpoint::Preauth, &fault);
    whatever_failmode("push", Outcome::Aborted, make, |report| {
        assert_eq!(report.detail, "code 40001: no");
    });
}

/// 150,000 escapes as the reason of a denial.
#[test]
fn a_reason_of_any_length_denies_at_once_and_is_shortened() {
    let sandbox = Sandbox::new();
    let text = "\\u001b".repeat(150_000);
    let answer = format!(r#"{{"result":"deny","status_msg":"{text}"}}"#);
    let fault = Fault::Response(answer);
    sandbox.duo.fault(Endpoint::Preauth, fault, Times::Always);
    let began = Instant::now();
    let ended = sandbox.login("alice").args(&["echo", "in"]).run();
    assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
    assert!(began.elapsed() < Duration::from_secs(4));
    let line = ended.last_line();
    assert!(line.starts_with("[4] Aborted Duo login for 'alice' from 192.0.2.7: \\x1B"));
    assert!(line.len() < 1_100, "{}", line.len());
}

#[test]
fn a_server_that_takes_the_persons_time_for_auth_is_waited_for() {
    let make = |failmode| {
        let mut scenario = Scenario::new(FakeDuo::builder().user("sync", Script::Sync), failmode);
        scenario.config.https_timeout = None;
        scenario
    };
    whatever_failmode("sync", Outcome::Successful, make, |report| {
        assert_eq!(report.paths, ["preauth", "auth"]);
    });
}
