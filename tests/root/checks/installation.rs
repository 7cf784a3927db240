//! Owner, mode, mount, folders, the privilege-separation user; and the exit status.

use super::Machine;

pub fn a_machine_as_it_should_be_is_all_good() {
    let machine = Machine::new();
    let output = machine.run("--as alice");
    let text = output.stdout();
    assert_eq!(output.status(), 0, "{text}");
    assert!(text.ends_with("\nAll good.\n"), "{text}");
    let bad = text
        .lines()
        .find(|line| line.starts_with("  warn") || line.starts_with("  FAIL"));
    assert_eq!(bad, None);
}

pub fn warnings_alone_end_with_status_2() {
    let output = Machine::new()
        .sshd("X11Forwarding no", "X11Forwarding yes")
        .run("");
    let text = output.stdout();
    assert_eq!(output.status(), 2, "{text}");
    assert!(text.ends_with("\nWarnings: 1.\n"), "{text}");
}

pub fn a_program_of_somebody_else_fails() {
    let found = Machine::new()
        .setup("chown 5001 /run/bin/login_duo; chmod 755 /run/bin/login_duo")
        .check("");
    found.is("installation.owner", "fail", "user id 5001");
    found.is_mended_by("installation.owner", "chown root:root /run/bin/login_duo");
    Machine::new().check("").is_ok("installation.owner");
}

pub fn the_programs_mode() {
    for (mode, level, words) in [
        ("4755", "ok", "is setuid"),
        ("4711", "ok", "is setuid"),
        ("0755", "fail", "not setuid root"),
        ("4775", "fail", "written by group"),
        ("4757", "fail", "written by group or others"),
        ("6755", "warn", "setgid"),
    ] {
        let found = Machine::new()
            .setup(&format!("chmod {mode} /run/bin/login_duo"))
            .check("");
        found.is("installation.mode", level, words);
        if level != "ok" {
            found.is_mended_by("installation.mode", "chmod 4755 /run/bin/login_duo");
        }
    }
}

pub fn a_file_system_without_setuid_fails() {
    let found = Machine::new()
        .setup("mount -o remount,nosuid /run")
        .check("");
    found.is("installation.mount", "fail", "nosuid");
    found.is_mended_by("installation.mount", "remount,suid");
    Machine::new().check("").is_ok("installation.mount");
}

pub fn folders_above_the_program() {
    for (setup, level, words) in [
        ("chmod 777 /run/bin", "fail", "mode 0777"),
        ("chmod 775 /run", "fail", "mode 0775"),
        ("chown 5001 /run/bin", "fail", "user id 5001"),
        ("chmod 1777 /run/bin", "ok", "nobody but root"),
        ("", "ok", "nobody but root"),
    ] {
        let found = Machine::new().setup(setup).check("");
        found.is("installation.program_folder", level, words);
    }
    let found = Machine::new().setup("chmod 777 /run/duo").check("");
    found.is("installation.configuration_folder", "fail", "/run/duo");
    found.is_ok("installation.program_folder");
}

pub fn the_privilege_separation_user() {
    let found = Machine::new().check("");
    found.is_ok("installation.privsep_user");
    found.is_ok("installation.privsep_shell");
    let duo = "duo:x:4242:4242::/:/usr/sbin/nologin\n";
    let sshd = "sshd:x:4240:4240::/:/usr/sbin/nologin\n";

    let found = Machine::new()
        .passwd(duo, &duo.replace("/usr/sbin/nologin", "/bin/sh"))
        .check("");
    found.is("installation.privsep_shell", "warn", "/bin/sh");
    found.is_mended_by("installation.privsep_shell", "usermod --shell");

    let found = Machine::new().passwd(duo, "").check("");
    found.is("installation.privsep_user", "warn", "'sshd' serves");
    found.is_mended_by("installation.privsep_user", "useradd --system");

    let found = Machine::new().passwd(duo, "").passwd(sshd, "").check("");
    found.is("installation.privsep_user", "fail", "everybody is denied");
}

pub fn a_child_that_cannot_drop_its_privileges_is_told() {
    Machine::new().check("").is_ok("installation.child");
    let found = Machine::new()
        .passwd("duo:x:4242:4242:", "duo:x:4242:0:")
        .check("");
    found.is("installation.child", "fail", "");
    assert!(found.of("network.keys").is_empty());
}

pub fn the_configurations_owner() {
    for (owner, level, mend) in [
        ("duo", "warn", "chown root"),
        ("sshd", "warn", "chown root"),
        ("5001", "fail", "chown root"),
    ] {
        let found = Machine::new()
            .setup(&format!("chown {owner} /run/duo/login_duo.conf"))
            .check("");
        found.is("installation.configuration_file", level, "");
        found.is_mended_by("installation.configuration_file", mend);
    }
    let found = Machine::new().setup("rm /run/duo/login_duo.conf").check("");
    found.is(
        "installation.configuration_file",
        "fail",
        "cannot be opened",
    );
}

pub fn a_user_of_the_setuid_program_may_not_check() {
    let output = Machine::new()
        .through("setpriv --reuid=5001 --regid=5001 --clear-groups")
        .run("");
    assert_eq!(output.status(), 1);
    assert!(output.stdout().is_empty());
    let complaint = output.stderr();
    let expected = "duoctl: only root may check /run/bin/login_duo: try sudo duoctl check\n";
    assert_eq!(complaint, expected);
}

pub fn an_install_of_ones_own() {
    let found = Machine::new()
        .setup("chmod 755 /run/bin/login_duo; chown 5001 /run/duo/login_duo.conf /run/duo")
        .through("setpriv --reuid=5001 --regid=5001 --clear-groups")
        .check("");
    found.is("installation.mode", "ok", "your own install");
    found.is_ok("installation.configuration_file");
    found.is_ok("installation.configuration_folder");
    found.is_ok("network.keys");
    assert!(found.of("installation.privsep_user").is_empty());
    found.is("sshd.configuration", "warn", "for root alone");
}

/// Case 6: the kernel gives such a program these capabilities and not root's.
pub fn file_capabilities_beside_setuid_fail() {
    let give = "python3 -c 'import os; os.setxattr(\"/run/bin/login_duo\", \
                \"security.capability\", bytes.fromhex(\"0100000202000000000000000000000000000000\"))'";
    let found = Machine::new().setup(give).check("");
    found.is("installation.capabilities", "fail", "file capabilities");
    found.is_mended_by("installation.capabilities", "setcap -r /run/bin/login_duo");
    Machine::new().check("").is_ok("installation.capabilities");
}
