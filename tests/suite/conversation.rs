//! The conversation as a person has it: each flow on a terminal, and the whole
//! screen compared with what they should see.

use std::time::Duration;

use fake_duo::{Endpoint, FakeDuo, Fault, RetryAfter, SMS_PASSCODE, Script, Shape, Times};

use crate::support::{Login, Sandbox, Terminal, TerminalSize, lines};

/// Tall enough for every attempt of a login.
const TALL: TerminalSize = TerminalSize {
    rows: 60,
    columns: 80,
};

const NARROW: TerminalSize = TerminalSize {
    rows: 24,
    columns: 40,
};

const QUESTION: &str = "Passcode or option (1-3):";

/// Duo's menu with what was typed behind it.
fn menu(user: &str, typed: &str) -> String {
    format!(
        "Duo two-factor login for {user}\n\n\
         Enter a passcode or select one of the following options:\n\n \
         1. Duo Push to XXX-XXX-1234\n \
         2. Phone call to XXX-XXX-1234\n \
         3. SMS passcodes to XXX-XXX-1234\n\n\
         {QUESTION} {typed}"
    )
    .trim_end()
    .to_owned()
}

/// A login that says `welcome` to whoever it lets in.
fn welcome(sandbox: &Sandbox, user: &str) -> Login {
    sandbox.login(user).args(&["echo", "welcome"])
}

/// Waits for the `number`th menu, and answers it.
fn answer(terminal: &mut Terminal, number: usize, keys: &str) {
    terminal.wait_for(|screen| screen.matches(QUESTION).count() == number);
    terminal.send(keys);
}

/// Answers each menu in turn, to the end; compares the screen and the status.
fn transcript(mut terminal: Terminal, answers: &[&str], status: i32, screen: &[&str]) -> Terminal {
    for (number, keys) in (1..).zip(answers) {
        answer(&mut terminal, number, keys);
    }
    assert_eq!(terminal.status(), status, "{}", terminal.log());
    assert_eq!(terminal.rows(), screen.join("\n"));
    terminal
}

/// The log without what depends on the machine: which users there are.
fn outcomes(log: &str) -> String {
    lines(log, |line| line.contains("Duo login for"))
}

// ---------------------------------------------------------------------------
// Flows

#[test]
fn a_push_that_is_approved() {
    let sandbox = Sandbox::new();
    let terminal = welcome(&sandbox, "alice").on_terminal();
    let screen = [
        &menu("alice", "1"),
        "Pushed a login request to your device...",
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &["1\n"], 0, &screen);
}

#[test]
fn a_phone_call() {
    let sandbox = Sandbox::new();
    let terminal = welcome(&sandbox, "alice").on_terminal();
    let screen = [
        &menu("alice", "2"),
        "Dialing XXX-XXX-1234...",
        "Answered. Press any key on your phone to log in.",
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &["2\n"], 0, &screen);
}

#[test]
fn codes_by_sms_and_then_one_of_them() {
    let sandbox = Sandbox::new();
    let terminal = welcome(&sandbox, "alice").on_terminal_of(TALL);
    let screen = [
        &menu("alice", "3"),
        "New SMS passcodes sent",
        "",
        &menu("alice", SMS_PASSCODE),
        "Success. Logging you in...",
        "welcome",
    ];
    let code = format!("{SMS_PASSCODE}\n");
    transcript(terminal, &["3\n", &code], 0, &screen);
}

#[test]
fn a_wrong_passcode_and_then_the_right_one_pasted_with_blanks() {
    let sandbox = Sandbox::new();
    let terminal = welcome(&sandbox, "alice").on_terminal_of(TALL);
    let screen = [
        &menu("alice", "000000"),
        "Incorrect passcode. Please try again.",
        "",
        &menu("alice", " 123 456"),
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &["000000\n", " 123 456 \n"], 0, &screen);
}

#[test]
fn three_wrong_passcodes() {
    let sandbox = Sandbox::new();
    let terminal = sandbox.login("alice").on_terminal_of(TALL);
    let wrong = "Incorrect passcode. Please try again.";
    let screen = [
        &menu("alice", "000000"),
        wrong,
        "",
        &menu("alice", "000001"),
        wrong,
        "",
        &menu("alice", "000002"),
        wrong,
        "Login denied: that was the last attempt",
    ];
    transcript(terminal, &["000000\n", "000001\n", "000002\n"], 1, &screen);
}

#[test]
fn autopush_fails_and_then_a_passcode() {
    let sandbox = Sandbox::new();
    sandbox.configure("autopush = yes\n");
    let terminal = welcome(&sandbox, "pushdeny").on_terminal();
    let screen = [
        "Autopushing login request to phone...",
        "Pushed a login request to your device...",
        "Login request denied.",
        "",
        &menu("pushdeny", "123456"),
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &["123456\n"], 0, &screen);
}

#[test]
fn autopush_has_one_attempt_where_sshd_was_given_a_command() {
    let sandbox = Sandbox::new();
    sandbox.configure("autopush = yes\n");
    let login = sandbox.login("pushdeny");
    let terminal = login.env("SSH_ORIGINAL_COMMAND", "true").on_terminal();
    let terminal = transcript(terminal, &[], 1, &[]);
    let line =
        "Duo: Login denied: Login request denied. To be asked again, run your command again.\n";
    assert_eq!(
        lines(&terminal.stderr(), |line| line.starts_with("Duo: ")),
        line
    );
}

#[test]
fn autopush_without_a_default_factor_is_the_menu_at_once() {
    let sandbox = Sandbox::new();
    sandbox.configure("autopush = yes\n");
    let login = welcome(&sandbox, "token");
    let mut terminal = login.on_terminal();
    terminal.wait_for_text("Enter a passcode:");
    terminal.send("123456\n");
    let screen = [
        "Duo two-factor login for token",
        "",
        "Enter a passcode: 123456",
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &[], 0, &screen);
}

#[test]
fn the_code_of_a_verified_push_is_not_overlooked() {
    let sandbox = Sandbox::new();
    sandbox.configure("verified_push = yes\n");
    let login = welcome(&sandbox, "verified");
    let screen = [
        &menu("verified", ""),
        "",
        "    Please enter verification code 708 into Duo Mobile...",
        "",
        "Success. Logging you in...",
        "welcome",
    ];
    let terminal = transcript(login.on_terminal(), &["\n"], 0, &screen);
    let raw = String::from_utf8_lossy(&terminal.raw()).into_owned();
    assert!(raw.contains("\x1b[1mPlease enter verification code 708"));
    let requests = sandbox.duo.requests();
    assert!(requests[1].param("txid").is_some());
}

#[test]
fn someone_who_is_denied_is_told_why() {
    let sandbox = Sandbox::new();
    let screen = ["Login denied: Your account is disabled"];
    transcript(sandbox.login("deny").on_terminal(), &[], 1, &screen);
}

#[test]
fn someone_who_needs_no_factor_is_told_why() {
    let sandbox = Sandbox::new();
    let login = welcome(&sandbox, "allow");
    let screen = ["Account is set to bypass two-factor", "welcome"];
    transcript(login.on_terminal(), &[], 0, &screen);
}

#[test]
fn a_number_that_is_no_option_is_asked_again_and_nothing_is_sent() {
    let sandbox = Sandbox::new();
    sandbox.configure("prompts = 1\n");
    let screen = [
        &menu("alice", "9"),
        "there is no option 9",
        "",
        &menu("alice", "123456"),
        "Success. Logging you in...",
        "welcome",
    ];
    let terminal = welcome(&sandbox, "alice").on_terminal_of(TALL);
    let terminal = transcript(terminal, &["9\n", "123456\n"], 0, &screen);
    // A passcode is judged at once: no poll.
    assert_eq!(sandbox.duo.paths(), ["preauth", "auth"]);
    assert!(!terminal.log().contains("Failed"), "{}", terminal.log());
}

#[test]
fn a_clients_command_on_a_terminal_is_not_asked_unless_the_file_says_so() {
    let sandbox = Sandbox::new();
    let command = |user: &str| {
        let login = sandbox.login(user).env("SSH_ORIGINAL_COMMAND", "echo 42");
        login.on_terminal()
    };
    transcript(command("push"), &[], 0, &["42"]);
    sandbox.configure("prompt_for_commands = yes\n");
    let screen = [&menu("alice", "123456"), "Success. Logging you in...", "42"];
    transcript(command("alice"), &["123456\n"], 0, &screen);
}

#[test]
fn a_locked_account() {
    let sandbox = Sandbox::new();
    sandbox.configure("prompts = 1\n");
    let screen = [
        &menu("lockedout", "123456"),
        "Login denied: Your account has been locked out",
    ];
    let terminal = sandbox.login("lockedout").on_terminal();
    transcript(terminal, &["123456\n"], 1, &screen);
}

#[test]
fn a_rate_limit_is_waited_for_and_told() {
    let sandbox = Sandbox::new();
    let limited = |seconds| Fault::RateLimited(RetryAfter::Seconds(seconds));
    sandbox
        .duo
        .fault(Endpoint::Preauth, limited(1), Times::First(1));
    sandbox
        .duo
        .fault(Endpoint::Auth, limited(3600), Times::First(1));
    let screen = [
        "Duo is busy: trying again in 1 s",
        "",
        &menu("alice", "1"),
        "Login denied: HTTP 429: Duo is rate limiting",
    ];
    transcript(sandbox.login("alice").on_terminal(), &["1\n"], 1, &screen);
}

#[test]
fn ctrl_c_at_the_menu_leaves_a_clean_line() {
    let sandbox = Sandbox::new();
    let terminal = sandbox.login("alice").through(AND_THEN).on_terminal();
    let screen = [&menu("alice", "^C"), "Login given up", "the prompt"];
    let terminal = transcript(terminal, &["\x03"], 0, &screen);
    let line = "[4] Aborted Duo login for 'alice' from 192.0.2.7: interrupted\n";
    assert_eq!(outcomes(&terminal.log()), line);
}

/// Told by the parent, since the child got no further.
#[test]
fn someone_who_is_denied_by_a_fault_of_this_machine_is_told_why() {
    let sandbox = Sandbox::new();
    let login = || {
        let login = sandbox.login("alice").args(&["echo", "in"]);
        login.through("ulimit -n 20; exec \"$@\"")
    };
    let why = "Login denied: RLIMIT_NOFILE is 20, and 64 is needed";
    transcript(login().on_terminal(), &[], 1, &[why]);
    let ended = login().run();
    assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
    assert_eq!(ended.told(), format!("Duo: {why}\n"));
}

/// A shell that is still there when login_duo is not: what it prints shows
/// where the cursor was left.
const AND_THEN: &str = "trap : INT; \"$@\"; trap - INT; echo the prompt";

#[test]
fn ctrl_c_while_waiting_erases_the_counter() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox.login("manual").through(AND_THEN).on_terminal();
    answer(&mut terminal, 1, "1\n");
    terminal.wait_for_text("waiting for your approval… ");
    let screen = [
        &menu("manual", "1"),
        "Pushed a login request to your device...",
        "Login given up",
        "the prompt",
    ];
    terminal.send("\x03");
    let terminal = transcript(terminal, &[], 0, &screen);
    let line = "[4] Aborted Duo login for 'manual' from 192.0.2.7: interrupted\n";
    assert_eq!(outcomes(&terminal.log()), line);
}

#[test]
fn the_end_of_input_leaves_a_clean_line() {
    let sandbox = Sandbox::new();
    let terminal = sandbox.login("alice").through(AND_THEN).on_terminal();
    let screen = [&menu("alice", ""), "the prompt"];
    let terminal = transcript(terminal, &["\x04"], 0, &screen);
    let line = "[4] Aborted Duo login for 'alice' from 192.0.2.7: end of input\n";
    assert_eq!(outcomes(&terminal.log()), line);
}

#[test]
fn a_hang_up_ends_the_login_wherever_it_is() {
    let sandbox = Sandbox::new();
    for keys in ["", "1\n"] {
        let mut terminal = sandbox.login("manual").args(&["echo", "in"]).on_terminal();
        answer(&mut terminal, 1, keys);
        if !keys.is_empty() {
            terminal.wait_for_text("Pushed a login request");
        }
        terminal.hang_up();
        assert_eq!(terminal.status(), 1);
        // By the signal or by the terminal itself, whichever is seen first.
        let log = outcomes(&terminal.log());
        let begin = "[4] Aborted Duo login for 'manual' from 192.0.2.7: ";
        assert!(log.starts_with(begin) && log.lines().count() == 1, "{log}");
        assert!(!terminal.stderr().contains("in\n"));
    }
}

#[test]
fn what_is_typed_ahead_of_a_passcodes_verdict_is_the_shells() {
    let sandbox = Sandbox::new();
    let login = sandbox
        .login("alice")
        .args(&["read first; read second; echo \"[$first|$second]\""]);
    let mut terminal = login.on_terminal();
    answer(&mut terminal, 1, "123456\necho one\necho two\n");
    terminal.wait_for_text("[echo one|echo two]");
    assert_eq!(terminal.status(), 0);
}

// ---------------------------------------------------------------------------
// Terminals

#[test]
fn the_counter_leaves_no_trace_in_what_can_be_read_afterwards() {
    let sandbox = Sandbox::new();
    let login = welcome(&sandbox, "manual");
    let mut terminal = login.on_terminal();
    answer(&mut terminal, 1, "1\n");
    let screen = terminal.wait_for_text("waiting for your approval… 2 s, or type a passcode");
    let lines: Vec<&str> = screen.lines().collect();
    // Between them is the line in which the person types.
    assert_eq!(
        lines[lines.len() - 3..lines.len() - 1],
        ["Pushed a login request to your device...", ""]
    );
    assert!(sandbox.duo.approve("manual"));
    let screen = [
        &menu("manual", "1"),
        "Pushed a login request to your device...",
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &[], 0, &screen);
}

#[test]
fn a_narrow_terminal_is_not_littered_by_the_counter() {
    let sandbox = Sandbox::new();
    let login = welcome(&sandbox, "manual");
    let mut terminal = login.on_terminal_of(NARROW);
    answer(&mut terminal, 1, "1\n");
    terminal.wait_for_text("waiting… 2 s, or type a passcode");
    assert!(sandbox.duo.approve("manual"));
    let wrapped = "Enter a passcode or select one of the fo\nllowing options:";
    let menu = menu("manual", "1").replace(
        "Enter a passcode or select one of the following options:",
        wrapped,
    );
    let screen = [
        &menu,
        "Pushed a login request to your device...",
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &[], 0, &screen);
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let sandbox = Sandbox::new();
    sandbox.configure("verified_push = yes\n");
    let login = welcome(&sandbox, "verified");
    let login = login.env("TERM", "dumb");
    let screen = [
        &menu("verified", "1"),
        "waiting for your approval, or type a passcode (Ctrl-C gives up)",
        "",
        "    Please enter verification code 708 into Duo Mobile...",
        "",
        "Success. Logging you in...",
        "welcome",
    ];
    let terminal = transcript(login.on_terminal(), &["1\n"], 0, &screen);
    assert!(!terminal.raw().contains(&0x1b));
}

#[test]
fn escapes_in_duos_texts_do_nothing_to_a_terminal() {
    for locale in ["C.UTF-8", "C"] {
        for shape in [Shape::Prompt, Shape::Devices] {
            let sandbox = Sandbox::with(FakeDuo::builder().shape(shape));
            let login = welcome(&sandbox, "escapes");
            let login = login.env("TERM", "dumb").env("LANG", locale);
            let mut terminal = login.on_terminal_of(TALL);
            answer(&mut terminal, 1, "1\n");
            assert_eq!(terminal.status(), 0, "{}", terminal.log());
            let raw = String::from_utf8(terminal.raw()).unwrap();
            let tame = |letter: char| {
                matches!(letter, ' '..='~' | '\r' | '\n') || (locale != "C" && letter == '…')
            };
            let wild: String = raw.chars().filter(|letter| !tame(*letter)).collect();
            assert_eq!(wild, "", "{raw:?}");
            assert!(raw.contains("?[2J"), "{raw:?}");
        }
    }
}

#[test]
fn nothing_of_the_conversation_goes_to_a_redirected_stdout() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("out");
    let script = format!("exec \"$@\" > '{}'", file.display());
    let login = sandbox.login("alice").args(&["echo", "output"]);
    let terminal = login.through(&script).on_terminal();
    let screen = [
        &menu("alice", "1"),
        "Pushed a login request to your device...",
        "Success. Logging you in...",
    ];
    transcript(terminal, &["1\n"], 0, &screen);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "output\n");
}

#[test]
fn a_terminal_that_can_only_be_read_is_written_to_by_its_name() {
    let sandbox = Sandbox::new();
    let login = welcome(&sandbox, "alice");
    let terminal = login.through("exec \"$@\" < /dev/tty").on_terminal();
    let screen = [
        &menu("alice", "123456"),
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &["123456\n"], 0, &screen);
}

#[test]
fn what_cannot_be_a_passcode_is_refused_without_asking_duo() {
    let sandbox = Sandbox::new();
    let login = welcome(&sandbox, "alice");
    let mut terminal = login.on_terminal_of(TALL);
    answer(&mut terminal, 1, &format!("{}\n", "x".repeat(300)));
    // Ctrl-V takes the next character as it is.
    answer(&mut terminal, 2, "12\x16\x1b[A34\n");
    answer(&mut terminal, 3, "123456\n");
    let long = "x".repeat(300);
    let mut wrapped: String = long[..80 - QUESTION.len() - 1].to_owned();
    for row in long.as_bytes()[wrapped.len()..].chunks(80) {
        wrapped.push('\n');
        wrapped.push_str(std::str::from_utf8(row).unwrap());
    }
    let screen = [
        &menu("alice", &wrapped),
        "That is too long to be a passcode",
        "",
        &menu("alice", "12^[[A34"),
        "That is not a passcode: it has control characters",
        "",
        &menu("alice", "123456"),
        "Success. Logging you in...",
        "welcome",
    ];
    transcript(terminal, &[], 0, &screen);
    let auths = sandbox.duo.asked("auth");
    assert_eq!(auths, 1);
}

#[test]
fn the_terminals_settings_are_as_before_at_every_exit() {
    let sandbox = Sandbox::new();
    let pushed = "Pushed a login request";
    let exits: [(&str, &str, &str, &str); 6] = [
        ("manual", "\x03", "", ""),
        ("manual", "\x04", "", ""),
        ("manual", "\x1c", "", ""),
        ("manual", "1\n", pushed, "\x03"),
        ("pushdeny", "1\n", pushed, ""),
        ("push", "1\n", pushed, ""),
    ];
    sandbox.configure("prompts = 1\n");
    for (user, keys, event, more) in exits {
        let login = sandbox.login(user).args(&["true"]);
        let mut terminal = login.on_terminal();
        let before = terminal.settings();
        answer(&mut terminal, 1, keys);
        terminal.wait_for(|screen| screen.contains(event));
        terminal.send(more);
        let _ = terminal.wait();
        assert_eq!(terminal.settings(), before, "{user} {keys:?} {more:?}");
    }
    // By a signal from elsewhere, which nothing can catch.
    for signal in [nix::sys::signal::SIGTERM, nix::sys::signal::SIGKILL] {
        let mut terminal = sandbox.login("manual").args(&["true"]).on_terminal();
        let before = terminal.settings();
        answer(&mut terminal, 1, "1\n");
        terminal.wait_for_text("waiting for your approval");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(terminal.pid()), signal).unwrap();
        let _ = terminal.wait();
        assert_eq!(terminal.settings(), before, "{signal}");
        assert!(!terminal.log().contains("Successful"));
    }
}

#[test]
fn a_terminal_stopped_with_ctrl_s_does_not_hold_the_login_up() {
    let sandbox = Sandbox::new();
    let proof = sandbox.path().join("proof");
    let command = format!("touch '{}'", proof.display());
    let login = sandbox.login("alice").args(&[&command]);
    let mut terminal = login.on_terminal();
    answer(&mut terminal, 1, "\x131\n");
    assert_eq!(terminal.status(), 0, "{}", terminal.log());
    assert!(proof.exists());
    assert!(
        !terminal.screen().contains("Success"),
        "{}",
        terminal.screen()
    );
}

// ---------------------------------------------------------------------------
// Enrolment

const PORTAL: &str = "/portal?code=48bac5d9393fb2c2&akey=DAFAKEFAKEFAKEFAKE01";

/// A row of the code: its margin is light.
fn is_drawn(row: &str) -> bool {
    row.starts_with(['█', '▀'])
}

/// What a phone reads off the screen.
fn scanned(rows: &str) -> Vec<String> {
    let code: Vec<Vec<char>> = rows
        .lines()
        .filter(|row| is_drawn(row))
        .map(|row| row.chars().collect())
        .collect();
    let Some(width) = code.first().map(Vec::len) else {
        return Vec::new();
    };
    const PIXELS: usize = 4;
    let light = |x: usize, y: usize| {
        let letter = code[y / 2].get(x).copied().unwrap_or(' ');
        match y % 2 {
            0 => matches!(letter, '█' | '▀'),
            _ => matches!(letter, '█' | '▄'),
        }
    };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(
        width * PIXELS,
        code.len() * 2 * PIXELS,
        |x, y| {
            if light(x / PIXELS, y / PIXELS) {
                255
            } else {
                0
            }
        },
    );
    let grids = image.detect_grids();
    grids
        .iter()
        .map(|grid| grid.decode().expect("a code that can be read").1)
        .collect()
}

#[test]
fn the_enrolment_address_can_be_scanned_off_the_terminal() {
    for shape in [Shape::Prompt, Shape::Devices] {
        for (rows, columns) in [(24, 80), (60, 200)] {
            let sandbox = Sandbox::with(FakeDuo::builder().shape(shape));
            let address = format!("https://{}{PORTAL}", sandbox.duo.host());
            let size = TerminalSize { rows, columns };
            let mut terminal = sandbox.login("enroll").on_terminal_of(size);
            assert_eq!(terminal.status(), 1);
            let rows = terminal.rows();
            assert_eq!(scanned(&rows), [address.as_str()], "{rows}");
            if columns == 200 {
                let text = match shape {
                    Shape::Prompt => format!("Please enroll at {address}"),
                    Shape::Devices => {
                        format!("Enroll an authentication device to proceed\n{address}")
                    }
                };
                let plain: Vec<&str> = rows.lines().filter(|row| !is_drawn(row)).collect();
                let then = "Enrol, then log in again.";
                assert_eq!(plain.join("\n"), format!("{text}\n{then}"));
                assert!(rows.starts_with(&text) && rows.ends_with(then), "{rows}");
            }
            let raw = String::from_utf8(terminal.raw()).unwrap();
            assert!(
                raw.contains("\x1b[37;40m█") && raw.contains("█\x1b[0m"),
                "{raw:?}"
            );
        }
    }
}

#[test]
fn where_a_code_cannot_be_shown_the_address_is() {
    let sandbox = Sandbox::new();
    let address = format!("https://{}{PORTAL}", sandbox.duo.host());
    let usual = TerminalSize {
        rows: 24,
        columns: 80,
    };
    let low = TerminalSize {
        rows: 20,
        columns: 80,
    };
    for (size, locale) in [
        (NARROW, "C.UTF-8"),
        (low, "C.UTF-8"),
        (usual, "C"),
        (usual, "de_DE.ISO-8859-1"),
    ] {
        let login = sandbox.login("enroll").env("TERM", "xterm");
        let mut terminal = login.env("LANG", locale).on_terminal_of(size);
        assert_eq!(terminal.status(), 1);
        let joined = terminal.rows().replace('\n', "");
        let wider = match (locale, size.columns) {
            ("C.UTF-8", 40) => "A wider terminal shows a QR code, too.",
            ("C.UTF-8", _) => "A higher terminal shows a QR code, too.",
            _ => "",
        };
        let then = "Enrol, then log in again.";
        assert_eq!(joined, format!("Please enroll at {address}{wider}{then}"));
    }
}

// ---------------------------------------------------------------------------
// Headless

#[test]
fn a_headless_login_tells_that_it_waits_after_two_seconds_once() {
    let script = Script::PushAfter(Duration::from_millis(2_500));
    let sandbox = Sandbox::with(FakeDuo::builder().user("slow", script));
    let ended = sandbox.login("slow").args(&["echo", "output"]).run();
    assert_eq!((ended.status(), ended.stdout().as_str()), (0, "output\n"));
    assert_eq!(
        ended.told(),
        "Duo: a login request was sent, please approve it on your phone\n"
    );
}

#[test]
fn a_headless_login_that_fails_says_why_in_one_line_and_what_to_do() {
    for shape in [Shape::Prompt, Shape::Devices] {
        let sandbox = Sandbox::with(FakeDuo::builder().shape(shape));
        let address = format!("https://{}{PORTAL}", sandbox.duo.host());
        let enrol = match shape {
            Shape::Prompt => format!("Please enroll at {address}"),
            Shape::Devices => format!("Enroll an authentication device to proceed {address}"),
        };
        let again = "To be asked again, run your command again.";
        for (user, line) in [
            ("deny", "Login denied: Your account is disabled".to_owned()),
            ("enroll", enrol),
            (
                "pushdeny",
                format!("Login denied: Login request denied. {again}"),
            ),
            (
                "pushtimeout",
                format!("Login denied: Login timed out. {again}"),
            ),
            (
                "lockedout",
                "Login denied: Your account has been locked out".to_owned(),
            ),
            (
                "nulls",
                format!("Login denied: Duo denied this attempt. {again}"),
            ),
        ] {
            let ended = sandbox.login(user).args(&["echo", "in"]).run();
            assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
            assert_eq!(ended.told(), format!("Duo: {line}\n"));
            let others = ended.stderr().lines().count() - ended.log().lines().count();
            assert_eq!(others, 1, "{}", ended.stderr());
        }
    }
}

#[test]
fn without_a_default_factor_nobody_can_log_in_headless() {
    let sandbox = Sandbox::new();
    let ended = sandbox.login("token").args(&["echo", "in"]).run();
    assert_eq!((ended.status(), ended.stdout().as_str()), (1, ""));
    assert_eq!(
        ended.told(),
        "Duo: Login denied: There is no default factor: a passcode is needed\n"
    );
}

#[test]
fn the_code_of_a_verified_push_is_told_once_where_nobody_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.configure("verified_push = yes\n");
    let ended = sandbox.login("verified").args(&["echo", "output"]).run();
    assert_eq!((ended.status(), ended.stdout().as_str()), (0, "output\n"));
    assert_eq!(
        ended.told(),
        "Duo: Please enter verification code 708 into Duo Mobile...\n"
    );
}

#[test]
fn escapes_reach_neither_stderr_nor_the_log() {
    let sandbox = Sandbox::new();
    let preauth = format!(
        "{{\"result\":\"deny\",\"status_msg\":{}}}",
        r#""\u001b[2J\u009b31m\nSuccessful Duo login for 'root'\r\u202e""#
    );
    sandbox
        .duo
        .fault(Endpoint::Preauth, Fault::Response(preauth), Times::Always);
    let ended = sandbox.login("alice").run();
    assert_eq!(ended.status(), 1);
    assert_eq!(
        ended.told(),
        "Duo: Login denied: ?[2J?31m Successful Duo login for 'root'??\n"
    );
    assert_eq!(
        outcomes(&ended.log()),
        "[4] Aborted Duo login for 'alice' from 192.0.2.7: \\x1B[2J\\xC2\\x9B31m\\x0A\
         Successful Duo login for 'root'\\x0D\\xE2\\x80\\xAE\n"
    );
}

#[test]
fn a_full_stderr_does_not_hold_a_login_up() {
    let sandbox = Sandbox::new();
    // A pipe takes 64 KiB, and nobody reads this one.
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, &vec![b'x'; 65_536]).unwrap();
    let proof = sandbox.path().join("proof");
    let command = format!("touch '{}'", proof.display());
    let login = sandbox.login("alice").args(&[&command]);
    assert_eq!(login.run_with_stderr(writer), 0);
    assert!(proof.exists());
    drop(reader);
}
