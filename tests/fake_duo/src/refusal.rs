//! Duo's error envelope and the codes the service knows.

use crate::http::Answer;
use serde_json::json;
use std::fmt;

/// Why a request is not served: Duo's five-digit code, whose first three digits are the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u32,
    pub detail: String,
}

impl Refusal {
    pub fn new(code: u32, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    /// 400/40002, with the parameter that is wrong.
    pub fn parameter(detail: impl Into<String>) -> Self {
        Self::new(40002, detail)
    }

    pub fn answer(&self) -> Answer {
        let status = u16::try_from(self.code / 100).unwrap_or(400);
        envelope(status, self.code, &self.detail)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code, message(self.code))?;
        if self.detail.is_empty() {
            Ok(())
        } else {
            write!(out, ": {}", self.detail)
        }
    }
}

/// `{"stat":"FAIL",…}` under an HTTP status.
pub fn envelope(status: u16, code: u32, detail: &str) -> Answer {
    let mut body = json!({"stat": "FAIL", "code": code, "message": message(code)});
    if !detail.is_empty()
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("message_detail".to_owned(), json!(detail));
    }
    Answer::json(status, body.to_string())
}

/// Duo's words for a code.
pub fn message(code: u32) -> &'static str {
    match code {
        40002 => "Invalid request parameters",
        40101 => "Missing request credentials",
        40102 => "Invalid integration key in request credentials",
        40103 => "Invalid signature in request credentials",
        40104 => "Missing request date header",
        40105 => "Bad request timestamp",
        40301 => "Wrong integration type for this API.",
        40401 => "Resource not found",
        40501 => "Method not allowed",
        42901 => "Too Many Requests",
        _ => "Error of the fake service's making",
    }
}
