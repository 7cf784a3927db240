//! Faults as `serve --fault` takes them: `[ENDPOINT/]NAME[:ARG][@TIMES]`.

use crate::fault::{Endpoint, Fault, RetryAfter, Setting, Stage, Times};
use crate::refusal::message;
use std::str::FromStr;
use std::time::Duration;

/// How each fault is written for `serve --fault`: an example, and what it does.
pub const FAULTS: &[(&str, &str)] = &[
    ("none", "nothing: a place in a sequence where all is well"),
    ("delay:SECONDS", "the right answer, later"),
    (
        "status:CODE",
        "five digits, as 40103 or 50000: that HTTP status with Duo's JSON and this code",
    ),
    (
        "bare:STATUS",
        "three digits, as 503: that HTTP status with a page of HTML",
    ),
    ("rate-limited[:SECONDS]", "429, with Retry-After if given"),
    ("rate-limited-x:SECONDS", "429 with X-Retry-After"),
    (
        "rate-limited-date:SECONDS",
        "429 with a date so far from now (negative: past)",
    ),
    (
        "rate-limited-text:TEXT",
        "429 with these words as Retry-After",
    ),
    ("redirect:URL", "302"),
    (
        "fail[:CODE]",
        "stat FAIL under HTTP 200, with or without a code",
    ),
    ("body:TEXT", "HTTP 200 with this body"),
    ("response:JSON", "HTTP 200, stat OK, with this as response"),
    ("garbage", "HTTP 200 with random-looking bytes"),
    ("not-json", "HTTP 200 with a page of HTML"),
    ("no-stat", "the right answer without stat"),
    ("no-response", "stat OK and nothing else"),
    ("no-result", "the right answer without result and txid"),
    (
        "wrong-types",
        "the right answer, every field but result of a wrong type",
    ),
    ("wrong-result", "the right answer, result a number"),
    ("duplicate-keys", "the right answer, each key twice"),
    (
        "invalid-utf8",
        "the right answer with bytes that are not UTF-8",
    ),
    ("deep-brackets", "500,000 opening brackets"),
    ("huge-body", "the right answer, padded to over 2 MiB"),
    ("endless-body", "4 GiB announced and sent"),
    ("chunked", "the right answer in chunks of one byte"),
    ("continue-forever", "100 Continue without end"),
    (
        "raw:TEXT",
        "these bytes in place of an answer, then the end",
    ),
    ("stall:STAGE", "silence from this stage on"),
    ("trickle:STAGE", "one byte a second from this stage on"),
    ("close:STAGE", "closed at this stage"),
    ("reset:STAGE", "reset at this stage"),
    (
        "drop-after:BYTES",
        "closed after so many bytes of the answer",
    ),
    (
        "close-after-answer",
        "the right answer, then closed without having said so",
    ),
    (
        "say-close",
        "the right answer with Connection: close, then closed",
    ),
    (
        "close-when-idle:SECONDS",
        "the right answer, then closed once idle for so long",
    ),
];

/// The names of stages, for help texts.
pub const STAGES: &str = "before-tls, in-tls, before-headers, in-headers, in-body";

impl Endpoint {
    const NAMED: [(&'static str, Self); 6] = [
        ("any", Self::Any),
        ("ping", Self::Ping),
        ("check", Self::Check),
        ("preauth", Self::Preauth),
        ("auth", Self::Auth),
        ("auth_status", Self::AuthStatus),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::NAMED
            .iter()
            .find(|(candidate, _)| *candidate == name)
            .map(|(_, endpoint)| *endpoint)
    }
}

impl Stage {
    const NAMED: [(&'static str, Self); 5] = [
        ("before-tls", Self::BeforeTls),
        ("in-tls", Self::InTls),
        ("before-headers", Self::BeforeHeaders),
        ("in-headers", Self::InHeaders),
        ("in-body", Self::InBody),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::NAMED
            .iter()
            .find(|(candidate, _)| *candidate == name)
            .map(|(_, stage)| *stage)
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, times) = match text.rsplit_once('@') {
            Some((rest, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
                (rest, Times::First(number(count)?))
            }
            _ => (text, Times::Always),
        };
        let (endpoint, rest) = rest
            .split_once('/')
            .and_then(|(name, rest)| Some((Endpoint::named(name)?, rest)))
            .unwrap_or((Endpoint::Any, rest));
        let (name, argument) = rest.split_once(':').unwrap_or((rest, ""));
        Ok(Self {
            endpoint,
            fault: parse(name, argument)?,
            times,
        })
    }
}

fn parse(name: &str, argument: &str) -> Result<Fault, String> {
    let fault = match name {
        "delay" => Fault::Delay(seconds(argument)?),
        "status" => {
            let code: u32 = number(argument)?;
            let status = u16::try_from(code / 100).unwrap_or(0);
            Fault::Status {
                status: http_status(status)?,
                code,
            }
        }
        "bare" => Fault::Bare {
            status: http_status(number(argument)?)?,
        },
        "rate-limited" if argument.is_empty() => Fault::RateLimited(RetryAfter::Absent),
        "rate-limited" => Fault::RateLimited(RetryAfter::Seconds(number(argument)?)),
        "rate-limited-x" => Fault::RateLimited(RetryAfter::XSeconds(number(argument)?)),
        "rate-limited-date" => Fault::RateLimited(RetryAfter::Date(number(argument)?)),
        "rate-limited-text" => Fault::RateLimited(RetryAfter::Text(line(argument)?)),
        "redirect" => Fault::Redirect(line(argument)?),
        "fail" => {
            let code = if argument.is_empty() {
                None
            } else {
                Some(number(argument)?)
            };
            Fault::Fail {
                code,
                message: message(code.unwrap_or_default()).to_owned(),
            }
        }
        "body" => Fault::Body(argument.into()),
        "response" => Fault::Response(argument.into()),
        "raw" => Fault::Raw(argument.into()),
        "stall" => Fault::Stall(stage(argument)?),
        "trickle" => Fault::Trickle(stage(argument)?),
        "close" => Fault::Close(stage(argument)?),
        "reset" => Fault::Reset(stage(argument)?),
        "drop-after" => Fault::DropAfter(number(argument)?),
        "close-when-idle" => Fault::CloseWhenIdle(seconds(argument)?),
        _ if !argument.is_empty() => {
            return Err(format!("'{name}' takes no argument, or is unknown"));
        }
        _ => plain(name).ok_or_else(|| format!("there is no fault '{name}'"))?,
    };
    Ok(fault)
}

/// The faults that take no argument.
fn plain(name: &str) -> Option<Fault> {
    Some(match name {
        "none" => Fault::None,
        "garbage" => Fault::Garbage,
        "not-json" => Fault::NotJson,
        "no-stat" => Fault::NoStat,
        "no-response" => Fault::NoResponse,
        "no-result" => Fault::NoResult,
        "wrong-types" => Fault::WrongTypes,
        "wrong-result" => Fault::WrongResult,
        "duplicate-keys" => Fault::DuplicateKeys,
        "invalid-utf8" => Fault::InvalidUtf8,
        "deep-brackets" => Fault::DeepBrackets,
        "huge-body" => Fault::HugeBody,
        "endless-body" => Fault::EndlessBody,
        "chunked" => Fault::Chunked,
        "continue-forever" => Fault::ContinueForever,
        "close-after-answer" => Fault::CloseAfterAnswer,
        "say-close" => Fault::SayClose,
        _ => return None,
    })
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not a number that fits here"))
}

/// What can stand in a status line.
fn http_status(status: u16) -> Result<u16, String> {
    if (100..=599).contains(&status) {
        Ok(status)
    } else {
        Err(format!("{status} is not an HTTP status"))
    }
}

/// What can stand in a header.
fn line(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        Err("a header cannot hold control characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(text)?).map_err(|error| error.to_string())
}

fn stage(text: &str) -> Result<Stage, String> {
    Stage::named(text).ok_or_else(|| format!("there is no stage '{text}': {STAGES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Setting {
        text.parse().unwrap()
    }

    #[test]
    fn settings_are_read() {
        assert_eq!(
            set("auth/status:50000@1"),
            Setting {
                endpoint: Endpoint::Auth,
                fault: Fault::Status {
                    status: 500,
                    code: 50000
                },
                times: Times::First(1)
            }
        );
        assert_eq!(
            set("redirect:https://elsewhere.example/x@y"),
            Setting {
                endpoint: Endpoint::Any,
                fault: Fault::Redirect("https://elsewhere.example/x@y".to_owned()),
                times: Times::Always
            }
        );
        assert_eq!(set("stall:in-tls").fault, Fault::Stall(Stage::InTls));
        assert_eq!(
            set("rate-limited-date:-60").fault,
            Fault::RateLimited(RetryAfter::Date(-60))
        );
        for wrong in [
            "nothing",
            "stall",
            "stall:here",
            "status:7",
            "garbage:1",
            "delay:-1",
            "rate-limited:x",
            "bare:99999",
        ] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_fault_of_the_table_can_be_written() {
        for (example, _) in FAULTS {
            let text = example
                .replace(['[', ']'], "")
                .replace("STAGE", "in-body")
                .replace("CODE", "40002")
                .replace("SECONDS", "1")
                .replace("STATUS", "503")
                .replace("BYTES", "10");
            assert!(text.parse::<Setting>().is_ok(), "{text}");
        }
    }
}
