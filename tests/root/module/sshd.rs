//! Behind a real sshd with UsePAM: keys, passwords, and what a forced command
//! cannot see.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{PASSWORD, PamWorld, Sshd};
use crate::support::{
    Ended, Terminal, TerminalSize, in_time, read_to_end, run, run_with, side_by_side, start, wait,
    wait_until,
};

const MENU: &str = "Passcode or option (1-";
const BY_KEY: &str = "AuthenticationMethods publickey,keyboard-interactive\n";
const BY_PASSWORD: &str = "AuthenticationMethods keyboard-interactive\n";

/// sshd where a key comes before Duo.
fn by_key(extra: &str) -> (PamWorld, Sshd) {
    let world = PamWorld::new(extra);
    world.stack_with("sshd", "", "conf=/etc/duo/pam_duo.conf after=publickey");
    let sshd = world.sshd(BY_KEY);
    (world, sshd)
}

/// sshd where a password comes before Duo, in one conversation.
fn by_password(extra: &str) -> (PamWorld, Sshd) {
    let world = PamWorld::new(extra);
    let sshd = world.sshd(BY_PASSWORD);
    (world, sshd)
}

fn on_terminal(mut command: Command, arguments: &[&str]) -> Terminal {
    command.args(arguments);
    Terminal::start(&command, TerminalSize::USUAL)
}

fn ssh(sshd: &Sshd, arguments: &[&str]) -> Terminal {
    on_terminal(sshd.asking_client("ssh"), arguments)
}

pub fn a_key_and_then_duo() {
    let (world, sshd) = by_key("");
    let mut terminal = ssh(&sshd, &["push@127.0.0.1", "echo in; exit 3"]);
    terminal.wait_for_text(MENU);
    terminal.send("123456\n");
    assert_eq!(terminal.status(), 3, "{}", terminal.screen());
    assert!(terminal.screen().contains("in"));
    let line = world.wait_for_final();
    assert_eq!(
        line,
        "Successful Duo login for 'push' from 127.0.0.1: passcode"
    );
    let preauth = &world.sandbox.duo.requests()[0];
    assert_eq!(preauth.param("ipaddr"), Some("127.0.0.1"));
}

pub fn a_password_and_then_duo() {
    let (world, sshd) = by_password("");
    let mut terminal = ssh(&sshd, &["push@127.0.0.1", "echo in; exit 3"]);
    terminal.wait_for_text("assword:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    assert_eq!(terminal.status(), 3, "{}", terminal.screen());
    let line = world.wait_for_final();
    assert!(
        line.starts_with("Successful Duo login for 'push' from 127.0.0.1"),
        "{line}"
    );
}

pub fn a_wrong_first_factor_asks_nobody() {
    let (world, sshd) = by_password("failmode = safe");
    let mut terminal = ssh(&sshd, &["push@127.0.0.1", "echo in"]);
    terminal.wait_for_text("assword:");
    terminal.send("wrong\n");
    assert_eq!(terminal.status(), 255);
    // A key that is not there.
    let (other, keyed) = by_key("failmode = safe");
    let mut ssh = Command::new("ssh");
    ssh.args(
        keyed
            .options()
            .into_iter()
            .filter(|one| !one.starts_with("-i")),
    );
    ssh.args([
        "-oIdentitiesOnly=yes",
        "-oIdentityFile=none",
        "push@127.0.0.1",
        "echo in",
    ]);
    let ended = run(ssh);
    assert_eq!((ended.code(), &*ended.stdout()), (255, ""), "{ended:?}");
    for world in [&world, &other] {
        assert!(world.sandbox.duo.paths().is_empty());
    }
}

/// sshd answers a prompt that shows what is typed with an error there.
pub fn password_authentication_alone_cannot_answer_the_menu() {
    for (extra, allowed) in [("failmode = safe", false), ("autopush = yes", true)] {
        let world = PamWorld::new(extra);
        let sshd = world.sshd("PasswordAuthentication yes\nAuthenticationMethods password\n");
        let client = sshd.asking_client("ssh");
        let mut by_password = Command::new("ssh");
        by_password.args(["-oPreferredAuthentications=password"]);
        by_password.args(client.get_args());
        by_password.env_clear().env("PATH", "/usr/bin:/bin");
        let arguments = ["push@127.0.0.1", "echo i''n; exit 3"];
        let mut terminal = on_terminal(by_password, &arguments);
        terminal.wait_for_text("assword:");
        terminal.send(&format!("{PASSWORD}\n"));
        let status = terminal.status();
        assert_eq!(status == 3, allowed, "{}", terminal.screen());
        assert_eq!(world.sandbox.duo.asked("auth"), usize::from(allowed));
    }
}

/// With `UseDNS yes` PAM is given a name, and sshd has the address.
pub fn the_clients_address_is_told_though_sshd_looks_up_its_name() {
    let world = PamWorld::new("autopush = yes");
    let _ = fs::remove_file(world.etc("hosts"));
    world.write("hosts", "127.0.0.1 client.example localhost\n", 0o644);
    world.stack_with("sshd", "", "conf=/etc/duo/pam_duo.conf after=publickey");
    let sshd = world.sshd(&format!("UseDNS yes\n{BY_KEY}"));
    let mut ssh = without_a_terminal(&sshd, "ssh");
    ssh.args(["push@127.0.0.1", "exit 3"]);
    assert_eq!(run(ssh).code(), 3);
    let preauth = &world.sandbox.duo.requests()[0];
    assert_eq!(preauth.param("ipaddr"), Some("127.0.0.1"), "{preauth}");
    let line = world.wait_for_final();
    assert!(line.contains(" from 127.0.0.1"), "{line}");
}

pub fn without_duos_yes_there_is_no_session() {
    for user in ["deny", "enroll", "pushdeny"] {
        let (world, sshd) = by_key("failmode = safe\nprompts = 1");
        let mut terminal = ssh(&sshd, &[&format!("{user}@127.0.0.1"), "echo i''n"]);
        if user == "pushdeny" {
            terminal.wait_for_text(MENU);
            terminal.send("1\n");
        }
        assert_eq!(terminal.status(), 255, "{}", terminal.screen());
        let inside = terminal.screen().lines().any(|line| line == "in");
        assert!(!inside, "{}", terminal.screen());
        let line = world.wait_for_final();
        assert!(line.contains(&format!("'{user}' from 127.0.0.1")), "{line}");
    }
}

pub fn in_batch_mode_nobody_is_asked_and_nobody_gets_in() {
    let (world, sshd) = by_key("failmode = safe");
    for more in [&[][..], &["-n"], &["-T"]] {
        let mut ssh = sshd.client("ssh");
        ssh.args(more).args(["push@127.0.0.1", "echo in"]);
        let ended = run(ssh);
        assert_eq!((ended.code(), &*ended.stdout()), (255, ""), "{ended:?}");
    }
    assert_eq!(world.sandbox.duo.asked("auth"), 0);
}

/// A client without a terminal, as programs start it.
fn without_a_terminal(sshd: &Sshd, program: &str) -> Command {
    let mut setsid = Command::new("setsid");
    let client = sshd.asking_client(program);
    setsid
        .arg("-w")
        .arg(client.get_program())
        .args(client.get_args());
    setsid.env_clear();
    for (name, value) in client.get_envs() {
        setsid.env(name, value.unwrap());
    }
    setsid
}

pub fn with_autopush_commands_and_copies_work_without_a_terminal() {
    let (world, sshd) = by_key("autopush = yes");
    let mut ssh = without_a_terminal(&sshd, "ssh");
    ssh.args(["push@127.0.0.1", "cat; exit 7"]);
    let ended = run_with(ssh, b"0123456789");
    assert_eq!(
        (ended.code(), &*ended.stdout()),
        (7, "0123456789"),
        "{ended:?}"
    );

    let folder = world.sandbox.path();
    let (local, back) = (folder.join("local"), folder.join("back"));
    fs::write(&local, "x".repeat(100_000)).unwrap();
    let remote = "push@127.0.0.1:copy";
    let (local_name, back_name) = (local.to_str().unwrap(), back.to_str().unwrap());
    for options in [&[][..], &["-O"]] {
        for (from, to) in [(local_name, remote), (remote, back_name)] {
            let mut scp = without_a_terminal(&sshd, "scp");
            scp.args(options).args([from, to]);
            let ended = run(scp);
            assert_eq!(ended.code(), 0, "{ended:?}");
        }
        assert!(fs::read(&back).unwrap() == fs::read(&local).unwrap());
        fs::remove_file(&back).unwrap();
    }
    // sftp's -b turns BatchMode on: the commands come on its standard input.
    let mut sftp = without_a_terminal(&sshd, "sftp");
    sftp.arg("push@127.0.0.1");
    let batch = format!("get copy {back_name}\nbye\n");
    let ended = run_with(sftp, batch.as_bytes());
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(fs::read(&back).unwrap() == fs::read(&local).unwrap());
    assert_eq!(world.sandbox.duo.asked("auth"), 6);
}

pub fn a_denied_copy_copies_nothing() {
    let (world, sshd) = by_key("autopush = yes\nprompts = 1\nfailmode = safe");
    let folder = world.sandbox.path();
    fs::write(folder.join("local"), "x").unwrap();
    let remote = "pushdeny@127.0.0.1:copy";
    let cases: Vec<Command> = [&[][..], &["-O"]]
        .iter()
        .map(|options| {
            let mut scp = without_a_terminal(&sshd, "scp");
            scp.args(*options).arg(folder.join("local")).arg(remote);
            scp
        })
        .collect();
    for scp in cases {
        let ended = run(scp);
        assert_ne!(ended.code(), 0, "{ended:?}");
    }
    let copied = world.at("/srv/home/pushdeny/copy").exists();
    assert!(!copied);
}

pub fn a_copy_on_a_terminal_asks_there() {
    let (world, sshd) = by_key("");
    let local = world.sandbox.path().join("local");
    fs::write(&local, "text").unwrap();
    for program in ["scp", "sftp"] {
        let client = sshd.asking_client(program);
        let local = local.to_str().unwrap();
        let mut terminal = match program {
            "scp" => on_terminal(client, &["-q", local, "push@127.0.0.1:by-scp"]),
            _ => on_terminal(client, &["push@127.0.0.1"]),
        };
        terminal.wait_for_text(MENU);
        terminal.send("123456\n");
        if program == "sftp" {
            terminal.wait_for_text("sftp>");
            terminal.send(&format!("put {local} by-sftp\nbye\n"));
        }
        assert_eq!(terminal.status(), 0, "{}", terminal.screen());
        let copy = world.at(&format!("/srv/home/push/by-{program}"));
        assert_eq!(fs::read_to_string(copy).unwrap(), "text");
    }
}

/// `ssh -N -L`, which a forced command does not see: nothing goes through before
/// Duo's yes.
pub fn forwarding_waits_for_duos_yes() {
    let (world, sshd) = by_key("");
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let inner = service.local_addr().unwrap().port();
    let socket = world.sandbox.path().join("forward");
    let forward = format!("{}:127.0.0.1:{inner}", socket.display());
    let mut denied = ssh(&sshd, &["-N", "-L", &forward, "deny@127.0.0.1"]);
    assert_eq!(denied.status(), 255);
    assert!(!socket.exists());

    let mut allowed = ssh(&sshd, &["-N", "-L", &forward, "manual@127.0.0.1"]);
    allowed.wait_for_text(MENU);
    allowed.send("1\n");
    world.wait_for_helper();
    assert!(!socket.exists(), "forwarding before Duo's yes");
    service.set_nonblocking(true).unwrap();
    assert!(service.accept().is_err());
    assert!(world.sandbox.duo.approve("manual"));
    wait_until(|| socket.exists(), || "no forwarding socket".to_owned());
    let near = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    service.set_nonblocking(false).unwrap();
    let (mut far, _): (TcpStream, _) = in_time(move || service.accept()).unwrap();
    std::io::Write::write_all(&mut far, b"hello").unwrap();
    drop(far);
    assert_eq!(read_to_end(near), b"hello");
    kill(Pid::from_raw(allowed.pid()), Signal::SIGTERM).unwrap();
    allowed.wait();
}

pub fn one_connection_is_asked_once_for_all_its_sessions() {
    let (world, sshd) = by_key("autopush = yes");
    let control = format!("-oControlPath={}/control", world.sandbox.path().display());
    let mut master = without_a_terminal(&sshd, "ssh");
    master.args(["-M", "-N", &control, "push@127.0.0.1"]);
    let mut master = start(master);
    wait_until(
        || world.sandbox.path().join("control").exists(),
        || "no control socket".to_owned(),
    );
    for _ in 0..3 {
        let mut ssh = sshd.client("ssh");
        ssh.args([&control, "push@127.0.0.1", "echo in"]);
        assert_eq!(run(ssh).stdout(), "in\n");
    }
    assert_eq!(world.sandbox.duo.asked("auth"), 1);
    let mut stop = sshd.client("ssh");
    stop.args([&control, "-O", "exit", "push@127.0.0.1"]);
    run(stop);
    wait(&mut master);
}

pub fn an_unknown_user_is_refused_and_duo_is_not_asked() {
    let world = PamWorld::new("failmode = safe");
    world.stack("sshd", "");
    let sshd = world.sshd(BY_PASSWORD);
    let mut terminal = ssh(&sshd, &["nobody-here@127.0.0.1", "echo in"]);
    assert_eq!(terminal.status(), 255);
    assert!(world.sandbox.duo.paths().is_empty());
    let line = world.wait_for_final();
    assert!(
        line.contains("nobody-here") && line.contains("127.0.0.1"),
        "{line}"
    );
}

/// A relaxed sshd whose stack has Duo alone: tried, root in without key or password.
pub fn without_a_key_a_stack_of_duo_alone_opens_nothing() {
    let world = PamWorld::new("failmode = safe\ngroups = no-such-group");
    world.stack_with("sshd", "", "conf=/etc/duo/pam_duo.conf after=publickey");
    let sshd = world.sshd(BY_PASSWORD);
    for user in ["push", "root"] {
        let mut terminal = ssh(&sshd, &[&format!("{user}@127.0.0.1"), "echo i''n"]);
        assert_eq!(terminal.status(), 255, "{}", terminal.screen());
        assert!(!terminal.screen().lines().any(|line| line == "in"));
    }
    assert!(world.sandbox.duo.paths().is_empty());
    let finals = world.finals();
    assert!(
        finals.iter().all(|text| text.starts_with("Aborted")),
        "{finals:#?}"
    );
}

/// sshd looks at the connection again when PAM has answered.
pub fn a_client_that_goes_while_the_phone_rings_gets_no_session() {
    let (world, sshd) = by_key("autopush = yes");
    let mut ssh = without_a_terminal(&sshd, "ssh");
    ssh.args(["manual@127.0.0.1", "touch was-here"]);
    let mut ssh = start(ssh);
    world.wait_for_helper();
    ssh.kill().unwrap();
    wait(&mut ssh);
    assert!(world.sandbox.duo.approve("manual"));
    world.final_line();
    assert!(!world.at("/srv/home/manual/was-here").exists());
}

pub fn the_end_of_the_grace_time_ends_the_login() {
    let world = PamWorld::new("autopush = yes");
    world.stack_with("sshd", "", "conf=/etc/duo/pam_duo.conf after=publickey");
    let sshd = world.sshd(&format!("LoginGraceTime 2\n{BY_KEY}"));
    let mut ssh = without_a_terminal(&sshd, "ssh");
    ssh.args(["manual@127.0.0.1", "echo in"]);
    let ssh = start(ssh);
    world.wait_for_helper();
    let ended = crate::support::ended(ssh);
    assert_eq!((ended.code(), &*ended.stdout()), (255, ""), "{ended:?}");
    let line = world.final_line();
    assert!(line.starts_with("Aborted Duo login for 'manual'"), "{line}");
}

pub fn a_verified_pushs_code_is_seen_in_time() {
    let builder = fake_duo::FakeDuo::builder().user("push", fake_duo::Script::Verified);
    let world = PamWorld::with(builder, "verified_push = yes");
    world.stack_with("sshd", "", "conf=/etc/duo/pam_duo.conf after=publickey");
    let sshd = world.sshd(BY_KEY);
    let mut terminal = ssh(&sshd, &["push@127.0.0.1", "exit 3"]);
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    terminal.wait_for_text("708");
    terminal.wait_for_text("then press Enter:");
    terminal.send("\n");
    assert_eq!(terminal.status(), 3, "{}", terminal.screen());
}

pub fn twenty_connections_at_once_are_each_asked() {
    let (world, sshd) = by_key("autopush = yes");
    let cases: Vec<usize> = (0..20).collect();
    side_by_side(&cases, |number| {
        let user = if number % 2 == 0 { "push" } else { "deny" };
        let mut ssh = without_a_terminal(&sshd, "ssh");
        ssh.args([&format!("{user}@127.0.0.1"), &format!("echo {number}")]);
        let ended: Ended = run(ssh);
        let expected = match user {
            "push" => format!("{number}\n"),
            _ => String::new(),
        };
        assert_eq!(ended.stdout(), expected, "{ended:?}");
    });
    assert_eq!(world.sandbox.duo.asked("auth"), 10);
}
