//! `duoctl enable` and `disable` on a copy of this machine: behind a real sshd
//! with a real ssh before it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fake_duo::{Endpoint, Fault, Script, Times};

use crate::host::*;
use crate::support::{Ended, check_command, install_sh};

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
        let mut stdout = BufReader::with_capacity(1, self.0.stdout.as_mut().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("an answer");
        assert_eq!(line, "still here\n");
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
    reaper.join().expect("it ended").expect("it was ours");
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

/// sshd's configuration with the accounts' own files of keys.
fn with_own_keys(machine: &Machine) {
    let text = fs::read_to_string(SSHD_CONFIG).expect("read");
    let lines = text
        .lines()
        .map(|line| match line.starts_with("AuthorizedKeysFile") {
            true => "AuthorizedKeysFile .ssh/authorized_keys".to_owned(),
            false => line.to_owned(),
        });
    let text: String = lines.map(|line| line + "\n").collect();
    fs::write(SSHD_CONFIG, text).expect("written");
    reload(machine);
}

/// Has sshd read what a test wrote.
fn reload(machine: &Machine) {
    stop_sshd();
    machine.start_sshd();
}

/// The key of all tests in the file of one account, behind these options.
fn give_key(machine: &Machine, name: &str, options: &str) -> PathBuf {
    let home = match name {
        "root" => "/root".to_owned(),
        _ => format!("/home/{name}"),
    };
    let folder = Path::new(&home).join(".ssh");
    fs::create_dir_all(&folder).expect("a folder");
    let key = fs::read_to_string(machine.path("own.pub")).expect("a key");
    let file = folder.join("authorized_keys");
    fs::write(&file, format!("# a comment\n{options} {key}")).expect("written");
    file
}

/// Case 4: ForceCommand wins over `command=`, and `ssh backup id` would answer.
pub fn a_key_with_a_command_of_its_own_never_becomes_a_shell() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    with_own_keys(&machine);
    give_key(&machine, ALICE, "");
    let keys = give_key(&machine, BOB, "command=\"/bin/echo only-backups\",restrict");
    let before = state();
    let place = format!("{}:2: this key of '{BOB}' has a command=", keys.display());
    let refused = enable(&[]).fails();
    assert!(
        refused.contains(&place) && refused.contains("[sshd.forced_key]"),
        "{refused}"
    );
    assert_same(&before);
    // Before and after somebody enables by hand, the check says the same.
    let check = || Ended::of(&mut duoctl(&["check"])).fails();
    assert!(check().contains(&place), "{}", check());

    // Whoever is left out by sshd itself keeps what the key allows.
    let only_backups = || Ended::of(machine.ssh(BOB).arg("id")).succeeds();
    enable(&["--exempt", BOB]).succeeds();
    assert_eq!(only_backups(), "only-backups\n");
    assert!(machine.is_asked(ALICE));
    let checked = Ended::of(&mut duoctl(&["check"])).text();
    assert!(!checked.contains(&place), "{checked}");
    disable(&[]).succeeds();
    assert_same(&before);
    enable(&["--group", GROUP]).succeeds();
    assert_eq!(only_backups(), "only-backups\n");
    disable(&[]).succeeds();

    // `--yes` answers questions and nothing else; the reason's own word does.
    enable(&["--yes"]).fails();
    let said = enable(&["--accept", "sshd.forced_key"]).succeeds();
    assert!(said.contains("accepted"), "{said}");
    disable(&[]).succeeds();
    assert_same(&before);
}

/// Whoever is left out is not asked, so only what can do nothing else may be.
pub fn an_account_that_gets_a_shell_is_not_exempt() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    with_own_keys(&machine);
    give_key(&machine, ALICE, "");
    let before = state();
    let plain = give_key(&machine, BOB, "restrict,pty");
    let refused = enable(&["--exempt", BOB]).fails();
    let place = format!("{}:2 is a key without a command=", plain.display());
    assert!(
        refused.contains(&place) && refused.contains("[sshd.exempt]") && refused.contains("PAM"),
        "{refused}"
    );
    give_key(&machine, BOB, "command=\"x\"");
    let text = fs::read_to_string(SSHD_CONFIG).expect("read");
    let text = text.replace("PasswordAuthentication no", "PasswordAuthentication yes");
    fs::write(SSHD_CONFIG, text).expect("written");
    succeed(Command::new("usermod").args(["-p", "x", BOB]));
    let refused = enable(&["--exempt", BOB]).fails();
    assert!(refused.contains("it takes a password"), "{refused}");
    let refused = enable(&["--exempt", "ldtest_nobody"]).fails();
    assert!(
        refused.contains("there is no account 'ldtest_nobody'"),
        "{refused}"
    );
    succeed(Command::new("usermod").args(["-p", "*", BOB]));
    enable(&["--exempt", BOB]).succeeds();
    disable(&[]).succeeds();
    drop(before);
}

/// A link could lead anywhere, and a fifo has no end; both are the user's.
pub fn keys_that_cannot_be_read_are_said() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    with_own_keys(&machine);
    give_key(&machine, ALICE, "");
    let keys = give_key(&machine, BOB, "command=\"x\"");
    let elsewhere = keys.with_file_name("elsewhere");
    fs::rename(&keys, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &keys).expect("a link");
    let refused = enable(&[]).fails();
    assert!(
        refused.contains("[sshd.keys_unread]") && refused.contains("a link, which is not followed"),
        "{refused}"
    );
    fs::remove_file(&keys).expect("removed");
    nix::unistd::mkfifo(&keys, nix::sys::stat::Mode::S_IRUSR).expect("a fifo");
    let owner = fs::metadata(keys.parent().expect("a folder").parent().expect("a home"));
    use std::os::unix::fs::MetadataExt;
    std::os::unix::fs::chown(&keys, Some(owner.expect("a home").uid()), None).expect("given");
    // sshd takes no fifo for keys either.
    enable(&[]).succeeds();
}

/// Case 5: replaced in silence, the account would have a shell.
pub fn a_forced_command_that_holds_today_is_not_overruled() {
    for (lines, arguments) in [
        ("ForceCommand internal-sftp\n".to_owned(), &[][..]),
        (
            "ForceCommand internal-sftp\n".to_owned(),
            &["--group", GROUP],
        ),
        (
            format!("Match User {ALICE}\n  ForceCommand internal-sftp\n"),
            &["--group", GROUP],
        ),
    ] {
        let machine = Machine::new(DropIns::Included);
        machine.install();
        let plain = fs::read_to_string(SSHD_CONFIG).expect("read");
        fs::write(SSHD_CONFIG, plain.clone() + &lines).expect("written");
        let number = (plain + &lines).lines().count();
        let before = state();
        let refused = enable_quietly(arguments).fails();
        let place = format!("{SSHD_CONFIG}:{number}: ForceCommand internal-sftp");
        assert!(
            refused.contains(&place) && refused.contains("[sshd.other_force_command]"),
            "{refused}"
        );
        assert_same(&before);
    }
    // Of a Match and a line for everybody, the Match wins: nothing is overruled.
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let mut text = fs::read_to_string(SSHD_CONFIG).expect("read");
    text += &format!("Match User {BOB}\n  ForceCommand internal-sftp\n");
    fs::write(SSHD_CONFIG, text).expect("written");
    enable(&[]).succeeds();
}

/// What a certificate or a program may force cannot be seen from here.
pub fn what_cannot_be_seen_through_must_be_accepted() {
    for (lines, id) in [
        (
            "TrustedUserCAKeys /etc/ssh/ldtest_ca\n",
            "sshd.certificates",
        ),
        (
            "AuthorizedKeysCommand /usr/bin/true\nAuthorizedKeysCommandUser nobody\n",
            "sshd.authorized_keys_command",
        ),
    ] {
        let machine = Machine::new(DropIns::Included);
        machine.install();
        let plain = fs::read_to_string(SSHD_CONFIG).expect("read");
        fs::write(SSHD_CONFIG, plain + lines).expect("written");
        let before = state();
        let refused = enable(&[]).fails();
        assert!(refused.contains(&format!("[{id}]")), "{refused}");
        assert!(refused.contains(&format!("--accept {id}")), "{refused}");
        assert_same(&before);
        enable(&["--accept", id]).succeeds();
        disable(&[]).succeeds();
    }
}

/// Case 15: only a running sshd has this folder, and its complaint ends with a
/// carriage return.
pub fn a_machine_whose_sshd_has_never_run() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    stop_sshd();
    fs::remove_dir("/run/sshd").expect("removed");
    let said = enable(&[]).succeeds();
    assert!(said.contains("no running sshd was found"), "{said}");
    let made: Vec<_> = fs::read_dir("/run")
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with("sshd"))
        .collect();
    assert_eq!(made, ["sshd"]);
    machine.start_sshd();
    assert!(machine.is_asked(ALICE));
}

/// Case 16: a block that opens what login_duo cannot see.
pub fn a_match_block_that_opens_a_way_past_is_refused() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let mut text = fs::read_to_string(SSHD_CONFIG).expect("read");
    text += &format!("Match User {ALICE}\n  AllowTcpForwarding yes\n");
    fs::write(SSHD_CONFIG, text).expect("written");
    let before = state();
    let refused = enable(&[]).fails();
    assert!(
        refused.contains(&format!("for 'Match User {ALICE} (sshd_config:"))
            && refused.contains("[sshd.tcp_forwarding]"),
        "{refused}"
    );
    assert_same(&before);
    assert!(!machine.is_asked(ALICE));
    enable(&["--accept", "sshd.tcp_forwarding"]).succeeds();
    assert!(machine.is_asked(ALICE));
}

/// Root included: with a wrong key at Duo, nobody could mend that.
pub fn for_everybody_somebody_must_have_another_way_in() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let refused = Ended::of(&mut duoctl(&["enable", "ssh"])).fails();
    assert!(refused.contains("[no-way-in]"), "{refused}");
    assert_same(&before);
    let mut text = fs::read_to_string(SSHD_CONFIG).expect("read");
    text += "Match User root\n  ForceCommand none\n";
    fs::write(SSHD_CONFIG, &text).expect("written");
    Ended::of(&mut duoctl(&["enable", "ssh"])).succeeds();
    assert!(machine.is_asked(ALICE) && !machine.is_asked("root"));
    disable(&[]).succeeds();
    // A way in for somebody who may not come in is none.
    fs::write(SSHD_CONFIG, text + "  PermitRootLogin no\n").expect("written");
    Ended::of(&mut duoctl(&["enable", "ssh"])).fails();
}

/// sshd_config as it is found on machines: where the lines go, and that each
/// file comes back byte for byte.
pub fn every_layout_comes_back_byte_for_byte() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let plain = fs::read_to_string(SSHD_CONFIG).expect("read");
    let body = plain.replace(INCLUDE, "");
    let (own, block) = (true, false);
    let all_after = "Match all\n  PermitTTY yes\n";
    let of_bob = format!("Match User {BOB}\n  PermitTTY yes\n");
    let layouts: Vec<(&str, String, bool)> = vec![
        ("included first", plain.clone(), own),
        (
            "included last",
            format!("{}{INCLUDE}", body.replace("X11Forwarding yes\n", "")),
            own,
        ),
        (
            "relative",
            format!("Include sshd_config.d/*.conf\n{body}"),
            own,
        ),
        (
            "quoted",
            format!("Include \"/etc/ssh/sshd_config.d/*.conf\"\n{body}"),
            own,
        ),
        (
            "with an equals sign",
            format!("Include=/etc/ssh/sshd_config.d/*.conf\n{body}"),
            own,
        ),
        (
            "in capitals",
            format!("INCLUDE /etc/ssh/sshd_config.d/*.conf\n{body}"),
            own,
        ),
        ("indented", format!("\t {INCLUDE}{body}"), own),
        (
            "one of two",
            format!("Include /etc/none /etc/ssh/sshd_config.d/*.conf\n{body}"),
            own,
        ),
        (
            "every file",
            format!("Include /etc/ssh/sshd_config.d/*\n{body}"),
            own,
        ),
        (
            "with a comment",
            format!("Include /etc/ssh/sshd_config.d/*.conf # ours\n{body}"),
            own,
        ),
        ("carriage returns", plain.replace('\n', "\r\n"), own),
        (
            "Match blocks after",
            format!("{plain}{of_bob}{all_after}"),
            own,
        ),
        ("nothing included", body.clone(), block),
        ("commented out", format!("#{INCLUDE}{body}"), block),
        (
            "another folder",
            format!("Include /etc/ssh/other.d/*.conf\n{body}"),
            block,
        ),
        (
            "another ending",
            format!("Include /etc/ssh/sshd_config.d/*.cnf\n{body}"),
            block,
        ),
        ("below a Match", format!("{body}{of_bob}{INCLUDE}"), block),
        ("no line end", body.trim_end().to_owned(), block),
        (
            "carriage returns, a block",
            body.replace('\n', "\r\n"),
            block,
        ),
        ("blank lines at the end", format!("{body}\n\n\n"), block),
        ("a Match at the end", format!("{body}{of_bob}"), block),
        ("bytes of another time", format!("# \u{e9}\n{body}"), block),
    ];
    assert_eq!(layouts.len(), 22);
    fs::write(
        "/etc/ssh/sshd_config.d/50-other.conf",
        "PermitEmptyPasswords no\n",
    )
    .expect("written");
    for (name, text, is_own) in layouts {
        fs::write(SSHD_CONFIG, &text).expect("written");
        let before = state();
        for (arguments, asks_bob) in [(&[][..], true), (&["--group", GROUP], false)] {
            enable_quietly(arguments).succeeds();
            assert_eq!(Path::new(DROP_IN).exists(), is_own, "{name}");
            assert!(machine.is_asked(ALICE), "{name} {arguments:?}");
            assert_eq!(machine.is_asked(BOB), asks_bob, "{name} {arguments:?}");
            disable(&[]).succeeds();
            assert_same(&before);
        }
    }
}

/// A link to sshd_config stays one, and what it leads to is what changes.
pub fn a_link_to_the_configuration_stays_a_link() {
    let machine = Machine::new(DropIns::NotIncluded);
    machine.install();
    fs::create_dir("/etc/ldtest").expect("a folder");
    fs::rename(SSHD_CONFIG, "/etc/ldtest/sshd").expect("moved");
    std::os::unix::fs::symlink("/etc/ldtest/sshd", SSHD_CONFIG).expect("a link");
    let before = state();
    enable(&[]).succeeds();
    assert!(
        fs::symlink_metadata(SSHD_CONFIG)
            .expect("a link")
            .is_symlink()
    );
    assert!(machine.is_asked(ALICE));
    disable(&[]).succeeds();
    assert_same(&before);
}

fn json(ended: Ended) -> serde_json::Value {
    serde_json::from_slice(ended.stdout_bytes()).unwrap_or_else(|_| panic!("{}", ended.text()))
}

/// What a configuration management tool goes by.
pub fn a_second_run_changes_and_reloads_nothing_and_another_group_replaces() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let first = json(enable(&["--json", "--group", GROUP]));
    assert_eq!(
        (&first["changed"], &first["exit_status"]),
        (&true.into(), &0.into()),
        "{first}"
    );
    let pid_file = || {
        use std::os::unix::fs::MetadataExt;
        let status = fs::metadata("/run/sshd.pid").expect("a pid file");
        (status.ino(), status.mtime_nsec())
    };
    let (once, listening) = (state(), pid_file());
    let second = json(enable(&["--json", "--group", GROUP]));
    assert_eq!(second["changed"], false, "{second}");
    assert_same(&once);
    assert_eq!(pid_file(), listening);

    let other = json(enable(&["--json", "--user-list", BOB]));
    assert_eq!(other["changed"], true, "{other}");
    assert!(machine.is_asked(BOB) && !machine.is_asked(ALICE));
    let refused = json(enable(&["--json", "--group", "ldtest_misspelt"]));
    assert_eq!(
        (&refused["changed"], &refused["exit_status"]),
        (&false.into(), &1.into())
    );
    assert!(
        refused["error"]
            .as_str()
            .is_some_and(|text| text.contains("no group")),
        "{refused}"
    );

    assert_eq!(json(disable(&["--json"]))["changed"], true);
    assert_eq!(json(disable(&["--json"]))["changed"], false);
    assert_same(&before);
}

/// Not one byte of the old file is lost where the new one has no room.
pub fn a_full_disk_leaves_everything_as_it_was() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let folder = "/etc/ssh/sshd_config.d";
    succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k", "none", folder]));
    fs::write(format!("{folder}/50-full.conf"), "# \n".repeat(1365)).expect("written");
    let refused = enable(&[]).fails();
    assert!(
        refused.contains("cannot be written, and is as it was"),
        "{refused}"
    );
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
    assert!(!machine.is_asked(ALICE));
    succeed(Command::new("umount").arg(folder));
    assert_same(&before);
}

/// As in a small container: none of the programs that a script would need.
pub fn a_machine_with_next_to_nothing_on_it() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    for name in [
        "systemctl",
        "getent",
        "awk",
        "sed",
        "grep",
        "find",
        "su",
        "readlink",
        "mktemp",
    ] {
        let _ = fs::remove_file(Path::new("/usr/bin").join(name));
    }
    let before = state();
    enable_quietly(&["--group", GROUP]).succeeds();
    assert!(machine.is_asked(ALICE) && !machine.is_asked(BOB));
    disable(&[]).succeeds();
    assert_same(&before);
    let refused = enable_quietly(&["--group", "ldtest_misspelt"]).fails();
    assert!(refused.contains("there is no group"), "{refused}");
}
