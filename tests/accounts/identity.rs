//! Who is logging in, and under which name Duo knows them.

use crate::machine::{ANNA, DORA, Machine, NOBODYS};

/// The user names that Duo was told so far, each once.
fn told(machine: &Machine) -> Vec<String> {
    let requests = machine.duo.requests();
    let mut names: Vec<_> = requests
        .iter()
        .filter_map(|request| request.param("username").map(str::to_owned))
        .collect();
    names.dedup();
    names
}

pub fn the_account_is_the_real_uids_whatever_user_and_logname_say() {
    let machine = Machine::new("");
    let login = machine.login(ANNA);
    let ended = login
        .env("USER", "root")
        .env("LOGNAME", "bert")
        .env("HOME", "/root")
        .run();
    ended.assert_let_in();
    assert_eq!(told(&machine), ["anna"]);
    ended.assert_logged("[6] Successful Duo login for 'anna' from 192.0.2.7: push1");
    assert!(!ended.stderr().contains("to Duo"), "{}", ended.stderr());
}

pub fn a_uid_without_an_account_is_denied() {
    let machine = Machine::new("failmode = safe");
    let ended = machine.login(NOBODYS).env("USER", "anna").run();
    ended.assert_denied();
    let line = "[3] Error in Duo login for '?' from 192.0.2.7: the user id 61099 has no account";
    ended.assert_logged(line);
    assert!(machine.duo.requests().is_empty());
}

pub fn the_duo_name_is_the_gecos_field_or_a_part_of_it() {
    let whole = "Dora D.,Room 1,,dora@example.com";
    for (lines, name) in [
        ("send_gecos = yes", whole),
        ("gecos_username_pos = 1", "Dora D."),
        ("gecos_username_pos = 4", "dora@example.com"),
        ("gecos_username_pos = 2\ngecos_delim = @", "example.com"),
        ("gecos_username_pos = 1\nsend_gecos = yes", "Dora D."),
    ] {
        let machine = Machine::new(lines);
        let ended = machine.login(DORA).run();
        ended.assert_let_in();
        assert_eq!(told(&machine), [name], "{lines}");
        ended.assert_logged(&format!("[6] User 'dora' is '{name}' to Duo"));
        let line = format!("[6] Successful Duo login for '{name}' from 192.0.2.7: push1");
        ended.assert_logged(&line);
    }
}

pub fn a_gecos_part_that_is_missing_falls_back_to_the_login_name_and_says_so() {
    let note = "[4] the GECOS field has no such part: using the login name";
    for lines in [
        "gecos_username_pos = 3",
        "gecos_username_pos = 5",
        "gecos_username_pos = 2\ngecos_delim = #",
    ] {
        let machine = Machine::new(lines);
        let ended = machine.login(DORA).run();
        ended.assert_let_in();
        assert_eq!(told(&machine), ["dora"], "{lines}");
        ended.assert_logged(note);
    }
}

pub fn root_may_name_another_duo_user_and_both_names_are_logged() {
    let machine = Machine::new("send_gecos = yes");
    let ended = machine.login(0).args(&["-f", "alice o'hara"]).run();
    ended.assert_let_in();
    assert_eq!(told(&machine), ["alice o'hara"]);
    let line = "[6] User 'root' is 'alice o\\'hara' to Duo";
    ended.assert_logged(line);
    let times = ended.stderr().matches("to Duo").count();
    assert_eq!(times, 1, "{}", ended.stderr());
}
