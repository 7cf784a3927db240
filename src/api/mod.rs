//! Duo's Auth API v2 as typed calls: signing, the clock, rate limits and
//! retries are settled here, and what is left is an answer or an [`Error`].
#![forbid(unsafe_code)]

pub mod connect;
pub mod factor;
pub mod reply;
pub mod signing;
pub mod tls;
pub mod transport;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use self::connect::OwnName;
use self::factor::Factor;
use self::reply::{Auth, Preauth, Response, Status, Trouble};
use self::signing::{Keys, Parameters};
use self::transport::{Answer, Line, Loss, Lost, Method, Outgoing};
use crate::clock::{Clock, Deadlines};
use crate::config::{Config, Failmode};
use crate::error::Error;

/// Duo, as a login sees it.
pub trait Duo {
    /// What is to be done about this user? Source: Duo Auth API, "preauth".
    ///
    /// # Errors
    /// See [`Error`]; no answer counts as given unless [`Duo::answered`].
    fn preauth(&mut self) -> Result<Preauth, Error>;

    /// Starts proving `factor`. May ring a phone, once. Source: "auth".
    ///
    /// # Errors
    /// See [`Error`].
    fn auth(&mut self, factor: &Factor) -> Result<Auth, Error>;

    /// Waits for news of a transaction, not beyond `until`. Source: "auth_status".
    ///
    /// # Errors
    /// See [`Error`].
    fn status(&mut self, transaction: &str, until: Instant) -> Result<Status, Error>;

    /// Whether Duo has spoken in this login: a textual `result`, or a 429. From
    /// then on failmode opens nothing.
    fn answered(&self) -> bool;
}

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
    /// Duo's clock less ours, in seconds, once asked.
    offset: Option<i64>,
    answered: bool,
    backoffs: u32,
}

struct Endpoint {
    method: Method,
    path: &'static str,
    /// Asking twice does no harm.
    idempotent: bool,
}

const PING: Endpoint = Endpoint {
    method: Method::Get,
    path: "/auth/v2/ping",
    idempotent: true,
};
const PREAUTH: Endpoint = Endpoint {
    method: Method::Post,
    path: "/auth/v2/preauth",
    idempotent: true,
};
const AUTH: Endpoint = Endpoint {
    method: Method::Post,
    path: "/auth/v2/auth",
    idempotent: false,
};
const AUTH_STATUS: Endpoint = Endpoint {
    method: Method::Get,
    path: "/auth/v2/auth_status",
    idempotent: true,
};

/// Below this, a 401 without a reason is not the clock's fault.
const CLOCK_TOLERANCE: u64 = 60;

/// `pushinfo` stays below this, in bytes.
const LONGEST_PUSHINFO: usize = 20_000;

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
        Ok(Client {
            line: Line::new(config, deadlines)?,
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
            own_name: Some(OwnName::look_up()?),
            hostname: String::new(),
            until: clock.now() + deadlines.request,
            offset: None,
            answered: false,
            backoffs: 0,
        })
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
                    self.back_off(answer.retry_after.as_deref())?;
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
            // A long poll that nobody answered is simply asked again.
            let poll_is_over = endpoint.path == AUTH_STATUS.path && lost.how == Loss::Timeout;
            let harmless = endpoint.idempotent || !lost.sent;
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
            self.line.host_name(),
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
        // httpdate takes years up to 9999; a server that claims more gets our time.
        then.filter(|then| *then >= SystemTime::UNIX_EPOCH && offset.abs() < 1 << 36)
            .unwrap_or(now)
    }

    /// Asks for the time, once a login; `why` is the error if that was done already.
    fn ask_the_time(&mut self, why: &str) -> Result<(), Error> {
        if let Some(offset) = self.offset {
            let text = format!("HTTP 401: {why} (clock off by {offset} s)");
            return Err(Error::Service(text));
        }
        let answer = self.send(&PING, &Parameters::new(&[]), self.https_timeout)?;
        let response = reply::judge(answer.status, &answer.body).map_err(|_| {
            Error::Service(format!(
                "HTTP 401: {why}, and /ping says HTTP {}",
                answer.status
            ))
        })?;
        let ours = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|error| Error::fault("read the clock", error))?
            .as_secs();
        let offset = response
            .time()?
            .saturating_sub(i64::try_from(ours).unwrap_or(i64::MAX));
        self.offset = Some(offset);
        if offset.unsigned_abs() >= CLOCK_TOLERANCE {
            (self.notice)(&Notice::ClockOff(offset));
        }
        Ok(())
    }

    /// Waits as a 429 asks for, if that is bearable.
    fn back_off(&mut self, asked: Option<&str>) -> Result<(), Error> {
        let wait = match asked.and_then(retry_after) {
            Some(wait) => wait.max(Duration::from_secs(1)),
            None => Duration::from_secs(1 << self.backoffs.min(6)) + jitter(),
        };
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
            self.hostname = own_name.within(self.deadlines.own_name);
        }
        &self.hostname
    }

    fn address(&self) -> Option<String> {
        let own = || {
            if self.person.own_address_instead {
                self.line.own_address()
            } else {
                None
            }
        };
        self.person
            .address
            .or_else(own)
            .map(|address| address.to_string())
    }

    /// `Server+IP=…[&Command=…]`
    fn pushinfo(&self) -> Option<String> {
        let form = |text: &str| signing::encode(text).replace("%20", "+");
        let mut info = format!("Server+IP={}", form(&self.line.own_address()?.to_string()));
        if let Some(command) = &self.person.command {
            info.push_str("&Command=");
            for letter in command.chars() {
                let letter = form(letter.encode_utf8(&mut [0; 4]));
                if info.len() + letter.len() >= LONGEST_PUSHINFO {
                    break;
                }
                info.push_str(&letter);
            }
        }
        Some(info)
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
        let failmode = match self.failmode {
            Failmode::Safe => "open",
            Failmode::Secure => "closed",
        };
        let hostname = self.hostname().to_owned();
        let mut pairs = vec![
            ("username", self.person.user.as_str()),
            ("text_prompt", "1"),
            ("hostname", &hostname),
            ("failmode", failmode),
        ];
        if let Some(address) = &address {
            pairs.push(("ipaddr", address));
        }
        if self.verified_push {
            pairs.push(("client_supports_verified_push", "1"));
        }
        let parameters = Parameters::new(&pairs);
        self.call(&PREAUTH, &parameters, self.https_timeout)?
            .preauth()
    }

    fn auth(&mut self, factor: &Factor) -> Result<Auth, Error> {
        self.until = self.clock.now() + self.deadlines.request;
        let (address, pushinfo) = (self.address(), self.pushinfo());
        let hostname = self.hostname().to_owned();
        let mut pairs = vec![
            ("username", self.person.user.as_str()),
            ("async", "1"),
            ("hostname", &hostname),
        ];
        if let Some(address) = &address {
            pairs.push(("ipaddr", address));
        }
        if let Some(pushinfo) = &pushinfo {
            pairs.push(("pushinfo", pushinfo));
        }
        match factor {
            Factor::Prompt { value, txid, .. } => {
                pairs.extend([("factor", "prompt"), ("prompt", value.as_str())]);
                if let Some(txid) = txid {
                    pairs.push(("txid", txid));
                }
            }
            Factor::Push(device) => pairs.extend([("factor", "push"), ("device", device)]),
            Factor::Phone(device) => pairs.extend([("factor", "phone"), ("device", device)]),
            Factor::Sms(device) => pairs.extend([("factor", "sms"), ("device", device)]),
            Factor::Passcode(code) => pairs.extend([("factor", "passcode"), ("passcode", code)]),
            Factor::Auto => pairs.extend([("factor", "auto"), ("device", "auto")]),
        }
        let parameters = Parameters::new(&pairs);
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

/// `Retry-After`: seconds, or an HTTP date (one in the past means now). None if
/// it is neither.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too long for a number is still a number: for ever.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    Some(then.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Up to a second, so that many waiting logins do not come back at once.
/// `RandomState` is seeded by the system; nothing secret hangs on it.
fn jitter() -> Duration {
    Duration::from_millis(RandomState::new().build_hasher().finish() % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_each_of_its_forms() {
        assert_eq!(retry_after(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(
            retry_after("9223372036854775808999999"),
            Some(Duration::MAX)
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::ZERO)
        );
        let soon = SystemTime::now() + Duration::from_secs(20);
        let wait = retry_after(&httpdate::fmt_http_date(soon)).unwrap();
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20));
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after(text), None, "{text}");
        }
    }
}
