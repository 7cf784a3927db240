//! Real clients that open a session for each thing they do: one push for all of it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::{Connection, approvals, finals, remembering};
use crate::machine::{DOCUMENTED, Sshd, World};
use crate::support::{ended, run, start, wait, wait_until};

/// Duo was asked about the person of each login, and rang once.
fn assert_one_push(world: &World, at_least: usize) {
    let duo = &world.sandbox.duo;
    let logins = finals(world).len();
    assert_eq!((duo.asked("auth"), duo.asked("preauth")), (1, logins));
    assert!(logins >= at_least, "{logins}");
}

pub fn copies_over_one_connection_are_asked_once() {
    let world = remembering("");
    let sshd = Sshd::start(&world, DOCUMENTED);
    let connection = Connection::open(&world, &sshd, "push");
    let folder = world.sandbox.path();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let local = folder.join("local");
    fs::write(&local, &bytes).unwrap();
    let local = local.to_str().unwrap();
    for options in [&[][..], &["-O"][..]] {
        let mut scp = connection.client("scp");
        scp.args(options).args([local, "push@127.0.0.1:scp"]);
        assert_eq!(run(scp).code(), 0);
    }
    let shell = format!("{} {}", sshd.remote_shell(), connection.option());
    let mut rsync = Command::new("rsync");
    rsync.args(["-e", &shell, local, "push@127.0.0.1:rsync"]);
    assert_eq!(run(rsync).code(), 0);
    assert_eq!(connection.ssh("git init -q --bare repo").code(), 0);
    for name in ["one", "two"] {
        let mut git = Command::new("git");
        git.current_dir(folder).env("HOME", folder);
        git.env("GIT_SSH_COMMAND", &shell);
        git.args([
            "clone",
            "-q",
            "ssh://push@127.0.0.1/srv/home/push/repo",
            name,
        ]);
        assert_eq!(run(git).code(), 0);
    }
    let compared = connection.ssh("cmp scp rsync && cat scp");
    assert!(compared.stdout_bytes() == bytes, "{}", compared.stderr());
    assert_one_push(&world, 7);
}

/// As gvfs and sshfs: one master, and sftp in channels of it, some at the same time.
pub fn a_file_manager_with_two_channels_at_a_time_is_asked_once() {
    let world = remembering("");
    let sshd = Sshd::start(&world, DOCUMENTED);
    let connection = Connection::open(&world, &sshd, "push");
    assert_eq!(connection.ssh("echo text >file").code(), 0);
    let mut open = Vec::new();
    for number in 0..4 {
        let mut sftp = connection.client("sftp");
        sftp.args(["-b", "-", "push@127.0.0.1"]);
        let mut sftp = start(sftp);
        let mut stdin = sftp.stdin.take().unwrap();
        writeln!(stdin, "mkdir new{number}").unwrap();
        // Once the folder is there, this channel is open beside the others.
        let there = world.at(&format!("/srv/home/push/new{number}"));
        wait_until(|| there.exists(), || "no folder".to_owned());
        open.push((sftp, stdin));
    }
    for (mut sftp, stdin) in open {
        drop(stdin);
        assert_eq!(wait(&mut sftp).code(), Some(0));
    }
    assert_one_push(&world, 5);
}

/// As VS Code: a shell on pipes to which a script is written and which stays, and beside it
/// channels that come and go.
pub fn an_editor_with_a_shell_and_many_channels_is_asked_once() {
    let world = remembering("");
    let sshd = Sshd::start(&world, DOCUMENTED);
    let connection = Connection::open(&world, &sshd, "push");
    let mut ssh = connection.client("ssh");
    ssh.args(["-T", "push@127.0.0.1", "bash"]);
    let mut shell = start(ssh);
    let mut stdin = shell.stdin.take().unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut say = |text: &str| {
        writeln!(stdin, "{text}").unwrap();
        lines.next().unwrap().unwrap()
    };
    assert_eq!(say("echo ready"), "ready");
    let beside: Vec<_> = (0..6)
        .map(|number| {
            let command = format!("sleep 0.1; echo {number}; cat >made{number}");
            let mut session = connection.session(&command);
            session.stdin(Stdio::null());
            session.stdout(Stdio::piped()).stderr(Stdio::piped());
            session.spawn().unwrap()
        })
        .collect();
    for (number, session) in beside.into_iter().enumerate() {
        assert_eq!(ended(session).stdout(), format!("{number}\n"));
        assert_eq!(say("echo between"), "between");
    }
    assert_eq!(say("ls | wc -l | tr -d ' '"), "6");
    drop(stdin);
    assert_eq!(wait(&mut shell).code(), Some(0));
    assert_one_push(&world, 7);
}

pub fn a_hundred_sessions_at_once_after_the_first() {
    let world = remembering("");
    let sshd = Sshd::start(&world, "");
    let connection = Connection::open(&world, &sshd, "push");
    assert!(connection.is_asked(&world));
    let sessions: Vec<_> = (0..100)
        .map(|number| start(connection.session(&format!("echo {number}"))))
        .collect();
    for (number, session) in sessions.into_iter().enumerate() {
        assert_eq!(ended(session).stdout(), format!("{number}\n"));
    }
    assert_one_push(&world, 101);
    assert_eq!(approvals(&world, "push"), 1);
}

const PLAYBOOK: &str = "\
- hosts: all
  tasks:
    - copy: { content: 'two lines', dest: ~/made }
    - command: cat made
      register: read
    - debug: { var: read.stdout_lines }
";

pub fn ansible_without_pipelining_is_asked_once() {
    let world = remembering("");
    let sshd = Sshd::start(&world, DOCUMENTED);
    let folder = world.sandbox.path();
    let playbook = folder.join("play.yml");
    fs::write(&playbook, PLAYBOOK).unwrap();
    // Ansible's own default, with its master where this test can end it.
    let socket = format!("-oControlPath={}", folder.join("ansible").display());
    let options = format!(
        "{} -oControlMaster=auto -oControlPersist=60s {socket}",
        sshd.options().join(" ")
    );
    let mut ansible = Command::new("ansible-playbook");
    ansible
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_PIPELINING", "False")
        .env("ANSIBLE_SSH_ARGS", options)
        .args(["-i", "127.0.0.1,", "-u", "push"])
        .arg(playbook)
        .stdin(Stdio::null());
    let ended = run(ansible);
    let mut ssh = sshd.client("ssh");
    ssh.args([&socket, "-O", "exit", "push@127.0.0.1"]);
    let exit = run(ssh);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(ended.stdout().contains("two lines"), "{ended:?}");
    assert_one_push(&world, 10);
}
