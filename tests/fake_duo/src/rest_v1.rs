//! Duo's older API, REST v1 in BSON, as far as Duo's C program up to 1.11 speaks it: Debian has no newer one.
//!
//! Duo's documentation of it is gone, so this is what that program was seen to send and to take: no date, HMAC-SHA1, and
//! answers with other names for the same things.

use crate::factor::Asked;
use crate::fault::Endpoint;
use crate::http::Answer;
use crate::refusal::Refusal;
use crate::rules::{Call, Parameters};
use serde_json::{Map, Value};

/// The endpoint of a path of this API.
pub fn endpoint(path: &str) -> Option<Endpoint> {
    match path.strip_prefix("/rest/v1/")?.strip_suffix(".bson")? {
        "preauth" => Some(Endpoint::Preauth),
        "auth" => Some(Endpoint::Auth),
        "status" => Some(Endpoint::AuthStatus),
        _ => None,
    }
}

/// Judges the parameters.
pub fn call(endpoint: Endpoint, parameters: &Parameters) -> Result<Call, Refusal> {
    match endpoint {
        Endpoint::Preauth => {
            parameters.only(&["user", "hostname", "failmode", "ipaddr"])?;
            parameters.address_if_any()?;
            parameters.one_of("failmode", &["open", "closed"])?;
            Ok(Call::Preauth {
                user: parameters.required("user")?,
                verified: false,
            })
        }
        Endpoint::Auth => {
            parameters.only(&[
                "user", "factor", "auto", "async", "ipaddr", "hostname", "pushinfo",
            ])?;
            parameters.one_of("factor", &["auto"])?;
            parameters.required("factor")?;
            parameters.address_if_any()?;
            parameters.pushinfo_if_any()?;
            Ok(Call::Auth {
                user: parameters.required("user")?,
                asked: Asked::Prompt(parameters.required("auto")?),
                details: parameters.details(),
                asynchronous: parameters.asynchronous()?,
                txid: None,
            })
        }
        _ => {
            parameters.only(&["txid"])?;
            Ok(Call::AuthStatus {
                txid: parameters.required("txid")?,
            })
        }
    }
}

/// The same answer in this API's words and form. What is no JSON, since a fault made it so, stays as it is.
pub fn in_bson(mut answer: Answer) -> Answer {
    if let Ok(Value::Object(mut body)) = serde_json::from_slice(&answer.body) {
        if let Some(Value::Object(response)) = body.get_mut("response") {
            rename(response);
        }
        answer.body = document(&body);
        answer.headers.clear();
        answer = answer.with_header("Content-Type", "application/bson");
    }
    answer
}

fn rename(response: &mut Map<String, Value>) {
    if response.get("result").is_some_and(|it| it == "waiting") {
        response.remove("result");
    }
    for (name, old) in [("status", "event"), ("status_msg", "status")] {
        if let Some(value) = response.remove(name) {
            response.insert(old.to_owned(), value);
        }
    }
    if let Some(Value::Object(prompt)) = response.remove("prompt") {
        for (name, old) in [("text", "prompt"), ("factors", "factors")] {
            if let Some(value) = prompt.get(name) {
                response.insert(old.to_owned(), value.clone());
            }
        }
    }
}

/// A BSON document: its length, its elements, a NUL.
fn document(fields: &Map<String, Value>) -> Vec<u8> {
    let mut elements = Vec::new();
    for (name, value) in fields {
        let (kind, bytes) = element(value);
        elements.push(kind);
        elements.extend(name.bytes().chain([0]));
        elements.extend(bytes);
    }
    let mut document = length(elements.len() + 5);
    document.extend(elements);
    document.push(0);
    document
}

/// Type and bytes of a value; what this API never has (lists, fractions) is null.
fn element(value: &Value) -> (u8, Vec<u8>) {
    match value {
        Value::Object(fields) => (0x03, document(fields)),
        Value::String(text) => {
            let mut bytes = length(text.len() + 1);
            bytes.extend(text.bytes().chain([0]));
            (0x02, bytes)
        }
        Value::Number(number) if number.is_i64() => {
            let number = number.as_i64().unwrap_or_default();
            (0x12, number.to_le_bytes().to_vec())
        }
        Value::Bool(truth) => (0x08, vec![u8::from(*truth)]),
        _ => (0x0A, Vec::new()),
    }
}

/// An int32; nothing here comes near its end.
fn length(bytes: usize) -> Vec<u8> {
    i32::try_from(bytes)
        .unwrap_or(i32::MAX)
        .to_le_bytes()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bson_as_its_specification_has_it() {
        let Value::Object(fields) = json!({"hello": "world"}) else {
            unreachable!("an object")
        };
        assert_eq!(
            document(&fields),
            b"\x16\0\0\0\x02hello\0\x06\0\0\0world\0\0"
        );
        let Value::Object(fields) = json!({"a": {}, "b": 1, "c": true, "d": null}) else {
            unreachable!("an object")
        };
        assert_eq!(
            document(&fields),
            b"\x1f\0\0\0\x03a\0\x05\0\0\0\0\x12b\0\x01\0\0\0\0\0\0\0\x08c\0\x01\x0ad\0\0"
        );
    }

    #[test]
    fn answers_have_the_older_names() {
        let renamed = |response: Value| {
            let Value::Object(mut fields) = response else {
                unreachable!("an object")
            };
            rename(&mut fields);
            Value::Object(fields)
        };
        assert_eq!(
            renamed(json!({"result": "waiting", "status": "pushed", "status_msg": "Pushed"})),
            json!({"event": "pushed", "status": "Pushed"})
        );
        assert_eq!(
            renamed(json!({"result": "auth", "status_msg": "Active",
                "prompt": {"text": "menu", "factors": {"1": "push1"}}})),
            json!({"result": "auth", "status": "Active", "prompt": "menu", "factors": {"1": "push1"}})
        );
    }
}
