//! Reading one answer: its head, its body, and whether another request may
//! follow it. Every byte comes from the network and may be hostile.

use std::io;
use std::time::Instant;

use duo_system::wait::Waiter;
use ureq_proto::client::state::{Cleanup, RecvBody, RecvResponse};
use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult};
use ureq_proto::http;

use crate::connect::Connection;

/// An answer's body is at most this long, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// An answer's head is at most this long, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// An HTTP answer.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
    /// `Retry-After` or `X-Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`: the time on the server's clock.
    pub date: Option<String>,
}

impl Answer {
    fn of(status: u16, headers: &http::HeaderMap) -> Answer {
        let header = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Answer {
            status,
            body: Vec::new(),
            retry_after: header("retry-after").or_else(|| header("x-retry-after")),
            date: header("date"),
        }
    }
}

/// Why no answer could be read.
pub enum Failure {
    /// The connection failed.
    Io(io::Error),
    /// The bytes that came are not an answer; why.
    NoAnswer(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<ureq_proto::Error> for Failure {
    fn from(error: ureq_proto::Error) -> Failure {
        Failure::NoAnswer(error.to_string())
    }
}

/// The bytes that come in on a connection.
pub struct Incoming<'c, 'a> {
    /// The connection.
    pub connection: &'c mut Connection<'a>,
    /// The bytes that have come and are not used yet.
    pub bytes: Vec<u8>,
    /// How this process waits.
    pub waiter: &'c Waiter<'a>,
    /// When reading ends.
    pub until: Instant,
}

impl Incoming<'_, '_> {
    /// Reads one answer. The second value says whether another request may follow
    /// on this connection; it is `None` after an answer that was not read to its
    /// end.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn answer(
        &mut self,
        call: Call<RecvResponse>,
    ) -> Result<(Answer, Option<Call<Cleanup>>), Failure> {
        let (head, received) = match self.head(call).await {
            Ok(head) => head,
            // A 4xx denies even if the rest of the answer cannot be read.
            // Otherwise somebody who can spoil the rest could turn a refusal
            // into an error that failmode forgives.
            Err(failure) => {
                let status = refusal_status(&self.bytes).ok_or(failure)?;
                return Ok((Answer::of(status, &http::HeaderMap::new()), None));
            }
        };
        let mut answer = Answer::of(head.status().as_u16(), head.headers());
        let call = match received {
            RecvResponseResult::RecvBody(call) => match self.body(call).await {
                Ok((body, call)) => {
                    answer.body = body;
                    call
                }
                Err(_) if is_refusal(answer.status) => return Ok((answer, None)),
                Err(failure) => return Err(failure),
            },
            RecvResponseResult::Redirect(call) => call.proceed(),
            RecvResponseResult::Cleanup(call) => call,
        };
        Ok((answer, Some(call)))
    }

    async fn head(
        &mut self,
        mut call: Call<RecvResponse>,
    ) -> Result<(http::Response<()>, RecvResponseResult), Failure> {
        loop {
            let (used, head) = call.try_response(&self.bytes, false)?;
            self.bytes.drain(..used.min(self.bytes.len()));
            if let Some(head) = head {
                let received = call.proceed();
                let received =
                    received.ok_or_else(|| Failure::NoAnswer("its head has no end".to_owned()))?;
                return Ok((head, received));
            }
            if self.bytes.len() > LONGEST_HEAD {
                let why = "its head is longer than 16 KiB".to_owned();
                return Err(Failure::NoAnswer(why));
            }
            // Bytes that were used without a head were a 1xx; the answer may already
            // stand behind them.
            if used == 0 && self.read_more().await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    async fn body(
        &mut self,
        mut call: Call<RecvBody>,
    ) -> Result<(Vec<u8>, Call<Cleanup>), Failure> {
        let mut body = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let (used, written) = call.read(&self.bytes, &mut chunk)?;
            self.bytes.drain(..used.min(self.bytes.len()));
            body.extend_from_slice(chunk.get(..written).unwrap_or_default());
            if body.len() > LONGEST_BODY {
                let why = "its body is longer than 1 MiB".to_owned();
                return Err(Failure::NoAnswer(why));
            }
            let ends_with_the_connection =
                matches!(call.body_mode(), ureq_proto::BodyMode::CloseDelimited);
            if call.can_proceed() && !ends_with_the_connection {
                break;
            }
            if used > 0 || written > 0 {
                continue;
            }
            if self.read_more().await? == 0 {
                if ends_with_the_connection {
                    break;
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        match call.proceed() {
            Some(RecvBodyResult::Cleanup(call)) => Ok((body, call)),
            Some(RecvBodyResult::Redirect(call)) => Ok((body, call.proceed())),
            None => Err(Failure::NoAnswer("its body has no end".to_owned())),
        }
    }

    /// Reads more bytes; returns how many, 0 at the end of the connection.
    async fn read_more(&mut self) -> io::Result<usize> {
        // Bytes that TLS has already decrypted are read without a wait, and only a
        // wait would notice that the deadline has passed.
        if self.waiter.has_passed(self.until) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut chunk = vec![0; 16 * 1024];
        let read = self.connection.receive(&mut chunk).await?;
        self.bytes
            .extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Whether a status denies whatever else is in the answer: a 4xx, but no 401. A
/// 401 is about the keys or the clock (docs/duo-api.md, *Envelope*).
fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && status != 401
}

/// The status in the first line of `head`, if it is a refusal.
fn refusal_status(head: &[u8]) -> Option<u16> {
    let end = head.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(head.get(..end)?).ok()?;
    let status = line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    is_refusal(status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_off_the_first_line_of_a_broken_head() {
        assert_eq!(
            refusal_status(b"HTTP/1.1 403 Forbidden\r\nbroken"),
            Some(403)
        );
        assert_eq!(refusal_status(b"HTTP/1.0 429 \r\n"), Some(429));
        for head in [
            &b""[..],
            b"HTTP/1.1 403 Forbidden",
            b"HTTP/1.1 401 Unauthorized\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 502 Bad Gateway\r\n",
            b"SSH-2.0-x 403\r\n",
            b"HTTP/1.1 4033 x\r\n\xff",
        ] {
            let text = String::from_utf8_lossy(head);
            assert!(matches!(refusal_status(head), None | Some(403)), "{text}");
        }
        assert_eq!(refusal_status(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(refusal_status(b"HTTP/1.1 401 Unauthorized\r\n"), None);
    }
}
