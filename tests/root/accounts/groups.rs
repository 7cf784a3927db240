//! Who is asked, by the groups that the machine's database has.

use super::{ANNA, BERT, CARL, Ended, Machine};

#[track_caller]
pub fn assert_asked(ended: &Ended) {
    ended.assert_let_in();
    let asked = ended.requests.iter().any(|one| one.endpoint() == "auth");
    assert!(asked, "not asked: {}", ended.stderr());
}

#[track_caller]
pub fn assert_passed(ended: &Ended, name: &str) {
    ended.assert_let_in();
    assert!(ended.requests.is_empty(), "{}", ended.stderr());
    let line = format!("[6] User {name} bypassed Duo 2FA due to user's UNIX group");
    ended.assert_logged(&line);
    assert!(!ended.stderr().contains("login for"), "{}", ended.stderr());
}

pub fn whoever_a_pattern_list_matches_is_asked_and_others_pass() {
    // The value, and whether Anna (staff) and Bert (staff, admins, domain users) are asked.
    let table = [
        ("staff", true, true),
        ("admins", false, true),
        ("adm*", false, true),
        ("ADMINS", false, false),
        ("*", true, true),
        ("*,!admins", true, false),
        ("*,!staff", false, false),
        ("!admins,* empty", true, false),
        ("domain\\ users", false, true),
        ("domain users", false, false),
        ("domain?users", false, true),
        ("empty no-such-group", false, false),
        ("empty\n  admins", false, true),
        ("empty\ngroup = admins", false, true),
    ];
    let machine = Machine::new("");
    for (value, anna, bert) in table {
        machine.configure(&format!("groups = {value}"));
        for (uid, name, asked) in [(ANNA, "anna", anna), (BERT, "bert", bert)] {
            let ended = machine.login(uid).run();
            match asked {
                true => assert_asked(&ended),
                false => assert_passed(&ended, name),
            }
        }
    }
}

pub fn without_groups_everybody_is_asked_and_nothing_is_looked_up() {
    let machine = Machine::new("");
    for groups in ["", "groups ="] {
        machine.configure(groups);
        // Whose primary group has no name, which nobody notices here.
        let ended = machine.login(CARL).run();
        assert_asked(&ended);
    }
}

pub fn a_group_id_without_a_name_is_denied() {
    let machine = Machine::new("");
    for groups in ["groups = *", "groups = admins", "groups = *,!admins"] {
        machine.configure(&format!("{groups}\nfailmode = safe"));
        let ended = machine.login(CARL).run();
        ended.assert_denied();
        let line = "[3] Error in Duo login for 'carl' from 192.0.2.7: group id 62099 has no name";
        ended.assert_logged(line);
        ended.assert_logged("Duo: Login denied: group id 62099 has no name");
        assert!(ended.requests.is_empty());
    }
}

pub fn patterns_that_are_all_negated_ask_nobody_and_warn() {
    let machine = Machine::new("groups = !admins");
    for time in ["first", "second"] {
        let ended = machine.login(ANNA).run();
        assert_passed(&ended, "anna");
        let warning = "has negated patterns only, so nobody is asked";
        assert!(ended.stderr().contains(warning), "the {time} time");
    }
}
