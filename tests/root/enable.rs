//! `duoctl enable` and `disable` on a copy of this machine: behind a real sshd
//! with a real ssh before it.

pub mod cases;
pub mod layouts;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fake_duo::{Endpoint, Fault, Script, Times};

use crate::host::*;
use crate::support::{Ended, check_command, in_time, install_sh};

/// The installed program, to be run without a terminal.
fn duoctl(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/sbin/duoctl");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Enables, with a test login; nobody in the test needs another way in.
fn enable(more: &[&str]) -> Ended {
    let mut command = duoctl(&["enable", "ssh", "--yes", "--test-user", ALICE]);
    Ended::of(command.args(["--accept", "no-way-in"]).args(more))
}

/// Enables without a test login.
fn enable_quietly(more: &[&str]) -> Ended {
    let mut command = duoctl(&["enable", "ssh", "--accept", "no-way-in"]);
    Ended::of(command.args(more))
}

fn disable(more: &[&str]) -> Ended {
    Ended::of(duoctl(&["disable", "ssh"]).args(more))
}

pub fn enabled_asks_disabled_does_not_and_nothing_is_left() {
    let machine = Machine::new(DropIns::Included);
    let untouched = state();
    machine.install();
    let before = state();
    let mut session = Session::open(&machine);

    let said = enable(&[]).succeeds();
    assert!(said.contains("KEEP THIS SESSION OPEN"), "{said}");
    assert!(said.contains("the test login was allowed by Duo"), "{said}");
    assert!(machine.is_asked(ALICE) && machine.is_asked(BOB));
    let effective = Ended::of(Command::new("/usr/sbin/sshd").arg("-T")).succeeds();
    for line in [
        "forcecommand /usr/sbin/login_duo",
        "permittunnel no",
        "allowtcpforwarding no",
        "allowstreamlocalforwarding no",
        "x11forwarding no",
        "permituserrc no",
    ] {
        assert!(
            effective.lines().any(|it| it == line),
            "no '{line}':\n{effective}"
        );
    }
    session.still_answers();
    let once = state();
    enable(&[]).succeeds();
    assert_same(&once);

    machine.sandbox.duo.set_script(BOB, Script::Deny);
    let denied = Ended::of(machine.ssh(BOB).arg("echo hello"));
    assert!(
        denied.code() == 1 && !denied.text().contains("hello"),
        "{}",
        denied.text()
    );

    let said = disable(&[]).succeeds();
    assert!(
        said.contains("asks for no second factor any more"),
        "{said}"
    );
    assert_same(&before);
    assert!(!machine.is_asked(BOB));
    session.still_answers();
    disable(&[]).succeeds();
    machine.uninstall();
    assert_same(&untouched);
}

/// A session that was open before.
struct Session(Child);

impl Session {
    fn open(machine: &Machine) -> Session {
        let mut command = machine.ssh(ALICE);
        command
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut session = Session(command.spawn().expect("ssh starts"));
        session.still_answers();
        session
    }

    fn still_answers(&mut self) {
        let stdin = self.0.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"still here\n").expect("written");
        let mut stdout = self.0.stdout.take().expect("a pipe");
        let (stdout, line) = in_time(move || {
            let mut line = [0; "still here\n".len()];
            stdout.read_exact(&mut line).expect("an answer");
            (stdout, line)
        });
        self.0.stdout = Some(stdout);
        assert_eq!(&line, b"still here\n");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn without_an_include_the_block_comes_and_goes() {
    for arguments in [&[][..], &["--group", GROUP]] {
        let machine = Machine::new(DropIns::NotIncluded);
        machine.install();
        let before = state();
        enable(arguments).succeeds();
        assert!(!Path::new(DROP_IN).exists());
        assert!(machine.is_asked(ALICE));
        assert_eq!(machine.is_asked(BOB), arguments.is_empty());
        let once = state();
        enable(arguments).succeeds();
        assert_same(&once);
        disable(&[]).succeeds();
        assert_same(&before);
        assert!(!machine.is_asked(ALICE));
    }
}

pub fn enabled_for_a_group_asks_its_members_only() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    enable(&["--group", GROUP]).succeeds();
    assert!(machine.is_asked(ALICE));
    assert!(!machine.is_asked(BOB));
    let refused = enable(&["--group", "ldtest_misspelt"]).fails();
    assert!(
        refused.contains("there is no group 'ldtest_misspelt'"),
        "{refused}"
    );
    assert!(machine.is_asked(ALICE));
}

pub fn enabled_for_names_asks_them_only() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    enable(&["--user-list", &format!("{BOB},root")]).succeeds();
    assert!(machine.is_asked(BOB));
    assert!(!machine.is_asked(ALICE));
    let refused = enable(&["--user-list", "ldtest_nobody"]).fails();
    assert!(
        refused.contains("there is no account 'ldtest_nobody'"),
        "{refused}"
    );
}

pub fn a_configuration_that_sshd_refuses_is_not_touched() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    machine.configure_sshd("Nonsense yes\n");
    let before = state();
    let refused = enable(&[]).fails();
    assert!(
        refused.contains("nothing has changed") && refused.contains("Nonsense"),
        "{refused}"
    );
    assert_same(&before);
    assert!(machine.sandbox.duo.paths().is_empty());
}

pub fn an_earlier_line_that_wins_is_found_and_all_is_taken_back() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    machine.configure_sshd(&format!("AllowTcpForwarding yes\n{INCLUDE}"));
    let before = state();
    let refused = enable(&[]).fails();
    assert!(
        refused
            .contains("an earlier line of sshd's configuration wins over AllowTcpForwarding no:"),
        "{refused}"
    );
    assert!(
        refused.contains("/etc/ssh/sshd_config:1: AllowTcpForwarding yes"),
        "{refused}"
    );
    assert_same(&before);

    // And one in the middle of which the new lines cannot be: sshd itself refuses.
    machine.configure_sshd(&format!(
        "Match User {ALICE}\n    ForceCommand none\nMatch all\n{INCLUDE}"
    ));
    let before = state();
    let refused = enable(&["--user-list", ALICE]).fails();
    assert!(refused.contains("nothing has changed"), "{refused}");
    assert_same(&before);
    assert!(!machine.is_asked(ALICE));
}

pub fn an_sshd_that_does_not_survive_the_reload_gets_its_configuration_back() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    stop_sshd();
    // It is called sshd, and a hang-up ends it.
    let stand_in = machine.path("sshd");
    fs::copy("/bin/sleep", &stand_in).expect("copied");
    // Whoever runs the tests may ignore hang-ups, and that is inherited.
    let mut process = Command::new("env")
        .arg("--default-signal=HUP")
        .arg(&stand_in)
        .arg("600")
        .spawn()
        .expect("it starts");
    fs::write("/run/sshd.pid", format!("{}\n", process.id())).expect("written");
    let before = state();
    // Reaps it, so that it is seen to be gone.
    let reaper = std::thread::spawn(move || process.wait());
    let refused = enable(&[]).fails();
    assert!(refused.contains("sshd could not be reloaded"), "{refused}");
    assert_same(&before);
    in_time(move || reaper.join())
        .expect("it ended")
        .expect("it was ours");
    let _ = fs::remove_file("/run/sshd.pid");
}

pub fn with_systemd_the_unit_is_reloaded() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let log = systemctl(&machine, "");
    enable(&[]).succeeds();
    let calls = fs::read_to_string(&log).expect("the calls");
    assert!(
        calls.ends_with("is-active sshd.service\nreload sshd.service\n"),
        "{calls}"
    );
    assert!(machine.is_asked(ALICE));
}

pub fn an_enable_that_is_interrupted_leaves_no_sshd_that_asks() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    // As Ctrl-C would, once sshd has read the new lines.
    let log = systemctl(
        &machine,
        "[ -e /run/ldtest ] || { : >/run/ldtest; kill -TERM $PPID; }",
    );
    let said = enable(&[]).fails();
    assert!(said.contains("is as it was"), "{said}");
    assert_same(&before);
    assert!(!machine.is_asked(ALICE), "{said}");
    let calls = fs::read_to_string(&log).expect("the calls");
    assert_eq!(calls.matches("reload").count(), 2, "{calls}");
}

/// What systemd would do, a note of it, and what happens then; where the note is.
fn systemctl(machine: &Machine, then: &str) -> PathBuf {
    let log = machine.path("systemctl.log");
    let stand_in = format!(
        "#!/bin/sh\necho \"$*\" >>{}\ncase $* in\n*'is-active ssh.service') exit 3 ;;\n\
         'reload sshd.service') pid=$(cat /run/sshd.pid); rm /run/sshd.pid; kill -HUP $pid\n\
         while [ ! -e /run/sshd.pid ]; do sleep 0.1; done\n{then} ;;\nesac\n",
        log.display()
    );
    let _ = fs::remove_file("/usr/bin/systemctl");
    fs::write("/usr/bin/systemctl", stand_in).expect("written");
    fs::set_permissions("/usr/bin/systemctl", fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::create_dir_all("/run/systemd/system").expect("a folder");
    log
}

pub fn what_would_not_work_is_not_enabled() {
    let machine = Machine::new(DropIns::Included);
    Ended::of(&mut install_sh(&["--binary", PROGRAM])).succeeds();
    let refused = enable(&[]).fails();
    assert!(
        refused.contains("[configuration.syntax]") && refused.contains("ikey"),
        "{refused}"
    );
    fs::rename("/usr/sbin/login_duo", "/usr/sbin/elsewhere").expect("moved");
    let refused = enable(&[]).fails();
    assert!(refused.contains("install it first"), "{refused}");
    fs::rename("/usr/sbin/elsewhere", "/usr/sbin/login_duo").expect("moved back");

    machine.install();
    let before = state();
    let refused = Ended::of(&mut duoctl(&[
        "enable",
        "ssh",
        "--accept",
        "no-way-in",
        "--test-user",
        ALICE,
    ]))
    .fails();
    assert!(refused.contains("Say --yes to that"), "{refused}");
    assert_same(&before);

    // Without a test login nobody's phone rings.
    enable_quietly(&[]).succeeds();
    assert!(
        machine
            .sandbox
            .duo
            .paths()
            .iter()
            .all(|path| path != "preauth" && path != "auth")
    );
    disable(&[]).succeeds();
    assert_same(&before);

    let program = Path::new("/usr/sbin/login_duo");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let refused = enable_quietly(&[]).fails();
    assert!(refused.contains("is not setuid root"), "{refused}");
    fs::set_permissions(program, fs::Permissions::from_mode(0o4755)).expect("its mode");
    assert_same(&before);

    // failmode would let people in, but nobody asked for that.
    machine.sandbox.duo.stop();
    let refused = enable_quietly(&[]).fails();
    assert!(
        refused.contains("FAIL") && refused.contains("nothing has changed"),
        "{refused}"
    );
    assert_same(&before);
}

/// Denied, let in by failmode, not asked: nothing of it shows that Duo works.
pub fn a_test_login_that_duo_did_not_allow_is_none() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let refused = |expected: &str| {
        let said = enable(&[]).fails();
        assert!(said.contains(expected), "{said}");
        assert!(!Path::new(DROP_IN).exists());
    };
    machine.sandbox.duo.set_script(ALICE, Script::Deny);
    refused("the test login was denied");
    machine.sandbox.duo.set_script(ALICE, Script::Push);
    let ill = Fault::Bare { status: 503 };
    machine
        .sandbox
        .duo
        .fault(Endpoint::Preauth, ill, Times::Always);
    refused("'failmode' let the test login in");
    assert_same(&before);
    let text = fs::read_to_string(CONFIG).expect("read");
    fs::write(CONFIG, text + "groups = root\n").expect("written");
    refused("is not asked, because of 'groups'");
}

pub fn a_dry_run_of_enable_and_disable_changes_nothing() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let said = enable_quietly(&["--dry-run"]).succeeds();
    assert!(
        said.contains("would write") && said.contains(DROP_IN),
        "{said}"
    );
    assert_same(&before);
    enable(&[]).succeeds();
    let before = state();
    let said = disable(&["--dry-run"]).succeeds();
    assert!(said.contains(&format!("would remove {DROP_IN}")), "{said}");
    assert_same(&before);
    assert!(machine.is_asked(ALICE));
}

/// sshd with another file: it is running, or known from the time of enabling.
pub fn an_sshd_with_a_configuration_of_its_own_is_not_forgotten() {
    let machine = Machine::new(DropIns::NotIncluded);
    machine.install();
    stop_sshd();
    let other = "/etc/ssh/ldtest_config";
    fs::rename(SSHD_CONFIG, other).expect("moved");
    fs::write(SSHD_CONFIG, "UsePAM no\n").expect("the usual one");
    let start = || {
        succeed(Command::new("/usr/sbin/sshd").args(["-f", other, "-E", "/run/ldtest.log"]));
        machine.wait_for_sshd();
    };
    start();
    let before = state();

    let way_back = format!("duoctl disable ssh --sshd-config {other}");
    let said = enable(&["--sshd-config", other]).succeeds();
    assert!(said.contains(&way_back), "{said}");
    assert_eq!(mode("/etc/duo/enabled-in"), (0o600, 0, 0));
    let enabled = state();
    let record = fs::read("/etc/duo/enabled-in").expect("read");
    for (running, recorded) in [(true, false), (false, true)] {
        match recorded {
            true => fs::write("/etc/duo/enabled-in", &record).expect("written"),
            false => fs::remove_file("/etc/duo/enabled-in").expect("removed"),
        }
        if !running {
            stop_sshd();
        }
        let refused = disable(&[]).fails();
        assert!(refused.contains(&way_back), "{refused}");
        let refused = Ended::of(&mut install_sh(&["--uninstall"])).fails();
        assert!(refused.contains(&way_back), "{refused}");
    }
    fs::set_permissions("/etc/duo/enabled-in", fs::Permissions::from_mode(0o600)).expect("mode");
    assert_same(&enabled);
    start();
    assert!(machine.is_asked(ALICE));

    disable(&["--sshd-config", other]).succeeds();
    assert_same(&before);
    let said = disable(&[]).succeeds();
    assert!(said.contains("another file? --sshd-config"), "{said}");
    machine.uninstall();
    assert!(!machine.is_asked(ALICE));
}

pub fn an_exemption_that_the_group_overrides_is_told_of() {
    let exemption = format!("Match User {ALICE},{BOB}\n    ForceCommand none\n");
    for (drop_ins, arguments, expected) in [
        (
            DropIns::Included,
            &["--group", GROUP][..],
            [(ALICE, true), (BOB, false)],
        ),
        (DropIns::Included, &[], [(ALICE, false), (BOB, false)]),
    ] {
        let machine = Machine::new(drop_ins);
        machine.install();
        let plain = fs::read_to_string(SSHD_CONFIG).expect("read");
        fs::write(SSHD_CONFIG, plain + &exemption).expect("written");
        let said = enable_quietly(arguments).succeeds();
        for (name, asked) in expected {
            let words = match asked {
                true => "asked in spite of it:",
                false => ": not asked:",
            };
            assert!(
                said.lines()
                    .any(|line| line.contains(words) && line.contains(name)),
                "{said}"
            );
            assert_eq!(machine.is_asked(name), asked, "{name}");
        }
    }
}

pub fn after_enabling_the_check_has_no_complaint_of_sshd() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    enable(&[]).succeeds();
    let (program, words) = check_command();
    let installed = Path::new("/usr/sbin").join(program.file_name().expect("a name"));
    let checked = Ended::of(Command::new(installed).args(words));
    let text = checked.text();
    let of_sshd = text.split("\nsshd\n").nth(1).expect("its section");
    let complaints: Vec<_> = of_sshd
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("warn") || line.starts_with("FAIL"))
        .collect();
    assert!(complaints.is_empty(), "{text}");
}

pub fn disable_tells_of_a_line_by_hand_that_still_asks() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let plain = fs::read_to_string(SSHD_CONFIG).expect("read");
    let by_hand = format!("Match User {BOB}\n    ForceCommand /usr/sbin/login_duo\n");
    fs::write(SSHD_CONFIG, plain + &by_hand).expect("written");
    enable(&[]).succeeds();
    let said = disable(&[]).succeeds();
    assert!(
        said.contains("is still asked: /etc/ssh/sshd_config") && !said.contains("any more"),
        "{said}"
    );
    assert!(machine.is_asked(BOB) && !machine.is_asked(ALICE));
}
