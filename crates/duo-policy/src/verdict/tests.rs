//! What opens the door: the failmode table, and the two keys.

use super::*;
use crate::api::Answered::{NotYet, Yes};
use crate::api::reply::{self, Kind};
use crate::log_line;

/// A row of the table in docs/behaviour.md, *Failmode*: what happened, and the outcomes
/// before Duo has answered under `safe`, `secure` and `codes`, and after.
type Row = (&'static str, Error, [Meaning; 4]);

fn table() -> Vec<Row> {
    use Meaning::{AsksForACode, Is};
    use Outcome::{Aborted, Error as ErrorIn, Failsafe, Failsecure};
    let why = || "why".to_owned();
    let [safe, secure, after] = [Failsafe, Failsecure, ErrorIn].map(Is);
    vec![
        (
            "service error",
            Error::Service(why()),
            [safe, secure, AsksForACode, after],
        ),
        ("Duo said no", Error::Refused(why()), [Is(Aborted); 4]),
        (
            "configuration error",
            Error::Configuration(why()),
            [safe, secure, secure, after],
        ),
        (
            "a fault of this machine",
            Error::Fault(why()),
            [Is(ErrorIn); 4],
        ),
        ("the user gave up", Error::GaveUp(why()), [Is(Aborted); 4]),
    ]
}

/// Demands of which none is met.
fn unmet() -> Demands<'static> {
    Demands::without_codes(&|| Ok(()))
}

#[test]
fn the_failmode_table_row_by_row() {
    use Failmode::{Codes, Safe, Secure};
    for (row, error, [safe, secure, codes, after]) in table() {
        assert_eq!(failmode(&error, NotYet, Safe), safe, "{row}");
        assert_eq!(failmode(&error, NotYet, Secure), secure, "{row}");
        assert_eq!(failmode(&error, NotYet, Codes), codes, "{row}");
        for stated in [Safe, Secure, Codes] {
            assert_eq!(failmode(&error, Yes, stated), after, "{row}, afterwards");
            let used = Demands {
                alibi: &|| Ok(()),
                code: &|| Ok(UsedUp { left: 7 }),
            };
            let verdict = of_error(&error, Yes, stated, &used);
            assert!(!verdict.outcome.opens(), "{row}, afterwards");
            assert_eq!(verdict.detail, "why");
        }
        assert!(!secure.opens() && !codes.opens() && !after.opens(), "{row}");
        let verdict = of_error(&error, NotYet, Codes, &unmet());
        assert!(!verdict.outcome.opens(), "{row} without a code");
    }
}

#[test]
fn only_service_and_configuration_errors_can_open() {
    let opening: Vec<_> = table()
        .into_iter()
        .filter(|(_, error, _)| failmode(error, NotYet, Failmode::Safe).opens())
        .map(|(row, ..)| row)
        .collect();
    assert_eq!(opening, ["service error", "configuration error"]);
}

/// Where `codes` asks for a code, and nowhere else, `safe` opens.
#[test]
fn codes_ask_where_safe_would_open_but_for_a_mistake_in_the_file() {
    for (row, error, [safe, _, codes, _]) in table() {
        let is_mistake = matches!(error, Error::Configuration(_));
        let asks = codes == Meaning::AsksForACode;
        assert_eq!(asks, safe.opens() && !is_mistake, "{row}");
    }
}

#[test]
fn only_a_code_that_was_used_up_opens() {
    let error = Error::Service("why".to_owned());
    let judged = |code: Result<UsedUp, NoCode>| {
        let demands = Demands {
            alibi: &|| Ok(()),
            code: &|| code.clone(),
        };
        let verdict = of_error(&error, NotYet, Failmode::Codes, &demands);
        (verdict.outcome, verdict.detail)
    };
    let ended = |error| Err(NoCode::Ended(error));
    let text = || "x".to_owned();
    for (code, outcome, detail) in [
        (
            Ok(UsedUp { left: 7 }),
            Outcome::Failsafe,
            "emergency code, 7 left: why",
        ),
        (Err(NoCode::Unasked(text())), Outcome::Failsecure, "x: why"),
        (Err(NoCode::Wrong(text())), Outcome::Failed, "x: why"),
        (ended(Error::GaveUp(text())), Outcome::Aborted, "x: why"),
        (ended(Error::Fault(text())), Outcome::Error, "x: why"),
        (ended(Error::Service(text())), Outcome::Error, "x: why"),
    ] {
        assert_eq!(judged(code), (outcome, detail.to_owned()));
    }
}

#[test]
fn without_the_alibi_no_code_is_asked_for() {
    let demands = Demands {
        alibi: &|| Err(Error::Fault("frozen".to_owned())),
        code: &|| panic!("asked"),
    };
    let error = Error::Service("why".to_owned());
    let verdict = of_error(&error, NotYet, Failmode::Codes, &demands);
    assert_eq!(verdict, Verdict::new(Outcome::Error, "frozen: why"));
}

/// Answers, and the outcome of each under `safe`.
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
        let trouble = reply::read(http, body.as_bytes()).unwrap_err();
        assert_eq!(trouble.kind, Kind::Final, "{http} {body}");
        let meaning = failmode(&trouble.error, NotYet, Failmode::Safe);
        assert_eq!(meaning, Meaning::Is(expected), "{http} {body}");
    }
    // This answer is a denial, and no error that failmode could forgive.
    assert!(reply::read(200, fail(7).as_bytes()).is_ok_and(|answer| answer.has_result()));
    let limited = reply::read(429, b"");
    assert!(limited.is_err_and(|trouble| trouble.kind == Kind::RateLimited));
}

#[test]
fn motd_is_for_everybody_who_is_let_in() {
    for outcome in Outcome::ALL {
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
        ..Who::unknown()
    }
}

fn otherwise() -> Who {
    Who {
        duo_user: "login".into(),
        client: None,
        ..Who::unknown()
    }
}

/// The records of a child that logs in alice.
fn records(verdict: &Verdict) -> String {
    lines(&[
        Record::Who(alice()),
        Record::Logged,
        Record::Verdict(verdict.clone()),
    ])
}

fn lines(records: &[Record]) -> String {
    records.iter().map(Record::to_line).collect()
}

fn judged_with(records: &[u8], left: Option<Departure>, end: End) -> Judgement {
    let report = Report {
        records: records.to_vec(),
        left,
        end,
    };
    judge(Ok(report), otherwise())
}

fn judged(records: &[u8], end: End) -> Judgement {
    judged_with(records, None, end)
}

/// The line that the parent must log.
fn to_log(judgement: &Judgement) -> Option<String> {
    let (verdict, who) = judgement.to_log.as_ref()?;
    Some(log_line::of_verdict(verdict, who))
}

/// Asserts that these records deny, and that the parent's line begins with `label`;
/// returns that line.
#[track_caller]
fn assert_denied(records: &[u8], end: End, label: &str) -> String {
    let judgement = judged(records, end);
    let text = String::from_utf8_lossy(records).into_owned();
    assert!(judgement.allow.is_none(), "{text:?} and {end:?} open");
    let line = to_log(&judgement).expect("a line");
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
fn both_keys_open_and_leave_nothing_to_log() {
    let judgement = judged(yes().as_bytes(), End::Exited(0));
    assert!(judgement.allow.is_some());
    assert_eq!(judgement.to_show, ToShow::Nothing);
    assert_eq!(judgement.to_log, None);
}

#[test]
fn each_outcome_opens_or_denies_by_its_own_word() {
    for outcome in Outcome::ALL {
        let said = records(&Verdict::new(outcome, ""));
        let status = i32::from(!outcome.opens());
        let judgement = judged(said.as_bytes(), End::Exited(status));
        assert_eq!(judgement.to_log, None);
        assert_eq!(judgement.allow.is_some(), outcome.opens(), "{outcome:?}");
    }
}

#[test]
fn a_yes_that_is_not_in_the_log_opens_nothing() {
    let yes = Record::Verdict(Verdict::new(Outcome::Successful, "push1"));
    for said in [
        lines(&[Record::Who(alice()), yes.clone()]),
        lines(&[Record::Logged, yes.clone()]),
        lines(&[yes]),
    ] {
        assert_denied(said.as_bytes(), End::Exited(0), "Error in");
    }
}

#[test]
fn a_denial_is_the_childs_to_log_and_to_tell() {
    let denied = judged(no().as_bytes(), End::Exited(1));
    assert!(denied.allow.is_none());
    assert_eq!((denied.to_log, denied.to_show), (None, ToShow::Nothing));
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
    let who = lines(&[Record::Who(alice())]);
    for said in ["", &who] {
        assert_denied(said.as_bytes(), End::Exited(0), "Error in");
        let line = assert_denied(said.as_bytes(), End::Exited(1), "Error in");
        assert!(
            line.ends_with("the child ended without a verdict"),
            "{line}"
        );
    }
    for said in ["\n", "\n\n", "allow\n"] {
        let line = assert_denied(said.as_bytes(), End::Exited(1), "Error in");
        assert!(
            line.ends_with("the child wrote what is no record"),
            "{line}"
        );
    }
}

#[test]
fn a_child_that_says_yes_and_is_killed_or_stuck_opens_nothing() {
    for signal in ["SIGKILL", "SIGSEGV", "SIGABRT"] {
        let line = assert_denied(yes().as_bytes(), End::Killed(signal), "Error in");
        assert!(line.contains(signal), "{line}");
    }
    assert_denied(yes().as_bytes(), End::Stuck, "Error in");
}

#[test]
fn a_person_who_leaves_after_the_yes_has_a_line_more_and_no_session() {
    for end in [End::Exited(0), End::Killed("SIGKILL"), End::Stuck] {
        let left = judged_with(yes().as_bytes(), Some(Departure::HungUp), end);
        assert!(left.allow.is_none());
        assert_eq!(left.to_show, ToShow::Departure(Departure::HungUp));
        assert_eq!(
            to_log(&left).as_deref(),
            Some("Aborted Duo login for 'alice' from 192.0.2.7: hung up after Duo's yes")
        );
    }
}

#[test]
fn the_line_of_who_leaves_after_a_yes_does_not_say_that_duo_gave_a_yes_that_it_did_not() {
    let tail = |known| aborted("hung up", known).detail;
    for outcome in Outcome::ALL {
        let expected = match outcome {
            Outcome::Successful | Outcome::Skipped => "hung up after Duo's yes",
            Outcome::Remembered => "hung up after an earlier yes of Duo's",
            Outcome::Bypassed | Outcome::Failsafe => "hung up after a yes without Duo",
            _ => "hung up",
        };
        assert_eq!(tail(Some(outcome)), expected);
    }
    assert_eq!(tail(None), "hung up");
}

#[test]
fn a_person_who_leaves_before_has_one_line_and_it_is_the_childs_if_it_wrote_one() {
    let who = Record::Who(alice());
    let written = lines(&[who.clone(), Record::Logged]);
    for said in [&written, &no()] {
        let left = judged_with(
            said.as_bytes(),
            Some(Departure::Interrupted),
            End::Exited(1),
        );
        assert!(left.allow.is_none());
        assert_eq!(
            (left.to_log, left.to_show),
            (None, ToShow::Departure(Departure::Interrupted))
        );
    }
    for (said, name) in [
        (lines(&[who]), "'alice' from 192.0.2.7"),
        (String::new(), "'login'"),
    ] {
        let left = judged_with(said.as_bytes(), Some(Departure::Interrupted), End::Stuck);
        let line = format!("Aborted Duo login for {name}: interrupted");
        assert_eq!(to_log(&left), Some(line));
    }
}

#[test]
fn who_is_denied_without_the_childs_word_is_told_why_by_the_parent() {
    let fault = lines(&[Record::Verdict(Verdict::new(Outcome::Error, "no room"))]);
    for (said, end) in [
        (fault.as_str(), End::Exited(1)),
        ("", End::Exited(1)),
        (&yes(), End::Exited(1)),
        (&no(), End::Exited(0)),
        (&yes(), End::Killed("SIGKILL")),
        (&no(), End::Stuck),
    ] {
        let judgement = judged(said.as_bytes(), end);
        assert!(
            matches!(judgement.to_show, ToShow::Denial(_)),
            "{said:?} {end:?}"
        );
    }
    let unborn = judge(Err(Error::Fault("couldn't fork".into())), otherwise());
    assert_eq!(unborn.to_show, ToShow::Denial("couldn't fork".into()));
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
    let [who, logged, verdict] = yes.lines().collect::<Vec<_>>()[..] else {
        panic!("three records")
    };
    let no = no();
    let refusal = no.lines().last().unwrap();
    let with_more = verdict.replace(",false]", ",false,1]");
    let without_motd = verdict.replace(",false]", "]");
    assert!(with_more != verdict && without_motd != verdict);
    let table = [
        ("garbage", "\x00\x01\x7f\n\x1b[0m\n".to_owned()),
        ("no first record", format!("{logged}\n{verdict}\n")),
        (
            "the wrong way round",
            format!("{logged}\n{verdict}\n{who}\n"),
        ),
        (
            "a yes before the log",
            format!("{who}\n{verdict}\n{logged}\n"),
        ),
        ("an empty first record", format!("\n{logged}\n{verdict}\n")),
        (
            "a nameless first record",
            format!("{{}}\n{logged}\n{verdict}\n"),
        ),
        ("two names", format!("{who}\n{yes}")),
        ("two verdicts", format!("{yes}{verdict}\n")),
        ("a verdict and its opposite", format!("{yes}{refusal}\n")),
        ("a yes after a no", format!("{no}{verdict}\n")),
        ("an empty line more", format!("{yes}\n")),
        ("a byte more", format!("{yes}x")),
        (
            "an unknown field",
            format!("{who}\n{logged}\n{with_more}\n"),
        ),
        ("a field less", format!("{who}\n{logged}\n{without_motd}\n")),
        ("a bare word", format!("{who}\n{logged}\nallow\n")),
    ];
    for (what, said) in table {
        for status in [0, 1] {
            let judgement = judged(said.as_bytes(), End::Exited(status));
            assert!(judgement.allow.is_none(), "{what}, exit {status}");
            let line = to_log(&judgement).expect("a line");
            assert!(line.starts_with("Error in"), "{what}: {line}");
        }
    }
}

#[test]
fn a_first_record_with_more_in_it_than_names_opens_nothing() {
    let with_more = yes().replacen(']', ",null]", 1);
    assert_ne!(with_more, yes());
    assert_denied(with_more.as_bytes(), End::Exited(0), "Error in");
}

#[test]
fn a_child_that_could_not_confine_itself_is_logged_under_the_login_name() {
    let fault = Verdict::new(Outcome::Error, "couldn't drop privileges: no room");
    let line = assert_denied(
        lines(&[Record::Verdict(fault)]).as_bytes(),
        End::Exited(1),
        "Error in",
    );
    assert_eq!(
        line,
        "Error in Duo login for 'login': couldn't drop privileges: no room"
    );
}

#[test]
fn a_login_that_could_not_even_begin_is_denied() {
    let judgement = judge(Err(Error::Fault("couldn't fork".into())), otherwise());
    assert!(judgement.allow.is_none());
    assert_eq!(
        to_log(&judgement).as_deref(),
        Some("Error in Duo login for 'login': couldn't fork")
    );
}
