//! 429: bounded waits, then denial; never failmode.

use std::time::Duration;

use duo_net::Notice;
use duo_wire::Outcome;
use fake_duo::{Endpoint, FakeDuo, Fault, RetryAfter, Stage, Times};

use super::{Bench, Came, STALL, whatever_failmode};

fn seconds(numbers: &[u64]) -> Vec<Duration> {
    numbers.iter().copied().map(Duration::from_secs).collect()
}

/// The first so many preauths, or all, are answered 429.
fn limited(after: RetryAfter, times: Times) -> fake_duo::Builder {
    FakeDuo::builder().fault(Endpoint::Preauth, Fault::RateLimited(after), times)
}

fn gave_up(came: &Came) {
    assert_eq!(came.detail, "HTTP 429: Duo is rate limiting");
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
        let make = |failmode| Bench::new(limited(after.clone(), Times::First(1)), failmode);
        whatever_failmode("push", Outcome::Successful, make, |came| {
            assert_eq!(came.count("preauth"), 2);
            // A date is read when it arrives, up to a second later.
            let waited = came.waits[0].as_secs_f64().round();
            assert!((waited - f64::from(wait)).abs() <= 1.0, "{came:?}");
            assert!(came.waits[0] >= Duration::from_secs(1));
            assert_eq!(came.notices, [Notice::RateLimited(came.waits[0])]);
        });
    }
}

#[test]
fn a_429_for_ever_is_waited_for_five_times_and_denied() {
    let make = |after: RetryAfter| {
        move |failmode| Bench::new(limited(after.clone(), Times::Always), failmode)
    };
    let past = make(RetryAfter::Seconds(0));
    whatever_failmode("push", Outcome::Aborted, past, |came| {
        gave_up(came);
        assert_eq!(came.paths, ["preauth"; 6]);
        assert_eq!(came.waits, seconds(&[1; 5]));
    });
    for after in [RetryAfter::Absent, RetryAfter::Text("soon".into())] {
        whatever_failmode("push", Outcome::Aborted, make(after), |came| {
            gave_up(came);
            assert_eq!(came.paths, ["preauth"; 6]);
            for (waited, least) in came.waits.iter().zip([1, 2, 4, 8, 16]) {
                let least = Duration::from_secs(least);
                let jitter = waited.checked_sub(least).expect("no less");
                assert!(jitter < Duration::from_secs(1), "{came:?}");
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
        let make = |failmode| Bench::new(limited(after.clone(), Times::Always), failmode);
        whatever_failmode("push", Outcome::Aborted, make, |came| {
            gave_up(came);
            assert_eq!(came.paths, ["preauth"]);
            assert!(came.waits.is_empty(), "{came:?}");
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
            let mut bench = Bench::new(builder, failmode);
            bench.config.https_timeout = Some(2 * STALL);
            bench
        };
        whatever_failmode("push", Outcome::Error, make, |came| {
            let tries = match fault {
                Fault::Reset(_) | Fault::Close(_) | Fault::Stall(_) => 3,
                _ => 1,
            };
            assert_eq!(came.count("preauth"), 1 + tries, "{fault:?}");
        });
    }
}

#[test]
fn a_429_from_ping_is_one_too() {
    let make = |times| {
        move |failmode| {
            let limit = Fault::RateLimited(RetryAfter::Seconds(1));
            let builder = FakeDuo::builder().clock_offset(3_600);
            Bench::new(builder.fault(Endpoint::Ping, limit, times), failmode)
        }
    };
    whatever_failmode("push", Outcome::Aborted, make(Times::Always), |came| {
        gave_up(came);
        assert_eq!((came.count("preauth"), came.count("ping")), (1, 6));
    });
    whatever_failmode("push", Outcome::Successful, make(Times::First(1)), |came| {
        assert_eq!((came.count("preauth"), came.count("ping")), (2, 2));
    });
}

#[test]
fn auth_that_was_answered_429_goes_out_again() {
    let make = |times| {
        move |failmode| {
            let limit = Fault::RateLimited(RetryAfter::Seconds(2));
            Bench::new(
                FakeDuo::builder().fault(Endpoint::Auth, limit, times),
                failmode,
            )
        }
    };
    whatever_failmode("push", Outcome::Successful, make(Times::First(2)), |came| {
        assert_eq!((came.count("preauth"), came.count("auth")), (1, 3));
        assert_eq!(came.waits[..2], seconds(&[2, 2]));
    });
    whatever_failmode("push", Outcome::Aborted, make(Times::Always), |came| {
        gave_up(came);
        assert_eq!(came.count("auth"), 6);
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
            Bench::new(
                FakeDuo::builder().fault(Endpoint::Preauth, fault.clone(), Times::Always),
                failmode,
            )
        };
        whatever_failmode("push", Outcome::Aborted, make, |came| {
            assert!(
                came.detail.starts_with(&format!("HTTP {status}")),
                "{came:?}"
            );
            assert_eq!(came.paths, ["preauth"]);
        });
    }
}
