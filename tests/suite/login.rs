//! The straight line: what each kind of user and factor comes to.

use fake_duo::{Endpoint, FakeDuo, Fault, Script, Shape, Times, Tls};

use crate::support::{RefusedPort, Sandbox};

#[test]
fn a_headless_login_takes_the_default_factor_and_becomes_the_command() {
    let sandbox = Sandbox::new();
    let ended = sandbox
        .login("push")
        .args(&["echo", "$0", "here;", "exit", "7"])
        .run();
    assert_eq!(ended.status(), 7, "{}", ended.stderr());
    assert!(ended.stdout().ends_with(" here\n"));
    assert_eq!(
        ended.last_line(),
        "[6] Successful Duo login for 'push' from 192.0.2.7: push1"
    );
    assert_eq!(ended.told(), "");
}

#[test]
fn one_connection_serves_a_headless_login_and_nobody_asks_the_time() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.login("push").args(&["true"]).run().status(), 0);
    assert_eq!(sandbox.duo.connections(), 1);
    assert_eq!(sandbox.duo.handshakes(), 1);
    let paths = sandbox.duo.paths();
    assert_eq!(paths[..2], ["preauth", "auth"]);
    assert!(
        paths.len() > 2 && paths[2..].iter().all(|path| path == "auth_status"),
        "{paths:?}"
    );
}

#[test]
fn duo_is_told_what_the_protocol_asks_for() {
    let sandbox = Sandbox::new();
    sandbox.configure("pushinfo = yes\nfailmode = secure\n");
    let command = ["true", "'a&b=c'", "ë", "\"d e\""];
    assert_eq!(sandbox.login("push").args(&command).run().status(), 0);
    let requests = sandbox.duo.requests();
    let preauth = &requests[0];
    assert_eq!(preauth.param("username"), Some("push"));
    assert_eq!(preauth.param("text_prompt"), Some("1"));
    assert_eq!(preauth.param("failmode"), Some("closed"));
    assert_eq!(preauth.param("ipaddr"), Some("192.0.2.7"));
    assert!(
        preauth
            .param("hostname")
            .is_some_and(|name| !name.is_empty())
    );
    assert!(
        preauth
            .header("user-agent")
            .is_some_and(|agent| agent.starts_with("login_duo/"))
    );
    assert_eq!(preauth.header("accept-encoding"), None);
    let auth = &requests[1];
    assert_eq!(auth.param("async"), Some("1"));
    assert_eq!(auth.param("factor"), Some("prompt"));
    assert_eq!(auth.param("prompt"), Some("push1"));
    let pushinfo = auth.param("pushinfo").unwrap_or_default();
    assert_eq!(
        pushinfo,
        "Server+IP=127.0.0.1&Command=true+%27a%26b%3Dc%27+%C3%AB+%22d+e%22"
    );
}

#[cfg(not(feature = "fips"))]
#[test]
fn sha1_signatures_work_where_the_file_asks_for_them() {
    let sandbox = Sandbox::new();
    sandbox.configure("signature = sha1\n");
    assert_eq!(sandbox.login("push").args(&["true"]).run().status(), 0);
}

#[cfg(feature = "fips")]
#[test]
fn a_fips_build_takes_sha1_signatures_for_a_mistake() {
    let sandbox = Sandbox::new();
    sandbox.configure("signature = sha1\n");
    let ended = sandbox.login("push").args(&["true"]).run();
    assert_eq!(ended.status(), 1);
    assert!(
        ended
            .stderr()
            .contains("key 'signature' must be 'sha512' in this build")
    );
}

#[test]
fn the_commands_output_and_input_pass_through_untouched() {
    let sandbox = Sandbox::new();
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let ended = sandbox
        .login("push")
        .args(&["cat; echo complaint >&2"])
        .input(&input)
        .run();
    assert!(ended.stdout_bytes() == input, "the bytes differ");
    assert!(ended.stderr().ends_with("complaint\n"));
}

#[test]
fn sshds_original_command_is_run() {
    let sandbox = Sandbox::new();
    let login = sandbox
        .login("push")
        .env("SSH_ORIGINAL_COMMAND", "echo \"$SSH_ORIGINAL_COMMAND\"");
    let ended = login.run();
    assert_eq!(
        (ended.status(), ended.stdout().as_str()),
        (0, "echo \"$SSH_ORIGINAL_COMMAND\"\n")
    );
}

#[test]
fn preauth_allow_lets_in_without_a_factor() {
    let sandbox = Sandbox::new();
    let ended = sandbox.login("allow").args(&["echo", "in"]).run();
    assert_eq!((ended.status(), ended.stdout().as_str()), (0, "in\n"));
    assert!(
        ended
            .last_line()
            .starts_with("[4] Skipped Duo login for 'allow' from 192.0.2.7: ")
    );
    assert_eq!(sandbox.duo.paths(), ["preauth"]);
}

#[test]
fn preauth_deny_ends_the_login_and_says_why() {
    for shape in [Shape::Prompt, Shape::Devices] {
        let sandbox = Sandbox::with(FakeDuo::builder().shape(shape));
        let ended = sandbox.login("deny").args(&["echo", "in"]).run();
        assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
        assert!(
            ended
                .last_line()
                .starts_with("[4] Aborted Duo login for 'deny'")
        );
        assert_eq!(ended.told().lines().count(), 1, "{}", ended.told());
    }
}

#[test]
fn someone_who_must_enrol_is_denied_and_told_where() {
    for shape in [Shape::Prompt, Shape::Devices] {
        let sandbox = Sandbox::with(FakeDuo::builder().shape(shape));
        let ended = sandbox.login("enroll").args(&["echo", "in"]).run();
        assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
        assert!(
            ended
                .last_line()
                .starts_with("[4] Aborted Duo login for 'enroll'")
        );
        assert!(ended.told().contains("https://"), "{}", ended.told());
    }
}

#[test]
fn a_push_that_is_denied_denies_with_one_line_on_stderr() {
    let sandbox = Sandbox::new();
    let ended = sandbox.login("pushdeny").args(&["echo", "in"]).run();
    assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
    assert!(
        ended
            .last_line()
            .starts_with("[4] Failed Duo login for 'pushdeny'")
    );
    assert_eq!(ended.told().lines().count(), 1, "{}", ended.told());
    assert_eq!(sandbox.duo.asked("auth"), 1);
}

#[test]
fn an_auth_api_integration_gets_the_same_login() {
    for user in ["push", "pushdeny", "phone"] {
        let sandbox = Sandbox::with(FakeDuo::builder().shape(Shape::Devices));
        let ended = sandbox.login(user).args(&["echo", "in"]).run();
        let expected = i32::from(user == "pushdeny");
        assert_eq!(ended.status(), expected, "{user}: {}", ended.stderr());
        let factor = sandbox.duo.requests()[1].param("factor").map(str::to_owned);
        assert!(
            matches!(factor.as_deref(), Some("push" | "phone")),
            "{factor:?}"
        );
    }
}

#[test]
fn a_server_that_ignores_async_is_understood() {
    let sandbox = Sandbox::with(FakeDuo::builder().user("sync", Script::Sync));
    assert_eq!(sandbox.login("sync").args(&["true"]).run().status(), 0);
    assert_eq!(sandbox.duo.paths(), ["preauth", "auth"]);
}

#[test]
fn a_passcode_in_the_environment_counts_only_where_the_file_says_so() {
    let sandbox = Sandbox::new();
    let login = || {
        sandbox
            .login("pushdeny")
            .env("DUO_PASSCODE", "123456")
            .args(&["env"])
    };
    let ended = login().run();
    assert_eq!(ended.status(), 1, "the push was denied");

    sandbox.configure("accept_env_factor = yes\n");
    let ended = login().run();
    assert_eq!(ended.status(), 0, "{}", ended.stderr());
    assert!(
        ended.last_line().ends_with(": passcode"),
        "{}",
        ended.last_line()
    );
    assert!(
        !ended.stdout().contains("DUO_PASSCODE"),
        "the session must not have it"
    );
}

#[test]
fn a_service_that_is_down_opens_under_safe_and_not_under_secure() {
    let sandbox = Sandbox::new();
    let nobody = RefusedPort::take();
    let port = nobody.number();
    for (failmode, outcome, status) in [("safe", "Failsafe", 0), ("secure", "Failsecure", 1)] {
        sandbox.configure(&format!("failmode = {failmode}\nhost = localhost:{port}\n"));
        let ended = sandbox.login("push").args(&["echo", "in"]).run();
        assert_eq!(ended.status(), status, "{}", ended.stderr());
        assert_eq!(ended.stdout(), if status == 0 { "in\n" } else { "" });
        let line = ended.last_line();
        let start = format!(
            "[4] {outcome} Duo login for 'push' from 192.0.2.7: \
             Couldn't connect to localhost:{port}: connection refused ("
        );
        assert!(line.starts_with(&start), "{line}");
    }
}

#[test]
fn once_duo_has_answered_failmode_opens_nothing() {
    for endpoint in [Endpoint::Auth, Endpoint::AuthStatus] {
        let sandbox = Sandbox::new();
        sandbox.configure("failmode = safe\n");
        sandbox
            .duo
            .fault(endpoint, Fault::Bare { status: 503 }, Times::Always);
        let ended = sandbox.login("push").args(&["echo", "in"]).run();
        assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
        let line = "[3] Error in Duo login for 'push' from 192.0.2.7: HTTP 503";
        assert_eq!(ended.last_line(), line);
    }
}

#[test]
fn a_wrong_key_a_wrong_host_and_a_wrong_clock_are_told_apart() {
    let sandbox = Sandbox::new();
    sandbox.configure("failmode = secure\n");
    sandbox.edit_config(FakeDuo::SKEY, &"x".repeat(FakeDuo::SKEY.len()));
    let wrong_key = sandbox.login("push").args(&["true"]).run();
    assert!(
        wrong_key.last_line().contains("wrong skey"),
        "{}",
        wrong_key.last_line()
    );

    let sandbox = Sandbox::with(FakeDuo::builder().tls(Tls::WrongHost));
    sandbox.configure("failmode = secure\n");
    let wrong_host = sandbox.login("push").args(&["true"]).run();
    let words = "the server's certificate is for 'elsewhere.example', not 'localhost'";
    assert!(
        wrong_host.last_line().contains(words),
        "{}",
        wrong_host.last_line()
    );

    for offset in [-3600, 3600] {
        let sandbox = Sandbox::with(FakeDuo::builder().clock_offset(offset));
        sandbox.configure("failmode = secure\n");
        let wrong_clock = sandbox.login("push").args(&["true"]).run();
        assert_eq!(wrong_clock.status(), 0, "{}", wrong_clock.stderr());
        assert!(
            wrong_clock.log().contains("clock is off by"),
            "{}",
            wrong_clock.log()
        );
        let paths = sandbox.duo.paths();
        assert_eq!(paths[..3], ["preauth", "ping", "preauth"]);
        assert_eq!(sandbox.duo.asked("ping"), 1);
    }
}

// On a terminal.

const MENU: &str = "Passcode or option (1-3):";

#[test]
fn enter_takes_the_push_and_the_shell_follows() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox.login("push").on_terminal();
    terminal.wait_for_text(MENU);
    terminal.send("\n");
    terminal.wait_for_text("Success. Logging you in...");
    terminal.send("echo shell=$0; exit 5\n");
    terminal.wait_for(|screen| screen.contains("shell=-"));
    assert_eq!(terminal.status(), 5);
    assert!(
        terminal
            .log()
            .contains("[6] Successful Duo login for 'push' from 192.0.2.7: push1")
    );
}

#[test]
fn a_denied_push_and_then_the_right_passcode() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox
        .login("pushdeny")
        .args(&["echo", "in"])
        .on_terminal();
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    terminal.wait_for(|screen| screen.matches(MENU).count() == 2);
    terminal.send("123 456\n");
    assert_eq!(terminal.status(), 0, "{}", terminal.log());
    assert!(terminal.screen().ends_with("in"), "{}", terminal.screen());
    let log = terminal.log();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[lines.len() - 2].starts_with("[4] Failed Duo login for 'pushdeny'"),
        "{log}"
    );
    assert!(lines[lines.len() - 1].ends_with(": passcode"), "{log}");
}

#[test]
fn three_wrong_passcodes_are_the_end() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox.login("push").args(&["echo", "in"]).on_terminal();
    for attempt in 1..=3 {
        terminal.wait_for(|screen| screen.matches(MENU).count() == attempt);
        terminal.send("000000\n");
    }
    assert_eq!(terminal.status(), 1);
    assert!(!terminal.screen().contains("\nin"), "{}", terminal.screen());
    let log = terminal.log();
    assert_eq!(
        log.matches("Failed Duo login for 'push'").count(),
        3,
        "{log}"
    );
    assert!(!log.contains("000000"), "{log}");
}

#[test]
fn sms_and_then_the_code_that_it_brought() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox.login("sms").args(&["echo", "in"]).on_terminal();
    terminal.wait_for_text(MENU);
    terminal.send("\n");
    terminal.wait_for(|screen| screen.matches(MENU).count() == 2);
    terminal.send(&format!("{}\n", fake_duo::SMS_PASSCODE));
    assert_eq!(terminal.status(), 0, "{}", terminal.log());
}

#[test]
fn the_end_of_input_at_the_menu_gives_up() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox.login("push").args(&["echo", "in"]).on_terminal();
    terminal.wait_for_text(MENU);
    terminal.send("\x04");
    assert_eq!(terminal.status(), 1);
    let line = "[4] Aborted Duo login for 'push' from 192.0.2.7: end of input";
    assert_eq!(terminal.last_line(), line);
    assert_eq!(sandbox.duo.paths(), ["preauth"]);
}

#[test]
fn ctrl_c_gives_up_at_the_menu_and_while_waiting() {
    let sandbox = Sandbox::with(FakeDuo::builder().user("manual", Script::PushManual));
    for keys in ["", "1\n"] {
        let mut terminal = sandbox.login("manual").args(&["echo", "in"]).on_terminal();
        terminal.wait_for_text(MENU);
        terminal.send(keys);
        if !keys.is_empty() {
            terminal.wait_for_text("Pushed a login request");
        }
        terminal.send("\x03");
        assert_eq!(terminal.status(), 1);
        let line = "[4] Aborted Duo login for 'manual' from 192.0.2.7: interrupted";
        assert_eq!(terminal.last_line(), line);
        assert_eq!(
            terminal.log().matches("Duo login for").count(),
            1,
            "{}",
            terminal.log()
        );
    }
}

#[test]
fn a_menu_made_of_devices_works_by_number() {
    let sandbox = Sandbox::with(FakeDuo::builder().shape(Shape::Devices));
    let mut terminal = sandbox.login("phone").args(&["echo", "in"]).on_terminal();
    let screen = terminal.wait_for_text("Passcode or option (1-");
    assert!(screen.contains(" 1. "), "{screen}");
    terminal.send("2\n");
    assert_eq!(terminal.status(), 0, "{}", terminal.log());
    assert_eq!(sandbox.duo.requests()[1].param("factor"), Some("phone"));
}
