//! What duoctl says of what is remembered: `check`, `status` and `forget`.

use std::fs;

use super::{Connection, FOLDER, approvals, file, remembering};
use crate::checks::Machine;
use crate::machine::{Sshd, World};
use crate::support::{Ended, run};

const ID: &str = "configuration.remember";

fn duoctl(world: &World, words: &[&str]) -> Ended {
    let mut duoctl = world.inside();
    duoctl.arg("/srv/bin/duoctl").args(words);
    run(duoctl)
}

fn remembered(world: &World) -> String {
    let text = duoctl(world, &["status"]).succeeds();
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix("Remembered"));
    row.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
}

pub fn status_counts_and_forget_removes_all_or_one_users() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    assert_eq!(remembered(&world), "no connection");
    let nothing = duoctl(&world, &["forget"]);
    assert_eq!(nothing.succeeds(), "nothing is remembered\n");
    let connections = ["push", "push", "phone"].map(|user| {
        let connection = Connection::open(&world, &sshd, user);
        assert!(connection.is_asked(&world));
        connection
    });
    let [one, other, phone] = &connections;
    let counted = "connections: 3, accounts: 2 (duoctl forget)";
    assert_eq!(remembered(&world), counted);

    let would = duoctl(&world, &["forget", "--dry-run", "push"]).succeeds();
    assert!(would.contains("would forget"), "{would}");
    assert_eq!(remembered(&world), counted);
    let said = duoctl(&world, &["forget", "push"]).succeeds();
    assert_eq!(
        said,
        "forgotten: approved connections that are open: 2, accounts: 1\n"
    );
    assert_eq!(approvals(&world, "push"), 0);
    assert!(!phone.is_asked(&world));
    assert!(one.is_asked(&world) && other.is_asked(&world));

    let uid = world.uid("phone").to_string();
    let json = duoctl(&world, &["forget", "--json", &uid]).succeeds();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["changed"], &json["connections"]),
        (&true.into(), &1.into())
    );
    assert!(phone.is_asked(&world));

    duoctl(&world, &["forget"]).succeeds();
    assert_eq!(remembered(&world), "no connection");
    for connection in &connections {
        assert!(connection.is_asked(&world));
    }
    let unknown = duoctl(&world, &["forget", "nobody-of-that-name"]).fails();
    assert!(
        unknown.contains("there is no user 'nobody-of-that-name'"),
        "{unknown}"
    );
}

pub fn status_counts_what_the_configuration_remembers_now() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "push");
    assert!(connection.is_asked(&world));
    let one = "connections: 1, accounts: 1 (duoctl forget)";
    assert_eq!(remembered(&world), one);
    // The time of the approval, in milliseconds.
    let before = |seconds: u64| {
        let mut bytes = fs::read(file(&world, "push")).unwrap();
        let field = &mut bytes[48..56];
        let now = u64::from_le_bytes(field.try_into().unwrap());
        field.copy_from_slice(&(now - seconds * 1_000).to_le_bytes());
        fs::write(file(&world, "push"), bytes).unwrap();
    };
    before(61);
    assert_eq!(remembered(&world), one);
    world
        .sandbox
        .configure("remember = connection\nremember_max = 1m\n");
    assert_eq!(remembered(&world), "no connection");
    world.sandbox.configure("");
    assert_eq!(remembered(&world), "no connection");
    // What cannot be read may remember anything.
    world
        .sandbox
        .configure("remember_max = 1m\nprompts = many\n");
    assert_eq!(remembered(&world), one);
}

pub fn ended_connections_are_not_counted_and_a_bad_file_is_forgotten_too() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "push");
    assert!(connection.is_asked(&world));
    drop(connection);
    world.wait_until_empty();
    assert_eq!(approvals(&world, "push"), 1);
    assert_eq!(remembered(&world), "no connection");
    fs::write(file(&world, "push"), "something else").unwrap();
    assert_eq!(remembered(&world), "no connection");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(file(&world, "push"), mode).unwrap();
    assert!(remembered(&world).starts_with("it cannot be told: "));
    duoctl(&world, &["forget"]).succeeds();
    assert_eq!(fs::read_dir(world.at(FOLDER)).unwrap().count(), 0);
}

pub fn forget_is_roots() {
    let world = remembering("");
    let mut duoctl = world.as_user("push");
    duoctl.args(["/srv/bin/duoctl", "forget"]);
    let said = run(duoctl).fails();
    assert!(said.contains("needs root"), "{said}");
}

pub fn check_says_what_makes_it_useless() {
    let machine = || Machine::new().config("remember = connection\nremember_max = 30m\n");
    assert_eq!(Machine::new().check("").levels(ID), Vec::<&str>::new());
    let good = "one yes serves all sessions of one connection, for 30 min at most";
    machine().check("").is(ID, "ok", good);
    let made =
        machine().setup("mkdir -p -m 700 /run/login_duo/remember && chmod 755 /run/login_duo");
    made.check("").is(ID, "ok", good);
    for (setup, words) in [
        (
            "chmod 711 /run/login_duo/remember",
            "remember is not a folder of root's alone",
        ),
        (
            "chown 5001 /run/login_duo/remember",
            "remember is not a folder of root's alone",
        ),
        (
            "rmdir /run/login_duo/remember; ln -s /run /run/login_duo/remember",
            "remember is not a folder of root's alone",
        ),
        (
            "chmod 777 /run/login_duo",
            "/run/login_duo is not a folder that root alone",
        ),
        (
            "chown 5001 /run/login_duo",
            "/run/login_duo is not a folder that root alone",
        ),
    ] {
        let made = "mkdir -m 755 /run/login_duo; mkdir -m 700 /run/login_duo/remember";
        let found = machine().setup(made).setup(setup).check("");
        found.is(ID, "warn", words);
    }
    let without = machine().through("setpriv --bounding-set=-sys_ptrace");
    without.check("").is(ID, "warn", "CAP_SYS_PTRACE");
    let plain = machine().setup("chmod 755 /run/bin/login_duo");
    plain.check("").is(ID, "warn", "setuid root");
}
