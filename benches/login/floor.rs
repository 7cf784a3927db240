//! The floor: the least that any client does, the same two signed requests
//! over one TLS connection, with nothing else around them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_duo::FakeDuo;
use fake_duo::signing::{Digest, canonical_parameters, canonical_request, sign};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Tls = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// preauth, and auth with the right passcode, whose answer is the verdict: to an
/// "allow", or an error.
pub fn log_in(host: &str, ca: &Path) -> io::Result<()> {
    let mut tls = connect(host, ca)?;
    let user = ("username", "push");
    exchange(&mut tls, host, "preauth", &[user, ("text_prompt", "1")])?;
    let passcode = [
        user,
        ("async", "0"),
        ("factor", "prompt"),
        ("prompt", fake_duo::PASSCODE),
    ];
    let verdict = exchange(&mut tls, host, "auth", &passcode)?;
    match verdict["response"]["result"].as_str() {
        Some("allow") => Ok(()),
        _ => Err(io::Error::other(verdict.to_string())),
    }
}

fn connect(host: &str, ca: &Path) -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(ca)?;
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (name, _) = host.split_once(':').unwrap_or((host, ""));
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let socket = TcpStream::connect(host)?;
    socket.set_nodelay(true)?;
    let tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(BufReader::new(StreamOwned::new(tls, socket)))
}

fn exchange(
    tls: &mut Tls,
    host: &str,
    endpoint: &str,
    parameters: &[(&str, &str)],
) -> io::Result<serde_json::Value> {
    let path = format!("/auth/v2/{endpoint}");
    let owned: Vec<_> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let body = canonical_parameters(&owned);
    let date = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
    let (name, _) = host.split_once(':').unwrap_or((host, ""));
    let canonical = canonical_request(&date, "POST", name, &path, &body);
    let signature = sign(Digest::Sha512, FakeDuo::SKEY, &canonical);
    let credentials = BASE64.encode(format!("{}:{signature}", FakeDuo::IKEY));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nX-Duo-Date: {date}\r\n\
         Authorization: Basic {credentials}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tls.get_mut().write_all(request.as_bytes())?;
    answer(tls)
}

fn answer(tls: &mut Tls) -> io::Result<serde_json::Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        tls.read_line(&mut line)?;
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", number)) => {
                length = number.parse().map_err(io::Error::other)?
            }
            _ if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    tls.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(io::Error::other)
}
