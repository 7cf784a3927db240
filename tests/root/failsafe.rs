//! packaging/monitoring/login_duo-failsafe, with a journalctl and an id of the test's: a login
//! without Duo is told of though the script was not running meanwhile (docs/monitoring.md, *An
//! alert for `Failsafe`*).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::Ended;

const FAILSAFE: &str = "c76684e8af98445d9c70bf944ce56f5d";

/// A folder with the stand-ins, the journal and what the script keeps.
struct Listener {
    folder: TempDir,
}

impl Listener {
    /// Users of this machine: name and number.
    fn new(users: &[(&str, u32)]) -> Listener {
        let listener = Listener {
            folder: tempfile::tempdir().unwrap(),
        };
        let ids: String = users
            .iter()
            .map(|(name, uid)| format!("{name}) echo {uid} ;;\n"))
            .collect();
        let id = format!("#!/bin/sh\ncase $2 in\n{ids}*) exit 1 ;;\nesac\n");
        listener.program("id", &id);
        // The entries behind the one that --after-cursor names, or the last N of --lines N;
        // it ends where the real one would wait.
        listener.program(
            "journalctl",
            "#!/bin/sh\necho \"$*\" >>asked\n\
             after= lines=all\n\
             while [ $# -gt 0 ]; do\n\
             case $1 in --after-cursor=*) after=${1#*=} ;; --lines) lines=$2 ;; esac\n\
             shift\n\
             done\n\
             if [ -n \"$after\" ]; then sed \"0,/\\\"__CURSOR\\\":\\\"$after\\\"/d\" journal\n\
             elif [ \"$lines\" = all ]; then cat journal\n\
             else tail -n \"$lines\" journal; fi\n",
        );
        listener.program(
            "tell",
            "#!/bin/sh\njq -r .__CURSOR >>told\n[ ! -e dies ] || kill -9 $PPID\n",
        );
        fs::write(listener.at("journal"), "").unwrap();
        listener
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Entries that come after those that there are.
    fn add(&self, entries: &[(&str, u32, &str)]) {
        let mut journal = fs::read_to_string(self.at("journal")).unwrap();
        for (cursor, uid, id) in entries {
            let uid = uid.to_string();
            let entry = serde_json::json!({"__CURSOR": cursor, "_UID": uid, "MESSAGE_ID": id});
            journal += &format!("{entry}\n");
        }
        fs::write(self.at("journal"), journal).unwrap();
    }

    fn run(&self) -> Ended {
        let script = "packaging/monitoring/login_duo-failsafe";
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
        command
            .arg(self.at("tell"))
            .current_dir(self.folder.path())
            .env_clear()
            .env("STATE_DIRECTORY", self.at("state"))
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.folder.path().display()),
            );
        Ended::of(&mut command)
    }

    /// The cursors of the entries of which somebody was told.
    fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.at("told")).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }
}

pub fn a_login_while_the_script_did_not_run_is_told_of_afterwards() {
    let listener = Listener::new(&[("duo", 998), ("sshd", 997)]);
    listener.add(&[("before", 998, FAILSAFE)]);
    listener.run().succeeds();
    assert_eq!(listener.told(), [""; 0], "it was before the first start");

    // The entries of a time in which nothing ran; most are not ours.
    listener.add(&[("a", 0, "x"), ("b", 1000, FAILSAFE), ("c", 998, FAILSAFE)]);
    listener.add(&[("d", 998, "x"), ("e", 997, FAILSAFE), ("f", 998, FAILSAFE)]);
    listener.run().succeeds();
    assert_eq!(listener.told(), ["c", "f"]);
    listener.add(&[("g", 998, FAILSAFE)]);
    listener.run().succeeds();
    assert_eq!(listener.told(), ["c", "f", "g"], "each once");
}

pub fn what_was_not_told_to_its_end_is_told_again() {
    let listener = Listener::new(&[("duo", 998)]);
    listener.add(&[("before", 998, "x")]);
    listener.run().succeeds();
    listener.add(&[("a", 998, FAILSAFE)]);
    fs::write(listener.at("dies"), "").unwrap();
    let _ = listener.run();
    fs::remove_file(listener.at("dies")).unwrap();
    listener.run().succeeds();
    assert_eq!(listener.told(), ["a", "a"]);
}

/// A journal in which nobody logs in without Duo for a year is not read anew at each start.
pub fn the_place_in_the_journal_moves_on_without_a_login_too() {
    let listener = Listener::new(&[("duo", 998)]);
    listener.add(&[("before", 998, "x")]);
    listener.run().succeeds();
    let cursors: Vec<String> = (0..2_500).map(|number| format!("n{number}")).collect();
    let entries: Vec<(&str, u32, &str)> = cursors.iter().map(|it| (&**it, 0, "x")).collect();
    listener.add(&entries);
    listener.run().succeeds();
    listener.run().succeeds();
    let asked = fs::read_to_string(listener.at("asked")).unwrap();
    let last = asked.lines().last().unwrap();
    assert!(last.contains("--after-cursor=n1999"), "{last}");
    assert_eq!(listener.told(), [""; 0]);
}

pub fn without_the_user_duo_it_takes_sshds_lines_and_without_that_it_says_so() {
    let listener = Listener::new(&[("sshd", 997)]);
    listener.add(&[("before", 997, "x")]);
    listener.run().succeeds();
    listener.add(&[("a", 998, FAILSAFE), ("b", 997, FAILSAFE)]);
    listener.run().succeeds();
    assert_eq!(listener.told(), ["b"]);

    let nobody = Listener::new(&[]);
    let said = nobody.run().fails();
    assert!(said.contains("there is no user 'duo'"), "{said}");
    assert!(!nobody.at("asked").exists());
}
