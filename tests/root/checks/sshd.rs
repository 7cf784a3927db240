//! What a real `sshd -T` says, and what is made of it.

use super::Machine;

pub fn no_sshd_is_a_warning() {
    let found = Machine::new()
        .setup("mount --bind /dev/null /usr/sbin/sshd")
        .check("");
    found.is("sshd.program", "warn", "no sshd");
    assert!(found.of("sshd.force_command").is_empty());
    Machine::new()
        .check("")
        .is("sshd.program", "ok", "/usr/sbin/sshd");
}

pub fn an_sshd_that_cannot_tell_says_how_to_make_it() {
    let found = Machine::new().setup("rmdir /run/sshd").check("");
    found.is("sshd.configuration", "warn", "/run/sshd is missing");
    found.is_mended_by("sshd.configuration", "mkdir -m 755 /run/sshd");
}

pub fn a_broken_configuration_of_sshd_fails() {
    let found = Machine::new().sshd_adds("Nonsense yes\n").check("");
    found.is("sshd.configuration", "fail", "sshd -T failed");
    found.is_mended_by(
        "sshd.configuration",
        "/usr/sbin/sshd -T -f /run/sshd_config",
    );
}

pub fn without_force_command_nobody_is_asked() {
    let found = Machine::new().check("");
    found.is_ok("sshd.force_command");
    let found = Machine::new()
        .sshd("ForceCommand /run/bin/login_duo\n", "")
        .check("");
    found.is(
        "sshd.force_command",
        "fail",
        "no ForceCommand for everybody",
    );
    found.is_mended_by(
        "sshd.force_command",
        "ForceCommand /run/bin/login_duo   (in /run/sshd_config)",
    );
}

pub fn another_program_or_another_file_is_not_us() {
    let with = |command: &str| {
        Machine::new()
            .sshd("/run/bin/login_duo", command)
            .setup("ln -s login_duo /run/bin/link; cp /run/bin/login_duo /run/bin/copy")
            .check("")
    };
    with("/run/bin/link").is_ok("sshd.force_command");
    with("/run/bin/login_duo -d").is_ok("sshd.force_command");
    with("/run/bin/copy").is("sshd.force_command", "fail", "another program");
    with("login_duo").is("sshd.force_command", "fail", "another program");
}

pub fn match_blocks_that_escape_are_named() {
    for block in ["User bob", "Group admins", "User !bill,bob"] {
        let found = Machine::new()
            .sshd_adds(&format!("Match {block}\n  ForceCommand none\n"))
            .check("");
        let words = format!("'Match {block} (sshd_config:10)': not asked");
        found.is("sshd.force_command", "warn", &words);
        found.is("sshd.force_command", "ok", "everybody");
        found.is_ok("sshd.match");
    }
    let found = Machine::new()
        .sshd_adds("Match User bob\n  PermitTTY no\n")
        .check("");
    found.is_ok("sshd.force_command");
    let found = Machine::new()
        .sshd_adds("Match User root\n  ForceCommand none\n")
        .check("");
    found.is("sshd.force_command", "warn", "no ForceCommand for root");
    let only = Machine::new()
        .sshd("ForceCommand /run/bin/login_duo\n", "")
        .sshd_adds("Match Group admins\n  ForceCommand /run/bin/login_duo\n")
        .check("");
    only.is(
        "sshd.force_command",
        "warn",
        "no ForceCommand for everybody",
    );
    only.is("sshd.force_command", "ok", "Match Group admins");
}

pub fn a_match_block_that_cannot_be_tried_is_said() {
    for block in [
        "Group no-such-group",
        "Group empty",
        "User bob Group admins",
        "Address 10.0.0.0/8",
        "User b*,!bill",
        "Host *.example.com",
    ] {
        let found = Machine::new()
            .sshd_adds(&format!("Match {block}\n  ForceCommand none\n"))
            .check("");
        found.is(
            "sshd.match",
            "warn",
            &format!("Match {block} (sshd_config:10)"),
        );
        found.is_mended_by("sshd.match", "--as USER");
    }
}

pub fn included_files_are_seen() {
    let found = Machine::new()
        .sshd("ForceCommand", "Include /run/more/*.conf\nForceCommand")
        .setup("mkdir /run/more; printf 'Match User bob\\nForceCommand none\\n' > /run/more/a.conf")
        .check("");
    found.is("sshd.force_command", "warn", "'Match User bob (a.conf:1)'");
}

pub fn as_a_user_from_an_address() {
    let machine =
        Machine::new().sshd_adds("Match User bob Address 10.0.0.0/8\n  ForceCommand none\n");
    let escaped = machine.check("--as bob -h 10.1.2.3");
    escaped.is("sshd.force_command", "fail", "no ForceCommand for 'bob'");
    machine
        .check("--as bob -h 192.0.2.7")
        .is("sshd.force_command", "ok", "for 'bob'");
    machine
        .check("--as alice -h 10.1.2.3")
        .is("sshd.force_command", "ok", "for 'alice'");
}

pub fn ways_past_a_forced_command() {
    for (id, off, on, level) in [
        (
            "sshd.tcp_forwarding",
            "AllowTcpForwarding no",
            "AllowTcpForwarding yes",
            "fail",
        ),
        (
            "sshd.tcp_forwarding",
            "AllowTcpForwarding no",
            "AllowTcpForwarding local",
            "fail",
        ),
        ("sshd.tcp_forwarding", "AllowTcpForwarding no\n", "", "fail"),
        (
            "sshd.stream_local_forwarding",
            "AllowStreamLocalForwarding no\n",
            "",
            "fail",
        ),
        (
            "sshd.tunnel",
            "PermitTunnel no",
            "PermitTunnel ethernet",
            "fail",
        ),
        (
            "sshd.x11_forwarding",
            "X11Forwarding no",
            "X11Forwarding yes",
            "warn",
        ),
        ("sshd.permit_user_rc", "PermitUserRC no\n", "", "warn"),
        (
            "sshd.permit_user_environment",
            "PermitUserEnvironment no",
            "PermitUserEnvironment yes",
            "warn",
        ),
    ] {
        let machine = Machine::new();
        machine.check("").is_ok(id);
        let found = machine.sshd(off, on).check("");
        found.is(id, level, "everybody");
        found.is_mended_by(id, " no");
    }
    let found = Machine::new()
        .sshd("AllowTcpForwarding no", "DisableForwarding yes")
        .check("");
    found.is_ok("sshd.tcp_forwarding");
}

pub fn forwarding_that_one_match_block_opens() {
    let found = Machine::new()
        .sshd_adds("Match User bob\n  AllowTcpForwarding yes\n")
        .check("");
    found.is(
        "sshd.tcp_forwarding",
        "fail",
        "for 'Match User bob (sshd_config:10)'",
    );
}

pub fn what_a_client_may_set_before_us() {
    for (taken, words) in [
        ("*", "BASH_ENV"),
        ("LANG BASH_*", "BASH_ENV"),
        ("LD_PRELOAD", "LD_PRELOAD"),
    ] {
        let found = Machine::new().sshd("LANG LC_*", taken).check("");
        found.is("sshd.accept_env", "fail", words);
    }
    Machine::new().check("").is_ok("sshd.accept_env");
}

pub fn the_passcode_variable_and_our_option_belong_together() {
    let with = |taken: &str, option: &str| {
        let machine = Machine::new().sshd("LANG LC_*", taken);
        machine
            .config(&format!("accept_env_factor = {option}\n"))
            .check("")
    };
    with("LANG", "no").is_ok("sshd.accept_env_passcode");
    with("DUO_PASSCODE", "yes").is_ok("sshd.accept_env_passcode");
    with("LANG", "yes").is(
        "sshd.accept_env_passcode",
        "warn",
        "accept_env_factor does nothing",
    );
    with("DUO_*", "no").is("sshd.accept_env_passcode", "warn", "DUO_PASSCODE");
}

pub fn sftp_needs_a_server() {
    let with = |server: &str| Machine::new().sshd("internal-sftp", server).check("");
    with("internal-sftp").is("sshd.sftp", "ok", "is replaced by");
    with("/bin/sh").is("sshd.sftp", "ok", "/bin/sh");
    with("/no/such/server").is("sshd.sftp", "warn", "sftp fails");
    let hidden = Machine::new()
        .setup("for f in /usr/lib/openssh /usr/libexec /usr/lib/ssh; do if [ -d $f ]; then mount -t tmpfs none $f; fi; done")
        .check("");
    hidden.is("sshd.sftp", "warn", "internal-sftp");
}

pub fn root_has_a_way_in_while_duo_is_down() {
    let with = |failmode: &str, lines: &str| {
        Machine::new()
            .config(&format!("failmode = {failmode}\n"))
            .sshd_adds(lines)
            .check("")
    };
    with("safe", "").is("sshd.root_way_in", "ok", "failmode = safe");
    with("secure", "PermitRootLogin yes\n").is("sshd.root_way_in", "warn", "not even root");
    with("secure", "PermitRootLogin no\n").is("sshd.root_way_in", "warn", "PermitRootLogin no");
    let escape = "PermitRootLogin yes\nMatch User root\n  ForceCommand none\n";
    with("secure", escape).is("sshd.root_way_in", "ok", "root gets in");
}

/// Case 4: what only keys of the accounts' own can say.
pub fn keys_with_commands_and_where_they_may_be() {
    let keys = "mkdir /srv/home/b; printf '%s\\n' '# x' 'restrict,command=\"a b\" ssh-rsa AAAA' > /srv/home/b/keys; \
                chown -R 5002:5002 /srv/home/b; chmod 700 /srv/home/b";
    let machine = |lines: &str| Machine::new().setup(keys).sshd_adds(lines);
    let found = machine(
        "AuthorizedKeysFile /srv/home/b/keys\nMatch User alice,root\n  AuthorizedKeysFile none\n",
    )
    .check("");
    found.is(
        "sshd.forced_key",
        "fail",
        "/srv/home/b/keys:2: this key of 'bob' has a command=",
    );
    // Left out by sshd itself, the key keeps its command.
    let found = machine("AuthorizedKeysFile /srv/home/b/keys\nMatch User alice,root\n  AuthorizedKeysFile none\nMatch User bob\n  ForceCommand none\n").check("");
    found.is_ok("sshd.forced_key");
    // A folder of bob's is nobody else's to look into, root's rights included.
    let found = machine(
        "AuthorizedKeysFile /srv/home/b/keys\nMatch User bob,root\n  AuthorizedKeysFile none\n",
    )
    .check("");
    found.is(
        "sshd.keys_unread",
        "fail",
        "the keys of 'alice' cannot be read",
    );
    machine("PubkeyAuthentication no\nAuthorizedKeysFile /srv/home/b/keys\n")
        .check("")
        .is_ok("sshd.forced_key");
}

/// The reader of an account's keys runs as that account, whose owner may stop it: neither a
/// check nor the removal of a package waits for that.
pub fn a_user_who_stops_the_reader_of_their_keys_holds_up_nothing() {
    // Long enough to be met: the reader takes some time for so many lines. The user id is
    // none of another test's, whose processes are in the same pid namespace.
    let keys = "mkdir /srv/home/stop; yes '# x' | head -n 250000 > /srv/home/stop/keys; \
                chown -R 5099:5002 /srv/home/stop; \
                setpriv --reuid 5099 --regid 5002 --clear-groups perl -e \
                'my $parent = getppid; mkdir \"/srv/home/stop/ready\"; while (getppid == $parent) { for (glob \"/proc/[0-9]*\") { \
                my ($pid) = /(\\d+)$/; my $uid = (stat)[4]; \
                kill STOP => $pid if $pid != $$ && defined $uid && $uid == 5099 } }' \
                >/dev/null 2>&1 &\n\
                until [ -d /srv/home/stop/ready ]; do :; done";
    let files = ["/srv/home/stop/keys"; 10].join(" ");
    let found = Machine::new()
        .passwd("bob:x:5002:", "bob:x:5099:")
        .setup(keys)
        .sshd_adds(&format!(
            "AuthorizedKeysFile {files}\nMatch User alice,root\n  AuthorizedKeysFile none\n"
        ))
        .check("");
    found.is(
        "sshd.keys_unread",
        "fail",
        "the keys of 'bob' cannot be read",
    );
    found.is("sshd.keys_unread", "fail", "it did not answer in time");
}

/// Case 5, seen after somebody enabled by hand.
pub fn a_force_command_that_is_overruled_fails() {
    let found = Machine::new()
        .sshd_adds("ForceCommand internal-sftp\n")
        .check("");
    found.is(
        "sshd.other_force_command",
        "fail",
        "/run/sshd_config:10: ForceCommand internal-sftp",
    );
    let found = Machine::new()
        .sshd_adds("Match User bob\n  ForceCommand internal-sftp\n")
        .check("");
    found.is_ok("sshd.other_force_command");
    Machine::new().check("").is_ok("sshd.other_force_command");
}

/// The PAM style asks before sshd's time for a login is over.
pub fn a_short_grace_time_is_warned_of_where_pam_asks() {
    let with = |stack: &str, lines: &str| {
        Machine::new()
            .setup(&format!(
                "rm /etc/pam.d; mkdir /etc/pam.d; echo '{stack}' > /etc/pam.d/sshd"
            ))
            .sshd_adds(lines)
            .check("")
    };
    let asks = "auth required pam_duo.so";
    let found = with(asks, "UsePAM yes\nLoginGraceTime 120\n");
    found.is("sshd.login_grace_time", "warn", "after 120 s");
    found.is_mended_by("sshd.login_grace_time", "LoginGraceTime 420");
    for (stack, lines) in [
        (asks, "UsePAM yes\nLoginGraceTime 420\n"),
        (asks, "UsePAM yes\nLoginGraceTime 0\n"),
        (asks, "UsePAM no\n"),
        ("# auth required pam_duo.so", "UsePAM yes\n"),
    ] {
        assert!(
            with(stack, lines).of("sshd.login_grace_time").is_empty(),
            "{stack} {lines}"
        );
    }
}
