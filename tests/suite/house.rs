//! The walls between the crates: which crate may use which, and what the setuid
//! program must not hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A line of the table of crates in CONTRIBUTING.md.
struct Room {
    name: String,
    ours: BTreeSet<String>,
    others: BTreeSet<String>,
}

fn quoted(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

/// The table of crates, in its order.
fn rooms() -> Vec<Room> {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, table) = text
        .split_once("<!-- crates:")
        .expect("the table of crates");
    let lines = table.lines().skip_while(|line| !line.starts_with("| ---"));
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            let [name, _, ours, others] = cells[..] else {
                panic!("not four cells: {line}")
            };
            Room {
                name: quoted(name).pop_first().expect("a crate"),
                ours: quoted(ours),
                others: quoted(others),
            }
        })
        .collect()
}

fn folder(name: &str) -> PathBuf {
    match name {
        "login_duo" => root().to_owned(),
        _ => root().join("crates").join(name),
    }
}

/// The lines of `[dependencies]` in a crate's manifest.
fn dependencies(name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder(name).join("Cargo.toml")).unwrap();
    let (_, section) = text.split_once("\n[dependencies]\n").expect("dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_crate_uses_what_contributing_says_and_only_crates_above_it() {
    let mut above = BTreeSet::new();
    let rooms = rooms();
    assert_eq!(rooms.len(), 10);
    for room in rooms {
        let used: BTreeSet<String> = dependencies(&room.name)
            .iter()
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect();
        let expected: BTreeSet<String> = room.ours.union(&room.others).cloned().collect();
        assert_eq!(used, expected, "{}", room.name);
        assert!(
            room.ours.is_subset(&above),
            "{} uses {:?}",
            room.name,
            room.ours
        );
        above.insert(room.name);
    }
    let crates = fs::read_dir(root().join("crates")).unwrap();
    for entry in crates {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(above.contains(&name), "{name} is not in the table");
    }
}

#[test]
fn features_are_set_for_the_whole_workspace_and_nowhere_else() {
    for room in rooms() {
        for line in dependencies(&room.name) {
            let (name, rest) = line.split_once(" = ").expect("name = value");
            // Optional is what the feature `fips` alone builds.
            let is_plain = rest == "{ workspace = true }";
            let is_optional = rest == "{ workspace = true, optional = true }";
            assert!(is_plain || is_optional, "{name} of {}: {rest}", room.name);
        }
    }
}

/// What a sysadmin looks up in the list of certificates must be what is built in.
#[test]
fn the_fips_module_is_called_by_its_locked_version() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let name = "aws-lc-fips-sys";
    let (_, rest) = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .expect("the module");
    let (version, _) = rest.split_once('"').expect("its version");
    let source = root().join("crates/duo-policy/src/cryptography.rs");
    for place in [source, root().join("docs/fips.md")] {
        let text = fs::read_to_string(&place).unwrap();
        assert!(text.contains(&format!("{name} {version}")), "{place:?}");
    }
}

#[test]
fn unsafe_code_is_in_one_folder_and_in_the_module() {
    for room in rooms() {
        let lib = fs::read_to_string(folder(&room.name).join("src/lib.rs")).unwrap();
        let forbids = lib.contains("#![forbid(unsafe_code)]");
        let has_unsafe = ["duo-system", "pam-duo"].contains(&room.name.as_str());
        assert_eq!(forbids, !has_unsafe, "{}", room.name);
    }
    let system = fs::read_to_string(folder("duo-system").join("src/lib.rs")).unwrap();
    assert!(system.contains("#![deny(unsafe_code)]"));
    let privsep = fs::read_to_string(folder("duo-system").join("src/privsep/mod.rs")).unwrap();
    assert!(privsep.contains("#![allow(unsafe_code)]"));
}

/// What an administrator needs is not in the setuid program: no text of it, and
/// so none of its code.
#[test]
fn nothing_of_the_check_is_linked_into_the_setuid_program() {
    let texts = [
        "installation.owner",
        "network.pin",
        "sshd.force_command",
        "configuration.reach",
        "usermod --shell",
        "/usr/sbin/sshd",
        "Duo Admin Panel and take its keys",
        "/var/log/auth.log",
        "duoctl-support/facts.json",
        "adopted.json",
        "EMERGENCY CODES",
    ];
    let holds = |program: &str, text: &str| {
        let bytes = fs::read(program).unwrap();
        let text = text.as_bytes();
        bytes.windows(text.len()).any(|window| window == text)
    };
    for text in texts {
        assert!(holds(env!("CARGO_BIN_EXE_duoctl"), text), "{text}");
        assert!(!holds(env!("CARGO_BIN_EXE_login_duo"), text), "{text}");
    }
}
