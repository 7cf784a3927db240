//! What enabling would turn into a shell, lock out or open, and refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{disable, duoctl, enable, enable_quietly};
use crate::host::*;
use crate::support::Ended;

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
