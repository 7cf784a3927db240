//! pamtester, su, sudo and login: what each makes of the module's prompts and codes.

use std::fs;

use fake_duo::{FakeDuo, Script};

use crate::machine::{MODULE, PASSWORD, PamWorld, sudo_rs};
use crate::support::{Ended, run_quietly, run_with, side_by_side};

const MENU: &str = "Passcode or option (1-";

/// Lines of input: the password, then these.
fn after_the_password(answers: &[&str]) -> String {
    let lines = std::iter::once(PASSWORD).chain(answers.iter().copied());
    lines.map(|line| format!("{line}\n")).collect()
}

fn is_root(ended: &Ended) -> bool {
    ended.stdout().contains("uid=0(root)")
}

pub fn pamtester_asks_duo() {
    let world = PamWorld::new("");
    let allowed = run_with(world.pamtester("duo", "push"), b"123456\n");
    assert_eq!(allowed.code(), 0, "{allowed:?}");
    assert!(allowed.text().contains(MENU), "{allowed:?}");
    let denied = run_with(world.pamtester("duo", "deny"), b"");
    assert_eq!(denied.code(), 1, "{denied:?}");
    let mut both = world.inside();
    both.args([
        "pamtester",
        "duo",
        "push",
        "authenticate",
        "acct_mgmt",
        "setcred",
    ]);
    assert_eq!(run_with(both, b"123456\n").code(), 0);
}

/// First factor right, wrong and absent; Duo yes, no and down; safe and secure.
pub fn sudo_and_su_open_by_both_factors_alone() {
    let programs: [fn(&PamWorld, &str, &str) -> Ended; 2] = [
        |world, user, input| world.sudo(user, &["id"], input),
        |world, user, input| world.su(user, &["-c", "id"], input),
    ];
    let cases: Vec<_> = programs
        .iter()
        .flat_map(|program| ["safe", "secure"].map(|failmode| (program, failmode)))
        .collect();
    side_by_side(&cases, |(program, failmode)| {
        let world = PamWorld::new(&format!("failmode = {failmode}\nprompts = 1"));
        // sudo asks for a wrong password three times.
        let wrong = "wrong\n123456\n".repeat(3);
        for input in [wrong.as_str(), "", "\n\n\n123456\n"] {
            let ended = program(&world, "push", input);
            assert!(!is_root(&ended), "{input}: {ended:?}");
            assert_ne!(ended.code(), 0, "{input}: {ended:?}");
        }
        assert!(world.sandbox.duo.paths().is_empty(), "without a password");
        let yes = program(&world, "push", &after_the_password(&["123456"]));
        assert!(is_root(&yes), "{yes:?}");
        let no = program(&world, "deny", &after_the_password(&["123456"]));
        assert!(!is_root(&no), "{no:?}");
        world.sandbox.duo.stop();
        let down = program(&world, "push", &after_the_password(&["123456"]));
        assert_eq!(is_root(&down), *failmode == "safe", "{down:?}");
    });
}

pub fn sudo_ends_at_once_where_duo_denies() {
    let world = PamWorld::new("");
    let input = after_the_password(&[PASSWORD, PASSWORD]);
    for user in ["deny", "enroll"] {
        let ended = world.sudo(user, &["id"], &input);
        assert!(!is_root(&ended) && ended.code() == 1, "{ended:?}");
        assert!(!ended.text().contains("try again"), "{ended:?}");
    }
    assert_eq!(world.sandbox.duo.asked("preauth"), 2);
}

pub fn sudo_starts_again_where_every_attempt_is_denied() {
    let world = PamWorld::new("");
    let once = after_the_password(&["000001"; 3]);
    let ended = world.sudo("push", &["id"], &once.repeat(3));
    assert!(!is_root(&ended) && ended.code() == 1, "{ended:?}");
    assert!(
        ended.text().contains("3 incorrect password attempts"),
        "{ended:?}"
    );
    assert_eq!(world.sandbox.duo.asked("auth"), 9);
}

pub fn sudo_without_a_conversation_is_refused_at_the_menu() {
    let world = PamWorld::new("failmode = safe");
    world.stack("sudo", "");
    let rules = fs::read_to_string(world.etc("sudoers")).unwrap();
    // Without it, sudo does not even ask PAM.
    let rules = format!("Defaults noninteractive_auth\n{rules}");
    world.write("sudoers", &rules, 0o440);
    let mut sudo = world.as_user("push");
    sudo.args(["sudo", "-n", "id"]);
    let ended = run_with(sudo, b"");
    assert!(!is_root(&ended) && ended.code() == 1, "{ended:?}");
    assert_eq!(world.sandbox.duo.asked("auth"), 0);
    // With autopush the push is the conversation.
    world.configure("autopush = yes");
    for (user, allowed) in [("push", true), ("pushdeny", false)] {
        let mut sudo = world.as_user(user);
        sudo.args(["sudo", "-n", "id"]);
        let ended = run_with(sudo, b"");
        assert_eq!(is_root(&ended), allowed, "{ended:?}");
    }
}

pub fn sudo_with_its_input_gone_is_refused() {
    let world = PamWorld::new("failmode = safe");
    let ended = world.sudo("push", &["id"], &after_the_password(&[]));
    assert!(!is_root(&ended) && ended.code() != 0, "{ended:?}");
    assert_eq!(world.sandbox.duo.asked("auth"), 0);
    let line = world.wait_for_final();
    assert!(line.starts_with("Aborted Duo login for 'push'"), "{line}");
}

pub fn sudo_on_a_terminal_shows_the_menu_and_progress() {
    let world = PamWorld::new("");
    let mut terminal = world.on_terminal("push", &["sudo", "id"]);
    terminal.wait_for_text("password for push:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    terminal.wait_for_text("uid=0(root)");
    assert_eq!(terminal.status(), 0);
}

/// sudo's way from 1.9.14 on: a terminal of its own for the command.
pub fn sudo_with_a_terminal_of_its_own_works() {
    let world = PamWorld::new("");
    let rules = fs::read_to_string(world.etc("sudoers")).unwrap();
    let rules = format!("Defaults use_pty, log_subcmds\n{rules}");
    world.write("sudoers", &rules, 0o440);
    let words = ["sudo", "sh", "-c", "id; exit 9"];
    let mut terminal = world.on_terminal("push", &words);
    terminal.wait_for_text("password for push:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    terminal.wait_for_text("uid=0(root)");
    assert_eq!(terminal.status(), 9);
}

pub fn a_command_of_100_kilobytes_is_asked_about() {
    let builder = FakeDuo::builder().user("push", Script::Sync);
    let world = PamWorld::with(builder, "pushinfo = yes");
    let long = "\u{e9}".repeat(50_000);
    let input = after_the_password(&["1"]);
    let ended = world.sudo("push", &["printf", "%.1s", &long], &input);
    assert_eq!(ended.code(), 0, "{ended:?}");
    let requests = world.sandbox.duo.requests();
    let auth = requests
        .iter()
        .find(|one| one.endpoint() == "auth")
        .unwrap();
    let info = auth.param("pushinfo").unwrap();
    assert!(info.contains("Command=%2Fusr%2Fbin%2Fprintf"), "{info}");
    assert!(info.len() <= 20_000, "{} bytes", info.len());
}

pub fn ctrl_c_at_sudos_menu_and_during_its_push_ends_it() {
    for in_the_push in [false, true] {
        let world = PamWorld::new("failmode = safe");
        let mut terminal = world.on_terminal("manual", &["sudo", "id"]);
        terminal.wait_for_text("password for manual:");
        terminal.send(&format!("{PASSWORD}\n"));
        terminal.wait_for_text(MENU);
        if in_the_push {
            terminal.send("1\n");
            world.wait_for_helper();
        }
        terminal.send("\x03");
        assert!(!terminal.wait().success());
        assert!(!terminal.screen().contains("uid=0"));
        let line = world.final_line();
        assert!(line.starts_with("Aborted Duo login for 'manual'"), "{line}");
    }
}

pub fn ctrl_c_during_a_push_of_su_ends_it() {
    let world = PamWorld::new("failmode = safe");
    let mut terminal = world.on_terminal("manual", &["sh", "-c", "exec su -c id 2>&1"]);
    terminal.wait_for_text("Password:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    world.wait_for_helper();
    terminal.send("\x03");
    assert!(!terminal.wait().success());
    assert!(!terminal.screen().contains("uid=0"));
    let line = world.final_line();
    assert!(line.starts_with("Aborted Duo login for 'manual'"), "{line}");
}

pub fn login_on_a_terminal_asks_both_and_starts_the_shell() {
    let world = PamWorld::new("");
    let words = ["sh", "-c", "exec login push 2>&1"];
    let mut terminal = world.on_terminal("root", &words);
    terminal.wait_for_text("Password:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("123456\n");
    terminal.wait_for_text("$");
    terminal.send("echo uid=$UID; exit 5\n");
    terminal.wait_for_text(&format!("uid={}", world.uid("push")));
    terminal.wait();
}

pub fn login_on_a_terminal_that_duo_denies_starts_none() {
    let world = PamWorld::new("failmode = safe");
    let words = ["sh", "-c", "exec login deny 2>&1"];
    let mut terminal = world.on_terminal("root", &words);
    terminal.wait_for_text("Password:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text("disabled");
    let line = world.wait_for_final();
    assert!(line.starts_with("Aborted Duo login for 'deny'"), "{line}");
    let shells = world.processes();
    assert!(!shells.iter().any(|(_, name)| name == "bash"), "{shells:?}");
    terminal.hang_up();
}

/// Debian's own stacks stand between others.
pub fn a_stack_with_success_and_die_in_brackets() {
    let world = PamWorld::new("failmode = secure");
    let stack = format!(
        "auth [success=2 default=ignore] pam_unix.so nodelay\nauth requisite pam_deny.so\n\
         auth required pam_deny.so\nauth [success=1 default=die] {MODULE} conf=/etc/duo/pam_duo.conf\n\
         auth requisite pam_deny.so\nauth required pam_permit.so\naccount required pam_permit.so\n\
         session required pam_permit.so\n"
    );
    world.write("pam.d/sudo", &stack, 0o644);
    let ended = world.sudo("push", &["id"], &after_the_password(&["123456"]));
    assert!(is_root(&ended), "{ended:?}");
    let ended = world.sudo("deny", &["id"], &after_the_password(&["123456"]));
    assert!(!is_root(&ended), "{ended:?}");
}

/// Another sudo, which sets PAM_SILENT and no SUDO_COMMAND.
pub fn sudo_rs_asks_the_password_and_duo() {
    let builder = FakeDuo::builder().user("push", Script::Sync);
    let world = PamWorld::with(builder, "pushinfo = yes\nfailmode = safe");
    let program = sudo_rs().unwrap();
    let mut copy = world.inside();
    let script = "cp \"$1\" /srv/bin/sudo-rs && chmod 4755 /srv/bin/sudo-rs";
    copy.args(["sh", "-c", script, "sh", &program]);
    assert!(run_quietly(&mut copy).success());
    let rules = "Defaults timestamp_timeout=0\nALL ALL=(ALL:ALL) ALL\n";
    world.write("sudoers", rules, 0o440);
    let run = |user: &str, input: &str| {
        let mut sudo = world.as_user(user);
        sudo.args(["env", "SUDO_COMMAND=/usr/bin/forged"]);
        sudo.args(["/srv/bin/sudo-rs", "-S", "id"]);
        run_with(sudo, input.as_bytes())
    };
    let yes = run("push", &after_the_password(&["1"]));
    assert!(is_root(&yes), "{yes:?}");
    let requests = world.sandbox.duo.requests();
    let auth = requests
        .iter()
        .find(|one| one.endpoint() == "auth")
        .unwrap();
    assert!(!auth.param("pushinfo").unwrap().contains("forged"));
    let mut terminal = world.on_terminal("push", &["/srv/bin/sudo-rs", "id"]);
    terminal.wait_for_text("assword:");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.wait_for_text(MENU);
    terminal.send("1\n");
    terminal.wait_for_text("uid=0(root)");
    assert_eq!(terminal.status(), 0);
    for (user, input) in [
        ("push", "wrong\n123456\n".repeat(3)),
        ("deny", after_the_password(&[PASSWORD, PASSWORD])),
        ("push", after_the_password(&[])),
    ] {
        let no = run(user, &input);
        assert!(!is_root(&no), "{user}: {no:?}");
    }
}
