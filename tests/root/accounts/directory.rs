//! A directory service that is down, or answers less than the truth: whoever
//! logs in meanwhile is asked or denied, never passed.

use std::process::Command;

use super::groups::{assert_asked, assert_passed};
use super::{ANNA, BERT, CARL, FAR, Machine};
use crate::support::run;

/// What the service answers.
struct Directory {
    /// To a lookup by name or id.
    lookup: &'static str,
    /// To a question for a user's groups.
    listing: &'static str,
    /// The errno beside either.
    why: &'static str,
}

/// It comes last, so that what it says is what counts.
const LAST: &str = "files loginduotest";

const UP: Directory = Directory {
    lookup: "SUCCESS",
    listing: "SUCCESS",
    why: "EIO",
};

/// The cache is the machine's own, and so are ldconfig's notes for the next time.
const CACHE: &str = "[ ! -d /var/cache/ldconfig ] || mount -t tmpfs none /var/cache/ldconfig; \
                     rm -f /etc/ld.so.cache; ldconfig -X";

impl Machine {
    /// With this directory behind the machine's own files.
    fn with_directory(self, directory: &Directory) -> Machine {
        let folder = self.path().join("nss");
        std::fs::create_dir(&folder).expect("a folder");
        let library = folder.join("libnss_loginduotest.so.2");
        let built = Command::new("gcc")
            .args([
                "-shared",
                "-fPIC",
                "-Wall",
                "-Wl,-soname,libnss_loginduotest.so.2",
            ])
            .arg(format!("-DLOOKUP=NSS_STATUS_{}", directory.lookup))
            .arg(format!("-DLISTING=NSS_STATUS_{}", directory.listing))
            .arg(format!("-DWHY={}", directory.why))
            .arg("-o")
            .arg(library)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/root/accounts/directory.c"
            ))
            .output()
            .expect("gcc runs");
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success() && told.is_empty(), "{told}");
        // The loader of a setuid program looks nowhere but in its cache and the
        // system's own folders.
        self.write("ld.so.conf", &format!("{}\n", folder.display()));
        let mut cache = self.inside();
        cache.args(["sh", "-c", CACHE]);
        run(cache).succeeds();
        self.switch(LAST);
        self
    }

    /// Who is asked about users and groups, in this order.
    fn switch(&self, services: &str) {
        let text = format!("passwd: {services}\ngroup: {services}\nhosts: files dns\n");
        self.write("nsswitch.conf", &text);
    }
}

pub fn a_directory_that_answers_lets_others_pass() {
    let machine = Machine::new("groups = far-admins").with_directory(&UP);
    let ended = machine.login(ANNA).run();
    assert_passed(&ended, "anna");
    let ended = machine.login(BERT).run();
    assert_asked(&ended);
}

pub fn a_directory_that_is_down_asks_and_never_passes() {
    let table = [
        ("UNAVAIL", "ECONNREFUSED", "connection refused"),
        ("UNAVAIL", "ENOENT", "no such file or directory"),
        ("TRYAGAIN", "EAGAIN", "try again"),
    ];
    for (status, why, words) in table {
        let down = Directory {
            lookup: status,
            listing: status,
            why,
        };
        let machine = Machine::new("").with_directory(&down);
        for (groups, name) in [
            ("far-admins", "far-admins"),
            ("far-*", "login_duo-no-such-group"),
            ("empty,!far-admins", "far-admins"),
        ] {
            // Bert is in far-admins, but the machine's own files do not know it.
            machine.configure(&format!("groups = {groups}\nfailmode = safe"));
            let ended = machine.login(BERT).run();
            assert_asked(&ended);
            let line = format!(
                "[4] asking, since it is not sure who need not be: \
                 group '{name}' cannot be looked up: {words}"
            );
            ended.assert_logged(&line);
        }
        // Who is asked in any case, and who is asked since nobody is let pass.
        for groups in ["groups = staff", ""] {
            machine.configure(groups);
            let ended = machine.login(BERT).run();
            assert_asked(&ended);
            assert!(!ended.stderr().contains("not sure"), "{}", ended.stderr());
        }
    }
}

pub fn a_directory_whose_failure_the_next_service_hides_asks() {
    let down = Directory {
        lookup: "UNAVAIL",
        listing: "UNAVAIL",
        why: "ECONNREFUSED",
    };
    let machine = Machine::new("groups = far-admins\nfailmode = safe").with_directory(&down);
    for (services, why) in [
        // files' "no such group" is the last word here.
        (
            "loginduotest files",
            "was not found, and nsswitch.conf hides whether a directory is down",
        ),
        (
            "files loginduotest [UNAVAIL=return TRYAGAIN=return] files",
            "cannot be looked up: connection refused",
        ),
    ] {
        machine.switch(services);
        let ended = machine.login(BERT).run();
        assert_asked(&ended);
        let line =
            format!("[4] asking, since it is not sure who need not be: group 'far-admins' {why}");
        ended.assert_logged(&line);
    }
    // A group that is there is no reason to doubt.
    let machine = Machine::new("groups = far-admins admins").with_directory(&UP);
    machine.switch("loginduotest files");
    assert_passed(&machine.login(ANNA).run(), "anna");
}

pub fn a_directory_that_answers_with_fewer_groups_asks() {
    for listing in ["UNAVAIL", "TRYAGAIN", "NOTFOUND"] {
        // Down when asked for Bert's groups, and back a moment later.
        let flapping = Directory { listing, ..UP };
        let machine = Machine::new("groups = far-admins\nfailmode = safe");
        let machine = machine.with_directory(&flapping);
        let ended = machine.login(BERT).run();
        assert_asked(&ended);
        ended.assert_logged(
            "[4] asking, since it is not sure who need not be: \
             group 'far-admins' lists the user, but was not among the user's groups",
        );
    }
}

pub fn a_directory_that_cannot_name_a_group_id_denies() {
    let down = Directory {
        lookup: "UNAVAIL",
        listing: "UNAVAIL",
        why: "ECONNREFUSED",
    };
    let machine = Machine::new("").with_directory(&down);
    for groups in ["groups = *", "groups = admins"] {
        machine.configure(&format!("{groups}\nfailmode = safe"));
        let ended = machine.login(CARL).run();
        ended.assert_denied();
        ended.assert_logged(
            "[3] Error in Duo login for 'carl' from 192.0.2.7: \
             the name of group id 62099 cannot be looked up: connection refused",
        );
    }
}

pub fn a_directory_that_is_down_and_knows_the_account_denies() {
    let down = Directory {
        lookup: "UNAVAIL",
        listing: "UNAVAIL",
        why: "ECONNREFUSED",
    };
    let machine = Machine::new("failmode = safe").with_directory(&down);
    let ended = machine.login(FAR).env("USER", "anna").run();
    ended.assert_denied();
    let stderr = ended.stderr();
    assert!(
        stderr.contains("couldn't look up the user id 61050: "),
        "{stderr}"
    );
    assert!(ended.requests.is_empty());
}
