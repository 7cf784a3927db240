//! The phone in a real browser: headless Chromium, before the real login_duo on a terminal.
//!
//! `LOGIN_DUO_BROWSER=required` runs them; Debian has what they need in chromium and chromium-driver, some 300 MB. Without
//! that variable they show as ignored. `LOGIN_DUO_SCREENSHOTS` names a folder for the pictures of docs/.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../client/mod.rs"]
mod client;
#[path = "../terminal/mod.rs"]
mod terminal;
mod webdriver;

use client::{Call, Client};
use fake_duo::{FakeDuo, Script, VERIFICATION_CODE};
use libtest_mimic::{Arguments, Trial};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use terminal::Demo;
use webdriver::{Browser, ENTER, Scripts, TAB};

/// Ends the menu.
const MENU: &str = "Passcode or option (1-3): ";

/// Starts it with these options besides `--phone`.
fn demo(name: &str, options: &[&str]) -> Demo {
    Demo::start(name, &[&["--phone"], options].concat())
}

fn main() {
    let is_wanted = std::env::var("LOGIN_DUO_BROWSER").is_ok_and(|value| value == "required");
    let tests: [(&str, fn()); 9] = [
        ("approving_leads_from_the_menu_to_the_shell", approving),
        ("denying_and_reporting_fraud_end_the_login", denying),
        (
            "a_verified_push_wants_the_code_of_the_login_by_keyboard_alone",
            verified,
        ),
        ("a_call_is_answered_by_pressing_a_key", a_call),
        (
            "without_javascript_the_buttons_work_too",
            without_javascript,
        ),
        ("no_page_of_another_site_approves_anything", another_site),
        ("a_second_click_never_hits_the_next_login", a_double_click),
        ("a_code_half_typed_survives_the_next_push", half_typed),
        ("it_fits_a_narrow_phone_in_light_and_dark", narrow),
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let trial = Trial::test(name, move || {
                test();
                Ok(())
            });
            match is_wanted {
                true => trial,
                false => trial
                    .with_kind("needs LOGIN_DUO_BROWSER=required")
                    .with_ignored_flag(true),
            }
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn approving() {
    let mut login = demo("approving", &[]);
    let browser = Browser::start(Scripts::On);
    browser.open(&login.phone());
    browser.wait_for_text("Nothing waits.");
    login.wait_for(MENU, 1);
    login.type_in("1\n");
    browser.wait_for(".card");
    for text in [
        "Test double: not Duo",
        "Push for ",
        "From\n127.0.0.1",
        "Host\n",
        "Command\n",
    ] {
        assert!(browser.text().contains(text), "{text}: {}", browser.text());
    }
    browser.click("button[value=approve]");
    login.wait_for("Success. Logging you in...", 1);
    login.type_in("echo $((40 + 2)) is the answer; exit\n");
    login.wait_for("42 is the answer", 1);
    assert_eq!(login.end(), 0);
}

fn denying() {
    let mut login = demo("denying", &["--", "echo", "welcome"]);
    let browser = Browser::start(Scripts::On);
    browser.open(&login.phone());
    for (times, answer, told) in [
        (1, "deny", "Login request denied."),
        (2, "fraud", "Login request reported as fraudulent."),
        (3, "deny", "Login request denied."),
    ] {
        login.wait_for(MENU, times);
        login.type_in("1\n");
        browser.wait_for_text("Command\necho welcome");
        browser.click(&format!("button[value={answer}]"));
        browser.wait_for_text("Nothing waits.");
        login.wait_for(told, times.div_ceil(2));
    }
    assert_eq!(login.end(), 1);
    assert!(
        !login
            .wait_for("login_duo ended with status 1", 1)
            .contains("\nwelcome")
    );
}

fn verified() {
    let mut login = Demo::start(
        "verified",
        &["--default-script", "verified", "--", "echo", "welcome"],
    );
    let browser = Browser::start(Scripts::On);
    browser.open(&login.phone());
    login.wait_for(MENU, 1);
    login.type_in("1\n");
    let shown = login.wait_for("Please enter verification code ", 1);
    let code = shown
        .split_once("verification code ")
        .unwrap()
        .1
        .get(..3)
        .unwrap()
        .to_owned();
    browser.wait_for("input[name=code]");
    let reach = |wanted: &str| {
        let mut tabs = 0;
        while !browser.focus().starts_with(wanted) {
            browser.press(TAB);
            tabs += 1;
            assert!(tabs < 10, "{wanted} is not reached by keyboard");
        }
    };
    reach("code");
    browser.press("999");
    browser.press(ENTER);
    browser.wait_for_text("That is not the code that the login shows.");
    browser.wait_until("focus on the code", |it| it.focus() == "code ");
    browser.press(&code);
    reach("answer approve");
    browser.press(ENTER);
    login.wait_for("Success. Logging you in...", 1);
    assert_eq!(login.end(), 0);
}

fn a_call() {
    let mut login = demo("call", &["--", "echo", "welcome"]);
    let browser = Browser::start(Scripts::On);
    browser.open(&login.phone());
    login.wait_for(MENU, 1);
    login.type_in("2\n");
    login.wait_for("Answered. Press any key on your phone to log in.", 1);
    browser.wait_for_text("Call for ");
    let button = browser.wait_for("button[value=approve]");
    assert!(browser.text().contains("Press a key"), "{button}");
    browser.click("button[value=approve]");
    login.wait_for("Success. Logging you in...", 1);
    assert_eq!(login.end(), 0);
}

fn without_javascript() {
    let duo = with_phone();
    let mut client = Client::new(&duo);
    let browser = Browser::start(Scripts::Off);
    let phone = duo.phone().unwrap();
    browser.open(&phone);
    for (answer, result) in [("approve", "allow"), ("deny", "deny")] {
        let txid = client.begin("alice", "push1");
        // The page looks again by itself.
        browser.click(&format!("button[value={answer}]"));
        assert!(
            client.follow(&txid).last().unwrap().starts_with(result),
            "{answer}"
        );
        browser.wait_for_text("Nothing waits.");
        assert_eq!(browser.address(), phone);
    }
}

fn another_site() {
    let duo = with_phone();
    let mut client = Client::new(&duo);
    let txid = client.begin("alice", "push1");
    // The page even knows the token.
    let phone = duo.phone().unwrap();
    let page = format!(
        "<!doctype html><body><iframe src=\"{phone}\"></iframe>\
         <form method=post target=stay action=\"{phone}answer\"><input name=number value=1><input name=answer value=approve></form>\
         <iframe name=stay></iframe><script>\
         const body = new URLSearchParams({{number: 1, answer: 'approve'}});\
         const tries = [{{method: 'POST', body, mode: 'no-cors'}}, {{method: 'POST', body}},\
           {{method: 'POST', body, mode: 'no-cors', referrerPolicy: 'no-referrer'}}];\
         document.forms[0].submit();\
         Promise.allSettled([...tries.map(it => fetch('{phone}answer', it)), fetch('{phone}').then(it => it.text())])\
           .then(all => document.body.append('tried ' + all.map(it => it.status)));\
         </script>"
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let (mut tcp, page) = (tcp.unwrap(), page.clone());
            // A browser opens connections before it has anything to say on them.
            std::thread::spawn(move || {
                let _ = tcp.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
                let _ = write!(
                    tcp,
                    "{head}\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                );
            });
        }
    });
    let browser = Browser::start(Scripts::On);
    for host in ["localhost", "127.0.0.1"] {
        browser.open(&format!("http://{host}:{port}/"));
        browser.wait_for_text("tried rejected,rejected,rejected,rejected");
    }
    browser.open(&phone);
    browser.wait_for("#card-1");
    browser.click("button[value=deny]");
    assert_eq!(
        client.follow(&txid).last().unwrap(),
        "deny: Login request denied."
    );
}

fn a_double_click() {
    let duo = with_phone();
    let mut client = Client::new(&duo);
    for _ in 0..3 {
        client.begin("alice", "push1");
    }
    let browser = Browser::start(Scripts::On);
    browser.open(&duo.phone().unwrap());
    browser.double_click("#card-3 button[value=approve]");
    browser.wait_for("#row-3");
    browser.wait_for("#card-2");
    assert_eq!(browser.all(".card").len(), 2, "{}", browser.text());
}

fn half_typed() {
    let duo = with_phone();
    let mut client = Client::new(&duo);
    let txid = begin(&mut client, "erin", "verified_push1", &[]);
    let browser = Browser::start(Scripts::On);
    browser.open(&duo.phone().unwrap());
    browser.click("input[name=code]");
    let (first, rest) = VERIFICATION_CODE.split_at(1);
    browser.press(first);
    client.begin("alice", "push1");
    browser.wait_for("#card-2");
    assert_eq!(browser.focus(), format!("code {first}"));
    browser.press(rest);
    browser.press(ENTER);
    assert_eq!(
        client.follow(&txid).last().unwrap(),
        "allow: Success. Logging you in..."
    );
}

fn narrow() {
    let duo = with_phone();
    let mut client = Client::new(&duo);
    let web = [("hostname", "web1.example.org"), ("ipaddr", "198.51.100.7")];
    let db = [("hostname", "db1.example.org"), ("ipaddr", "2001:db8::7")];
    begin(&mut client, "carol", "push1", &db);
    begin(&mut client, "dave", "smsrefresh1", &web);
    let browser = Browser::start(Scripts::On);
    browser.open(&duo.phone().unwrap());
    browser.click("#card-1 button[value=fraud]");
    browser.wait_for("#row-1");
    let command =
        "Server+IP=192.0.2.10&Command=rsync+--server+-logDtpre.iLsfxCIvu+.+%2Fsrv%2Fwww%2F";
    let rsync = [web[0], web[1], ("pushinfo", command)];
    begin(&mut client, "alice", "push1", &rsync);
    browser.wait_for("#card-3");
    assert_eq!(browser.overhang(), 0);
    picture(&browser, "phone-light.png");

    let shell = [db[0], db[1], ("pushinfo", "Server+IP=192.0.2.11&Command=")];
    begin(&mut client, "bob", "phone1", &shell);
    let uptime = [
        web[0],
        web[1],
        ("pushinfo", "Server+IP=192.0.2.10&Command=uptime"),
    ];
    begin(&mut client, "erin", "verified_push1", &uptime);
    browser.set_colours("dark");
    browser.wait_for("#card-5");
    assert_eq!(browser.overhang(), 0);
    picture(&browser, "phone-dark.png");

    let (host, info) = ("h".repeat(200), format!("Command={}", "x".repeat(15_000)));
    begin(
        &mut client,
        &"u".repeat(200),
        "push1",
        &[("hostname", &host), ("pushinfo", &info)],
    );
    browser.set_width(320);
    browser.wait_for("#card-6");
    assert_eq!(browser.overhang(), 0);
}

/// Preauth and auth with these parameters; the transaction.
fn begin(client: &mut Client, user: &str, prompt: &str, more: &[(&str, &str)]) -> String {
    let mut preauth = Call::preauth(user);
    let supports = ("client_supports_verified_push".to_owned(), "1".to_owned());
    preauth.parameters.push(supports);
    let preauth = client.call(&preauth).response();
    let mut auth = Call::auth(user, prompt);
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    auth.parameters.extend(more.iter().copied().map(own));
    auth.parameters
        .extend(preauth["txid"].as_str().map(|txid| own(("txid", txid))));
    let auth = client.call(&auth).response();
    auth["txid"].as_str().unwrap().to_owned()
}

fn with_phone() -> FakeDuo {
    FakeDuo::builder()
        .user("dave", Script::Sms)
        .user("erin", Script::Verified)
        .phone((Ipv4Addr::LOCALHOST, 0).into())
        .start()
}

fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("LOGIN_DUO_SCREENSHOTS") {
        browser.screenshot(&PathBuf::from(folder).join(name));
    }
}
