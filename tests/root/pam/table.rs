//! For each service: first factor right, wrong or absent; Duo says yes or no, or
//! is down; safe and secure; selected by `groups` or not. Before, enabled, and
//! after disabling.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::support::Raises;

/// Every case, and whether it is let in where Duo is asked after the first factor.
fn cases() -> Vec<(&'static str, Duo, Selected, Factor, bool)> {
    let mut all = Vec::new();
    for failmode in ["safe", "secure"] {
        for duo in [Duo::Yes, Duo::No, Duo::Down] {
            for selected in [Selected::Yes, Selected::No] {
                for factor in [Factor::Right, Factor::Wrong, Factor::Absent] {
                    let passes_duo = selected == Selected::No
                        || duo == Duo::Yes
                        || (duo == Duo::Down && failmode == "safe");
                    let lets_in = factor == Factor::Right && passes_duo;
                    all.push((failmode, duo, selected, factor, lets_in));
                }
            }
        }
    }
    all
}

/// Goes through the table in front of `attempt`.
fn table(pam: &Pam, enable: &[&str], disable: &[&str], attempt: impl Fn(Factor) -> bool) {
    let before = || {
        let rung = pam.rung();
        for factor in [Factor::Right, Factor::Wrong, Factor::Absent] {
            assert_eq!(
                attempt(factor),
                factor == Factor::Right,
                "not enabled: {factor:?}"
            );
        }
        assert_eq!(pam.rung(), rung, "Duo is asked");
    };
    before();
    let found = state();
    duoctl(enable).succeeds();
    for (failmode, duo, selected, factor, expected) in cases() {
        pam.configure(failmode, duo, selected);
        let rung = pam.rung();
        let case = format!("{failmode} {duo:?} selected {selected:?} first factor {factor:?}");
        assert_eq!(attempt(factor), expected, "{case}");
        // A wrong password rings no phone, and whom it should ask it asks.
        let is_asked = factor == Factor::Right && selected == Selected::Yes && duo != Duo::Down;
        assert_eq!(pam.rung() > rung, is_asked, "{case}");
    }
    pam.configure("secure", Duo::Yes, Selected::Yes);
    duoctl(disable).succeeds();
    assert_same(&found);
    before();
}

pub fn sudo_lets_in_whoever_has_both_factors() {
    let pam = Pam::new();
    let (on, off) = (["enable", "pam", "sudo"], ["disable", "pam", "sudo"]);
    table(&pam, &on, &off, |factor| {
        let plain = sudo(&[], factor);
        let login = sudo(&["-i"], factor);
        assert_eq!(plain, login, "sudo and sudo -i");
        plain
    });
}

pub fn su_lets_in_whoever_has_both_factors() {
    let pam = Pam::new();
    let (on, off) = (["enable", "pam", "su"], ["disable", "pam", "su"]);
    table(&pam, &on, &off, |factor| {
        let root = su(&[], "root", factor);
        for (arguments, target) in [(&["-"][..], "root"), (&[][..], BOB)] {
            assert_eq!(
                root,
                su(arguments, target, factor),
                "su {arguments:?} {target}"
            );
        }
        root
    });
    // root becomes anybody unasked, as before.
    let rung = pam.rung();
    duoctl(&on).succeeds();
    let said = Ended::of(Command::new("su").args([ALICE, "-c", "id -un"])).succeeds();
    assert!(said.contains(ALICE), "{said}");
    assert_eq!(pam.rung(), rung);
}

pub fn login_lets_in_whoever_has_both_factors() {
    let pam = Pam::new();
    let (on, off) = (["enable", "pam", "login"], ["disable", "pam", "login"]);
    table(&pam, &on, &off, |factor| pamtester("login", factor));
}

/// The program that getty starts, on a terminal.
pub fn login_itself_asks_for_both_factors() {
    let pam = Pam::new();
    duoctl(&["enable", "pam", "login"]).succeeds();
    for (duo, password, is_in) in [
        (Duo::Yes, RIGHT, true),
        (Duo::No, RIGHT, false),
        (Duo::Yes, "wrong", false),
    ] {
        pam.configure("secure", duo, Selected::Yes);
        let rung = pam.rung();
        // Without this right it cannot hang the terminal up, whose reader is this test;
        // and it wants the terminal as its stderr too.
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set", "-sys_tty_config", "sh", "-c"])
            .arg(format!("exec login -p {ALICE} 2>&1"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm");
        let mut terminal = Terminal::start(&command, TerminalSize::USUAL);
        terminal.wait_for_text("Password:");
        terminal.send(&format!("{password}\n"));
        match is_in {
            true => {
                terminal.wait_for(|screen| screen.ends_with('$'));
                terminal.send("exit\n");
            }
            false => drop(terminal.wait_for(|screen| {
                screen.contains("Login incorrect") || screen.contains("Maximum number of tries")
            })),
        }
        assert_eq!(pam.rung() > rung, password == RIGHT, "{duo:?}");
        terminal.hang_up();
    }
}

/// Whoever has no key gets in at no moment of enabling and disabling.
pub fn nobody_without_a_key_gets_in_while_it_changes() {
    let pam = Pam::new();
    pam.sshd(KEYS);
    pam.configure("safe", Duo::Yes, Selected::No);
    let is_over = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        let tries = scope.spawn(|| {
            let mut got_in = 0;
            for tries in 0.. {
                if tries > 1 && is_over.load(Ordering::Relaxed) {
                    break;
                }
                got_in += usize::from(ssh_once(&pam, BOB, false, Factor::Right));
            }
            got_in
        });
        let over = Raises(&is_over);
        let mut ran = Vec::new();
        for _ in 0..3 {
            ran.push(duoctl(&["enable", "pam", "sshd", "--accept", "no-way-in"]));
            ran.push(duoctl(&["disable", "pam", "sshd"]));
        }
        drop(over);
        assert_eq!(tries.join().expect("its end"), 0, "without a key");
        ran
    });
    for ended in ran {
        ended.succeeds();
    }
}

/// A wrong first factor is a wrong key here, and none at all.
pub fn sshd_with_keys_lets_in_whoever_has_both_factors() {
    let pam = Pam::new();
    pam.sshd(KEYS);
    let on = ["enable", "pam", "sshd", "--accept", "no-way-in"];
    let off = ["disable", "pam", "sshd"];
    table(&pam, &on, &off, |factor| match factor {
        Factor::Right => ssh(&pam, true, Factor::Absent),
        // The password is right, but it is no key.
        Factor::Wrong => ssh(&pam, false, Factor::Right),
        Factor::Absent => ssh(&pam, false, Factor::Absent),
    });
}

pub fn sshd_with_passwords_lets_in_whoever_has_both_factors() {
    let pam = Pam::new();
    pam.sshd("PasswordAuthentication yes\nUsePAM yes\nAuthorizedKeysFile none\n");
    let on = [
        "enable",
        "pam",
        "sshd",
        "--with",
        "passwords",
        "--accept",
        "no-way-in",
    ];
    let off = ["disable", "pam", "sshd"];
    table(&pam, &on, &off, |factor| ssh(&pam, false, factor));
}
