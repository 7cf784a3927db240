//! What `enable pam` does to the machine, what it refuses, and how all of it goes
//! again.

use super::*;
use crate::support::wait_until;

const SUDO: &str = "/etc/pam.d/sudo";

/// Writes a file of PAM.
fn write(name: &str, text: &str) {
    fs::write(format!("/etc/pam.d/{name}"), text).expect("written");
}

/// Asserts that enabling is refused with these words, and changes nothing.
#[track_caller]
fn refused(arguments: &[&str], words: &str) {
    let before = state();
    let mut all = vec!["enable", "pam"];
    all.extend(arguments);
    let said = duoctl(&all).fails();
    assert!(said.contains(words), "no '{words}': {said}");
    assert!(said.contains("nothing has changed"), "{said}");
    assert_same(&before);
}

pub fn a_second_run_changes_nothing_and_all_of_it_goes_again() {
    let pam = Pam::new();
    pam.sshd(KEYS);
    let found = state();
    let all = [
        "enable",
        "pam",
        "sshd",
        "sudo",
        "su",
        "login",
        "--accept",
        "no-way-in",
    ];
    let said = duoctl(&[&all[..], &["--dry-run"]].concat()).succeeds();
    assert!(
        said.contains("would write this to /etc/pam.d/sshd"),
        "{said}"
    );
    assert_same(&found);
    let said = duoctl(&all).succeeds();
    for words in [
        "KEEP THIS SESSION OPEN",
        "root is not asked, by pam_rootok.so",
        "duoctl disable pam",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let enabled = state();
    let said = duoctl(&all).succeeds();
    assert!(said.contains("enabled like this already"), "{said}");
    assert_same(&enabled);
    for service in ["sudo", "su", "login"] {
        duoctl(&["disable", "pam", service]).succeeds();
    }
    let said = duoctl(&["disable", "pam", "sudo"]).succeeds();
    assert!(said.contains("not enabled"), "{said}");
    duoctl(&["disable", "all"]).succeeds();
    assert_same(&found);
    let said = duoctl(&["disable", "all"]).succeeds();
    assert!(said.contains("nothing is enabled"), "{said}");
}

/// A program must know what a run would do, and whether something still waits.
pub fn a_program_is_told_what_a_dry_run_would_change_and_what_waits() {
    let _pam = Pam::new();
    let told = |arguments: &[&str]| -> serde_json::Value {
        let ended = duoctl(&[arguments, &["--json"]].concat());
        serde_json::from_slice(ended.stdout_bytes()).expect("JSON")
    };
    let enable = ["enable", "pam", "sudo", "--confirm", "1h"];
    let dry = |arguments: &[&str]| told(&[arguments, &["--dry-run"]].concat());
    assert_eq!(dry(&enable)["would_change"], true);
    assert_eq!(dry(&["disable", "all"])["would_change"], false);
    let done = told(&enable);
    assert_eq!(done["changed"], true, "{done}");
    assert_eq!(done["taken_back_in_seconds"], 3600);
    let again = dry(&enable);
    assert_eq!(again["would_change"], false);
    assert!(
        again["taken_back_in_seconds"]
            .as_u64()
            .is_some_and(|left| left <= 3600)
    );
    assert_eq!(dry(&["confirm", "--no"])["would_change"], true);
    let before = state();
    assert_eq!(dry(&["disable", "all"])["would_change"], true);
    assert_same(&before);
    assert_eq!(told(&["disable", "all"])["changed"], true);
}

/// Nobody's sudo is made to ask before Duo has said yes to somebody whom it asks.
pub fn a_test_user_whom_duo_did_not_let_in_is_none() {
    let pam = Pam::new();
    refused(&["sudo", "--test-user", ALICE], "Say --yes to that");
    let enable = ["sudo", "--yes", "--test-user", ALICE];
    pam.machine.sandbox.duo.set_script(ALICE, Script::Deny);
    refused(&enable, "a login is denied");
    pam.machine.sandbox.duo.set_script(ALICE, Script::Push);
    pam.configure("secure", Duo::Yes, Selected::No);
    refused(&enable, "is not asked, because of 'groups'");
    pam.configure("secure", Duo::Yes, Selected::Yes);
    let said = duoctl(&[&["enable", "pam"], &enable[..]].concat()).succeeds();
    assert!(said.contains("Duo says yes"), "{said}");
    assert_eq!(pam.rung(), 1);
}

/// What an administrator writes beside our lines is theirs.
pub fn a_file_that_was_edited_meanwhile_keeps_the_edit() {
    let _pam = Pam::new();
    let before = fs::read_to_string(SUDO).expect("read");
    duoctl(&["enable", "pam", "sudo"]).succeeds();
    let text = fs::read_to_string(SUDO).expect("read");
    write("sudo", &format!("{text}# theirs\n"));
    duoctl(&["disable", "pam", "sudo"]).succeeds();
    assert_eq!(
        fs::read_to_string(SUDO).expect("read"),
        format!("{before}# theirs\n")
    );
}

pub fn a_service_that_only_the_distribution_has_is_copied_and_the_copy_goes_again() {
    let _pam = Pam::new();
    fs::create_dir_all("/usr/lib/pam.d").expect("a folder");
    fs::copy("/etc/pam.d/sudo-i", "/usr/lib/pam.d/sudo-i").expect("copied");
    fs::remove_file("/etc/pam.d/sudo-i").expect("removed");
    let found = state();
    let said = duoctl(&["enable", "pam", "sudo"]).succeeds();
    assert!(said.contains("a copy of /usr/lib/pam.d/sudo-i"), "{said}");
    assert_eq!(mode("/etc/pam.d/sudo-i"), mode("/usr/lib/pam.d/sudo-i"));
    assert!(sudo(&["-i"], Factor::Right) && !sudo(&["-i"], Factor::Wrong));
    duoctl(&["disable", "pam", "sudo"]).succeeds();
    assert_same(&found);
    // A copy that somebody has changed is theirs.
    duoctl(&["enable", "pam", "sudo"]).succeeds();
    let text = fs::read_to_string("/etc/pam.d/sudo-i").expect("read");
    write("sudo-i", &format!("{text}# theirs\n"));
    duoctl(&["disable", "pam", "sudo"]).succeeds();
    let text = fs::read_to_string("/etc/pam.d/sudo-i").expect("read");
    assert!(
        text.ends_with("# theirs\n") && !text.contains("login_duo"),
        "{text}"
    );
}

/// As Fedora has it: the file that is included ends the stack.
pub fn an_include_that_ends_the_stack_becomes_a_substack_or_is_refused() {
    let pam = Pam::new();
    write(
        "ldtest-auth",
        "auth sufficient pam_unix.so nodelay\nauth required pam_deny.so\n\
         account required pam_unix.so\nsession required pam_limits.so\n",
    );
    write(
        "sudo",
        "auth include ldtest-auth\naccount include ldtest-auth\nsession include ldtest-auth\n",
    );
    write(
        "sudo-i",
        "auth include sudo\naccount include sudo\nsession include sudo\n",
    );
    let found = state();
    let said = duoctl(&["enable", "pam", "sudo"]).succeeds();
    assert!(
        said.contains("auth substack ldtest-auth") && said.contains("a wrong password too"),
        "{said}"
    );
    for (duo, factor, expected) in [
        (Duo::Yes, Factor::Right, true),
        (Duo::No, Factor::Right, false),
        (Duo::Yes, Factor::Wrong, false),
        (Duo::Yes, Factor::Absent, false),
        (Duo::Down, Factor::Right, false),
    ] {
        pam.configure("secure", duo, Selected::Yes);
        for arguments in [&[][..], &["-i"]] {
            assert_eq!(
                sudo(arguments, factor),
                expected,
                "{duo:?} {factor:?} {arguments:?}"
            );
        }
    }
    pam.configure("secure", Duo::Yes, Selected::No);
    assert!(sudo(&[], Factor::Right) && !sudo(&[], Factor::Wrong));
    pam.configure("secure", Duo::Yes, Selected::Yes);
    duoctl(&["disable", "pam", "sudo"]).succeeds();
    assert_same(&found);

    // Debian's kind of include, with lines of all kinds, cannot be a substack.
    write("sudo", "@include ldtest-auth\n");
    refused(
        &["sudo"],
        "pam_unix.so (/etc/pam.d/ldtest-auth:1) ends the stack",
    );
    write(
        "sudo",
        "auth sufficient pam_unix.so\nauth required pam_deny.so\n",
    );
    refused(&["sudo"], "pam_unix.so (/etc/pam.d/sudo:1) ends the stack");
}

pub fn a_way_around_is_named_and_refused_unless_it_is_accepted() {
    let _pam = Pam::new();
    let text = fs::read_to_string("/etc/pam.d/su").expect("read");
    write(
        "su",
        &format!("auth sufficient pam_wheel.so trust group={GROUP}\n{text}"),
    );
    refused(
        &["su"],
        "pam_wheel.so (/etc/pam.d/su:1) lets in whom it takes without Duo  [pam.way_around]",
    );
    duoctl(&["enable", "pam", "su", "--accept", "pam.way_around"]).succeeds();
    // Alice is in the group, and gives nothing.
    assert!(su(&[], "root", Factor::Absent));
    duoctl(&["disable", "pam", "su"]).succeeds();
    write(
        "su",
        &format!("@include common-auth\nauth required pam_duo.so\n{text}"),
    );
    refused(&["su"], "is there already");
}

pub fn safe_in_front_of_sudo_is_refused_unless_it_is_accepted() {
    let pam = Pam::new();
    pam.configure("safe", Duo::Yes, Selected::Yes);
    refused(&["sudo"], "[pam.failmode]");
    refused(&["su"], "[pam.failmode]");
    duoctl(&["enable", "pam", "login"]).succeeds();
    duoctl(&["enable", "pam", "sudo", "--accept", "pam.failmode"]).succeeds();
    // A code on paper is more than a password.
    pam.configure("codes", Duo::Yes, Selected::Yes);
    duoctl(&["enable", "pam", "su"]).succeeds();
}

pub fn what_is_missing_or_not_roots_is_refused() {
    let pam = Pam::new();
    let module = module_folder().join("pam_duo.so");
    let bytes = fs::read(&module).expect("read");
    let is_refused = |words: &str| refused(&["sudo"], words);

    fs::remove_file(&module).expect("removed");
    is_refused("there is no pam_duo.so of this duoctl");
    fs::write(&module, b"\x7fELF another's").expect("written");
    is_refused("there is no pam_duo.so of this duoctl");
    // Ours by what it says, and no module.
    fs::write(&module, format!("{HELPER}\0")).expect("written");
    is_refused("[pam.loads]");
    fs::write(&module, &bytes).expect("written");
    fs::set_permissions(&module, fs::Permissions::from_mode(0o666)).unwrap();
    is_refused("[pam.module]");
    fs::set_permissions(&module, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(HELPER, Some(12_345), None).expect("given");
    is_refused("[pam.helper]");
    fs::remove_file(HELPER).expect("removed");
    is_refused("[pam.helper]");
    install_module();

    let config = fs::read_to_string(PAM_CONFIG).expect("read");
    fs::write(PAM_CONFIG, "[duo]\nnonsense\n").expect("written");
    is_refused("[configuration.syntax]");
    // With that, everybody is denied.
    refused(
        &[
            "sudo",
            "--accept",
            "configuration.syntax",
            "--accept",
            "configuration.failmode",
        ],
        "with that, nobody would get in",
    );
    fs::remove_file(PAM_CONFIG).expect("removed");
    is_refused("[installation.configuration_file]");
    let other = "/etc/duo/other.conf";
    fs::write(other, config).expect("written");
    fs::set_permissions(other, fs::Permissions::from_mode(0o600)).unwrap();
    duoctl(&["enable", "pam", "sudo", "-c", other]).succeeds();
    let text = fs::read_to_string(SUDO).expect("read");
    assert!(
        text.contains("auth required pam_duo.so conf=/etc/duo/other.conf\n"),
        "{text}"
    );
    assert!(sudo(&[], Factor::Right) && !sudo(&[], Factor::Wrong));
    assert!(pam.rung() > 0);
}

pub fn with_keys_passwords_must_be_off() {
    let pam = Pam::new();
    pam.sshd("PasswordAuthentication yes\nUsePAM yes\nPermitRootLogin no\n");
    let no_way_in = ["--accept", "no-way-in"];
    let sshd = |more: &[&'static str]| [&["sshd"], more, &no_way_in].concat();
    refused(&sshd(&[]), "say --with keys");
    refused(&sshd(&["--with", "keys"]), "passwords are not off");
    // Bob has a key and no password; Alice has both.
    succeed(Command::new("usermod").args(["-p", "*", BOB]));
    refused(&sshd(&["--with", "passwords"]), "[sshd.locked_out]");
    refused(
        &["sshd", "--with", "passwords", "--accept", "sshd.locked_out"],
        "[no-way-in]",
    );
}

pub fn a_match_block_that_goes_past_duo_is_refused_unless_it_is_accepted() {
    let pam = Pam::new();
    pam.sshd(&format!(
        "{KEYS}Match User {BOB}\n  AuthenticationMethods publickey\n"
    ));
    refused(
        &["sshd"],
        "gets in without Duo (AuthenticationMethods publickey)  [sshd.authentication_methods]",
    );
    duoctl(&[
        "enable",
        "pam",
        "sshd",
        "--accept",
        "sshd.authentication_methods",
    ])
    .succeeds();
    assert!(!pam.machine.is_asked(BOB));
    assert!(ssh(&pam, true, Factor::Absent));
    duoctl(&["disable", "all"]).succeeds();

    // The stack would ask for no password, and Duo would stand alone.
    pam.sshd(&format!(
        "{KEYS}Match User {BOB}\n  PasswordAuthentication yes\n"
    ));
    let keys = ["sshd", "--with", "keys", "--accept", "no-way-in"];
    refused(&keys, "[sshd.password_authentication]");

    // Whom an address is for, only sshd knows.
    pam.sshd(&format!(
        "{KEYS}Match Address 10.0.0.0/8\n  AuthenticationMethods publickey\n"
    ));
    refused(
        &keys,
        "for 'Match Address 10.0.0.0/8' stands AuthenticationMethods publickey",
    );

    // Of very many blocks, sshd is not asked about each.
    let many: String = (0..30).map(|n| format!("Match User u{n}\n")).collect();
    pam.sshd(&format!("{KEYS}{many}  AuthenticationMethods publickey\n"));
    refused(
        &keys,
        "for 'Match User u29' stands AuthenticationMethods publickey",
    );

    // What stands before our lines wins.
    pam.sshd(KEYS);
    pam.machine
        .configure_sshd(&format!("AuthenticationMethods publickey\n{INCLUDE}"));
    refused(
        &keys,
        "authenticationmethods publickey: an earlier line of its configuration wins",
    );
}

/// sshd refuses root by another way than a key, even behind one.
pub fn root_who_may_come_by_a_key_alone_would_be_locked_out() {
    let pam = Pam::new();
    pam.sshd("PasswordAuthentication no\n");
    let root = |pam: &Pam| ssh_as(pam, "root", true, Factor::Absent);
    assert!(root(&pam));
    refused(
        &["sshd", "--accept", "no-way-in"],
        "(PermitRootLogin without-password): locked out  [sshd.locked_out]",
    );
    duoctl(&[&SSHD[..], &["--accept", "sshd.locked_out"]].concat()).succeeds();
    assert!(!root(&pam));
    duoctl(&["disable", "all"]).succeeds();
    pam.sshd("PasswordAuthentication no\nPermitRootLogin yes\n");
    duoctl(&SSHD).succeeds();
    let rung = pam.rung();
    assert!(root(&pam) && pam.rung() > rung);
    assert!(!ssh_as(&pam, "root", false, Factor::Right));
}

const SSHD: [&str; 5] = ["enable", "pam", "sshd", "--accept", "no-way-in"];

/// Without a folder of its own, the lines stand in sshd_config, beside those of
/// `enable ssh`.
pub fn the_lines_of_both_styles_come_and_go_in_any_order() {
    let pam = Pam::new();
    pam.machine.configure_sshd("");
    let text = fs::read_to_string(SSHD_CONFIG)
        .expect("read")
        .replace("UsePAM no\n", "PermitRootLogin yes\n");
    fs::write(SSHD_CONFIG, text).expect("written");
    stop_sshd();
    pam.machine.start_sshd();
    let found = state();
    let ssh = ["enable", "ssh", "--accept", "no-way-in"];
    let pam = ["enable", "pam", "sshd", "--accept", "no-way-in"];
    for first_off in ["ssh", "pam"] {
        duoctl(&ssh).succeeds();
        let forced = state();
        duoctl(&pam).succeeds();
        let found_by_check = duoctl(&["check"]).text();
        assert!(
            found_by_check.contains("both PAM and login_duo ask Duo"),
            "{found_by_check}"
        );
        match first_off {
            "pam" => {
                duoctl(&["disable", "pam", "sshd"]).succeeds();
                assert_same(&forced);
            }
            _ => drop(duoctl(&["disable", "ssh"]).succeeds()),
        }
        duoctl(&["disable", "all"]).succeeds();
        assert_same(&found);
    }
}

/// PAM's file is written before sshd's: where that cannot be, both are as before.
pub fn where_one_file_cannot_be_written_none_is() {
    let pam = Pam::new();
    pam.sshd(KEYS);
    let folder = "/etc/ssh/sshd_config.d";
    let text = fs::read(format!("{folder}/50-ldtest.conf")).expect("read");
    succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=8k", "none", folder]));
    fs::write(format!("{folder}/50-ldtest.conf"), text).expect("written");
    fs::write(format!("{folder}/60-full.conf"), "# \n".repeat(1365)).expect("written");
    let before = state();
    let said = duoctl(&[
        "enable",
        "pam",
        "sudo",
        "sshd",
        "--accept",
        "no-way-in",
        "--confirm",
        "1h",
    ])
    .fails();
    assert!(said.contains("cannot be written"), "{said}");
    assert_same(&before);
    assert!(!keeps_something());
}

pub fn interrupted_it_leaves_no_line_and_no_sshd_that_asks() {
    let pam = Pam::new();
    pam.sshd(KEYS);
    let before = state();
    // As Ctrl-C would, once sshd has read the new lines.
    let stand_in = "#!/bin/sh\ncase $* in\n*'is-active ssh.service') exit 3 ;;\n\
        'reload sshd.service') pid=$(cat /run/sshd.pid); rm /run/sshd.pid; kill -HUP $pid\n\
        while [ ! -e /run/sshd.pid ]; do sleep 0.1; done\n\
        [ -e /run/ldtest ] || { : >/run/ldtest; kill -TERM $PPID; } ;;\nesac\n";
    let _ = fs::remove_file("/usr/bin/systemctl");
    fs::write("/usr/bin/systemctl", stand_in).expect("written");
    fs::set_permissions("/usr/bin/systemctl", fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all("/run/systemd/system").expect("a folder");
    let said = duoctl(&["enable", "pam", "sshd", "su", "--accept", "no-way-in"]).fails();
    assert!(said.contains("are as they were"), "{said}");
    assert_same(&before);
    assert!(!pam.machine.is_asked(ALICE));
}

pub fn unconfirmed_it_is_taken_back() {
    let pam = Pam::new();
    pam.sshd(KEYS);
    let before = state();
    let enable = [
        "enable",
        "pam",
        "sshd",
        "sudo",
        "--accept",
        "no-way-in",
        "--confirm",
    ];
    duoctl(&[&enable[..], &["1s"]].concat()).succeeds();
    wait_until(|| !keeps_something(), || "it is not taken back".to_owned());
    assert_same(&before);
    assert!(!pam.machine.is_asked(ALICE));

    duoctl(&[&enable[..], &["1h"]].concat()).succeeds();
    assert!(ssh(&pam, true, Factor::Absent));
    let refused = duoctl(&["enable", "pam", "su"]).fails();
    assert!(refused.contains("still waits"), "{refused}");
    // What somebody writes meanwhile stays.
    let text = fs::read_to_string(SUDO).expect("read");
    write("sudo", &format!("{text}# theirs\n"));
    duoctl(&["confirm", "--no"]).succeeds();
    let text = fs::read_to_string(SUDO).expect("read");
    write("sudo", text.strip_suffix("# theirs\n").expect("it stays"));
    assert_same(&before);

    duoctl(&["enable", "pam", "sudo", "--confirm", "1h"]).succeeds();
    let enabled = state();
    Ended::of(pam.machine.ssh("root").arg("duoctl confirm")).succeeds();
    assert_same(&enabled);
    duoctl(&["enable", "pam", "su", "--confirm", "1h"]).succeeds();
    duoctl(&["disable", "all"]).succeeds();
    assert!(!keeps_something());
    assert_same(&before);
}
