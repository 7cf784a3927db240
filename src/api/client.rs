//! The real Duo: signatures, the clock, rate limits and retries are
//! settled here, and what is left is an answer or an [`Error`].
//!
//! What may ring a phone goes out again only where it was certainly not
//! performed: not a byte of it was sent, or Duo said so (429, a bad date).
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::factor::Factor;
use super::names::{Names, OwnName, SystemNames};
use super::reply::{self, Auth, Preauth, Response, Status, Trouble};
use super::signing::{self, Keys, Parameters};
use super::told::{self, Told};
use super::transport::{Answer, Line, Loss, Lost, Method, Outgoing};
use super::{Duo, Notice, Person, backoff};
use crate::clock::{Clock, Deadlines};
use crate::config::{Config, Failmode};
use crate::error::Error;

/// The real [`Duo`].
pub struct Client<'a> {
    line: Line,
    keys: Keys,
    person: Person,
    failmode: Failmode,
    verified_push: bool,
    https_timeout: Option<Duration>,
    deadlines: &'a Deadlines,
    clock: &'a dyn Clock,
    notice: &'a dyn Fn(&Notice),
    own_name: Option<OwnName>,
    hostname: String,
    /// By when the current call must be over.
    until: Instant,
    /// Duo's clock less ours, in seconds, once it is known.
    offset: Option<i64>,
    /// Whether Duo was asked for the time in this login.
    asked_the_time: bool,
    answered: bool,
    backoffs: u32,
}

struct Endpoint {
    method: Method,
    path: &'static str,
    /// What asking twice does.
    again: Again,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// No harm.
    Harmless,
    /// No harm either, and it waits long: unanswered, it is simply asked again.
    Poll,
    /// It may ring a phone once more.
    Rings,
}

const PING: Endpoint = Endpoint {
    method: Method::Get,
    path: "/auth/v2/ping",
    again: Again::Harmless,
};
const CHECK: Endpoint = Endpoint {
    method: Method::Get,
    path: "/auth/v2/check",
    again: Again::Harmless,
};
const PREAUTH: Endpoint = Endpoint {
    method: Method::Post,
    path: "/auth/v2/preauth",
    again: Again::Harmless,
};
const AUTH: Endpoint = Endpoint {
    method: Method::Post,
    path: "/auth/v2/auth",
    again: Again::Rings,
};
const AUTH_STATUS: Endpoint = Endpoint {
    method: Method::Get,
    path: "/auth/v2/auth_status",
    again: Again::Poll,
};

/// Below this, a 401 without a reason is not the clock's fault.
const CLOCK_TOLERANCE: u64 = 60;

impl<'a> Client<'a> {
    /// Sets a client up; the clock of the first call starts to run.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used,
    /// [`Error::Fault`] if this host's name cannot be looked for.
    pub fn new(
        config: &Config,
        person: Person,
        deadlines: &'a Deadlines,
        clock: &'a dyn Clock,
        notice: &'a dyn Fn(&Notice),
    ) -> Result<Client<'a>, Error> {
        let names = Arc::new(SystemNames);
        Client::with_names(config, person, deadlines, clock, notice, names)
    }

    /// The same, with someone else to ask for names.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_names(
        config: &Config,
        person: Person,
        deadlines: &'a Deadlines,
        clock: &'a dyn Clock,
        notice: &'a dyn Fn(&Notice),
        names: Arc<dyn Names>,
    ) -> Result<Client<'a>, Error> {
        clock.watch();
        let until = clock.now() + deadlines.request;
        let own_name = OwnName::look_up(&names, deadlines.own_name)?;
        Ok(Client {
            line: Line::new(config, deadlines, names)?,
            keys: Keys {
                ikey: config.ikey.clone(),
                skey: config.skey.clone(),
                signature: config.signature,
            },
            person,
            failmode: config.failmode,
            verified_push: config.verified_push,
            https_timeout: config.https_timeout,
            deadlines,
            clock,
            notice,
            own_name: Some(own_name),
            hostname: String::new(),
            until,
            offset: None,
            asked_the_time: false,
            answered: false,
            backoffs: 0,
        })
    }

    /// Duo's clock less ours, in seconds. Source: Duo Auth API, "ping".
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ping(&mut self) -> Result<i64, Error> {
        let response = self.call(&PING, &Parameters::new(&[]), self.https_timeout)?;
        let ours = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|error| Error::fault("read the clock", error))?
            .as_secs();
        let ours = i64::try_from(ours).unwrap_or(i64::MAX);
        Ok(response.time()?.saturating_sub(ours))
    }

    /// Proves keys and clock. Source: Duo Auth API, "check".
    ///
    /// # Errors
    /// See [`Error`].
    pub fn check(&mut self) -> Result<(), Error> {
        let nothing = Parameters::new(&[]);
        self.call(&CHECK, &nothing, self.https_timeout)?.time()?;
        Ok(())
    }

    /// One call, until there is an answer that ends it.
    fn call(
        &mut self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Response, Error> {
        loop {
            let answer = self.send(endpoint, parameters, answer_within)?;
            match reply::judge(answer.status, &answer.body) {
                Ok(response) => {
                    self.answered |= response.has_result();
                    return Ok(response);
                }
                Err(Trouble::RateLimited) => {
                    self.answered = true;
                    self.back_off(&answer)?;
                }
                Err(Trouble::Clock) => self.ask_the_time("Duo says that our clock is off")?,
                Err(Trouble::Unexplained401) => {
                    self.ask_the_time("invalid ikey or skey")?;
                    if self.offset.unwrap_or_default().unsigned_abs() < CLOCK_TOLERANCE {
                        return Err(Error::Service("HTTP 401: invalid ikey or skey".to_owned()));
                    }
                }
                Err(Trouble::Error(error)) => return Err(error),
            }
        }
    }

    /// Sends a request, again where that can do no harm.
    fn send(
        &self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Answer, Error> {
        let mut pauses = self.deadlines.retries.iter();
        loop {
            let lost = match self.send_once(endpoint, parameters, answer_within) {
                Ok(answer) => return Ok(answer),
                Err(lost) => lost,
            };
            let poll_is_over = endpoint.again == Again::Poll && lost.how == Loss::Timeout;
            let harmless = endpoint.again != Again::Rings || !lost.sent;
            let pause = match pauses.as_slice().first() {
                _ if poll_is_over => Duration::ZERO,
                Some(pause) if harmless && lost.how != Loss::Final => {
                    pauses.next();
                    *pause
                }
                _ => return Err(lost.error),
            };
            if self.clock.now() + pause >= self.until {
                return Err(lost.error);
            }
            self.clock.sleep(pause);
        }
    }

    fn send_once(
        &self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Answer, Lost> {
        let date = signing::date(self.duos_time());
        let authorization = self.keys.authorization(
            &date,
            endpoint.method.as_str(),
            &self.line.signed_host(),
            endpoint.path,
            parameters,
        );
        let outgoing = Outgoing {
            method: endpoint.method,
            path: endpoint.path,
            parameters,
            date: &date,
            authorization: &authorization,
        };
        self.line.exchange(&outgoing, self.until, answer_within)
    }

    /// What Duo's clock says, as far as we know.
    fn duos_time(&self) -> SystemTime {
        let now = SystemTime::now();
        let offset = self.offset.unwrap_or_default();
        let span = Duration::from_secs(offset.unsigned_abs());
        let then = if offset < 0 {
            now.checked_sub(span)
        } else {
            now.checked_add(span)
        };
        // A date has four digits for the year; a server that claims more gets our time.
        then.filter(|then| *then >= SystemTime::UNIX_EPOCH && offset.unsigned_abs() < 1 << 36)
            .unwrap_or(now)
    }

    /// Asks for the time, once a login; `why` is the error if that was done already.
    fn ask_the_time(&mut self, why: &str) -> Result<(), Error> {
        if std::mem::replace(&mut self.asked_the_time, true) {
            let offset = self.offset.unwrap_or_default();
            let text = format!("HTTP 401: {why} (clock off by {offset} s)");
            return Err(Error::Service(text));
        }
        let offset = self.ping().map_err(|error| match error {
            Error::Service(text) => Error::Service(format!("HTTP 401: {why}, and /ping: {text}")),
            // A 429 here is one like any other: nothing to forgive.
            error => error,
        })?;
        self.offset = Some(offset);
        if offset.unsigned_abs() >= CLOCK_TOLERANCE {
            (self.notice)(&Notice::ClockOff(offset));
        }
        Ok(())
    }

    /// Waits as a 429 asks for, if that is bearable.
    fn back_off(&mut self, answer: &Answer) -> Result<(), Error> {
        let wait = backoff::wait(answer, self.backoffs);
        if self.backoffs >= self.deadlines.backoffs || wait > self.deadlines.longest_backoff {
            return Err(Error::Refused("HTTP 429: Duo is rate limiting".to_owned()));
        }
        self.backoffs += 1;
        (self.notice)(&Notice::RateLimited(wait));
        self.clock.sleep(wait);
        self.until += wait;
        Ok(())
    }

    fn hostname(&mut self) -> &str {
        if let Some(own_name) = self.own_name.take() {
            self.hostname = own_name.name();
        }
        &self.hostname
    }

    fn address(&self) -> Option<String> {
        let address = match self.person.address {
            None if self.person.own_address_instead => self.line.own_address(),
            told => told,
        };
        address.map(|address| address.to_string())
    }
}

impl Duo for Client<'_> {
    fn preauth(&mut self) -> Result<Preauth, Error> {
        // The first one's time has been running since the start of the login.
        if self.answered {
            self.until = self.clock.now() + self.deadlines.request;
        }
        self.line.look_up(self.until)?;
        let address = self.address();
        let hostname = self.hostname().to_owned();
        let told = Told {
            user: &self.person.user,
            address: address.as_deref(),
            hostname: &hostname,
        };
        let parameters = told.preauth(self.failmode, self.verified_push);
        self.call(&PREAUTH, &parameters, self.https_timeout)?
            .preauth()
    }

    fn auth(&mut self, factor: &Factor) -> Result<Auth, Error> {
        // Connecting anew must not eat up the answer's time.
        let answer = self.https_timeout.unwrap_or(self.deadlines.person);
        self.until = self.clock.now() + self.deadlines.request + answer;
        let address = self.address();
        let hostname = self.hostname().to_owned();
        let told = Told {
            user: &self.person.user,
            address: address.as_deref(),
            hostname: &hostname,
        };
        let info = told::pushinfo(self.line.own_address(), self.person.command.as_deref());
        let parameters = told.auth(factor, &info);
        self.call(&AUTH, &parameters, self.https_timeout)?.auth()
    }

    fn status(&mut self, transaction: &str, until: Instant) -> Result<Status, Error> {
        self.until = until;
        let parameters = Parameters::new(&[("txid", transaction)]);
        self.call(&AUTH_STATUS, &parameters, Some(self.deadlines.poll))?
            .status()
    }

    fn answered(&self) -> bool {
        self.answered
    }
}
