//! Who is asked, from where, and what Duo is told.

use fake_duo::{FakeDuo, Script};

use crate::machine::{PASSWORD, PamWorld, code};
use crate::support::side_by_side;

/// A parameter of the first preauth.
fn told_duo(world: &PamWorld, name: &str) -> Option<String> {
    let requests = world.sandbox.duo.requests();
    let preauth = requests.iter().find(|one| one.endpoint() == "preauth");
    preauth.expect("a preauth").param(name).map(str::to_owned)
}

fn both(answer: &str) -> String {
    format!("{PASSWORD}\n{answer}\n")
}

/// A machine where a push of everybody's is approved at once.
fn world(extra: &str) -> PamWorld {
    PamWorld::with(
        FakeDuo::builder()
            .default_script(Script::Sync)
            .without_users(),
        extra,
    )
}

pub fn su_to_root_asks_the_caller() {
    for words in [&[][..], &["-"][..], &["-l"], &["root"], &["-", "root"]] {
        let world = world("");
        let words = [words, &["-c", "id -u"][..]].concat();
        let ended = world.su("push", &words, &both("1"));
        assert!(ended.stdout().contains("0\n"), "{words:?} {ended:?}");
        assert_eq!(told_duo(&world, "username").as_deref(), Some("push"));
        let line = world.wait_for_final();
        assert!(
            line.starts_with("Successful Duo login for 'push'"),
            "{line}"
        );
    }
}

pub fn su_to_another_asks_the_other() {
    let world = world("");
    let ended = world.su("push", &["manual", "-c", "id -un"], &both("1"));
    assert!(ended.stdout().contains("manual\n"), "{ended:?}");
    assert_eq!(told_duo(&world, "username").as_deref(), Some("manual"));
}

pub fn su_by_root_asks_whom_it_is_to_be() {
    for (target, expected) in [("root", "root"), ("push", "push")] {
        let world = world("");
        let ended = world.su("root", &[target, "-c", "id -un"], &both("1"));
        assert!(ended.stdout().contains(target), "{ended:?}");
        assert_eq!(told_duo(&world, "username").as_deref(), Some(expected));
    }
}

/// The service's name decides, not the program's.
pub fn another_service_to_root_asks_root() {
    let world = world("");
    assert_eq!(world.code("root", &["1"]), code::SUCCESS);
    assert_eq!(told_duo(&world, "username").as_deref(), Some("root"));
}

pub fn sudo_asks_the_invoking_user() {
    for words in [&["id", "-u"][..], &["-u", "manual", "id"], &["-i", "id"]] {
        let world = world("");
        let ended = world.sudo("push", words, &both("1"));
        assert_eq!(ended.code(), 0, "{words:?} {ended:?}");
        assert_eq!(told_duo(&world, "username").as_deref(), Some("push"));
    }
}

pub fn sudo_with_targetpw_asks_the_target() {
    let world = world("");
    let sudoers = "Defaults targetpw, timestamp_timeout=0, lecture=never\nALL ALL=(ALL) ALL\n";
    world.write("sudoers", sudoers, 0o440);
    let ended = world.sudo("push", &["-u", "manual", "id", "-un"], &both("1"));
    assert!(ended.stdout().contains("manual"), "{ended:?}");
    assert_eq!(told_duo(&world, "username").as_deref(), Some("manual"));
}

/// What the push says of the command.
fn command_in_the_push(world: &PamWorld) -> Option<String> {
    let requests = world.sandbox.duo.requests();
    let auth = requests.iter().find(|one| one.endpoint() == "auth");
    let info = auth.expect("an auth").param("pushinfo")?.to_owned();
    let command = info.split('&').find_map(|one| one.strip_prefix("Command="));
    command.map(str::to_owned)
}

pub fn sudos_command_is_in_the_push() {
    // What the caller has in its environment, pushinfo, and what the push says.
    let said = Some("%2Fusr%2Fbin%2Fid+-un".to_owned());
    let cases = [
        ("SUDO_COMMAND=", "yes", said.clone()),
        ("SUDO_COMMAND=/usr/bin/true", "yes", said.clone()),
        ("SUDO_COMMAND=/usr/bin/id -un", "yes", None),
        ("SUDO_COMMAND=", "no", None),
    ];
    side_by_side(&cases, |(variable, pushinfo, expected)| {
        let world = world(&format!("pushinfo = {pushinfo}"));
        let mut sudo = world.as_user("push");
        sudo.args(["env", variable, "sudo", "-S", "id", "-un"]);
        let ended = crate::support::run_with(sudo, both("1").as_bytes());
        assert!(ended.stdout().contains("root"), "{ended:?}");
        let command = command_in_the_push(&world).filter(|text| !text.is_empty());
        let command = command.map(|text| text.replace("%20", "+"));
        assert_eq!(command, *expected, "{variable} {pushinfo}");
    });
}

/// Of sudo alone: another program's variable is its caller's.
pub fn the_variable_of_another_program_is_no_command() {
    let world = world("pushinfo = yes");
    let mut su = world.as_user("push");
    su.args(["env", "SUDO_COMMAND=/bin/forged", "su", "-c", "id"]);
    let ended = crate::support::run_with(su, both("1").as_bytes());
    assert_eq!(ended.code(), 0, "{ended:?}");
    let command = command_in_the_push(&world);
    assert!(command.is_none_or(|text| text.is_empty()));
}

pub fn the_client_is_an_address_or_what_sshd_knows() {
    // PAM_RHOST, SSH_CONNECTION in PAM's environment, ipaddr, and what the log says.
    let cases = [
        ("192.0.2.7", "", Some("192.0.2.7"), "from 192.0.2.7"),
        ("2001:db8::7", "", Some("2001:db8::7"), "from 2001:db8::7"),
        ("client.example", "", None, "from client.example"),
        (
            "client.example",
            "SSH_CONNECTION=192.0.2.9 50022 192.0.2.1 22",
            Some("192.0.2.9"),
            "from 192.0.2.9",
        ),
        ("", "SSH_CONNECTION=nonsense", None, "'push'"),
        ("192.0.2.7 ", "", None, "'push'"),
        ("UNKNOWN", "", None, "'push'"),
    ];
    side_by_side(&cases, |(rhost, variable, address, logged)| {
        let world = world("");
        let mut words = vec!["-h", rhost, "-a", "1"];
        if !variable.is_empty() {
            words.extend(["-e", variable]);
        }
        words.extend(["duo", "push"]);
        let asked = world.host(&words);
        assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
        let sent = told_duo(&world, "ipaddr");
        assert_eq!(sent.as_deref(), *address, "{rhost} {variable}");
        let line = world.wait_for_final();
        assert!(line.contains(logged), "{line}");
    });
    // The host's own environment is not PAM's.
    let world = world("");
    let mut host = world.inside();
    host.env("SSH_CONNECTION", "192.0.2.66 1 192.0.2.1 22");
    let asked = world.host_by(host, &["-a", "1", "duo", "push"]);
    assert_eq!(asked.code(), code::SUCCESS);
    assert_eq!(told_duo(&world, "ipaddr"), None);
}

pub fn no_client_forges_a_line_or_a_field() {
    let hostile = [
        "192.0.2.7\\x0aSuccessful Duo login for 'root' from 192.0.2.1: push1",
        "x' from 192.0.2.9: push1",
        "\\x1b[2J\\x0d\\x9b\\xe2\\x80\\xaeevil",
        "a\\x09b c",
    ];
    for rhost in hostile {
        let world = world("");
        let asked = world.host(&["-h", rhost, "-a", "1", "duo", "push"]);
        assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
        assert_eq!(told_duo(&world, "ipaddr"), None);
        let line = world.wait_for_final();
        let starts = "Successful Duo login for 'push'";
        assert!(line.starts_with(starts), "{line}");
        assert!(!line.contains("x' from"), "{line}");
        world.wait_until_empty();
        let finals = world.finals();
        assert_eq!(finals.len(), 1, "{finals:#?}");
        for line in world.log() {
            assert!(!line.text.chars().any(char::is_control), "{line:?}");
        }
    }
}

pub fn the_gecos_field_names_whom_duo_is_asked_about() {
    let edit = |passwd: &mut Vec<String>| {
        for line in passwd.iter_mut() {
            *line = line.replace(":push:/srv", ":Room 1,alice@example.com:/srv");
        }
    };
    let builder = || FakeDuo::builder().default_script(Script::Sync);
    let extra = "gecos_username_pos = 2";
    let world = PamWorld::of(builder(), extra, edit);
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
    let name = told_duo(&world, "username");
    assert_eq!(name.as_deref(), Some("alice@example.com"));
    world.wait_for_log(|text| text.starts_with("Successful Duo login for 'alice@example.com'"));
}

const KEY: &str = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAAC3Nz\\x0a";

pub fn after_a_key_only_whoever_came_with_one_is_looked_at() {
    let arguments = "conf=/etc/duo/pam_duo.conf after=publickey";
    let with_key = world("");
    with_key.stack_with("duo", "", arguments);
    for value in [
        KEY,
        "SSH_AUTH_INFO_0=password\\x0apublickey ssh-rsa AAAA\\x0a",
    ] {
        let asked = with_key.host(&["-e", value, "-a", "1", "duo", "push"]);
        assert_eq!(asked.code(), code::SUCCESS, "{value}: {asked:#?}");
    }
    // Without one, neither groups nor failmode let anybody pass.
    let refused = crate::support::RefusedPort::take();
    let down = format!("failmode = safe\nhost = localhost:{}", refused.number());
    for extra in [
        "groups = nobody-is-in-it",
        &down,
        "nonsense = 1\nfailmode = safe",
    ] {
        let world = world(extra);
        world.stack_with("duo", "", arguments);
        for value in [
            "",
            "SSH_AUTH_INFO_0=",
            "SSH_AUTH_INFO_0=password\\x0a",
            "SSH_AUTH_INFO_0=publickeyish ssh-rsa\\x0a",
            "SSH_AUTH_INFO_0=x publickey ssh-rsa\\x0a",
            "SSH_AUTH_INFO_1=publickey ssh-rsa AAAA\\x0a",
        ] {
            world.clear_log();
            let mut words = vec!["-a", "1"];
            if !value.is_empty() {
                words.extend(["-e", value]);
            }
            words.extend(["duo", "push"]);
            let mut host = world.inside();
            host.env("SSH_AUTH_INFO_0", "publickey ssh-rsa AAAA\n");
            let asked = world.host_by(host, &words);
            assert_eq!(asked.code(), code::ABORT, "{extra} {value}: {asked:#?}");
            let line = world.wait_for_final();
            assert!(line.starts_with("Aborted Duo login for 'push'"), "{line}");
        }
        assert!(world.sandbox.duo.paths().is_empty());
        // With a key, they do.
        let asked = world.host(&["-e", KEY, "-a", "1", "duo", "push"]);
        assert_eq!(asked.code(), code::SUCCESS, "{extra}: {asked:#?}");
    }
}
