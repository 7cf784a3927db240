//! The proxy double, and the address that swallows connections.
#![allow(clippy::unwrap_used)]

mod client;

use client::{Call, Client, PATIENCE, tcp};
use fake_duo::{BlackHole, FakeDuo, FakeProxy, ProxyFault};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Asks the proxy for a tunnel; the connection and what it answered.
fn connect(proxy: &FakeProxy, target: &str, authorization: &str) -> (TcpStream, String) {
    let mut tcp = tcp(&proxy.address()).unwrap();
    write!(
        tcp,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && tcp.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    (tcp, String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn a_tunnel_leads_to_the_service() {
    let duo = FakeDuo::builder().name("api-1.example").start();
    let proxy = FakeProxy::builder().forward_to(&duo.address()).start();
    let (tcp, head) = connect(&proxy, "api-1.example:443", "");
    assert!(head.starts_with("HTTP/1.1 200 "));
    Client::over(&duo, tcp)
        .unwrap()
        .call(&Call::preauth("push"))
        .response();
    let seen = &proxy.connects()[0];
    assert_eq!(seen.target, "api-1.example:443");
    assert_eq!((seen.authorization.as_deref(), seen.status), (None, 200));
}

#[test]
fn credentials_are_asked_for_and_kept() {
    let duo = FakeDuo::start();
    let proxy = FakeProxy::builder().credentials("user", "pa:ss").start();
    let (_, head) = connect(&proxy, &duo.host(), "");
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    assert!(head.contains("Proxy-Authenticate: Basic"));
    let header = "Proxy-Authorization: Basic dXNlcjpwYTpzcw==\r\n";
    let (tcp, _) = connect(&proxy, &duo.host(), header);
    Client::over(&duo, tcp)
        .unwrap()
        .call(&Call::preauth("push"))
        .response();
    assert_eq!(proxy.connections(), 2);
    let seen = proxy.connects();
    assert_eq!((seen[0].status, seen[1].status), (407, 200));
    assert_eq!(
        seen[1].authorization.as_deref(),
        Some("Basic dXNlcjpwYTpzcw==")
    );
    assert_eq!(seen[1].target, duo.host());
}

#[test]
fn the_proxy_fails_as_it_is_told() {
    let proxy = FakeProxy::builder().fault(ProxyFault::AuthRequired).start();
    let begins = |fault, expected: &str| {
        proxy.set_fault(Some(fault));
        let (_, head) = connect(&proxy, "localhost:1", "");
        assert!(head.starts_with(expected), "{fault:?}: {head}");
        assert_eq!(head.is_empty(), expected.is_empty());
    };
    begins(ProxyFault::AuthRequired, "HTTP/1.1 407 ");
    begins(ProxyFault::Status(502), "HTTP/1.1 502 ");
    begins(ProxyFault::Garbage, "\0");
    begins(ProxyFault::Close, "");
    proxy.set_fault(Some(ProxyFault::Hang));
    let mut hung = tcp(&proxy.address()).unwrap();
    hung.write_all(b"CONNECT localhost:1 HTTP/1.1\r\n\r\n")
        .unwrap();
    assert!(proxy.wait_until(|connects| connects.len() == 5, PATIENCE));
    proxy.stop();
    assert_eq!(hung.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_black_hole_neither_accepts_nor_refuses() {
    let duo = FakeDuo::start();
    let hole = BlackHole::start("127.0.0.78", duo.port());
    let place = format!("127.0.0.78:{}", duo.port()).parse().unwrap();
    let swallowed = TcpStream::connect_timeout(&place, Duration::from_millis(300));
    assert_eq!(swallowed.unwrap_err().kind(), ErrorKind::TimedOut);
    hole.stop();
    let refused = TcpStream::connect_timeout(&place, PATIENCE);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}
