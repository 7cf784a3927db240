//! Just enough HTTP/1.1: reads requests whole, writes answers plainly, and leaves the wire open to every fault.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// More than login_duo ever sends; what is longer is refused.
const LARGEST_REQUEST: usize = 128 * 1024;

/// A request as it came off the wire.
pub struct Incoming {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Incoming {
    /// Every value of a header, in order.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of a header that stands there exactly once.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.header_values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether the client asked for the connection to end with this answer.
    pub fn wants_close(&self) -> bool {
        self.header_values("connection")
            .any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads one request; `None` where the client closed between two. `buffer` keeps what came beyond it.
pub async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Incoming>> {
    let end_of_head = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        // A TLS client at a plain door would wait for us as we for it.
        if buffer
            .first()
            .is_some_and(|byte| !byte.is_ascii_uppercase())
        {
            return Err(broken("not HTTP"));
        }
        if read_more(stream, buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(broken("closed within the head"))
            };
        }
    };
    let head: Vec<u8> = buffer.drain(..end_of_head).collect();
    let mut incoming = parse_head(&head)?;
    let length = match incoming.header("content-length") {
        Some(text) => text
            .parse()
            .map_err(|_| broken("Content-Length is not a number"))?,
        None if incoming.header_values("transfer-encoding").next().is_some() => {
            return Err(broken("a chunked request"));
        }
        None => 0,
    };
    while buffer.len() < length {
        if read_more(stream, buffer).await? == 0 {
            return Err(broken("closed within the body"));
        }
    }
    incoming.body = String::from_utf8(buffer.drain(..length).collect())
        .map_err(|_| broken("the body is not UTF-8"))?;
    Ok(Some(incoming))
}

/// Reads what there is into `buffer`; 0 at the end.
pub async fn read_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    if buffer.len() > LARGEST_REQUEST {
        return Err(broken("too long"));
    }
    stream.read_buf(buffer).await
}

fn parse_head(head: &[u8]) -> io::Result<Incoming> {
    let head = std::str::from_utf8(head).map_err(|_| broken("the head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(broken("the request line is not HTTP/1.1"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| broken("a header without ':'"))?;
            Ok((name.to_owned(), value.trim().to_owned()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Incoming {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::new(),
    })
}

/// Where `wanted` begins in `bytes`.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a request: {what}"))
}

/// An answer before it goes to the wire.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer that claims to be JSON.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
        .with_header("Content-Type", "application/json")
    }

    /// An answer as a web server or a balancer in front of Duo would make it.
    pub fn plain(status: u16) -> Self {
        let body = format!(
            "<html><body><h1>{status} {}</h1></body></html>\n",
            reason(status)
        );
        Self {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
        }
        .with_header("Content-Type", "text/html")
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Status line and headers without the one that says how long the body is.
    pub fn open_head(&self) -> String {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nServer: fake-duo\r\n",
            self.status,
            reason(self.status)
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    /// The whole head, its empty line included.
    pub fn head(&self) -> String {
        format!(
            "{}Content-Length: {}\r\n\r\n",
            self.open_head(),
            self.body.len()
        )
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        409 => "Conflict",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Other",
    }
}
