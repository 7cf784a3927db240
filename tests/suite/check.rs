//! `duoctl check`: each finding, made true and made false, over the built program. What needs
//! root or sshd is in tests/root/checks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fake_duo::{
    BlackHole, Endpoint, FakeDuo, FakeProxy, Fault, ProxyFault, RetryAfter, Stage, Times, Tls,
};
use serde_json::Value;

use crate::support::{Found, RefusedPort, Sandbox, Terminal, TerminalSize, check_command};

/// The check of this configuration, with these arguments.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let (program, words) = check_command();
    let mut command = Command::new(program);
    command
        .env_clear()
        .args(words)
        .arg("-c")
        .arg(sandbox.config())
        .args(arguments);
    command
}

fn check(sandbox: &Sandbox, arguments: &[&str]) -> Found {
    Found::by(command(sandbox, arguments).arg("--json"))
}

#[test]
fn a_good_way_to_duo_is_good_at_each_step_and_rings_no_phone() {
    let sandbox = Sandbox::new();
    let found = check(&sandbox, &[]);
    for id in [
        "roots",
        "name",
        "tcp",
        "tls",
        "certificate",
        "pin",
        "clock",
        "keys",
        "outcome",
    ] {
        found.is(&format!("network.{id}"), "ok", "");
    }
    assert!(found.text("network.tls").contains("TLS 1.3"));
    assert!(
        found
            .text("network.pin")
            .contains("'fake-duo CA, for tests only'")
    );
    assert!(
        found
            .text("network.certificate")
            .contains("valid for 7 days more")
    );
    found.is("installation.child", "ok", "without privileges");
    assert_eq!(sandbox.duo.paths(), ["ping", "check"]);
}

#[test]
fn the_version_of_tls_is_told() {
    let sandbox = Sandbox::with(FakeDuo::builder().tls(Tls::Tls12Only));
    check(&sandbox, &[]).is("network.tls", "ok", "TLS 1.2");
}

#[test]
fn a_refused_certificate_is_told_and_what_it_means_for_logins() {
    for (tls, words) in [
        (Tls::WrongHost, "elsewhere.example"),
        (Tls::Expired, "expired 3 days ago"),
        (Tls::NotYetValid, "not valid before"),
        (Tls::UnknownCa, "not signed by a trusted root"),
        (Tls::SelfSigned, "not signed by a trusted root"),
        (Tls::CaAsServer, "is a CA"),
        (Tls::Plain, "not TLS"),
        (Tls::Tls11, "neither TLS 1.2 nor TLS 1.3"),
        (Tls::Alert, "alert"),
    ] {
        let sandbox = Sandbox::with(FakeDuo::builder().tls(tls));
        let found = check(&sandbox, &[]);
        found.is("network.tcp", "ok", "round trip");
        found.is("network.tls", "fail", words);
        found.is("network.outcome", "fail", "everybody passes without Duo");
        assert!(found.of("network.keys").is_empty());
    }
}

#[test]
fn what_failmode_makes_of_it_is_told() {
    let sandbox = Sandbox::with(FakeDuo::builder().tls(Tls::Plain));
    sandbox.configure("failmode = secure\n");
    let found = check(&sandbox, &[]);
    found.is("network.outcome", "fail", "everybody is denied");
    found.is("configuration.failmode", "ok", "secure");
}

#[test]
fn an_address_of_either_kind_is_asked_as_at_a_login() {
    for host in ["127.0.0.1", "[::1]"] {
        let sandbox = Sandbox::with(FakeDuo::builder().bind(&["127.0.0.1", "::1"]));
        let port = sandbox.duo.port();
        sandbox.edit_config(&sandbox.duo.host(), &format!("{host}:{port}"));
        let found = check(&sandbox, &["--as", "root", "-f", "push"]);
        found.is("network.name", "ok", "no name is looked up");
        found.is("network.keys", "ok", "");
        found.is("user.duo", "ok", "Duo would ask");
    }
}

#[test]
fn nobody_at_the_address() {
    let sandbox = Sandbox::new();
    let port = RefusedPort::take();
    let nobody = format!("localhost:{}", port.number());
    sandbox.edit_config(&sandbox.duo.host(), &nobody);
    let found = check(&sandbox, &[]);
    found.is("network.name", "ok", "localhost is");
    found.is("network.tcp", "fail", "connection refused");
    assert!(found.of("network.tls").is_empty());
}

#[test]
fn a_name_that_is_not_found() {
    let sandbox = Sandbox::new();
    sandbox.edit_config(&sandbox.duo.host(), "no-such-name.invalid");
    let found = check(&sandbox, &[]);
    found.is("network.name", "fail", "no-such-name.invalid");
    assert_eq!(
        found.of("network.name")[0]["mend"],
        "getent ahosts no-such-name.invalid"
    );
    assert!(found.of("network.tcp").is_empty());
}

#[test]
fn with_duo_unreachable_it_ends_within_the_minute_and_names_the_step() {
    let port = FakeDuo::start().port();
    let sandbox = Sandbox::new();
    let _hole = BlackHole::start("127.0.0.1", port);
    sandbox.edit_config(&sandbox.duo.host(), &format!("127.0.0.1:{port}"));
    let start = Instant::now();
    let found = check(&sandbox, &[]);
    assert!(start.elapsed() < Duration::from_secs(60));
    found.is("network.name", "ok", "no name is looked up");
    found.is("network.tcp", "fail", "timed out");
    found.is("network.outcome", "fail", "");
}

#[test]
fn a_server_that_falls_silent_is_told_with_the_step() {
    let sandbox = Sandbox::new();
    sandbox
        .duo
        .fault(Endpoint::Any, Fault::Stall(Stage::InTls), Times::Always);
    let found = check(&sandbox, &[]);
    found.is("network.tls", "fail", "timed out");

    let sandbox = Sandbox::new();
    sandbox.duo.fault(
        Endpoint::Ping,
        Fault::Stall(Stage::BeforeHeaders),
        Times::Always,
    );
    let found = check(&sandbox, &[]);
    found.is("network.clock", "fail", "timed out");
    found.is("network.outcome", "fail", "everybody passes");
}

#[test]
fn a_clock_that_is_off_is_told_and_hides_no_key() {
    for (offset, level, way) in [
        (0, "ok", ""),
        (30, "ok", " s behind Duo's"),
        (600, "warn", " s behind Duo's"),
        (-600, "warn", " s ahead of Duo's"),
    ] {
        let sandbox = Sandbox::with(FakeDuo::builder().clock_offset(offset));
        let found = check(&sandbox, &[]);
        found.is("network.clock", level, way);
        found.is("network.keys", "ok", "");
        let mut words = found.text("network.clock").split(' ');
        let told = words.find_map(|word| word.parse::<u64>().ok());
        // A second may pass between the two clocks.
        let told = told.filter(|_| offset != 0).unwrap_or_default();
        assert!(
            told.abs_diff(offset.unsigned_abs()) <= 5,
            "{told} for {offset}"
        );
    }
}

#[test]
fn what_duo_says_of_the_keys_is_put_into_words() {
    for (fault, words) in [
        (
            Fault::Status {
                status: 401,
                code: 40101,
            },
            "got no credentials",
        ),
        (
            Fault::Status {
                status: 401,
                code: 40102,
            },
            "ikey is wrong",
        ),
        (
            Fault::Status {
                status: 401,
                code: 40103,
            },
            "skey is wrong",
        ),
        (
            Fault::Status {
                status: 401,
                code: 40104,
            },
            "got no date",
        ),
        (
            Fault::Status {
                status: 401,
                code: 40105,
            },
            "clock is off",
        ),
        (
            Fault::Status {
                status: 403,
                code: 40301,
            },
            "wrong type",
        ),
        (
            Fault::Status {
                status: 403,
                code: 40303,
            },
            "refuses this application",
        ),
        (
            Fault::Status {
                status: 500,
                code: 50000,
            },
            "HTTP 500",
        ),
        (Fault::RateLimited(RetryAfter::Absent), "too many requests"),
        (
            Fault::Fail {
                code: Some(7),
                message: "no".into(),
            },
            "7: no",
        ),
        (Fault::Garbage, "not a JSON object"),
        (Fault::Bare { status: 401 }, "invalid ikey or skey"),
    ] {
        let sandbox = Sandbox::new();
        sandbox
            .duo
            .fault(Endpoint::Check, fault.clone(), Times::Always);
        let found = check(&sandbox, &[]);
        found.is("network.clock", "ok", "");
        found.is("network.keys", "fail", words);
        let denies = matches!(
            fault,
            Fault::Status { status: 403, .. } | Fault::RateLimited(_) | Fault::Fail { .. }
        );
        let outcome = if denies {
            "everybody is denied"
        } else {
            "everybody passes"
        };
        found.is("network.outcome", "fail", outcome);
    }
}

#[test]
fn keys_that_are_really_wrong_are_told_apart() {
    for (key, words) in [
        (FakeDuo::IKEY, "ikey is wrong"),
        (FakeDuo::SKEY, "skey is wrong"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.edit_config(key, "WRONG");
        check(&sandbox, &[]).is("network.keys", "fail", words);
    }
}

#[test]
fn a_proxy_is_named_and_its_refusal_told_but_not_its_password() {
    let proxy = FakeProxy::builder().credentials("user", "sesame").start();
    let sandbox = Sandbox::new();
    sandbox.configure(&format!("http_proxy = user:sesame@{}\n", proxy.address()));
    let found = check(&sandbox, &[]);
    found.is("network.proxy", "ok", &proxy.address());
    found.is("network.keys", "ok", "");
    proxy.set_fault(Some(ProxyFault::Status(403)));
    let refused = check(&sandbox, &[]);
    refused.is("network.tls", "fail", "the proxy refused: HTTP 403");
    for found in [found, refused] {
        assert!(!found.json.to_string().contains("sesame"));
    }
    assert!(check(&Sandbox::new(), &[]).of("network.proxy").is_empty());
}

#[test]
fn a_bundle_that_cannot_be_read_is_told_and_what_failmode_makes_of_it() {
    let sandbox = Sandbox::new();
    fs::remove_file(sandbox.path().join("ca.pem")).unwrap();
    let found = check(&sandbox, &[]);
    found.is("network.roots", "fail", "ca.pem': no such file");
    found.is("network.outcome", "fail", "everybody is denied");
    // A login forgives the mistake where the file says so.
    sandbox.configure("failmode = safe\n");
    fs::remove_file(sandbox.path().join("ca.pem")).unwrap();
    let found = check(&sandbox, &[]);
    found.is("network.outcome", "fail", "everybody passes without Duo");
    assert_eq!(sandbox.login("push").args(&["true"]).run().status(), 0);
}

#[test]
fn the_pinned_roots_are_what_counts_without_a_bundle() {
    let sandbox = Sandbox::new();
    let text = fs::read_to_string(sandbox.config()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("cafile"));
    let text = lines.collect::<Vec<_>>().join("\n");
    sandbox.configure_with(text.as_bytes());
    let found = check(&sandbox, &[]);
    found.is("network.roots", "ok", "14 roots are trusted, built in");
    found.is("network.tls", "fail", "not signed by a trusted root");
}

#[test]
fn noverify_is_a_failure_of_its_own() {
    let sandbox = Sandbox::with(FakeDuo::builder().tls(Tls::SelfSigned));
    check(&sandbox, &[]).is("configuration.noverify", "ok", "off");
    sandbox.configure("noverify = yes\n");
    let found = check(&sandbox, &[]);
    found.is("configuration.noverify", "fail", "can let people in");
    found.is("network.pin", "fail", "noverify is on");
    found.is("network.keys", "ok", "");
    found.is("configuration.no_effect", "warn", "cafile");
}

#[test]
fn every_mistake_in_the_file_is_told_and_what_becomes_of_logins() {
    let sandbox = Sandbox::new();
    check(&sandbox, &[]).is("configuration.syntax", "ok", "no mistakes");
    sandbox.configure("autopsh = yes\nprompts = many\ngecos_parsed = x\n");
    let found = check(&sandbox, &[]);
    assert_eq!(found.levels("configuration.syntax"), ["fail"; 2]);
    found.is("configuration.syntax", "fail", "autopsh");
    found.is("configuration.syntax", "fail", "prompts");
    found.is("configuration.warning", "warn", "deprecated");
    found.is("configuration.failmode", "fail", "everybody is denied");
    assert!(found.of("network.name").is_empty());
    let mend = found.of("configuration.syntax")[0]["mend"]
        .as_str()
        .unwrap();
    assert!(mend.starts_with("vi +"), "{mend}");
    sandbox.configure("autopsh = yes\nfailmode = safe\n");
    check(&sandbox, &[]).is("configuration.failmode", "fail", "everybody passes");
}

#[test]
fn a_file_that_others_can_read_is_told_with_the_chmod() {
    let sandbox = Sandbox::new();
    check(&sandbox, &[]).is("installation.configuration_file", "ok", "");
    fs::set_permissions(sandbox.config(), fs::Permissions::from_mode(0o644)).unwrap();
    let found = check(&sandbox, &[]);
    found.is("installation.configuration_file", "fail", "mode 0644");
    let config = sandbox.config();
    let mend = format!("chmod 600 {}", config.display());
    assert_eq!(
        found.of("installation.configuration_file")[0]["mend"],
        mend.as_str()
    );
    assert!(found.of("configuration.syntax").is_empty());
}

#[test]
fn a_folder_that_others_can_write_to_is_told() {
    let sandbox = Sandbox::new();
    check(&sandbox, &[]).is("installation.configuration_folder", "ok", "nobody but");
    let folder = sandbox.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let found = check(&sandbox, &[]);
    found.is("installation.configuration_folder", "fail", "mode 0777");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).unwrap();
    check(&sandbox, &[]).is("installation.configuration_folder", "ok", "nobody but");
}

#[test]
fn a_misspelt_group_is_a_failure() {
    let sandbox = Sandbox::new();
    check(&sandbox, &[]).is(
        "configuration.groups",
        "ok",
        "everybody whom sshd or PAM sends here is asked",
    );
    sandbox.configure("groups = no-such-group-here\n");
    let found = check(&sandbox, &[]);
    found.is(
        "configuration.groups",
        "fail",
        "no group 'no-such-group-here'",
    );
    found.is("configuration.reach", "fail", "asks none");
    sandbox.configure("groups = *,!no-such-group-here\n");
    let found = check(&sandbox, &[]);
    found.is("configuration.groups", "warn", "exempts nobody");
    found.is("configuration.reach", "ok", "asks everybody");
}

#[test]
fn groups_of_everybody_or_of_nobody_are_told() {
    let sandbox = Sandbox::new();
    for (groups, id, level, words) in [
        ("root", "configuration.groups", "ok", "has members"),
        ("root", "configuration.reach", "ok", "root"),
        ("* root", "configuration.groups", "warn", "takes everybody"),
        ("*", "configuration.reach", "ok", "asks everybody"),
        ("!root", "configuration.reach", "fail", "asks none"),
        (
            "zzz-no-such-*",
            "configuration.groups",
            "warn",
            "fits no group",
        ),
        ("ro?t", "configuration.groups", "ok", ""),
    ] {
        sandbox.configure(&format!("groups = {groups}\n"));
        if words == "root" {
            // Who else there is depends on the machine.
            assert_ne!(check(&sandbox, &[]).levels(id), ["fail"]);
            continue;
        }
        check(&sandbox, &[]).is(id, level, words);
    }
}

#[test]
fn as_a_user_says_what_duo_would_do_and_asks_preauth_only() {
    let sandbox = Sandbox::new();
    for (user, level, words) in [
        ("push", "ok", "Duo would ask: 1. "),
        ("allow", "warn", "without a second factor"),
        ("deny", "fail", "Duo denies"),
        ("enroll", "fail", "enrol"),
        ("unknownpreauth", "fail", "Duo denies: unknown result"),
    ] {
        let found = check(&sandbox, &["--as", "root", "-f", user]);
        found.is("user.account", "ok", "'root' has the user id 0");
        found.is("user.shell", "ok", "/");
        found.is(
            "user.gate",
            "ok",
            "asked by the configuration, as everybody is",
        );
        found.is("user.duo_name", "ok", user);
        found.is("user.duo", level, words);
    }
    let paths = sandbox.duo.paths();
    assert_eq!(paths.len(), 15);
    assert!(
        !paths.iter().any(|path| path.starts_with("auth")),
        "{paths:?}"
    );
    assert_eq!(check(&sandbox, &[]).of("user.account").len(), 0);
}

#[test]
fn as_a_user_names_the_pattern_that_decides() {
    let sandbox = Sandbox::new();
    sandbox.configure("groups = nothing,r* *,!root\n");
    let found = check(&sandbox, &["--as", "root"]);
    found.is("user.gate", "ok", "'nothing,r*' takes the groups root");
    sandbox.configure("groups = *,!root\n");
    let found = check(&sandbox, &["--as", "root"]);
    found.is("user.gate", "warn", "not asked");
    assert!(found.of("user.duo").is_empty());
    assert_eq!(sandbox.duo.asked("preauth"), 1);
}

#[test]
fn as_nobody_that_exists() {
    let sandbox = Sandbox::new();
    let found = check(&sandbox, &["--as", "no-such-user-here"]);
    found.is("user.account", "fail", "no user 'no-such-user-here'");
    assert!(found.of("user.shell").is_empty());
}

#[test]
fn a_part_of_gecos_that_is_missing_is_told() {
    let sandbox = Sandbox::new();
    sandbox.configure("gecos_username_pos = 9\n");
    check(&sandbox, &["--as", "root"]).is("user.duo_name", "warn", "'root' to Duo");
    sandbox.configure("gecos_username_pos = 1\n");
    check(&sandbox, &["--as", "root"]).is("user.duo_name", "ok", "");
}

#[test]
fn duo_is_told_where_the_user_comes_from() {
    let sandbox = Sandbox::new();
    check(&sandbox, &["--as", "root", "-h", "198.51.100.7"]);
    let requests = sandbox.duo.requests();
    assert_eq!(
        requests.last().unwrap().param("ipaddr"),
        Some("198.51.100.7")
    );
}

#[test]
fn the_text_is_aligned_one_line_a_finding_and_holds_no_secret() {
    let sandbox = Sandbox::new();
    sandbox.configure("groups = no-such-group-here\n");
    let output = command(&sandbox, &["--as", "root"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let mut headings = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let starts = ["  ok    ", "  warn  ", "  FAIL  ", "        "];
        if !starts.iter().any(|start| line.starts_with(start)) {
            headings.push(line);
        }
    }
    assert_eq!(headings[..3], ["Installation", "Configuration", "Network"]);
    assert_eq!(headings[3..5], ["sshd", "User"]);
    assert!(headings[5].starts_with("Failures: "), "{headings:?}");
    assert!(!text.contains(FakeDuo::SKEY));
    assert!(!text.contains('\x1b'));
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let mended = pair[1].starts_with("        ");
        assert!(!mended || !pair[0].starts_with("  ok"), "{pair:?}");
    }
}

/// What stands on a terminal after a check.
fn on_terminal(sandbox: &Sandbox, environment: &[(&str, &str)]) -> Vec<u8> {
    let mut command = command(sandbox, &[]);
    command.envs(environment.iter().copied());
    let size = TerminalSize {
        rows: 60,
        columns: 200,
    };
    let mut terminal = Terminal::start(&command, size);
    terminal.wait();
    terminal.raw()
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let sandbox = Sandbox::new();
    let coloured = |environment: &[(&str, &str)]| {
        let raw = on_terminal(&sandbox, environment);
        assert!(String::from_utf8_lossy(&raw).contains("Network"));
        raw.contains(&0x1b)
    };
    assert!(coloured(&[("TERM", "xterm")]));
    assert!(!coloured(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
    assert!(!coloured(&[("TERM", "dumb")]));
    assert!(!coloured(&[]));
}

#[test]
fn text_from_the_network_cannot_play_with_the_terminal() {
    let sandbox = Sandbox::new();
    let hostile =
        r#"{"result": "deny", "status_msg": "no\u001b[2J\u009b\r\n  ok    all is well\u202e"}"#;
    let fault = Fault::Response(hostile.to_owned());
    sandbox.duo.fault(Endpoint::Preauth, fault, Times::Always);
    let output = command(&sandbox, &["--as", "root"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("  FAIL  Duo denies: no?[2J???  ok    all is well?  [user.duo]\n"),
        "{text:?}"
    );
    let json = check(&sandbox, &["--as", "root"]).json.to_string();
    assert!(json.contains("no?[2J???"), "{json}");
}

#[test]
fn the_json_is_what_the_schema_says_and_its_exit_status_is_the_real_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.schema.json");
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let good = Sandbox::new();
    let bad = Sandbox::with(FakeDuo::builder().tls(Tls::Plain));
    let signature = match cfg!(feature = "fips") {
        true => "sha512",
        false => "sha1",
    };
    bad.configure(&format!(
        "groups = no-such-group-here\nsignature = {signature}\ngecos_parsed = 1\n"
    ));
    let broken = Sandbox::new();
    broken.configure("x\n");
    for sandbox in [good, bad, broken] {
        let found = check(&sandbox, &["--as", "root"]);
        assert_eq!(valid(&found.json, &schema), Ok(()));
        let status = i64::from(found.ended.status());
        assert_eq!(found.json["exit_status"].as_i64(), Some(status));
    }
    let mut odd = check(&Sandbox::new(), &[]).json;
    odd["findings"][0]["id"] = "installation.nonsense".into();
    assert!(valid(&odd, &schema).is_err());
    odd["findings"] = Value::Null;
    assert!(valid(&odd, &schema).is_err());
}

/// As much of JSON Schema as the schema uses.
fn valid(value: &Value, schema: &Value) -> Result<(), String> {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        one => vec![one.clone()],
    };
    if !kinds.contains(&kind.into()) {
        return Err(format!("{value} is {kind}"));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Err(format!("{value} is not allowed"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        value
            .get(name.as_str().unwrap())
            .ok_or(format!("no {name}"))?;
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let member_schema = schema["properties"]
            .get(name)
            .ok_or(format!("{name} is unknown"))?;
        valid(member, member_schema)?;
    }
    for item in value.as_array().into_iter().flatten() {
        valid(item, &schema["items"])?;
    }
    Ok(())
}

#[test]
fn a_check_runs_no_command_and_takes_none() {
    let sandbox = Sandbox::new();
    let output = command(&sandbox, &["echo", "hello"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
}
