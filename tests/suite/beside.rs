//! A push does not close the prompt: what a person sees, what Duo is asked, and what
//! the shell gets, where they type while Duo waits for them.

use std::time::Duration;

use fake_duo::{Endpoint, FakeDuo, Fault, PASSCODE, Stage, Times};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{PATIENCE, Sandbox, Terminal, TerminalSize, lines, side_by_side, wait_until};

const USUAL: TerminalSize = TerminalSize::USUAL;

/// Long enough for each text of a login.
const TALL: TerminalSize = TerminalSize {
    rows: 60,
    columns: 80,
};

const PUSHED: &str = "Pushed a login request to your device...";
const SUCCESS: &str = "Success. Logging you in...";
const WRONG: &str = "Incorrect passcode. Please try again.";
const COUNTER: &str = "s, or type a passcode";

/// What a session of these tests says: the line that it gets from the terminal.
const SESSION: &str = "echo welcome; read line; echo \"[$line]\"";

/// A login whose push waits, at the moment at which the counter has come.
fn waiting_on(sandbox: &Sandbox, size: TerminalSize) -> Terminal {
    let login = sandbox.login("manual").args(&[SESSION]);
    let mut terminal = login.on_terminal_of(size);
    terminal.wait_for_text("Passcode or option (1-3):");
    terminal.send("1\n");
    terminal.wait_for(|screen| screen.contains(PUSHED) && screen.contains(COUNTER));
    terminal
}

fn waiting(sandbox: &Sandbox) -> Terminal {
    waiting_on(sandbox, USUAL)
}

/// What is on the screen below Duo's first text: blank rows too.
fn below_the_push(terminal: &Terminal) -> String {
    let rows = terminal.rows();
    let (_, below) = rows.split_once(&format!("{PUSHED}\n")).unwrap_or_default();
    below.to_owned()
}

/// The session gets what is typed now, and nothing that was typed before.
fn the_session_gets_only_what_comes_now(terminal: &mut Terminal) {
    terminal.wait_for_text("welcome");
    terminal.send("after\n");
    assert_eq!(terminal.status(), 0, "{}", terminal.log());
    assert!(
        terminal.screen().ends_with("\nafter\n[after]"),
        "{}",
        terminal.screen()
    );
}

fn auths(sandbox: &Sandbox) -> Vec<String> {
    let auths = sandbox.duo.requests().into_iter();
    let auths = auths.filter(|request| request.endpoint() == "auth");
    auths
        .map(|request| request.param("prompt").unwrap_or_default().to_owned())
        .collect()
}

fn outcomes(terminal: &Terminal) -> String {
    lines(&terminal.log(), |line| line.contains("Duo login for"))
}

#[test]
fn a_passcode_wins_beside_an_open_push() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    terminal.send(PASSCODE);
    // What is typed stands above the counter, which goes on.
    let seconds = |number: u32| format!("{PASSCODE}\nwaiting for your approval… {number} ");
    terminal.wait_for(|screen| (2..9).any(|number| screen.contains(&seconds(number))));
    terminal.send("\n");
    terminal.wait_for_text("welcome");
    assert_eq!(
        below_the_push(&terminal),
        format!("{PASSCODE}\n{SUCCESS}\nwelcome")
    );
    the_session_gets_only_what_comes_now(&mut terminal);
    assert_eq!(auths(&sandbox), ["push1", PASSCODE]);
    let line = "[6] Successful Duo login for 'manual' from 192.0.2.7: passcode\n";
    assert_eq!(outcomes(&terminal), line);
    // The push went over the first connection, the passcode over a second one.
    assert_eq!(sandbox.duo.handshakes(), 2);
    let requests = sandbox.duo.requests();
    let connections: Vec<_> = requests.iter().map(|request| request.connection).collect();
    assert_eq!(connections.first(), Some(&1));
    assert_eq!(connections.last(), Some(&2));
}

#[test]
fn the_push_wins_and_half_a_line_is_not_the_shells() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    terminal.send("12");
    terminal.wait_for_text("\n12\n");
    assert!(sandbox.duo.approve("manual"));
    terminal.wait_for_text("welcome");
    assert_eq!(below_the_push(&terminal), format!("{SUCCESS}\nwelcome"));
    the_session_gets_only_what_comes_now(&mut terminal);
    assert!(terminal.last_line().ends_with(": push1"));
    assert_eq!(auths(&sandbox), ["push1"]);
}

#[test]
fn a_push_wins_while_a_passcode_is_checked() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    // The second connection is accepted, and nothing more.
    let silence = Fault::Stall(Stage::BeforeTls);
    sandbox.duo.fault(Endpoint::Any, silence, Times::First(1));
    terminal.send(&format!("{PASSCODE}\n654321\n"));
    assert!(sandbox.duo.wait_for_connections(2, PATIENCE));
    assert!(sandbox.duo.approve("manual"));
    the_session_gets_only_what_comes_now(&mut terminal);
    assert!(terminal.last_line().ends_with(": push1"));
}

#[test]
fn a_wrong_passcode_and_then_the_push_is_approved() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    terminal.send("000000\n");
    terminal.wait_for_text(WRONG);
    assert!(sandbox.duo.approve("manual"));
    terminal.wait_for_text("welcome");
    let below = format!("000000\n{WRONG}\n{SUCCESS}\nwelcome");
    assert_eq!(below_the_push(&terminal), below);
    the_session_gets_only_what_comes_now(&mut terminal);
    assert_eq!(
        outcomes(&terminal),
        format!(
            "[4] Failed Duo login for 'manual' from 192.0.2.7: {WRONG}\n\
             [6] Successful Duo login for 'manual' from 192.0.2.7: push1\n"
        )
    );
}

#[test]
fn two_passcodes_in_a_row_and_the_second_is_right() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    terminal.send("000000\n");
    terminal.wait_for_text(WRONG);
    terminal.send(&format!("{PASSCODE}\n"));
    terminal.wait_for_text("welcome");
    let below = format!("000000\n{WRONG}\n{PASSCODE}\n{SUCCESS}\nwelcome");
    assert_eq!(below_the_push(&terminal), below);
    the_session_gets_only_what_comes_now(&mut terminal);
    // Both went over the same second connection.
    assert_eq!(sandbox.duo.handshakes(), 2);
}

#[test]
fn a_denied_push_does_not_end_the_login_while_a_passcode_is_on_its_way() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    let late = Fault::Delay(Duration::from_millis(1_500));
    sandbox.duo.fault(Endpoint::Auth, late, Times::First(1));
    terminal.send(&format!("{PASSCODE}\n"));
    assert!(sandbox.duo.wait_until(
        |requests| requests.iter().filter(|r| r.endpoint() == "auth").count() == 2,
        PATIENCE
    ));
    assert!(sandbox.duo.deny("manual"));
    terminal.wait_for_text("Login request denied.");
    terminal.wait_for_text("welcome");
    let below = format!("{PASSCODE}\nLogin request denied.\n{SUCCESS}\nwelcome");
    assert_eq!(below_the_push(&terminal), below);
    the_session_gets_only_what_comes_now(&mut terminal);
    assert_eq!(sandbox.duo.asked("preauth"), 1);
    assert!(terminal.last_line().ends_with(": passcode"));
}

#[test]
fn fraud_ends_the_login_with_half_a_line_and_with_a_passcode_on_its_way() {
    for keys in ["12", "123456\n"] {
        let sandbox = Sandbox::new();
        let mut terminal = waiting(&sandbox);
        let late = Fault::Delay(PATIENCE);
        sandbox.duo.fault(Endpoint::Auth, late, Times::Always);
        terminal.send(keys);
        terminal.wait_for_text(&format!("\n{}", keys.trim()));
        assert!(sandbox.duo.report_fraud("manual"));
        assert_eq!(terminal.status(), 1);
        let end = "Login denied: Login request reported as fraudulent.";
        assert!(terminal.rows().ends_with(end), "{}", terminal.rows());
        let line = "Aborted Duo login for 'manual' from 192.0.2.7: Login request reported";
        assert!(outcomes(&terminal).contains(line) && outcomes(&terminal).lines().count() == 1);
        assert_eq!(sandbox.duo.asked("preauth"), 1);
    }
}

#[test]
fn a_passcode_that_locks_the_account_ends_the_login_beside_an_open_push() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    let locked = r#"{"result":"deny","status":"locked_out","status_msg":"Locked out"}"#;
    let locked = Fault::Response(locked.to_owned());
    sandbox.duo.fault(Endpoint::Auth, locked, Times::First(1));
    terminal.send("000000\n");
    assert_eq!(terminal.status(), 1);
    assert_eq!(
        below_the_push(&terminal),
        "000000\nLogin denied: Locked out"
    );
    assert_eq!(sandbox.duo.asked("preauth"), 1);
}

#[test]
fn when_passcodes_have_used_prompts_up_only_the_push_is_left() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting_on(&sandbox, TALL);
    for (number, wrong) in (1..).zip(["000000\n", "000001\n"]) {
        terminal.send(wrong);
        terminal.wait_for(|screen| screen.matches(WRONG).count() == number);
    }
    // The counter offers no passcode any more.
    terminal.wait_for_text("s, Ctrl-C gives up");
    terminal.send(&format!("{PASSCODE}\n"));
    terminal.wait_for_text("no attempt is left for a passcode");
    assert!(sandbox.duo.deny("manual"));
    assert_eq!(terminal.status(), 1);
    let below = format!(
        "000000\n{WRONG}\n000001\n{WRONG}\n{PASSCODE}\n\
         no attempt is left for a passcode\nLogin request denied.\n\
         Login denied: that was the last attempt"
    );
    assert_eq!(below_the_push(&terminal), below);
    assert_eq!(auths(&sandbox), ["push1", "000000", "000001"]);
    assert_eq!(outcomes(&terminal).matches("Failed").count(), 3);
}

#[test]
fn a_paste_of_several_lines_is_taken_line_by_line_and_not_by_the_shell() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting_on(&sandbox, TALL);
    terminal.send(&format!("ls -l\n000000\n{PASSCODE}\nrm -r x\nhal"));
    terminal.wait_for_text("welcome");
    the_session_gets_only_what_comes_now(&mut terminal);
    assert_eq!(auths(&sandbox), ["push1", "000000", PASSCODE]);
    let screen = terminal.screen();
    assert!(
        screen.contains("while Duo waits, only a passcode can be typed"),
        "{screen}"
    );
    assert!(screen.contains(WRONG), "{screen}");
}

#[test]
fn an_empty_line_does_nothing_and_leaves_no_trace() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    let before = below_the_push(&terminal).lines().count();
    terminal.send("\n\n \n\n");
    terminal.send("9\n");
    terminal.wait_for_text("there is no option 9");
    // The blank one stays a line, since it is not empty.
    let below = below_the_push(&terminal);
    assert!(below.lines().count() <= before + 3, "{below}");
    assert!(sandbox.duo.approve("manual"));
    the_session_gets_only_what_comes_now(&mut terminal);
    assert_eq!(auths(&sandbox), ["push1"]);
}

#[test]
fn backspace_and_ctrl_u_are_the_kernels_beside_the_counter() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    terminal.send("999\x1512x\x7f345");
    terminal.wait_for_text("\n12345\n");
    terminal.wait_for(|screen| {
        (3..9)
            .any(|number| screen.contains(&format!("12345\nwaiting for your approval… {number} ")))
    });
    terminal.send("6\n");
    terminal.wait_for_text("welcome");
    assert_eq!(
        below_the_push(&terminal),
        format!("{PASSCODE}\n{SUCCESS}\nwelcome")
    );
    the_session_gets_only_what_comes_now(&mut terminal);
}

#[test]
fn a_text_of_duos_does_not_touch_what_is_being_typed() {
    let builder = FakeDuo::builder();
    let sandbox = Sandbox::with_delay(builder, Duration::from_millis(700));
    let login = sandbox.login("slowpush").args(&[SESSION]);
    let mut terminal = login.on_terminal();
    terminal.wait_for_text("Passcode or option (1-3):");
    terminal.send("1\n");
    terminal.wait_for_text(PUSHED);
    terminal.send("12");
    let texts = [
        "Your device has the request...",
        "Still waiting for you...",
        "Still waiting for you, no hurry...",
    ];
    for text in texts {
        // Above what is typed, which stays where the cursor is.
        terminal.wait_for_text(&format!("{text}\n12"));
    }
    terminal.send("3");
    terminal.wait_for_text("\n123\nwaiting");
    terminal.wait_for_text("welcome");
    let below = format!("{}\n{SUCCESS}\nwelcome", texts.join("\n"));
    assert_eq!(below_the_push(&terminal), below);
    the_session_gets_only_what_comes_now(&mut terminal);
}

#[test]
fn on_forty_columns_a_long_line_wraps_and_the_counter_stays_below_it() {
    let yubikey = "cccccckdvvulgjvtkjdhtlrbjjctggdihuevikehtlil";
    for columns in [40, 200] {
        let sandbox = Sandbox::new();
        let size = TerminalSize { rows: 24, columns };
        let mut terminal = waiting_on(&sandbox, size);
        terminal.send(yubikey);
        let wrapped = match columns {
            40 => format!("{}\n{}", &yubikey[..40], &yubikey[40..]),
            _ => yubikey.to_owned(),
        };
        let is_below = |number: u32| match columns {
            40 => format!("{wrapped}\nwaiting… {number} s, or type a passcode"),
            _ => format!("{wrapped}\nwaiting for your approval… {number} s"),
        };
        let rows = || terminal.rows();
        wait_until(
            || (2..9).any(|number| rows().contains(&is_below(number))),
            rows,
        );
        terminal.send("\n");
        terminal.wait_for_text(WRONG);
        terminal.send(&format!("{PASSCODE}\n"));
        terminal.wait_for_text("welcome");
        let below = below_the_push(&terminal);
        assert_eq!(
            below,
            format!("{wrapped}\n{WRONG}\n{PASSCODE}\n{SUCCESS}\nwelcome")
        );
        the_session_gets_only_what_comes_now(&mut terminal);
    }
}

#[test]
fn at_the_bottom_of_the_screen_it_scrolls_and_stays_whole() {
    let sandbox = Sandbox::new();
    let size = TerminalSize {
        rows: 14,
        columns: 80,
    };
    let mut terminal = waiting_on(&sandbox, size);
    for wrong in ["000000", "000001"] {
        terminal.send(wrong);
        let typed = format!("{wrong}\nwaiting for your approval… ");
        terminal.wait_for_text(&typed);
        terminal.send("\n");
        terminal.wait_for(|screen| screen.contains(&format!("{wrong}\n{WRONG}\n\nwaiting")));
    }
    terminal.send("12");
    terminal.wait_for_text("\n12\nwaiting");
    assert!(sandbox.duo.approve("manual"));
    terminal.wait_for_text("welcome");
    let below = format!("000000\n{WRONG}\n000001\n{WRONG}\n{SUCCESS}\nwelcome");
    assert_eq!(below_the_push(&terminal), below);
    the_session_gets_only_what_comes_now(&mut terminal);
}

#[test]
fn a_window_that_changes_its_size_has_one_counter() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    terminal.send("123");
    for (columns, counter) in [
        (40, "waiting… "),
        (200, "or type a passcode (Ctrl-C gives up)"),
        (25, " s"),
        (80, "or type a passcode (Ctrl-C gives up)"),
    ] {
        terminal.resize(TerminalSize { rows: 24, columns });
        terminal.wait_for(|screen| {
            let mut end = screen.lines().rev();
            end.next().is_some_and(|line| line.contains(counter)) && end.next() == Some("123")
        });
    }
    terminal.send("456\n");
    terminal.wait_for_text("welcome");
    // The narrow screen has cut what was above.
    let end = format!("\n{PASSCODE}\n{SUCCESS}\nwelcome");
    let rows = terminal.rows();
    assert!(rows.ends_with(&end) && !rows.contains("waiting"), "{rows}");
    the_session_gets_only_what_comes_now(&mut terminal);
}

#[test]
fn a_passcode_beside_autopush_a_call_and_a_verified_push() {
    for (lines, user, keys, shown) in [
        ("autopush = yes", "manual", "", PUSHED),
        ("", "phone", "2\n", "Dialing XXX-XXX-1234..."),
        (
            "verified_push = yes",
            "verified",
            "\n",
            "verification code 708",
        ),
    ] {
        let builder = FakeDuo::builder().poll_limit(Duration::from_secs(1));
        let sandbox = Sandbox::with_delay(builder, PATIENCE);
        sandbox.configure(lines);
        let mut terminal = sandbox.login(user).args(&[SESSION]).on_terminal();
        if !keys.is_empty() {
            terminal.wait_for_text("Passcode or option (1-3):");
            terminal.send(keys);
        }
        terminal.wait_for(|screen| screen.contains(shown) && screen.contains(COUNTER));
        terminal.send(&format!("{PASSCODE}\n"));
        the_session_gets_only_what_comes_now(&mut terminal);
        assert!(terminal.last_line().ends_with(": passcode"), "{user}");
    }
}

#[test]
fn a_second_connection_that_fails_leaves_the_push() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    sandbox.duo.fault(
        Endpoint::Auth,
        Fault::Reset(Stage::BeforeHeaders),
        Times::Always,
    );
    terminal.send(&format!("{PASSCODE}\n"));
    terminal.wait_for_text("Lost the connection to");
    // It may have been checked, so it is not sent again.
    assert_eq!(auths(&sandbox), ["push1", PASSCODE]);
    assert!(sandbox.duo.approve("manual"));
    the_session_gets_only_what_comes_now(&mut terminal);
    assert!(terminal.last_line().ends_with(": push1"));
}

/// After the login, a shell that shows what the terminal still has for it.
const AND_THEN: &str = "trap : INT; \"$@\"; trap - INT; echo over; read line; echo \"[$line]\"";

#[test]
fn however_it_ends_no_line_is_left_and_the_settings_are_as_before() {
    type End = fn(&Sandbox, &mut Terminal);
    let by_keys: End = |_, terminal| terminal.send("\x03");
    let by_end_of_input: End = |_, terminal| terminal.send("\x15\x04");
    let by_kill: End = |sandbox, _| kill(parent_of(sandbox), Signal::SIGKILL).unwrap();
    let by_term: End = |sandbox, _| kill(parent_of(sandbox), Signal::SIGTERM).unwrap();
    let ends = [
        (by_keys, "interrupted"),
        (by_end_of_input, "end of input"),
        (by_kill, "login_duo was killed"),
        (by_term, "terminated"),
    ];
    side_by_side(&ends, |(end, words)| {
        let sandbox = Sandbox::new();
        let login = sandbox.login("manual").args(&["echo", "in"]);
        let mut terminal = login.through(AND_THEN).on_terminal();
        let before = terminal.settings();
        terminal.wait_for_text("Passcode or option (1-3):");
        terminal.send("1\n");
        terminal.wait_for_text(COUNTER);
        // Both are open: the push, and a passcode that Duo does not answer.
        let late = Fault::Delay(PATIENCE);
        sandbox.duo.fault(Endpoint::Auth, late, Times::First(1));
        terminal.send(&format!("{PASSCODE}\n"));
        wait_until(|| auths(&sandbox).len() == 2, || terminal.screen());
        assert_eq!(terminal.settings(), before);
        terminal.send("654321\nha");
        terminal.wait_for_text("654321\nha\nwaiting");
        end(&sandbox, &mut terminal);
        terminal.wait_for_text("over");
        // The child drops what is left when it sees that its parent is gone.
        wait_until(|| terminal.log().contains(words), || terminal.log());
        terminal.send("after\n");
        assert_eq!(terminal.status(), 0);
        let screen = terminal.screen();
        assert!(screen.ends_with("[after]"), "{words}: {screen}");
        assert!(!screen.contains("waiting for"), "{words}: {screen}");
        assert_eq!(screen.contains("Login given up"), *words == "interrupted");
        assert_eq!(terminal.settings(), before, "{words}");
    });
}

/// The process that the shell of [`AND_THEN`] runs.
fn parent_of(sandbox: &Sandbox) -> Pid {
    let config = sandbox.config().display().to_string();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(&config) && !line.starts_with("/bin/sh") {
            pids.push(pid);
        }
    }
    Pid::from_raw(*pids.iter().min().expect("login_duo"))
}

#[test]
fn the_end_of_input_while_duo_waits_gives_up() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    terminal.send("12\x15\x04");
    assert_eq!(terminal.status(), 1);
    assert!(
        terminal.last_line().ends_with(": end of input"),
        "{}",
        terminal.log()
    );
    assert_eq!(below_the_push(&terminal), "");
}

#[test]
fn a_hang_up_ends_the_login_while_both_are_open() {
    let sandbox = Sandbox::new();
    let mut terminal = waiting(&sandbox);
    let late = Fault::Delay(PATIENCE);
    sandbox.duo.fault(Endpoint::Auth, late, Times::First(1));
    terminal.send(&format!("{PASSCODE}\n"));
    wait_until(|| auths(&sandbox).len() == 2, || terminal.screen());
    terminal.hang_up();
    assert_eq!(terminal.status(), 1);
    let log = outcomes(&terminal);
    assert!(
        log.starts_with("[4] Aborted ") && log.lines().count() == 1,
        "{log}"
    );
}

#[test]
fn where_only_lines_can_be_shown_one_line_says_that_duo_waits() {
    for (config, term) in [("", "dumb"), ("accessible = yes", "xterm")] {
        let sandbox = Sandbox::new();
        sandbox.configure(config);
        let login = sandbox.login("manual").args(&[SESSION]);
        let login = login.env("TERM", term).env("LANG", "C.UTF-8");
        let mut terminal = login.on_terminal_of(TALL);
        terminal.wait_for_text("Passcode or option (1-3):");
        terminal.send("1\n");
        terminal.wait_for_text(PUSHED);
        terminal.send("000000\n");
        terminal.wait_for_text(WRONG);
        std::thread::sleep(Duration::from_millis(1_200));
        terminal.send(&format!("{PASSCODE}\n"));
        terminal.wait_for_text("welcome");
        let below = format!("000000\n{WRONG}\n{PASSCODE}\n{SUCCESS}\nwelcome");
        assert_eq!(below_the_push(&terminal), below);
        let begins = "waiting for your approval, or type a passcode (Ctrl-C gives up)\n";
        assert!(terminal.screen().contains(&format!("\n{begins}{PUSHED}")));
        the_session_gets_only_what_comes_now(&mut terminal);
        let raw = String::from_utf8(terminal.raw()).unwrap();
        assert_eq!(raw.matches("waiting").count(), 1, "{raw:?}");
        // The one escape is the one that cleans up half a line at the end.
        let escapes = if term == "dumb" { 0 } else { 1 };
        assert_eq!(raw.matches('\x1b').count(), escapes, "{raw:?}");
    }
}
