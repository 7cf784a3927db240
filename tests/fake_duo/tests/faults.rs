//! Faults reach the wire as they are described.

mod client;

use client::{Call, Client, PATIENCE, has_arrived, tcp};
use fake_duo::{Endpoint, FakeDuo, Fault, RetryAfter, Script, Stage, Times};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// One preauth under one fault.
fn under(fault: Fault) -> client::Answer {
    let duo = FakeDuo::builder()
        .fault(Endpoint::Preauth, fault, Times::Always)
        .start();
    Client::new(&duo).call(&Call::preauth("push"))
}

#[test]
fn answers_in_place_of_the_right_one() {
    let answer = under(Fault::Status {
        status: 403,
        code: 40301,
    });
    assert_eq!((answer.status, answer.code()), (403, 40301));
    let answer = under(Fault::Bare { status: 503 });
    assert_eq!(answer.status, 503);
    assert!(answer.body.starts_with(b"<html>"));
    let answer = under(Fault::Redirect("https://elsewhere.example/".to_owned()));
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.header("Location"),
        Some("https://elsewhere.example/")
    );
    let answer = under(Fault::Fail {
        code: Some(40301),
        message: "no".to_owned(),
    });
    assert_eq!((answer.status, answer.code()), (200, 40301));
    let answer = under(Fault::Fail {
        code: None,
        message: "no".to_owned(),
    });
    assert_eq!(answer.json().get("code"), None);
    let answer = under(Fault::Response(r#"{"result":"deny"}"#.to_owned()));
    assert_eq!(answer.response()["result"], "deny");
    assert_eq!(under(Fault::DeepBrackets).body, vec![b'['; 500_000]);
    assert!(std::str::from_utf8(&under(Fault::Garbage).body).is_err());
    assert!(under(Fault::NoStat).json().get("stat").is_none());
    assert!(under(Fault::HugeBody).body.len() > 1024 * 1024);
}

#[test]
fn rate_limits_come_in_sequences() {
    let duo = FakeDuo::start();
    let two = Fault::RateLimited(RetryAfter::Seconds(2));
    let huge = Fault::RateLimited(RetryAfter::Text("9223372036854775808".to_owned()));
    duo.fault(Endpoint::Preauth, two, Times::First(1));
    duo.fault(Endpoint::Preauth, huge, Times::First(1));
    duo.fault(
        Endpoint::Preauth,
        Fault::Bare { status: 500 },
        Times::First(1),
    );
    let mut client = Client::new(&duo);
    let mut next = || {
        let answer = client.call(&Call::preauth("push"));
        (
            answer.status,
            answer.header("Retry-After").map(str::to_owned),
        )
    };
    assert_eq!(next(), (429, Some("2".to_owned())));
    assert_eq!(next(), (429, Some("9223372036854775808".to_owned())));
    assert_eq!(next(), (500, None));
    assert_eq!(next(), (200, None));
    duo.fault(Endpoint::Any, Fault::NotJson, Times::Always);
    duo.clear_faults();
    assert_eq!(next(), (200, None));
}

#[test]
fn a_fault_in_place_of_the_answer_keeps_the_request_from_taking_effect() {
    let duo = FakeDuo::builder()
        .default_script(Script::PushManual)
        .start();
    duo.fault(Endpoint::Auth, Fault::Bare { status: 500 }, Times::First(1));
    duo.fault(
        Endpoint::Auth,
        Fault::Close(Stage::BeforeHeaders),
        Times::First(1),
    );
    assert_eq!(
        Client::new(&duo).call(&Call::auth("a", "push1")).status,
        500
    );
    assert!(!duo.approve("a"));
    assert!(
        Client::new(&duo)
            .try_call(&Call::auth("a", "push1"))
            .is_err()
    );
    assert!(duo.approve("a"));
    let requests = duo.requests();
    assert_eq!((requests[0].status, requests[1].status), (500, 0));
}

#[test]
fn a_status_that_was_lost_comes_again() {
    let duo = FakeDuo::builder()
        .push_delay(Duration::from_millis(10))
        .start();
    duo.fault(
        Endpoint::AuthStatus,
        Fault::Close(Stage::InBody),
        Times::First(1),
    );
    let mut client = Client::new(&duo);
    let txid = client.begin("verified", "push1");
    assert!(client.try_call(&Call::auth_status(&txid)).is_err());
    assert_eq!(Client::new(&duo).follow(&txid).len(), 2);
}

#[test]
fn chunks_and_delays_leave_the_answer_right() {
    let chunked = under(Fault::Chunked);
    assert_eq!(chunked.header("Content-Length"), None);
    assert_eq!(chunked.response()["result"], "auth");
    let before = Instant::now();
    assert_eq!(
        under(Fault::Delay(Duration::from_millis(50))).response()["result"],
        "auth"
    );
    assert!(before.elapsed() >= Duration::from_millis(50));
}

#[test]
fn connections_end_as_they_are_told() {
    let duo = FakeDuo::start();
    let preauth = Call::preauth("push");
    duo.fault(Endpoint::Any, Fault::SayClose, Times::First(1));
    let mut client = Client::new(&duo);
    assert_eq!(client.call(&preauth).header("Connection"), Some("close"));
    assert_eq!(client.read_to_end().1.unwrap(), 0);

    duo.fault(Endpoint::Any, Fault::CloseAfterAnswer, Times::First(1));
    let mut client = Client::new(&duo);
    assert_eq!(client.call(&preauth).header("Connection"), None);
    assert_eq!(client.read_to_end().1.unwrap(), 0);

    let limit = Duration::from_millis(30);
    duo.fault(Endpoint::Any, Fault::CloseWhenIdle(limit), Times::First(1));
    let mut client = Client::new(&duo);
    client.call(&preauth).response();
    assert_eq!(client.read_to_end().1.unwrap(), 0);

    duo.fault(
        Endpoint::Any,
        Fault::Raw(b"SSH-2.0-x\r\n".to_vec()),
        Times::First(1),
    );
    let mut client = Client::new(&duo);
    client.send(&preauth).unwrap();
    assert_eq!(client.read_to_end().0, b"SSH-2.0-x\r\n");

    duo.fault(Endpoint::Any, Fault::DropAfter(10), Times::First(1));
    let mut client = Client::new(&duo);
    client.send(&preauth).unwrap();
    let (read, result) = client.read_to_end();
    assert_eq!(read, b"HTTP/1.1 2");
    assert_eq!(result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn close_and_reset_at_each_stage() {
    let duo = FakeDuo::start();
    for (stage, head_out) in [
        (Stage::BeforeHeaders, false),
        (Stage::InHeaders, false),
        (Stage::InBody, true),
    ] {
        for (fault, kind) in [
            (Fault::Close(stage), ErrorKind::UnexpectedEof),
            (Fault::Reset(stage), ErrorKind::ConnectionReset),
        ] {
            duo.fault(Endpoint::Any, fault, Times::First(1));
            let mut client = Client::new(&duo);
            client.send(&Call::preauth("push")).unwrap();
            let (read, result) = client.read_to_end();
            assert_eq!(result.unwrap_err().kind(), kind, "{stage:?}");
            // A reset may overtake what was sent before it.
            if kind == ErrorKind::UnexpectedEof {
                assert_eq!(
                    head_out,
                    read.windows(4).any(|bytes| bytes == b"\r\n\r\n"),
                    "{stage:?}"
                );
                assert_eq!(read.is_empty(), stage == Stage::BeforeHeaders);
            }
        }
    }
    for stage in [Stage::BeforeTls, Stage::InTls] {
        duo.fault(Endpoint::Any, Fault::Close(stage), Times::First(1));
        duo.fault(Endpoint::Any, Fault::Reset(stage), Times::First(1));
        assert_eq!(
            Client::connect(&duo).err().unwrap().kind(),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(
            Client::connect(&duo).err().unwrap().kind(),
            ErrorKind::ConnectionReset
        );
    }
    Client::connect(&duo).unwrap();
}

#[test]
fn stalls_hold_the_connection_and_send_no_more() {
    let silence = Some(Duration::from_millis(50));
    let duo = FakeDuo::start();
    for (stage, is_begun) in [(Stage::BeforeTls, false), (Stage::InTls, true)] {
        duo.fault(Endpoint::Any, Fault::Stall(stage), Times::First(1));
        let mut tcp = tcp(&duo.address()).unwrap();
        // Not a hello, but the stall does not look.
        tcp.write_all(b"hello").unwrap();
        let mut bytes = [0; 1024];
        if is_begun {
            assert!(tcp.read(&mut bytes).unwrap() > 0);
        }
        tcp.set_read_timeout(silence).unwrap();
        assert_eq!(
            tcp.read(&mut bytes).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
    for stage in [Stage::BeforeHeaders, Stage::InHeaders, Stage::InBody] {
        duo.fault(Endpoint::Any, Fault::Stall(stage), Times::First(1));
        let tcp = tcp(&duo.address()).unwrap();
        let socket = tcp.try_clone().unwrap();
        let mut client = Client::over(&duo, tcp).unwrap();
        client.send(&Call::preauth("push")).unwrap();
        if stage != Stage::BeforeHeaders {
            client.read_some(20).unwrap();
        }
        socket.set_read_timeout(silence).unwrap();
        assert_eq!(
            client.read_to_end().1.unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "{stage:?}"
        );
    }
    // Held connections do not hold up the end.
    duo.fault(
        Endpoint::Any,
        Fault::Stall(Stage::BeforeHeaders),
        Times::Always,
    );
    let mut client = Client::new(&duo);
    client.send(&Call::preauth("push")).unwrap();
    assert!(duo.wait_until(|requests| requests.len() == 4, PATIENCE));
    duo.stop();
    assert!(client.read_to_end().1.is_err());
}

#[test]
fn drips_and_floods() {
    let duo = FakeDuo::start();
    duo.fault(
        Endpoint::Any,
        Fault::Trickle(Stage::InBody),
        Times::First(1),
    );
    let before = Instant::now();
    let mut client = Client::new(&duo);
    client.send(&Call::preauth("push")).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_some(1).unwrap());
    }
    let text = String::from_utf8(head).unwrap();
    let length: usize = text
        .rsplit_once("Content-Length: ")
        .unwrap()
        .1
        .trim()
        .parse()
        .unwrap();
    client.read_some(length / 2 + 1).unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));

    duo.fault(Endpoint::Any, Fault::ContinueForever, Times::First(1));
    let mut client = Client::new(&duo);
    client.send(&Call::preauth("push")).unwrap();
    assert!(
        client
            .read_some(100_000)
            .unwrap()
            .starts_with(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100")
    );

    duo.fault(Endpoint::Any, Fault::EndlessBody, Times::First(1));
    let mut client = Client::new(&duo);
    client.send(&Call::preauth("push")).unwrap();
    let body = client.read_some(1_000_000).unwrap();
    assert!(
        body.windows(26)
            .any(|bytes| bytes == b"Content-Length: 4294967297")
    );
}

#[test]
fn faults_fit_their_endpoint_alone() {
    let duo = FakeDuo::start();
    duo.fault(Endpoint::Auth, Fault::Bare { status: 500 }, Times::Always);
    let mut client = Client::new(&duo);
    client.call(&Call::preauth("push")).response();
    assert_eq!(client.call(&Call::auth("push", "push1")).status, 500);
    assert!(duo.wait_until(has_arrived("auth"), Duration::ZERO));
    assert_eq!(duo.paths(), ["preauth", "auth"]);
}
