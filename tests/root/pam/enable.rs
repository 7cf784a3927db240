//! What `enable pam` does to the machine, and how all of it goes again.

use super::*;

pub fn a_second_run_changes_nothing_and_all_of_it_goes_again() {
    let pam = Pam::new();
    pam.sshd("PasswordAuthentication no\n");
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
