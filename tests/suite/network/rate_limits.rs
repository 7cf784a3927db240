//! 429: bounded waits, then denial; never failmode.

use std::time::Duration;

use duo_net::Notice;
use duo_wire::Outcome;
use fake_duo::{Endpoint, FakeDuo, Fault, RetryAfter, Stage, Times};

use super::{LoginReport, STALL, Scenario, whatever_failmode};

fn seconds(numbers: &[u64]) -> Vec<Duration> {
    numbers.iter().copied().map(Duration::from_secs).collect()
}

/// The first so many preauths, or all, are answered 429.
fn limited(after: RetryAfter, times: Times) -> fake_duo::Builder {
    FakeDuo::builder().fault(Endpoint::Preauth, Fault::RateLimited(after), times)
}

fn gave_up(report: &LoginReport) {
    assert_eq!(report.detail, "HTTP 429: Duo is rate limiting");
}

#[test]
fn a_429_is_waited_for_as_it_asks_and_said() {
    for (after, wait) in [
        (RetryAfter::Seconds(3), 3),
        (RetryAfter::XSeconds(32), 32),
        (RetryAfter::Seconds(0), 1),
        (RetryAfter::Date(7), 7),
        (RetryAfter::Date(-3_600), 1),
    ] {
        let make = |failmode| Scenario::new(limited(after.clone(), Times::First(1)), failmode);
        whatever_failmode("push", Outcome::Successful, make, |report| {
            assert_eq!(report.count("preauth"), 2);
            // A date is read when it arrives, up to a second later.
            let waited = report.waits[0].as_secs_f64().round();
            assert!((waited - f64::from(wait)).abs() <= 1.0, "{report:?}");
            assert!(report.waits[0] >= Duration::from_secs(1));
            assert_eq!(report.notices, [Notice::RateLimited(report.waits[0])]);
        });
    }
}

#[test]
fn a_429_for_ever_is_waited_for_five_times_and_denied() {
    let make = |after: RetryAfter| {
        move |failmode| Scenario::new(limited(after.clone(), Times::Always), failmode)
    };
    let past = make(RetryAfter::Seconds(0));
    whatever_failmode("push", Outcome::Aborted, past, |report| {
        gave_up(report);
        assert_eq!(report.paths, ["preauth"; 6]);
        assert_eq!(report.waits, seconds(&[1; 5]));
    });
    for after in [RetryAfter::Absent, RetryAfter::Text("soon".into())] {
        whatever_failmode("push", Outcome::Aborted, make(after), |report| {
            gave_up(report);
            assert_eq!(report.paths, ["preauth"; 6]);
            for (waited, least) in report.waits.iter().zip([1, 2, 4, 8, 16]) {
                let least = Duration::from_secs(least);
                let jitter = waited.checked_sub(least).expect("no less");
                assert!(jitter < Duration::from_secs(1), "{report:?}");
            }
        });
    }
}

#[test]
fn a_429_that_asks_for_too_long_is_denied_at_once() {
    for after in [
        RetryAfter::Seconds(33),
        RetryAfter::Seconds(1 << 63),
        RetryAfter::Text("9".repeat(400)),
        RetryAfter::Date(3_600),
    ] {
        let make = |failmode| Scenario::new(limited(after.clone(), Times::Always), failmode);
        whatever_failmode("push", Outcome::Aborted, make, |report| {
            gave_up(report);
            assert_eq!(report.paths, ["preauth"]);
            assert!(report.waits.is_empty(), "{report:?}");
        });
    }
}

#[test]
fn after_a_429_no_failure_is_forgiven() {
    for fault in [
        Fault::Bare { status: 500 },
        Fault::Reset(Stage::BeforeHeaders),
        Fault::Close(Stage::InBody),
        Fault::Stall(Stage::InHeaders),
        Fault::Garbage,
        Fault::Redirect("https://elsewhere.example/".into()),
        Fault::Status {
            status: 401,
            code: 40_103,
        },
    ] {
        let make = |failmode| {
            let builder = limited(RetryAfter::Seconds(1), Times::First(1));
            let builder = builder.fault(Endpoint::Preauth, fault.clone(), Times::Always);
            let mut scenario = Scenario::new(builder, failmode);
            scenario.config.https_timeout = Some(2 * STALL);
            scenario
        };
        whatever_failmode("push", Outcome::Error, make, |report| {
            let tries = match fault {
                Fault::Reset(_) | Fault::Close(_) | Fault::Stall(_) => 3,
                _ => 1,
            };
            assert_eq!(report.count("preauth"), 1 + tries, "{fault:?}");
        });
    }
}

#[test]
fn a_429_from_ping_is_one_too() {
    let make = |times| {
        move |failmode| {
            let limit = Fault::RateLimited(RetryAfter::Seconds(1));
            let builder = FakeDuo::builder().clock_offset(3_600);
            Scenario::new(builder.fault(Endpoint::Ping, limit, times), failmode)
        }
    };
    whatever_failmode("push", Outcome::Aborted, make(Times::Always), |report| {
        gave_up(report);
        assert_eq!((report.count("preauth"), report.count("ping")), (1, 6));
    });
    whatever_failmode(
        "push",
        Outcome::Successful,
        make(Times::First(1)),
        |report| {
            assert_eq!((report.count("preauth"), report.count("ping")), (2, 2));
        },
    );
}

#[test]
fn auth_that_was_answered_429_goes_out_again() {
    let make = |times| {
        move |failmode| {
            let limit = Fault::RateLimited(RetryAfter::Seconds(2));
            Scenario::new(
                FakeDuo::builder().fault(Endpoint::Auth, limit, times),
                failmode,
            )
        }
    };
    whatever_failmode(
        "push",
        Outcome::Successful,
        make(Times::First(2)),
        |report| {
            assert_eq!((report.count("preauth"), report.count("auth")), (1, 3));
            assert_eq!(report.waits[..2], seconds(&[2, 2]));
        },
    );
    whatever_failmode("push", Outcome::Aborted, make(Times::Always), |report| {
        gave_up(report);
        assert_eq!(report.count("auth"), 6);
    });
}

#[test]
fn a_refusal_whose_words_are_lost_is_a_refusal() {
    // The head is whole; the body is not, or never comes.
    let head =
        |status| format!("HTTP/1.1 {status} x\r\nRetry-After: 99\r\nContent-Length: 9\r\n\r\n{{");
    for status in [429, 403, 400] {
        let fault = Fault::Raw(head(status).into_bytes());
        let make = |failmode| {
            Scenario::new(
                FakeDuo::builder().fault(Endpoint::Preauth, fault.clone(), Times::Always),
                failmode,
            )
        };
        whatever_failmode("push", Outcome::Aborted, make, |report| {
            assert!(
                report.detail.starts_with(&format!("HTTP {status}")),
                "{report:?}"
            );
            assert_eq!(report.paths, ["preauth"]);
        });
    }
}
