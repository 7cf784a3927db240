//! Behind a real sshd, driven by the real clients.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::machine::{DOCUMENTED, Sshd, World};
use crate::support::{
    PATIENCE, Terminal, TerminalSize, ended, run, run_with, side_by_side, start, wait, wait_until,
};

const SIZE: TerminalSize = TerminalSize {
    rows: 31,
    columns: 97,
};

const MENU: &str = "Passcode or option (1-";

/// Bytes of every kind, the same each time.
fn binary(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

fn on_terminal(sshd: &Sshd, user: &str, arguments: &[&str]) -> Terminal {
    let mut ssh = sshd.client("ssh");
    ssh.env("TERM", "xterm").env("LANG", "C.UTF-8").arg("-tt");
    ssh.arg(format!("{user}@127.0.0.1")).args(arguments);
    Terminal::start(&ssh, SIZE)
}

pub fn a_terminal_has_menu_push_shell_size_and_job_control() {
    let world = World::new();
    let sshd = Sshd::start(&world, DOCUMENTED);
    let mut terminal = on_terminal(&sshd, "push", &[]);
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    terminal.wait_for_text("Success. Logging you in...");
    terminal.send("PS1='ready> '; echo name=$0 size=$(stty size) tty=$(tty)\n");
    let screen = terminal.wait_for(|screen| screen.contains("name=-bash"));
    assert!(screen.contains("size=31 97"), "{screen}");
    assert!(screen.contains("tty=/dev/pts/"), "{screen}");
    terminal.send("sleep 100\n");
    wait_until(
        || world.processes().iter().any(|(_, name)| name == "sleep"),
        || "no sleep".to_owned(),
    );
    terminal.send("\x1a");
    terminal.wait_for_text("Stopped");
    terminal.send("kill %1; fg; wait; echo over=$?\n");
    terminal.wait_for(|screen| screen.lines().any(|line| line.starts_with("over=")));
    terminal.send("stty size; exit 9\n");
    assert_eq!(terminal.status(), 9);
    world.wait_until_empty();
    assert!(
        world
            .final_line()
            .starts_with("Successful Duo login for 'push' from 127.0.0.1")
    );
}

pub fn ctrl_c_at_the_menu_and_while_waiting() {
    let world = World::with("prompt_for_commands = yes\n", |_| {});
    let sshd = Sshd::start(&world, "");
    for keys in ["", "1\n"] {
        world.clear_log();
        let mut terminal = on_terminal(&sshd, "manual", &["echo", "in"]);
        terminal.wait_for_text(MENU);
        terminal.send(keys);
        if !keys.is_empty() {
            world.wait_for_push();
        }
        terminal.send("\x03");
        assert_eq!(terminal.status(), 1);
        assert!(!terminal.screen().lines().any(|line| line == "in"));
        let line = world.final_line();
        assert_eq!(
            line,
            "Aborted Duo login for 'manual' from 127.0.0.1: interrupted"
        );
    }
}

pub fn a_command_is_the_same_as_without_login_duo() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let plain = Sshd::start_with(&world, "");
    let commands = [
        "echo out; echo err >&2; exit 41",
        "printf 'a\\0b\\377\\n'",
        "kill -TERM $$",
        "echo \"$SSH_CONNECTION\" | wc -w; echo $0; pwd; umask; ulimit -n; test -t 0; echo $?",
        "exit 0",
        "no-such-command",
        "echo '*' \"$HOME\" `echo x`",
    ];
    side_by_side(&commands, |command| {
        let (with, without) = (sshd.ssh("push", command), plain.ssh("push", command));
        assert_eq!(with.code(), without.code(), "{command}: {with:?}");
        assert_eq!(with.stdout(), without.stdout(), "{command}");
        assert_eq!(with.others(), without.stderr(), "{command}");
    });
}

pub fn ten_mebibytes_both_ways_byte_for_byte() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let bytes = binary(10 << 20);
    let mut ssh = sshd.client("ssh");
    ssh.args(["push@127.0.0.1", "cat; exit 5"]);
    let output = run_with(ssh, &bytes);
    assert_eq!(output.code(), 5);
    assert!(
        output.stdout_bytes() == bytes,
        "{} bytes",
        output.stdout_bytes().len()
    );
}

/// Each way to move a file, to and fro; `path` names the remote file.
fn copies(sshd: &Sshd, user: &str, local: &Path, back: &Path) -> Vec<(&'static str, Command)> {
    let remote = format!("{user}@127.0.0.1:copy");
    let mut all = Vec::new();
    for (name, options) in [("scp", &[][..]), ("scp -O", &["-O"][..])] {
        for (from, to) in [
            (local.to_str().unwrap(), remote.as_str()),
            (remote.as_str(), back.to_str().unwrap()),
        ] {
            let mut scp = sshd.client("scp");
            scp.args(options).args([from, to]);
            all.push((name, scp));
        }
    }
    let mut sftp = Command::new("sh");
    let batch = format!("put {} copy\\nget copy {}", local.display(), back.display());
    let script = format!(
        "printf '{batch}\\n' | sftp -b - {} {user}@127.0.0.1",
        sshd.options().join(" ")
    );
    sftp.args(["-c", &script]);
    all.push(("sftp", sftp));
    for (from, to) in [
        (local.to_str().unwrap(), remote.as_str()),
        (remote.as_str(), back.to_str().unwrap()),
    ] {
        let mut rsync = Command::new("rsync");
        rsync.args(["-I", "-e", &sshd.remote_shell(), from, to]);
        all.push(("rsync", rsync));
    }
    all
}

fn copies_work(world: &World, sshd: &Sshd) {
    let folder = world.sandbox.path();
    let (local, back) = (folder.join("local"), folder.join("back"));
    let bytes = binary(300_000);
    fs::write(&local, &bytes).unwrap();
    for (name, command) in copies(sshd, "push", &local, &back) {
        let ended = run(command);
        assert_eq!(ended.code(), 0, "{name}: {ended:?}");
        assert_eq!(ended.others(), "", "{name}");
        if back.exists() {
            assert!(fs::read(&back).unwrap() == bytes, "{name}");
            fs::remove_file(&back).unwrap();
        }
    }
}

pub fn scp_sftp_and_rsync_with_the_external_server() {
    let world = World::new();
    copies_work(&world, &Sshd::start(&world, DOCUMENTED));
}

pub fn scp_and_sftp_with_internal_sftp() {
    let world = World::new();
    copies_work(
        &world,
        &Sshd::start(&world, "Subsystem sftp internal-sftp -f AUTH\n"),
    );
}

pub fn a_denied_copy_fails_with_one_line() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let folder = world.sandbox.path();
    let (local, back) = (folder.join("local"), folder.join("back"));
    fs::write(&local, "x").unwrap();
    for (name, command) in copies(&sshd, "pushdeny", &local, &back) {
        let ended = run(command);
        assert_ne!(ended.code(), 0, "{name}: {ended:?}");
        // sshd throws a subsystem's stderr away, whoever writes it.
        let carried = usize::from(!matches!(name, "scp" | "sftp"));
        assert_eq!(ended.told().lines().count(), carried, "{name}: {ended:?}");
        assert!(!back.exists(), "{name}");
    }
    let mut git = git(&sshd, folder);
    git.args([
        "clone",
        "-q",
        "ssh://pushdeny@127.0.0.1/srv/home/push/none",
        "none",
    ]);
    let ended = run(git);
    assert_ne!(ended.code(), 0);
    assert_eq!(ended.told().lines().count(), 1, "{ended:?}");
}

fn git(sshd: &Sshd, folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder)
        .env("GIT_SSH_COMMAND", sshd.remote_shell())
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(["-c", "init.defaultBranch=main"]);
    git
}

pub fn git_clone_and_push() {
    let world = World::new();
    let sshd = Sshd::start(&world, DOCUMENTED);
    assert_eq!(sshd.ssh("push", "git init -q --bare repo").code(), 0);
    let folder = world.sandbox.path();
    let clone = folder.join("clone");
    let at = "ssh://push@127.0.0.1/srv/home/push/repo";
    let work = |folder: &Path, words: &[&str]| {
        let mut git = git(&sshd, folder);
        git.args(words);
        let ended = run(git);
        assert_eq!(ended.code(), 0, "{words:?}: {ended:?}");
    };
    work(folder, &["clone", "-q", at, "clone"]);
    fs::write(clone.join("file"), binary(2_000_000)).unwrap();
    work(&clone, &["add", "file"]);
    work(&clone, &["commit", "-qm", "a file"]);
    work(&clone, &["push", "-q", "origin", "HEAD:main"]);
    work(folder, &["clone", "-q", "-b", "main", at, "again"]);
    assert!(fs::read(folder.join("again/file")).unwrap() == binary(2_000_000));
}

pub fn a_command_on_a_terminal() {
    let world = World::with("prompt_for_commands = yes\n", |_| {});
    let sshd = Sshd::start(&world, "");
    let mut terminal = on_terminal(&sshd, "push", &["test -t 0 && echo has=tty; exit 6"]);
    terminal.wait_for_text(MENU);
    terminal.send("123456\n");
    assert_eq!(terminal.status(), 6);
    assert!(terminal.screen().contains("has=tty"));
}

pub fn a_passcode_sent_along_as_a_variable() {
    let world = World::with("accept_env_factor = yes\n", |_| {});
    let sshd = Sshd::start(&world, "");
    let mut ssh = sshd.client("ssh");
    ssh.env("DUO_PASSCODE", "123456");
    ssh.args(["-oSendEnv=DUO_PASSCODE", "pushdeny@127.0.0.1", "env"]);
    let ended = run(ssh);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(!ended.stdout().contains("DUO_PASSCODE"));
    assert!(world.final_line().ends_with(": passcode"));
}

/// A connection for many sessions, and the option that leads to it.
fn connection_to_share(world: &World, sshd: &Sshd) -> (String, Child) {
    let control = format!("-oControlPath={}/control", world.sandbox.path().display());
    let mut master = sshd.client("ssh");
    master.args(["-M", "-N", &control, "push@127.0.0.1"]);
    let master = start(master);
    wait_until(
        || world.sandbox.path().join("control").exists(),
        || "no control socket".to_owned(),
    );
    (control, master)
}

pub fn sessions_that_share_a_connection_are_each_asked() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let (control, mut master) = connection_to_share(&world, &sshd);
    for number in 1..=3 {
        let mut ssh = sshd.client("ssh");
        ssh.args([&control, "push@127.0.0.1", "echo", "in"]);
        assert_eq!(run(ssh).stdout(), "in\n");
        assert_eq!(world.sandbox.duo.asked("auth"), number);
    }
    master.kill().unwrap();
    wait(&mut master);
    world.wait_until_empty();
}

pub fn a_hundred_logins_at_once() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let (control, mut master) = connection_to_share(&world, &sshd);
    // Over one connection: it is the logins that are many, not the key exchanges.
    let sessions: Vec<_> = (0..100)
        .map(|number| {
            let mut ssh = sshd.client("ssh");
            let command = format!("echo {number}; exit {}", number % 7);
            ssh.args([&control, "push@127.0.0.1", &command]);
            start(ssh)
        })
        .collect();
    for (number, session) in (0..100).zip(sessions) {
        let ended = ended(session);
        assert_eq!(ended.stdout(), format!("{number}\n"), "{ended:?}");
        assert_eq!(ended.code(), number % 7);
    }
    master.kill().unwrap();
    wait(&mut master);
    world.wait_until_empty();
    let finals = world
        .log()
        .iter()
        .filter(|line| line.text.starts_with("Successful Duo login for 'push'"))
        .count();
    assert_eq!(finals, 100);
}

pub fn a_user_who_is_killed_while_waiting_leaves_no_process() {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let mut ssh = sshd.client("ssh");
    ssh.args(["manual@127.0.0.1", "echo", "in"]);
    let ssh = start(ssh);
    world.wait_for_push();
    // Stopped first: sshd's own process for the user dies too, and where the
    // connection goes before login_duo does, that is another test's story.
    for signal in ["-STOP", "-KILL"] {
        let mut killer = world.inside();
        killer.args(["pkill", signal, "-u", &world.uid("manual").to_string()]);
        assert_eq!(run(killer).code(), 0);
    }
    let ended = ended(ssh);
    assert_ne!(ended.code(), 0);
    assert_eq!(ended.stdout(), "");
    assert_eq!(
        world.final_line(),
        "Aborted Duo login for 'manual' from 127.0.0.1: login_duo was killed"
    );
}

pub fn a_cut_connection_ends_a_headless_login() {
    cut(&["manual@127.0.0.1", "touch was-here"]);
}

pub fn a_cut_connection_ends_a_login_for_sftp() {
    cut(&["-s", "manual@127.0.0.1", "sftp"]);
}

fn cut(arguments: &[&str]) {
    let world = World::new();
    let sshd = Sshd::start(&world, "");
    let mut ssh = sshd.client("ssh");
    ssh.args(arguments);
    let mut ssh = start(ssh);
    world.wait_for_push();
    ssh.kill().unwrap();
    wait(&mut ssh);
    let line = world.final_line();
    assert_eq!(
        line,
        "Aborted Duo login for 'manual' from 127.0.0.1: the connection was closed"
    );
    assert!(!world.sandbox.duo.approve("manual") || world.processes().is_empty());
    let mut look = world.inside();
    look.args(["ls", "/srv/home/manual"]);
    assert_eq!(run(look).stdout(), "");
}

pub fn a_cut_connection_ends_a_login_on_a_terminal() {
    let world = World::with("prompt_for_commands = yes\n", |_| {});
    let sshd = Sshd::start(&world, "");
    let mut terminal = on_terminal(&sshd, "manual", &["touch", "was-here"]);
    terminal.wait_for_text(MENU);
    let client = nix::unistd::Pid::from_raw(terminal.pid());
    nix::sys::signal::kill(client, nix::sys::signal::Signal::SIGKILL).unwrap();
    terminal.wait();
    let line = world.final_line();
    let start = "Aborted Duo login for 'manual' from 127.0.0.1: ";
    assert!(line.starts_with(start), "{line}");
}

/// Whether `ssh -N -L` reaches a service that only the server should.
fn forwards(extra: &str) -> bool {
    let world = World::new();
    let sshd = Sshd::start(&world, extra);
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let inner = service.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        // One connection, from the forwarding or from the end of this test.
        let (mut connection, _) = service.accept().unwrap();
        let _ = connection.write_all(b"hello");
    });
    let socket = world.sandbox.path().join("forward");
    let mut ssh = sshd.client("ssh");
    ssh.args(["-N", "-L"]);
    ssh.arg(format!("{}:127.0.0.1:{inner}", socket.display()));
    ssh.arg("deny@127.0.0.1").stdin(Stdio::null());
    let mut ssh = start(ssh);
    wait_until(|| socket.exists(), || "no forwarding socket".to_owned());
    let mut through = UnixStream::connect(&socket).unwrap();
    through.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    let _ = through.read_to_string(&mut answer);
    ssh.kill().unwrap();
    wait(&mut ssh);
    let _ = std::net::TcpStream::connect(("127.0.0.1", inner));
    answering.join().unwrap();
    assert!(world.sandbox.duo.paths().is_empty(), "Duo was asked");
    answer == "hello"
}

pub fn a_forced_command_alone_does_not_stop_port_forwarding() {
    assert!(forwards(""));
}

pub fn the_documented_settings_stop_port_forwarding() {
    assert!(!forwards(DOCUMENTED));
}
