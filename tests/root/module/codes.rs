//! What comes back: the return codes, groups, failmode, arguments and the
//! configuration (docs/behaviour.md, *Failmode*).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use fake_duo::{Endpoint, FakeDuo, Fault, RetryAfter, Script, Stage, Times, Tls};
use nix::sys::stat::Mode;

use crate::machine::{PamWorld, code};
use crate::support::{RefusedPort, run_quietly, side_by_side};

/// Asserts the code and the one final line's start; the host is `-h 192.0.2.7`.
#[track_caller]
fn comes_back(world: &PamWorld, user: &str, answers: &[&str], expected: i32, start: &str) {
    let mut words = vec!["-h", "192.0.2.7"];
    words.extend(answers.iter().flat_map(|text| ["-a", text]));
    words.extend(["duo", user]);
    let asked = world.host(&words);
    let lines = world.module_lines();
    assert_eq!(asked.code(), expected, "{asked:#?} {lines:#?}");
    world.wait_for_log(|text| text.starts_with(start));
}

pub fn each_outcome_has_its_code_and_its_line() {
    let from = "Duo login for '{}' from 192.0.2.7";
    let wrong = ["000001", "000001", "000001"];
    let ones = ["1", "1", "1"];
    let cases: [(&str, Script, &[&str], i32, &str); 11] = [
        ("push", Script::Push, &["1"], code::SUCCESS, "Successful"),
        (
            "push",
            Script::Push,
            &["123456"],
            code::SUCCESS,
            "Successful",
        ),
        ("allow", Script::Allow, &[], code::SUCCESS, "Skipped"),
        (
            "pushdeny",
            Script::PushDenied,
            &ones,
            code::MAXTRIES,
            "Failed",
        ),
        ("push", Script::Push, &wrong, code::MAXTRIES, "Failed"),
        ("deny", Script::Deny, &[], code::ABORT, "Aborted"),
        ("enroll", Script::Enroll, &[], code::ABORT, "Aborted"),
        ("phone", Script::LockedOut, &ones, code::ABORT, "Aborted"),
        ("phone", Script::UnknownPreauth, &[], code::ABORT, "Aborted"),
        ("phone", Script::NullPreauth, &[], code::ABORT, "Aborted"),
        ("phone", Script::Nulls, &ones, code::MAXTRIES, "Failed"),
    ];
    for failmode in ["safe", "secure"] {
        side_by_side(&cases, |(user, script, answers, expected, outcome)| {
            let world = PamWorld::new(&format!("failmode = {failmode}"));
            world.sandbox.duo.set_script(user, *script);
            let start = format!("{outcome} {}", from.replace("{}", user));
            comes_back(&world, user, answers, *expected, &start);
            world.wait_until_empty();
            let (finals, attempts) = (world.finals(), world.sandbox.duo.asked("auth"));
            assert_eq!(finals.len(), attempts.max(1), "{finals:#?}");
        });
    }
}

pub fn an_account_that_there_is_not_is_unknown_and_duo_is_not_asked() {
    for failmode in ["safe", "secure"] {
        let world = PamWorld::new(&format!("failmode = {failmode}"));
        let asked = world.asks("duo", "no-such-account", &["1"]);
        assert_eq!(asked.code(), code::USER_UNKNOWN, "{asked:#?}");
        let finals = world.wait_for_final();
        assert!(finals.contains("no-such-account"), "{finals}");

        world.clear_log();
        for name in [
            "",
            "x y\\x0aSuccessful Duo login for 'root'",
            "\\xff\\x1b[2J",
        ] {
            world.clear_log();
            let asked = world.host(&["-a", "1", "duo", name]);
            assert_eq!(asked.code(), code::USER_UNKNOWN, "{name}: {asked:#?}");
            world.wait_for_final();
            for line in world.log() {
                assert!(!line.text.chars().any(char::is_control), "{line:?}");
                assert!(!line.text.starts_with("Successful"), "{line:?}");
            }
        }
        world.clear_log();
        let asked = world.host(&["-N", "-a", "push", "duo", "ignored"]);
        assert_eq!(asked.code(), code::USER_UNKNOWN, "{asked:#?}");
        assert!(asked.prompts().is_empty(), "{asked:#?}");
        world.wait_for_final();
        assert!(world.sandbox.duo.paths().is_empty());
    }
}

pub fn whoever_groups_do_not_select_passes_and_it_is_logged() {
    let world = PamWorld::new("groups = night-shift\nfailmode = secure");
    assert_eq!(world.code("manual", &[]), code::SUCCESS);
    let line = "User manual bypassed Duo 2FA due to user's UNIX group";
    world.wait_for_log(|text| text == line);
    assert!(world.sandbox.duo.paths().is_empty());
    world.clear_log();
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
    world.wait_for_log(|text| text.starts_with("Successful Duo login for 'push'"));
    assert_eq!(world.code("push", &["000001"; 3]), code::MAXTRIES);
}

/// What happens before Duo has answered, by failmode.
pub fn failmode_decides_where_duo_could_not_be_asked() {
    let no_answer: [(Endpoint, Fault); 6] = [
        (Endpoint::Preauth, Fault::Bare { status: 503 }),
        (
            Endpoint::Preauth,
            Fault::Status {
                status: 401,
                code: 40_103,
            },
        ),
        (
            Endpoint::Preauth,
            Fault::Redirect("https://localhost/".into()),
        ),
        (Endpoint::Preauth, Fault::Garbage),
        (Endpoint::Preauth, Fault::Reset(Stage::InHeaders)),
        (Endpoint::Any, Fault::Close(Stage::BeforeTls)),
    ];
    for (failmode, expected, outcome) in [
        ("safe", code::SUCCESS, "Failsafe"),
        ("secure", code::SERVICE_ERR, "Failsecure"),
    ] {
        side_by_side(&no_answer, |(endpoint, fault)| {
            let world = PamWorld::new(&format!("failmode = {failmode}"));
            world
                .sandbox
                .duo
                .fault(*endpoint, fault.clone(), Times::Always);
            let start = format!("{outcome} Duo login for 'push' from 192.0.2.7: ");
            comes_back(&world, "push", &["1"], expected, &start);
        });
        side_by_side(
            &[Tls::WrongHost, Tls::UnknownCa, Tls::Expired, Tls::Plain],
            |tls| {
                let builder = FakeDuo::builder().tls(*tls);
                let world = PamWorld::with(builder, &format!("failmode = {failmode}"));
                let start = format!("{outcome} Duo login for 'push' from 192.0.2.7: ");
                comes_back(&world, "push", &["1"], expected, &start);
            },
        );
        let refused = RefusedPort::take();
        let host = format!(
            "failmode = {failmode}\nhost = localhost:{}",
            refused.number()
        );
        let world = PamWorld::new(&host);
        let start = format!("{outcome} Duo login for 'push' from 192.0.2.7: ");
        comes_back(&world, "push", &["1"], expected, &start);
    }
    // Without a word of it, it is safe.
    let world = PamWorld::new("");
    let ill = Fault::Bare { status: 500 };
    world
        .sandbox
        .duo
        .fault(Endpoint::Preauth, ill, Times::Always);
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
}

/// After Duo has answered, or where it refuses, nothing opens.
pub fn failmode_decides_nothing_once_duo_has_answered() {
    let later: [(Endpoint, Fault, i32); 8] = [
        (
            Endpoint::Auth,
            Fault::Bare { status: 500 },
            code::SERVICE_ERR,
        ),
        (
            Endpoint::Auth,
            Fault::Status {
                status: 401,
                code: 40_103,
            },
            code::SERVICE_ERR,
        ),
        (
            Endpoint::Auth,
            Fault::Close(Stage::BeforeHeaders),
            code::SERVICE_ERR,
        ),
        (Endpoint::AuthStatus, Fault::Garbage, code::SERVICE_ERR),
        (Endpoint::Preauth, Fault::Bare { status: 403 }, code::ABORT),
        (
            Endpoint::Preauth,
            Fault::Status {
                status: 400,
                code: 40_002,
            },
            code::ABORT,
        ),
        (
            Endpoint::Preauth,
            Fault::RateLimited(RetryAfter::Seconds(60)),
            code::ABORT,
        ),
        (Endpoint::Auth, Fault::Bare { status: 404 }, code::ABORT),
    ];
    for failmode in ["safe", "secure"] {
        side_by_side(&later, |(endpoint, fault, expected)| {
            let world = PamWorld::new(&format!("failmode = {failmode}"));
            world
                .sandbox
                .duo
                .fault(*endpoint, fault.clone(), Times::Always);
            let asked = world.asks("duo", "push", &["1"]);
            let log = world.module_lines();
            assert_eq!(asked.code(), *expected, "{fault:?}: {asked:#?} {log:#?}");
            // No phone rings twice.
            assert!(world.sandbox.duo.asked("auth") <= 1, "{fault:?}");
        });
    }
}

pub fn a_rate_limit_followed_by_an_error_does_not_open() {
    let world = PamWorld::new("failmode = safe");
    let busy = Fault::RateLimited(RetryAfter::Seconds(1));
    world
        .sandbox
        .duo
        .fault(Endpoint::Preauth, busy, Times::First(1));
    let ill = Fault::Bare { status: 500 };
    world
        .sandbox
        .duo
        .fault(Endpoint::Preauth, ill, Times::Always);
    let asked = world.asks("duo", "push", &["1"]);
    assert_ne!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert_eq!(world.sandbox.duo.asked("preauth"), 2);
}

/// Without `https_timeout` the C module waits for ever.
pub fn a_service_that_says_nothing_does_not_hold_it_for_ever() {
    let began = Instant::now();
    let world = PamWorld::new("failmode = secure");
    let silent = Fault::Stall(Stage::BeforeTls);
    world
        .sandbox
        .duo
        .fault(Endpoint::Any, silent, Times::Always);
    assert_eq!(world.code("push", &["1"]), code::SERVICE_ERR);
    assert!(began.elapsed() < Duration::from_secs(40));
}

pub fn a_bad_argument_is_an_error_under_safe_too() {
    let world = PamWorld::new("failmode = safe");
    let cases = [
        "nonsense",
        "try_first_pass",
        "conf",
        "conf=",
        "Debug",
        "debug=1",
        "after=password",
        "after=",
        "x\u{1b}[2Jy",
    ];
    for arguments in cases {
        world.clear_log();
        world.stack_with(
            "duo",
            "",
            &format!("conf=/etc/duo/pam_duo.conf {arguments}"),
        );
        let asked = world.asks("duo", "push", &["1"]);
        assert_eq!(asked.code(), code::SERVICE_ERR, "{arguments}: {asked:#?}");
        world.wait_for_final();
        for line in world.log() {
            assert!(!line.text.chars().any(char::is_control), "{line:?}");
        }
    }
    // Each one is named.
    world.clear_log();
    world.stack_with("duo", "", "first conf=/etc/duo/pam_duo.conf second");
    assert_eq!(world.code("push", &["1"]), code::SERVICE_ERR);
    for name in ["first", "second"] {
        world.wait_for_log(|text| text.contains(name));
    }
    assert!(world.sandbox.duo.paths().is_empty());
}

pub fn of_several_files_the_last_counts_and_without_one_it_is_the_default() {
    let world = PamWorld::new("");
    let text = fs::read(world.config()).unwrap();
    world.write("other.conf", &String::from_utf8(text).unwrap(), 0o600);
    world.stack_with("duo", "", "conf=/nonexistent conf=/etc/other.conf");
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
    world.stack_with("duo", "", "conf=/etc/other.conf conf=/nonexistent");
    assert_eq!(world.code("push", &["1"]), code::SERVICE_ERR);
    world.stack_with("duo", "", "");
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
    // Brackets hold a name with a blank.
    fs::rename(world.etc("other.conf"), world.etc("an other.conf")).unwrap();
    world.stack_with("duo", "", "[conf=/etc/an other.conf]");
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
}

pub fn debug_writes_the_log_to_stderr_too() {
    let world = PamWorld::new("");
    world.stack_with("duo", "", "conf=/etc/duo/pam_duo.conf debug");
    let asked = world.asks("duo", "push", &["123456"]);
    assert_eq!(asked.code(), code::SUCCESS);
    let line = "[6] Successful Duo login for 'push': passcode";
    let stderr = asked.ended.stderr();
    assert!(stderr.lines().any(|one| one == line), "{stderr}");
    world.wait_for_log(|text| text == "Successful Duo login for 'push': passcode");
    // With no stderr it is not an event.
    let asked = world.host(&["-x", "2", "-a", "123456", "duo", "push"]);
    assert_eq!(asked.is_unchanged().code(), code::SUCCESS);
    // The next one, without the word, is quiet.
    world.stack("duo", "");
    assert_eq!(world.asks("duo", "push", &["1"]).ended.stderr(), "");
}

/// What breaks the configuration, with `failmode = safe` in it or not.
pub fn a_broken_configuration_opens_only_by_its_own_plain_safe() {
    let good = |world: &PamWorld| fs::read_to_string(world.config()).unwrap();
    let broken = [
        ("nonsense = 1\n", code::SERVICE_ERR),
        ("nonsense = 1\nfailmode = safe\n", code::SUCCESS),
        ("failmode = safe\nnonsense = 1\n", code::SUCCESS),
        ("failmode = secure\nnonsense = 1\n", code::SERVICE_ERR),
        (
            "failmode = safe\nfailmode = secure\nnonsense = 1\n",
            code::SERVICE_ERR,
        ),
        ("failmode = Secure\n", code::SERVICE_ERR),
        ("failmode = saef\n", code::SERVICE_ERR),
        ("autopush = yes\nverified_push = yes\n", code::SERVICE_ERR),
        (
            "cafile = /nonexistent\nfailmode = secure\n",
            code::SERVICE_ERR,
        ),
        ("https_timeout = soon\n", code::SERVICE_ERR),
    ];
    let world = PamWorld::new("");
    let start = good(&world);
    for (lines, expected) in broken {
        world.clear_log();
        world.configure_with(format!("{start}{lines}").as_bytes());
        let asked = world.asks("duo", "push", &["1"]);
        assert_eq!(
            asked.code(),
            expected,
            "{lines}: {:#?}",
            world.module_lines()
        );
        world.wait_for_final();
    }
    assert!(world.sandbox.duo.paths().is_empty());
}

pub fn a_configuration_that_others_could_change_or_read_never_opens() {
    let world = PamWorld::new("failmode = safe");
    let path = world.config();
    let never_opens = |why: &str| {
        world.clear_log();
        let began = Instant::now();
        let asked = world.asks("duo", "push", &["1"]);
        assert_eq!(asked.code(), code::SERVICE_ERR, "{why}: {asked:#?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{why} holds it");
        world.wait_for_final();
        for line in world.log() {
            assert!(!line.text.contains(FakeDuo::SKEY), "{why}: {line:?}");
        }
        assert!(!asked.ended.text().contains(FakeDuo::SKEY), "{why}");
    };
    for mode in [0o622, 0o620, 0o640, 0o604, 0o602, 0o644, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        never_opens(&format!("mode {mode:o}"));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&path, Some(world.uid("push")), None).unwrap();
    never_opens("the user's own");
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    never_opens("missing");
    fs::create_dir(&path).unwrap();
    never_opens("a directory");
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    never_opens("a fifo");
    fs::remove_file(&path).unwrap();
    world.configure_with(&vec![0; 1 << 20]);
    never_opens("1 MiB of NUL");
    let key = format!("{}\n", FakeDuo::SKEY);
    world.configure_with(&[key.as_bytes(), b"failmode = secure\n"].concat());
    never_opens("the key alone");
    assert!(world.sandbox.duo.paths().is_empty());
    world.configure_with(&good);
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
}

pub fn keys_of_the_login_program_do_nothing() {
    let world = PamWorld::new("motd = yes\nprompt_for_commands = yes\nremember = connection\n");
    world.write("motd", "the day has a message\n", 0o644);
    let asked = world.asks("duo", "push", &["1"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    assert!(!asked.ended.text().contains("the day"), "{asked:#?}");
    assert!(!world.at("/run/login_duo").exists());
}

/// Without a helper, or with one that others could have changed, nothing opens.
pub fn without_its_helper_it_never_opens() {
    let world = PamWorld::new("failmode = safe");
    let mut hide = world.inside();
    hide.args(["mount", "-t", "tmpfs", "none", "/usr/libexec/login_duo"]);
    assert!(run_quietly(&mut hide).success());
    let asked = world.asks("duo", "allow", &["1"]);
    assert_eq!(asked.is_unchanged().code(), code::SERVICE_ERR);
    let line = "Error in Duo login for 'allow': couldn't run \
                '/usr/libexec/login_duo/pam-duo-helper'";
    world.wait_for_log(|text| text == line);
    // One that ends without a verdict.
    for script in ["exit 0", "exit 1", "kill -9 $$", "echo N >&3; echo N >&4"] {
        world.clear_log();
        let text = format!("#!/bin/sh\n{script}\n");
        let helper = world.at("/usr/libexec/login_duo/pam-duo-helper");
        fs::write(&helper, text).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let asked = world.asks("duo", "allow", &["1"]);
        assert_eq!(asked.is_unchanged().code(), code::SERVICE_ERR, "{script}");
        let line = "Error in Duo login for 'allow': the helper ended without a verdict";
        world.wait_for_log(|text| text == line);
    }
    assert!(world.sandbox.duo.paths().is_empty());
}
