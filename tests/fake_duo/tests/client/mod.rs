//! A blocking client for the tests: signs as login_duo shall, and can do each thing wrong.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake_duo::signing::{self, Digest};
use fake_duo::{FakeDuo, Request};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A request, right unless a test changes something.
pub struct Call {
    pub method: &'static str,
    pub path: &'static str,
    pub parameters: Vec<(String, String)>,
    pub ikey: String,
    pub skey: String,
    pub digest: Digest,
    /// Seconds by which the client's clock is off.
    pub clock_offset: i64,
    /// Whether the date is signed, and sent; the older API has none.
    pub is_dated: bool,
    /// The date in full, in place of the clock's.
    pub date: Option<String>,
    /// The host to sign, in place of the right one.
    pub signed_host: Option<String>,
    /// The raw parameters to send, in place of those that were signed.
    pub sent: Option<String>,
    /// Headers to leave out.
    pub without: &'static [&'static str],
}

impl Call {
    pub fn new(method: &'static str, path: &'static str, parameters: &[(&str, &str)]) -> Self {
        Self {
            method,
            path,
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ikey: FakeDuo::IKEY.to_owned(),
            skey: FakeDuo::SKEY.to_owned(),
            digest: Digest::Sha512,
            clock_offset: 0,
            is_dated: true,
            date: None,
            signed_host: None,
            sent: None,
            without: &[],
        }
    }

    pub fn preauth(user: &str) -> Self {
        Self::new(
            "POST",
            "/auth/v2/preauth",
            &[("username", user), ("text_prompt", "1")],
        )
    }

    pub fn auth(user: &str, prompt: &str) -> Self {
        Self::new(
            "POST",
            "/auth/v2/auth",
            &[
                ("username", user),
                ("async", "1"),
                ("factor", "prompt"),
                ("prompt", prompt),
            ],
        )
    }

    pub fn auth_status(txid: &str) -> Self {
        Self::new("GET", "/auth/v2/auth_status", &[("txid", txid)])
    }

    fn bytes(&self, host: &str) -> Vec<u8> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let date = self.date.clone().unwrap_or_else(|| {
            OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap() + self.clock_offset)
                .unwrap()
                .format(&Rfc2822)
                .unwrap()
        });
        let canonical = signing::canonical_parameters(&self.parameters);
        let signed_host = self
            .signed_host
            .as_deref()
            .unwrap_or(host.rsplit_once(':').unwrap().0);
        let request =
            signing::canonical_request(&date, self.method, signed_host, self.path, &canonical);
        let request = match self.is_dated {
            true => request,
            false => request.split_once('\n').unwrap().1.to_owned(),
        };
        let signature = signing::sign(self.digest, &self.skey, &request);
        let sent = self.sent.as_ref().unwrap_or(&canonical);
        let authorization = format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{signature}", self.ikey))
        );
        let (target, body) = match self.method {
            "GET" if !sent.is_empty() => (format!("{}?{sent}", self.path), ""),
            "GET" => (self.path.to_owned(), ""),
            _ => (self.path.to_owned(), sent.as_str()),
        };
        let mut text = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\n", self.method);
        for (name, value) in [
            ("X-Duo-Date", date.as_str()),
            ("Authorization", &authorization),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", &body.len().to_string()),
        ] {
            let is_left_out = name == "X-Duo-Date" && !self.is_dated;
            if !is_left_out && !self.without.contains(&name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        format!("{text}\r\n{body}").into_bytes()
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn response(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let json = self.json();
        assert_eq!(json["stat"], "OK");
        json["response"].clone()
    }

    pub fn code(&self) -> u64 {
        let json = self.json();
        assert_eq!(json["stat"], "FAIL");
        json["code"].as_u64().unwrap()
    }

    /// Whether these bytes stand somewhere in the body.
    pub fn has(&self, wanted: &[u8]) -> bool {
        self.body.windows(wanted.len()).any(|it| it == wanted)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (candidate, value) = line.split_once(": ")?;
            candidate.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

/// A kept connection.
pub struct Client {
    stream: Box<dyn ReadWrite>,
    host: String,
}

impl Client {
    pub fn new(duo: &FakeDuo) -> Self {
        Self::connect(duo).unwrap()
    }

    pub fn connect(duo: &FakeDuo) -> io::Result<Self> {
        Self::over(duo, tcp(&duo.address())?)
    }

    /// TLS to the service over any stream.
    pub fn over(duo: &FakeDuo, mut tcp: TcpStream) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(duo.ca_pem().as_bytes()).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = duo.host();
        let name = host
            .rsplit_once(':')
            .unwrap()
            .0
            .trim_matches(['[', ']'])
            .to_owned();
        let name = ServerName::try_from(name).unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Self {
            stream: Box::new(StreamOwned::new(tls, tcp)),
            host,
        })
    }

    /// No TLS.
    pub fn plain(duo: &FakeDuo) -> Self {
        Self {
            stream: Box::new(tcp(&duo.address()).unwrap()),
            host: duo.host(),
        }
    }

    /// No TLS, to a service of another process.
    pub fn plain_at(host: &str) -> Self {
        let port = host.rsplit_once(':').unwrap().1;
        Self {
            stream: Box::new(tcp(&format!("127.0.0.1:{port}")).unwrap()),
            host: host.to_owned(),
        }
    }

    pub fn call(&mut self, call: &Call) -> Answer {
        self.try_call(call).unwrap()
    }

    pub fn try_call(&mut self, call: &Call) -> io::Result<Answer> {
        self.send(call)?;
        self.receive()
    }

    pub fn send(&mut self, call: &Call) -> io::Result<()> {
        self.stream.write_all(&call.bytes(&self.host))?;
        self.stream.flush()
    }

    /// Everything until the end, or the error that ended it.
    pub fn read_to_end(&mut self) -> (Vec<u8>, io::Result<usize>) {
        let mut bytes = Vec::new();
        let result = self.stream.read_to_end(&mut bytes);
        (bytes, result)
    }

    pub fn read_some(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; bytes];
        self.stream.read_exact(&mut read)?;
        Ok(read)
    }

    pub fn receive(&mut self) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read_some(1)?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut answer = Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
        };
        match answer.header("Content-Length") {
            Some(length) => answer.body = self.read_some(length.parse().unwrap())?,
            None => loop {
                let mut line = Vec::new();
                while !line.ends_with(b"\r\n") {
                    line.extend(self.read_some(1)?);
                }
                let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16);
                let chunk = self.read_some(length.unwrap() + 2)?;
                answer.body.extend(&chunk[..chunk.len() - 2]);
                if chunk.len() == 2 {
                    break;
                }
            },
        }
        Ok(answer)
    }

    /// Preauth and auth; the transaction.
    pub fn begin(&mut self, user: &str, prompt: &str) -> String {
        assert_eq!(self.call(&Call::preauth(user)).response()["result"], "auth");
        let auth = self.call(&Call::auth(user, prompt)).response();
        auth["txid"].as_str().unwrap().to_owned()
    }

    /// Every `auth_status` to the end, as `result: status_msg`.
    pub fn follow(&mut self, txid: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let status = self.call(&Call::auth_status(txid)).response();
            let result = status["result"].as_str().unwrap();
            seen.push(format!(
                "{result}: {}",
                status["status_msg"].as_str().unwrap_or("null")
            ));
            if result != "waiting" {
                return seen;
            }
        }
    }
}

/// A TCP connection that no test waits on for ever.
pub fn tcp(address: &str) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    Ok(tcp)
}

/// A condition for `wait_until`: a request to this endpoint has arrived.
pub fn has_arrived(endpoint: &'static str) -> impl Fn(&[Request]) -> bool {
    move |requests| {
        requests
            .iter()
            .any(|request| request.endpoint() == endpoint)
    }
}
