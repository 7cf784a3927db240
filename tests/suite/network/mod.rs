//! The connection to Duo: whatever the network and the service do, a login ends
//! in time, as docs/behaviour.md, *Failmode*, says, and no phone rings twice.
//!
//! Most of these tests run `Client` and `Login` in this process against the fake
//! service, with short deadlines and a clock that skips pauses. The tests of what
//! a person or a sysadmin sees run the built program.

mod addresses;
mod answers;
mod program;
mod proxy;
mod rate_limits;
mod retries;
mod stalls;
mod tls;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use duo_net::names::{NameError, Names, SystemNames};
use duo_net::{Client, Notice, Person};
use duo_policy::api::Answered;
use duo_policy::clock::{Clock, Deadlines};
use duo_policy::codes::NoCodes;
use duo_policy::config::{self, Config, Failmode};
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::login::{AttemptLog, Login};
use duo_policy::verdict::{self, Demands};
use duo_system::wait::Waiter;
use duo_wire::{Message, Outcome, Verdict};
use fake_duo::{Builder, FakeDuo};
use zeroize::Zeroizing;

use crate::support::{Sandbox, side_by_side};

/// The most time that a login of these tests may take: far more than it needs, far
/// less than a real deadline.
const IN_TIME: Duration = Duration::from_secs(8);

/// A deadline for tests in which it is meant to pass.
const STALL: Duration = Duration::from_millis(250);

/// Everything that one login needs, with a service of its own.
struct Scenario {
    sandbox: Sandbox,
    config: Config,
    deadlines: Deadlines,
    names: Arc<dyn Names>,
    /// The line that the person types at the menu, and after how long; `None` for a
    /// headless login.
    typed_line: Option<(&'static str, Duration)>,
}

/// What came of a login.
#[derive(Debug)]
struct LoginReport {
    outcome: Outcome,
    detail: String,
    took: Duration,
    /// The endpoints that were asked, in order.
    paths: Vec<String>,
    /// The pauses of the login, which its clock skipped.
    waits: Vec<Duration>,
    notices: Vec<Notice>,
}

impl LoginReport {
    fn count(&self, endpoint: &str) -> usize {
        self.paths.iter().filter(|path| *path == endpoint).count()
    }
}

/// Deadlines that a login meets even on a busy machine. Pauses are not shortened,
/// since the clock skips them.
fn short_deadlines() -> Deadlines {
    Deadlines {
        tcp: Duration::from_secs(2),
        tls: Duration::from_secs(2),
        request: Duration::from_secs(20),
        poll: Duration::from_secs(2),
        person: Duration::from_secs(20),
        own_name: Duration::from_millis(200),
        ..Deadlines::default()
    }
}

impl Scenario {
    fn new(builder: Builder, failmode: Failmode) -> Scenario {
        let sandbox = Sandbox::with(builder);
        let text = std::fs::read(sandbox.config()).unwrap();
        let Ok(parsed) = config::parse(&text) else {
            panic!("the fake service writes good configurations")
        };
        let mut config = parsed.config;
        config.failmode = failmode;
        config.https_timeout = Some(Duration::from_secs(2));
        Scenario {
            sandbox,
            config,
            deadlines: short_deadlines(),
            names: Arc::new(SystemNames),
            typed_line: None,
        }
    }

    /// With deadlines for a service that never answers.
    fn impatient(mut self) -> Scenario {
        self.config.https_timeout = Some(STALL);
        self.deadlines.tcp = STALL;
        self.deadlines.tls = STALL;
        self
    }

    fn duo(&self) -> &FakeDuo {
        &self.sandbox.duo
    }

    /// Calls `what` with a client.
    fn with_client<T>(
        &self,
        user: &str,
        what: impl FnOnce(&mut Client<'_>) -> T,
    ) -> Result<T, Error> {
        self.observed(user, &SkippingClock::default(), &|_| {}, what)
    }

    /// Calls `what` with a client that has this clock and reports to `notice`.
    fn observed<T>(
        &self,
        user: &str,
        clock: &SkippingClock,
        notice: &dyn Fn(&Notice),
        what: impl FnOnce(&mut Client<'_>) -> T,
    ) -> Result<T, Error> {
        let person = Person {
            user: user.to_owned(),
            address: None,
            own_address_instead: false,
            command: None,
        };
        let (config, deadlines, names) = (&self.config, &self.deadlines, self.names.clone());
        let waiter = Waiter::new(clock, None);
        let client = Client::with_names(config, person, deadlines, &waiter, notice, names);
        client.map(|mut client| what(&mut client))
    }

    fn log_in(&self, user: &str) -> LoginReport {
        let clock = SkippingClock::default();
        let notices = Mutex::new(Vec::new());
        let notice = |notice: &Notice| notices.lock().unwrap().push(notice.clone());
        let login = Login {
            config: &self.config,
            user,
            passcode: None,
            deadlines: &self.deadlines,
            clock: &clock,
            approved: &|| None,
            alibi: &|| Ok(()),
            codes: &NoCodes("no emergency codes"),
        };
        let started = Instant::now();
        let verdict = self.observed(user, &clock, &notice, |client| {
            login.run(client, &Typist(self.typed_line), &NoLog)
        });
        let verdict = verdict.unwrap_or_else(|error| {
            let demands = Demands::without_codes(&|| Ok(()));
            verdict::of_error(&error, Answered::NotYet, self.config.failmode, &demands)
        });
        let took = started.elapsed();
        let waits = clock.0.lock().unwrap().clone();
        LoginReport {
            outcome: verdict.outcome,
            detail: verdict.detail,
            took,
            paths: self.duo().paths(),
            waits,
            notices: notices.into_inner().unwrap(),
        }
    }
}

/// Runs the same login under both failmodes, each against a new service. Each must
/// end in time, as a service error before Duo has answered.
fn service_error(user: &str, make: impl Fn(Failmode) -> Scenario, check: impl Fn(&LoginReport)) {
    for (failmode, outcome) in [
        (Failmode::Safe, Outcome::Failsafe),
        (Failmode::Secure, Outcome::Failsecure),
    ] {
        let report = make(failmode).log_in(user);
        assert_eq!(report.outcome, outcome, "{report:?}");
        assert!(report.took < IN_TIME, "{report:?}");
        check(&report);
    }
}

/// Runs the same login under both failmodes, each against a new service. Each must
/// end in time, with the same outcome.
fn whatever_failmode(
    user: &str,
    outcome: Outcome,
    make: impl Fn(Failmode) -> Scenario,
    check: impl Fn(&LoginReport),
) {
    for failmode in [Failmode::Safe, Failmode::Secure] {
        let report = make(failmode).log_in(user);
        assert_eq!(report.outcome, outcome, "{failmode:?}: {report:?}");
        assert!(report.took < IN_TIME, "{report:?}");
        check(&report);
    }
}

/// A clock that goes forward by each pause and does not sleep.
#[derive(Default)]
struct SkippingClock(Mutex<Vec<Duration>>);

impl Clock for SkippingClock {
    fn now(&self) -> Instant {
        let skipped: Duration = self.0.lock().unwrap().iter().sum();
        Instant::now() + skipped
    }
    fn sleep(&self, span: Duration) {
        self.0.lock().unwrap().push(span);
    }
}

/// A person who types this line after this time; without a line, nobody.
struct Typist(Option<(&'static str, Duration)>);

impl Conversation for Typist {
    fn is_interactive(&self) -> bool {
        self.0.is_some()
    }
    fn show(&self, _message: &Message) {}
    fn ask(&self, _question: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (line, after) = self.0.expect("someone at the menu");
        std::thread::sleep(after);
        Ok(Zeroizing::new(line.as_bytes().to_vec()))
    }
}

/// A log that drops its lines.
struct NoLog;

impl AttemptLog for NoLog {
    fn asking(&self) -> Result<(), Error> {
        Ok(())
    }
    fn failed(&self, _attempt: &Verdict) -> Result<(), Error> {
        Ok(())
    }
}

/// A resolver with the same addresses for every name; without a list it never
/// answers.
struct FixedNames(Option<Vec<&'static str>>);

impl Names for FixedNames {
    fn addresses(&self, _name: &str) -> Result<Vec<IpAddr>, NameError> {
        match &self.0 {
            Some(list) => Ok(list.iter().map(|text| text.parse().unwrap()).collect()),
            None => hang(),
        }
    }
    fn full_name(&self, short: &str) -> Option<String> {
        self.0
            .as_ref()
            .map_or_else(|| hang(), |_| Some(short.to_owned()))
    }
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
