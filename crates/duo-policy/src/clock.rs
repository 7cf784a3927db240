//! Time: every deadline and wait of a login in one value, and a clock that a
//! test can turn.

use std::time::{Duration, Instant};

/// Each bound on waiting, made in one place. Sources: docs/duo-api.md, *Connection*
/// and *Requests*; docs/behaviour.md, *The conversation*.
#[derive(Debug, Clone)]
pub struct Deadlines {
    /// For one TCP connection attempt, and for a proxy's answer to CONNECT, which
    /// stands for one.
    pub tcp: Duration,
    /// For one TLS handshake.
    pub tls: Duration,
    /// For one preauth with its connections, retries and answer; the first is
    /// counted from the start of the login. Waits after a 429 do not count.
    pub request: Duration,
    /// Pauses before a failed idempotent request goes out again; one try more
    /// than there are pauses.
    pub retries: [Duration; 2],
    /// A connection idle for longer is not trusted with a request any more.
    pub idle: Duration,
    /// For one long poll of `auth_status`.
    pub poll: Duration,
    /// Between two polls that were answered at once.
    pub between_polls: Duration,
    /// For the person to approve.
    pub person: Duration,
    /// At the menu without a line.
    pub menu: Duration,
    /// The longest wait after a 429 that is still worth it.
    pub longest_backoff: Duration,
    /// Waits after a 429 in one login.
    pub backoffs: u32,
    /// For this host's own full name, beside the connection.
    pub own_name: Duration,
    /// For room on a terminal or in a pipe before a line is dropped.
    pub output: Duration,
    /// Before a headless login says that it waits.
    pub headless_notice: Duration,
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
        }
    }
}

/// The time, as decisions see it. A test turns it; the system's is in `duo-system`.
pub trait Clock {
    /// Monotonic now.
    fn now(&self) -> Instant;
    /// Returns when `span` has passed.
    fn sleep(&self, span: Duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the protocol's notes and the manual have them: every other test
    /// passes values of its own.
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
        assert_eq!((all.menu, all.headless_notice), (seconds(120), seconds(2)));
    }
}
