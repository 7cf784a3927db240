//! The phone over HTTP: what a person can do there, and what nobody else can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../client/mod.rs"]
mod client;
mod web;

use client::{Call, Client};
use fake_duo::{FakeDuo, HOSTILE_TEXT, Kind, Outcome, PASSCODE, SMS_PASSCODE, Screen, Script};
use std::net::Ipv4Addr;
use std::time::Duration;
use web::{Web, split};

fn with_phone() -> FakeDuo {
    FakeDuo::builder()
        .push_delay(Duration::from_millis(20))
        .phone((Ipv4Addr::LOCALHOST, 0).into())
        .start()
}

/// Preauth and auth, with these parameters besides the usual ones.
fn begin(client: &mut Client, user: &str, prompt: &str, more: &[(&str, &str)]) -> String {
    let mut preauth = Call::preauth(user);
    let supports = ("client_supports_verified_push".to_owned(), "1".to_owned());
    preauth.parameters.push(supports);
    let preauth = client.call(&preauth).response();
    let mut auth = Call::auth(user, prompt);
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    auth.parameters.extend(more.iter().copied().map(own));
    let txid = preauth["txid"].as_str().map(|txid| own(("txid", txid)));
    auth.parameters.extend(txid);
    let auth = client.call(&auth).response();
    auth["txid"].as_str().unwrap().to_owned()
}

fn waits(screen: &Screen) -> bool {
    !screen.waiting.is_empty()
}

#[test]
fn a_push_shows_at_once_with_everything_that_the_host_tells() {
    let duo = with_phone();
    let web = Web::of(&duo);
    let mut screens = web.screens();
    assert!(!waits(&screens.wait_for(|_| true)));
    let told = [
        ("hostname", "web1"),
        ("ipaddr", "192.0.2.7"),
        ("pushinfo", "Server+IP=192.0.2.1&Command=ls+-l+%2Fsrv"),
    ];
    begin(&mut Client::new(&duo), "alice", "push1", &told);
    let card = screens.wait_for(waits).waiting.remove(0);
    assert_eq!((card.number, card.kind), (1, Kind::Push));
    assert_eq!(card.user, "alice");
    assert_eq!(card.host.as_deref(), Some("web1"));
    assert_eq!(card.address.as_deref(), Some("192.0.2.7"));
    assert_eq!(card.server.as_deref(), Some("192.0.2.1"));
    assert_eq!(card.command.as_deref(), Some("ls -l /srv"));
    let page = web.page();
    for text in ["alice", "web1", "192.0.2.7", "192.0.2.1", "ls -l /srv"] {
        assert!(page.contains(&format!("<bdi>{text}</bdi>")), "{text}");
    }
}

#[test]
fn without_javascript_forms_approve_deny_and_report_fraud() {
    let duo = with_phone();
    let (web, mut client) = (Web::of(&duo), Client::new(&duo));
    for (number, prompt, answer, last, outcome) in [
        (
            1,
            "push1",
            "approve",
            "allow: Success. Logging you in...",
            Outcome::Approved,
        ),
        (
            2,
            "push1",
            "deny",
            "deny: Login request denied.",
            Outcome::Denied,
        ),
        (
            3,
            "push1",
            "fraud",
            "deny: Login request reported as fraudulent.",
            Outcome::Fraud,
        ),
        (
            4,
            "phone1",
            "approve",
            "allow: Success. Logging you in...",
            Outcome::Approved,
        ),
        (
            5,
            "phone1",
            "deny",
            "deny: Login request denied.",
            Outcome::Denied,
        ),
    ] {
        let txid = begin(&mut client, "alice", prompt, &[]);
        // What the page has a person press.
        let page = web.page();
        let form = format!("name=\"number\" value=\"{number}\"");
        for part in [
            "<form method=\"post\" action=\"answer\">",
            &form,
            &format!("value=\"{answer}\""),
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let body = format!("number={number}&answer={answer}");
        let answered = web.post(&format!("{}answer", web.path), &body);
        assert_eq!(
            (answered.status, answered.header("Location")),
            (303, Some("."))
        );
        assert_eq!(client.follow(&txid).last().unwrap(), last);
        let screen = web.screens().wait_for(|_| true);
        assert_eq!(screen.earlier[0].outcome, Some(outcome));
        // Nobody answers twice.
        assert_eq!(web.press(number, "approve"), 409);
    }
    assert_eq!(web.press(99, "approve"), 409);
}

#[test]
fn a_push_waits_for_the_person_however_long_the_script_would_take() {
    let duo = FakeDuo::builder()
        .push_delay(Duration::ZERO)
        .poll_limit(Duration::from_millis(50))
        .phone((Ipv4Addr::LOCALHOST, 0).into())
        .start();
    let (web, mut client) = (Web::of(&duo), Client::new(&duo));
    for (number, user, prompt) in [
        (1, "push", "push1"),
        (2, "slowpush", "push1"),
        (3, "phone", "phone1"),
    ] {
        let txid = begin(&mut client, user, prompt, &[]);
        for _ in 0..6 {
            let status = client.call(&Call::auth_status(&txid)).response();
            assert_eq!(status["result"], "waiting", "{user}");
        }
        assert_eq!(web.press(number, "approve"), 303);
        assert!(client.follow(&txid).last().unwrap().starts_with("allow"));
    }
    // A passcode asks nothing of a phone.
    let txid = begin(&mut client, "push", PASSCODE, &[]);
    assert!(client.follow(&txid).last().unwrap().starts_with("allow"));
    assert_eq!(web.screens().wait_for(|_| true).earlier.len(), 3);
}

#[test]
fn what_a_script_denies_it_denies_with_a_phone_too() {
    let duo = with_phone();
    let mut client = Client::new(&duo);
    let mut screens = Web::of(&duo).screens();
    for (user, outcome) in [
        ("pushdeny", Outcome::Denied),
        ("pushtimeout", Outcome::TimedOut),
        ("fraud", Outcome::Fraud),
        ("unknownresult", Outcome::Scripted),
    ] {
        begin(&mut client, user, "push1", &[]);
        screens.wait_for(|screen| {
            let first = screen.earlier.first();
            first.is_some_and(|card| card.user == user && card.outcome == Some(outcome))
        });
    }
    for user in ["lockedout", "pushfailed"] {
        begin(&mut client, user, "push1", &[]);
    }
    // They never reached the phone.
    begin(&mut client, "push", "push1", &[]);
    let screen = screens.wait_for(waits);
    assert_eq!((screen.waiting.len(), screen.earlier.len()), (1, 4));
}

#[test]
fn a_verified_push_is_approved_by_its_code_alone() {
    let duo = with_phone();
    let (web, mut client) = (Web::of(&duo), Client::new(&duo));
    let txid = begin(&mut client, "verified", "verified_push1", &[]);
    let status = client.call(&Call::auth_status(&txid)).response();
    let text = status["status_msg"].as_str().unwrap();
    let code = text.split(' ').find(|word| word.parse::<u32>().is_ok());
    for wrong in ["approve", "approve&code=", "approve&code=999"] {
        assert_eq!(web.press(1, wrong), 303);
        let screen = web.screens().wait_for(|_| true);
        assert!(screen.waiting[0].has_wrong_code, "{wrong}");
    }
    assert!(
        web.page()
            .contains("That is not the code that the login shows.")
    );
    assert_eq!(
        web.press(1, &format!("approve&code={}", code.unwrap())),
        303
    );
    assert!(client.follow(&txid).last().unwrap().starts_with("allow"));
}

#[test]
fn passcodes_are_listed_and_those_of_an_sms() {
    let duo = with_phone();
    let (web, mut client) = (Web::of(&duo), Client::new(&duo));
    let page = web.page();
    assert!(page.contains(PASSCODE) && !page.contains(SMS_PASSCODE));
    begin(&mut client, "alice", "smsrefresh1", &[]);
    let screen = web.screens().wait_for(|screen| screen.passcodes.len() == 2);
    assert_eq!(screen.passcodes[1].user.as_deref(), Some("alice"));
    assert!(web.page().contains(SMS_PASSCODE));
    let txid = begin(&mut client, "alice", &screen.passcodes[1].code, &[]);
    assert!(client.follow(&txid).last().unwrap().starts_with("allow"));
}

#[test]
fn an_enrolment_address_opens_a_page_that_enrols() {
    let duo = with_phone();
    let (web, mut client) = (Web::of(&duo), Client::new(&duo));
    let mut call = Call::preauth("enroll");
    call.parameters.push(("hostname".into(), "web".into()));
    let answer = client.call(&call).response();
    let portal = answer["enroll_portal_url"].as_str().unwrap();
    assert!(answer["prompt"]["text"].as_str().unwrap().contains(portal));
    // Whoever logs in sees this address: with the phone's token they could approve for everybody.
    let token = web.path.trim_matches('/');
    assert!(!portal.contains(token), "{portal}");

    let there = split(portal);
    assert_eq!(there.place, web.place);
    for _ in 0..2 {
        let page = there.get(&there.path);
        assert!(page.body.contains("<bdi>enroll</bdi> has no phone yet."));
    }
    for origin in ["http://elsewhere.example", "null"] {
        assert_eq!(there.post_from(origin, &there.path, "").status, 403);
    }
    assert_eq!(there.post("/portal/0123456789abcdef", "").status, 404);
    assert_eq!(
        client.call(&Call::preauth("enroll")).response()["result"],
        "enroll"
    );

    assert_eq!(there.post(&there.path, "").status, 303);
    assert!(there.get(&there.path).body.contains("has a phone now"));
    let txid = begin(&mut client, "enroll", "push1", &[]);
    assert_eq!(web.press(1, "approve"), 303);
    assert!(client.follow(&txid).last().unwrap().starts_with("allow"));
}

#[test]
fn a_wrong_token_opens_nothing() {
    let duo = with_phone();
    let web = Web::of(&duo);
    begin(&mut Client::new(&duo), "alice", "push1", &[]);
    let other = Web::of(&with_phone()).path;
    let cut = &web.path[..web.path.len() - 2];
    for base in ["/", "//", &other, &format!("{cut}/"), &format!("{cut}x/")] {
        for name in ["", "changes", "screens", "answer"] {
            let page = web.get(&format!("{base}{name}"));
            assert_eq!(page.status, 404, "{base}{name}");
            assert!(!page.body.contains("alice"));
        }
        let form = "number=1&answer=approve";
        assert_eq!(web.post(&format!("{base}answer"), form).status, 404);
    }
    assert!(waits(&web.screens().wait_for(|_| true)));
}

#[test]
fn no_cross_site_request_approves_anything() {
    let duo = with_phone();
    let web = Web::of(&duo);
    begin(&mut Client::new(&duo), "alice", "push1", &[]);
    let path = format!("{}answer", web.path);
    let form = "number=1&answer=approve";
    let ours = format!("http://{}", web.place);
    let port = web.place.rsplit_once(':').unwrap().1;
    let rebound = format!("rebound.example:{port}");
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let origins = [
        "null".to_owned(),
        "http://elsewhere.example".to_owned(),
        format!("https://{}", web.place),
        format!("http://localhost:{port}"),
        format!("http://{}.elsewhere.example", web.place),
        "http://127.0.0.1".to_owned(),
    ];
    for origin in &origins {
        let page = web.post_from(origin, &path, form);
        assert_eq!(page.status, 403, "{origin}");
    }
    for (method, headers, status) in [
        ("POST", &[kind][..], 403),
        (
            "POST",
            &[kind, ("Origin", &ours), ("Sec-Fetch-Site", "cross-site")],
            403,
        ),
        (
            "POST",
            &[kind, ("Origin", &ours), ("Sec-Fetch-Site", "same-site")],
            403,
        ),
        (
            "POST",
            &[("Content-Type", "text/plain"), ("Origin", &ours)],
            400,
        ),
        (
            "POST",
            &[
                kind,
                ("Host", &rebound),
                ("Origin", &format!("http://{rebound}")),
            ],
            403,
        ),
        ("GET", &[("Origin", &ours)], 405),
        ("PUT", &[kind, ("Origin", &ours)], 405),
        (
            "OPTIONS",
            &[("Origin", &ours), ("Access-Control-Request-Method", "POST")],
            405,
        ),
    ] {
        let page = web.request(method, &path, headers, form);
        assert_eq!(page.status, status, "{method} {headers:?}");
        assert!(!page.head.to_ascii_lowercase().contains("access-control"));
    }
    assert_eq!(web.get(&format!("{path}?{form}")).status, 405);
    let page = web.request("GET", &web.path, &[("Host", &rebound)], "");
    assert_eq!(page.status, 403);
    assert!(waits(&web.screens().wait_for(|_| true)));
    // The same request from the page itself, and then as it comes through a port that ssh forwards.
    assert_eq!(web.post(&path, form).status, 303);
    let forwarded = ("Host", "localhost:8080");
    let headers = [kind, forwarded, ("Origin", "http://localhost:8080")];
    assert_eq!(web.request("POST", &path, &headers, form).status, 409);
}

#[test]
fn the_page_stands_in_no_frame_and_tells_its_address_to_nobody() {
    let duo = with_phone();
    let web = Web::of(&duo);
    let page = web.get(&web.path);
    let policy = page.header("Content-Security-Policy").unwrap();
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"));
    for (name, value) in [
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "same-origin"),
        ("X-Frame-Options", "DENY"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
}

#[test]
fn every_screen_says_that_it_is_a_test_double() {
    let duo = with_phone();
    let (web, mut client) = (Web::of(&duo), Client::new(&duo));
    let answer = client.call(&Call::preauth("enroll")).response();
    let portal = split(answer["enroll_portal_url"].as_str().unwrap());
    let path = format!("{}answer", web.path);
    for (status, page) in [
        (200, web.get(&web.path)),
        (200, web.get(&portal.path)),
        (303, web.post(&portal.path, "")),
        (200, web.get(&portal.path)),
        (404, web.get("/")),
        (405, web.get(&path)),
        (403, web.post_from("null", &path, "")),
        (400, web.post(&path, "")),
        (409, web.post(&path, "number=1&answer=deny")),
    ] {
        assert_eq!(page.status, status);
        let is_said = page.body.contains("<strong>Test double:</strong> not Duo");
        assert_eq!(is_said, status != 303, "{status}");
    }
}

#[test]
fn what_a_client_chose_is_text_on_the_page() {
    let duo = with_phone();
    let (web, mut client) = (Web::of(&duo), Client::new(&duo));
    let attack = "<img src=x onerror=alert(1)>\"'&amp;{{script}}";
    let info = format!(
        "Command={}",
        fake_duo::signing::encode(&format!("{attack}{HOSTILE_TEXT}"))
    );
    let told = [("hostname", attack), ("pushinfo", &info)];
    begin(&mut client, attack, "push1", &told);
    let page = web.page();
    assert!(!page.contains("<img"), "{page}");
    let shown = "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;amp;{{script}}";
    assert_eq!(page.matches(shown).count(), 3, "{page}");
    // Neither an escape nor a letter that turns the line round.
    let is_odd = |letter: char| {
        letter.is_control() && letter != '\n'
            || ('\u{200b}'..='\u{206f}').contains(&letter) && letter != '’'
    };
    let page = page.replace(['’', '“', '”'], "");
    assert_eq!(page.find(is_odd), None);
}

#[test]
fn a_hundred_pushes_at_once_each_have_their_own_answer() {
    let duo = with_phone();
    let web = Web::of(&duo);
    let mut screens = web.screens();
    let answers = ["approve", "deny", "fraud"];
    std::thread::scope(|scope| {
        let logins: Vec<_> = (0..100)
            .map(|number| {
                let duo = &duo;
                scope.spawn(move || {
                    let mut client = Client::new(duo);
                    let user = format!("user{number}");
                    let txid = begin(&mut client, &user, "push1", &[]);
                    client.follow(&txid).pop().unwrap()
                })
            })
            .collect();
        let screen = screens.wait_for(|screen| screen.waiting.len() == 100);
        let mut numbers: Vec<usize> = screen.waiting.iter().map(|card| card.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
        assert_eq!(web.page().matches("<article").count(), 100);
        for card in screen.waiting {
            let web = web.clone();
            scope.spawn(move || {
                let which: usize = card.user["user".len()..].parse().unwrap();
                assert_eq!(web.press(card.number, answers[which % 3]), 303);
            });
        }
        for (number, login) in logins.into_iter().enumerate() {
            let last = [
                "allow: Success. Logging you in...",
                "deny: Login request denied.",
                "deny: Login request reported as fraudulent.",
            ];
            assert_eq!(login.join().unwrap(), last[number % 3], "user{number}");
        }
    });
    let screen = screens.wait_for(|screen| screen.waiting.is_empty());
    assert_eq!(screen.earlier.len(), 10);
    assert!(screen.earlier.iter().all(|card| card.outcome.is_some()));
    assert_eq!(web.press(100, "approve"), 409);
    // And the next one is a push like any other.
    let txid = begin(&mut Client::new(&duo), "alice", "push1", &[]);
    assert_eq!(web.press(101, "approve"), 303);
    assert!(
        Client::new(&duo)
            .follow(&txid)
            .last()
            .unwrap()
            .starts_with("allow")
    );
}

#[test]
fn an_answer_by_the_library_takes_the_push_off_the_phone() {
    let duo = FakeDuo::builder()
        .user("alice", Script::PushManual)
        .phone((Ipv4Addr::LOCALHOST, 0).into())
        .start();
    let mut screens = Web::of(&duo).screens();
    let mut client = Client::new(&duo);
    let txid = begin(&mut client, "alice", "push1", &[]);
    screens.wait_for(waits);
    assert!(duo.approve("alice"));
    screens.wait_for(|screen| screen.waiting.is_empty() && screen.earlier.len() == 1);
    assert!(client.follow(&txid).last().unwrap().starts_with("allow"));
}
