//! A [`Duo`] that writes a line to the log before its first `auth`, and is not asked if
//! the log does not take it (docs/security.md, *One final line*).

use super::AttemptLog;
use crate::api::menu::Factor;
use crate::api::reply::Preauth;
use crate::api::{Answered, Duo, Event, Line, Listen, Span};
use crate::error::Error;

/// Duo, with a line in the log before its first `auth`.
pub(super) struct LoggedDuo<'a> {
    duo: &'a mut dyn Duo,
    log: &'a dyn AttemptLog,
    has_asked: bool,
    /// The line to Duo on which a request was not sent, and why it was not.
    refused: Option<(Line, Error)>,
}

impl<'a> LoggedDuo<'a> {
    pub(super) fn new(duo: &'a mut dyn Duo, log: &'a dyn AttemptLog) -> LoggedDuo<'a> {
        LoggedDuo {
            duo,
            log,
            has_asked: false,
            refused: None,
        }
    }
}

impl Duo for LoggedDuo<'_> {
    fn preauth(&mut self) -> Result<Preauth, Error> {
        self.duo.preauth()
    }

    fn auth(&mut self, line: Line, factor: &Factor) {
        let logged = match std::mem::replace(&mut self.has_asked, true) {
            true => Ok(()),
            false => self.log.asking(),
        };
        match logged {
            Ok(()) => self.duo.auth(line, factor),
            Err(error) => self.refused = Some((line, error)),
        }
    }

    fn status(&mut self, line: Line, transaction: &str, span: Span) {
        self.duo.status(line, transaction, span);
    }

    fn next(&mut self, listen: Listen) -> Event {
        match self.refused.take() {
            Some((line, error)) => Event::Answer(line, Err(error)),
            None => self.duo.next(listen),
        }
    }

    fn answered(&self) -> Answered {
        self.duo.answered()
    }
}
