//! Where the lines go, whatever the machine is like, and that all of it comes back.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{disable, enable, enable_quietly};
use crate::host::*;
use crate::support::Ended;

/// What sshd_config is found like on machines: its name, and its text.
type Layouts = Vec<(&'static str, String)>;

fn of_bob() -> String {
    format!("Match User {BOB}\n  PermitTTY yes\n")
}

/// They include the folder in which the lines get a file of their own.
fn including(plain: &str, body: &str) -> Layouts {
    let all_after = "Match all\n  PermitTTY yes\n";
    vec![
        ("included first", plain.to_owned()),
        (
            "included last",
            format!("{}{INCLUDE}", body.replace("X11Forwarding yes\n", "")),
        ),
        ("relative", format!("Include sshd_config.d/*.conf\n{body}")),
        (
            "quoted",
            format!("Include \"/etc/ssh/sshd_config.d/*.conf\"\n{body}"),
        ),
        (
            "with an equals sign",
            format!("Include=/etc/ssh/sshd_config.d/*.conf\n{body}"),
        ),
        (
            "in capitals",
            format!("INCLUDE /etc/ssh/sshd_config.d/*.conf\n{body}"),
        ),
        ("indented", format!("\t {INCLUDE}{body}")),
        (
            "one of two",
            format!("Include /etc/none /etc/ssh/sshd_config.d/*.conf\n{body}"),
        ),
        (
            "every file",
            format!("Include /etc/ssh/sshd_config.d/*\n{body}"),
        ),
        (
            "with a comment",
            format!("Include /etc/ssh/sshd_config.d/*.conf # ours\n{body}"),
        ),
        ("carriage returns", plain.replace('\n', "\r\n")),
        (
            "Match blocks after",
            format!("{plain}{}{all_after}", of_bob()),
        ),
    ]
}

/// The lines become a block in them.
fn including_nothing_of_use(body: &str) -> Layouts {
    vec![
        ("nothing included", body.to_owned()),
        ("commented out", format!("#{INCLUDE}{body}")),
        (
            "another folder",
            format!("Include /etc/ssh/other.d/*.conf\n{body}"),
        ),
        (
            "another ending",
            format!("Include /etc/ssh/sshd_config.d/*.cnf\n{body}"),
        ),
        ("below a Match", format!("{body}{}{INCLUDE}", of_bob())),
        ("no line end", body.trim_end().to_owned()),
        ("carriage returns, a block", body.replace('\n', "\r\n")),
        ("blank lines at the end", format!("{body}\n\n\n")),
        ("a Match at the end", format!("{body}{}", of_bob())),
        ("bytes of another time", format!("# \u{e9}\n{body}")),
    ]
}

pub fn every_layout_with_a_file_of_its_own_comes_back_byte_for_byte() {
    let machine = Machine::new(DropIns::Included);
    let plain = fs::read_to_string(SSHD_CONFIG).expect("read");
    let layouts = including(&plain, &plain.replace(INCLUDE, ""));
    assert_eq!(layouts.len(), 12);
    each_comes_back_byte_for_byte(&machine, layouts, DropIns::Included);
}

pub fn every_layout_with_a_block_comes_back_byte_for_byte() {
    let machine = Machine::new(DropIns::Included);
    let plain = fs::read_to_string(SSHD_CONFIG).expect("read");
    let layouts = including_nothing_of_use(&plain.replace(INCLUDE, ""));
    assert_eq!(layouts.len(), 10);
    each_comes_back_byte_for_byte(&machine, layouts, DropIns::NotIncluded);
}

/// Where the lines go, and that each file comes back byte for byte.
fn each_comes_back_byte_for_byte(machine: &Machine, layouts: Layouts, drop_ins: DropIns) {
    let has_own_file = matches!(drop_ins, DropIns::Included);
    machine.install();
    fs::write(
        "/etc/ssh/sshd_config.d/50-other.conf",
        "PermitEmptyPasswords no\n",
    )
    .expect("written");
    for (name, text) in layouts {
        fs::write(SSHD_CONFIG, &text).expect("written");
        let before = state();
        for (arguments, asks_bob) in [(&[][..], true), (&["--group", GROUP], false)] {
            enable_quietly(arguments).succeeds();
            assert_eq!(Path::new(DROP_IN).exists(), has_own_file, "{name}");
            assert!(machine.is_asked(ALICE), "{name} {arguments:?}");
            assert_eq!(machine.is_asked(BOB), asks_bob, "{name} {arguments:?}");
            disable(&[]).succeeds();
            assert_same(&before);
        }
    }
}

/// A link to sshd_config stays one, and what it leads to is what changes.
pub fn a_link_to_the_configuration_stays_a_link() {
    let machine = Machine::new(DropIns::NotIncluded);
    machine.install();
    fs::create_dir("/etc/ldtest").expect("a folder");
    fs::rename(SSHD_CONFIG, "/etc/ldtest/sshd").expect("moved");
    std::os::unix::fs::symlink("/etc/ldtest/sshd", SSHD_CONFIG).expect("a link");
    let before = state();
    enable(&[]).succeeds();
    assert!(
        fs::symlink_metadata(SSHD_CONFIG)
            .expect("a link")
            .is_symlink()
    );
    assert!(machine.is_asked(ALICE));
    disable(&[]).succeeds();
    assert_same(&before);
}

fn json(ended: Ended) -> serde_json::Value {
    serde_json::from_slice(ended.stdout_bytes()).unwrap_or_else(|_| panic!("{}", ended.text()))
}

/// What a configuration management tool goes by.
pub fn a_second_run_changes_and_reloads_nothing_and_another_group_replaces() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let first = json(enable(&["--json", "--group", GROUP]));
    assert_eq!(
        (&first["changed"], &first["exit_status"]),
        (&true.into(), &0.into()),
        "{first}"
    );
    let pid_file = || {
        use std::os::unix::fs::MetadataExt;
        let status = fs::metadata("/run/sshd.pid").expect("a pid file");
        (status.ino(), status.mtime_nsec())
    };
    let (once, listening) = (state(), pid_file());
    let second = json(enable(&["--json", "--group", GROUP]));
    assert_eq!(second["changed"], false, "{second}");
    assert_same(&once);
    assert_eq!(pid_file(), listening);

    let other = json(enable(&["--json", "--user-list", BOB]));
    assert_eq!(other["changed"], true, "{other}");
    assert!(machine.is_asked(BOB) && !machine.is_asked(ALICE));
    let refused = json(enable(&["--json", "--group", "ldtest_misspelt"]));
    assert_eq!(
        (&refused["changed"], &refused["exit_status"]),
        (&false.into(), &1.into())
    );
    assert!(
        refused["error"]
            .as_str()
            .is_some_and(|text| text.contains("no group")),
        "{refused}"
    );

    assert_eq!(json(disable(&["--json"]))["changed"], true);
    assert_eq!(json(disable(&["--json"]))["changed"], false);
    assert_same(&before);
}

/// Not one byte of the old file is lost where the new one has no room.
pub fn a_full_disk_leaves_everything_as_it_was() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    let before = state();
    let folder = "/etc/ssh/sshd_config.d";
    succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k", "none", folder]));
    fs::write(format!("{folder}/50-full.conf"), "# \n".repeat(1365)).expect("written");
    let refused = enable(&[]).fails();
    assert!(
        refused.contains("cannot be written, and is as it was"),
        "{refused}"
    );
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
    assert!(!machine.is_asked(ALICE));
    succeed(Command::new("umount").arg(folder));
    assert_same(&before);
}

/// As in a small container: none of the programs that a script would need.
pub fn a_machine_with_next_to_nothing_on_it() {
    let machine = Machine::new(DropIns::Included);
    machine.install();
    for name in [
        "systemctl",
        "getent",
        "awk",
        "sed",
        "grep",
        "find",
        "su",
        "readlink",
        "mktemp",
    ] {
        let _ = fs::remove_file(Path::new("/usr/bin").join(name));
    }
    let before = state();
    enable_quietly(&["--group", GROUP]).succeeds();
    assert!(machine.is_asked(ALICE) && !machine.is_asked(BOB));
    disable(&[]).succeeds();
    assert_same(&before);
    let refused = enable_quietly(&["--group", "ldtest_misspelt"]).fails();
    assert!(refused.contains("there is no group"), "{refused}");
}
