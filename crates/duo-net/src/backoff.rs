//! How long to wait after a 429 (docs/duo-api.md, *Envelope*).
//!
//! A `Retry-After` in the past must not make us ask in a tight loop, and a very
//! long one must not hold the login up. The client denies the login where the
//! wait is too long: after a 429, failmode must not apply.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use crate::answer::Answer;

/// The shortest wait, whatever the server says.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long to wait before the request is sent again, after `tried` earlier waits
/// in this login: as long as `answer` asks for, but at least a second. Where it
/// does not say: 1, 2, 4, … seconds, and up to one more.
pub fn wait(answer: &Answer, tried: u32) -> Duration {
    let asked = answer.retry_after.as_deref();
    match asked.and_then(|text| retry_after(text, answer.date.as_deref())) {
        Some(wait) => wait.max(SHORTEST),
        None => SHORTEST.saturating_mul(1 << tried.min(16)) + jitter(),
    }
}

/// Reads a `Retry-After`: seconds, or an HTTP date (a date in the past means now).
/// `date` is the server's own time, if it sent one, since our clock may be off.
/// `None` if `text` is neither.
fn retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is longer than any wait that we accept.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let wait = then.duration_since(now.unwrap_or_else(SystemTime::now));
    Some(wait.unwrap_or_default())
}

/// Up to a second, so that many waiting logins do not ask again at the same time.
/// `RandomState` is seeded by the system; the jitter need not be a secret.
fn jitter() -> Duration {
    Duration::from_millis(RandomState::new().build_hasher().finish() % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(retry_after: Option<&str>) -> Answer {
        Answer {
            status: 429,
            body: Vec::new(),
            retry_after: retry_after.map(str::to_owned),
            date: None,
        }
    }

    #[test]
    fn retry_after_is_read_in_each_of_its_forms() {
        let read = |text: &str| retry_after(text, None);
        assert_eq!(read(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(
            read("9223372036854775808"),
            Some(Duration::from_secs(1 << 63))
        );
        assert_eq!(read("9223372036854775808999999"), Some(Duration::MAX));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = SystemTime::now() + Duration::from_secs(20);
        let wait = read(&httpdate::fmt_http_date(soon)).unwrap();
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20));
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_read_by_the_servers_clock_if_it_tells_it() {
        let (date, then) = (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:40 GMT",
        );
        assert_eq!(retry_after(then, Some(date)), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(then, Some("soon")), Some(Duration::ZERO));
    }

    #[test]
    fn a_wait_in_the_past_is_a_second_and_not_a_spin() {
        for text in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(wait(&answer(Some(text)), 0), SHORTEST);
        }
    }

    #[test]
    fn without_a_word_the_waits_double() {
        for (tried, seconds) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16)] {
            for asked in [None, Some("soon")] {
                let wait = wait(&answer(asked), tried);
                let least = Duration::from_secs(seconds);
                assert!(wait >= least && wait < least + Duration::from_secs(1));
            }
        }
        assert!(wait(&answer(None), u32::MAX) > Duration::from_secs(32));
    }
}
