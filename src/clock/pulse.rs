//! Whether we were awake while Duo was silent.
//!
//! A caller may freeze us (a control group of their own), starve us of the
//! processor, or stretch our timers, until every deadline has passed that Duo
//! would have met. Then it is not Duo that was away, and `failmode = safe` must
//! not open. So two threads show that they run: one that has nothing else to do,
//! and the one that waits for Duo, at each step of its waiting.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::company;
use super::{Clock, SystemClock};

/// Between two beats of the idle thread's pulse; and how long the other may work
/// without a word.
const BEAT: Duration = Duration::from_millis(100);

/// The longest step of a wait.
const STEP: Duration = Duration::from_millis(250);

/// A beat that comes this late, or less, came in time.
const IN_TIME: Duration = Duration::from_millis(20);

/// One beat that is later than this, or many that add up to more than this and
/// to a quarter of the time: we stood still. Shorter than every deadline that a
/// login can be kept from meeting. 500 logins at once on two processors do not
/// come near it; with fifty busy processes for each processor, one login in
/// forty is denied, if Duo is down too.
const STANDSTILL: Duration = Duration::from_secs(2);

/// What one thread's pulse has shown.
struct Beats {
    started: Instant,
    last: Instant,
    lost: Duration,
    longest: Duration,
}

impl Beats {
    fn new(now: Instant) -> Beats {
        Beats {
            started: now,
            last: now,
            lost: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// The thread is awake; since the last beat it wanted to wait for `meant`.
    fn beat(&mut self, now: Instant, meant: Duration) {
        let late = now
            .saturating_duration_since(self.last)
            .saturating_sub(meant.max(BEAT));
        if late > IN_TIME {
            self.lost += late;
            self.longest = self.longest.max(late);
        }
        self.last = now;
    }

    /// For how long the thread was kept from running, if that was too long. (It
    /// may not have run again yet.)
    fn stood_still(&mut self, now: Instant) -> Option<Duration> {
        self.beat(now.max(self.last), BEAT);
        let elapsed = now.saturating_duration_since(self.started);
        let much = self.lost > STANDSTILL && self.lost * 4 > elapsed;
        (self.longest > STANDSTILL || much).then_some(self.lost)
    }
}

/// The pulse of the thread that waits for Duo.
enum Heart {
    /// Nobody asks: a wait is one step.
    Rests,
    Beats(Beats),
}

thread_local! {
    static HEART: RefCell<Heart> = const { RefCell::new(Heart::Rests) };
}

/// Waits until `wait` has something, or `deadline` has passed. `wait` may take
/// as long as it is told, and is called again: this thread shows in between that
/// it is awake.
pub fn in_steps<T>(deadline: Instant, mut wait: impl FnMut(Duration) -> Option<T>) -> Option<T> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let step = beat(BEAT).map_or(left, |longest| left.min(longest));
        let found = wait(step);
        beat(step);
        if found.is_some() {
            return found;
        }
    }
}

/// This thread is awake, after `meant`: how long its next step may be, if
/// anyone cares.
fn beat(meant: Duration) -> Option<Duration> {
    HEART.with_borrow_mut(|heart| match heart {
        Heart::Rests => None,
        Heart::Beats(beats) => {
            beats.beat(Instant::now(), meant);
            Some(STEP)
        }
    })
}

/// The machine's clock, and the pulse of its threads. It belongs to the thread
/// that waits for Duo.
pub struct WatchedClock {
    beside: Arc<Mutex<Beside>>,
}

/// What the idle thread has seen.
struct Beside {
    beats: Beats,
    /// What was seen of another thread in a control group of its own, if it was.
    apart: Option<String>,
    resting: bool,
}

impl WatchedClock {
    /// Starts to watch; whoever runs beside the login is to call [`Self::pulse`].
    pub fn start() -> WatchedClock {
        let beside = Beside {
            beats: Beats::new(Instant::now()),
            apart: None,
            resting: false,
        };
        WatchedClock {
            beside: Arc::new(Mutex::new(beside)),
        }
    }

    /// What a thread that has time calls at each beat: it says when the next one
    /// is due, if there is one.
    pub fn pulse(&self) -> impl FnMut() -> Option<Duration> + Send + 'static {
        let beside = self.beside.clone();
        let mut looks = false;
        move || {
            // Not at the first beat: most logins are over before the second.
            let apart = std::mem::replace(&mut looks, true).then(company::apart);
            let mut beside = beside.lock().unwrap_or_else(PoisonError::into_inner);
            beside.beats.beat(Instant::now(), BEAT);
            beside.apart = beside.apart.take().or(apart.flatten());
            (!beside.resting).then_some(BEAT)
        }
    }

    fn beside(&self) -> MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for WatchedClock {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn sleep(&self, span: Duration) {
        in_steps(self.now() + span, |step| {
            SystemClock.sleep(step);
            None::<()>
        });
    }

    fn watch(&self) {
        let beats = Beats::new(self.now());
        HEART.with_borrow_mut(|heart| *heart = Heart::Beats(beats));
    }

    fn doubt(&self) -> Option<String> {
        let mut beside = self.beside();
        if beside.resting {
            return None;
        }
        if let Some(apart) = beside.apart.clone().or_else(company::apart) {
            return Some(apart);
        }
        let now = self.now();
        let idle = beside.beats.stood_still(now);
        let busy = HEART.with_borrow_mut(|heart| match heart {
            Heart::Rests => None,
            Heart::Beats(beats) => beats.stood_still(now),
        });
        let lost = idle.max(busy)?;
        Some(format!(
            "this machine stood still for {} ms",
            lost.as_millis()
        ))
    }

    fn rest(&self) {
        self.beside().resting = true;
        HEART.with_borrow_mut(|heart| *heart = Heart::Rests);
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
                beats.beat(*now, BEAT);
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
        // A busy machine: a third of a second, now and then; or hardly a moment
        // to itself, but Duo's answer came at once.
        let busy = [(20, Duration::from_millis(300)); 10];
        assert_eq!(stood_still(&busy, 20), None);
        assert_eq!(stood_still(&[(0, Duration::from_millis(400)); 4], 0), None);
    }

    #[test]
    fn a_process_that_was_frozen_knows_it() {
        // One stop that lasts longer than any deadline, also one that the pulse
        // has not seen the end of.
        for beats_after in [0, 1, 50] {
            assert!(stood_still(&[(1, Duration::from_secs(62))], beats_after).is_some());
            assert!(stood_still(&[(300, Duration::from_millis(2_300))], beats_after).is_some());
        }
        // Many that are short, with hardly a moment between them.
        assert!(stood_still(&[(1, Duration::from_millis(900)); 6], 0).is_some());
        assert!(stood_still(&[(0, Duration::from_millis(400)); 15], 0).is_some());
    }

    #[test]
    fn a_wait_that_was_meant_is_not_a_standstill() {
        let start = Instant::now();
        let mut beats = Beats::new(start);
        let end = start + STANDSTILL * 3;
        beats.beat(end, STANDSTILL * 3);
        assert_eq!(beats.stood_still(end), None);
    }

    #[test]
    fn the_waiting_thread_is_watched_at_each_step() {
        let clock = WatchedClock::start();
        clock.watch();
        let mut steps = Vec::new();
        let soon = Instant::now() + STEP * 20;
        let found = in_steps(soon, |step| {
            steps.push(step);
            (steps.len() == 3).then_some("an answer")
        });
        assert_eq!((found, steps), (Some("an answer"), vec![STEP; 3]));
        assert_eq!(clock.doubt(), None);

        // Stopped within a step, and only this thread: the other one beats on.
        HEART.with_borrow_mut(|heart| {
            let Heart::Beats(beats) = heart else {
                panic!("it beats")
            };
            beats.last -= STANDSTILL * 2;
        });
        let doubt = clock.doubt().unwrap();
        assert!(
            doubt.starts_with("this machine stood still for "),
            "{doubt}"
        );
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_a_past_one_is_none() {
        let soon = Instant::now() + BEAT;
        assert_eq!(
            in_steps(soon, |step| {
                std::thread::sleep(step);
                None::<()>
            }),
            None
        );
        assert!(Instant::now() >= soon);
        assert_eq!(in_steps(soon, |_| Some("late")), None);
    }

    #[test]
    fn nobody_asks_a_clock_that_rests() {
        let clock = WatchedClock::start();
        clock.watch();
        let mut pulse = clock.pulse();
        assert_eq!(pulse(), Some(BEAT));
        clock.beside().beats.lost = STANDSTILL * 60;
        assert!(clock.doubt().is_some());
        clock.rest();
        assert_eq!((pulse(), clock.doubt()), (None, None));
        // And a wait is one step again.
        let far = Duration::from_secs(75);
        let step = in_steps(Instant::now() + far, Some).unwrap();
        assert!(step > far - STEP, "{step:?}");
    }
}
