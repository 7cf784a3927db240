//! Time: every deadline and wait of a login in one value, and a clock that a
//! test can turn.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Each bound on waiting, made in one place. Sources: `Connection`, `429` and
/// `auth_status` in the protocol's notes, `The conversation` in the manual.
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

/// The time, as decisions see it.
pub trait Clock {
    /// Monotonic now.
    fn now(&self) -> Instant;
    /// Returns when `span` has passed.
    fn sleep(&self, span: Duration);

    /// For how long this process was kept from running, if that was so long that
    /// a silence of Duo's may be our own.
    fn stood_still(&self) -> Option<Duration> {
        None
    }

    /// From here on nobody asks [`Clock::stood_still`] any more.
    fn rest(&self) {}
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}

/// The machine's clock, and a pulse beside it.
///
/// A caller may freeze us (a control group of their own), starve us of the
/// processor, or stretch our timers, until every deadline has passed that Duo
/// would have met. Then it is not Duo that was away.
pub struct WatchedClock {
    beats: Arc<Mutex<Beats>>,
}

/// Between two beats of the pulse.
const BEAT: Duration = Duration::from_millis(100);

/// A beat that comes this late, or less, came in time.
const IN_TIME: Duration = Duration::from_millis(20);

/// One beat that is later than this: we stood still.
const STANDSTILL: Duration = Duration::from_secs(1);

/// What the pulse has seen.
struct Beats {
    started: Instant,
    last: Instant,
    lost: Duration,
    longest: Duration,
    resting: bool,
}

impl Beats {
    fn new(now: Instant) -> Beats {
        Beats {
            started: now,
            last: now,
            lost: Duration::ZERO,
            longest: Duration::ZERO,
            resting: false,
        }
    }

    fn beat(&mut self, now: Instant) {
        let late = now
            .saturating_duration_since(self.last)
            .saturating_sub(BEAT);
        if late > IN_TIME {
            self.lost += late;
            self.longest = self.longest.max(late);
        }
        self.last = now;
    }

    /// One long stop, or many short ones that add up to a quarter of the time:
    /// a busy machine alone does not come near either.
    fn stood_still(&mut self, now: Instant) -> Option<Duration> {
        if self.resting {
            return None;
        }
        // The pulse itself may not have run again yet.
        self.beat(now.max(self.last + BEAT));
        let elapsed = now.saturating_duration_since(self.started);
        let much = self.lost > BEAT * 2 && self.lost * 4 > elapsed;
        (self.longest > STANDSTILL || much).then_some(self.lost)
    }
}

impl WatchedClock {
    /// Starts to watch; whoever runs beside the login is to call [`Self::pulse`].
    pub fn start() -> WatchedClock {
        WatchedClock {
            beats: Arc::new(Mutex::new(Beats::new(Instant::now()))),
        }
    }

    /// What a thread that has time calls at each beat: it says when the next one
    /// is due, if there is one.
    pub fn pulse(&self) -> impl FnMut() -> Option<Duration> + Send + 'static {
        let beats = self.beats.clone();
        move || {
            let mut beats = beats.lock().unwrap_or_else(PoisonError::into_inner);
            beats.beat(Instant::now());
            (!beats.resting).then_some(BEAT)
        }
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for WatchedClock {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn sleep(&self, span: Duration) {
        SystemClock.sleep(span);
    }

    fn stood_still(&self) -> Option<Duration> {
        self.beats().stood_still(Instant::now())
    }

    fn rest(&self) {
        self.beats().resting = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beats of a pulse that ran in time but for these stops (after so many
    /// beats, for so long), looked at when all of them are over.
    fn stood_still(stops: &[(u32, Duration)], beats_after: u32) -> Option<Duration> {
        let mut now = Instant::now();
        let mut beats = Beats::new(now);
        let run = |count: u32, beats: &mut Beats, now: &mut Instant| {
            for _ in 0..count {
                *now += BEAT + Duration::from_millis(1);
                beats.beat(*now);
            }
        };
        for (count, stop) in stops {
            run(*count, &mut beats, &mut now);
            now += *stop;
        }
        run(beats_after, &mut beats, &mut now);
        beats.stood_still(now)
    }

    #[test]
    fn a_process_that_runs_does_not_stand_still() {
        assert_eq!(stood_still(&[], 0), None);
        assert_eq!(stood_still(&[], 600), None);
        // A busy machine: a third of a second, now and then.
        let busy = [(20, Duration::from_millis(300)); 10];
        assert_eq!(stood_still(&busy, 20), None);
    }

    #[test]
    fn a_process_that_was_frozen_knows_it() {
        // One stop that lasts longer than any deadline, also one that the pulse
        // has not seen the end of.
        for beats_after in [0, 1, 50] {
            assert!(stood_still(&[(1, Duration::from_secs(62))], beats_after).is_some());
            assert!(stood_still(&[(300, Duration::from_millis(1_300))], beats_after).is_some());
        }
        // Many that are short, with hardly a moment between them.
        assert!(stood_still(&[(1, Duration::from_millis(900)); 6], 0).is_some());
        assert!(stood_still(&[(0, Duration::from_millis(400)); 15], 0).is_some());
    }

    #[test]
    fn nobody_asks_a_clock_that_rests() {
        let clock = WatchedClock::start();
        let mut pulse = clock.pulse();
        assert_eq!(pulse(), Some(BEAT));
        clock.beats().lost = STANDSTILL * 60;
        assert!(clock.stood_still().is_some());
        clock.rest();
        assert_eq!((pulse(), clock.stood_still()), (None, None));
    }
}
