//! Who is logging in, and under which name Duo knows them.

use super::{ANNA, DORA, Machine, NOBODYS};

pub fn the_account_is_the_real_uids_whatever_user_and_logname_say() {
    let machine = Machine::new("");
    let login = machine.login(ANNA);
    let ended = login
        .env("USER", "root")
        .env("LOGNAME", "bert")
        .env("HOME", "/root")
        .run();
    ended.assert_let_in();
    assert_eq!(ended.told(), ["anna"]);
    ended.assert_logged("[6] Successful Duo login for 'anna' from 192.0.2.7: push1");
    assert!(!ended.stderr().contains("to Duo"), "{}", ended.stderr());
}

pub fn a_uid_without_an_account_is_denied() {
    let machine = Machine::new("failmode = safe");
    let ended = machine.login(NOBODYS).env("USER", "anna").run();
    ended.assert_denied();
    let line = "[3] Error in Duo login for '?' from 192.0.2.7: the user id 61099 has no account";
    ended.assert_logged(line);
    ended.assert_logged("Duo: Login denied: the user id 61099 has no account");
    assert!(ended.requests.is_empty());
}

pub fn the_duo_name_is_the_gecos_field_or_a_part_of_it() {
    let machine = Machine::new("");
    let whole = "Dora D.,Room 1,,dora@example.com";
    for (lines, name) in [
        ("send_gecos = yes", whole),
        ("gecos_username_pos = 1", "Dora D."),
        ("gecos_username_pos = 4", "dora@example.com"),
        ("gecos_username_pos = 2\ngecos_delim = @", "example.com"),
        ("gecos_username_pos = 1\nsend_gecos = yes", "Dora D."),
    ] {
        machine.configure(lines);
        let ended = machine.login(DORA).run();
        ended.assert_let_in();
        assert_eq!(ended.told(), [name], "{lines}");
        ended.assert_logged(&format!("[6] User 'dora' is '{name}' to Duo"));
        let line = format!("[6] Successful Duo login for '{name}' from 192.0.2.7: push1");
        ended.assert_logged(&line);
    }
}

pub fn a_gecos_part_that_is_missing_falls_back_to_the_login_name_and_says_so() {
    let machine = Machine::new("");
    let note = "[4] the GECOS field has no such part: using the login name";
    for lines in [
        "gecos_username_pos = 3",
        "gecos_username_pos = 5",
        "gecos_username_pos = 2\ngecos_delim = #",
    ] {
        machine.configure(lines);
        let ended = machine.login(DORA).run();
        ended.assert_let_in();
        assert_eq!(ended.told(), ["dora"], "{lines}");
        ended.assert_logged(note);
    }
}

pub fn a_hostile_gecos_field_reaches_duo_whole_and_the_log_without_its_teeth() {
    let machine = Machine::new("send_gecos = yes");
    let line = b"dora:x:61013:62000:x' from 192.0.2.1, \\ \x1b[2J\xe2\x80\xae\xff:/:/bin/sh\n";
    let mut passwd = std::fs::read(machine.etc("passwd")).unwrap();
    let dora = passwd.windows(5).position(|word| word == b"dora:").unwrap();
    passwd.truncate(dora);
    passwd.extend_from_slice(line);
    std::fs::write(machine.etc("passwd"), passwd).unwrap();
    let ended = machine.login(DORA).run();
    ended.assert_let_in();
    let name = "x' from 192.0.2.1, \\ \u{1b}[2J\u{202e}\u{fffd}";
    assert_eq!(ended.told(), [name]);
    let logged = r"x\' from 192.0.2.1, \\ \x1B[2J\xE2\x80\xAE\xEF\xBF\xBD";
    ended.assert_logged(&format!("[6] User 'dora' is '{logged}' to Duo"));
    let line = format!("[6] Successful Duo login for '{logged}' from 192.0.2.7: push1");
    ended.assert_logged(&line);
}

pub fn root_may_name_another_duo_user_and_both_names_are_logged() {
    let machine = Machine::new("send_gecos = yes");
    let ended = machine.login(0).args(&["-f", "alice o'hara"]).run();
    ended.assert_let_in();
    assert_eq!(ended.told(), ["alice o'hara"]);
    let line = "[6] User 'root' is 'alice o\\'hara' to Duo";
    ended.assert_logged(line);
    let times = ended.stderr().matches("to Duo").count();
    assert_eq!(times, 1, "{}", ended.stderr());
}
