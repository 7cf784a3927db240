//! Every wait of the unprivileged child. A wait ends at its deadline, and at once
//! when the parent lets the child go or is killed (docs/security.md, *Life and
//! death*).
//!
//! A caller may keep this process from running until a deadline has passed. So a
//! wait is made of short ones, and the waiter adds up the time in which this
//! process neither waited nor ran (docs/security.md, *The alibi*).
//!
//! Two requests can be on their way to Duo at once, and the person can type
//! meanwhile. Each request is then a task, which is a future: it notes what it waits
//! for, and one poll waits for all of that. There is no thread and no runtime.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use duo_policy::clock::Clock;
use duo_policy::error::Error;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::life::LifePipe;

/// The longest that one system call waits while the alibi may be asked for. What it
/// takes longer, this process did not run.
const SLICE: Duration = Duration::from_secs(1);

/// A process is late by so much on any busy machine.
const USUAL_DELAY: Duration = Duration::from_millis(250);

/// The most time in all that may be missing and does not count against this
/// machine, if that is more than a [`TOLERATED_PART`] of all the time.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The part of all the time that may be missing: a tenth. Duo then had nine tenths
/// of it to answer.
const TOLERATED_PART: u32 = 10;

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

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The event has come to the descriptor, or the descriptor is broken.
    Ready,
    /// The deadline has passed.
    TimedOut,
}

/// What a task waits for.
struct Interest {
    /// `None`: only for the deadline.
    event: Option<(Rc<dyn AsFd>, PollFlags)>,
    deadline: Instant,
    /// How the wait ended, once it has. A task that was dropped has dropped its copy.
    ended: Rc<RefCell<Option<Result<Waited, Error>>>>,
}

/// What ended a wait for tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// A task can go on.
    ByTask,
    /// The person has typed something.
    ByKeyboard,
}

/// Lets a task go on until it waits or ends.
pub fn advance<T>(task: Pin<&mut (dyn Future<Output = T> + '_)>) -> Poll<T> {
    // The waiter asks each task after each wait, so no task need wake anybody.
    task.poll(&mut Context::from_waker(Waker::noop()))
}

/// What the person sees while this process waits, such as a counter of seconds.
/// Returns when it is to be called again, if at all.
pub type Tick = Box<dyn FnMut(Instant) -> Option<Instant>>;

/// Waits for descriptors and for time to pass, and adds up the time that is
/// missing.
pub struct Waiter<'a> {
    clock: &'a dyn Clock,
    life: Option<&'a LifePipe>,
    /// When this process last ran, as far as this waiter knows.
    seen: Cell<Instant>,
    /// The time in all in which this process should have run and did not.
    missing: Cell<Duration>,
    /// All the time of which that is a part.
    passed: Cell<Duration>,
    /// The longest that one system call waits.
    slice: Cell<Duration>,
    tick: RefCell<Option<(Instant, Tick)>>,
    /// What the tasks wait for.
    interests: RefCell<Vec<Interest>>,
    /// The terminal on which the person may type while tasks are waited for.
    keyboard: RefCell<Option<Rc<dyn AsFd>>>,
}

impl<'a> Waiter<'a> {
    /// Waits by `clock`. With a life pipe, each wait also ends when the parent lets
    /// this process go or is gone.
    pub fn new(clock: &'a dyn Clock, life: Option<&'a LifePipe>) -> Waiter<'a> {
        Waiter {
            clock,
            life,
            seen: Cell::new(clock.now()),
            missing: Cell::new(Duration::ZERO),
            passed: Cell::new(Duration::ZERO),
            slice: Cell::new(SLICE),
            tick: RefCell::new(None),
            interests: RefCell::default(),
            keyboard: RefCell::default(),
        }
    }

    /// Now, by the clock of this waiter.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The instant at which `span` will have passed, for a request that begins here.
    /// Time that passes between here and the next wait is missing, and not what
    /// passed before: a directory service may have been slow, or a terminal.
    pub fn deadline_in(&self, span: Duration) -> Instant {
        let now = self.now();
        self.seen.set(now);
        now + span
    }

    /// Duo has answered, so `safe` opens no door any more and nobody asks for the
    /// alibi: from here on this process need not wake up to prove that it runs.
    pub fn stop_proving(&self) {
        self.slice.set(Duration::MAX);
    }

    /// Looks, without waiting, whether the parent still waits for this process.
    ///
    /// # Errors
    /// [`Error::GaveUp`] if it does not.
    pub fn look(&self) -> Result<(), Error> {
        self.life.map_or(Ok(()), LifePipe::look)
    }

    /// During the waits from here on, calls `tick` at `first`.
    pub fn start_ticking(&self, first: Instant, tick: Tick) {
        self.tick.replace(Some((first, tick)));
    }

    /// Calls the tick no more.
    pub fn stop_ticking(&self) {
        self.tick.replace(None);
    }

    /// From here on, waits for tasks look at this terminal too; `None`: no longer.
    pub fn set_keyboard(&self, keyboard: Option<Rc<dyn AsFd>>) {
        self.keyboard.replace(keyboard);
    }

    /// [`Waiter::wait`] for a task.
    ///
    /// # Errors
    /// As [`Waiter::wait`].
    pub async fn event(
        &self,
        fd: Rc<dyn AsFd>,
        event: PollFlags,
        deadline: Instant,
    ) -> Result<Waited, Error> {
        self.interest(Some((fd, event)), deadline).await
    }

    /// [`Waiter::pause`] for a task.
    ///
    /// # Errors
    /// As [`Waiter::wait`].
    pub async fn rest(&self, span: Duration) -> Result<(), Error> {
        // As in `pause`: where there is no parent, the clock may be a test's own.
        if self.life.is_none() {
            return self.pause(span);
        }
        self.interest(None, self.now() + span).await.map(drop)
    }

    async fn interest(
        &self,
        event: Option<(Rc<dyn AsFd>, PollFlags)>,
        deadline: Instant,
    ) -> Result<Waited, Error> {
        let ended = Rc::new(RefCell::new(None));
        self.interests.borrow_mut().push(Interest {
            event,
            deadline,
            ended: Rc::clone(&ended),
        });
        poll_fn(|_| match ended.take() {
            Some(ended) => Poll::Ready(ended),
            None => Poll::Pending,
        })
        .await
    }

    /// Runs one task to its end.
    pub fn run<T>(&self, mut task: Pin<&mut (dyn Future<Output = T> + '_)>) -> T {
        loop {
            if let Poll::Ready(result) = advance(task.as_mut()) {
                return result;
            }
            self.wait_for_tasks(None);
        }
    }

    /// Waits until a task can go on, or until the person has typed something on the
    /// keyboard that [`Waiter::set_keyboard`] named.
    pub fn wait_for_tasks_or_typing(&self) -> Woken {
        let keyboard = self.keyboard.borrow().clone();
        self.wait_for_tasks(keyboard.as_deref())
    }

    /// Waits until a task can go on, or until `keyboard` can be read. If the wait
    /// fails, each task gets the reason.
    pub fn wait_for_tasks(&self, keyboard: Option<&dyn AsFd>) -> Woken {
        let mut interests = self.interests.take();
        interests.retain(|interest| Rc::strong_count(&interest.ended) > 1);
        let woken = loop {
            match self.wait_once(&interests, keyboard) {
                Ok(Some(woken)) => break woken,
                Ok(None) => self.tick_if_due(),
                Err(error) => {
                    for interest in &interests {
                        interest.ended.replace(Some(Err(error.clone())));
                    }
                    break Woken::ByTask;
                }
            }
        };
        interests.retain(|interest| interest.ended.borrow().is_none());
        self.interests.replace(interests);
        woken
    }

    /// One slice of a wait for tasks. Says what ended the wait, if it is over.
    fn wait_once(
        &self,
        interests: &[Interest],
        keyboard: Option<&dyn AsFd>,
    ) -> Result<Option<Woken>, Error> {
        let now = self.now();
        let end = interests.iter().map(|interest| interest.deadline).min();
        let events = interests
            .iter()
            .filter_map(|interest| interest.event.as_ref());
        let wanted: Vec<_> = events
            .map(|(fd, event)| (fd.as_fd(), *event))
            .chain(keyboard.map(|fd| (fd.as_fd(), PollFlags::POLLIN)))
            .collect();
        let mut ready = self.wait_a_slice(&wanted, end.unwrap_or(now))?.into_iter();
        let mut woken = None;
        for interest in interests {
            let has_come = interest.event.is_some() && ready.next() == Some(true);
            let ended = match has_come {
                true => Waited::Ready,
                false if interest.deadline <= now => Waited::TimedOut,
                false => continue,
            };
            interest.ended.replace(Some(Ok(ended)));
            woken = Some(Woken::ByTask);
        }
        // What is left is the keyboard.
        Ok(woken.or(ready
            .next()
            .filter(|ready| *ready)
            .map(|_| Woken::ByKeyboard)))
    }

    /// Waits until `event`, or an error, has come to `fd`. An event that has come
    /// counts, even if the deadline has passed.
    ///
    /// # Errors
    /// [`Error::GaveUp`] if the parent lets go or is gone, [`Error::Fault`] if
    /// waiting fails.
    pub fn wait(
        &self,
        fd: BorrowedFd<'_>,
        event: PollFlags,
        deadline: Instant,
    ) -> Result<Waited, Error> {
        self.wait_for(&[(fd, event)], deadline)
    }

    /// Returns when `span` has passed.
    ///
    /// # Errors
    /// As [`Waiter::wait`].
    pub fn pause(&self, span: Duration) -> Result<(), Error> {
        let deadline = self.now() + span;
        if self.life.is_some() {
            return self.wait_for(&[], deadline).map(drop);
        }
        self.clock.sleep(span);
        self.add_missing(span);
        Ok(())
    }

    /// Whether `deadline` has passed.
    pub fn has_passed(&self, deadline: Instant) -> bool {
        self.now() >= deadline
    }

    /// Proves that this process ran whenever it should have.
    ///
    /// # Errors
    /// [`Error::Fault`] if more than [`TOLERANCE`] and a [`TOLERATED_PART`] is missing.
    pub(crate) fn prove_awake(&self) -> Result<(), Error> {
        self.add_missing(Duration::ZERO);
        let missing = self.missing.get();
        if missing <= TOLERANCE.max(self.passed.get() / TOLERATED_PART) {
            return Ok(());
        }
        let seconds = missing.as_secs();
        Err(Error::Fault(format!(
            "this machine stood still for {seconds} s"
        )))
    }

    /// This process runs now. Since it last ran, it waited for at most `allowed`.
    fn add_missing(&self, allowed: Duration) {
        let now = self.now();
        let passed = now.saturating_duration_since(self.seen.replace(now));
        self.passed.set(self.passed.get() + passed);
        let late = passed.saturating_sub(allowed);
        if late > USUAL_DELAY {
            self.missing.set(self.missing.get() + late);
        }
    }

    fn wait_for(
        &self,
        wanted: &[(BorrowedFd<'_>, PollFlags)],
        deadline: Instant,
    ) -> Result<Waited, Error> {
        loop {
            let is_over = self.has_passed(deadline);
            let ready = self.wait_a_slice(wanted, deadline)?;
            if ready.contains(&true) {
                return Ok(Waited::Ready);
            }
            if is_over {
                return Ok(Waited::TimedOut);
            }
            self.tick_if_due();
        }
    }

    /// Waits at most for a slice, and not beyond `deadline` nor the next tick.
    /// Returns, for each that is wanted, whether it has come.
    fn wait_a_slice(
        &self,
        wanted: &[(BorrowedFd<'_>, PollFlags)],
        deadline: Instant,
    ) -> Result<Vec<bool>, Error> {
        if let Some(life) = self.life
            && life.has_been_read()
        {
            return Err(life.error());
        }
        let next_tick = self.tick.borrow().as_ref().map(|(at, _)| *at);
        let end = next_tick.map_or(deadline, |at| at.min(deadline));
        let left = end
            .saturating_duration_since(self.now())
            .min(self.slice.get());
        // Rounded up, so that a wait does not end before its deadline.
        let rounded = left.saturating_add(Duration::from_micros(999));
        let timeout = PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX);
        let life = self.life.map(|life| (life.as_fd(), PollFlags::POLLIN));
        let watched = life.into_iter().chain(wanted.iter().copied());
        let mut fds: Vec<PollFd<'_>> = watched.map(|(fd, event)| PollFd::new(fd, event)).collect();

        self.add_missing(Duration::ZERO);
        let polled = poll(&mut fds, timeout);
        self.add_missing(left);
        match polled {
            // poll also ends so in a process that was stopped and continued.
            Err(Errno::EINTR) => return Ok(Vec::new()),
            polled => polled.map_err(|errno| Error::fault("wait", errno.desc()))?,
        };
        let mut has_come = fds.iter().map(|fd| fd.any() == Some(true));
        match self.life {
            Some(life) if has_come.next() == Some(true) => Err(life.error()),
            _ => Ok(has_come.collect()),
        }
    }

    fn tick_if_due(&self) {
        let now = self.now();
        let due = self.tick.borrow_mut().take_if(|(at, _)| *at <= now);
        if let Some((_, mut tick)) = due
            && let Some(next) = tick(now)
        {
            self.tick.replace(Some((next, tick)));
        }
    }
}

impl Clock for Waiter<'_> {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep(&self, span: Duration) {
        // If the parent is gone, the next wait says so too.
        let _ = self.pause(span);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::rc::Rc;

    use duo_wire::Departure;

    use super::*;

    fn life() -> (LifePipe, OwnedFd) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (LifePipe::new(read, "login_duo"), write)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(30)
    }

    #[test]
    fn a_wait_ends_when_something_comes_or_at_its_deadline() {
        let waiter = Waiter::new(&SystemClock, None);
        let (read, write) = nix::unistd::pipe().unwrap();
        let wait = || waiter.wait(read.as_fd(), PollFlags::POLLIN, soon());
        assert_eq!(wait(), Ok(Waited::TimedOut));
        nix::unistd::write(&write, b"x").unwrap();
        assert_eq!(wait(), Ok(Waited::Ready));
    }

    #[test]
    fn a_parent_that_lets_go_or_is_killed_ends_each_wait() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        let late = || Instant::now() + Duration::from_secs(60);
        for (left, words) in [
            (Some(Departure::Interrupted), "interrupted"),
            (None, "login_duo was killed"),
        ] {
            for sleeps in [true, false] {
                let (life, parent) = life();
                let waiter = Waiter::new(&SystemClock, Some(&life));
                if let Some(left) = left {
                    nix::unistd::write(&parent, &[left.to_byte()]).unwrap();
                }
                drop(parent);
                let error = match sleeps {
                    true => waiter.pause(Duration::from_secs(60)).unwrap_err(),
                    false => waiter
                        .wait(read.as_fd(), PollFlags::POLLIN, late())
                        .unwrap_err(),
                };
                assert_eq!(error, Error::GaveUp(words.into()));
                // The next wait ends at once too, for the same reason.
                let again = waiter.pause(Duration::from_secs(60));
                assert_eq!(again, Err(error));
            }
        }
    }

    #[test]
    fn a_sleep_with_a_parent_that_lives_lasts_as_long_as_it_should() {
        let (life, _parent) = life();
        let start = Instant::now();
        let waiter = Waiter::new(&SystemClock, Some(&life));
        assert_eq!(waiter.pause(Duration::from_millis(20)), Ok(()));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    /// A clock that jumps each time it is read, as for a process that is frozen
    /// between two reads.
    struct Jumping {
        now: Cell<Instant>,
        by: Duration,
    }

    impl Clock for Jumping {
        fn now(&self) -> Instant {
            self.now.set(self.now.get() + self.by);
            self.now.get()
        }
        fn sleep(&self, _: Duration) {}
    }

    fn jumping(by: Duration) -> Jumping {
        Jumping {
            now: Cell::new(Instant::now()),
            by,
        }
    }

    #[test]
    fn a_process_that_was_frozen_does_not_take_its_own_silence_for_duos() {
        let (read, write) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&write, b"an answer").unwrap();
        let clock = jumping(Duration::from_secs(60));
        let waiter = Waiter::new(&clock, None);
        let waited = waiter.wait(read.as_fd(), PollFlags::POLLIN, clock.now.get());
        // The answer that has come counts all the same.
        assert_eq!(waited, Ok(Waited::Ready));
        let doubt = waiter.prove_awake().unwrap_err().to_string();
        assert!(
            doubt.starts_with("this machine stood still for "),
            "{doubt}"
        );
    }

    #[test]
    fn short_freezes_add_up_and_a_busy_machines_delays_do_not() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        for (by, is_proven) in [(300, false), (60, true)] {
            let clock = jumping(Duration::from_millis(by));
            let waiter = Waiter::new(&clock, None);
            for _ in 0..20 {
                let deadline = clock.now.get();
                let waited = waiter.wait(read.as_fd(), PollFlags::POLLIN, deadline);
                assert_eq!(waited, Ok(Waited::TimedOut));
            }
            assert_eq!(waiter.prove_awake().is_ok(), is_proven, "{by} ms");
        }
    }

    #[test]
    fn what_passes_before_a_deadline_is_set_is_not_missing() {
        let clock = jumping(Duration::from_secs(60));
        let waiter = Waiter::new(&clock, None);
        waiter.seen.set(clock.now() - Duration::from_secs(3_600));
        waiter.deadline_in(Duration::from_secs(1));
        assert_eq!(waiter.seen.get(), clock.now.get());
    }

    #[test]
    fn a_freeze_between_two_waits_of_a_request_is_not_forgiven_by_a_pause() {
        let clock = jumping(Duration::ZERO);
        let waiter = Waiter::new(&clock, None);
        waiter.deadline_in(Duration::from_secs(60));
        clock.now.set(clock.now.get() + Duration::from_secs(61));
        assert_eq!(waiter.pause(Duration::from_secs(1)), Ok(()));
        let doubt = Error::Fault("this machine stood still for 60 s".to_owned());
        assert_eq!(waiter.prove_awake(), Err(doubt));
    }

    #[test]
    fn a_tick_comes_when_it_is_due_while_nothing_else_does() {
        let ticks = Rc::new(Cell::new(0));
        let counted = Rc::clone(&ticks);
        let (life, _parent) = life();
        let waiter = Waiter::new(&SystemClock, Some(&life));
        let tick = move |now| {
            counted.set(counted.get() + 1);
            (counted.get() < 2).then(|| now + Duration::from_millis(10))
        };
        waiter.start_ticking(Instant::now(), Box::new(tick));
        assert_eq!(waiter.pause(Duration::from_millis(50)), Ok(()));
        assert_eq!(ticks.get(), 2);
        waiter.start_ticking(Instant::now(), Box::new(|_| unreachable!()));
        waiter.stop_ticking();
        assert_eq!(waiter.pause(Duration::from_millis(10)), Ok(()));
    }

    /// A pipe that never has anything, as a task and a keyboard name it.
    fn silent() -> (Rc<dyn AsFd>, OwnedFd) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (Rc::new(read), write)
    }

    #[test]
    fn two_tasks_and_a_keyboard_are_waited_for_at_once() {
        let waiter = Waiter::new(&SystemClock, None);
        let late = Instant::now() + Duration::from_secs(60);
        let (keyboard, types) = silent();
        waiter.set_keyboard(Some(keyboard));
        let ((one, _one), (two, answers)) = (silent(), silent());
        let mut one = std::pin::pin!(waiter.event(one, PollFlags::POLLIN, late));
        let mut two = std::pin::pin!(waiter.event(two, PollFlags::POLLIN, late));
        assert!(advance(one.as_mut()).is_pending() && advance(two.as_mut()).is_pending());
        nix::unistd::write(&types, b"1").unwrap();
        assert_eq!(waiter.wait_for_tasks_or_typing(), Woken::ByKeyboard);
        assert!(advance(one.as_mut()).is_pending() && advance(two.as_mut()).is_pending());
        // Without the keyboard, and although it can be read.
        nix::unistd::write(&answers, b"1").unwrap();
        assert_eq!(waiter.wait_for_tasks(None), Woken::ByTask);
        assert_eq!(advance(two.as_mut()), Poll::Ready(Ok(Waited::Ready)));
        assert!(advance(one.as_mut()).is_pending());
    }

    #[test]
    fn a_task_ends_at_its_own_deadline_and_a_dropped_one_is_forgotten() {
        let waiter = Waiter::new(&SystemClock, None);
        let ((one, _one), (two, answers)) = (silent(), silent());
        nix::unistd::write(&answers, b"1").unwrap();
        let mut dropped = Box::pin(waiter.event(two, PollFlags::POLLIN, soon()));
        assert!(advance(dropped.as_mut()).is_pending());
        drop(dropped);
        let began = Instant::now();
        let ended = waiter.run(std::pin::pin!(waiter.event(one, PollFlags::POLLIN, soon())));
        assert_eq!(ended, Ok(Waited::TimedOut));
        assert!(began.elapsed() >= Duration::from_millis(29));
        let rest = waiter.rest(Duration::from_millis(10));
        assert_eq!(waiter.run(std::pin::pin!(rest)), Ok(()));
    }

    #[test]
    fn a_parent_that_lets_go_ends_every_task() {
        let (life, parent) = life();
        let waiter = Waiter::new(&SystemClock, Some(&life));
        let late = Instant::now() + Duration::from_secs(60);
        let ((one, _one), (two, _two)) = (silent(), silent());
        let mut one = std::pin::pin!(waiter.event(one, PollFlags::POLLIN, late));
        let mut two = std::pin::pin!(waiter.event(two, PollFlags::POLLIN, late));
        assert!(advance(one.as_mut()).is_pending() && advance(two.as_mut()).is_pending());
        drop(parent);
        assert_eq!(waiter.wait_for_tasks_or_typing(), Woken::ByTask);
        let gone = || Poll::Ready(Err(Error::GaveUp("login_duo was killed".into())));
        assert_eq!(advance(one.as_mut()), gone());
        assert_eq!(advance(two.as_mut()), gone());
    }
}
