//! The client of Duo's API. It deals with signatures, the clock, rate limits and
//! retries, so that its caller gets an answer or an [`Error`].
//!
//! A request that may ring a phone is sent again only if it was certainly not
//! performed: not a byte of it was sent, or Duo said so (429, a bad date). Source:
//! docs/duo-api.md, *Requests*.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use duo_policy::api::menu::Factor;
use duo_policy::api::reply::{self, Auth, Kind, Preauth, Response, Trouble};
use duo_policy::api::request::{self, CommonParameters, Endpoint, Parameters, Retry};
use duo_policy::api::signing::{self, Keys};
use duo_policy::api::{Answered, Duo, Event, Line, Listen, Span};
use duo_policy::clock::Deadlines;
use duo_policy::config::{Config, Failmode};
use duo_policy::error::Error;
use duo_system::wait::{Waiter, Woken, advance};

use crate::answer::Answer;
use crate::backoff;
use crate::http::{Channel, ExchangeError, FailureKind, Outgoing, Reach};
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
    common: Rc<Common<'a>>,
    /// The lines that carry no request now.
    idle: Vec<(Line, Requester<'a>)>,
    /// The requests that are on their way.
    open: Vec<(Line, Task<'a>)>,
}

/// A request with its retries. At its end, gives the line back, and the answer.
type Task<'a> = Pin<Box<dyn Future<Output = (Requester<'a>, Result<Auth, Error>)> + 'a>>;

/// What all lines of a login share.
struct Common<'a> {
    reach: Rc<Reach<'a>>,
    keys: Keys,
    person: Person,
    failmode: Failmode,
    verified_push: bool,
    https_timeout: Option<Duration>,
    deadlines: &'a Deadlines,
    waiter: &'a Waiter<'a>,
    notice: &'a dyn Fn(&Notice),
    own_name: Cell<Option<OwnName>>,
    hostname: RefCell<String>,
    /// Duo's clock less ours, in seconds, once it is known.
    offset: Cell<Option<i64>>,
    /// Whether Duo has been asked for the time in this login.
    asked_the_time: Cell<bool>,
    answered: Cell<Answered>,
    backoffs: Cell<u32>,
}

/// Sends the requests of one line.
struct Requester<'a> {
    common: Rc<Common<'a>>,
    channel: Channel<'a>,
    /// When the current call must be over.
    until: Instant,
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
        let common = Rc::new(Common {
            reach: Rc::new(Reach::new(config, deadlines, names, waiter)?),
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
            own_name: Cell::new(Some(own_name)),
            hostname: RefCell::default(),
            offset: Cell::new(None),
            asked_the_time: Cell::new(false),
            answered: Cell::new(Answered::NotYet),
            backoffs: Cell::new(0),
        });
        Ok(Client {
            idle: vec![(Line::First, Requester::new(&common, until))],
            open: Vec::new(),
            common,
        })
    }

    /// Asks for Duo's time. Returns Duo's clock less ours, in seconds; later requests
    /// are dated by Duo's clock. Source: docs/duo-api.md, *Signing*.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn ping(&mut self) -> Result<i64, Error> {
        let mut requester = self.requester(Line::First);
        let offset = self.common.waiter.run(pin!(requester.ping()));
        self.idle.push((Line::First, requester));
        offset
    }

    /// Proves `ikey`, `skey` and clock. Source: docs/duo-api.md, *Requests*.
    ///
    /// # Errors
    /// The [`Trouble`], with Duo's code if it sent one.
    pub fn check(&mut self) -> Result<(), Trouble> {
        let mut requester = self.requester(Line::First);
        let checked = self.common.waiter.run(pin!(requester.check()));
        self.idle.push((Line::First, requester));
        checked
    }

    /// The requester of a line, which carries no request.
    fn requester(&mut self, line: Line) -> Requester<'a> {
        match self.idle.iter().position(|(of, _)| *of == line) {
            Some(place) => self.idle.swap_remove(place).1,
            None => Requester::new(&self.common, self.common.waiter.now()),
        }
    }
}

impl<'a> Requester<'a> {
    fn new(common: &Rc<Common<'a>>, until: Instant) -> Requester<'a> {
        Requester {
            common: Rc::clone(common),
            channel: Channel::new(Rc::clone(&common.reach)),
            until,
        }
    }

    async fn ping(&mut self) -> Result<i64, Error> {
        let start = self.common.waiter.now();
        let nothing = Parameters::new(&[]);
        let within = self.common.https_timeout;
        // A call may ask for the time, and this is a call, so its size is not known.
        let call: Pin<Box<dyn Future<Output = _> + '_>> =
            Box::pin(self.call(&Endpoint::PING, &nothing, within));
        let response = call.await?;
        // Duo read its clock half a round trip ago.
        let half = self.common.waiter.now().saturating_duration_since(start) / 2;
        let then = SystemTime::now().checked_sub(half);
        let ours = then
            .and_then(|then| then.duration_since(SystemTime::UNIX_EPOCH).ok())
            .ok_or_else(|| Error::fault("read the clock", "it is before 1970"))?;
        let ours = i64::try_from(ours.as_secs()).unwrap_or(i64::MAX);
        let offset = response.time()?.saturating_sub(ours);
        self.common.asked_the_time.set(true);
        self.common.offset.set(Some(offset));
        Ok(offset)
    }

    async fn check(&mut self) -> Result<(), Trouble> {
        let nothing = Parameters::new(&[]);
        let within = self.common.https_timeout;
        let answer = self
            .send(&Endpoint::CHECK, &nothing, within)
            .await
            .map_err(Trouble::of_error)?;
        let response = reply::read(answer.status, &answer.body)?;
        match response.denial() {
            Some(why) => Err(Trouble::of_error(Error::Refused(why))),
            None => response.time().map(drop).map_err(Trouble::of_error),
        }
    }

    /// Sends a request, again after a 429 and after a wrong date, until an answer
    /// ends the call.
    async fn call(
        &mut self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Response, Error> {
        loop {
            let answer = self.send(endpoint, parameters, answer_within).await?;
            let trouble = match reply::read(answer.status, &answer.body) {
                Ok(response) => {
                    if response.has_result() {
                        self.common.note_an_answer();
                    }
                    return Ok(response);
                }
                Err(trouble) => trouble,
            };
            match trouble.kind {
                Kind::RateLimited => {
                    self.common.note_an_answer();
                    self.back_off(&answer, trouble.error).await?;
                }
                Kind::Clock => self.ask_the_time(&trouble.error).await?,
                Kind::Unexplained401 => {
                    self.ask_the_time(&trouble.error).await?;
                    if self.common.offset.get().unwrap_or_default().unsigned_abs() < CLOCK_TOLERANCE
                    {
                        return Err(trouble.error);
                    }
                }
                Kind::Final => return Err(trouble.error),
            }
        }
    }

    /// Sends a request until there is an answer, again only where the request may be
    /// sent again.
    async fn send(
        &mut self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Answer, Error> {
        let mut pauses = self.common.deadlines.retries.iter();
        loop {
            let failed = match self.send_once(endpoint, parameters, answer_within).await {
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
            if self.common.waiter.now() + pause >= self.until {
                return Err(failed.error);
            }
            self.common.waiter.rest(pause).await?;
        }
    }

    async fn send_once(
        &mut self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        answer_within: Option<Duration>,
    ) -> Result<Answer, ExchangeError> {
        // Nobody's phone rings for a login that is over.
        self.common.waiter.look().map_err(|error| ExchangeError {
            error,
            kind: FailureKind::Final,
            was_sent: false,
        })?;
        let date = signing::date(self.common.duos_time());
        let authorization = self.common.keys.authorization(
            &date,
            endpoint.method.as_str(),
            &self.common.reach.signed_host(),
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
        self.channel
            .exchange(&outgoing, self.until, answer_within)
            .await
    }

    /// Asks for Duo's time after a 401, once in a login. `cause` is the error of that
    /// 401, and the error of the call if Duo has been asked already.
    async fn ask_the_time(&mut self, cause: &Error) -> Result<(), Error> {
        if self.common.asked_the_time.replace(true) {
            let offset = self.common.offset.get().unwrap_or_default();
            return Err(Error::Service(format!("{cause} (clock off by {offset} s)")));
        }
        let offset = self.ping().await.map_err(|error| match error {
            Error::Service(text) => Error::Service(format!("{cause}, and /ping: {text}")),
            // Any other error stays what it is: a 429 of /ping denies, as every 429 does.
            error => error,
        })?;
        if offset.unsigned_abs() >= CLOCK_TOLERANCE {
            (self.common.notice)(&Notice::ClockOff(offset));
        }
        Ok(())
    }

    /// Waits as long as a 429 asks for.
    ///
    /// # Errors
    /// `refusal`, if that is too long or happens too often in this login.
    async fn back_off(&mut self, answer: &Answer, refusal: Error) -> Result<(), Error> {
        let (common, waited) = (&self.common, self.common.backoffs.get());
        let wait = backoff::wait(answer, waited);
        if waited >= common.deadlines.backoffs || wait > common.deadlines.longest_backoff {
            return Err(refusal);
        }
        common.backoffs.set(waited + 1);
        (common.notice)(&Notice::RateLimited(wait));
        common.waiter.rest(wait).await?;
        self.until += wait;
        Ok(())
    }

    async fn preauth(&mut self) -> Result<Preauth, Error> {
        let common = Rc::clone(&self.common);
        // The time of the first preauth runs from the start of the login.
        if common.answered.get() == Answered::Yes {
            self.until = common.waiter.deadline_in(common.deadlines.request);
        }
        common.reach.look_up(self.until)?;
        let (address, hostname) = (common.address(), common.hostname()?);
        let parameters = CommonParameters {
            user: &common.person.user,
            address: address.as_deref(),
            hostname: &hostname,
        }
        .preauth(common.failmode, common.verified_push);
        self.call(&Endpoint::PREAUTH, &parameters, common.https_timeout)
            .await?
            .preauth()
    }

    async fn auth(&mut self, factor: &Factor) -> Result<Auth, Error> {
        let common = Rc::clone(&self.common);
        // If a new connection must be made, it must not use up the time for the answer.
        let answer = common.https_timeout.unwrap_or(common.deadlines.person);
        self.until = common.waiter.deadline_in(common.deadlines.request + answer);
        let (address, hostname) = (common.address(), common.hostname()?);
        let command = common.person.command.as_deref();
        let parameters = CommonParameters {
            user: &common.person.user,
            address: address.as_deref(),
            hostname: &hostname,
        }
        .auth(
            factor,
            &request::pushinfo(common.reach.own_address(), command),
        );
        self.call(&Endpoint::AUTH, &parameters, common.https_timeout)
            .await?
            .auth()
    }

    async fn status(&mut self, transaction: &str, span: Span) -> Result<Auth, Error> {
        let waiter = self.common.waiter;
        let pause = span.from.saturating_duration_since(waiter.now());
        if !pause.is_zero() {
            waiter.rest(pause).await?;
        }
        self.until = span.until;
        let parameters = Parameters::new(&[("txid", transaction)]);
        let within = Some(self.common.deadlines.poll);
        let response = self
            .call(&Endpoint::AUTH_STATUS, &parameters, within)
            .await?;
        response.status().map(Auth::Settled)
    }
}

impl Common<'_> {
    fn note_an_answer(&self) {
        self.answered.set(Answered::Yes);
        self.waiter.stop_proving();
    }

    /// The time on Duo's clock, as far as it is known.
    fn duos_time(&self) -> SystemTime {
        let now = SystemTime::now();
        let offset = self.offset.get().unwrap_or_default();
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

    fn hostname(&self) -> Result<String, Error> {
        if let Some(own_name) = self.own_name.take() {
            self.hostname.replace(own_name.name(self.waiter)?);
        }
        Ok(self.hostname.borrow().clone())
    }

    fn address(&self) -> Option<String> {
        let address = match self.person.address {
            None if self.person.own_address_instead => self.reach.own_address(),
            address => address,
        };
        address.map(|address| address.to_string())
    }
}

impl Duo for Client<'_> {
    fn preauth(&mut self) -> Result<Preauth, Error> {
        let mut requester = self.requester(Line::First);
        let answer = self.common.waiter.run(pin!(requester.preauth()));
        self.idle.push((Line::First, requester));
        answer
    }

    fn auth(&mut self, line: Line, factor: &Factor) {
        let (mut requester, factor) = (self.requester(line), factor.clone());
        let task = async move {
            let answer = requester.auth(&factor).await;
            (requester, answer)
        };
        self.open.push((line, Box::pin(task)));
    }

    fn status(&mut self, line: Line, transaction: &str, span: Span) {
        let (mut requester, transaction) = (self.requester(line), transaction.to_owned());
        let task = async move {
            let answer = requester.status(&transaction, span).await;
            (requester, answer)
        };
        self.open.push((line, Box::pin(task)));
    }

    fn next(&mut self, listen: Listen) -> Event {
        while !self.open.is_empty() {
            for place in 0..self.open.len() {
                if let Some((line, task)) = self.open.get_mut(place)
                    && let Poll::Ready((requester, answer)) = advance(task.as_mut())
                {
                    let line = *line;
                    drop(self.open.swap_remove(place));
                    self.idle.push((line, requester));
                    return Event::Answer(line, answer);
                }
            }
            let waiter = self.common.waiter;
            let woken = match listen {
                Listen::ToBoth => waiter.wait_for_tasks_or_typing(),
                Listen::ToDuo => waiter.wait_for_tasks(None),
            };
            if woken == Woken::ByKeyboard {
                return Event::Typed;
            }
        }
        let why = "Duo was not asked anything".to_owned();
        Event::Answer(Line::First, Err(Error::Fault(why)))
    }

    fn answered(&self) -> Answered {
        self.common.answered.get()
    }
}
