//! Duo's own C program of the name login_duo, as a migration is rehearsed with it.
//!
//! `LOGIN_DUO_C_PROGRAM` names it: installed, or unpacked from Debian's packages login-duo and libduo3 with `dpkg -x`.
//! Without that, the tests show as ignored; with `LOGIN_DUO_E2E=required` they fail then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod limit;

use fake_duo::{FakeDuo, PASSCODE, Script};
use libtest_mimic::{Arguments, Failed, Trial};
use pty_process::blocking as pty;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// Told where the program is.
type Test = fn(&Path);

fn main() {
    limit::end_a_run_that_hangs();
    let program = std::env::var_os("LOGIN_DUO_C_PROGRAM")
        .filter(|program| !program.is_empty())
        .map(PathBuf::from);
    let is_required = std::env::var("LOGIN_DUO_E2E").is_ok_and(|value| value == "required");
    let tests: [(&str, Test); 5] = [
        ("headless_it_is_let_in_at_once", headless_it_is_let_in),
        ("headless_it_is_denied_as_scripted", headless_it_is_denied),
        ("on_a_terminal_it_shows_the_menu", on_a_terminal),
        ("it_takes_a_passcode_from_its_environment", a_passcode),
        ("a_wrong_secret_key_is_noticed", a_wrong_secret_key),
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let is_given = program.is_some();
            let program = program.clone();
            Trial::test(name, move || match program {
                Some(program) => {
                    test(&program);
                    Ok(())
                }
                None => Err(Failed::from("LOGIN_DUO_C_PROGRAM names no program")),
            })
            .with_ignored_flag(!is_given && !is_required)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A service, and a folder with a configuration for it that is gone afterwards.
struct Place {
    duo: FakeDuo,
    folder: PathBuf,
    config: PathBuf,
}

impl Place {
    fn new(name: &str, extra: &str) -> Self {
        let duo = FakeDuo::builder()
            .push_delay(Duration::from_millis(50))
            .user("already", Script::PushAfter(Duration::ZERO))
            .start();
        let folder = std::env::temp_dir().join(format!("fake-duo-c-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let config = duo.write_config(&folder, extra).unwrap();
        Self {
            duo,
            folder,
            config,
        }
    }

    /// What the program is run with, and in which environment.
    fn arguments<'a>(&'a self, user: &'a str, command: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["-d", "-c", self.config.to_str().unwrap(), "-f", user];
        arguments.extend(command);
        arguments
    }

    fn headless(&self, program: &Path, user: &str, passcode: Option<&str>) -> Output {
        let mut command = Command::new(program);
        command
            .args(self.arguments(user, &["echo", "in"]))
            .env_clear()
            .envs(environment(program))
            .stdin(Stdio::null());
        if let Some(passcode) = passcode {
            command.env("DUO_PASSCODE", passcode);
        }
        command.output().unwrap()
    }

    /// The parameters of the one `/auth`.
    fn auth(&self, name: &str) -> String {
        let requests = self.duo.requests();
        let auth = requests.iter().find(|it| it.endpoint() == "auth").unwrap();
        auth.param(name).unwrap_or_default().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn environment(program: &Path) -> Vec<(&'static str, OsString)> {
    let mut environment = vec![
        ("PATH", "/usr/bin:/bin".into()),
        ("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22".into()),
    ];
    if let Some(folder) = library_folder(program) {
        environment.push(("LD_LIBRARY_PATH", folder.into()));
    }
    environment
}

/// Where the program's library lies if both were unpacked into one folder: USR/sbin/login_duo, USR/lib/TRIPLET/libduo.so.3.
fn library_folder(program: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(program.parent()?.parent()?.join("lib")).ok()?;
    folders
        .flatten()
        .map(|folder| folder.path())
        .find(|folder| folder.join("libduo.so.3").exists())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn headless_it_is_let_in(program: &Path) {
    let place = Place::new("in", "");
    let output = place.headless(program, "push", None);
    assert_eq!(text(&output.stdout), "in\n", "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("Successful Duo login for 'push' from 192.0.2.7"));
    assert_eq!(place.duo.paths(), ["preauth", "auth"]);
    assert_eq!(place.auth("async"), "0");
    let pushinfo = place.auth("pushinfo");
    assert!(pushinfo.starts_with("Server+IP="), "{pushinfo}");
    assert!(pushinfo.ends_with("&Command="), "{pushinfo}");
}

fn headless_it_is_denied(program: &Path) {
    let place = Place::new("denied", "failmode = secure");
    for user in ["pushdeny", "deny", "enroll", "lockedout", "unknownresult"] {
        let output = place.headless(program, user, None);
        assert_eq!(output.status.code(), Some(1), "{user}");
        assert_eq!(text(&output.stdout), "", "{user}");
    }
    // None of them for what it sent.
    let refused = |request: &fake_duo::Request| request.refusal.is_some();
    assert!(!place.duo.requests().iter().any(refused));
}

fn a_passcode(program: &Path) {
    let place = Place::new("passcode", "accept_env_factor = yes\nfailmode = secure");
    for (passcode, code) in [(PASSCODE, 0), ("654321", 1)] {
        let output = place.headless(program, "manual", Some(passcode));
        assert_eq!(output.status.code(), Some(code), "{passcode}");
    }
    assert_eq!(place.duo.paths(), ["preauth", "auth", "preauth", "auth"]);
}

fn a_wrong_secret_key(program: &Path) {
    let place = Place::new("key", "failmode = secure");
    let text = fs::read_to_string(&place.config).unwrap();
    let wrong = text.replace(FakeDuo::SKEY, &"x".repeat(FakeDuo::SKEY.len()));
    fs::write(&place.config, wrong).unwrap();
    let output = place.headless(program, "push", None);
    assert_eq!(output.status.code(), Some(1));
    let requests = place.duo.requests();
    let refusal = requests[0].refusal.clone().unwrap_or_default();
    assert!(refusal.starts_with("40103"), "{refusal}");
}

/// What the terminal showed when all was over.
fn type_at_the_menu(place: &Place, program: &Path, user: &str, keys: &str) -> (String, ExitStatus) {
    let (mut keyboard, line) = pty::open().unwrap();
    let mut child = pty::Command::new(program)
        .args(place.arguments(user, &["echo", "in"]))
        .env_clear()
        .envs(environment(program))
        .spawn(line)
        .unwrap();
    let (mut shown, mut chunk, mut is_typed) = (Vec::new(), [0; 1024], false);
    // The end, or EIO: the last process has left the terminal.
    while let Ok(length @ 1..) = keyboard.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..length]);
        if !is_typed && text(&shown).contains("Passcode or option (1-3): ") {
            keyboard.write_all(keys.as_bytes()).unwrap();
            is_typed = true;
        }
    }
    (text(&shown), child.wait().unwrap())
}

fn on_a_terminal(program: &Path) {
    for (user, keys, polls, told) in [
        ("push", "1\n", 2, "Pushed a login request to your device..."),
        (
            "already",
            "1\n",
            2,
            "Pushed a login request to your device...",
        ),
        ("push", "2\n", 3, "Dialing XXX-XXX-1234..."),
        ("manual", "123456\n", 1, "Success. Logging you in..."),
    ] {
        let place = Place::new("terminal", "prompts = 1");
        let (shown, status) = type_at_the_menu(&place, program, user, keys);
        assert!(status.success(), "{user} {keys}: {shown}");
        assert!(shown.contains(&format!("Duo two-factor login for {user}")));
        assert!(shown.contains(told), "{shown}");
        assert!(shown.ends_with("\r\nin\r\n"), "{shown}");
        assert_eq!(place.auth("async"), "1");
        assert_eq!(place.duo.asked("auth_status"), polls, "{user} {keys}");
    }
}
