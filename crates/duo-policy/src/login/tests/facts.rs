//! What the log is to know of a login, and a log that takes no lines.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn duos_time_and_the_persons_are_told_apart() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.preauth_takes = seconds(2);
    duo.poll = seconds(7);
    duo.statuses = [waiting("Pushed"), allowed()].into();
    let ended = log_in(
        "",
        &Extras::default(),
        &mut duo,
        &ScriptedPerson::typing(&["1"]),
    );
    let facts = &ended.verdict.facts;
    assert_eq!((facts.duo, facts.person), (seconds(2), seconds(14)));
    assert_eq!(facts.factor.as_deref(), Some("push1"));
    assert_eq!(facts.transaction.as_deref(), Some("t"));
    assert_eq!(facts.attempt, 1);
}

#[test]
fn a_passcode_that_is_checked_is_duos_time_and_names_itself() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.poll = seconds(60);
    // It is typed after 5 s, and checked in 2 s, beside a push.
    duo.beside = [
        (1_000, Ok(Auth::Started("b".into()))),
        (1_000, allowed().map(Auth::Settled)),
    ]
    .into();
    let person = ScriptedPerson::waiting(&[(5_000, "123456")]);
    let ended = log_in("", &Extras::default(), &mut duo, &person);
    assert_eq!(ended.outcome(), (Outcome::Successful, "passcode"));
    let facts = &ended.verdict.facts;
    assert_eq!((facts.duo, facts.person), (seconds(2), seconds(5)));
    assert_eq!(facts.factor.as_deref(), Some("passcode"));
    assert_eq!(facts.transaction.as_deref(), Some("b"));
    assert_eq!(facts.attempt, 2);
}

#[test]
fn without_an_answer_the_verdict_still_says_how_long_it_took() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.preauth_takes = seconds(30);
    duo.preauths = [Some(Err(Error::Service("timed out".into())))].into();
    let ended = log_in("", &Extras::default(), &mut duo, &ScriptedPerson::nobody());
    assert_eq!(ended.verdict.outcome, Outcome::Failsafe);
    let facts = &ended.verdict.facts;
    assert_eq!((facts.duo, facts.person), (seconds(30), Duration::ZERO));
    assert_eq!((&facts.factor, &facts.transaction), (&None, &None));
}

#[test]
fn no_phone_rings_where_the_log_takes_no_line() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    let full = Extras {
        most_lines: Some(0),
        ..Extras::default()
    };
    let person = ScriptedPerson::typing(&["1"]);
    let ended = log_in("failmode = safe", &full, &mut duo, &person);
    assert_eq!(ended.outcome(), (Outcome::Error, "the log is full"));
    assert_eq!(duo.calls, ["preauth"]);
    assert!(person.heard("the log is full"));
}

#[test]
fn nobody_goes_on_guessing_where_the_log_takes_no_line() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.statuses = [denied("no"), denied("no")].into();
    let full = Extras {
        most_lines: Some(1),
        ..Extras::default()
    };
    let person = ScriptedPerson::typing(&["123456", "123457", "123458"]);
    let ended = log_in("", &full, &mut duo, &person);
    assert_eq!(ended.outcome(), (Outcome::Error, "the log is full"));
    assert_eq!(duo.count("auth"), 1);
}
