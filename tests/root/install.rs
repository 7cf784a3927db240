//! install.sh on a copy of this machine: as root, with the system's own accounts, behind a real sshd with a
//! real ssh before it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fake_duo::{Endpoint, Fault, Script, Times};

use crate::support::{Ended, Sandbox, check_command, install_sh, tree, wait_until};

/// As a command that works in any folder.
const INSTALL_SH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");
const PROGRAM: &str = env!("CARGO_BIN_EXE_login_duo");
const CONFIG: &str = "/etc/duo/login_duo.conf";
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-login_duo.conf";
const ALICE: &str = "ldtest_alice";
const BOB: &str = "ldtest_bob";
const GROUP: &str = "ldtest_asked";
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf\n";

/// What sshd's configuration begins with.
#[derive(Clone, Copy)]
enum DropIns {
    Included,
    NotIncluded,
}

/// A copy of this machine with two accounts, a running sshd, and Duo.
struct Machine {
    sandbox: Sandbox,
    port: u16,
}

impl Machine {
    fn new(drop_ins: DropIns) -> Machine {
        add_accounts();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its number").port();
        drop(listener);
        let machine = Machine {
            sandbox: Sandbox::new(),
            port,
        };
        machine.make_keys();
        machine.configure_sshd(match drop_ins {
            DropIns::Included => INCLUDE,
            DropIns::NotIncluded => "",
        });
        machine.start_sshd();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    /// Configures what is installed for the Duo service here.
    fn configure(&self) {
        let written = fs::read(self.sandbox.config()).expect("read");
        fs::write(CONFIG, written).expect("the configuration");
    }

    fn make_keys(&self) {
        for name in ["host", "own"] {
            let path = self.path(name);
            succeed(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(path),
            );
        }
        fs::copy(self.path("own.pub"), self.path("keys")).expect("copied");
    }

    /// sshd's configuration, between these first lines and the end.
    fn configure_sshd(&self, first: &str) {
        let folder = self.sandbox.path().display();
        let text = format!(
            "{first}ListenAddress 127.0.0.1:{}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/keys\n\
             PidFile /run/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nX11Forwarding yes\n",
            self.port
        );
        fs::write(SSHD_CONFIG, text).expect("sshd's configuration");
    }

    fn start_sshd(&self) {
        succeed(
            Command::new("/usr/sbin/sshd")
                .arg("-E")
                .arg(self.path("sshd.log")),
        );
        self.wait_for_sshd();
    }

    /// It writes its process id when it listens, also after a reload.
    fn wait_for_sshd(&self) {
        wait_until(
            || {
                TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                    && Path::new("/run/sshd.pid").exists()
            },
            || "sshd does not listen".to_owned(),
        );
    }

    fn ssh(&self, user: &str) -> Command {
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .arg("-i")
            .arg(self.path("own"))
            .args(["-p", &self.port.to_string(), &format!("{user}@127.0.0.1")])
            .stdin(Stdio::null());
        command
    }

    /// Logs in, and says whether Duo was asked.
    fn is_asked(&self, user: &str) -> bool {
        self.wait_for_sshd();
        let before = self.sandbox.duo.paths().len();
        let ran = Ended::of(self.ssh(user).arg("echo hello"));
        assert!(
            ran.text().contains("hello") && ran.code() == 0,
            "{}",
            ran.text()
        );
        self.sandbox.duo.paths().len() > before
    }

    /// Installs, and configures it for the Duo service here.
    fn install(&self) {
        Ended::of(&mut install_sh(&["--binary", PROGRAM])).succeeds();
        self.configure();
    }

    fn uninstall(&self) {
        Ended::of(&mut install_sh(&["--uninstall", "--purge"])).succeeds();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        stop_sshd();
    }
}

fn stop_sshd() {
    let Ok(text) = fs::read_to_string("/run/sshd.pid") else {
        return;
    };
    let pid: i32 = text.trim().parse().expect("a process id");
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    );
    wait_until(
        || !Path::new("/run/sshd.pid").exists(),
        || "sshd does not end".to_owned(),
    );
}

fn succeed(command: &mut Command) {
    Ended::of(command).succeeds();
}

fn add_accounts() {
    if nix::unistd::User::from_name(ALICE).is_ok_and(|found| found.is_some()) {
        // A test's second machine.
        return;
    }
    succeed(Command::new("groupadd").arg(GROUP));
    for (name, groups) in [(ALICE, GROUP), (BOB, "")] {
        succeed(
            Command::new("useradd").args(["-m", "-s", "/bin/sh", "-p", "*", "-G", groups, name]),
        );
    }
}

fn install_sh_as(arguments: &[&str]) -> Ended {
    let mut all = arguments.to_vec();
    if arguments.contains(&"--enable") {
        all.extend(["--yes", "--test-user", ALICE]);
    }
    Ended::of(&mut install_sh(&all))
}

/// The machine as install.sh could change it, without the spare copies that useradd keeps.
fn state() -> BTreeSet<String> {
    let folders = [
        "/etc",
        "/usr/sbin",
        "/usr/share/man/man5",
        "/usr/share/man/man8",
    ];
    let all = tree(&folders.map(Path::new));
    let spare = |line: &String| {
        let path = line.split(' ').next().unwrap_or_default();
        path.ends_with('-') || path.ends_with(".pwd.lock")
    };
    all.into_iter().filter(|line| !spare(line)).collect()
}

fn assert_same(before: &BTreeSet<String>) {
    let after = state();
    let differences: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

fn mode(path: &str) -> (u32, u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let status = fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    (status.mode() & 0o7777, status.uid(), status.gid())
}

pub fn installing_twice_creates_the_user_and_keeps_the_configuration() {
    let machine = Machine::new(DropIns::Included);
    let before = state();
    machine.install();
    assert_eq!(mode("/usr/sbin/login_duo"), (0o4755, 0, 0));
    assert_eq!(mode(CONFIG), (0o600, 0, 0));
    let account = Ended::of(Command::new("getent").args(["passwd", "duo"])).succeeds();
    assert!(
        account.ends_with(":/nonexistent:/usr/sbin/nologin\n"),
        "{account}"
    );

    // As the C program wants it; it says so, and leaves it.
    chown(CONFIG, Some(102), None).expect("another owner");
    let written = fs::read(CONFIG).expect("read");
    Ended::of(&mut install_sh(&["--binary", PROGRAM])).succeeds();
    assert_eq!(fs::read(CONFIG).expect("read"), written);
    assert_eq!(mode(CONFIG), (0o600, 102, 0));

    Ended::of(&mut install_sh(&["--uninstall"])).succeeds();
    assert_eq!(fs::read(CONFIG).expect("read"), written);
    machine.uninstall();
    assert_same(&before);
}

pub fn enabled_asks_disabled_does_not_and_nothing_is_left() {
    let machine = Machine::new(DropIns::Included);
    let untouched = state();
    machine.install();
    let before = state();
    let mut session = Session::open(&machine);

    let said = install_sh_as(&["--enable"]).succeeds();
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
    install_sh_as(&["--enable"]).succeeds();
    assert_same(&once);

    machine.sandbox.duo.set_script(BOB, Script::Deny);
    let denied = Ended::of(machine.ssh(BOB).arg("echo hello"));
    assert!(
        denied.code() == 1 && !denied.text().contains("hello"),
        "{}",
        denied.text()
    );

    let said = install_sh_as(&["--disable"]).succeeds();
    assert!(
        said.contains("asks for no second factor any more"),
        "{said}"
    );
    assert_same(&before);
    assert!(!machine.is_asked(BOB));
    session.still_answers();
    install_sh_as(&["--disable"]).succeeds();
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
    for arguments in [&["--enable"][..], &["--enable", "--group", GROUP]] {
        let machine = Machine::new(DropIns::NotIncluded);
        machine.install();
        let before = state();
        install_sh_as(arguments).succeeds();
        assert!(!Path::new(DROP_IN).exists());
        assert!(machine.is_asked(ALICE));
        assert_eq!(machine.is_asked(BOB), arguments.len() == 1);
        let once = state();
        install_sh_as(arguments).succeeds();
        assert_same(&once);
        install_sh_as(&["--disable"]).succeeds();
        assert_same(&before);
        assert!(!machine.is_asked(ALICE));
    }
}

pub fn enabled_for_a_group_asks_its_members_only() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    install_sh_as(&["--enable", "--group", GROUP]).succeeds();
    assert!(machine.is_asked(ALICE));
    assert!(!machine.is_asked(BOB));
    let refused = install_sh_as(&["--enable", "--group", "ldtest_misspelt"]).fails();
    assert!(
        refused.contains("there is no group 'ldtest_misspelt'"),
        "{refused}"
    );
    assert!(machine.is_asked(ALICE));
}

pub fn enabled_for_names_asks_them_only() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    install_sh_as(&["--enable", "--user-list", &format!("{BOB},root")]).succeeds();
    assert!(machine.is_asked(BOB));
    assert!(!machine.is_asked(ALICE));
    let refused = install_sh_as(&["--enable", "--user-list", "ldtest_nobody"]).fails();
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
    let refused = install_sh_as(&["--enable"]).fails();
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
    let refused = install_sh_as(&["--enable"]).fails();
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
    let refused = install_sh_as(&["--enable", "--user-list", ALICE]).fails();
    assert!(refused.contains("taking it back"), "{refused}");
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
    let refused = install_sh_as(&["--enable"]).fails();
    assert!(refused.contains("sshd could not be reloaded"), "{refused}");
    assert_same(&before);
    reaper.join().expect("it ended").expect("it was ours");
    let _ = fs::remove_file("/run/sshd.pid");
}

pub fn with_systemd_the_unit_is_reloaded() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let log = systemctl(&machine, "");
    install_sh_as(&["--enable"]).succeeds();
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
    let said = install_sh_as(&["--enable"]).fails();
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
    let refused = install_sh_as(&["--enable"]).fails();
    assert!(refused.contains("is not installed"), "{refused}");

    Ended::of(&mut install_sh(&["--binary", PROGRAM])).succeeds();
    let refused = install_sh_as(&["--enable"]).fails();
    assert!(
        refused.contains("is not complete: fill in ikey"),
        "{refused}"
    );

    machine.install();
    let before = state();
    let refused = Ended::of(&mut install_sh(&["--enable", "--test-user", ALICE])).fails();
    assert!(refused.contains("may ring a phone: say --yes"), "{refused}");
    assert_same(&before);

    // Without a test login nobody's phone rings.
    Ended::of(&mut install_sh(&["--enable"])).succeeds();
    assert!(
        machine
            .sandbox
            .duo
            .paths()
            .iter()
            .all(|path| path != "preauth" && path != "auth")
    );
    install_sh_as(&["--disable"]).succeeds();
    assert_same(&before);

    let program = Path::new("/usr/sbin/login_duo");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let refused = Ended::of(&mut install_sh(&["--enable"])).fails();
    assert!(refused.contains("is not setuid root"), "{refused}");
    fs::set_permissions(program, fs::Permissions::from_mode(0o4755)).expect("its mode");
    assert_same(&before);

    // failmode would let people in, but nobody asked for that.
    machine.sandbox.duo.stop();
    let refused = Ended::of(&mut install_sh(&["--enable"])).fails();
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
        let said = install_sh_as(&["--enable"]).fails();
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
    let said = Ended::of(&mut install_sh(&["--dry-run", "--enable"])).succeeds();
    assert!(
        said.contains("would run") && said.contains(DROP_IN),
        "{said}"
    );
    assert_same(&before);
    install_sh_as(&["--enable"]).succeeds();
    let before = state();
    let said = Ended::of(&mut install_sh(&["--dry-run", "--disable"])).succeeds();
    assert!(said.contains(&format!("would remove {DROP_IN}")), "{said}");
    assert_same(&before);
    assert!(machine.is_asked(ALICE));
}

pub fn a_folder_that_others_can_write_to_is_told_of() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    fs::set_permissions("/etc/duo", fs::Permissions::from_mode(0o777)).expect("its mode");
    let said = Ended::of(&mut install_sh(&["--binary", PROGRAM])).succeeds();
    assert!(said.contains("can be written to by others"), "{said}");
}

pub fn an_account_of_that_name_stays_and_must_not_be_root() {
    let _machine = Machine::new(DropIns::Included);
    succeed(Command::new("useradd").args(["-s", "/bin/sh", "-c", "a person", "duo"]));
    let entry = || Ended::of(Command::new("getent").args(["passwd", "duo"])).succeeds();
    let before = entry();
    let said = Ended::of(&mut install_sh(&["--binary", PROGRAM])).succeeds();
    assert!(said.contains("has a login shell"), "{said}");
    let said = Ended::of(&mut install_sh(&["--uninstall", "--purge"])).succeeds();
    assert!(said.contains("was not created by install.sh"), "{said}");
    assert_eq!(entry(), before);

    succeed(Command::new("usermod").args(["-g", "0", "duo"]));
    let refused = Ended::of(&mut install_sh(&["--binary", PROGRAM])).fails();
    assert!(refused.contains("has root's user or group id"), "{refused}");
    assert!(!Path::new("/usr/sbin/login_duo").exists());
}

pub fn uninstall_refuses_while_sshd_names_the_program() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    install_sh_as(&["--enable"]).succeeds();
    let before = state();
    for arguments in [&["--uninstall"][..], &["--uninstall", "--purge"]] {
        let refused = Ended::of(&mut install_sh(arguments)).fails();
        assert!(refused.contains("would be locked out"), "{refused}");
        assert_same(&before);
    }
    install_sh_as(&["--disable"]).succeeds();
    machine.uninstall();
    assert!(!Path::new("/usr/sbin/login_duo").exists() && !Path::new("/etc/duo").exists());
    assert!(!machine.is_asked(ALICE));
}

/// Named where --enable wrote nothing: a key's own command, a file that sshd's configuration
/// includes, and, for the configuration, a program in another place.
pub fn uninstall_refuses_whoever_else_would_be_locked_out() {
    let machine = Machine::new(DropIns::NotIncluded);
    machine.install();
    let included = "/etc/ldtest_ssh/one.conf";
    let mut usual = fs::read_to_string(SSHD_CONFIG).expect("read");
    usual = format!("Include /etc/ldtest_ssh/*.conf\n{usual}");
    fs::write(SSHD_CONFIG, usual).expect("written");
    let key = format!("/home/{ALICE}/.ssh/authorized_keys");
    let of_alice = |program| format!("Match User {ALICE}\n    ForceCommand {program}\n");
    let uses = [
        (
            key.as_str(),
            "command=\"/usr/sbin/login_duo -f a\" ssh-ed25519 AAAA\n".to_owned(),
            &["--uninstall"][..],
        ),
        (
            included,
            of_alice("/usr/sbin/login_duo"),
            &["--uninstall"][..],
        ),
        (
            included,
            of_alice("/opt/sbin/login_duo"),
            &["--uninstall", "--purge"][..],
        ),
    ];
    for (file, text, arguments) in uses {
        fs::create_dir_all(Path::new(file).parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
        let before = state();
        let refused = Ended::of(&mut install_sh(arguments)).fails();
        assert!(
            refused.contains("would be locked out") && refused.contains(file),
            "{refused}"
        );
        assert_same(&before);
        fs::remove_file(file).expect("removed");
    }
    machine.uninstall();
    assert!(!Path::new("/etc/duo").exists());
}

/// sshd with another file: it is running, or known from the time of --enable.
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

    let way_back = format!("{INSTALL_SH} --disable --sshd-config {other}");
    let said = install_sh_as(&["--enable", "--sshd-config", other]).succeeds();
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
        for action in ["--disable", "--uninstall"] {
            let refused = Ended::of(&mut install_sh(&[action])).fails();
            assert!(refused.contains(&way_back), "{refused}");
        }
    }
    fs::set_permissions("/etc/duo/enabled-in", fs::Permissions::from_mode(0o600)).expect("mode");
    assert_same(&enabled);
    start();
    assert!(machine.is_asked(ALICE));

    install_sh_as(&["--disable", "--sshd-config", other]).succeeds();
    assert_same(&before);
    let said = install_sh_as(&["--disable"]).succeeds();
    assert!(said.contains("another file? --sshd-config"), "{said}");
    machine.uninstall();
    assert!(!machine.is_asked(ALICE));
}

pub fn uninstall_refuses_while_an_install_elsewhere_is_enabled() {
    let machine = Machine::new(DropIns::Included);
    let elsewhere =
        |arguments: &[&str]| Ended::of(install_sh(arguments).env("PREFIX", "/usr/local"));
    let said = elsewhere(&["--binary", PROGRAM]).succeeds();
    assert!(
        said.contains(&format!("then: PREFIX=/usr/local {INSTALL_SH} --enable")),
        "{said}"
    );
    machine.configure();
    let said = elsewhere(&["--enable"]).succeeds();
    assert!(
        said.contains(&format!("PREFIX=/usr/local {INSTALL_SH} --disable")),
        "{said}"
    );
    let before = state();
    let refused = Ended::of(&mut install_sh(&["--uninstall"])).fails();
    assert!(refused.contains("would be locked out"), "{refused}");
    assert_same(&before);
    elsewhere(&["--disable"]).succeeds();

    let said = Ended::of(&mut install_sh(&["--uninstall"])).succeeds();
    assert!(said.contains("so the user 'duo' stays"), "{said}");
    let said = elsewhere(&["--uninstall", "--purge"]).succeeds();
    assert!(said.contains("uninstalled"), "{said}");
    let said = Ended::of(&mut install_sh(&["--uninstall"])).succeeds();
    assert!(said.contains("nothing was installed"), "{said}");
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
        let said = Ended::of(install_sh(&["--enable"]).args(arguments)).succeeds();
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
    install_sh_as(&["--enable"]).succeeds();
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
    install_sh_as(&["--enable"]).succeeds();
    let said = install_sh_as(&["--disable"]).succeeds();
    assert!(
        said.contains("is still asked: /etc/ssh/sshd_config") && !said.contains("any more"),
        "{said}"
    );
    assert!(machine.is_asked(BOB) && !machine.is_asked(ALICE));
}

pub fn another_program_of_that_name_is_kept() {
    let machine = Machine::new(DropIns::Included);
    let stranger = "/usr/sbin/login_duo";
    fs::write(stranger, "#!/bin/sh\nexit 1\n").expect("written");
    fs::set_permissions(stranger, fs::Permissions::from_mode(0o4755)).expect("its mode");
    let refused = Ended::of(&mut install_sh(&["--binary", stranger])).fails();
    assert!(refused.contains("is not this login_duo"), "{refused}");
    // sshd may be running it: it is never gone, whatever fails.
    let full_disk = machine.path("cp");
    fs::write(&full_disk, "#!/bin/sh\nexit 1\n").expect("written");
    fs::set_permissions(&full_disk, fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", machine.sandbox.path().display());
    Ended::of(install_sh(&["--binary", PROGRAM]).env("PATH", path)).fails();
    assert_eq!(mode(stranger), (0o4755, 0, 0));
    assert!(!Path::new("/usr/sbin/login_duo.before").exists());
    machine.install();
    assert_eq!(mode("/usr/sbin/login_duo.before"), (0o755, 0, 0));
    let refused =
        Ended::of(install_sh(&["--binary", PROGRAM]).env("CONFDIR", "/etc/elsewhere")).fails();
    assert!(refused.contains("reads another file"), "{refused}");
    fs::rename("/usr/sbin/login_duo.before", stranger).expect("put back");
    machine.uninstall();
    // Duo's C program would let everybody in without its configuration.
    assert!(Path::new(stranger).exists() && Path::new(CONFIG).exists());
}
