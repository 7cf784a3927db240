//! What the service accepts, refuses and answers.

mod client;

use client::{Call, Client, PATIENCE, has_arrived};
use fake_duo::signing::Digest;
use fake_duo::{FakeDuo, HOSTILE_TEXT, Script, Shape, Tls};
use std::time::{Duration, Instant};

fn quick() -> FakeDuo {
    FakeDuo::builder()
        .push_delay(Duration::from_millis(20))
        .start()
}

#[test]
fn a_right_signature_is_accepted_in_both_digests() {
    let duo = FakeDuo::start();
    let mut client = Client::new(&duo);
    for digest in [Digest::Sha512, Digest::Sha1] {
        let mut call = Call::new("GET", "/auth/v2/check", &[]);
        call.digest = digest;
        assert!(client.call(&call).response()["time"].is_u64());
    }
    assert_eq!((duo.connections(), duo.handshakes()), (1, 1));
    assert_eq!(duo.paths(), ["check", "check"]);
}

#[test]
fn each_wrong_request_is_refused_with_its_code() {
    type Change = fn(&mut Call);
    let changes: [(u64, Change); 17] = [
        (40101, |call| call.without = &["Authorization"]),
        (40102, |call| call.ikey = "DIELSEWHERE000000001".into()),
        (40103, |call| call.skey.push('x')),
        (40103, |call| {
            call.signed_host = Some("elsewhere.example".into())
        }),
        (40103, |call| {
            call.sent = Some("text_prompt=1&username=root".into())
        }),
        (40104, |call| call.without = &["X-Duo-Date"]),
        (40105, |call| call.clock_offset = 3600),
        (40105, |call| call.clock_offset = -301),
        (40105, |call| {
            call.date = Some("2026-11-21T16:31:48Z".into())
        }),
        (40002, |call| {
            call.sent = Some("text_prompt=1&username=a+b".into())
        }),
        (40002, |call| {
            call.sent = Some("username=a%20b&text_prompt=1".into())
        }),
        (40002, |call| call.sent = Some("username".into())),
        (40002, |call| call.without = &["Content-Type"]),
        (40002, |call| call.parameters.truncate(1)),
        (40002, |call| {
            call.parameters.push(("username".into(), "b".into()))
        }),
        (40401, |call| call.path = "/auth/v3/preauth"),
        (40501, |call| call.method = "GET"),
    ];
    let duo = FakeDuo::start();
    let mut client = Client::new(&duo);
    for (number, (code, change)) in changes.into_iter().enumerate() {
        let mut call = Call::preauth("a b");
        change(&mut call);
        let answer = client.call(&call);
        assert_eq!(answer.code(), code, "change {number}");
        assert_eq!(u64::from(answer.status), code / 100);
        let refusal = duo.requests()[number].refusal.clone().unwrap();
        assert!(refusal.starts_with(&code.to_string()), "{refusal}");
    }
    client.call(&Call::preauth("a b")).response();
}

#[test]
fn ping_needs_no_signature_and_tells_a_wrong_clock() {
    let duo = FakeDuo::builder().clock_offset(-3600).start();
    let mut client = Client::new(&duo);
    assert_eq!(client.call(&Call::preauth("push")).code(), 40105);
    let mut ping = Call::new("GET", "/auth/v2/ping", &[]);
    ping.without = &["Authorization", "X-Duo-Date"];
    let time = client.call(&ping).response()["time"].as_i64().unwrap();
    let mut again = Call::preauth("push");
    again.date = None;
    again.clock_offset = -3600;
    assert!(time > 1_700_000_000);
    client.call(&again).response();
    duo.set_clock_offset(0);
    client.call(&Call::preauth("push")).response();
}

#[test]
fn scripted_users_end_as_they_shall() {
    let pushed = "waiting: Pushed a login request to your device...";
    let success = "allow: Success. Logging you in...";
    let wrong = "deny: Incorrect passcode. Please try again.";
    let cases: [(&str, &str, &[&str]); 14] = [
        ("push", "push1", &[pushed, success]),
        ("anybody", "push1", &[pushed, success]),
        (
            "pushdeny",
            "push1",
            &[pushed, "deny: Login request denied."],
        ),
        ("pushtimeout", "push1", &[pushed, "deny: Login timed out."]),
        (
            "fraud",
            "push1",
            &[pushed, "deny: Login request reported as fraudulent."],
        ),
        ("push", "123456", &[success]),
        ("push", "654321", &[wrong]),
        (
            "lockedout",
            "123456",
            &["deny: Your account has been locked out"],
        ),
        ("sms", "7654321", &[wrong]),
        ("sms", "smsrefresh1", &["deny: New SMS passcodes sent"]),
        ("sms", "7654321", &[success]),
        ("nulls", "push1", &[pushed, "deny: null"]),
        ("unknownresult", "push1", &[pushed, "review: Under review"]),
        (
            "phone",
            "phone1",
            &[
                "waiting: Dialing XXX-XXX-1234...",
                "waiting: Answered. Press any key on your phone to log in.",
                success,
            ],
        ),
    ];
    let duo = quick();
    let mut client = Client::new(&duo);
    for (user, prompt, expected) in cases {
        let txid = client.begin(user, prompt);
        assert_eq!(client.follow(&txid), expected, "{user} {prompt}");
    }
    for (user, result) in [
        ("allow", "allow"),
        ("deny", "deny"),
        ("enroll", "enroll"),
        ("unknownpreauth", "review"),
        ("nullpreauth", "deny"),
    ] {
        assert_eq!(
            client.call(&Call::preauth(user)).response()["result"],
            result
        );
    }
    let enroll = client.call(&Call::preauth("enroll")).response();
    let portal = enroll["enroll_portal_url"].as_str().unwrap();
    assert!(enroll["prompt"]["text"].as_str().unwrap().contains(portal));
}

#[test]
fn a_service_that_ignores_async_answers_when_done() {
    let duo = quick();
    let mut client = Client::new(&duo);
    let answer = client.call(&Call::auth("syncauth", "push1")).response();
    assert_eq!(answer["result"], "allow");
    let mut call = Call::auth("pushdeny", "push1");
    call.parameters.remove(1);
    assert_eq!(
        client.call(&call).response()["status_msg"],
        "Login request denied."
    );
}

/// `/auth` without polling: `async=0`, or no `async` at all.
fn synchronous(user: &str, prompt: &str, is_said: bool) -> Call {
    let mut call = Call::auth(user, prompt);
    call.parameters.retain(|(name, _)| name != "async");
    if is_said {
        call.parameters.push(("async".into(), "0".into()));
    }
    call
}

#[test]
fn a_synchronous_auth_is_answered_with_the_verdict() {
    // Nobody waits for a passcode's verdict, however long a person would take.
    let slow = FakeDuo::builder()
        .push_delay(Duration::from_secs(3_600))
        .start();
    let mut client = Client::new(&slow);
    for is_said in [true, false] {
        for (user, prompt, result, status, message) in [
            (
                "push",
                "123456",
                "allow",
                "allow",
                "Success. Logging you in...",
            ),
            (
                "push",
                "654321",
                "deny",
                "deny",
                "Incorrect passcode. Please try again.",
            ),
            (
                "sms",
                "smsrefresh1",
                "deny",
                "sent",
                "New SMS passcodes sent",
            ),
            (
                "lockedout",
                "123456",
                "deny",
                "locked_out",
                "Your account has been locked out",
            ),
        ] {
            let answer = client.call(&synchronous(user, prompt, is_said)).response();
            let expected =
                serde_json::json!({"result": result, "status": status, "status_msg": message});
            assert_eq!(answer, expected, "{user} {prompt}");
        }
    }
    assert_eq!(slow.asked("auth_status"), 0);
}

#[test]
fn a_synchronous_push_is_answered_when_the_person_has_answered() {
    let duo = FakeDuo::start();
    let mut client = Client::new(&duo);
    for (settle, result) in [
        (FakeDuo::approve as fn(&FakeDuo, &str) -> bool, "allow"),
        (FakeDuo::deny, "deny"),
    ] {
        let before = duo.requests().len();
        client.send(&synchronous("manual", "push1", true)).unwrap();
        assert!(duo.wait_until(|requests| requests.len() > before, PATIENCE));
        // The transaction begins right after its request is logged.
        let end = Instant::now() + PATIENCE;
        while !settle(&duo, "manual") {
            assert!(Instant::now() < end);
        }
        assert_eq!(client.receive().unwrap().response()["result"], result);
    }
    let mut wrong = synchronous("push", "push1", true);
    wrong.parameters.last_mut().unwrap().1 = "2".into();
    assert_eq!(client.call(&wrong).code(), 40002);
}

#[test]
fn a_push_is_first_answered_at_once_and_then_polled_for_long() {
    // An hour for the person, and an hour for a poll without news: only what comes at once arrives in time.
    let hour = Duration::from_secs(3_600);
    let duo = FakeDuo::builder()
        .push_delay(hour)
        .poll_limit(hour)
        .user("already", Script::PushAfter(Duration::ZERO))
        .start();
    let mut client = Client::new(&duo);
    let pushed = "waiting: Pushed a login request to your device...";
    let txid = client.begin("push", "push1");
    let first = client.call(&Call::auth_status(&txid)).response();
    assert_eq!(
        first["status_msg"],
        "Pushed a login request to your device..."
    );
    client.send(&Call::auth_status(&txid)).unwrap();
    assert!(duo.wait_until(|requests| requests.len() == 4, PATIENCE));
    assert_eq!(duo.requests()[3].status, 0);
    assert!(duo.approve("push"));
    assert_eq!(client.receive().unwrap().response()["result"], "allow");

    // One who has said yes before the second poll: it is answered at once too.
    let txid = client.begin("already", "push1");
    assert_eq!(
        client.follow(&txid),
        [pushed, "allow: Success. Logging you in..."]
    );
}

/// A request of the older API: no date, HMAC-SHA1.
fn undated(method: &'static str, path: &'static str, parameters: &[(&str, &str)]) -> Call {
    let mut call = Call::new(method, path, parameters);
    call.digest = Digest::Sha1;
    call.is_dated = false;
    call
}

#[test]
fn the_older_api_is_signed_without_a_date_and_answered_in_bson() {
    let duo = quick();
    let mut client = Client::new(&duo);
    let preauth = [("failmode", "open"), ("hostname", "h"), ("user", "push")];
    let answer = client.call(&undated("POST", "/rest/v1/preauth.bson", &preauth));
    assert_eq!(answer.header("Content-Type"), Some("application/bson"));
    let length = u32::try_from(answer.body.len()).unwrap().to_le_bytes();
    assert_eq!(answer.body[..4], length);
    assert!(answer.has(b"\x02default\0\x06\0\0\0push1\0"));
    assert!(answer.has(b"Passcode or option (1-3): \0"));

    let auth = [
        ("async", "0"),
        ("auto", "123456"),
        ("factor", "auto"),
        ("pushinfo", "Server+IP=(null)&Command="),
        ("user", "push"),
    ];
    let answer = client.call(&undated("POST", "/rest/v1/auth.bson", &auth));
    assert!(answer.has(b"\x02result\0\x06\0\0\0allow\0"));
    assert!(answer.has(b"\x02status\0\x1b\0\0\0Success. Logging you in...\0"));
    assert_eq!(duo.paths(), ["preauth", "auth"]);

    type Change = fn(&mut Call);
    let changes: [(u16, Change); 5] = [
        (401, |call| call.skey.push('x')),
        (401, |call| call.digest = Digest::Sha512),
        (401, |call| call.is_dated = true),
        (400, |call| call.parameters[0].1 = "2".into()),
        (404, |call| call.path = "/rest/v1/auth.json"),
    ];
    for (number, (status, change)) in changes.into_iter().enumerate() {
        let mut call = undated("POST", "/rest/v1/auth.bson", &auth);
        change(&mut call);
        let answer = client.call(&call);
        assert_eq!(answer.status, status, "change {number}");
    }
}

#[test]
fn verified_push_carries_preauths_txid() {
    let duo = quick();
    let mut client = Client::new(&duo);
    let mut preauth = Call::preauth("verified");
    preauth
        .parameters
        .push(("client_supports_verified_push".into(), "1".into()));
    let response = client.call(&preauth).response();
    assert_eq!(response["prompt"]["factors"]["default"], "verified_push1");

    let mut auth = Call::auth("verified", "verified_push1");
    assert_eq!(client.call(&auth).code(), 40002);
    auth.parameters
        .push(("txid".into(), response["txid"].as_str().unwrap().into()));
    let begun = client.call(&auth).response();
    let seen = client.follow(begun["txid"].as_str().unwrap());
    assert_eq!(
        seen[0],
        "waiting: Please enter verification code 708 into Duo Mobile..."
    );
    assert_eq!(seen.len(), 2);
}

#[test]
fn devices_in_place_of_a_prompt() {
    let duo = FakeDuo::builder()
        .shape(Shape::Devices)
        .push_delay(Duration::ZERO)
        .start();
    let mut client = Client::new(&duo);
    let response = client.call(&Call::preauth("twophones")).response();
    assert_eq!(response.get("prompt"), None);
    let device = response["devices"][0]["device"].as_str().unwrap();
    assert_eq!(
        response["devices"][1]["capabilities"],
        serde_json::json!(["auto", "phone"])
    );
    for (factor, field, value, status) in [
        ("push", "device", device, 200),
        ("push", "device", "auto", 200),
        ("auto", "device", "auto", 200),
        ("passcode", "passcode", "123456", 200),
        ("push", "device", "DPELSEWHERE", 400),
        ("prompt", "prompt", "push1", 400),
    ] {
        let call = Call::new(
            "POST",
            "/auth/v2/auth",
            &[
                ("username", "twophones"),
                ("async", "1"),
                ("factor", factor),
                (field, value),
            ],
        );
        assert_eq!(client.call(&call).status, status, "{factor} {value}");
    }
    assert_eq!(client.call(&Call::auth_status("gone")).code(), 40002);
}

#[test]
fn a_test_settles_a_push_while_the_poll_waits() {
    let duo = FakeDuo::builder().user("alice", Script::PushManual).start();
    let mut client = Client::new(&duo);
    assert!(!duo.approve("alice"));
    for (settle, expected) in [
        (
            FakeDuo::approve as fn(&FakeDuo, &str) -> bool,
            "allow: Success. Logging you in...",
        ),
        (FakeDuo::deny, "deny: Login request denied."),
    ] {
        let before = duo.requests().len();
        let txid = client.begin("alice", "push1");
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| client.follow(&txid));
            // The second poll is the one that waits.
            assert!(duo.wait_until(|requests| requests.len() == before + 4, PATIENCE));
            assert_eq!(duo.requests()[before + 3].status, 0);
            assert!(settle(&duo, "alice"));
            assert_eq!(follower.join().unwrap()[1], expected);
        });
        assert!(!settle(&duo, "alice"));
    }
}

#[test]
fn a_poll_without_news_answers_at_its_limit() {
    let duo = FakeDuo::builder()
        .default_script(Script::PushManual)
        .poll_limit(Duration::from_millis(50))
        .start();
    let mut client = Client::new(&duo);
    let txid = client.begin("anybody", "push1");
    for _ in 0..2 {
        let status = client.call(&Call::auth_status(&txid)).response();
        assert_eq!(status["result"], "waiting");
    }
}

#[test]
fn a_client_that_goes_away_is_seen() {
    let duo = FakeDuo::builder()
        .default_script(Script::PushManual)
        .start();
    let mut client = Client::new(&duo);
    let txid = client.begin("anybody", "push1");
    client.call(&Call::auth_status(&txid));
    client.send(&Call::auth_status(&txid)).unwrap();
    assert!(duo.wait_until(|requests| requests.len() == 4, PATIENCE));
    drop(client);
    assert_eq!(duo.requests()[3].status, 0);
}

#[test]
fn hostile_texts_are_everywhere() {
    let duo = quick();
    let mut client = Client::new(&duo);
    let preauth = client.call(&Call::preauth("escapes")).response();
    assert!(
        preauth["prompt"]["text"]
            .as_str()
            .unwrap()
            .contains(HOSTILE_TEXT)
    );
    let txid = client.begin("escapes", "push1");
    assert!(
        client
            .follow(&txid)
            .iter()
            .all(|seen| seen.contains(HOSTILE_TEXT))
    );
}

#[test]
fn addresses_and_names() {
    let duo = FakeDuo::builder().bind(&["127.0.0.2", "127.0.0.1"]).start();
    assert_eq!(duo.address(), format!("127.0.0.2:{}", duo.port()));
    assert_eq!(duo.host(), format!("localhost:{}", duo.port()));
    Client::new(&duo).call(&Call::preauth("push")).response();

    // Two services at one port trust the same CA, so a client can move on from a bad one to a good one.
    let bad = FakeDuo::builder()
        .bind(&["127.0.0.3"])
        .port(duo.port())
        .tls(Tls::WrongHost)
        .start();
    assert_eq!(bad.ca_pem(), duo.ca_pem());
    assert_eq!(bad.host(), bad.address());

    assert!(FakeDuo::builder().bind(&["192.0.2.1"]).try_start().is_err());
    assert!(FakeDuo::builder().bind(&["localhost"]).try_start().is_err());
    assert!(FakeDuo::builder().port(duo.port()).try_start().is_err());
}

#[test]
fn stop_frees_the_port_and_closes_connections() {
    // An address of its own: nobody else takes a port there between stop and start.
    let duo = FakeDuo::builder().bind(&["127.0.0.77"]).start();
    let mut client = Client::new(&duo);
    client.call(&Call::preauth("push")).response();
    duo.stop();
    assert!(client.try_call(&Call::preauth("push")).is_err());
    let again = FakeDuo::builder()
        .bind(&["127.0.0.77"])
        .port(duo.port())
        .start();
    Client::new(&again).call(&Call::preauth("push")).response();
    assert_eq!(duo.paths(), ["preauth"]);
    drop(again);
    assert!(client::tcp(&duo.address()).is_err());
}

#[test]
fn the_log_and_the_configuration_tell_all() {
    use std::os::unix::fs::PermissionsExt;

    let duo = FakeDuo::start();
    let mut client = Client::new(&duo);
    client.call(&Call::preauth("zoë"));
    assert!(duo.wait_until(has_arrived("preauth"), Duration::ZERO));
    assert!(!duo.wait_until(has_arrived("auth"), Duration::ZERO));
    let requests = duo.requests();
    let request = &requests[0];
    assert_eq!((request.connection, request.status), (1, 200));
    assert_eq!(request.param("username"), Some("zoë"));
    assert_eq!(request.header("host"), Some(duo.host().as_str()));
    assert_eq!(
        request.to_string(),
        "POST /auth/v2/preauth text_prompt=\"1\" username=\"zoë\" -> 200"
    );

    let dir = std::env::temp_dir().join(format!("fake-duo-test-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let config = duo.write_config(&dir, "failmode = secure").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.ends_with("failmode = secure\n"));
    assert!(text.contains(&format!("host = {}\n", duo.host())));
    assert_eq!(
        config.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        std::fs::read_to_string(dir.join("ca.pem"))
            .unwrap()
            .contains("CERTIFICATE")
    );
    std::fs::remove_dir_all(&dir).unwrap();
}
