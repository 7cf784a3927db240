//! The line to Duo: whatever the network and the service do, a login ends, in
//! time, as the failmode table says, and no phone rings twice.
//!
//! Most of it runs `Client` and `Login` in this process against the fake
//! service, with short deadlines and, where waits are long, a clock that skips
//! them; what a person or a sysadmin would see runs the built program.

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

use duo_net::names::{Names, SystemNames, Unknown};
use duo_net::{Client, Notice, Person};
use duo_policy::clock::{Clock, Deadlines};
use duo_policy::config::{self, Config, Failmode};
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::login::{AttemptLog, Login};
use duo_policy::verdict;
use duo_system::wait::Waiter;
use duo_wire::{Message, Outcome};
use fake_duo::{Builder, FakeDuo};
use zeroize::Zeroizing;

use crate::support::{Sandbox, side_by_side};

/// Far more than any login here may take, far less than a real deadline.
const IN_TIME: Duration = Duration::from_secs(8);

/// A deadline that is meant to pass.
const STALL: Duration = Duration::from_millis(250);

/// One login to be, against a service of its own.
struct Bench {
    sandbox: Sandbox,
    config: Config,
    deadlines: Deadlines,
    names: Arc<dyn Names>,
    /// What the person types at the menu, and after how long; headless if none.
    types: Option<(&'static str, Duration)>,
}

/// How it came out.
#[derive(Debug)]
struct Came {
    outcome: Outcome,
    detail: String,
    took: Duration,
    /// The endpoints that were asked, in order.
    paths: Vec<String>,
    /// What the login would have waited, had its clock not skipped it.
    waits: Vec<Duration>,
    notices: Vec<Notice>,
}

impl Came {
    fn count(&self, endpoint: &str) -> usize {
        self.paths.iter().filter(|path| *path == endpoint).count()
    }
}

/// Long enough for a busy machine, where the login is to come through; pauses
/// are skipped, not shortened.
fn shorter() -> Deadlines {
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

impl Bench {
    fn new(builder: Builder, failmode: Failmode) -> Bench {
        let sandbox = Sandbox::with(builder);
        let text = std::fs::read(sandbox.config()).unwrap();
        let Ok(parsed) = config::parse(&text) else {
            panic!("the fake service writes good configurations")
        };
        let mut config = parsed.config;
        config.failmode = failmode;
        config.https_timeout = Some(Duration::from_secs(2));
        Bench {
            sandbox,
            config,
            deadlines: shorter(),
            names: Arc::new(SystemNames),
            types: None,
        }
    }

    /// Where everything stalls, nothing is worth waiting for.
    fn impatient(mut self) -> Bench {
        self.config.https_timeout = Some(STALL);
        self.deadlines.tcp = STALL;
        self.deadlines.tls = STALL;
        self
    }

    fn duo(&self) -> &FakeDuo {
        &self.sandbox.duo
    }

    /// Does `what` with a client.
    fn with_client<T>(
        &self,
        user: &str,
        what: impl FnOnce(&mut Client<'_>) -> T,
    ) -> Result<T, Error> {
        self.observed(user, &SkippingClock::default(), &|_| {}, what)
    }

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

    fn log_in(&self, user: &str) -> Came {
        let clock = SkippingClock::default();
        let notices = Mutex::new(Vec::new());
        let notice = |notice: &Notice| notices.lock().unwrap().push(notice.clone());
        let login = Login {
            config: &self.config,
            user,
            passcode: None,
            deadlines: &self.deadlines,
            clock: &clock,
            alibi: &|| Ok(()),
        };
        let started = Instant::now();
        let verdict = self.observed(user, &clock, &notice, |client| {
            login.run(client, &Typist(self.types), &Unlogged)
        });
        let verdict = verdict.unwrap_or_else(|error| {
            verdict::of_error(&error, false, self.config.failmode, &|| Ok(()))
        });
        let took = started.elapsed();
        let waits = clock.0.lock().unwrap().clone();
        Came {
            outcome: verdict.outcome,
            detail: verdict.detail,
            took,
            paths: self.duo().paths(),
            waits,
            notices: notices.into_inner().unwrap(),
        }
    }
}

/// The same login under both failmodes, each against a fresh service; each must
/// end in time, as the table's row "service error, before Duo has answered".
fn service_error(user: &str, make: impl Fn(Failmode) -> Bench, check: impl Fn(&Came)) {
    for (failmode, outcome) in [
        (Failmode::Safe, Outcome::Failsafe),
        (Failmode::Secure, Outcome::Failsecure),
    ] {
        let came = make(failmode).log_in(user);
        assert_eq!(came.outcome, outcome, "{came:?}");
        assert!(came.took < IN_TIME, "{came:?}");
        check(&came);
    }
}

/// The same login under both failmodes, with the same outcome.
fn whatever_failmode(
    user: &str,
    outcome: Outcome,
    make: impl Fn(Failmode) -> Bench,
    check: impl Fn(&Came),
) {
    for failmode in [Failmode::Safe, Failmode::Secure] {
        let came = make(failmode).log_in(user);
        assert_eq!(came.outcome, outcome, "{failmode:?}: {came:?}");
        assert!(came.took < IN_TIME, "{came:?}");
        check(&came);
    }
}

/// Waits by putting itself forward.
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

/// A person who types this after a while; nobody.
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

/// Nobody reads what the log would say.
struct Unlogged;

impl AttemptLog for Unlogged {
    fn asking(&self) {}
    fn failed(&self, _why: &str) {}
}

/// A name service that knows one list; none: it never answers.
struct Given(Option<Vec<&'static str>>);

impl Names for Given {
    fn addresses(&self, _name: &str) -> Result<Vec<IpAddr>, Unknown> {
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
