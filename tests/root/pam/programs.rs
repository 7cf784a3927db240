//! pamtester, su, sudo, login and sshd: each asks the first factor and then Duo.

use crate::machine::{PASSWORD, PamWorld, code};
use crate::support::{Terminal, TerminalSize, run_with};

const MENU: &str = "Passcode or option (1-";

pub fn pamtester_asks_duo() {
    let world = PamWorld::new("");
    let allowed = run_with(world.pamtester("duo", "push"), b"123456\n").succeeds();
    assert!(allowed.contains(MENU), "{allowed}");
    assert_eq!(world.code("push", &["1"]), code::SUCCESS);
    let denied = run_with(world.pamtester("duo", "deny"), b"");
    assert_eq!(denied.code(), 1, "{denied:?}");
}

pub fn sudo_asks_the_password_and_duo() {
    let world = PamWorld::new("");
    let both = format!("{PASSWORD}\n123456\n");
    let allowed = world.sudo("push", &["id", "-u"], &both);
    assert!(allowed.stdout().contains("0\n"), "{allowed:?}");
}

pub fn su_asks_the_password_and_duo() {
    let world = PamWorld::new("");
    let both = format!("{PASSWORD}\n123456\n");
    let allowed = world.su("push", &["-c", "id -u"], &both);
    assert!(allowed.stdout().contains("0\n"), "{allowed:?}");
}

pub fn login_asks_the_password_and_duo() {
    let world = PamWorld::new("");
    let mut terminal = world.on_terminal("root", &["sh", "-c", "exec login push 2>&1"]);
    terminal.wait_for_text("Password:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("123456\n");
    terminal.wait_for_text("$");
    terminal.send("echo uid=$UID; exit 5\n");
    terminal.wait_for_text(&format!("uid={}", world.uid("push")));
    terminal.wait();
}

pub fn sshd_asks_the_password_and_duo() {
    let world = PamWorld::new("");
    let sshd = world.sshd("AuthenticationMethods keyboard-interactive\n");
    let mut ssh = sshd.asking_client("ssh");
    ssh.args(["push@127.0.0.1", "echo in; exit 3"]);
    let mut terminal = Terminal::start(&ssh, TerminalSize::USUAL);
    terminal.wait_for_text("assword:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("123456\n");
    assert_eq!(terminal.status(), 3);
}
