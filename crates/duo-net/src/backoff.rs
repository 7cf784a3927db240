//! How long to wait after a 429, and whether it is worth it. Pure but for the
//! clock and the jitter.
//!
//! A wait in the past must not make us spin, an endless one must not hold the
//! login, and neither may end in failmode: who gives up here is denied.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use crate::http::Answer;

/// The shortest wait, whatever the server says.
const SHORTEST: Duration = Duration::from_secs(1);

/// The wait before try number `tried` + 2, as `answer` asks for; without a word
/// of it, 1, 2, 4, … seconds and up to one more.
pub fn wait(answer: &Answer, tried: u32) -> Duration {
    let asked = answer.retry_after.as_deref();
    match asked.and_then(|text| retry_after(text, answer.date.as_deref())) {
        Some(wait) => wait.max(SHORTEST),
        None => SHORTEST.saturating_mul(1 << tried.min(16)) + jitter(),
    }
}

/// `Retry-After`: seconds, or an HTTP date (one in the past means now), by the
/// server's clock if it says it, since ours may be off. None if it is neither.
fn retry_after(text: &str, date: Option<&str>) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too long for a number is still a number: for ever.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let wait = then.duration_since(now.unwrap_or_else(SystemTime::now));
    Some(wait.unwrap_or_default())
}

/// Up to a second, so that many waiting logins do not come back at once.
/// `RandomState` is seeded by the system; nothing secret hangs on it.
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
