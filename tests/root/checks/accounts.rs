//! Whom the configuration's groups ask, and the login of one user.

use super::Machine;

pub fn groups_that_reach_some_or_nobody() {
    let reach = |groups: &str| {
        Machine::new()
            .config(&format!("groups = {groups}\n"))
            .check("")
    };
    let found = reach("admins");
    found.is(
        "configuration.reach",
        "ok",
        "asks 1 of this machine's 3 accounts; not asked: root, bob",
    );
    found.is_ok("configuration.groups");
    reach("*").is("configuration.reach", "ok", "asks everybody");
    reach("empty").is(
        "configuration.reach",
        "fail",
        "none of this machine's 3 accounts",
    );
    reach("*,!root,!alice,!bob").is("configuration.reach", "fail", "none");
}

pub fn a_group_without_members_is_warned_of() {
    let found = Machine::new().config("groups = admins empty\n").check("");
    found.is("configuration.groups", "warn", "'empty' has no members");
    let found = Machine::new().config("groups = admins bob\n").check("");
    found.is_ok("configuration.groups");
}

pub fn a_group_without_a_name_denies_whoever_is_in_it() {
    let found = Machine::new()
        .group("bob:x:5002:\n", "")
        .config("groups = admins\n")
        .check("--as bob");
    found.is(
        "configuration.reach",
        "fail",
        "bob (group id 5002 has no name)",
    );
    found.is("user.gate", "fail", "group id 5002 has no name");
    let found = Machine::new().config("groups = bob\n").check("--as bob");
    found.is("user.gate", "ok", "'bob' takes the groups bob");
    found.is("user.duo", "ok", "Duo would ask");
}

pub fn a_user_id_with_two_names_is_told() {
    let twin = "bob:x:5002:5002:Bob:/:/bin/sh\nbobby:x:5002:5002:Bob:/:/bin/sh\n";
    let machine = Machine::new().passwd("bob:x:5002:5002:Bob:/:/bin/sh\n", twin);
    machine
        .check("--as bobby")
        .is("user.account", "warn", "user id of 'bob'");
    machine.check("--as bob").is_ok("user.account");
}

pub fn shells_that_let_nobody_in() {
    let with = |shell: &str| {
        let line = format!("Bob:/:{shell}\n");
        Machine::new()
            .passwd("Bob:/:/bin/sh\n", &line)
            .check("--as bob")
    };
    with("").is("user.shell", "ok", "/bin/sh");
    with("/usr/sbin/nologin").is("user.shell", "ok", "lets nobody in");
    let missing = with("/bin/no-such-shell");
    missing.is("user.shell", "fail", "no such file");
    missing.is_mended_by("user.shell", "usermod --shell /bin/sh bob");
}

/// Case 7: sshd runs the forced command with `-c`, in the account's own shell.
pub fn a_shell_that_cannot_run_us_locks_its_account_out() {
    let of = |shell: &str| Machine::new().passwd("Bob:/:/bin/sh", &format!("Bob:/:{shell}"));
    for shell in ["/usr/bin/rbash", "/usr/bin/git-shell"] {
        let found = of(shell).check("");
        found.is(
            "sshd.shell",
            "fail",
            &format!("{shell} runs only what it knows"),
        );
        found.is("sshd.shell", "fail", "locked out, bob");
        found.is_mended_by("sshd.shell", "duoctl enable ssh --exempt bob");
    }
    // One that nobody knows by name is tried, if it is root's and listed.
    let odd = |mode: &str| {
        let setup = format!(
            "printf '#!/bin/sh\\nexit 1\\n' > /run/odd; chmod {mode} /run/odd\n\
             rm /etc/shells; printf '/bin/sh\\n/run/odd\\n' > /etc/shells"
        );
        of("/run/odd").setup(&setup).check("")
    };
    odd("755").is("sshd.shell", "fail", "/run/odd cannot run login_duo");
    odd("777").is_ok("sshd.shell");
    // Nobody logs in with such a shell, and nobody is told to change it.
    for shell in ["/usr/sbin/nologin", "/bin/false"] {
        let found = of(shell).check("--as bob");
        found.is_ok("sshd.shell");
        found.is("user.shell", "ok", "lets nobody in");
    }
}
