//! Duo's answers as types. Pure, and it has to be: every byte is hostile.
//!
//! `stat` and `result` are judged first and alone. Any other field that is
//! absent or of the wrong type counts as absent, so that a null message next to
//! a "deny" is still a deny, and never an error that failmode could forgive.

use serde_json::{Map, Value, json};

use super::menu::{Factor, Menu};
use crate::error::Error;

/// An answer of Duo's with `stat: OK`.
#[derive(Debug)]
pub struct Response(Value);

/// An answer that is not an OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What may be done about it.
    pub kind: Kind,
    /// What it means where nothing helps.
    pub error: Error,
    /// Duo's own number for it, if it gave one. Source: Duo Auth API, "Response Codes".
    pub code: Option<u64>,
}

/// What may be done about an answer that is not an OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 40105: our clock is off. Ask for the time and sign again.
    Clock,
    /// A 401 that does not say why: an old server, or not Duo at all. The clock
    /// may be the reason.
    Unexplained401,
    /// 429: come back later.
    RateLimited,
    /// Nothing: it ends the attempt or the login.
    Final,
}

impl Trouble {
    fn new(kind: Kind, error: Error, code: Option<u64>) -> Trouble {
        Trouble { kind, error, code }
    }

    /// Trouble that nothing helps against, and that has no number.
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

    fn around_an_answer(http: u16) -> Trouble {
        Trouble::of_error(Error::Refused(format!("HTTP {http} around an answer")))
    }
}

/// Judges one answer by its HTTP status and body. Source: Duo Auth API,
/// "Response Format" and "Response Codes".
///
/// # Errors
/// The [`Trouble`].
pub fn read(http: u16, body: &[u8]) -> Result<Response, Trouble> {
    let envelope = Envelope::read(body);
    match http {
        200..=299 => match envelope {
            Err(why) => Err(Trouble::of_error(Error::Service(why))),
            Ok(Envelope::Ok(response)) => Ok(response),
            Ok(Envelope::Fail(failure)) => failure.under_200(),
        },
        401 => match envelope {
            Ok(Envelope::Fail(failure)) => Err(failure.unauthorized(Told::ByHttp)),
            Ok(Envelope::Ok(response)) if response.has_result() => {
                Err(Trouble::around_an_answer(http))
            }
            _ => Err(Trouble::unexplained_401()),
        },
        429 => Err(Trouble::rate_limited(match envelope {
            Ok(Envelope::Fail(failure)) => failure.code,
            _ => None,
        })),
        // The status of a refusal counts, whatever stands in its body: a page of
        // a proxy's must not open the door under `safe`.
        400..=499 => Err(match envelope {
            Ok(Envelope::Fail(failure)) => {
                let text = format!("HTTP {http}: {}", failure.text());
                Trouble::new(Kind::Final, Error::Refused(text), failure.code)
            }
            _ => Trouble::of_error(Error::Refused(format!("HTTP {http}"))),
        }),
        // Duo has spoken, in whatever status: failmode may not speak over it.
        _ => Err(match envelope {
            Ok(Envelope::Ok(response)) if response.has_result() => Trouble::around_an_answer(http),
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
        match text(Some(&fields), "stat")
            .map(|stat| stat.to_ascii_uppercase())
            .as_deref()
        {
            Some("OK") => Ok(Envelope::Ok(Response(
                fields.remove("response").unwrap_or_default(),
            ))),
            Some("FAIL") => Ok(Envelope::Fail(Failure {
                code: fields.get("code").and_then(Value::as_u64),
                message: text(Some(&fields), "message").map(str::to_owned),
                detail: text(Some(&fields), "message_detail").map(str::to_owned),
            })),
            _ => Err("invalid response: no 'stat' that is OK or FAIL".to_owned()),
        }
    }
}

/// Where the status of a failure comes from; the log names nothing that did not come.
#[derive(Clone, Copy)]
enum Told {
    /// From the HTTP status.
    ByHttp,
    /// From the code of a FAIL under HTTP 200.
    ByCode,
}

impl Failure {
    /// The first three digits of a five-digit code are the HTTP status it means;
    /// any other code denies the attempt.
    fn under_200(self) -> Result<Response, Trouble> {
        let Some(code) = self.code else {
            let why = "invalid response: FAIL without a code".to_owned();
            return Err(Trouble::of_error(Error::Service(why)));
        };
        let text = format!("code {}", self.text());
        let error = match code {
            40_100..=40_199 => return Err(self.unauthorized(Told::ByCode)),
            42_900..=42_999 => return Err(Trouble::rate_limited(self.code)),
            30_000..=39_999 | 50_000..=59_999 => Error::Service(text),
            10_000..=99_999 => Error::Refused(text),
            _ => return Ok(Response::of_denial(self.text())),
        };
        Err(Trouble::new(Kind::Final, error, self.code))
    }

    fn unauthorized(self, told: Told) -> Trouble {
        let (kind, which) = match self.code {
            Some(40_105) => (Kind::Clock, "Duo says that this machine's clock is off"),
            Some(40_102) => (Kind::Final, "Duo does not know this ikey"),
            Some(40_103) => (Kind::Final, "wrong skey for this ikey and host"),
            Some(40_101) => (Kind::Final, "Duo misses the credentials"),
            Some(40_104) => (Kind::Final, "Duo misses the date"),
            Some(_) => (Kind::Final, "invalid ikey or skey"),
            None => return Trouble::unexplained_401(),
        };
        let text = match told {
            Told::ByHttp => format!("HTTP 401: {which} ({})", self.text()),
            Told::ByCode => format!("{which} (code {})", self.text()),
        };
        Trouble::new(kind, Error::Service(text), self.code)
    }

    /// `code: message: detail`, as far as they are there.
    fn text(&self) -> String {
        let parts = [
            self.code.map(|code| code.to_string()),
            self.message.clone(),
            self.detail.clone(),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
    }
}

/// What preauth says of a user. Source: Duo Auth API, "preauth".
#[derive(Debug, PartialEq, Eq)]
pub enum Preauth {
    /// Ask for a factor.
    Auth(Menu),
    /// No second factor needed; why.
    Allow(String),
    /// Denied; why.
    Deny(String),
    /// The person must enrol first.
    Enroll {
        /// What to tell them.
        text: String,
        /// Where.
        url: Option<String>,
    },
}

/// What auth says. Source: Duo Auth API, "auth".
#[derive(Debug, PartialEq, Eq)]
pub enum Auth {
    /// Under way: ask `auth_status` about this transaction.
    Started(String),
    /// The server answered at once.
    Settled(Status),
}

/// What `auth_status` says. Source: Duo Auth API, "auth_status".
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it stands.
    pub progress: Progress,
    /// For the person, if there is something to say.
    pub message: Option<String>,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Ask again.
    Waiting,
    /// Yes.
    Allow,
    /// No, or a word that we do not know: Duo says that new ones may come.
    Deny,
    /// No, and no to whatever comes next.
    LockedOut,
}

impl Response {
    /// Duo's no, in these words.
    fn of_denial(why: String) -> Response {
        Response(json!({"result": "deny", "status_msg": why}))
    }

    /// Reads preauth's answer.
    ///
    /// # Errors
    /// [`Error::Service`] if `result` is not there.
    pub fn preauth(&self) -> Result<Preauth, Error> {
        let fields = self.fields();
        let status = || message(fields, "status_msg").unwrap_or_default();
        let prompt = object(fields, "prompt");
        Ok(match self.result()?.as_str() {
            "auth" => Preauth::Auth(self.menu()),
            "allow" => Preauth::Allow(status()),
            "enroll" => Preauth::Enroll {
                text: message(prompt, "text").unwrap_or_else(status),
                url: text(fields, "enroll_portal_url").map(str::to_owned),
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
        match (settled, text(self.fields(), "txid")) {
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
            _ if is(text(self.fields(), "status"), "locked_out") => Progress::LockedOut,
            _ => Progress::Deny,
        };
        let message = message(self.fields(), "status_msg");
        Ok(Status { progress, message })
    }

    /// The server's clock, in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Service`] if it is not there.
    pub fn time(&self) -> Result<i64, Error> {
        self.fields()
            .and_then(|fields| fields.get("time")?.as_i64())
            .ok_or_else(|| missing("time"))
    }

    /// Whether Duo has spoken of this login: a textual `result` is there.
    pub fn has_result(&self) -> bool {
        self.result().is_ok()
    }

    /// Why Duo denies, where its answer is a denial.
    pub fn denial(&self) -> Option<String> {
        match self.preauth() {
            Ok(Preauth::Deny(why)) => Some(why),
            _ => None,
        }
    }

    fn result(&self) -> Result<String, Error> {
        text(self.fields(), "result")
            .map(str::to_ascii_lowercase)
            .ok_or_else(|| missing("result"))
    }

    fn menu(&self) -> Menu {
        let fields = self.fields();
        let txid = text(fields, "txid");
        match object(fields, "prompt") {
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

fn text<'a>(fields: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a str> {
    fields?.get(name)?.as_str()
}

/// Duo's words compare without regard to case.
fn is(found: Option<&str>, word: &str) -> bool {
    found.is_some_and(|found| found.eq_ignore_ascii_case(word))
}

/// A text for the person and the log, without the line end that Duo may put behind it: in the log
/// that would be a `?`, right behind an address perhaps.
fn message(fields: Option<&Map<String, Value>>, name: &str) -> Option<String> {
    text(fields, name).map(|text| text.trim().to_owned())
}

fn object<'a>(
    fields: Option<&'a Map<String, Value>>,
    name: &str,
) -> Option<&'a Map<String, Value>> {
    fields?.get(name)?.as_object()
}

/// The menu of a "UNIX Application": Duo wrote it.
fn prompted_menu(prompt: &Map<String, Value>, txid: Option<&str>) -> Menu {
    let mut menu = Menu::prompted(text(Some(prompt), "text").unwrap_or_default(), txid);
    for (key, name) in object(Some(prompt), "factors").into_iter().flatten() {
        if let Some(name) = name.as_str() {
            menu.add_prompted(key, name);
        }
    }
    menu
}

/// The menu of an "Auth API" integration: we write it.
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
                Some(Value::Array(list)) => list.iter().any(|word| is(word.as_str(), capability)),
                _ => false,
            };
            if let (true, Some(id)) = (able, text(Some(device), "device")) {
                let name = ["display_name", "number", "name"]
                    .iter()
                    .find_map(|field| text(Some(device), field).filter(|text| !text.is_empty()));
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
        // No status at all: an attempt that is denied, in Duo's words.
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
