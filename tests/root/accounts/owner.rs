//! Whose the configuration file may be.

use super::{ANNA, DUO, Machine, SSHD};

const FILE: &str = "/etc/duo/login_duo.conf";

pub fn a_file_of_the_daemons_user_is_accepted_with_a_warning() {
    let machine = Machine::new("");
    for (owner, name) in [(SSHD, "sshd"), (DUO, "the privilege-separation user")] {
        for caller in [ANNA, 0] {
            machine.give_config_to(owner);
            let ended = machine.login(caller).run();
            ended.assert_let_in();
            let line = format!(
                "[4] {FILE}: belongs to {name}, better to root; to mend it: chown root {FILE}"
            );
            ended.assert_logged(&line);
        }
    }
    machine.give_config_to(0);
    let ended = machine.login(ANNA).run();
    ended.assert_let_in();
    assert!(!ended.stderr().contains("chown"), "{}", ended.stderr());
}

pub fn a_file_of_anyone_else_is_denied_though_it_says_safe() {
    // The caller of a setuid program owns nothing that counts.
    let machine = Machine::new("failmode = safe");
    for (owner, caller) in [(ANNA, ANNA), (4321, ANNA), (4321, 0)] {
        machine.give_config_to(owner);
        let ended = machine.login(caller).run();
        ended.assert_denied();
        let why = format!("{FILE}: belongs to user id {owner}; to mend it: chown root {FILE}");
        ended.assert_logged(&why);
        ended.assert_logged(&format!("[3] {why}"));
        let name = if caller == 0 { "root" } else { "anna" };
        let line = format!("[4] Failsecure Duo login for '{name}' from 192.0.2.7: {why}");
        ended.assert_logged(&line);
        assert!(ended.requests.is_empty());
    }
}

pub fn a_users_own_install_reads_the_users_own_file() {
    let machine = Machine::new("");
    machine.give_config_to(ANNA);
    let ended = machine.plain_login(ANNA).run();
    ended.assert_let_in();
    assert!(!ended.stderr().contains("chown"), "{}", ended.stderr());
    machine.give_config_to(4321);
    let ended = machine.plain_login(ANNA).run();
    // Not root's to read either.
    ended.assert_denied();
}

pub fn a_file_that_cannot_be_read_is_denied() {
    let machine = Machine::new("failmode = safe");
    let ended = machine.plain_login(ANNA).run();
    ended.assert_denied();
    let line = format!(
        "[4] Failsecure Duo login for 'anna' from 192.0.2.7: {FILE}: cannot be opened: permission denied"
    );
    ended.assert_logged(&line);
}
