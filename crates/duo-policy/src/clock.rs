//! Time: every deadline and wait of a login in one value, and the clock as a
//! trait, so that a test can use a clock of its own.

use std::time::{Duration, Instant};

/// Each bound on waiting, made in one place. Sources: docs/duo-api.md, *Connection*
/// and *Requests*; docs/behaviour.md, *The conversation*.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// For one TCP connection attempt, and for a proxy's answer to CONNECT, since
    /// the proxy makes such an attempt before it answers.
    pub tcp: Duration,
    /// For one TLS handshake.
    pub tls: Duration,
    /// For one preauth with its connections, retries and answer. The time of the
    /// first preauth runs from the start of the login. Waits after a 429 do not
    /// count.
    pub request: Duration,
    /// The pauses before a failed idempotent request is sent again: with two
    /// pauses it is sent three times at most.
    pub retries: [Duration; 2],
    /// How long a connection may be idle and still carry another request.
    pub idle: Duration,
    /// For one long poll of `auth_status`.
    pub poll: Duration,
    /// The least time from one poll to the next, where the answer had no new text.
    pub between_polls: Duration,
    /// For the person to approve a factor, from auth to the verdict.
    pub person: Duration,
    /// For the person to type a line at the menu.
    pub menu: Duration,
    /// The longest wait after a 429 that is still worth it.
    pub longest_backoff: Duration,
    /// The most waits after a 429 in one login.
    pub backoffs: u32,
    /// For the lookup of this host's own full name, which runs while the
    /// connection is made.
    pub own_name: Duration,
    /// For a terminal or a pipe to take a line, before the line is dropped.
    pub output: Duration,
    /// Before a headless login says that it waits.
    pub headless_notice: Duration,
    /// After a wrong emergency code, before the next one is asked for.
    pub wrong_code: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            tcp: Duration::from_secs(10),
            tls: Duration::from_secs(5),
            request: Duration::from_secs(60),
            retries: [Duration::from_secs(1), Duration::from_secs(2)],
            idle: Duration::from_secs(15),
            poll: Duration::from_secs(75),
            between_polls: Duration::from_millis(500),
            person: Duration::from_secs(5 * 60),
            menu: Duration::from_secs(2 * 60),
            longest_backoff: Duration::from_secs(32),
            backoffs: 5,
            own_name: Duration::from_secs(1),
            output: Duration::from_secs(1),
            headless_notice: Duration::from_secs(2),
            wrong_code: Duration::from_secs(1),
        }
    }
}

/// A span of time as an administrator writes it: `90s`, `10m` or `8h`. `None` if it is none;
/// without a letter, the unit would be guessed at.
pub fn written_span(text: &str) -> Option<Duration> {
    let letters = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number: u64 = text.strip_suffix(letters)?.parse().ok()?;
    let unit = match letters {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

/// The time. The clock of the system is `duo_system::wait::SystemClock`.
pub trait Clock {
    /// The current time, which never goes back.
    fn now(&self) -> Instant;
    /// Returns when `span` has passed.
    fn sleep(&self, span: Duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_number_and_a_letter() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("168h", 604_800)] {
            let span = Some(Duration::from_secs(seconds));
            assert_eq!(written_span(text), span, "{text}");
        }
        for text in ["", "10", "m", "-1m", "+1m", "1d", "1 m", "1m ", "1.5h"] {
            assert_eq!(written_span(text), None, "{text}");
        }
        assert_eq!(written_span("99999999999999999999h"), None);
        assert_eq!(written_span("9999999999999999999h"), None);
    }

    /// docs/duo-api.md and docs/behaviour.md promise these values. Every other
    /// test passes values of its own.
    #[test]
    fn a_login_waits_as_long_as_is_promised_and_no_longer() {
        let seconds = Duration::from_secs;
        let all = Deadlines::default();
        assert_eq!((all.tcp, all.tls), (seconds(10), seconds(5)));
        assert_eq!((all.request, all.person), (seconds(60), seconds(300)));
        assert_eq!(all.retries, [1, 2].map(seconds));
        assert_eq!((all.idle, all.poll), (seconds(15), seconds(75)));
        assert_eq!(all.between_polls, seconds(1) / 2);
        assert_eq!((all.longest_backoff, all.backoffs), (seconds(32), 5));
        assert_eq!((all.own_name, all.output), (seconds(1), seconds(1)));
        assert_eq!(all.wrong_code, seconds(1));
        assert_eq!((all.menu, all.headless_notice), (seconds(120), seconds(2)));
    }
}
