//! Programs that run a client's command on a terminal: mosh, Ansible, paramiko,
//! `ssh -tt`. Nobody sees that terminal, and a program reads it: so it is one
//! attempt with the default factor, and not a byte of ours stands on it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use fake_duo::{Endpoint, Fault, Script, Times};

use crate::machine::{DOCUMENTED, Sshd, World};
use crate::support::{Ended, Terminal, TerminalSize, ended, run, run_with, start};

const SIZE: TerminalSize = TerminalSize {
    rows: 31,
    columns: 97,
};

const MENU: &str = "Passcode or option (1-";

/// Configurations that make no difference to a client's command.
const CONFIGURATIONS: [&str; 2] = ["", "autopush = yes\n"];

/// Longer than a headless login on pipes waits before it says that it waits.
const SOME_SECONDS: Duration = Duration::from_secs(3);

/// `ssh -n -tt`, as mosh has it: a terminal there, and nobody at it.
fn on_a_terminal(sshd: &Sshd, user: &str, command: &str) -> Command {
    let mut ssh = sshd.client("ssh");
    ssh.args(["-n", "-tt", "-oSendEnv=DUO_PASSCODE"]);
    ssh.args([&format!("{user}@127.0.0.1"), command]);
    ssh
}

/// The outcome is that of a server without login_duo, byte for byte.
fn assert_the_same(with: &Ended, without: &Ended, what: &str) {
    assert_eq!(with.stdout(), without.stdout(), "{what}: {with:?}");
    assert_eq!(with.stderr(), without.stderr(), "{what}");
    assert_eq!(with.code(), without.code(), "{what}");
}

/// Duo was asked for so many logins (any number, but one at least, if `None`),
/// with one attempt each, with the default factor.
fn assert_asked(world: &World, logins: Option<usize>) {
    let duo = &world.sandbox.duo;
    let (preauths, auths) = (duo.asked("preauth"), duo.asked("auth"));
    assert_eq!((preauths, auths), (auths, logins.unwrap_or(auths)));
    assert!(auths > 0);
    for request in duo.requests() {
        if request.endpoint() == "auth" {
            assert_eq!(request.param("prompt"), Some("push1"), "{request}");
        }
    }
}

pub fn a_command_on_a_terminal_is_the_same_as_without_login_duo() {
    for configuration in CONFIGURATIONS {
        let world = World::with(configuration, |_| {});
        let sshd = Sshd::start(&world, DOCUMENTED);
        let plain = Sshd::start_with(&world, "");
        let duo = &world.sandbox.duo;
        duo.set_script("push", Script::PushAfter(Duration::ZERO));
        let commands = [
            "id",
            "echo 42",
            "stty -a; test -t 0 && test -t 1 && test -t 2; exit 41",
            "printf 'no newline'",
            "kill -TERM $$",
        ];
        for command in commands {
            let with = run(on_a_terminal(&sshd, "push", command));
            let without = run(on_a_terminal(&plain, "push", command));
            assert_the_same(&with, &without, command);
        }
        assert_asked(&world, Some(commands.len()));
    }
}

pub fn a_command_on_a_terminal_is_the_same_when_the_person_takes_their_time() {
    for configuration in CONFIGURATIONS {
        let world = World::with(configuration, |_| {});
        let sshd = Sshd::start(&world, "");
        let duo = &world.sandbox.duo;
        duo.set_script("push", Script::PushAfter(SOME_SECONDS));
        let ended = run(on_a_terminal(&sshd, "push", "echo 42; exit 41"));
        assert_eq!(ended.stdout(), "42\r\n", "{ended:?}");
        assert_eq!((ended.stderr().as_str(), ended.code()), ("", 41));
        assert_asked(&world, Some(1));
    }
}

pub fn nothing_stands_on_the_terminal_before_the_command_runs() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let ssh = start(on_a_terminal(&sshd, "manual", "echo 42"));
    world.wait_for_push();
    assert!(world.sandbox.duo.approve("manual"));
    let ended = ended(ssh);
    assert_eq!(ended.stdout(), "42\r\n", "{ended:?}");
    let line = world.final_line();
    let start = "Successful Duo login for 'manual' from 127.0.0.1";
    assert!(line.starts_with(start), "{line}");
}

pub fn what_is_sent_along_is_the_commands() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let plain = Sshd::start_with(&world, "");
    // Where the terminal echoes it is a matter of timing, so the last line counts.
    let command = "read -r -t 20 one; read -r -t 20 two; echo \"$one,$two\"";
    let sent = |sshd: &Sshd| {
        let mut ssh = sshd.client("ssh");
        ssh.args(["-tt", "push@127.0.0.1", command]);
        let output = run_with(ssh, b"1\n123456\n");
        let text = output.stdout();
        (
            text.lines().last().map(str::to_owned),
            Some(output.status()),
        )
    };
    assert_eq!(sent(&sshd), sent(&plain));
    assert_asked(&world, Some(1));
}

pub fn a_passcode_sent_along_is_taken_on_a_terminal_too() {
    let world = World::with("accept_env_factor = yes\n", |_| {});
    let sshd = Sshd::start(&world, "");
    let mut ssh = on_a_terminal(&sshd, "pushdeny", "echo 42");
    ssh.env("DUO_PASSCODE", "123456");
    let ended = run(ssh);
    assert_eq!(ended.stdout(), "42\r\n", "{ended:?}");
    assert_eq!(world.sandbox.duo.asked("auth"), 1);
}

pub fn a_denied_command_on_a_terminal_says_why_in_one_line() {
    for configuration in CONFIGURATIONS {
        let world = World::with(configuration, |_| {});
        let sshd = Sshd::start(&world, "");
        for (user, why, attempts) in [
            ("pushdeny", "Login request denied.", 1),
            ("deny", "Your account is disabled", 0),
            ("enroll", "/portal?code=", 0),
        ] {
            let before = world.sandbox.duo.asked("auth");
            let ended = run(on_a_terminal(&sshd, user, "echo 42"));
            assert_eq!(ended.code(), 1, "{user}: {ended:?}");
            assert_one_line(&ended, why);
            assert_eq!(world.sandbox.duo.asked("auth") - before, attempts, "{user}");
        }
    }
    let world = World::with("failmode = secure\n", |_| {});
    let sshd = Sshd::start(&world, "");
    let fault = Fault::Bare { status: 503 };
    world.sandbox.duo.fault(Endpoint::Any, fault, Times::Always);
    let ended = run(on_a_terminal(&sshd, "push", "echo 42"));
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert_one_line(&ended, "");
}

/// One line on the terminal, of printable characters, with this in it.
fn assert_one_line(ended: &Ended, why: &str) {
    let shown = ended.stdout();
    let line = shown.strip_suffix("\r\n").unwrap_or_default();
    assert!(!line.is_empty() && line.contains(why), "{ended:?}");
    assert!(!line.contains(char::is_control), "{ended:?}");
    assert_eq!(ended.stderr(), "");
}

pub fn a_person_gets_the_menu_for_commands_too_where_it_is_configured() {
    let world = World::with("prompt_for_commands = yes\n", |_| {});
    let sshd = Sshd::start(&world, "");
    let mut ssh = sshd.client("ssh");
    ssh.env("TERM", "xterm").env("LANG", "C.UTF-8");
    ssh.args(["-tt", "push@127.0.0.1", "echo in=$((40+2)); exit 6"]);
    let mut terminal = Terminal::start(&ssh, SIZE);
    terminal.wait_for_text(MENU);
    terminal.send("123456\n");
    assert_eq!(terminal.status(), 6);
    assert!(terminal.screen().contains("in=42"));
    // Without a terminal, nobody is asked at a menu.
    let ended = sshd.ssh("push", "echo 42");
    assert_eq!((ended.stdout().as_str(), ended.code()), ("42\n", 0));
}

pub fn mosh_starts_its_server_and_runs_a_command() {
    for configuration in CONFIGURATIONS {
        let world = World::with(configuration, |_| {});
        let sshd = Sshd::start(&world, DOCUMENTED);
        let mut mosh = Command::new("mosh");
        mosh.env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", world.sandbox.path())
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .arg(format!("--ssh={}", sshd.remote_shell()))
            .arg("push@127.0.0.1");
        let mut terminal = Terminal::start(&mosh, SIZE);
        terminal.send("echo in=$((40+2)) user=$(id -un)\n");
        terminal.wait_for_text("in=42 user=push");
        terminal.send("exit\n");
        assert_eq!(terminal.status(), 0);
        world.wait_until_empty();
        assert_asked(&world, Some(1));
    }
}

/// Facts, a file, a command that goes well, and one that does not.
const PLAYBOOK: &str = "\
- hosts: all
  gather_subset: min
  tasks:
    - debug: { var: ansible_user_id }
    - copy: { content: 'two\nlines\n', dest: ~/made }
    - command: cat made
      register: read
    - debug: { var: read.stdout_lines }
    - file: { path: ~/made, state: absent }
    - command: sh -c 'exit 7'
";

fn ansible(world: &World, sshd: &Sshd, pipelining: &str) -> Ended {
    let folder = world.sandbox.path();
    let playbook = folder.join("play.yml");
    fs::write(&playbook, PLAYBOOK).unwrap();
    // No connection is shared: its master would outlive the test.
    let options = format!("{} -oControlMaster=no", sshd.options().join(" "));
    let mut ansible = Command::new("ansible-playbook");
    ansible
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_PIPELINING", pipelining)
        .env("ANSIBLE_SSH_ARGS", options)
        .args(["-i", "127.0.0.1,", "-u", "push"])
        .arg(playbook)
        .stdin(Stdio::null());
    run(ansible)
}

/// Through login_duo as without it, and as the playbook says.
fn a_playbook_runs(pipelining: &str) {
    let world = World::new();
    let plain = Sshd::start_with(&world, "");
    let without = ansible(&world, &plain, pipelining);
    assert!(without.stdout().contains("rc\": 7,"), "{without:?}");
    assert!(without.stdout().contains("\"ansible_user_id\": \"push\""));
    assert!(world.sandbox.duo.paths().is_empty());

    let sshd = Sshd::start(&world, DOCUMENTED);
    let with = ansible(&world, &sshd, pipelining);
    let timeless = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("\"delta\":"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(timeless(&with.stdout()), timeless(&without.stdout()));
    assert_eq!(with.code(), without.code());
    assert_asked(&world, None);
}

pub fn ansible_runs_a_playbook_without_pipelining() {
    a_playbook_runs("False");
}

pub fn ansible_runs_a_playbook_with_pipelining() {
    a_playbook_runs("True");
}

/// Prints what the command wrote, in hex, and its exit status.
const PARAMIKO: &str = "\
import sys, paramiko
port, key, command = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect('127.0.0.1', int(port), 'push', key_filename=key,
               allow_agent=False, look_for_keys=False)
_, stdout, stderr = client.exec_command(command, get_pty=True)
out, err = stdout.read(), stderr.read()
print(repr(out), repr(err), stdout.channel.recv_exit_status())
client.close()
";

pub fn paramiko_gets_the_commands_output_alone() {
    for configuration in CONFIGURATIONS {
        let world = World::with(configuration, |_| {});
        let sshd = Sshd::start(&world, "");
        let key = sshd.options().into_iter();
        let key = key.filter_map(|option| option.strip_prefix("-i").map(str::to_owned));
        let mut python = Command::new("/usr/bin/python3");
        python
            .env_clear()
            .env("HOME", world.sandbox.path())
            .args(["-c", PARAMIKO, &sshd.port.to_string()])
            .args(key)
            .arg("echo 42; exit 41");
        let ended = run(python);
        assert_eq!(ended.stdout(), "b'42\\r\\n' b'' 41\n", "{ended:?}");
        assert_asked(&world, Some(1));
    }
}
