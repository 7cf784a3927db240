//! What opens the door: the failmode table, and the two keys.

use nix::sys::signal::Signal;

use super::*;
use crate::api::reply::{self, Trouble};

/// A row of the table in the manual: what happened, and the outcomes before Duo
/// has answered under `safe` and `secure`, and after.
type Row = (&'static str, Error, [Outcome; 3]);

fn table() -> Vec<Row> {
    use Outcome::{Aborted, Error as ErrorIn, Failsafe, Failsecure};
    let why = || "why".to_owned();
    let by_failmode = [Failsafe, Failsecure, ErrorIn];
    vec![
        ("service error", Error::Service(why()), by_failmode),
        ("Duo said no", Error::Refused(why()), [Aborted; 3]),
        (
            "configuration error",
            Error::Configuration(why()),
            by_failmode,
        ),
        ("a fault of this machine", Error::Fault(why()), [ErrorIn; 3]),
        ("the user gave up", Error::GaveUp(why()), [Aborted; 3]),
    ]
}

#[test]
fn the_failmode_table_row_by_row() {
    use Failmode::{Safe, Secure};
    for (row, error, [safe, secure, after]) in table() {
        assert_eq!(failmode(&error, false, Safe), safe, "{row}");
        assert_eq!(failmode(&error, false, Secure), secure, "{row}");
        for stated in [Safe, Secure] {
            assert_eq!(failmode(&error, true, stated), after, "{row}, afterwards");
            let verdict = Verdict::of_error(&error, true, stated);
            assert!(verdict.denies() && !verdict.allows(), "{row}, afterwards");
            assert_eq!(verdict.detail, "why");
        }
        assert!(!secure.opens() && !after.opens(), "{row}");
    }
}

#[test]
fn only_service_and_configuration_errors_can_open() {
    let opening: Vec<_> = table()
        .into_iter()
        .filter(|(_, error, _)| failmode(error, false, Failmode::Safe).opens())
        .map(|(row, ..)| row)
        .collect();
    assert_eq!(opening, ["service error", "configuration error"]);
}

/// The rows of the table that are answers: which of them failmode forgives.
#[test]
fn what_an_http_answer_means_to_failmode() {
    use Outcome::{Aborted, Failsafe};
    let fail = |code: u32| format!(r#"{{"stat":"FAIL","code":{code},"message":"m"}}"#);
    let table = [
        (200, "<html>".to_owned(), Failsafe),
        (200, r#"{"stat":"OKAY"}"#.to_owned(), Failsafe),
        (200, fail(50_000), Failsafe),
        (200, fail(40_301), Aborted),
        (302, String::new(), Failsafe),
        (400, fail(40_002), Aborted),
        (400, "<html>".to_owned(), Aborted),
        (401, fail(40_102), Failsafe),
        (401, fail(40_103), Failsafe),
        (403, fail(40_301), Aborted),
        (404, String::new(), Aborted),
        (500, String::new(), Failsafe),
        (
            503,
            r#"{"stat":"OK","response":{"result":"deny"}}"#.to_owned(),
            Aborted,
        ),
    ];
    for (http, body, expected) in table {
        let Err(Trouble::Error(error)) = reply::judge(http, body.as_bytes()) else {
            panic!("{http} {body}: no error");
        };
        let outcome = failmode(&error, false, Failmode::Safe);
        assert_eq!(outcome, expected, "{http} {body}");
    }
    // Not even an error that could be forgiven.
    assert!(reply::judge(200, fail(7).as_bytes()).is_ok_and(|answer| answer.has_result()));
    let limited = reply::judge(429, b"");
    assert!(matches!(limited, Err(Trouble::RateLimited)));
}

const OUTCOMES: [Outcome; 8] = [
    Outcome::Successful,
    Outcome::Skipped,
    Outcome::Bypassed,
    Outcome::Failed,
    Outcome::Aborted,
    Outcome::Failsafe,
    Outcome::Failsecure,
    Outcome::Error,
];

#[test]
fn motd_is_for_everybody_who_is_let_in() {
    for outcome in OUTCOMES {
        let verdict = Verdict::new(outcome, "").with_motd(true);
        assert_eq!(verdict.motd, outcome.opens(), "{outcome:?}");
    }
    let unasked = Verdict::new(Outcome::Successful, "").with_motd(false);
    assert!(!unasked.motd);
}

fn alice() -> Who {
    Who {
        duo_user: "alice".into(),
        client: Some("192.0.2.7".into()),
    }
}

fn otherwise() -> Who {
    Who {
        duo_user: "login".into(),
        client: None,
    }
}

/// What the child writes.
fn records(verdict: &Verdict) -> String {
    let json = |value| serde_json::to_string(value).unwrap();
    let who = serde_json::to_string(&alice()).unwrap();
    format!("{who}\n{}\n", json(verdict))
}

fn judged(records: &[u8], end: End) -> Judgement {
    let report = Report {
        records: records.to_vec(),
        end,
    };
    judge(Ok(report), otherwise())
}

/// Denied, with this word first in the log.
#[track_caller]
fn assert_denied(records: &[u8], end: End, label: &str) -> String {
    let judgement = judged(records, end.clone());
    let text = String::from_utf8_lossy(records).into_owned();
    assert!(judgement.allow.is_none(), "{text:?} and {end:?} open");
    assert!(!judgement.verdict.outcome.opens());
    let line = judgement.line();
    assert!(line.starts_with(label), "{line}");
    line
}

fn yes() -> String {
    records(&Verdict::new(Outcome::Successful, "push1"))
}

fn no() -> String {
    records(&Verdict::new(Outcome::Failed, "denied"))
}

#[test]
fn both_keys_open() {
    let judgement = judged(yes().as_bytes(), End::Exited(0));
    assert!(judgement.allow.is_some() && judgement.unsaid == Unsaid::Nothing);
    assert_eq!(
        judgement.line(),
        "Successful Duo login for 'alice' from 192.0.2.7: push1"
    );
}

#[test]
fn each_outcome_opens_or_denies_by_its_own_word() {
    for outcome in OUTCOMES {
        let said = records(&Verdict::new(outcome, ""));
        let status = i32::from(!outcome.opens());
        let judgement = judged(said.as_bytes(), End::Exited(status));
        assert_eq!(judgement.verdict.outcome, outcome);
        assert_eq!(judgement.allow.is_some(), outcome.opens(), "{outcome:?}");
    }
}

#[test]
fn a_denial_is_logged_as_the_child_put_it() {
    for end in [End::Exited(1), End::Stays] {
        let line = assert_denied(no().as_bytes(), end, "Failed");
        assert_eq!(line, "Failed Duo login for 'alice' from 192.0.2.7: denied");
    }
}

#[test]
fn one_key_alone_opens_nothing() {
    for status in [1, 2, 101, 126, 127, 255] {
        assert_denied(yes().as_bytes(), End::Exited(status), "Error in");
    }
    let line = assert_denied(no().as_bytes(), End::Exited(0), "Error in");
    assert!(line.contains("does not fit what it said"), "{line}");
    assert_denied(no().as_bytes(), End::Exited(2), "Error in");
}

#[test]
fn a_child_that_exits_without_a_verdict_opens_nothing() {
    let who = format!("{}\n", serde_json::to_string(&alice()).unwrap());
    for said in ["", "\n", "\n\n", &who] {
        assert_denied(said.as_bytes(), End::Exited(0), "Error in");
        let line = assert_denied(said.as_bytes(), End::Exited(1), "Error in");
        assert!(
            line.ends_with("the child ended without a verdict"),
            "{line}"
        );
    }
}

#[test]
fn a_child_that_says_yes_and_is_killed_stuck_or_left_opens_nothing() {
    for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGABRT] {
        let line = assert_denied(yes().as_bytes(), End::Killed(signal), "Error in");
        assert!(line.contains(signal.as_str()), "{line}");
    }
    for end in [End::Stuck, End::Stays] {
        assert_denied(yes().as_bytes(), end, "Error in");
    }
    let line = assert_denied(yes().as_bytes(), End::Left("hung up"), "Aborted");
    assert!(line.ends_with("'alice' from 192.0.2.7: hung up"), "{line}");
    let left = judged(b"", End::Left("hung up"));
    assert_eq!(left.unsaid, Unsaid::LineEnd);
}

#[test]
fn who_is_denied_without_the_childs_word_is_told_why_by_the_parent() {
    for end in [End::Exited(1), End::Stays] {
        let denied = judged(no().as_bytes(), end);
        assert_eq!(denied.unsaid, Unsaid::Nothing);
    }
    let fault = format!("{FAULT_MARK}no room\n");
    for (said, end) in [
        (fault.as_str(), End::Exited(1)),
        ("", End::Exited(1)),
        (&yes(), End::Exited(1)),
        (&no(), End::Exited(0)),
        (&yes(), End::Killed(Signal::SIGKILL)),
        (&no(), End::Stuck),
        (&yes(), End::Stays),
    ] {
        let judgement = judged(said.as_bytes(), end.clone());
        assert_eq!(judgement.unsaid, Unsaid::Reason, "{said:?} {end:?}");
    }
    let unborn = judge(Err(Error::Fault("couldn't fork".into())), otherwise());
    assert_eq!(unborn.unsaid, Unsaid::Reason);
}

#[test]
fn a_verdict_cut_off_anywhere_opens_nothing() {
    let yes = yes();
    for length in 0..yes.len() {
        assert_denied(&yes.as_bytes()[..length], End::Exited(0), "Error in");
    }
}

#[test]
fn a_verdict_that_is_not_to_the_letter_opens_nothing() {
    let yes = yes();
    let (who, verdict) = yes.split_once('\n').unwrap();
    let no = no();
    let (_, refusal) = no.split_once('\n').unwrap();
    let with_more = verdict.replacen('{', r#"{"more":1,"#, 1);
    let twice_said = verdict.replacen('{', r#"{"word":"allow","#, 1);
    let two_minds = verdict.replace(r#""allow""#, r#""deny""#);
    let two_minds_too = refusal.replace(r#""deny""#, r#""allow""#);
    let without_motd = verdict.replace(r#","motd":false"#, "");
    assert!(with_more != verdict && two_minds != verdict && without_motd != verdict);
    assert!(two_minds_too != refusal);
    let table = [
        ("garbage", "\x00\x01\x7f\n\x1b[0m\n".to_owned()),
        ("no first record", verdict.to_owned()),
        ("the wrong way round", format!("{verdict}{who}\n")),
        ("an empty first record", format!("\n{verdict}")),
        ("a nameless first record", format!("{{}}\n{verdict}")),
        ("two verdicts", format!("{yes}{verdict}")),
        ("a verdict and its opposite", format!("{yes}{refusal}")),
        ("a yes after a no", format!("{no}{verdict}")),
        ("an empty line more", format!("{yes}\n")),
        ("a byte more", format!("{yes}x")),
        ("an unknown field", format!("{who}\n{with_more}")),
        ("a word said twice", format!("{who}\n{twice_said}")),
        (
            "an outcome that the word denies",
            format!("{who}\n{two_minds}"),
        ),
        (
            "a word that the outcome denies",
            format!("{who}\n{two_minds_too}"),
        ),
        ("a field less", format!("{who}\n{without_motd}")),
        ("a bare word", format!("{who}\nallow\n")),
        ("a fault and a yes", format!("{FAULT_MARK}x\n{verdict}")),
    ];
    for (what, said) in table {
        for status in [0, 1] {
            let judgement = judged(said.as_bytes(), End::Exited(status));
            assert!(judgement.allow.is_none(), "{what}, exit {status}");
            assert_eq!(judgement.verdict.outcome, Outcome::Error, "{what}");
        }
    }
}

#[test]
fn a_first_record_with_more_in_it_than_names_opens_nothing() {
    let yes = yes().replacen('{', r#"{"more":1,"#, 1);
    assert_denied(yes.as_bytes(), End::Exited(0), "Error in");
}

#[test]
fn a_fault_is_logged_under_the_login_name() {
    let said = format!("{FAULT_MARK}couldn't start a thread: no room\n");
    let expected = "Error in Duo login for 'login': couldn't start a thread: no room";
    for end in [End::Exited(1), End::Stays] {
        let line = assert_denied(said.as_bytes(), end, "Error in");
        assert_eq!(line, expected);
    }
}

#[test]
fn a_login_that_could_not_even_begin_is_denied() {
    let judgement = judge(Err(Error::Fault("couldn't fork".into())), otherwise());
    assert!(judgement.allow.is_none());
    assert_eq!(
        judgement.line(),
        "Error in Duo login for 'login': couldn't fork"
    );
}

#[test]
fn a_bypass_names_the_user_and_no_client() {
    let said = records(&Verdict::new(Outcome::Bypassed, "alice"));
    let line = judged(said.as_bytes(), End::Exited(0)).line();
    assert_eq!(line, "User alice bypassed Duo 2FA due to user's UNIX group");
}
