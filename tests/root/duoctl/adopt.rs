//! `duoctl adopt` with Duo's own C program behind a real sshd.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::machine::{Sshd, World};
use crate::support::{Ended, Raises, run};

/// Where the two programs are on these machines.
const OURS: &str = "/run/p/login_duo";
const THEIRS: &str = "/run/c/sbin/login_duo";

/// The file that Debian's build of the C program reads.
const THEIR_FILE: &str = "/etc/security/login_duo.conf";

/// A machine on which sshd runs the C program for everybody.
struct Machine {
    world: World,
    sshd: Sshd,
}

impl Machine {
    fn new() -> Machine {
        let world = World::with("", |passwd| {
            passwd.push("nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin".to_owned());
        });
        let program = std::env::var("LOGIN_DUO_C_PROGRAM").unwrap();
        // A setuid program takes no library from a folder that its caller names.
        let setup = format!(
            "set -e
             rm -rf /etc/security /etc/ld.so.cache
             mkdir /etc/security /run/p
             mkdir -p /run/c/sbin /run/c/lib
             cp '{program}' {THEIRS}
             cp \"$(dirname '{program}')\"/../lib/*/libduo.so.3* /run/c/lib/ 2>/dev/null || :
             echo /run/c/lib > /etc/ld.so.conf
             cat /srv/realetc/ld.so.conf.d/*.conf >> /etc/ld.so.conf
             [ ! -d /var/cache/ldconfig ] || mount -t tmpfs none /var/cache/ldconfig
             ldconfig -X
             mv /etc/duo/login_duo.conf {THEIR_FILE}
             chown sshd {THEIR_FILE}
             chmod 4755 {THEIRS}
             cp -p /srv/bin/login_duo /srv/bin/duoctl /run/p/"
        );
        succeeds(&world, &setup);
        let lines = format!(
            "Subsystem sftp internal-sftp\nForceCommand {THEIRS}\n\
             Match User push\n  ForceCommand \"{THEIRS}\" # p\n"
        );
        let sshd = Sshd::start_with(&world, &lines);
        Machine { world, sshd }
    }

    fn adopt(&self, arguments: &[&str]) -> Ended {
        let mut command = self.world.inside();
        command.args(["/run/p/duoctl", "adopt", "--sshd-config"]);
        command.arg(self.sshd.config()).args(arguments);
        run(command)
    }

    fn sshd_config(&self) -> String {
        std::fs::read_to_string(self.sshd.config()).unwrap()
    }

    /// Owner and mode of a file.
    fn status(&self, path: &str) -> String {
        succeeds(&self.world, &format!("stat -c '%U %a' {path}"))
    }

    /// Whether a login went through the C program, which waits within `auth`.
    fn is_asked_by_theirs(&self) -> bool {
        let before = self.world.sandbox.duo.paths().len();
        let login = self.sshd.ssh("push", "echo in");
        assert_eq!(login.stdout(), "in\n", "{}", login.text());
        let paths = self.world.sandbox.duo.paths().split_off(before);
        assert!(!paths.is_empty(), "nobody was asked");
        paths.iter().all(|path| path != "auth_status")
    }

    /// Runs `work` while someone whom Duo denies tries to log in, again and again.
    fn nobody_gets_in_during(&self, work: impl FnOnce()) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut tries = 0;
                while tries < 2 || !over.load(Ordering::Relaxed) {
                    let login = self.sshd.ssh("deny", "echo in");
                    assert!(!login.stdout().contains("in"), "{}", login.text());
                    tries += 1;
                }
            });
            let _over = Raises(&over);
            work();
        });
    }
}

fn succeeds(world: &World, script: &str) -> String {
    let mut command = world.inside();
    command.args(["sh", "-c", script]);
    run(command).succeeds()
}

fn json(ended: &Ended) -> Value {
    serde_json::from_slice(ended.stdout_bytes()).unwrap_or_else(|_| panic!("{}", ended.text()))
}

pub fn from_duos_program_and_back_without_a_login_that_is_not_asked() {
    let machine = Machine::new();
    let before = machine.sshd_config();
    assert!(machine.is_asked_by_theirs());
    let dry = machine.adopt(&["--dry-run"]).succeeds();
    assert!(dry.contains(&format!("would name {OURS}")), "{dry}");
    assert_eq!(machine.sshd_config(), before);

    machine.nobody_gets_in_during(|| {
        let said = machine.adopt(&[]).succeeds();
        assert!(said.contains("duoctl adopt --back"), "{said}");
    });
    assert_eq!(machine.sshd_config(), before.replace(THEIRS, OURS));
    assert_eq!(machine.status("/etc/duo/login_duo.conf"), "root 600\n");
    assert_eq!(machine.status(THEIR_FILE), "sshd 600\n");
    assert!(!machine.is_asked_by_theirs());
    let again = machine.adopt(&["--json"]);
    assert_eq!(
        (json(&again)["changed"].clone(), again.status()),
        (false.into(), 0)
    );

    // As a package's removal, or the way back that was documented once, leaves them.
    succeeds(
        &machine.world,
        &format!("chmod 755 {THEIRS}; chown root {THEIR_FILE}; chmod 640 {THEIR_FILE}"),
    );
    machine.nobody_gets_in_during(|| {
        let said = machine.adopt(&["--back"]).succeeds();
        assert!(said.contains("Duo login for 'nobody'"), "{said}");
    });
    assert_eq!(machine.sshd_config(), before);
    assert_eq!(machine.status(THEIRS), "root 4755\n");
    assert_eq!(machine.status(THEIR_FILE), "sshd 600\n");
    assert!(machine.is_asked_by_theirs());
    let again = machine.adopt(&["--back", "--from", THEIRS, "--json"]);
    assert_eq!(
        (json(&again)["changed"].clone(), again.status()),
        (false.into(), 0)
    );
}

pub fn a_configuration_that_does_not_work_is_not_adopted() {
    let machine = Machine::new();
    let before = machine.sshd_config();
    for (change, words) in [
        ("s/^skey = .*/skey = wrong/", "network.keys"),
        ("s/^ikey/ikei/", "configuration.syntax"),
    ] {
        succeeds(
            &machine.world,
            &format!("cp -p {THEIR_FILE} /run/kept; sed -i '{change}' {THEIR_FILE}"),
        );
        let said = machine.adopt(&[]).fails();
        assert!(said.contains(words), "{said}");
        succeeds(
            &machine.world,
            &format!("test ! -e /etc/duo/login_duo.conf; cp -p /run/kept {THEIR_FILE}"),
        );
    }
    // This program does not work.
    succeeds(&machine.world, &format!("chmod 755 {OURS}"));
    let said = machine.adopt(&[]).fails();
    assert!(said.contains("installation.mode"), "{said}");
    assert_eq!(machine.sshd_config(), before);
    succeeds(&machine.world, &format!("chmod 4755 {OURS}"));

    // A line that says more than a path means something to its author.
    let odd = before.replace(THEIRS, &format!("{THEIRS} -c {THEIR_FILE}"));
    std::fs::write(machine.sshd.config(), &odd).unwrap();
    let said = machine.adopt(&[]).fails();
    assert!(said.contains("change it by hand"), "{said}");
    assert_eq!(machine.sshd_config(), odd);
}

pub fn duos_program_is_not_gone_back_to_unless_it_asks_an_ordinary_user() {
    let machine = Machine::new();
    assert!(
        machine
            .adopt(&["--back"])
            .fails()
            .contains("nothing was adopted")
    );
    machine.adopt(&[]).succeeds();
    let adopted = machine.sshd_config();
    let refused = |change: &str, words: &str| {
        succeeds(&machine.world, change);
        let said = machine.adopt(&["--back"]).fails();
        assert!(said.contains(words), "{said}");
        assert_eq!(machine.sshd_config(), adopted, "{change}");
        assert!(!machine.is_asked_by_theirs());
    };
    // A key that it does not know: it would let everybody in.
    refused(
        &format!(
            "cp -p {THEIR_FILE} /run/kept; echo 'prompt_for_commands = no' >> {THEIR_FILE}; chown root {THEIR_FILE}"
        ),
        "prompt_for_commands",
    );
    assert_eq!(machine.status(THEIR_FILE), "root 600\n");
    refused(
        &format!("cp -p /run/kept {THEIR_FILE}; chmod 700 /etc/security"),
        "Permission denied",
    );
    refused(
        &format!("chmod 755 /etc/security; mv {THEIRS} /run/gone"),
        "install its package again",
    );
    succeeds(&machine.world, &format!("mv /run/gone {THEIRS}"));
    machine.adopt(&["--back"]).succeeds();
    assert!(machine.is_asked_by_theirs());
}

pub fn a_file_that_both_read_is_left_as_duos_program_needs_it() {
    let machine = Machine::new();
    let link = format!("ln -s {THEIR_FILE} /etc/duo/login_duo.conf");
    succeeds(&machine.world, &link);
    machine.nobody_gets_in_during(|| {
        let said = machine.adopt(&[]).succeeds();
        assert!(said.contains("Both programs read"), "{said}");
    });
    assert_eq!(machine.status(THEIR_FILE), "sshd 600\n");
    assert!(!machine.is_asked_by_theirs());
    machine.nobody_gets_in_during(|| {
        machine.adopt(&["--back"]).succeeds();
    });
    assert_eq!(machine.status(THEIR_FILE), "sshd 600\n");
    assert!(machine.is_asked_by_theirs());
}

pub fn where_one_file_cannot_be_written_no_line_changes() {
    let machine = Machine::new();
    // The last of the files, on a file system that is read-only.
    let setup = format!(
        "mkdir /var/lib/more
         printf 'Match User manual\\n  ForceCommand {THEIRS}\\n' > /var/lib/more/x.conf
         mount --bind /var/lib/more /var/lib/more
         mount -o remount,bind,ro /var/lib/more"
    );
    succeeds(&machine.world, &setup);
    let include = "Include /var/lib/more/*.conf\n";
    let before = include.to_owned() + &machine.sshd_config();
    std::fs::write(machine.sshd.config(), &before).unwrap();
    let said = machine.adopt(&[]).fails();
    assert!(
        said.contains("/var/lib/more/x.conf cannot be written"),
        "{said}"
    );
    assert_eq!(machine.sshd_config(), before);
    let folder = machine.sshd.config().parent().unwrap().to_owned();
    let left = succeeds(&machine.world, &format!("ls {}", folder.display()));
    assert!(!left.contains("sshd_config."), "{left}");
    assert!(machine.is_asked_by_theirs());

    succeeds(&machine.world, "mount -o remount,bind,rw /var/lib/more");
    machine.adopt(&[]).succeeds();
    let more = succeeds(&machine.world, "cat /var/lib/more/x.conf");
    assert_eq!(more, format!("Match User manual\n  ForceCommand {OURS}\n"));
    assert!(!machine.is_asked_by_theirs());
}

pub fn a_path_that_would_be_two_words_is_not_written() {
    let machine = Machine::new();
    let before = machine.sshd_config();
    let setup = "mkdir '/run/a b'; cp -p /run/p/* '/run/a b/'";
    succeeds(&machine.world, setup);
    let mut command = machine.world.inside();
    command.args(["/run/a b/duoctl", "adopt", "--sshd-config"]);
    command.arg(machine.sshd.config());
    let said = run(command).fails();
    assert!(said.contains("a blank"), "{said}");
    assert_eq!(machine.sshd_config(), before);
}

pub fn a_program_that_was_put_aside_takes_its_place_again() {
    let machine = Machine::new();
    // As install.sh leaves it: the other program beside, without its setuid bit.
    succeeds(
        &machine.world,
        &format!("cp {THEIRS} /run/p/login_duo.before; chmod 755 /run/p/login_duo.before"),
    );
    machine.adopt(&[]).succeeds();
    succeeds(&machine.world, "rm /var/lib/login_duo/adopted.json");
    assert!(!machine.is_asked_by_theirs());
    machine.nobody_gets_in_during(|| {
        machine.adopt(&["--back"]).succeeds();
    });
    assert_eq!(machine.status(OURS), "root 4755\n");
    assert_eq!(machine.status("/run/p/login_duo.after"), "root 755\n");
    assert!(machine.is_asked_by_theirs());
    assert!(!Path::new(&machine.world.at("/run/p/login_duo.before")).exists());
}
