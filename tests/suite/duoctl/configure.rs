//! `duoctl configure`: what is refused is never live, and what is accepted comes in one step.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fake_duo::FakeDuo;

use super::{about, duoctl, json, names};
use crate::support::{
    Ended, Raises, Sandbox, Terminal, TerminalSize, run, run_with, side_by_side, write_program,
};

/// A secret key that nobody has.
const WRONG: &str = "wrongwrongwrongwrongwrongwrongwrongwrong";

/// A good configuration, and what it says.
fn good() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let text = fs::read_to_string(sandbox.config()).unwrap();
    (sandbox, text)
}

fn configure(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Ended {
    about(sandbox, "configure", arguments, input.as_bytes())
}

fn before(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("login_duo.conf.before")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Everything that a reader sees at `path` while `work` runs.
fn seen_during(path: &Path, work: impl FnOnce()) -> BTreeSet<Option<Vec<u8>>> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                seen.insert(fs::read(path).ok());
            }
            seen
        });
        let is_over = Raises(&over);
        work();
        drop(is_over);
        reader.join().unwrap()
    })
}

#[test]
fn a_wrong_key_a_wrong_secret_or_an_unknown_key_is_never_live_not_for_a_moment() {
    let cases = [
        (FakeDuo::IKEY, "DIXXXXXXXXXXXXXXXXXX", "network.keys"),
        (FakeDuo::SKEY, WRONG, "network.keys"),
        ("[duo]", "[duo]\nautopsh = yes", "configuration.syntax"),
        ("[duo]", "[duo]\nfailmode = Secure", "configuration.syntax"),
        ("[duo]", "[dou]", "configuration.syntax"),
        ("host = ", "host = nobody.invalid ;", "network.name"),
    ];
    side_by_side(&cases, |(from, to, id)| {
        let (sandbox, text) = good();
        let wrong = text.replace(from, to);
        assert_ne!(wrong, text);
        let seen = seen_during(&sandbox.config(), || {
            let refused = configure(&sandbox, &["-"], &wrong).fails();
            assert!(refused.contains(id), "{refused}");
            assert!(!refused.contains(WRONG), "{refused}");
        });
        assert_eq!(
            seen,
            BTreeSet::from([Some(text.clone().into_bytes())]),
            "{to}"
        );
        assert_eq!(names(sandbox.path()), ["ca.pem", "login_duo.conf"], "{to}");
    });
}

#[test]
fn what_would_deny_or_pass_everybody_cannot_be_accepted() {
    let (sandbox, text) = good();
    let wrong = text.replace(FakeDuo::SKEY, WRONG);
    let arguments = ["--accept", "network.keys", "--accept", "network.outcome"];
    configure(&sandbox, &arguments, &wrong).fails();
    let broken = text.replace("[duo]", "[duo]\nx = y");
    let arguments = [
        "--accept",
        "configuration.syntax",
        "--accept",
        "configuration.failmode",
    ];
    configure(&sandbox, &arguments, &broken).fails();
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
}

#[test]
fn a_duo_that_is_away_is_accepted_by_the_reasons_and_by_nothing_else() {
    let (sandbox, text) = good();
    // A port that no other test's service can be given.
    let new = text.replace(&sandbox.duo.host(), "localhost:1");
    let refused = configure(&sandbox, &["--yes"], &new).fails();
    let way = "--accept network.tcp --accept network.outcome";
    assert!(refused.contains(way), "{refused}");
    configure(&sandbox, &["--accept", "network.tcp"], &new).fails();
    let both = ["--accept", "network.tcp", "--accept", "network.outcome"];
    configure(&sandbox, &both, &new).succeeds();
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), new);
}

#[test]
fn a_good_one_comes_in_one_step_and_the_one_before_is_kept() {
    let (sandbox, text) = good();
    let new = text.clone() + "prompts = 1\n";
    let seen = seen_during(&sandbox.config(), || {
        let done = configure(&sandbox, &["--json", "-"], &new);
        assert_eq!(json(&done)["changed"], true, "{}", done.text());
    });
    let whole = |text: &str| Some(text.to_owned().into_bytes());
    assert!(seen.is_subset(&BTreeSet::from([whole(&text), whole(&new)])));
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), new);
    assert_eq!(fs::read_to_string(before(&sandbox)).unwrap(), text);
    assert_eq!(mode(&sandbox.config()), 0o600);
    assert_eq!(mode(&before(&sandbox)), 0o600);

    // Again: nothing happens, and what is kept stays.
    let again = configure(&sandbox, &["--json"], &new);
    assert_eq!(json(&again)["changed"], false);
    assert_eq!(again.status(), 0);
    assert_eq!(fs::read_to_string(before(&sandbox)).unwrap(), text);
    assert_eq!(
        names(sandbox.path()),
        ["ca.pem", "login_duo.conf", "login_duo.conf.before"]
    );
}

#[test]
fn a_file_takes_the_place_where_there_was_none() {
    let (sandbox, text) = good();
    fs::remove_file(sandbox.config()).unwrap();
    let new = sandbox.path().join("new.conf");
    fs::write(&new, &text).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o640)).unwrap();
    let said = configure(&sandbox, &[new.to_str().unwrap()], "").succeeds();
    assert!(
        said.contains("others may have read the secret key"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
    assert_eq!(mode(&sandbox.config()), 0o600);
    assert!(!before(&sandbox).exists());
}

#[test]
fn a_file_that_others_may_read_gets_its_mode_back_though_it_says_the_same() {
    let (sandbox, text) = good();
    fs::set_permissions(sandbox.config(), Permissions::from_mode(0o644)).unwrap();
    let done = configure(&sandbox, &["--json"], &text);
    assert_eq!(json(&done)["changed"], true, "{}", done.text());
    assert_eq!(mode(&sandbox.config()), 0o600);
    // What others could have written is no ground to build on.
    fs::set_permissions(sandbox.config(), Permissions::from_mode(0o666)).unwrap();
    let refused = configure(&sandbox, &["--set", "prompts=1"], "").fails();
    assert!(refused.contains("chmod 600"), "{refused}");
}

#[test]
fn set_changes_one_line_and_keeps_comments_and_order() {
    let (sandbox, text) = good();
    let text = text.replace("[duo]", "[duo]\n# mine\nprompts = 3 ; three\n;motd = no\n");
    sandbox.configure_with(text.as_bytes());
    configure(&sandbox, &["--set", "prompts=1", "--set", "motd=yes"], "").succeeds();
    let expected = text
        .replace("prompts = 3 ; three", "prompts = 1 ; three")
        .replace(";motd = no\n", ";motd = no\nmotd = yes\n");
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), expected);
    let again = configure(&sandbox, &["--json", "--set", "prompts=1"], "");
    assert_eq!(json(&again)["changed"], false);

    for wrong in ["prompts=many", "promts=1", "failmode=open"] {
        configure(&sandbox, &["--set", wrong], "").fails();
    }
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), expected);
}

#[test]
fn the_secret_key_is_taken_from_standard_input_and_never_from_an_argument() {
    let (sandbox, text) = good();
    let without = text.replace(FakeDuo::SKEY, WRONG);
    sandbox.configure_with(without.as_bytes());
    let right = format!("skey={}", FakeDuo::SKEY);
    let refused = configure(&sandbox, &["--set", &right], "");
    assert_eq!(refused.status(), 64);
    assert!(
        refused.stderr().contains("--set skey=-"),
        "{}",
        refused.text()
    );
    assert!(!refused.text().contains(FakeDuo::SKEY));
    let refused = configure(&sandbox, &["--set", "http_proxy=http://u:p@proxy:1"], "");
    assert_eq!(refused.status(), 64);
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), without);

    let line = format!("{}\nnot read\n", FakeDuo::SKEY);
    let said = configure(&sandbox, &["--set", "skey=-"], &line).succeeds();
    assert!(!said.contains(FakeDuo::SKEY), "{said}");
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
}

#[test]
fn restore_brings_back_the_one_before_and_keeps_what_it_replaced() {
    let (sandbox, text) = good();
    configure(&sandbox, &["--restore"], "").fails();
    let new = text.clone() + "prompts = 1\n";
    configure(&sandbox, &[], &new).succeeds();
    configure(&sandbox, &["--restore"], "").succeeds();
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
    let undone = sandbox.path().join("login_duo.conf.undone");
    assert_eq!(fs::read_to_string(&undone).unwrap(), new);
    assert_eq!(mode(&undone), 0o600);
    let again = configure(&sandbox, &["--restore", "--json"], "");
    assert_eq!(json(&again)["changed"], false);

    // One that Duo does not take any more is not restored either.
    fs::write(before(&sandbox), text.replace(FakeDuo::SKEY, WRONG)).unwrap();
    configure(&sandbox, &["--restore"], "").fails();
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
}

#[test]
fn a_program_is_told_which_keys_get_another_value_and_no_value() {
    let (sandbox, text) = good();
    // Comments, order and another spelling of a key are no other value.
    for (new, keys) in [
        (
            text.clone() + "prompts = 1\ngroup = *\n",
            &["groups", "prompts"][..],
        ),
        (format!("; why\n{text}"), &[]),
    ] {
        let dry = json(&configure(&sandbox, &["--dry-run", "--json"], &new));
        assert_eq!(dry["would_change"], true, "{dry}");
        assert_eq!(dry["changed"], false, "{dry}");
        assert_eq!(dry["keys"], serde_json::json!(keys), "{dry}");
    }
    let wrong = text.replace(FakeDuo::SKEY, WRONG);
    let refused = configure(&sandbox, &["--dry-run", "--json"], &wrong);
    assert_eq!(json(&refused)["keys"], serde_json::json!(["skey"]));
    assert_eq!(json(&refused)["would_change"], false);
    for secret in [WRONG, FakeDuo::SKEY] {
        assert!(!refused.text().contains(secret), "{}", refused.text());
    }
    let new = text + "prompts = 1\n";
    let changed = json(&configure(&sandbox, &["--json"], &new));
    assert_eq!(changed["changed"], true);
    assert_eq!(changed["would_change"], false);
    let again = json(&configure(&sandbox, &["--dry-run", "--json"], &new));
    assert_eq!(again["would_change"], false);
}

#[test]
fn a_dry_run_proves_and_changes_nothing() {
    let (sandbox, text) = good();
    let new = text.clone() + "prompts = 1\n";
    let said = configure(&sandbox, &["--dry-run"], &new).succeeds();
    assert!(said.contains("would be replaced"), "{said}");
    configure(
        &sandbox,
        &["--dry-run"],
        &text.replace(FakeDuo::SKEY, WRONG),
    )
    .fails();
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
    assert_eq!(names(sandbox.path()), ["ca.pem", "login_duo.conf"]);
}

#[test]
fn a_login_duo_of_another_version_or_none_at_all_is_refused() {
    let (sandbox, text) = good();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("duoctl");
    // By another process: a program that this one writes to cannot be started while any of its
    // threads forks.
    let mut copy = std::process::Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_duoctl")).arg(&program);
    run(copy).succeeds();
    let refused = |words: &str| {
        let mut command = duoctl(&[]);
        let mut own = std::process::Command::new(&program);
        own.env_clear().args(command.get_args());
        own.arg("configure").arg("-c").arg(sandbox.config());
        command = own;
        let said = run_with(command, (text.clone() + "prompts = 1\n").as_bytes()).fails();
        assert!(said.contains(words), "{said}");
    };
    refused("there is no ");
    let other = folder.path().join("login_duo");
    write_program(&other, "#!/bin/sh\necho login_duo 0.0.1\n");
    refused("is not login_duo ");
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
}

#[test]
fn what_is_no_configuration_at_all_is_refused() {
    let (sandbox, text) = good();
    for (input, words) in [
        (String::new(), "is empty"),
        ("x".repeat(1024 * 1024 + 1), "longer than 1 MiB"),
        ("\0".to_owned(), "NUL"),
    ] {
        let said = configure(&sandbox, &["-"], &input).fails();
        assert!(said.contains(words), "{said}");
    }
    configure(&sandbox, &["/nonexistent"], "").fails();
    configure(&sandbox, &["/dev/null"], "").fails();
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
}

#[test]
fn the_sample_becomes_a_configuration_without_an_editor() {
    let (sandbox, text) = good();
    let sample =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/login_duo.conf")).unwrap();
    sandbox.configure_with(sample.as_bytes());
    let value = |key: &str| {
        let start = format!("{key} = ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        format!("{key}={}", line.unwrap())
    };
    let (ikey, host, cafile) = (value("ikey"), value("host"), value("cafile"));
    let arguments = [
        "--set", &ikey, "--set", &host, "--set", &cafile, "--set", "skey=-",
    ];
    configure(&sandbox, &arguments, FakeDuo::SKEY).succeeds();
    let new = fs::read_to_string(sandbox.config()).unwrap();
    let kept = new.lines().filter(|line| line.starts_with(';')).count();
    assert_eq!(
        kept,
        sample.lines().filter(|line| line.starts_with(';')).count()
    );
    assert_eq!(new.lines().count(), sample.lines().count() + 1, "{new}");
}

#[test]
fn no_file_on_the_way_can_be_read_by_others_whatever_the_umask() {
    let (sandbox, text) = good();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                for entry in fs::read_dir(sandbox.path()).unwrap().flatten() {
                    // It may be gone by now.
                    if let Ok(status) = entry.metadata() {
                        let name = entry.file_name().into_string().unwrap();
                        seen.insert((name, status.mode() & 0o077));
                    }
                }
            }
            seen
        });
        let is_over = Raises(&over);
        for number in 1..=5 {
            let mut shell = std::process::Command::new("/bin/sh");
            shell.args([
                "-c",
                "umask 0; exec \"$@\"",
                "sh",
                env!("CARGO_BIN_EXE_duoctl"),
            ]);
            shell.args(["configure", "-c"]).arg(sandbox.config());
            let new = format!("{text}prompts = {number}\n");
            run_with(shell, new.as_bytes()).succeeds();
        }
        drop(is_over);
        let open: Vec<_> = watcher
            .join()
            .unwrap()
            .into_iter()
            .filter(|(_, bits)| *bits != 0)
            .collect();
        assert_eq!(open, [("ca.pem".to_owned(), 0o044)]);
    });
}

#[test]
fn on_a_terminal_the_secret_key_is_asked_for_and_not_shown() {
    let (sandbox, text) = good();
    sandbox.configure_with(text.replace(FakeDuo::SKEY, WRONG).as_bytes());
    let mut command = duoctl(&["configure", "--set", "skey=-", "-c"]);
    command.arg(sandbox.config());
    let plain = Terminal::start(&duoctl(&["--version"]), TerminalSize::USUAL);
    let mut terminal = Terminal::start(&command, TerminalSize::USUAL);
    let before = plain.settings();
    terminal.wait_for_text("skey:");
    terminal.send(&format!("{}\r", FakeDuo::SKEY));
    assert_eq!(terminal.status(), 0, "{}", terminal.rows());
    assert!(!String::from_utf8_lossy(&terminal.raw()).contains(FakeDuo::SKEY));
    assert_eq!(terminal.settings(), before);
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
}

#[test]
fn ctrl_c_at_the_question_changes_nothing_and_leaves_the_terminal_as_it_was() {
    let (sandbox, text) = good();
    let of_a_key = &["configure", "--set", "skey=-", "-c"][..];
    for (arguments, shown) in [(of_a_key, "skey:"), (&["configure", "-c"], "Ctrl-D")] {
        let mut command = duoctl(arguments);
        command.arg(sandbox.config());
        let plain = Terminal::start(&duoctl(&["--version"]), TerminalSize::USUAL);
        let mut terminal = Terminal::start(&command, TerminalSize::USUAL);
        let before = plain.settings();
        terminal.wait_for_text(shown);
        terminal.send("\x03");
        assert_eq!(terminal.status(), 1, "{}", terminal.stderr());
        assert!(
            terminal.stderr().contains("interrupted"),
            "{}",
            terminal.stderr()
        );
        assert_eq!(terminal.settings(), before);
    }
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), text);
}
