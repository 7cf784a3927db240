//! The log of requests: what a test looks at afterwards.

use std::fmt;
use std::time::Instant;

/// One request that reached the service whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    /// `GET` or `POST`.
    pub method: String,
    /// The path without its query, as `/auth/v2/preauth`.
    pub path: String,
    /// The parameters, decoded, in the order sent.
    pub params: Vec<(String, String)>,
    /// The headers, in the order and the case sent.
    pub headers: Vec<(String, String)>,
    /// The HTTP status answered; 0 while it is not answered yet, and for good if a fault left it without one.
    pub status: u16,
    /// What the service found wrong with it (`40103: …`), even where a fault then decided the answer.
    pub refusal: Option<String>,
    /// When it had arrived whole.
    pub at: Instant,
}

impl Request {
    /// The value of a parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        find(&self.params, |candidate| candidate == name)
    }

    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, |candidate| {
            candidate.eq_ignore_ascii_case(name)
        })
    }

    /// The last part of the path: `preauth`, `auth`, `auth_status`, `ping`, `check`. The older API's `status.bson` is
    /// `auth_status` too.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        match name.strip_suffix(".bson") {
            Some("status") => "auth_status",
            Some(name) => name,
            None => name,
        }
    }
}

impl fmt::Display for Request {
    /// One line, never with more than one line of it under the client's control.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} {}",
            self.method.escape_debug(),
            self.path.escape_debug()
        )?;
        for (name, value) in &self.params {
            write!(out, " {}={:?}", name.escape_debug(), value)?;
        }
        match self.status {
            0 => write!(out, " -> no answer")?,
            status => write!(out, " -> {status}")?,
        }
        match &self.refusal {
            Some(refusal) => write!(out, " ({})", refusal.escape_debug()),
            None => Ok(()),
        }
    }
}

fn find(pairs: &[(String, String)], is_it: impl Fn(&str) -> bool) -> Option<&str> {
    pairs
        .iter()
        .find(|(name, _)| is_it(name))
        .map(|(_, value)| value.as_str())
}
