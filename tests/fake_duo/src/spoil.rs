//! Faults of content: another answer, or the right one made wrong. Pure.

use crate::fault::{Fault, RetryAfter};
use crate::http::Answer;
use crate::{clock, refusal};
use serde_json::{Value, json};

/// Stands where bytes that are not UTF-8 shall be.
const MARK: &str = "@not-utf8@";

/// The answer that `fault` makes of the right one. `now` is the service's clock.
pub fn spoil(fault: &Fault, answer: Answer, now: i64) -> Answer {
    match fault {
        Fault::Status { status, code } => refusal::envelope(*status, *code, ""),
        Fault::Bare { status } => Answer::plain(*status),
        Fault::RateLimited(after) => rate_limited(after, now),
        Fault::Redirect(target) => Answer::plain(302).with_header("Location", target),
        Fault::Fail { code, message } => {
            let mut body = json!({"stat": "FAIL", "message": message});
            if let (Some(code), Some(fields)) = (code, body.as_object_mut()) {
                fields.insert("code".to_owned(), json!(code));
            }
            Answer::json(200, body.to_string())
        }
        Fault::Body(body) => Answer::json(200, body.clone()),
        Fault::Response(response) => {
            Answer::json(200, format!(r#"{{"stat":"OK","response":{response}}}"#))
        }
        Fault::Garbage => Answer::json(200, garbage()),
        Fault::NotJson => Answer::plain(200),
        Fault::NoResponse => Answer::json(200, r#"{"stat":"OK"}"#),
        Fault::DeepBrackets => Answer::json(200, vec![b'['; 500_000]),
        _ => rewritten(fault, answer),
    }
}

fn rate_limited(after: &RetryAfter, now: i64) -> Answer {
    let answer = refusal::envelope(429, 42901, "");
    match after {
        RetryAfter::Absent => answer,
        RetryAfter::Seconds(seconds) => answer.with_header("Retry-After", &seconds.to_string()),
        RetryAfter::XSeconds(seconds) => answer.with_header("X-Retry-After", &seconds.to_string()),
        RetryAfter::Date(seconds) => answer.with_header(
            "Retry-After",
            &clock::http_date(now.saturating_add(*seconds)),
        ),
        RetryAfter::Text(text) => answer.with_header("Retry-After", text),
    }
}

/// A kilobyte that looks random and is the same each time.
fn garbage() -> Vec<u8> {
    (1..1024_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

/// The faults that begin with the right answer; others leave it as it is.
fn rewritten(fault: &Fault, mut answer: Answer) -> Answer {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
        return answer;
    };
    match fault {
        Fault::NoStat => {
            if let Some(fields) = body.as_object_mut() {
                fields.remove("stat");
            }
        }
        Fault::NoResult => {
            if let Some(fields) = response(&mut body) {
                fields.remove("result");
                fields.remove("txid");
            }
        }
        Fault::WrongTypes => {
            let fields = response(&mut body).into_iter().flatten();
            for (_, value) in fields.filter(|(name, _)| *name != "result") {
                *value = if value.is_string() {
                    json!(17)
                } else {
                    json!("seventeen")
                };
            }
        }
        Fault::WrongResult => {
            if let Some(fields) = response(&mut body) {
                fields.insert("result".to_owned(), json!(17));
            }
        }
        Fault::DuplicateKeys => {
            answer.body = twice(&body).into_bytes();
            return answer;
        }
        Fault::InvalidUtf8 => {
            if let Some(fields) = response(&mut body) {
                fields.insert("status_msg".to_owned(), json!(MARK));
            }
            answer.body = body.to_string().into_bytes();
            replace(&mut answer.body, MARK.as_bytes(), b"\xff\xfe\xc3(");
            return answer;
        }
        Fault::HugeBody => {
            if let Some(fields) = body.as_object_mut() {
                fields.insert("padding".to_owned(), json!("x".repeat(2 * 1024 * 1024)));
            }
        }
        _ => return answer,
    }
    answer.body = body.to_string().into_bytes();
    answer
}

fn response(body: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    body.get_mut("response")?.as_object_mut()
}

/// JSON in which each key of each object stands twice, first with `"FAIL"`.
fn twice(value: &Value) -> String {
    let Some(fields) = value.as_object() else {
        return value.to_string();
    };
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            let name = json!(name);
            format!(r#"{name}:"FAIL",{name}:{}"#, twice(value))
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn replace(bytes: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    if let Some(at) = crate::http::find(bytes, old) {
        bytes.splice(at..at + old.len(), new.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoiled(fault: &Fault) -> String {
        let right = r#"{"stat":"OK","response":{"result":"auth","txid":"t","status_msg":"m"}}"#;
        let answer = spoil(fault, Answer::json(200, right), 0);
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    #[test]
    fn the_right_answer_made_wrong() {
        assert_eq!(
            spoiled(&Fault::WrongTypes),
            r#"{"response":{"result":"auth","status_msg":17,"txid":17},"stat":"OK"}"#
        );
        assert_eq!(
            spoiled(&Fault::NoResult),
            r#"{"response":{"status_msg":"m"},"stat":"OK"}"#
        );
        assert!(spoiled(&Fault::DuplicateKeys).contains(r#""result":"FAIL","result":"auth""#));
        assert!(spoiled(&Fault::InvalidUtf8).contains('\u{fffd}'));
        assert!(spoiled(&Fault::HugeBody).len() > 2 * 1024 * 1024);
        assert!(spoiled(&Fault::None).contains(r#""stat":"OK""#));
    }

    #[test]
    fn rate_limits_say_when_to_come_again() {
        let header = |after| {
            let answer = spoil(&Fault::RateLimited(after), Answer::default(), 60);
            answer.headers.get(1).cloned()
        };
        let named = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(header(RetryAfter::Absent), None);
        assert_eq!(header(RetryAfter::XSeconds(3)), named("X-Retry-After", "3"));
        assert_eq!(
            header(RetryAfter::Date(-60)),
            named("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT")
        );
    }
}
