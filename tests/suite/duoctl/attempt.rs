//! `duoctl test`: one real attempt, each step with its time, and nothing run at its end.

use std::time::Duration;

use fake_duo::{Endpoint, FakeDuo, Fault, Times};
use serde_json::Value;

use super::{about, duoctl, json};
use crate::support::{Ended, Sandbox, Terminal, TerminalSize, wait_until};

/// Root as the service knows it by another name: the test runs as whoever runs it.
fn test(sandbox: &Sandbox, duo_user: &str, more: &[&str]) -> Ended {
    let user = whoami();
    let mut arguments = vec!["-f", duo_user, &user];
    arguments.extend(more);
    about(sandbox, "test", &arguments, b"")
}

fn whoami() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current());
    user.unwrap().unwrap().name
}

fn steps(told: &Value) -> Vec<&str> {
    let steps = told["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect()
}

#[test]
fn every_step_is_told_with_its_time_and_the_phone_rings_once() {
    let sandbox = Sandbox::new();
    let ended = test(&sandbox, "push", &["--json"]);
    assert_eq!(ended.status(), 0, "{}", ended.text());
    let told = json(&ended);
    let expected = [
        "account", "resolve", "connect", "tls", "clock", "preauth", "auth", "person",
    ];
    assert_eq!(steps(&told), expected);
    assert_eq!(
        (&told["outcome"], &told["changed"]),
        (&"successful".into(), &false.into())
    );
    // The push takes 50 ms, which the person has taken and nobody else.
    let person = told["steps"][7]["milliseconds"].as_u64().unwrap();
    assert!(person >= 40, "{told:#}");
    assert_eq!(
        (sandbox.duo.asked("preauth"), sandbox.duo.asked("auth")),
        (1, 1)
    );
}

#[test]
fn text_has_a_line_for_each_step() {
    let sandbox = Sandbox::new();
    let ended = test(&sandbox, "push", &[]);
    let text = ended.stdout();
    for word in [
        "resolve ", "connect ", "TLS ", "preauth ", "auth ", "person ",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(word)),
            "{word}: {text}"
        );
    }
    assert!(text.contains(" ms  "), "{text}");
    assert!(text.ends_with("a login is let in\n"), "{text}");
}

#[test]
fn a_denial_and_a_duo_that_is_away_end_with_1_and_say_why() {
    let sandbox = Sandbox::new();
    for (user, words) in [
        ("pushdeny", "denied"),
        ("deny", "denied"),
        ("enroll", "enrol"),
    ] {
        let said = test(&sandbox, user, &[]).fails();
        assert!(said.contains(words), "{said}");
    }
    let said = test(&sandbox, "allow", &[]);
    assert_eq!(said.status(), 0, "{}", said.text());
    // A port that no other test's service can be given.
    let away = |failmode: &str| {
        sandbox.configure(&format!("failmode = {failmode}"));
        sandbox.edit_config(&sandbox.duo.host(), "localhost:1");
    };
    away("safe");
    let said = test(&sandbox, "push", &[]).fails();
    assert!(
        said.contains("let in without Duo (failmode = safe)"),
        "{said}"
    );
    assert!(said.contains("connection refused"), "{said}");
    away("secure");
    let said = test(&sandbox, "push", &[]).fails();
    assert!(said.contains("a login is denied"), "{said}");
}

#[test]
fn a_slow_duo_is_seen_in_its_own_step() {
    let slow = Fault::Delay(Duration::from_millis(300));
    let builder = FakeDuo::builder().fault(Endpoint::Preauth, slow, Times::Always);
    let sandbox = Sandbox::with(builder);
    let told = json(&test(&sandbox, "push", &["--json"]));
    let of = |name: &str| {
        let steps = told["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["name"] == name);
        step.unwrap()["milliseconds"].as_u64().unwrap()
    };
    assert!(of("preauth") >= 300, "{told:#}");
    assert!(of("auth") < 300 && of("tls") < 300, "{told:#}");
}

#[test]
fn on_a_terminal_the_menu_is_that_of_a_login() {
    let sandbox = Sandbox::new();
    let mut command = duoctl(&["test", "-c"]);
    command.arg(sandbox.config());
    command.args(["-f", "manual", &whoami()]);
    command.env("TERM", "xterm").env("LANG", "C.UTF-8");
    let mut terminal = Terminal::start(&command, TerminalSize::USUAL);
    terminal.wait_for_text("Passcode or option (1-3):");
    terminal.send("1\r");
    terminal.wait_for_text("Duo asks the person");
    let approved = || sandbox.duo.approve("manual");
    wait_until(approved, || "no push to approve".to_owned());
    assert_eq!(terminal.status(), 0, "{}", terminal.rows());
    let screen = terminal.rows();
    for line in ["at the menu", "preauth ", "person ", "a login is let in"] {
        assert!(screen.contains(line), "{line}: {screen}");
    }
}

#[test]
fn a_user_who_does_not_exist_and_a_broken_file_make_no_attempt() {
    let sandbox = Sandbox::new();
    let said = about(&sandbox, "test", &["nobody-at-all"], b"").fails();
    assert!(said.contains("there is no user 'nobody-at-all'"), "{said}");
    sandbox.configure("promts = 1");
    let said = test(&sandbox, "push", &[]).fails();
    assert!(said.contains("promts"), "{said}");
    assert!(sandbox.duo.requests().is_empty());
}
