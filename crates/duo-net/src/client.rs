//! The client of Duo's API. It deals with signatures, the clock, rate limits and
//! retries, so that its caller gets an answer or an [`Error`].
//!
//! A request that may ring a phone is sent again only if it was certainly not
//! performed: not a byte of it was sent, or Duo said so (429, a bad date). Source:
//! docs/duo-api.md, *Requests*.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use duo_policy::api::Duo;
use duo_policy::api::menu::Factor;
use duo_policy::api::reply::{self, Auth, Kind, Preauth, Response, Status, Trouble};
use duo_policy::api::request::{self, CommonParameters, Endpoint, Parameters, Retry};
use duo_policy::api::signing::{self, Keys};
use duo_policy::clock::Deadlines;
use duo_policy::config::{Config, Failmode};
use duo_policy::error::Error;
use duo_system::wait::Waiter;

use crate::answer::Answer;
use crate::backoff;
use crate::http::{Channel, ExchangeError, FailureKind, Outgoing};
use crate::names::{Names, OwnName, SystemNames};

/// News of a call that is not over yet, for the person or for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Duo limits the rate: the client waits this long.
    RateLimited(Duration),
    /// This machine's clock is off by so many seconds (Duo's less ours).
    ClockOff(i64),
}

/// The user whom Duo is asked about.
#[derive(Debug, Clone)]
pub struct Person {
    /// The Duo user name.
    pub user: String,
    /// The client's address, if it is known and valid.
    pub address: Option<IpAddr>,
    /// Whether Duo gets this host's own address where `address` is `None`.
    pub own_address_instead: bool,
    /// The command, if the push is to show it.
    pub command: Option<String>,
}

impl Person {
    /// The person of calls that are about no user.
    pub fn nobody() -> Person {
        Person {
            user: String::new(),
            address: None,
            own_address_instead: false,
            command: None,
        }
    }
}

/// The [`Duo`] that asks the service over the network.
pub struct Client<'a> {
    channel: Channel<'a>,
    keys: Keys,
    person: Person,
    failmode: Failmode,
    verified_push: bool,
    https_timeout: Option<Duration>,
    deadlines: &'a Deadlines,
    waiter: &'a Waiter<'a>,
    notice: &'a dyn Fn(&Notice),
    own_name: Option<OwnName>,
    hostname: String,
    /// When the current call must be over.
    until: Instant,
    /// Duo's clock less ours, in seconds, once it is known.
    offset: Option<i64>,
    /// Whether Duo has been asked for the time in this login.
    asked_the_time: bool,
    answered: bool,
    backoffs: u32,
}

/// Seconds. If our clock is off by less, it is not the reason for a 401 that does
/// not say why.
pub const CLOCK_TOLERANCE: u64 = 60;

impl<'a> Client<'a> {
    /// Sets a client up. The time of the first preauth runs from here.
    ///
    /// # Errors
    /// [`Error::Configuration`] if `cafile` or `host` cannot be used,
    /// [`Error::Fault`] if this host's name cannot be looked for.
    pub fn new(
        config: &Config,
        person: Person,
        deadlines: &'a Deadlines,
        waiter: &'a Waiter<'a>,
        notice: &'a dyn Fn(&Notice),
    ) -> Result<Client<'a>, Error> {
        let names = Arc::new(SystemNames);
        Client::with_names(config, person, deadlines, waiter, notice, names)
    }

    /// As [`Client::new`], with another resolver than the system's.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_names(
        config: &Config,
        person: Person,
        deadlines: &'a Deadlines,
        waiter: &'a Waiter<'a>,
        notice: &'a dyn Fn(&Notice),
        names: Arc<dyn Names>,
    ) -> Result<Client<'a>, Error> {
        let until = waiter.deadline_in(deadlines.request);
        let own_name = OwnName::look_up(&names, deadlines.own_name, waiter)?;
        Ok(Client {
            channel: Channel::new(config, deadlines, names, waiter)?,
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
            waiter,
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

    /// Asks for Duo's time. Returns Duo's clock less ours, in seconds; later requests
    /// are dated by Duo's clock. Source: docs/duo-api.md, *Signing*.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ping(&mut self) -> Result<i64, Error> {
        let start = self.waiter.now();
        let response = self.call(&Endpoint::PING, &Parameters::new(&[]), self.https_timeout)?;
        // Duo read its clock half a round trip ago.
        let half = self.waiter.now().saturating_duration_since(start) / 2;
        let then = SystemTime::now().checked_sub(half);
        let ours = then
            .and_then(|then| then.duration_since(SystemTime::UNIX_EPOCH).ok())
            .ok_or_else(|| Error::fault("read the clock", "it is before 1970"))?;
        let ours = i64::try_from(ours.as_secs()).unwrap_or(i64::MAX);
        let offset = response.time()?.saturating_sub(ours);
        self.asked_the_time = true;
        self.offset = Some(offset);
        Ok(offset)
    }

    /// Proves `ikey`, `skey` and clock. Source: docs/duo-api.md, *Requests*.
    ///
    /// # Errors
    /// The [`Trouble`], with Duo's code if it sent one.
    pub fn check(&mut self) -> Result<(), Trouble> {
        let nothing = Parameters::new(&[]);
        let answer = self
            .send(&Endpoint::CHECK, &nothing, self.https_timeout)
            .map_err(Trouble::of_error)?;
        let response = reply::read(answer.status, &answer.body)?;
        match response.denial() {
            Some(why) => Err(Trouble::of_error(Error::Refused(why))),
            None => response.time().map(drop).map_err(Trouble::of_error),
        }
    }

    /// Sends a request, again after a 429 and after a wrong date, until an answer
    /// ends the call.
    fn call(
        &mut self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Response, Error> {
        loop {
            let answer = self.send(endpoint, parameters, answer_within)?;
            let trouble = match reply::read(answer.status, &answer.body) {
                Ok(response) => {
                    if response.has_result() {
                        self.note_an_answer();
                    }
                    return Ok(response);
                }
                Err(trouble) => trouble,
            };
            match trouble.kind {
                Kind::RateLimited => {
                    self.note_an_answer();
                    self.back_off(&answer, trouble.error)?;
                }
                Kind::Clock => self.ask_the_time(&trouble.error)?,
                Kind::Unexplained401 => {
                    self.ask_the_time(&trouble.error)?;
                    if self.offset.unwrap_or_default().unsigned_abs() < CLOCK_TOLERANCE {
                        return Err(trouble.error);
                    }
                }
                Kind::Final => return Err(trouble.error),
            }
        }
    }

    fn note_an_answer(&mut self) {
        self.answered = true;
        self.waiter.stop_proving();
    }

    /// Sends a request until there is an answer, again only where the request may be
    /// sent again.
    fn send(
        &mut self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Answer, Error> {
        let mut pauses = self.deadlines.retries.iter();
        loop {
            let failed = match self.send_once(endpoint, parameters, answer_within) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let poll_is_over = endpoint.retry == Retry::Poll && failed.kind == FailureKind::Timeout;
            let harmless = endpoint.retry != Retry::Rings || !failed.was_sent;
            let pause = match pauses.as_slice().first() {
                _ if poll_is_over => Duration::ZERO,
                Some(pause) if harmless && failed.kind != FailureKind::Final => {
                    pauses.next();
                    *pause
                }
                _ => return Err(failed.error),
            };
            if self.waiter.now() + pause >= self.until {
                return Err(failed.error);
            }
            self.waiter.pause(pause)?;
        }
    }

    fn send_once(
        &mut self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Answer, ExchangeError> {
        // Nobody's phone rings for a login that is over.
        self.waiter.look().map_err(|error| ExchangeError {
            error,
            kind: FailureKind::Final,
            was_sent: false,
        })?;
        let date = signing::date(self.duos_time());
        let authorization = self.keys.authorization(
            &date,
            endpoint.method.as_str(),
            &self.channel.signed_host(),
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
        self.channel.exchange(&outgoing, self.until, answer_within)
    }

    /// The time on Duo's clock, as far as it is known.
    fn duos_time(&self) -> SystemTime {
        let now = SystemTime::now();
        let offset = self.offset.unwrap_or_default();
        let span = Duration::from_secs(offset.unsigned_abs());
        let then = if offset < 0 {
            now.checked_sub(span)
        } else {
            now.checked_add(span)
        };
        // A date has four digits for the year. A server whose clock needs more gets our time.
        then.filter(|then| *then >= SystemTime::UNIX_EPOCH && offset.unsigned_abs() < 1 << 36)
            .unwrap_or(now)
    }

    /// Asks for Duo's time after a 401, once in a login. `cause` is the error of that
    /// 401, and the error of the call if Duo has been asked already.
    fn ask_the_time(&mut self, cause: &Error) -> Result<(), Error> {
        if self.asked_the_time {
            let offset = self.offset.unwrap_or_default();
            return Err(Error::Service(format!("{cause} (clock off by {offset} s)")));
        }
        self.asked_the_time = true;
        let offset = self.ping().map_err(|error| match error {
            Error::Service(text) => Error::Service(format!("{cause}, and /ping: {text}")),
            // Any other error stays what it is: a 429 of /ping denies, as every 429 does.
            error => error,
        })?;
        if offset.unsigned_abs() >= CLOCK_TOLERANCE {
            (self.notice)(&Notice::ClockOff(offset));
        }
        Ok(())
    }

    /// Waits as long as a 429 asks for.
    ///
    /// # Errors
    /// `refusal`, if that is too long or happens too often in this login.
    fn back_off(&mut self, answer: &Answer, refusal: Error) -> Result<(), Error> {
        let wait = backoff::wait(answer, self.backoffs);
        if self.backoffs >= self.deadlines.backoffs || wait > self.deadlines.longest_backoff {
            return Err(refusal);
        }
        self.backoffs += 1;
        (self.notice)(&Notice::RateLimited(wait));
        self.waiter.pause(wait)?;
        self.until += wait;
        Ok(())
    }

    fn hostname(&mut self) -> Result<String, Error> {
        if let Some(own_name) = self.own_name.take() {
            self.hostname = own_name.name(self.waiter)?;
        }
        Ok(self.hostname.clone())
    }

    fn address(&self) -> Option<String> {
        let address = match self.person.address {
            None if self.person.own_address_instead => self.channel.own_address(),
            address => address,
        };
        address.map(|address| address.to_string())
    }
}

impl Duo for Client<'_> {
    fn preauth(&mut self) -> Result<Preauth, Error> {
        // The time of the first preauth runs from the start of the login.
        if self.answered {
            self.until = self.waiter.deadline_in(self.deadlines.request);
        }
        self.channel.look_up(self.until)?;
        let address = self.address();
        let hostname = self.hostname()?;
        let login = CommonParameters {
            user: &self.person.user,
            address: address.as_deref(),
            hostname: &hostname,
        };
        let parameters = login.preauth(self.failmode, self.verified_push);
        self.call(&Endpoint::PREAUTH, &parameters, self.https_timeout)?
            .preauth()
    }

    fn auth(&mut self, factor: &Factor) -> Result<Auth, Error> {
        // If a new connection must be made, it must not use up the time for the answer.
        let answer = self.https_timeout.unwrap_or(self.deadlines.person);
        self.until = self.waiter.deadline_in(self.deadlines.request + answer);
        let address = self.address();
        let hostname = self.hostname()?;
        let login = CommonParameters {
            user: &self.person.user,
            address: address.as_deref(),
            hostname: &hostname,
        };
        let info = request::pushinfo(self.channel.own_address(), self.person.command.as_deref());
        let parameters = login.auth(factor, &info);
        self.call(&Endpoint::AUTH, &parameters, self.https_timeout)?
            .auth()
    }

    fn status(&mut self, transaction: &str, until: Instant) -> Result<Status, Error> {
        self.until = until;
        let parameters = Parameters::new(&[("txid", transaction)]);
        self.call(
            &Endpoint::AUTH_STATUS,
            &parameters,
            Some(self.deadlines.poll),
        )?
        .status()
    }

    fn answered(&self) -> bool {
        self.answered
    }
}
