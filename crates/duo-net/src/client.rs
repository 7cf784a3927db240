//! The real Duo: signatures, the clock, rate limits and retries are
//! settled here, and what is left is an answer or an [`Error`].
//!
//! What may ring a phone goes out again only where it was certainly not
//! performed: not a byte of it was sent, or Duo said so (429, a bad date).

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

use crate::backoff;
use crate::http::{Answer, Line, Loss, Lost, Outgoing};
use crate::names::{Names, OwnName, SystemNames};

/// What a call wants someone to know while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Duo is rate limiting: waiting this long.
    RateLimited(Duration),
    /// This machine's clock is off by so many seconds (Duo's less ours).
    ClockOff(i64),
}

/// Who logs in, as Duo is told.
#[derive(Debug, Clone)]
pub struct Person {
    /// The Duo user name.
    pub user: String,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Whether this host's own address stands in for a missing one.
    pub own_address_instead: bool,
    /// The command, if the push shall show it.
    pub command: Option<String>,
}

impl Person {
    /// Nobody, for calls that are about no user.
    pub fn nobody() -> Person {
        Person {
            user: String::new(),
            address: None,
            own_address_instead: false,
            command: None,
        }
    }
}

/// The real [`Duo`].
pub struct Client<'a> {
    line: Line<'a>,
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
    /// By when the current call must be over.
    until: Instant,
    /// Duo's clock less ours, in seconds, once it is known.
    offset: Option<i64>,
    /// Whether Duo was asked for the time in this login.
    asked_the_time: bool,
    answered: bool,
    backoffs: u32,
}

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
        waiter: &'a Waiter<'a>,
        notice: &'a dyn Fn(&Notice),
    ) -> Result<Client<'a>, Error> {
        let names = Arc::new(SystemNames);
        Client::with_names(config, person, deadlines, waiter, notice, names)
    }

    /// The same, with someone else to ask for names.
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
        let until = waiter.now() + deadlines.request;
        let own_name = OwnName::look_up(&names, deadlines.own_name, waiter)?;
        Ok(Client {
            line: Line::new(config, deadlines, names, waiter)?,
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

    /// Duo's clock less ours, in seconds, as later requests are dated by it.
    /// Source: Duo Auth API, "ping".
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ping(&mut self) -> Result<i64, Error> {
        let start = self.waiter.now();
        let response = self.call(&Endpoint::PING, &Parameters::new(&[]), self.https_timeout)?;
        // Duo looked at its clock half a round trip ago.
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

    /// Proves keys and clock. Source: Duo Auth API, "check".
    ///
    /// # Errors
    /// The [`Trouble`], with Duo's code if it gave one.
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

    /// One call, until there is an answer that ends it.
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
                    self.answered |= response.has_result();
                    return Ok(response);
                }
                Err(trouble) => trouble,
            };
            match trouble.kind {
                Kind::RateLimited => {
                    self.answered = true;
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

    /// Sends a request, again where that can do no harm.
    fn send(
        &mut self,
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
            let poll_is_over = endpoint.retry == Retry::Poll && lost.how == Loss::Timeout;
            let harmless = endpoint.retry != Retry::Rings || !lost.sent;
            let pause = match pauses.as_slice().first() {
                _ if poll_is_over => Duration::ZERO,
                Some(pause) if harmless && lost.how != Loss::Final => {
                    pauses.next();
                    *pause
                }
                _ => return Err(lost.error),
            };
            if self.waiter.now() + pause >= self.until {
                return Err(lost.error);
            }
            self.waiter.sleep(pause)?;
        }
    }

    fn send_once(
        &mut self,
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

    /// Asks for the time, once a login. `cause` is the error if that was done
    /// already.
    fn ask_the_time(&mut self, cause: &Error) -> Result<(), Error> {
        if self.asked_the_time {
            let offset = self.offset.unwrap_or_default();
            return Err(Error::Service(format!("{cause} (clock off by {offset} s)")));
        }
        self.asked_the_time = true;
        let offset = self.ping().map_err(|error| match error {
            Error::Service(text) => Error::Service(format!("{cause}, and /ping: {text}")),
            // A 429 here is one like any other: nothing to forgive.
            error => error,
        })?;
        if offset.unsigned_abs() >= CLOCK_TOLERANCE {
            (self.notice)(&Notice::ClockOff(offset));
        }
        Ok(())
    }

    /// Waits as a 429 asks for, if that is bearable; else it is `refusal`.
    fn back_off(&mut self, answer: &Answer, refusal: Error) -> Result<(), Error> {
        let wait = backoff::wait(answer, self.backoffs);
        if self.backoffs >= self.deadlines.backoffs || wait > self.deadlines.longest_backoff {
            return Err(refusal);
        }
        self.backoffs += 1;
        (self.notice)(&Notice::RateLimited(wait));
        self.waiter.sleep(wait)?;
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
            self.until = self.waiter.now() + self.deadlines.request;
        }
        self.line.look_up(self.until)?;
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
        // Connecting anew must not eat up the answer's time.
        let answer = self.https_timeout.unwrap_or(self.deadlines.person);
        self.until = self.waiter.now() + self.deadlines.request + answer;
        let address = self.address();
        let hostname = self.hostname()?;
        let login = CommonParameters {
            user: &self.person.user,
            address: address.as_deref(),
            hostname: &hostname,
        };
        let info = request::pushinfo(self.line.own_address(), self.person.command.as_deref());
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
