//! install.sh on a copy of this machine: as root, with the system's own accounts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::host::*;
use crate::support::{Ended, install_sh, release};

fn enable() -> Ended {
    Ended::of(Command::new("/usr/sbin/duoctl").args(["enable", "ssh", "--accept", "no-way-in"]))
}

fn disable() -> Ended {
    Ended::of(Command::new("/usr/sbin/duoctl").args(["disable", "ssh"]))
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

pub fn a_folder_that_others_can_write_to_is_told_of() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    fs::set_permissions("/etc/duo", fs::Permissions::from_mode(0o777)).expect("its mode");
    let said = Ended::of(Command::new("/usr/sbin/duoctl").arg("check")).fails();
    assert!(
        said.contains("FAIL  the folder /etc/duo can be written by group or others"),
        "{said}"
    );
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
    enable().succeeds();
    let before = state();
    for arguments in [&["--uninstall"][..], &["--uninstall", "--purge"]] {
        let refused = Ended::of(&mut install_sh(arguments)).fails();
        assert!(refused.contains("would be locked out"), "{refused}");
        assert_same(&before);
    }
    disable().succeeds();
    machine.uninstall();
    assert!(!Path::new("/usr/sbin/login_duo").exists() && !Path::new("/etc/duo").exists());
    assert!(!machine.is_asked(ALICE));
}

/// Named where duoctl wrote nothing: a key's own command, a file that sshd's configuration
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

pub fn uninstall_refuses_while_an_install_elsewhere_is_enabled() {
    let machine = Machine::new(DropIns::Included);
    let elsewhere = |arguments: &[&str]| {
        Ended::of(
            install_sh(arguments)
                .env("PREFIX", "/usr/local")
                .env("PAMDIR", "none"),
        )
    };
    let duoctl = |arguments: &[&str]| {
        let mut command = Command::new("/usr/local/sbin/duoctl");
        Ended::of(command.args(arguments)).succeeds()
    };
    let said = elsewhere(&["--binary", PROGRAM]).succeeds();
    assert!(
        said.contains("then: /usr/local/sbin/duoctl check, and for a group at first: "),
        "{said}"
    );
    machine.configure();
    let said = duoctl(&["enable", "ssh", "--accept", "no-way-in"]);
    assert!(
        said.contains("The way back: /usr/local/sbin/duoctl disable ssh"),
        "{said}"
    );
    let before = state();
    let refused = Ended::of(&mut install_sh(&["--uninstall"])).fails();
    assert!(refused.contains("would be locked out"), "{refused}");
    assert_same(&before);
    duoctl(&["disable", "ssh"]);

    let said = Ended::of(&mut install_sh(&["--uninstall"])).succeeds();
    assert!(said.contains("so the user 'duo' stays"), "{said}");
    let said = elsewhere(&["--uninstall", "--purge"]).succeeds();
    assert!(said.contains("uninstalled"), "{said}");
    let said = Ended::of(&mut install_sh(&["--uninstall"])).succeeds();
    assert!(said.contains("nothing was installed"), "{said}");
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

/// Case 18: the other install would run as `sshd` from then on, or not at all.
pub fn uninstall_keeps_the_user_while_an_install_elsewhere_is_there() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let local = |arguments: &[&str]| {
        let mut command = install_sh(arguments);
        command.env("PREFIX", "/usr/local").env("PAMDIR", "none");
        Ended::of(&mut command).succeeds()
    };
    let has_user = || Ended::of(Command::new("getent").args(["passwd", "duo"])).code() == 0;
    local(&["--binary", PROGRAM]);
    // A purge of the packages spares what an install reads that has such a link.
    let link = |name: &str| fs::read_link(format!("/etc/duo/{name}")).ok();
    assert_eq!(
        [link("by-hand-usr"), link("by-hand-usr-local")],
        [
            Some("/usr/sbin/duoctl".into()),
            Some("/usr/local/sbin/duoctl".into())
        ]
    );
    let said = local(&["--uninstall"]);
    assert!(link("by-hand-usr").is_some() && link("by-hand-usr-local").is_none());
    assert!(
        said.contains("is still there, so the user 'duo' stays"),
        "{said}"
    );
    assert!(has_user());
    machine.uninstall();
    assert!(!has_user());
}

const HELPER: &str = "/usr/libexec/login_duo/pam-duo-helper";

/// Where PAM's modules are on this machine.
fn pam_folder() -> String {
    let said = Ended::of(Command::new("sh").args([
        "-c",
        "for folder in /usr/lib/*/security /usr/lib64/security /usr/lib/security; do
             [ ! -f $folder/pam_unix.so ] || { printf %s $folder; exit; }
         done",
    ]));
    said.succeeds()
}

pub fn the_module_comes_to_the_others_of_pam_and_into_no_stack() {
    let machine = Machine::new(DropIns::Included);
    let stacks = state();
    let binary = release(machine.sandbox.path(), HELPER);
    let module = format!("{}/pam_duo.so", pam_folder());
    let said = Ended::of(&mut install_sh(&["--binary", &binary])).succeeds();
    assert!(
        said.contains(&format!("installing {module}, mode 644")),
        "{said}"
    );
    assert!(said.contains("no stack of PAM was changed"), "{said}");
    assert_eq!(mode(&module), (0o644, 0, 0));
    assert_eq!(mode(HELPER), (0o755, 0, 0));
    assert_eq!(mode("/etc/duo/pam_duo.conf"), (0o600, 0, 0));

    let usual = fs::read_to_string("/etc/pam.d/su").expect("read");
    fs::write(
        "/etc/pam.d/su",
        format!("{usual}auth required pam_duo.so\n"),
    )
    .expect("written");
    let before = state();
    let refused = Ended::of(&mut install_sh(&["--uninstall"])).fails();
    assert!(
        refused.contains("asks Duo: duoctl disable pam su, or remove that line")
            && refused.contains("its users would be locked out"),
        "{refused}"
    );
    assert_same(&before);
    assert!(Path::new(&module).exists() && Path::new(HELPER).exists());
    fs::write("/etc/pam.d/su", usual).expect("written");
    machine.uninstall();
    assert!(!Path::new(&module).exists() && !Path::new(HELPER).exists());
    assert_same(&stacks);
}

/// As Debian's package libpam-duo has it, which knows its files by the names from before
/// /lib went into /usr.
pub fn a_packages_module_is_never_overwritten() {
    let machine = Machine::new(DropIns::Included);
    let binary = release(machine.sandbox.path(), HELPER);
    let module = format!("{}/pam_duo.so", pam_folder());
    fs::write(&module, "made of this pam-duo-helper, by a package").expect("written");
    let dpkg = machine.path("dpkg");
    let known = module.trim_start_matches("/usr");
    let script = format!("#!/bin/sh\n[ \"$2\" = {known} ] && echo \"libpam-duo:amd64: {known}\"\n");
    fs::write(&dpkg, script).expect("written");
    fs::set_permissions(&dpkg, fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", machine.sandbox.path().display());
    let said = Ended::of(install_sh(&["--binary", &binary]).env("PATH", path)).succeeds();
    assert!(
        said.contains(&format!(
            "{module} is a package's (libpam-duo) and stays: ours is /usr/lib/login_duo/pam_duo.so"
        )),
        "{said}"
    );
    assert_eq!(mode("/usr/lib/login_duo/pam_duo.so"), (0o644, 0, 0));
    machine.uninstall();
    assert!(Path::new(&module).exists() && !Path::new("/usr/lib/login_duo").exists());
}
