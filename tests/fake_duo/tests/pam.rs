//! `demo --pam` as a newcomer runs it: the real su, sudo and sshd, in a throw-away machine.
//!
//! Each test shows as ignored, by name, where its needs are missing; with `LOGIN_DUO_E2E=required` it fails then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod limit;
mod terminal;

use fake_duo::PASSCODE;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use terminal::{Demo, PATIENCE, PATIENCE_WITH_CARGO};

/// How many run side by side: they wait more than they work.
const SIDE_BY_SIDE: usize = 8;

/// Ends the menu.
const MENU: &str = "Passcode or option (1-3): ";
/// Ends each demo.
const CONCLUSION: &str = "the service saw ";

/// Its name, the programs that it needs, and what it does.
type Test = (&'static str, &'static [&'static str], fn());

fn main() {
    limit::end_a_run_that_hangs();
    let tests: [Test; 11] = [
        ("su_asks_for_the_password_and_then_duo", &["su"], su),
        ("sudo_asks_for_the_password_and_then_duo", &["sudo"], sudo),
        (
            "sshd_asks_for_the_password_and_then_duo",
            &["sshd", "ssh"],
            sshd,
        ),
        (
            "a_wrong_password_never_reaches_duo",
            &["su"],
            a_wrong_password,
        ),
        ("who_is_denied_gets_no_shell", &["su"], denied),
        ("a_person_plays_the_phone", &["sudo"], a_person),
        ("ctrl_c_leaves_nothing_behind", &["su"], ctrl_c),
        (
            "no_way_to_end_it_leaves_anything_behind",
            &["su", "sshd", "ssh"],
            killed,
        ),
        ("the_machine_is_not_the_real_one", &["su"], not_the_real_one),
        (
            "where_namespaces_are_refused_it_says_so",
            &["su"],
            without_namespaces,
        ),
        (
            "a_program_that_is_missing_is_named",
            &["sudo"],
            without_sudo,
        ),
    ];
    let trials = tests.into_iter().map(|(name, needs, test)| {
        let missing = missing(needs);
        let is_ignored = missing.is_some() && !is_required();
        let trial = Trial::test(name, move || match missing {
            None => {
                test();
                Ok(())
            }
            Some(what) => Err(Failed::from(format!("needs {what}"))),
        });
        trial.with_ignored_flag(is_ignored)
    });
    let ordinary = Trial::test("an_ordinary_user_is_told_what_root_is_to_say", || {
        an_ordinary_user();
        Ok(())
    });
    let trials = trials.chain([ordinary]).collect();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(SIDE_BY_SIDE));
    libtest_mimic::run(&arguments, trials).exit();
}

fn is_required() -> bool {
    std::env::var("LOGIN_DUO_E2E").is_ok_and(|value| value == "required")
}

/// The first thing that is missing, in words.
fn missing(programs: &[&str]) -> Option<String> {
    let in_namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child"];
    let mut namespaces = Command::new("unshare");
    namespaces.args(in_namespaces).arg("true");
    namespaces.stderr(Stdio::null());
    if !geteuid().is_root() || !namespaces.status().is_ok_and(|status| status.success()) {
        return Some("root, with its own namespaces".to_owned());
    }
    let is_there = |program: &str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).is_file())
    };
    let missing = programs.iter().find(|program| !is_there(program));
    missing.map(|program| (*program).to_owned())
}

/// A demo at the password.
fn at_the_password(name: &str, arguments: &[&str]) -> Demo {
    at_the_password_through(name, &[], arguments)
}

fn at_the_password_through(name: &str, through: &[&str], arguments: &[&str]) -> Demo {
    let arguments = [&["--pam", "--push-delay", "0.3"], arguments].concat();
    let demo = Demo::start_through(name, through, &arguments);
    demo.wait_so_long_for(PATIENCE_WITH_CARGO, "the password is demo.", 1);
    // sudo asks for the "password".
    demo.wait_for("assword", 2);
    demo
}

/// A demo at Duo's menu.
fn at_the_menu(name: &str, arguments: &[&str]) -> Demo {
    let mut demo = at_the_password(name, arguments);
    demo.type_in("demo\n");
    demo.wait_for(MENU, 1);
    demo
}

/// The last line, and the exit status.
fn conclusion(demo: &mut Demo) -> (String, i32) {
    let status = demo.end();
    let shown = demo.wait_for(CONCLUSION, 1);
    let last = shown.trim_end().lines().next_back().unwrap().to_owned();
    (last, status)
}

fn su() {
    let mut demo = at_the_menu("su", &[]);
    demo.type_in("000000\n");
    demo.wait_for("Incorrect passcode. Please try again.", 1);
    demo.wait_for(MENU, 2);
    demo.type_in("\n");
    demo.wait_for("Pushed a login request to your device...", 1);
    demo.wait_for("$ ", 1);
    demo.type_in("id -un; exit 3\n");
    assert_eq!(
        conclusion(&mut demo),
        (
            "fake-duo: su ended with status 3; the service saw preauth, auth, preauth, auth, auth_status, auth_status.".to_owned(),
            3
        )
    );
    let shown = demo.wait_for("\r\ndemo\r\n", 1);
    assert!(shown.contains("yours stays as it is"), "{shown}");
}

fn sudo() {
    let mut demo = at_the_menu("sudo", &["--", "sudo"]);
    demo.type_in(&format!("{PASSCODE}\n"));
    assert_eq!(
        conclusion(&mut demo),
        (
            "fake-duo: sudo ended with status 0; the service saw preauth, auth.".to_owned(),
            0
        )
    );
    demo.wait_for("uid=0(root)", 1);
}

fn sshd() {
    let mut demo = at_the_menu("sshd", &["--", "sshd"]);
    demo.type_in("1\n");
    demo.wait_for("Success. Logging you in...", 1);
    demo.wait_for("$ ", 1);
    demo.type_in("tty; id -un; echo $SSH_CONNECTION; exit 4\n");
    let (last, status) = conclusion(&mut demo);
    assert!(
        last.starts_with("fake-duo: ssh ended with status 4; the service saw preauth, auth, "),
        "{last}"
    );
    assert_eq!(status, 4);
    let shown = demo.wait_for("\r\ndemo\r\n127.0.0.1 ", 1);
    assert!(shown.contains("\r\n/dev/pts/"), "{shown}");
}

fn a_wrong_password() {
    let mut demo = at_the_password("wrong", &["--", "su"]);
    demo.type_in("wrong\n");
    let (last, status) = conclusion(&mut demo);
    assert_eq!(
        last,
        "fake-duo: su ended with status 1; the service saw no request."
    );
    assert_eq!(status, 1);
}

fn denied() {
    let mut demo = at_the_password("denied", &["--default-script", "deny"]);
    demo.type_in("demo\n");
    let (last, status) = conclusion(&mut demo);
    assert_eq!(
        last,
        "fake-duo: su ended with status 1; the service saw preauth."
    );
    assert_eq!(status, 1);
}

fn a_person() {
    let mut demo = at_the_menu("person", &["--phone", "--", "sudo"]);
    let mut phone = Command::new(env!("CARGO_BIN_EXE_fake-duo"));
    phone.args(["phone", &demo.phone()]).stdin(Stdio::piped());
    let mut phone = phone.stdout(Stdio::null()).spawn().unwrap();
    demo.type_in("1\n");
    // What comes before the push names none that waits.
    let mut keyboard = phone.stdin.take().unwrap();
    let end = Instant::now() + PATIENCE;
    while demo.child.try_wait().unwrap().is_none() && Instant::now() < end {
        let _ = writeln!(keyboard, "a 1");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (last, status) = conclusion(&mut demo);
    assert!(last.contains("ended with status 0; the service saw preauth, auth, "));
    assert_eq!(status, 0);
    drop(keyboard);
    // The end of its input is its end too, and this test must have one.
    let end = Instant::now() + PATIENCE;
    while phone.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "the phone does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// All processes that this one started, and theirs.
fn descendants(of: u32) -> Vec<u32> {
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{parent}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .map(|it| it.parse::<u32>().unwrap()),
            );
        }
    }
    found
}

/// What a demo must not change.
fn state() -> (Vec<u8>, String, usize) {
    let accounts = fs::read("/etc/passwd").unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let helpers = Path::new("/usr/libexec/login_duo").exists();
    (accounts, mounts, usize::from(helpers))
}

fn wait_until_gone(all: &[u32]) {
    let is_there = |pid: &u32| {
        // A zombie has ended.
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
    };
    let end = Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = all.iter().filter(|pid| is_there(pid)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ctrl_c() {
    let before = state();
    for at in [at_the_password, at_the_menu] {
        let mut demo = at("ctrl-c", &[]);
        let all = descendants(demo.child.id());
        assert!(all.len() > 2, "{all:?}");
        demo.type_in("\x03");
        let (last, status) = conclusion(&mut demo);
        assert!(last.contains("su ended with status "), "{last}");
        assert_ne!(status, 0);
        wait_until_gone(&all);
    }
    assert_eq!(state(), before);
}

fn killed() {
    let before = state();
    for (service, signal) in [
        ("su", Signal::SIGKILL),
        ("sshd", Signal::SIGKILL),
        ("su", Signal::SIGTERM),
        ("sshd", Signal::SIGHUP),
    ] {
        // A shell before it: the terminal outlives the demo.
        let through = ["sh", "-c", "\"$@\"; sleep 60", "sh"];
        let mut demo = at_the_password_through("killed", &through, &["--", service]);
        demo.type_in("demo\n");
        demo.wait_for(MENU, 1);
        let killed = descendants(demo.child.id())[1];
        let all = descendants(killed);
        assert!(all.len() > 4, "{all:?}");
        kill(Pid::from_raw(killed.try_into().unwrap()), signal).unwrap();
        wait_until_gone(&all);
    }
    assert_eq!(state(), before);
}

fn not_the_real_one() {
    let mut demo = at_the_menu("real", &[]);
    demo.type_in(&format!("{PASSCODE}\n"));
    demo.wait_for("$ ", 1);
    demo.type_in("ls -A /home /tmp /var/log | tr '\\n' ' '; id -u root duo nobody; cat /etc/shadow; ls -l /dev/log\n");
    demo.type_in("cat /proc/net/dev | grep -c :; hostname; echo over\n");
    let shown = demo.wait_for("over\r\n", 2);
    assert!(
        shown.contains("/home: demo visitor  /tmp:  /var/log: 0\r\n64100\r\n"),
        "{shown}"
    );
    for told in [
        "'nobody': no such user",
        "/etc/shadow: Permission denied",
        "'/dev/log': No such file",
        "1\r\ndemo\r\nover\r\n",
    ] {
        assert!(shown.contains(told), "no '{told}' in:\n{shown}");
    }
}

/// What this says without a terminal.
fn refused(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

fn without_namespaces() {
    let before = state();
    let through = ["setpriv", "--bounding-set", "-sys_admin"];
    let mut demo = Demo::start_through("refused", &through, &["--pam"]);
    let said = "no throw-away machine can be made here: Operation not permitted (os error 1)\r\n";
    demo.wait_so_long_for(PATIENCE_WITH_CARGO, said, 1);
    assert_eq!(demo.end(), 2);
    assert_eq!(state(), before);
}

fn without_sudo() {
    let hide = "mount --bind /dev/null \"$(command -v sudo)\"; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_fake-duo"));
    let said = refused(command.args(["demo", "--pam", "--", "sudo"]));
    assert_eq!(said, "fake-duo: sudo is not installed here\n");
}

fn an_ordinary_user() {
    // As root, this builds what the next one runs.
    let usual = Path::new(env!("CARGO_BIN_EXE_fake-duo"));
    let mut command = Command::new(usual);
    let said = refused(command.args(["demo", "--pam"]));
    let what_to_say = |program: &Path| {
        let program = program.display();
        format!("demo --pam needs root, to make a throw-away machine: sudo {program} demo --pam\n")
    };
    if !geteuid().is_root() {
        assert!(said.ends_with(&what_to_say(usual)), "{said}");
        return;
    }
    assert!(said.contains("demo --pam needs a terminal"), "{said}");

    // Where every user may enter.
    let folder = std::env::temp_dir().join(format!("fake-duo-ordinary-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["fake-duo", "libpam_duo.so", "pam-duo-helper"] {
        fs::copy(usual.with_file_name(name), folder.join(name)).unwrap();
    }
    let program = folder.join("fake-duo");
    let mut command = Command::new(&program);
    command.args(["demo", "--pam"]).env_remove("CARGO");
    let said = refused(command.uid(65534).current_dir("/"));
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(said, format!("fake-duo: {}", what_to_say(&program)));
}
