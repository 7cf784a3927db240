//! Faults: what can go wrong, where, and how often.

use std::time::Duration;

/// What a fault is tied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Every request, a path that does not exist included.
    Any,
    /// `GET /auth/v2/ping`
    Ping,
    /// `GET /auth/v2/check`
    Check,
    /// `POST /auth/v2/preauth`
    Preauth,
    /// `POST /auth/v2/auth`
    Auth,
    /// `GET /auth/v2/auth_status`
    AuthStatus,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// From now on.
    Always,
    /// The first N requests it fits, then never again.
    First(usize),
}

/// The point of an exchange at which the connection goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// TCP is accepted, nothing is ever read or sent.
    BeforeTls,
    /// The client's hello is read, and the beginning of a server's hello sent.
    InTls,
    /// The request is read whole (and carried out), nothing is answered.
    BeforeHeaders,
    /// Half of the answer's head is sent.
    InHeaders,
    /// The head and half of the body are sent.
    InBody,
}

impl Stage {
    /// Whether it comes before any request, and so is the same for every endpoint.
    pub(crate) fn is_before_requests(self) -> bool {
        matches!(self, Self::BeforeTls | Self::InTls)
    }
}

/// What a 429 says about when to come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Nothing.
    Absent,
    /// `Retry-After: N`
    Seconds(u64),
    /// `X-Retry-After: N`
    XSeconds(u64),
    /// `Retry-After:` an HTTP date so many seconds from now on the service's clock; negative for the past.
    Date(i64),
    /// `Retry-After:` these words.
    Text(String),
}

/// What goes wrong. Faults that spare the answer ([`Fault::Delay`], [`Fault::Stall`] and whatever cuts or pads it) let the
/// request take effect; those that put another in its place do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: a place in a sequence where all is well.
    None,
    /// The right answer, this much later.
    Delay(Duration),
    /// An HTTP status with Duo's JSON envelope and this code.
    Status {
        /// HTTP status
        status: u16,
        /// Duo's code, as 40103
        code: u32,
    },
    /// An HTTP status with a page of HTML, as a web server in front of Duo would answer.
    Bare {
        /// HTTP status
        status: u16,
    },
    /// 429 with code 42901.
    RateLimited(RetryAfter),
    /// 302 to this address.
    Redirect(String),
    /// `stat: FAIL` under HTTP 200.
    Fail {
        /// Duo's code; `None` leaves it out.
        code: Option<u32>,
        /// Duo's message.
        message: String,
    },
    /// HTTP 200 with this body, called JSON.
    Body(Vec<u8>),
    /// HTTP 200 and `stat: OK`, with this text as `response`.
    Response(String),
    /// HTTP 200 with random-looking bytes.
    Garbage,
    /// HTTP 200 with a page of HTML.
    NotJson,
    /// The right answer without `stat`.
    NoStat,
    /// `stat: OK` without `response`.
    NoResponse,
    /// The right answer without `result` (and without `txid`).
    NoResult,
    /// The right answer, every field but `result` of a wrong type.
    WrongTypes,
    /// The right answer, `result` a number.
    WrongResult,
    /// The right answer, each key twice: first with another value, then with the right one.
    DuplicateKeys,
    /// The right answer with bytes that are not UTF-8 in `status_msg`.
    InvalidUtf8,
    /// 500,000 opening brackets.
    DeepBrackets,
    /// The right answer, padded to over 2 MiB.
    HugeBody,
    /// 4 GiB announced, and sent for as long as the client reads.
    EndlessBody,
    /// The right answer in chunks of one byte.
    Chunked,
    /// `HTTP/1.1 100 Continue` for as long as the client reads.
    ContinueForever,
    /// These bytes in place of an answer, then the end.
    Raw(Vec<u8>),
    /// Silence from this stage on, the connection held open.
    Stall(Stage),
    /// One byte a second from this stage on.
    Trickle(Stage),
    /// The connection closed at this stage, without a goodbye from TLS.
    Close(Stage),
    /// The connection reset (RST) at this stage.
    Reset(Stage),
    /// Closed after so many bytes of the answer, its head included.
    DropAfter(usize),
    /// The right answer, then closed without having said so.
    CloseAfterAnswer,
    /// The right answer with `Connection: close`, then closed.
    SayClose,
    /// The right answer, then closed once idle for this long.
    CloseWhenIdle(Duration),
}

impl Fault {
    /// Whether it strikes the connection before there is a request: such faults count connections, not requests, and the
    /// endpoint they are set for does not matter.
    #[must_use]
    pub fn is_of_connection(&self) -> bool {
        match self {
            Self::Stall(stage) | Self::Trickle(stage) | Self::Close(stage) | Self::Reset(stage) => {
                stage.is_before_requests()
            }
            _ => false,
        }
    }

    /// Whether it answers in the request's place, so that the request takes no effect.
    pub(crate) fn replaces_answer(&self) -> bool {
        matches!(
            self,
            Self::Status { .. }
                | Self::Bare { .. }
                | Self::RateLimited(_)
                | Self::Redirect(_)
                | Self::Fail { .. }
                | Self::Body(_)
                | Self::Response(_)
                | Self::Garbage
                | Self::NotJson
                | Self::NoResponse
                | Self::DeepBrackets
                | Self::ContinueForever
                | Self::Raw(_)
        )
    }
}

/// A fault with its place: what `serve --fault` takes, as `[ENDPOINT/]NAME[:ARG][@TIMES]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where it strikes.
    pub endpoint: Endpoint,
    /// What goes wrong.
    pub fault: Fault,
    /// How often.
    pub times: Times,
}

impl Setting {
    fn is_of_connection(&self) -> bool {
        self.fault.is_of_connection()
    }
}

/// The faults in force, in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<(Setting, usize)>);

impl Plan {
    pub fn add(&mut self, setting: Setting) {
        self.0.push((setting, 0));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of the next connection.
    pub fn of_connection(&mut self) -> Option<Fault> {
        self.take(Setting::is_of_connection)
    }

    /// The fault of the next request to `endpoint`; `None` for a path that does not exist.
    pub fn of_request(&mut self, endpoint: Option<Endpoint>) -> Option<Fault> {
        self.take(|setting| {
            !setting.is_of_connection()
                && (setting.endpoint == Endpoint::Any || Some(setting.endpoint) == endpoint)
        })
    }

    /// The first that fits and is not used up.
    fn take(&mut self, fits: impl Fn(&Setting) -> bool) -> Option<Fault> {
        let (setting, used) = self.0.iter_mut().find(|(setting, used)| {
            fits(setting) && !matches!(setting.times, Times::First(most) if *used >= most)
        })?;
        *used += 1;
        Some(setting.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_one_endpoint_take_turns() {
        let mut plan = Plan::default();
        for text in [
            "preauth/rate-limited@2",
            "any/bare:500@1",
            "preauth/garbage",
            "close:before-tls@1",
        ] {
            plan.add(text.parse().unwrap());
        }
        let mut next = || plan.of_request(Some(Endpoint::Preauth)).unwrap();
        assert_eq!(next(), Fault::RateLimited(RetryAfter::Absent));
        assert_eq!(next(), Fault::RateLimited(RetryAfter::Absent));
        assert_eq!(next(), Fault::Bare { status: 500 });
        assert_eq!(next(), Fault::Garbage);
        assert_eq!(plan.of_request(Some(Endpoint::Ping)), None);
        assert_eq!(plan.of_connection(), Some(Fault::Close(Stage::BeforeTls)));
        assert_eq!(plan.of_connection(), None);
    }
}
