//! `duoctl status`: one screen, and nothing on it that somebody else could have written.

use serde_json::Value;

use crate::checks::Machine;
use crate::support::Ended;

const YES: &str = "Successful Duo login for 'alice' from 192.0.2.7: push1";
const NO: &str = "Failed Duo login for 'mallory' from 192.0.2.8: Login denied";

fn json(machine: &Machine) -> Value {
    let ended = machine.run("--json");
    assert_eq!(ended.status(), 0, "{}", ended.text());
    serde_json::from_slice(ended.stdout_bytes()).unwrap()
}

fn row<'a>(ended: &'a str, name: &str) -> &'a str {
    let row = ended.lines().find(|line| line.starts_with(name));
    row.unwrap_or_else(|| panic!("no {name}: {ended}"))
}

pub fn one_screen_says_what_is_there_and_what_is_not() {
    let machine = Machine::new().config("failmode = secure\n").runs("status");
    let ended: Ended = machine.run("");
    let text = ended.stdout();
    assert_eq!(ended.status(), 0, "{}", ended.text());
    assert!(row(&text, "login_duo").contains("/run/bin/login_duo"));
    assert!(row(&text, "Configuration").ends_with("failmode = secure"));
    assert!(row(&text, "Duo").ends_with("is there, and takes the keys"));
    assert!(row(&text, "sshd").contains("everybody: asked, root: asked"));
    assert!(row(&text, "Lines of ours").contains("none"));
    assert!(row(&text, "To confirm").ends_with("nothing"));
    assert!(row(&text, "Last logins").ends_with("no log was found"));
    assert!(text.lines().count() <= 24, "{text}");

    let told = json(&machine);
    assert_eq!(told["failmode"], "secure");
    assert_eq!(
        (&told["duo"], &told["asked_root"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&told["changed"], &told["failures"]),
        (&false.into(), &0.into())
    );

    let machine = Machine::new()
        .config("prompts = many\n")
        .sshd(
            "ForceCommand /run/bin/login_duo\n",
            "Match User alice\nForceCommand /run/bin/login_duo\nMatch all\n",
        )
        .runs("status");
    let text = machine.run("").stdout();
    assert!(
        row(&text, "Configuration").ends_with("cannot be used"),
        "{text}"
    );
    assert!(row(&text, "Duo").ends_with("was not asked"), "{text}");
    assert!(
        row(&text, "sshd").contains("everybody: not asked, root: not asked"),
        "{text}"
    );
    assert!(row(&text, "Check").contains("failures: "), "{text}");
}

pub fn only_what_the_log_daemon_says_is_login_duos_is_told() {
    let time = "2026-11-26T13:45:20.123456+00:00";
    let lines = [
        "Nov  6 13:45:20 host login_duo[12]: Asking Duo for 'alice'".to_owned(),
        format!("Nov  6 13:45:21 host login_duo[12]: {YES}"),
        format!("{time} host login_duo[13]: {NO}"),
        format!("{time} host sshd[14]: Invalid user login_duo[15]: {YES} forged"),
        format!("{time} host logger: host login_duo[15]: {YES} forged"),
        format!("{time} host duoctl[16]: test: {YES} forged"),
    ];
    let text = lines.join("\\n");
    let machine = Machine::new()
        .setup(&format!("printf '%b\\n' \"{text}\" > /var/log/auth.log"))
        .runs("status");
    let told = json(&machine);
    let logins = told["last_logins"].as_array().unwrap();
    let texts: Vec<_> = logins
        .iter()
        .map(|login| login["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, [YES, NO], "{told:#}");
    assert_eq!(logins[1]["outcome"], "failed");
    let text = machine.run("").stdout();
    assert!(text.contains("where every user of this machine can have lines written"));

    // A link leads to a file that is not the log.
    let link = Machine::new()
        .setup("printf 'Nov  6 13:45:21 host login_duo[12]: forged\\n' > /run/x; ln -s /run/x /var/log/auth.log")
        .runs("status");
    assert_eq!(json(&link)["last_logins"], Value::Array(Vec::new()));
}

/// A journalctl that tells these entries, and writes down what it was asked for.
fn journalctl(machine: Machine, entries: &[String]) -> Machine {
    let machine = machine.runs("status").setup(
        "cp /etc/duo/journalctl /run/journalctl; chmod 755 /run/journalctl\n\
         mount --bind /run/journalctl /usr/bin/journalctl\n\
         echo 'Nov  6 13:45:21 host login_duo[12]: forged' > /var/log/auth.log",
    );
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > /etc/duo/asked\ncat <<'END'\n{}\nEND\n",
        entries.join("\n")
    );
    std::fs::write(machine.folder().join("journalctl"), script).unwrap();
    machine
}

fn entry(tag: &str, uid: &str, exe: &str, text: &str) -> String {
    serde_json::json!({
        "__REALTIME_TIMESTAMP": "1790000000000000", "MESSAGE": text, "_UID": uid,
        "_EXE": exe, "SYSLOG_IDENTIFIER": tag,
    })
    .to_string()
}

fn told_texts(machine: &Machine) -> Vec<String> {
    let told = json(machine);
    let logins = told["last_logins"].as_array().unwrap().iter();
    let texts = logins.map(|login| login["text"].as_str().unwrap().to_owned());
    texts.collect()
}

const HELPER: &str = "/usr/libexec/login_duo/pam-duo-helper";

/// `_EXE` alone proves nothing: under no_new_privs, a caller's LD_PRELOAD runs in login_duo.
pub fn a_journal_counts_by_what_journald_itself_says() {
    let forged = "Successful Duo login for 'forged'";
    let entries = [
        entry("login_duo", "4242", "/run/bin/login_duo", YES),
        entry("pam_duo", "0", HELPER, NO),
        entry("login_duo", "5001", "/run/bin/login_duo", forged),
        entry("pam_duo", "5001", HELPER, forged),
        entry("login_duo", "5001", "/usr/bin/logger", forged),
        entry("login_duo", "0", "/usr/bin/logger", forged),
        // There is a user duo, so the child never is sshd.
        entry("login_duo", "4240", "/run/bin/login_duo", forged),
        "no entry".to_owned(),
    ];
    let machine = journalctl(Machine::new(), &entries);
    assert_eq!(told_texts(&machine), [YES, NO]);
    assert!(machine.run("").stdout().contains("from the journal"));

    // The number of lines is limited, and a forged line must take none of it.
    let asked = std::fs::read_to_string(machine.folder().join("asked")).unwrap();
    let asked: Vec<&str> = asked.lines().filter(|it| !it.starts_with("--")).collect();
    let tags = ["SYSLOG_IDENTIFIER=login_duo", "SYSLOG_IDENTIFIER=pam_duo"];
    let programs = ["_EXE=/run/bin/login_duo", &format!("_EXE={HELPER}")];
    let matches: Vec<&[&str]> = asked.split(|it| *it == "+").collect();
    let roots = [&tags[..], &["_UID=0"], &programs].concat();
    let childs = [&tags[..], &["_UID=4242"]].concat();
    assert_eq!(asked[0], "200");
    assert_eq!(matches[0][1..], roots);
    assert_eq!(matches[1..], [&childs[..]]);
}

pub fn without_the_user_duo_the_journals_lines_are_those_of_sshds() {
    let entries = [
        entry("login_duo", "4240", "/other", YES),
        entry(
            "login_duo",
            "4242",
            "/other",
            "Successful Duo login for 'x'",
        ),
    ];
    let machine = Machine::new().passwd("duo:x:4242:4242::/:/usr/sbin/nologin\n", "");
    let machine = journalctl(machine, &entries);
    assert_eq!(told_texts(&machine), [YES]);
}

pub fn a_user_may_not_look_at_the_machines_install() {
    for command in ["status", "support", "configure"] {
        let ended = Machine::new()
            .through("setpriv --reuid=5001 --regid=5001 --clear-groups")
            .runs(command)
            .run("");
        assert!(ended.fails().contains("only root"), "{command}");
    }
}
