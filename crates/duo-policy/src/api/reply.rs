//! Duo's answers as types. Every byte of an answer may be hostile, so this module
//! makes no system call, and it is fuzzed.
//!
//! `stat` and `result` are read first and alone. Any other field that is
//! absent or of the wrong type counts as absent, so that a null message next to
//! a "deny" is still a deny, and never an error that failmode could forgive
//! (docs/duo-api.md, *Envelope*).

use serde_json::{Map, Value, json};

use super::menu::{Factor, Menu};
use crate::error::Error;

/// An answer of Duo's with `stat: OK`.
#[derive(Debug)]
pub struct Response(Value);

/// An answer that is not `stat: OK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What the client can do about it.
    pub kind: Kind,
    /// The error of the request, if the client can do nothing.
    pub error: Error,
    /// Duo's own code, if it sent one. Source: docs/duo-api.md, *Envelope*.
    pub code: Option<u64>,
}

/// What the client can do about an answer that is not `stat: OK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Code 40105, our clock is off: ask for the time and sign again.
    Clock,
    /// A 401 that does not say why, from an old server, or not from Duo at all.
    /// The clock may be the reason: ask for the time.
    Unexplained401,
    /// HTTP 429: wait and ask again.
    RateLimited,
    /// The client can do nothing: the answer ends the attempt or the login.
    Final,
}

impl Trouble {
    fn new(kind: Kind, error: Error, code: Option<u64>) -> Trouble {
        Trouble { kind, error, code }
    }

    /// A final [`Trouble`] without a code.
    pub fn of_error(error: Error) -> Trouble {
        Trouble::new(Kind::Final, error, None)
    }

    fn unexplained_401() -> Trouble {
        let text = "HTTP 401: invalid ikey or skey".to_owned();
        Trouble::new(Kind::Unexplained401, Error::Service(text), None)
    }

    fn rate_limited(code: Option<u64>) -> Trouble {
        let text = "HTTP 429: Duo is rate limiting".to_owned();
        Trouble::new(Kind::RateLimited, Error::Refused(text), code)
    }

    /// A `result` under an HTTP status that is an error: Duo has answered, so
    /// failmode must not apply.
    fn result_under_error_status(http: u16) -> Trouble {
        Trouble::of_error(Error::Refused(format!("HTTP {http} around an answer")))
    }
}

/// Reads one answer, by its HTTP status and its body. Source: docs/duo-api.md,
/// *Envelope*.
///
/// # Errors
/// A [`Trouble`] for every answer that is not `stat: OK`.
pub fn read(http: u16, body: &[u8]) -> Result<Response, Trouble> {
    let envelope = Envelope::read(body);
    match http {
        200..=299 => match envelope {
            Err(why) => Err(Trouble::of_error(Error::Service(why))),
            Ok(Envelope::Ok(response)) => Ok(response),
            Ok(Envelope::Fail(failure)) => failure.under_200(),
        },
        401 => match envelope {
            Ok(Envelope::Fail(failure)) => Err(failure.unauthorized(StatusSource::Http)),
            Ok(Envelope::Ok(response)) if response.has_result() => {
                Err(Trouble::result_under_error_status(http))
            }
            _ => Err(Trouble::unexplained_401()),
        },
        429 => Err(Trouble::rate_limited(match envelope {
            Ok(Envelope::Fail(failure)) => failure.code,
            _ => None,
        })),
        // A 4xx denies, whatever stands in its body: the error page of a proxy
        // must not open the door under `safe`.
        400..=499 => Err(match envelope {
            Ok(Envelope::Fail(failure)) => {
                let text = format!("HTTP {http}: {}", failure.description());
                Trouble::new(Kind::Final, Error::Refused(text), failure.code)
            }
            _ => Trouble::of_error(Error::Refused(format!("HTTP {http}"))),
        }),
        // With a `result`, Duo has answered, and failmode may not overrule it.
        _ => Err(match envelope {
            Ok(Envelope::Ok(response)) if response.has_result() => {
                Trouble::result_under_error_status(http)
            }
            _ => Trouble::of_error(Error::Service(format!("HTTP {http}"))),
        }),
    }
}

enum Envelope {
    Ok(Response),
    Fail(Failure),
}

struct Failure {
    code: Option<u64>,
    message: Option<String>,
    detail: Option<String>,
}

impl Envelope {
    fn read(body: &[u8]) -> Result<Envelope, String> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return Err("invalid response: not a JSON object".to_owned());
        };
        match text_field(Some(&fields), "stat")
            .map(|stat| stat.to_ascii_uppercase())
            .as_deref()
        {
            Some("OK") => Ok(Envelope::Ok(Response(
                fields.remove("response").unwrap_or_default(),
            ))),
            Some("FAIL") => Ok(Envelope::Fail(Failure {
                code: fields.get("code").and_then(Value::as_u64),
                message: text_field(Some(&fields), "message").map(str::to_owned),
                detail: text_field(Some(&fields), "message_detail").map(str::to_owned),
            })),
            _ => Err("invalid response: no 'stat' that is OK or FAIL".to_owned()),
        }
    }
}

/// Where the status of a failure comes from. An error text must not name an HTTP
/// status that never came.
#[derive(Clone, Copy)]
enum StatusSource {
    /// The status is that of HTTP.
    Http,
    /// The status comes from the code of a FAIL under HTTP 200.
    Code,
}

impl Failure {
    /// Reads a FAIL under HTTP 200. The first three digits of a five-digit code are
    /// the HTTP status that it means; any other code denies the attempt.
    fn under_200(self) -> Result<Response, Trouble> {
        let Some(code) = self.code else {
            let why = "invalid response: FAIL without a code".to_owned();
            return Err(Trouble::of_error(Error::Service(why)));
        };
        let text = format!("code {}", self.description());
        let error = match code {
            40_100..=40_199 => return Err(self.unauthorized(StatusSource::Code)),
            42_900..=42_999 => return Err(Trouble::rate_limited(self.code)),
            30_000..=39_999 | 50_000..=59_999 => Error::Service(text),
            10_000..=99_999 => Error::Refused(text),
            _ => return Ok(Response::of_denial(self.description())),
        };
        Err(Trouble::new(Kind::Final, error, self.code))
    }

    fn unauthorized(self, source: StatusSource) -> Trouble {
        let (kind, which) = match self.code {
            Some(40_105) => (Kind::Clock, "Duo says that this machine's clock is off"),
            Some(40_102) => (Kind::Final, "Duo does not know this ikey"),
            Some(40_103) => (Kind::Final, "wrong skey for this ikey and host"),
            Some(40_101) => (Kind::Final, "Duo misses the credentials"),
            Some(40_104) => (Kind::Final, "Duo misses the date"),
            Some(_) => (Kind::Final, "invalid ikey or skey"),
            None => return Trouble::unexplained_401(),
        };
        let text = match source {
            StatusSource::Http => format!("HTTP 401: {which} ({})", self.description()),
            StatusSource::Code => format!("{which} (code {})", self.description()),
        };
        Trouble::new(kind, Error::Service(text), self.code)
    }

    /// `code: message: detail`, without the parts that Duo did not send.
    fn description(&self) -> String {
        let parts = [
            self.code.map(|code| code.to_string()),
            self.message.clone(),
            self.detail.clone(),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
    }
}

/// The answer of preauth about a user. Source: docs/duo-api.md, *Requests*.
#[derive(Debug, PartialEq, Eq)]
pub enum Preauth {
    /// The user needs a factor of this menu.
    Auth(Menu),
    /// The user needs no second factor; why.
    Allow(String),
    /// The login is denied; why.
    Deny(String),
    /// The person must enrol first.
    Enroll {
        /// Duo's instructions for the person.
        text: String,
        /// The address of the page for it, if Duo sent one.
        url: Option<String>,
    },
}

/// The answer of auth or `auth_status`. Source: docs/duo-api.md, *Requests*.
#[derive(Debug, PartialEq, Eq)]
pub enum Auth {
    /// The verification has begun: ask `auth_status` about this transaction.
    Started(String),
    /// How far the verification is. An answer of auth is the verdict.
    Settled(Status),
}

/// The answer of `auth_status`. Source: docs/duo-api.md, *Requests*.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// How far the transaction is.
    pub progress: Progress,
    /// A text for the person, if Duo sent one.
    pub message: Option<String>,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is no verdict yet: ask again.
    Waiting,
    /// Duo allows the login.
    Allow,
    /// Duo denies the attempt, or answers with a word that we do not know: Duo says
    /// that new ones may come.
    Deny,
    /// Duo denies the attempt and has locked the user out, so it will deny the next
    /// attempt too.
    LockedOut,
    /// The person reported the request as one that they did not make.
    Fraud,
}

impl Response {
    /// A denial with the text `why`.
    fn of_denial(why: String) -> Response {
        Response(json!({"result": "deny", "status_msg": why}))
    }

    /// Reads preauth's answer.
    ///
    /// # Errors
    /// [`Error::Service`] if `result` is not there.
    pub fn preauth(&self) -> Result<Preauth, Error> {
        let fields = self.fields();
        let status = || message_field(fields, "status_msg").unwrap_or_default();
        let prompt = object_field(fields, "prompt");
        Ok(match self.result()?.as_str() {
            "auth" => Preauth::Auth(self.menu()),
            "allow" => Preauth::Allow(status()),
            "enroll" => Preauth::Enroll {
                text: message_field(prompt, "text").unwrap_or_else(status),
                url: text_field(fields, "enroll_portal_url").map(str::to_owned),
            },
            "deny" => Preauth::Deny(status()),
            unknown => Preauth::Deny(format!("unknown result '{unknown}'")),
        })
    }

    /// Reads auth's answer.
    ///
    /// # Errors
    /// [`Error::Service`] if there is neither a `txid` nor a `result`.
    pub fn auth(&self) -> Result<Auth, Error> {
        let settled = self
            .status()
            .ok()
            .filter(|status| status.progress != Progress::Waiting);
        match (settled, text_field(self.fields(), "txid")) {
            (Some(status), _) => Ok(Auth::Settled(status)),
            (None, Some(txid)) => Ok(Auth::Started(txid.to_owned())),
            (None, None) => Err(missing("txid")),
        }
    }

    /// Reads `auth_status`'s answer.
    ///
    /// # Errors
    /// [`Error::Service`] if `result` is not there.
    pub fn status(&self) -> Result<Status, Error> {
        let progress = match self.result()?.as_str() {
            "allow" => Progress::Allow,
            "waiting" => Progress::Waiting,
            _ => {
                let is = |word| is_word(text_field(self.fields(), "status"), word);
                match () {
                    () if is("locked_out") => Progress::LockedOut,
                    () if is("fraud") => Progress::Fraud,
                    () => Progress::Deny,
                }
            }
        };
        let message = message_field(self.fields(), "status_msg");
        Ok(Status { progress, message })
    }

    /// The time on Duo's clock, in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Service`] if it is not there.
    pub fn time(&self) -> Result<i64, Error> {
        self.fields()
            .and_then(|fields| fields.get("time")?.as_i64())
            .ok_or_else(|| missing("time"))
    }

    /// Whether Duo has answered about this login: there is a textual `result`.
    pub fn has_result(&self) -> bool {
        self.result().is_ok()
    }

    /// Why Duo denies; `None` if this answer is no denial.
    pub fn denial(&self) -> Option<String> {
        match self.preauth() {
            Ok(Preauth::Deny(why)) => Some(why),
            _ => None,
        }
    }

    fn result(&self) -> Result<String, Error> {
        text_field(self.fields(), "result")
            .map(str::to_ascii_lowercase)
            .ok_or_else(|| missing("result"))
    }

    fn menu(&self) -> Menu {
        let fields = self.fields();
        let txid = text_field(fields, "txid");
        match object_field(fields, "prompt") {
            Some(prompt) => prompted_menu(prompt, txid),
            None => device_menu(fields.and_then(|fields| fields.get("devices"))),
        }
    }

    fn fields(&self) -> Option<&Map<String, Value>> {
        self.0.as_object()
    }
}

fn missing(field: &str) -> Error {
    Error::Service(format!("invalid response: no '{field}'"))
}

/// The text in the field `name`.
fn text_field<'a>(fields: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a str> {
    fields?.get(name)?.as_str()
}

/// Whether `found` is `word`, in any case (docs/duo-api.md, *Envelope*).
fn is_word(found: Option<&str>, word: &str) -> bool {
    found.is_some_and(|found| found.eq_ignore_ascii_case(word))
}

/// A text for the person and the log, without the line end that Duo may put behind it. In the log
/// that line end would become an escape, perhaps right behind an address.
fn message_field(fields: Option<&Map<String, Value>>, name: &str) -> Option<String> {
    text_field(fields, name).map(|text| text.trim().to_owned())
}

/// The object in the field `name`.
fn object_field<'a>(
    fields: Option<&'a Map<String, Value>>,
    name: &str,
) -> Option<&'a Map<String, Value>> {
    fields?.get(name)?.as_object()
}

/// The menu that Duo wrote, for an application of type "UNIX Application".
fn prompted_menu(prompt: &Map<String, Value>, txid: Option<&str>) -> Menu {
    let mut menu = Menu::prompted(text_field(Some(prompt), "text").unwrap_or_default(), txid);
    for (key, name) in object_field(Some(prompt), "factors").into_iter().flatten() {
        if let Some(name) = name.as_str() {
            menu.add_prompted(key, name);
        }
    }
    menu
}

/// The menu that we build, for an application of type "Auth API".
fn device_menu(devices: Option<&Value>) -> Menu {
    let mut menu = Menu::of_devices();
    let devices: Vec<&Map<String, Value>> = match devices {
        Some(Value::Array(devices)) => devices.iter().filter_map(Value::as_object).collect(),
        _ => Vec::new(),
    };
    type Make = fn(String) -> Factor;
    let kinds: [(&str, &str, Make); 3] = [
        ("push", "Duo Push to", Factor::Push),
        ("phone", "Phone call to", Factor::Phone),
        ("sms", "SMS passcodes to", Factor::Sms),
    ];
    for (capability, label, make) in kinds {
        for device in &devices {
            let able = match device.get("capabilities") {
                Some(Value::Array(list)) => {
                    list.iter().any(|word| is_word(word.as_str(), capability))
                }
                _ => false,
            };
            if let (true, Some(id)) = (able, text_field(Some(device), "device")) {
                let name = ["display_name", "number", "name"].iter().find_map(|field| {
                    text_field(Some(device), field).filter(|text| !text.is_empty())
                });
                menu.add_device(label, name.unwrap_or(id), make(id.to_owned()));
            }
        }
    }
    menu
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(response: &str) -> Response {
        let body = format!(r#"{{"stat":"OK","response":{response}}}"#);
        read(200, body.as_bytes()).unwrap()
    }

    fn trouble(http: u16, body: &str) -> Trouble {
        read(http, body.as_bytes()).unwrap_err()
    }

    fn is_service(trouble: &Trouble) -> bool {
        trouble.kind == Kind::Final && matches!(trouble.error, Error::Service(_))
    }

    fn is_refused(trouble: &Trouble) -> bool {
        trouble.kind == Kind::Final && matches!(trouble.error, Error::Refused(_))
    }

    #[test]
    fn a_deny_beside_broken_fields_is_a_deny() {
        let response = ok(r#"{"result":"deny","status_msg":null,"devices":7,"prompt":[]}"#);
        assert_eq!(response.preauth(), Ok(Preauth::Deny(String::new())));
        assert_eq!(
            response.status().map(|status| status.progress),
            Ok(Progress::Deny)
        );
    }

    #[test]
    fn a_line_end_behind_a_text_is_no_part_of_it() {
        let response = ok(r#"{"result":"deny","status_msg":" no\nwhy\r\n"}"#);
        assert_eq!(response.preauth(), Ok(Preauth::Deny("no\nwhy".into())));
        let message = response.status().unwrap().message;
        assert_eq!(message.as_deref(), Some("no\nwhy"));
    }

    #[test]
    fn an_unknown_result_denies() {
        let response = ok(r#"{"result":"perhaps"}"#);
        assert!(matches!(response.preauth(), Ok(Preauth::Deny(_))));
        assert_eq!(
            response.status().map(|status| status.progress),
            Ok(Progress::Deny)
        );
    }

    #[test]
    fn words_compare_without_regard_to_case() {
        let response = read(200, br#"{"stat":"ok","response":{"result":"ALLOW"}}"#).unwrap();
        assert_eq!(
            response.status().map(|status| status.progress),
            Ok(Progress::Allow)
        );
        let locked = ok(r#"{"result":"Deny","status":"Locked_Out"}"#).status();
        assert_eq!(locked.unwrap().progress, Progress::LockedOut);
        let fraud = ok(r#"{"result":"Deny","status":"Fraud"}"#).status();
        assert_eq!(fraud.unwrap().progress, Progress::Fraud);
        let allowed = ok(r#"{"result":"Allow","status":"Fraud"}"#).status();
        assert_eq!(allowed.unwrap().progress, Progress::Allow);
        let device = r#"{"device":"D1","capabilities":["Push"]}"#;
        let response = ok(&format!(r#"{{"result":"AUTH","devices":[{device}]}}"#));
        let Ok(Preauth::Auth(menu)) = response.preauth() else {
            panic!("asks")
        };
        assert_eq!(menu.default_factor(), Some(Factor::Push("D1".into())));
    }

    #[test]
    fn what_is_not_duos_is_a_service_error() {
        for body in [
            "",
            "null",
            "[]",
            "<html>",
            "{",
            r#"{"response":{"result":"allow"}}"#,
            r#"{"stat":7,"response":{"result":"allow"}}"#,
            r#"{"stat":"FAIL"}"#,
        ] {
            assert!(is_service(&trouble(200, body)), "{body}");
        }
        let not_utf8 = b"{\"stat\":\"OK\",\"response\":{\"result\":\"allow\xff\"}}";
        assert!(is_service(&read(200, not_utf8).unwrap_err()));
        let nested = "[".repeat(500_000);
        assert!(is_service(&trouble(200, &nested)));
        for status in [302, 500, 503, 304, 599] {
            assert!(is_service(&trouble(
                status,
                r#"{"stat":"FAIL","code":50000}"#
            )));
            assert!(is_service(&trouble(status, "")));
        }
    }

    #[test]
    fn an_answer_under_a_wrong_status_opens_nothing() {
        for status in [302, 401, 403, 500] {
            for result in ["allow", "deny"] {
                let body = format!(r#"{{"stat":"OK","response":{{"result":"{result}"}}}}"#);
                assert!(!is_service(&trouble(status, &body)), "{status} {result}");
            }
        }
    }

    #[test]
    fn a_result_of_the_wrong_type_is_named() {
        for response in ["{}", r#"{"result":1}"#, "null", "[]"] {
            let error = ok(response).preauth().unwrap_err();
            assert_eq!(
                error,
                Error::Service("invalid response: no 'result'".into())
            );
        }
    }

    #[test]
    fn a_401_says_what_is_wrong() {
        let body = |code: u32| format!(r#"{{"stat":"FAIL","code":{code},"message":"m"}}"#);
        assert_eq!(trouble(401, &body(40105)).kind, Kind::Clock);
        assert_eq!(trouble(401, "nope").kind, Kind::Unexplained401);
        for (code, words) in [
            (40102, "ikey"),
            (40103, "wrong skey"),
            (40101, "credentials"),
        ] {
            let Error::Service(text) = trouble(401, &body(code)).error else {
                panic!("{code} is a service error")
            };
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_refusal_is_not_a_service_error() {
        assert!(is_refused(&trouble(
            403,
            r#"{"stat":"FAIL","code":40301,"message":"m"}"#
        )));
        assert!(is_refused(&trouble(400, "")));
        assert_eq!(trouble(429, "").kind, Kind::RateLimited);
    }

    #[test]
    fn a_fail_under_200_is_judged_by_its_code() {
        let body = |code: u32| format!(r#"{{"stat":"FAIL","code":{code},"message":"m"}}"#);
        assert!(is_refused(&trouble(200, &body(40301))));
        assert!(is_service(&trouble(200, &body(50000))));
        assert_eq!(trouble(200, &body(42901)).kind, Kind::RateLimited);
        assert_eq!(trouble(200, &body(40105)).kind, Kind::Clock);
        // Such a code means no HTTP status: the attempt is denied, with Duo's text.
        for code in [7, 9_999, 100_000] {
            let response = read(200, body(code).as_bytes()).unwrap();
            let why = format!("{code}: m");
            assert_eq!(response.preauth(), Ok(Preauth::Deny(why.clone())));
            let denied = Status {
                progress: Progress::Deny,
                message: Some(why),
            };
            assert_eq!(response.auth(), Ok(Auth::Settled(denied)));
        }
    }

    #[test]
    fn auth_answers_with_a_transaction_or_at_once() {
        assert_eq!(ok(r#"{"txid":"t"}"#).auth(), Ok(Auth::Started("t".into())));
        assert!(matches!(
            ok(r#"{"result":"allow"}"#).auth(),
            Ok(Auth::Settled(_))
        ));
        assert_eq!(ok(r#"{"txid":null}"#).auth(), Err(missing("txid")));
    }

    #[test]
    fn a_device_that_cannot_be_read_drops_that_device_only() {
        let response = ok(
            r#"{"result":"auth","devices":[7,{"device":"D1","capabilities":["push",3]},
            {"device":null,"capabilities":["push"]},{"device":"D2","capabilities":"push"}]}"#,
        );
        let Ok(Preauth::Auth(menu)) = response.preauth() else {
            panic!("asks")
        };
        assert_eq!(menu.factor("1"), Some(Factor::Push("D1".into())));
        assert_eq!(menu.factor("2"), Some(Factor::Passcode("2".into())));
    }

    #[test]
    fn duplicate_keys_do_not_confuse() {
        let body = br#"{"stat":"OK","response":{"result":"allow","result":"deny"}}"#;
        let status = read(200, body).unwrap().status();
        assert_eq!(status.map(|status| status.progress), Ok(Progress::Deny));
    }
}
