//! The tunnel through a proxy: a CONNECT request and its answer, on a socket whose
//! deadline is already set. Credentials are sent to the proxy as they are written
//! in the configuration, and appear nowhere else.

use std::io;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use duo_policy::config::{Host, Proxy};
use duo_policy::error::Error;
use zeroize::Zeroizing;

use crate::socket::Patient;

/// The head of the proxy's answer is at most this long, in bytes.
const LONGEST_ANSWER: usize = 8 * 1024;

/// Asks the proxy at the other end of `socket` for a tunnel to `host`.
///
/// # Errors
/// [`Error::Service`] if the proxy refuses, or if its answer is not HTTP. `classify`
/// makes the error of a failure of the socket.
pub(crate) async fn open(
    socket: &mut impl Patient,
    host: &Host,
    proxy: &Proxy,
    classify: impl Fn(&io::Error) -> Error,
) -> Result<(), Error> {
    let failed = |error: io::Error| match classify(&error) {
        Error::Service(words) => Error::Service(format!("the proxy: {words}")),
        error => error,
    };
    socket
        .send_all(request(host, proxy).as_bytes())
        .await
        .map_err(failed)?;

    // Reads byte by byte, since what follows the empty line belongs to the tunnel.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let read = match socket.receive(&mut byte).await {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            read => read,
        };
        read.map_err(|error| {
            let may_be_http = answer.is_empty() || b"HTTP/1.".starts_with(first(&answer, 7));
            match error.kind() {
                io::ErrorKind::UnexpectedEof if !may_be_http => not_http(),
                _ => failed(error),
            }
        })?;
        answer.extend_from_slice(&byte);
        if answer.len() > LONGEST_ANSWER {
            return Err(Error::Service("the proxy's answer is too long".to_owned()));
        }
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(407) => Err(Error::Service(
            "the proxy refused: HTTP 407, it wants other credentials".to_owned(),
        )),
        Some(status) => Err(Error::Service(format!("the proxy refused: HTTP {status}"))),
        None => Err(not_http()),
    }
}

fn request(host: &Host, proxy: &Proxy) -> Zeroizing<String> {
    let target = match host.address() {
        Some(IpAddr::V6(address)) => format!("[{address}]:{}", host.port),
        _ => format!("{}:{}", host.name, host.port),
    };
    let credentials = proxy.credentials.as_ref().map(|credentials| {
        let encoded = Zeroizing::new(BASE64.encode(credentials.expose()));
        Zeroizing::new(format!(
            "Proxy-Authorization: Basic {}\r\n",
            encoded.as_str()
        ))
    });
    let credentials = credentials.as_ref().map_or("", |line| line.as_str());
    Zeroizing::new(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n"
    ))
}

/// The status in the first line of an answer, if the line is HTTP's.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(first(line, 64)).ok()?.split(' ');
    words.next()?.strip_prefix("HTTP/1.")?;
    let digits = words.next()?;
    let is_status = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_status)
}

/// The first `most` bytes, or all if there are fewer.
fn first(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

fn not_http() -> Error {
    Error::Service("the proxy's answer is not HTTP".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};
    use std::pin::pin;
    use std::task::Poll;

    /// A socket that reads a prepared answer and keeps what is written to it.
    struct ScriptedSocket {
        answer: Cursor<Vec<u8>>,
        asked: Vec<u8>,
    }

    impl Patient for ScriptedSocket {
        async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answer.read(buffer)
        }

        async fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.asked.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// The request, the result, and the bytes that are left for the tunnel.
    fn tunnel(host: &str, proxy: &str, answer: &[u8]) -> (String, Result<(), Error>, Vec<u8>) {
        let mut socket = ScriptedSocket {
            answer: Cursor::new(answer.to_vec()),
            asked: Vec::new(),
        };
        let host = Host::parse(host, 443).unwrap();
        let proxy = Proxy::parse(proxy.as_bytes()).unwrap();
        let classify = |error: &io::Error| Error::Service(error.kind().to_string());
        // This socket never waits.
        let opened = duo_system::wait::advance(pin!(open(&mut socket, &host, &proxy, classify)));
        let Poll::Ready(result) = opened else {
            panic!("it waits")
        };
        let mut rest = Vec::new();
        socket.answer.read_to_end(&mut rest).unwrap();
        (String::from_utf8(socket.asked).unwrap(), result, rest)
    }

    fn refusal(answer: &[u8]) -> String {
        match tunnel("h", "p", answer).1 {
            Err(Error::Service(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_follows_the_empty_line_is_the_tunnels() {
        let answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n\x16\x03";
        let (asked, result, rest) = tunnel("duo.example", "p:3128", answer);
        assert_eq!(
            asked,
            "CONNECT duo.example:443 HTTP/1.1\r\nHost: duo.example:443\r\n\r\n"
        );
        assert_eq!((result, rest.as_slice()), (Ok(()), &b"\x16\x03"[..]));
    }

    #[test]
    fn credentials_are_sent_as_written_and_addresses_in_brackets() {
        let (asked, ..) = tunnel("[2001:db8::1]:8443", "us%40er:p@ss@p", b"");
        assert_eq!(
            asked,
            "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\
             Proxy-Authorization: Basic dXMlNDBlcjpwQHNz\r\n\r\n"
        );
    }

    #[test]
    fn what_is_not_a_yes_is_a_service_error_that_says_what_it_is() {
        assert_eq!(
            refusal(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            "the proxy refused: HTTP 407, it wants other credentials"
        );
        assert_eq!(
            refusal(b"HTTP/1.0 502\r\n\r\n"),
            "the proxy refused: HTTP 502"
        );
        let not_http = "the proxy's answer is not HTTP";
        for answer in [
            &b"220 mail.example ESMTP\r\n\r\n"[..],
            b"HTTP/1.1 +20 x\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"\xff\xff\r\n\r\n",
            b"garbage",
        ] {
            assert_eq!(refusal(answer), not_http);
        }
        assert_eq!(
            refusal(&vec![b'x'; LONGEST_ANSWER + 2]),
            "the proxy's answer is too long"
        );
        assert_eq!(refusal(b""), "the proxy: unexpected end of file");
        assert_eq!(
            refusal(b"HTTP/1.1 200 OK\r\n"),
            "the proxy: unexpected end of file"
        );
    }
}
