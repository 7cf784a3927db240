//! What `duoctl check` and `status` say of PAM.

use super::*;
use crate::support::Found;

fn check() -> Found {
    let mut command = Command::new("/usr/sbin/duoctl");
    Found::by(command.args(["check", "--json"]).stdin(Stdio::null()))
}

pub fn what_is_enabled_is_proved_and_what_has_vanished_is_missed() {
    let pam = Pam::new();
    pam.sshd(&format!("{KEYS}LoginGraceTime 600\n"));
    let sudo_before = fs::read("/etc/pam.d/sudo").expect("read");
    let none = check();
    assert!(none.of("pam.stack").is_empty(), "{}", none.json);
    let all = [
        "enable",
        "pam",
        "sshd",
        "sudo",
        "su",
        "--accept",
        "no-way-in",
    ];
    duoctl(&all).succeeds();
    // No login_duo is in use: nothing is said of its configuration.
    fs::remove_file(CONFIG).expect("removed");
    let found = check();
    for service in ["sshd", "sudo", "sudo-i", "su", "su-l"] {
        found.is(
            "pam.stack",
            "ok",
            &format!("{service}: both factors are needed"),
        );
    }
    found.is("pam.way_around", "ok", "su: root is not asked");
    found.is(
        "sshd.authentication_methods",
        "ok",
        "sshd has PAM ask Duo for root",
    );
    found.is("sshd.force_command", "ok", "whom PAM asks");
    for id in [
        "pam.module",
        "pam.helper",
        "pam.loads",
        "pam.nopasswd",
        "configuration.syntax",
    ] {
        found.is_ok(id);
    }
    let failed: Vec<_> = found.json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["level"] == "fail")
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");

    // A package's upgrade.
    fs::write("/etc/pam.d/sudo", &sudo_before).expect("written");
    let found = check();
    found.is(
        "pam.vanished",
        "fail",
        "sudo was enabled, and /etc/pam.d/sudo does not ask Duo any more",
    );
    found.is("pam.beside", "warn", "/usr/bin/sudo leads to root too");
    duoctl(&["enable", "pam", "sudo"]).succeeds();

    fs::write("/etc/sudoers.d/zz", "ldtest_bob ALL=(ALL) NOPASSWD: ALL\n").expect("written");
    check().is("pam.nopasswd", "warn", "/etc/sudoers.d/zz:1");
    pam.configure("safe", Duo::Yes, Selected::Yes);
    let text = fs::read_to_string(PAM_CONFIG).expect("read");
    fs::write(
        PAM_CONFIG,
        text + "motd = yes\naccept_env_factor = yes\nprompt_for_commands = yes\naccessible = yes\n\
         remember = connection\n",
    )
    .unwrap();
    let found = check();
    found.is("pam.failmode", "fail", "sudo: failmode = safe");
    for key in [
        "motd",
        "accept_env_factor",
        "prompt_for_commands",
        "accessible",
        "remember",
    ] {
        found.is(
            "configuration.no_effect",
            "warn",
            &format!("{key} does nothing in PAM"),
        );
    }
    pam.sshd(&format!("{KEYS}LoginGraceTime 60\n"));
    check().is("sshd.login_grace_time", "warn", "after 60 s");

    let said = duoctl(&["status"]).text();
    assert!(
        said.contains("PAM            sshd, su, su-l, sudo, sudo-i"),
        "{said}"
    );
}

pub fn one_attempt_is_made_as_in_a_service() {
    let pam = Pam::new();
    let try_it = || duoctl(&["test", ALICE, "--service", "sudo"]);
    let refused = try_it().fails();
    assert!(
        refused.contains("'sudo' does not ask Duo: duoctl enable pam sudo"),
        "{refused}"
    );
    duoctl(&["enable", "pam", "sudo"]).succeeds();
    // sshd is left out, which is the administrator's choice.
    let found = check();
    found.is("sshd.force_command", "warn", "sshd asks nobody");
    assert_eq!(found.json["exit_status"], 2, "{}", found.json);
    let said = duoctl(&["status"]).text();
    assert!(
        said.contains("/etc/duo/pam_duo.conf, failmode = secure"),
        "{said}"
    );
    let said = try_it().succeeds();
    assert!(
        said.contains(PAM_CONFIG) && said.contains("Duo says yes"),
        "{said}"
    );
    pam.configure("secure", Duo::No, Selected::Yes);
    try_it().fails();
}

pub fn stacks_by_hand_are_judged() {
    let pam = Pam::new();
    let own = |text: &str| {
        fs::write("/etc/pam.d/sudo", text).expect("written");
        check()
    };
    let rest = "@include common-account\n";
    // Debian's sudo -i has a file of its own.
    own(&format!(
        "@include common-auth\nauth required pam_duo.so\n{rest}"
    ))
    .is(
        "pam.left_out",
        "fail",
        "sudo-i does not ask Duo, though sudo does",
    );
    own(&format!("auth required pam_duo.so\n{rest}")).is(
        "pam.only_factor",
        "fail",
        "sudo: Duo's yes alone lets in",
    );
    own(&format!(
        "@include common-auth\nauth optional pam_duo.so\n{rest}"
    ))
    .is("pam.way_around", "fail", "lets in whom Duo has denied");
    own(&format!(
        "auth sufficient pam_unix.so\nauth required pam_duo.so\n{rest}"
    ))
    .is("pam.way_around", "fail", "pam_unix.so (/etc/pam.d/sudo:1)");
    own(&format!(
        "@include common-auth\nauth required pam_deny.so\nauth required pam_duo.so\n{rest}"
    ))
    .is("pam.locked_out", "fail", "sudo: nobody gets in");
    own(&format!(
        "auth required pam_unix.so\nauth required pam_duo.so\n{rest}"
    ))
    .is("pam.asked_early", "warn", "can ring a phone");
    own(&format!(
        "@include common-auth\nauth required /none/pam_duo.so\n{rest}"
    ))
    .is("pam.module", "fail", "/none/pam_duo.so is missing");
    own(&format!(
        "@include common-auth\nauth required pam_duo.so\n{rest}"
    ))
    .is("pam.stack", "ok", "sudo: both factors are needed");
    let unused =
        |what: &str| Ended::of(Command::new("/usr/sbin/duoctl").args(["check", "--unused", what]));
    for what in ["module", "configuration"] {
        let said = unused(what).fails();
        assert!(said.contains("/etc/pam.d/sudo:2"), "{said}");
    }
    // No line of sshd names login_duo, which is a package of its own.
    unused("program").succeeds();

    // Duo's C module lets everybody in without its configuration.
    fs::create_dir_all("/run/theirs").expect("a folder");
    fs::write("/run/theirs/pam_duo.so", "of another package").expect("written");
    own(&format!(
        "@include common-auth\nauth required /run/theirs/pam_duo.so\n{rest}"
    ));
    unused("module").succeeds();
    let said = unused("configuration").fails();
    assert!(
        said.contains("/etc/pam.d/sudo:2") && said.contains("is not of this duoctl"),
        "{said}"
    );
    own(&format!("@include common-auth\n{rest}"));
    unused("configuration").succeeds();

    // So does Duo's C program.
    pam.sshd(&format!("{KEYS}ForceCommand /run/theirs/login_duo\n"));
    unused("program").succeeds();
    let said = unused("configuration").fails();
    assert!(said.contains("names /login_duo"), "{said}");
}
