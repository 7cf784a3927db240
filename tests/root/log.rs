//! The journal's fields, the facility, and a log that is missing, full or stuck
//! (docs/security.md, *A log that takes no lines*).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use fake_duo::{Endpoint, FakeDuo, Fault, Script, Times};

use crate::machine::{Entry, Install, Journal, PamWorld, World, code, is_final};
use crate::support::{PATIENCE, close, ended, in_time, read_to_end, run, start};

/// A log that takes no line holds a process for this long, docs/monitoring.md.
const BOUND: Duration = Duration::from_secs(2);

fn canary(mut command: Command) -> Command {
    command.args(["echo", "in"]);
    command
}

#[track_caller]
fn denied(login: Command) {
    let ended = run(login);
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{ended:?}");
}

fn journal(world: &World) -> Journal {
    Journal::listen(world.at("/run/systemd/journal/socket"))
}

/// The entry of the login that was the last to end.
#[track_caller]
fn last(journal: &Journal) -> Entry {
    journal.entries().pop().expect("an entry")
}

/// Puts a socket where syslog's is that nobody reads, and fills it.
fn stick(world: &World) -> UnixDatagram {
    let path = world.sandbox.path().join("syslog");
    fs::remove_file(&path).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    fill(&path);
    socket
}

fn fill(path: &std::path::Path) {
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"<13>full", path).is_ok() {}
}

pub fn the_journal_gets_each_line_with_its_fields_and_syslog_gets_none() {
    let world = World::new();
    let journal = journal(&world);
    assert_eq!(
        run(canary(world.login(Install::Setuid, "push"))).stdout(),
        "in\n"
    );
    let entries = journal.entries();
    let [asking, yes] = &entries[..] else {
        panic!("{entries:#?}");
    };
    assert_eq!(
        asking.get("MESSAGE"),
        "Asking Duo for 'push' from 192.0.2.7"
    );
    assert_eq!(asking.get("DUO_OUTCOME"), "");
    for (name, value) in [
        (
            "MESSAGE",
            "Successful Duo login for 'push' from 192.0.2.7: push1",
        ),
        ("MESSAGE_ID", "080f50de20904dcebcdd652038cd3540"),
        ("PRIORITY", "6"),
        ("SYSLOG_FACILITY", "10"),
        ("SYSLOG_IDENTIFIER", "login_duo"),
        ("DUO_USER", "push"),
        ("DUO_LOGIN", "push"),
        ("DUO_OUTCOME", "successful"),
        ("DUO_FACTOR", "push1"),
        ("DUO_CLIENT", "192.0.2.7"),
        ("DUO_REASON", ""),
        ("DUO_ATTEMPT", "1"),
        ("DUO_SERVICE", "ssh"),
        ("DUO_VERSION", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(yes.get(name), value, "{name}");
    }
    assert!(!yes.get("DUO_TXID").is_empty(), "{yes:?}");
    assert!(world.log().is_empty(), "{:?}", world.log());
    // The pid is the child's, which the kernel tells journald too.
    assert!(yes.get("SYSLOG_PID").parse::<u32>().is_ok());
}

pub fn a_denial_says_why_in_a_field_and_names_the_account() {
    let world = World::new();
    let journal = journal(&world);
    let mut login = world.inside();
    login.args(["/srv/bin/login_duo", "-f", "deny"]);
    denied(canary(login));
    let entry = last(&journal);
    for (name, value) in [
        ("DUO_OUTCOME", "aborted"),
        ("DUO_USER", "deny"),
        ("DUO_LOGIN", "root"),
        ("DUO_CLIENT", ""),
        ("DUO_FACTOR", ""),
        ("PRIORITY", "4"),
    ] {
        assert_eq!(entry.get(name), value, "{name}");
    }
    let reason = entry.get("DUO_REASON");
    assert!(
        !reason.is_empty() && entry.get("MESSAGE").ends_with(&reason),
        "{reason}"
    );
}

pub fn duos_time_and_the_persons_are_true() {
    let world = World::new();
    let journal = journal(&world);
    let slow = Duration::from_millis(300);
    let delay = Fault::Delay(slow);
    world
        .sandbox
        .duo
        .fault(Endpoint::Preauth, delay, Times::First(1));
    let begun = Instant::now();
    let login = start(canary(world.login(Install::Setuid, "manual")));
    world.wait_for_push();
    let asked = Instant::now();
    std::thread::sleep(slow);
    world.sandbox.duo.approve("manual");
    let over = ended(login);
    let (all, waited) = (begun.elapsed(), asked.elapsed());
    assert_eq!(over.stdout(), "in\n");
    let entry = last(&journal);
    let of = |name: &str| Duration::from_millis(entry.get(name).parse().unwrap());
    let (duo, person) = (of("DUO_LATENCY_MS"), of("DUO_PERSON_MS"));
    assert!(duo >= slow && person >= slow, "{duo:?} {person:?}");
    assert!(duo + person <= all, "{duo:?} {person:?} {all:?}");
    assert!(
        person >= waited.saturating_sub(slow),
        "{person:?} {waited:?}"
    );
}

pub fn nothing_that_is_forged_makes_a_second_field() {
    let forged = "x\nDUO_OUTCOME=successful\nMESSAGE_ID\n";
    let world = World::with("send_gecos = yes\n", |passwd| {
        for line in passwd.iter_mut() {
            *line = line.replace(":escapes:/srv", ":a=b\u{9b}\x1b[2J\\x0A:/srv");
        }
    });
    let journal = journal(&world);
    let long = format!("{forged}{}", "é=\n".repeat(25_000));
    for connection in [forged, &long] {
        let mut login = world.login(Install::Setuid, "pushdeny");
        login.env("SSH_CONNECTION", connection.replace(' ', "_"));
        denied(canary(login));
        let entry = last(&journal);
        assert_eq!(entry.get("DUO_OUTCOME"), "failed");
        let client = entry.get("DUO_CLIENT");
        assert!(
            client.starts_with(r"x\x0ADUO_OUTCOME=successful\x0A"),
            "{client}"
        );
    }
    // Duo's texts, full of escapes.
    let duo = &world.sandbox.duo;
    duo.set_script("pushdeny", Script::Deny);
    let text = r#"{"result": "deny", "status_msg": "no\u0000\nDUO_OUTCOME=successful"}"#;
    duo.fault(
        Endpoint::Preauth,
        Fault::Response(text.to_owned()),
        Times::Always,
    );
    denied(canary(world.login(Install::Setuid, "pushdeny")));
    let entry = last(&journal);
    assert_eq!(entry.get("DUO_OUTCOME"), "aborted");
    assert_eq!(entry.get("DUO_REASON"), r"no\x00\x0ADUO_OUTCOME=successful");
}

pub fn a_journal_that_is_gone_or_full_delays_no_login_and_loses_no_line() {
    let world = World::new();
    let path = world.at("/run/systemd/journal/socket");
    let logs_in = |world: &World| {
        world.clear_log();
        let begun = Instant::now();
        assert_eq!(
            run(canary(world.login(Install::Setuid, "push"))).stdout(),
            "in\n"
        );
        assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
        let line = world.the_final_line();
        let from = "Successful Duo login for 'push' from 192.0.2.7: push1";
        assert_eq!((&*line.text, line.priority), (from, 10 * 8 + 6));
        assert_eq!(line.sender, world.uid("duo"));
        assert_eq!(world.log().len(), 2, "{:#?}", world.log());
    };
    let full = journal(&world);
    fill(&path);
    logs_in(&world);
    // Nobody listens any more, and the name is still there.
    full.close();
    logs_in(&world);
    fs::remove_file(&path).unwrap();
    logs_in(&world);
}

pub fn a_log_that_is_stuck_rings_no_phone_and_holds_nobody() {
    for install in [Install::Setuid, Install::Own] {
        let world = World::with("failmode = safe\n", |_| {});
        let _stuck = stick(&world);
        let begun = Instant::now();
        let ended = run(canary(world.login(install, "push")));
        // In each of the two processes, and the login itself.
        assert!(begun.elapsed() < 3 * BOUND, "{:?}", begun.elapsed());
        assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{ended:?}");
        assert!(
            ended.stderr().contains("couldn't write to the log"),
            "{ended:?}"
        );
        assert_eq!(world.sandbox.duo.asked("auth"), 0);
    }
}

pub fn no_yes_counts_that_a_stuck_log_has_not_taken() {
    let down = Fault::Bare { status: 503 };
    for (extra, script, fault) in [
        // Skipped, Failsafe, and bypassed by groups.
        ("", Script::Allow, Fault::None),
        ("failmode = safe\n", Script::Push, down),
        ("groups = staff,!night-shift\n", Script::Push, Fault::None),
    ] {
        let world = World::with(extra, |_| {});
        world.sandbox.duo.set_script("push", script);
        world.sandbox.duo.fault(Endpoint::Any, fault, Times::Always);
        let stuck = stick(&world);
        let ended = run(canary(world.login(Install::Setuid, "push")));
        assert_eq!(
            (ended.code(), &*ended.stdout()),
            (1, ""),
            "{extra} {ended:?}"
        );
        assert!(
            ended.stderr().contains("couldn't write to the log"),
            "{ended:?}"
        );
        close(stuck);
        // Without a log daemon at all, a machine still lets people in.
        let ended = run(canary(world.login(Install::Setuid, "push")));
        assert_eq!(ended.stdout(), "in\n", "{extra} {ended:?}");
    }
}

pub fn a_journal_that_is_full_without_a_syslog_takes_no_yes_either() {
    let world = World::new();
    fs::remove_file(world.sandbox.path().join("syslog")).unwrap();
    let _journal = journal(&world);
    fill(&world.at("/run/systemd/journal/socket"));
    let ended = run(canary(world.login(Install::Setuid, "push")));
    assert_eq!((ended.code(), &*ended.stdout()), (1, ""), "{ended:?}");
}

pub fn ctrl_c_ends_a_login_though_the_log_is_stuck() {
    let world = World::new();
    let login = start(canary(world.login(Install::Setuid, "manual")));
    world.wait_for_push();
    let _stuck = stick(&world);
    // The first line went to a connection that is gone now, so the next opens another.
    let begun = Instant::now();
    let (parent, _) = world.halves();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(parent),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    let over = ended(login);
    assert_eq!(over.code(), 1, "{over:?}");
    assert!(begun.elapsed() < 3 * BOUND, "{:?}", begun.elapsed());
}

pub fn a_syslog_that_was_started_anew_gets_the_final_line() {
    let world = World::new();
    let path = world.sandbox.path().join("syslog");
    let listen = || {
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        socket
    };
    let before = listen();
    let login = start(canary(world.login(Install::Setuid, "manual")));
    world.wait_for_push();
    close(before);
    let anew = listen();
    anew.set_read_timeout(Some(PATIENCE)).unwrap();
    world.sandbox.duo.approve("manual");
    assert_eq!(ended(login).stdout(), "in\n");
    let mut packet = [0; 2048];
    let length = anew.recv(&mut packet).unwrap();
    let text = String::from_utf8_lossy(&packet[..length]).into_owned();
    assert!(
        text.contains("]: Successful Duo login for 'manual'"),
        "{text}"
    );
}

pub fn a_syslog_of_streams_gets_each_line_with_a_nul_behind_it() {
    let world = World::new();
    let path = world.sandbox.path().join("syslog");
    fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(
        run(canary(world.login(Install::Setuid, "push"))).stdout(),
        "in\n"
    );
    let (stream, _): (UnixStream, _) = in_time(move || listener.accept()).unwrap();
    let text = String::from_utf8(read_to_end(stream)).unwrap();
    let lines: Vec<&str> = text.split_terminator('\0').collect();
    let [asking, yes] = &lines[..] else {
        panic!("{lines:#?}");
    };
    assert!(asking.contains("]: Asking Duo for 'push'"), "{asking}");
    assert!(is_final(yes) && yes.starts_with("<86>"), "{yes}");
}

pub fn the_facility_is_the_configurations_even_of_one_that_is_broken() {
    for (extra, facility, outcome) in [
        ("syslog_facility = local3\n", 19, "Successful"),
        ("syslog_facility = user\n", 1, "Successful"),
        (
            "syslog_facility = local3\nprompts = many\n",
            19,
            "Failsecure",
        ),
        ("syslog_facility = nonsense\n", 10, "Failsecure"),
    ] {
        let world = World::with(extra, |_| {});
        run(canary(world.login(Install::Setuid, "push")));
        let line = world.the_final_line();
        assert!(line.text.starts_with(outcome), "{line:?}");
        for line in world.log() {
            assert_eq!(line.priority / 8, facility, "{extra} {line:?}");
        }
        world.clear_log();
        let journal = journal(&world);
        run(canary(world.login(Install::Setuid, "push")));
        assert_eq!(last(&journal).get("SYSLOG_FACILITY"), facility.to_string());
    }
}

pub fn pam_names_its_service_and_the_hosts_process() {
    let world = PamWorld::new("");
    let journal = journal(&world);
    let asked = world.host(&["-h", "192.0.2.7", "-a", "1", "duo", "push"]);
    assert_eq!(asked.code(), code::SUCCESS, "{asked:#?}");
    world.wait_until_empty();
    let entry = last(&journal);
    for (name, value) in [
        ("SYSLOG_IDENTIFIER", "pam_duo"),
        ("DUO_SERVICE", "duo"),
        ("DUO_LOGIN", "push"),
        ("DUO_OUTCOME", "successful"),
    ] {
        assert_eq!(entry.get(name), value, "{name}");
    }
    assert!(world.log().is_empty(), "{:?}", world.log());
}

pub fn the_helpers_parent_writes_to_a_journal_or_to_syslog_behind_its_filter() {
    for is_full in [false, true] {
        let world = PamWorld::new("");
        let journal = journal(&world);
        let host = start(world.host_command(&["-a", "1", "duo", "manual"]));
        let (_, child) = world.wait_for_push();
        if is_full {
            fill(&world.at("/run/systemd/journal/socket"));
        }
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(child),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        ended(host);
        let text = "Error in Duo login for 'manual': the child was killed by SIGKILL";
        if is_full {
            world.wait_for_log(|line| line == text);
        } else {
            let entry = last(&journal);
            assert_eq!(entry.get("MESSAGE"), text);
            assert_eq!(entry.get("DUO_OUTCOME"), "error");
            assert_eq!(entry.get("DUO_SERVICE"), "duo");
        }
    }
}

/// The text of a USER_AUTH record (1100) in a line of strace, which writes it in
/// hexadecimal digits.
fn sent_record(line: &str) -> Option<String> {
    let (_, sent) = line.split_once("nlmsg_type=0x44c")?;
    let (_, digits) = sent.split_once("}, \"")?;
    let (digits, _) = digits.split_once('"')?;
    let bytes = digits
        .split("\\x")
        .skip(1)
        .map(|byte| u8::from_str_radix(byte, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

/// The records that a login by PAM sends the kernel, as strace's lines; and the whole trace.
fn audited(world: &PamWorld, user: &str) -> (Vec<String>, String) {
    let trace = world.sandbox.path().join("trace");
    let mut host = world.inside();
    host.args(["strace", "-f", "-qq", "-s", "500"]);
    host.args(["-e", "trace=sendto,write,exit_group"]);
    host.args(["-o", "/etc/duo/trace"]);
    let asked = ["-h", "192.0.2.7", "-t", "/dev/pts/3", "-a", "1"];
    world.host_by(host, &[&asked[..], &["duo", user]].concat());
    world.wait_until_empty();
    let text = fs::read_to_string(&trace).unwrap();
    // Linux-PAM has a record of its own.
    let ours = |line: &&str| sent_record(line).is_some_and(|text| text.starts_with("op=2fa "));
    let records = text.lines().filter(ours).map(str::to_owned).collect();
    (records, text)
}

/// What the kernel was sent for its audit log, and whether the ruling had been given.
/// Whoever reads that log is the one of the whole machine, and here it is off.
pub fn the_audit_log_gets_one_record_and_nobody_waits_for_it() {
    let world = PamWorld::new("");
    for (user, outcome, result) in [
        ("push", "successful", "res=success"),
        ("deny", "aborted", "res=failed"),
    ] {
        let (records, text) = audited(&world, user);
        let [record] = &records[..] else {
            panic!("{text}");
        };
        assert_eq!(
            sent_record(record).unwrap(),
            format!(
                "op=2fa outcome={outcome} acct=\"{user}\" \
                 exe=\"/usr/libexec/login_duo/pam-duo-helper\" hostname=? addr=192.0.2.7 \
                 terminal=/dev/pts/3 {result}\0"
            )
        );
        let parent = record.split(' ').next().unwrap();
        let mut before = text.lines().take_while(|line| line != record);
        let ruled = before.any(|line| line.starts_with(parent) && line.contains(" write(4, "));
        assert!(ruled, "{text}");
    }
}

pub fn a_login_without_a_child_has_its_record_too() {
    let roots = |passwd: &mut Vec<String>| {
        for line in passwd.iter_mut().filter(|line| line.starts_with("duo:")) {
            *line = "duo:*:0:0::/nonexistent:/usr/sbin/nologin".to_owned();
        }
    };
    let world = PamWorld::of(FakeDuo::builder(), "failmode = safe", roots);
    let (records, text) = audited(&world, "push");
    let line = world.final_line();
    assert!(line.contains("has root's user or group id"), "{line}");
    let [record] = &records[..] else {
        panic!("{text}");
    };
    assert_eq!(
        sent_record(record).unwrap(),
        "op=2fa outcome=error acct=\"?\" exe=\"/usr/libexec/login_duo/pam-duo-helper\" \
         hostname=? addr=? terminal=? res=failed\0"
    );
}

pub fn the_modules_own_line_goes_to_a_syslog_of_streams_too() {
    let world = PamWorld::new("");
    let path = world.sandbox.path().join("syslog");
    fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    listener.set_nonblocking(true).unwrap();
    // This line is the module's: it starts no helper for a host that is not root.
    let asked = world.host_by(world.as_user("push"), &["-a", "1", "duo", "push"]);
    assert_eq!(asked.code(), code::AUTHINFO_UNAVAIL, "{asked:#?}");
    let mut lines = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        lines.push(String::from_utf8(read_to_end(stream)).unwrap());
    }
    let text = "Error in Duo login for 'push': the program that asks does not run as root\0";
    let ours: Vec<_> = lines.iter().filter(|it| it.contains("pam_duo[")).collect();
    assert_eq!(ours.len(), 1, "{lines:#?}");
    assert!(
        ours[0].starts_with("<83>pam_duo[") && ours[0].ends_with(text),
        "{ours:#?}"
    );
}
