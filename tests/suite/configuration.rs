//! The configuration file through the built program: its mistakes, what is
//! never shown of them, what they open, and whom it makes the login be about.
//!
//! What needs users and groups of its own stands in `tests/root/accounts`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fake_duo::{FakeDuo, Script};

use crate::support::{Ended, Sandbox};

/// Whose pushes are approved at once, so that nobody polls.
fn brisk() -> Sandbox {
    Sandbox::with(FakeDuo::builder().user("push", Script::Sync))
}

/// `echo in`, so that whoever gets in shows it.
fn log_in(sandbox: &Sandbox) -> Ended {
    sandbox.login("push").args(&["echo", "in"]).run()
}

fn assert_let_in(ended: &Ended, what: &str) {
    let found = (ended.status(), ended.stdout());
    assert_eq!(found, (0, "in\n".to_owned()), "{what}: {}", ended.stderr());
}

#[track_caller]
fn assert_denied(ended: &Ended, what: &str) {
    let found = (ended.status(), ended.stdout());
    assert_eq!(found, (1, String::new()), "{what}: {}", ended.stderr());
}

/// A file that works but for `extra`.
fn good_but_for(sandbox: &Sandbox, extra: &str) {
    let text = format!(
        "[duo]\nikey = {}\nskey = {}\nhost = {}\ncafile = {}\n{extra}\n",
        FakeDuo::IKEY,
        FakeDuo::SKEY,
        sandbox.duo.host(),
        sandbox.path().join("ca.pem").display()
    );
    sandbox.configure_with(text.as_bytes());
}

#[test]
fn all_mistakes_are_told_with_file_and_line_on_stderr_and_in_the_log() {
    let sandbox = Sandbox::new();
    let text =
        "[duo]\nikey = I\ncolour = red\nmotd = perhaps\n[dou]\nnonsense\nfailmode = Secure\n";
    sandbox.configure_with(text.as_bytes());
    let ended = log_in(&sandbox);
    assert_denied(&ended, "a broken file");
    let file = sandbox.config().display().to_string();
    let expected = [
        ":3: unknown key 'colour'",
        ":4: key 'motd' must be 'yes' or 'no'",
        ":5: unknown section 'dou'",
        ":6: a line without '='",
        ":7: key 'failmode' must be 'safe', 'secure' or 'codes', in lower case",
        ": key 'skey' is missing",
        ": key 'host' is missing",
    ];
    let starting = |start: &str| -> Vec<String> {
        let stderr = ended.stderr();
        let told = stderr.lines().filter_map(|line| line.strip_prefix(start));
        told.map(str::to_owned).collect()
    };
    assert_eq!(starting(&file), expected);
    assert_eq!(starting(&format!("[3] {file}")), expected);
    let last = format!(
        "[4] Failsecure Duo login for 'push' from 192.0.2.7: \
         {file}:3: unknown key 'colour' (and 6 more)"
    );
    assert_eq!(ended.last_line(), last);
    assert!(sandbox.duo.requests().is_empty());
}

#[test]
fn the_secret_key_is_never_shown_wherever_it_stands() {
    let sandbox = Sandbox::new();
    let files = [
        "@",
        "@ = x",
        "= @",
        "  @",
        "[@]",
        "[@",
        "[duo] @",
        "skey @",
        "skey: @",
        "skey@",
        "skey = @ # new",
        "ikey = @\nhost = @",
        "host = https://@",
        "failmode = @",
        "failmode = safe\n  @",
        "http_proxy = me:@@h/x",
        "cafile = @",
        "prompts = @",
        "skey = @\n@\n",
        "skey = @\0",
        "noverify = @",
        "groups = !\n  @",
    ];
    for file in files {
        sandbox.configure_with(file.replace('@', FakeDuo::SKEY).as_bytes());
        let ended = log_in(&sandbox);
        assert_eq!(ended.status(), 1, "{file:?}: {}", ended.stderr());
        let shown = ended.stderr() + &ended.stdout();
        for part in FakeDuo::SKEY.as_bytes().windows(8) {
            let part = String::from_utf8_lossy(part);
            assert!(!shown.contains(&*part), "{file:?}: {shown}");
        }
        assert!(shown.contains(&format!("{}:", sandbox.config().display())));
    }
}

#[test]
fn a_broken_file_opens_only_if_it_says_safe_and_nothing_else() {
    let sandbox = Sandbox::new();
    for safe in [
        "failmode = safe",
        "failmode=safe ; for now",
        "[radius]\nfailmode = safe",
        "[duo\nfailmode = safe",
        "failmode =\n   safe",
        "failmode = secure\n\tsafe",
    ] {
        good_but_for(&sandbox, &format!("nonsense\n{safe}"));
        let ended = log_in(&sandbox);
        assert_let_in(&ended, safe);
        let line = format!(
            "[4] Failsafe Duo login for 'push' from 192.0.2.7: {}:6: a line without '='",
            sandbox.config().display()
        );
        assert!(
            ended.last_line().starts_with(&line),
            "{}",
            ended.last_line()
        );
    }
    for other in [
        "",
        "failmode = secure",
        "failmode = Safe",
        "failmode = Secure",
        "failmode = closed",
        "failmode = open",
        "failmode = \"safe\"",
        "failmode =",
        "failmodes = safe",
        "failmode: safe",
        "failmode safe",
        "; failmode = safe",
        "motd = no ; failmode = safe",
        "motd = no\n  failmode = safe",
        "failmode = safe\nfailmode = secure",
        "failmode = secure\nfailmode = safe",
        "failmode = safe\n  secure",
        "failmode = safe\n  failmode = secure",
    ] {
        good_but_for(&sandbox, &format!("nonsense\n{other}"));
        let ended = log_in(&sandbox);
        assert_denied(&ended, other);
        assert!(
            ended
                .last_line()
                .starts_with("[4] Failsecure Duo login for 'push'"),
            "{other}: {}",
            ended.last_line()
        );
    }
    assert!(sandbox.duo.requests().is_empty(), "nobody was asked");
}

#[test]
fn a_cafile_that_cannot_be_used_opens_only_if_the_file_says_safe() {
    let sandbox = Sandbox::new();
    let empty = sandbox.path().join("empty.pem");
    fs::write(&empty, "no certificate\n").unwrap();
    for (failmode, opens) in [
        ("failmode = safe", true),
        ("", false),
        ("failmode = secure\nfailmode = safe", false),
    ] {
        for cafile in [Path::new("/nonexistent/roots.pem"), &empty] {
            sandbox.configure(&format!("cafile = {}\n{failmode}", cafile.display()));
            let ended = log_in(&sandbox);
            match opens {
                true => assert_let_in(&ended, failmode),
                false => assert_denied(&ended, failmode),
            }
            let named = ended.last_line().contains(&cafile.display().to_string());
            assert!(named, "{}", ended.last_line());
        }
    }
}

/// A file that cannot be trusted or read is not parsed, whatever it says.
#[test]
fn a_file_that_fails_the_checks_is_denied_though_it_says_safe() {
    let sandbox = Sandbox::new();
    sandbox.configure("failmode = safe");
    let file = sandbox.config();
    let denied = |what: &str| {
        let ended = log_in(&sandbox);
        assert_denied(&ended, what);
        let start = format!(
            "[4] Failsecure Duo login for 'push' from 192.0.2.7: {}: ",
            file.display()
        );
        let last = ended.last_line();
        assert!(last.starts_with(&start), "{what}: {last}");
        assert!(last.contains(what), "{what}: {last}");
        assert!(ended.stderr().contains(what), "{what}: {}", ended.stderr());
    };
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o777] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        denied(&format!("(mode {mode:04o}); to mend it: chmod 600 "));
    }
    fs::remove_file(&file).unwrap();
    denied("cannot be opened: no such file or directory");

    fs::create_dir(&file).unwrap();
    denied("is a directory, not a regular file");
    fs::remove_dir(&file).unwrap();

    // Opened for reading, it would wait for a writer for ever.
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    denied("is a fifo, not a regular file");
    fs::remove_file(&file).unwrap();

    let write = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    };
    let safe = b"failmode = safe\n";
    write(&[safe, vec![b'\n'; 1 << 20].as_slice()].concat());
    denied("is longer than 1 MiB");
    write(b"failmode = safe\nmotd = \0\n");
    let ended = log_in(&sandbox);
    assert_denied(&ended, "NUL bytes");
    assert!(
        ended
            .last_line()
            .ends_with(":2: has a NUL byte, so nothing of the file is read")
    );
}

#[test]
fn a_megabyte_of_garbage_is_denied() {
    let sandbox = Sandbox::new();
    // Not NUL, and every other byte in a fixed disorder.
    let garbage: Vec<u8> = (0..1_u64 << 20)
        .map(|n| n.wrapping_mul(6_364_136_223_846_793_005) >> 33)
        .map(|n| u8::try_from(n % 255 + 1).unwrap())
        .collect();
    for lines in [garbage, "a\n".repeat(1 << 19).into_bytes()] {
        sandbox.configure_with(&lines);
        let ended = log_in(&sandbox);
        assert_denied(&ended, "garbage");
        let told = ended.stderr().lines().count();
        assert!((3..=210).contains(&told), "{told} lines");
        assert!(ended.last_line().starts_with("[4] Failsecure"));
    }
}

#[test]
fn warnings_are_logged_at_each_login() {
    let sandbox = brisk();
    let table = [
        (
            "noverify = yes",
            "key 'noverify' is on: nobody checks that the server is Duo's",
        ),
        ("prompts = 0", "key 'prompts' is less than 1: 1 is used"),
        ("prompts = 11", "key 'prompts' is more than 10: 10 is used"),
        (
            "gecos_parsed = yes",
            "key 'gecos_parsed' is deprecated and does nothing",
        ),
        (
            "dev_fips_mode = 1",
            "key 'dev_fips_mode' is deprecated and does nothing",
        ),
        ("motd =", "key 'motd' is empty and counts as absent"),
        (
            "groups = !a,!b",
            "key 'groups' has negated patterns only, so nobody is asked",
        ),
    ];
    for (line, warning) in table {
        // On the file's sixth line: five come before it.
        good_but_for(&sandbox, line);
        let expected = format!("[4] {}:6: {warning}", sandbox.config().display());
        for time in ["first", "second"] {
            let ended = log_in(&sandbox);
            assert_let_in(&ended, line);
            let log = ended.log();
            let times = log.lines().filter(|line| **line == expected).count();
            assert_eq!(times, 1, "{line}, the {time} time: {log}");
            // For the log, not for whoever logs in.
            assert!(
                !ended
                    .stderr()
                    .lines()
                    .any(|line| line.ends_with(warning) && !line.starts_with('['))
            );
        }
    }
}

#[test]
fn prompts_out_of_range_are_the_nearest_bound() {
    let sandbox = Sandbox::new();
    sandbox.configure("prompts = 0");
    let mut terminal = sandbox.login("push").args(&["echo", "in"]).on_terminal();
    terminal.wait_for_text("Passcode or option");
    terminal.send("000000\n");
    assert_eq!(terminal.status(), 1, "{}", terminal.log());
    assert_eq!(sandbox.duo.asked("preauth"), 1);
}

/// What Duo was told of the client's address, and the log.
fn address_told(
    sandbox: &Sandbox,
    connection: Option<&str>,
    host: Option<&str>,
) -> (Option<String>, String) {
    let before = sandbox.duo.requests().len();
    let mut login = sandbox.login("push");
    login = match connection {
        Some(text) => login.env("SSH_CONNECTION", text),
        None => login.env_remove("SSH_CONNECTION"),
    };
    if let Some(host) = host {
        login = login.args(&["-h", host]);
    }
    let ended = login.args(&["echo", "in"]).run();
    assert_let_in(&ended, "any client");
    let requests = sandbox.duo.requests();
    let told = |at: usize| requests[before + at].param("ipaddr").map(str::to_owned);
    assert_eq!(told(0), told(1), "preauth and auth are told the same");
    (told(0), ended.log())
}

#[test]
fn the_clients_address_is_the_first_word_of_ssh_connection_else_the_option() {
    let sandbox = brisk();
    let connection = |client: &str| format!("{client} 50022 192.0.2.1 22");
    // SSH_CONNECTION, -h, what Duo is told, what the log says.
    let v6 = connection("2001:db8::7");
    let table = [
        (
            Some(connection("192.0.2.9")),
            None,
            Some("192.0.2.9"),
            " from 192.0.2.9: ",
        ),
        (
            Some(v6.clone()),
            None,
            Some("2001:db8::7"),
            " from 2001:db8::7: ",
        ),
        (
            Some(v6),
            Some("192.0.2.8"),
            Some("2001:db8::7"),
            " from 2001:db8::7: ",
        ),
        (
            None,
            Some("192.0.2.8"),
            Some("192.0.2.8"),
            " from 192.0.2.8: ",
        ),
        (
            Some(String::new()),
            Some("2001:db8::8"),
            Some("2001:db8::8"),
            " from 2001:db8::8: ",
        ),
        (None, Some("client.example"), None, " from client.example: "),
        (
            Some(connection("UNKNOWN")),
            Some("192.0.2.8"),
            None,
            " from UNKNOWN: ",
        ),
        (
            Some(connection("fe80::1%eth0")),
            None,
            None,
            " from fe80::1%eth0: ",
        ),
        (
            Some(connection("1.2.3.4'\u{1b}[2J\nx")),
            None,
            None,
            " from 1.2.3.4???2J?x: ",
        ),
        (None, None, None, "login for 'push': "),
    ];
    for (connection, host, told, logged) in table {
        let (address, log) = address_told(&sandbox, connection.as_deref(), host);
        assert_eq!(address.as_deref(), told, "{connection:?} {host:?}");
        assert!(log.contains(logged), "{connection:?} {host:?}: {log}");
    }
}

#[test]
fn this_hosts_own_address_stands_in_only_where_the_file_says_so() {
    let sandbox = brisk();
    sandbox.configure("fallback_local_ip = yes");
    let replaced = "is no address: Duo is told this host's own";
    // The way to the service leads over the loopback.
    let own = Some("127.0.0.1".to_owned());
    let (address, log) = address_told(&sandbox, None, None);
    assert_eq!(address, own);
    assert!(
        !log.contains(replaced),
        "there was nothing to replace: {log}"
    );

    let (address, log) = address_told(&sandbox, Some("it's 50022 192.0.2.1 22"), None);
    assert_eq!(address, own);
    assert!(log.contains(&format!("[6] 'it\\'s' {replaced}")), "{log}");
    assert!(log.contains(" from it?s: "), "{log}");

    let (address, log) = address_told(&sandbox, Some("192.0.2.9 1 192.0.2.1 22"), None);
    assert_eq!(address.as_deref(), Some("192.0.2.9"));
    assert!(!log.contains(replaced), "{log}");
}
