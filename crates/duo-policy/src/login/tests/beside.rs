//! A passcode that is typed while Duo waits for the person: who wins, what counts, and
//! what is sent.

use duo_wire::WaitingFor::{Approval, ApprovalOrPasscode, Duo as DuoAlone};

use super::*;

/// A login that takes the default factor, a push; `script` sets the answers.
fn race(
    prompts: u8,
    person: &ScriptedPerson,
    script: impl FnOnce(&mut ScriptedDuo<'_>),
) -> (Ended, Vec<String>) {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.poll = Duration::from_secs(1);
    script(&mut duo);
    let lines = format!("prompts = {prompts}");
    let over = log_in(&lines, &Extras::default(), &mut duo, person);
    assert!(
        duo.beside.is_empty(),
        "{} were never asked",
        duo.beside.len()
    );
    (over, duo.calls)
}

fn settled(status: Result<Status, Error>) -> Result<Auth, Error> {
    status.map(Auth::Settled)
}

fn wrong() -> Result<Auth, Error> {
    settled(denied("Incorrect passcode"))
}

fn right() -> Result<Auth, Error> {
    settled(allowed())
}

fn count(calls: &[String], begin: &str) -> usize {
    calls.iter().filter(|call| call.starts_with(begin)).count()
}

#[test]
fn a_passcode_wins_beside_an_open_push_and_the_log_names_it() {
    let person = ScriptedPerson::waiting(&[(1_500, "123 456")]);
    let (over, calls) = race(3, &person, |duo| {
        duo.beside = [(100, right())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    assert_eq!(calls[..3], ["preauth", "auth push1", "status"]);
    assert_eq!(calls.last().unwrap(), "beside 123456");
    assert!(over.failed.is_empty());
    let waits = [Waiting::Begins(ApprovalOrPasscode), Waiting::Ends];
    assert_eq!(*person.waits.borrow(), waits);
}

#[test]
fn the_push_wins_while_a_passcode_is_on_its_way() {
    let person = ScriptedPerson::waiting(&[(500, "123456")]);
    let (over, _) = race(3, &person, |duo| {
        duo.statuses = [waiting("Pushed"), allowed()].into();
        duo.beside = [(60_000, wrong())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert!(over.failed.is_empty());
}

#[test]
fn after_a_wrong_passcode_the_push_is_still_there() {
    let person = ScriptedPerson::waiting(&[(500, "000000")]);
    let (over, calls) = race(3, &person, |duo| {
        duo.statuses = [waiting("Pushed"), waiting(""), allowed()].into();
        duo.beside = [(100, wrong())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(over.failed, ["Incorrect passcode"]);
    assert_eq!(*person.next.borrow(), [Next::Attempt]);
    assert_eq!((count(&calls, "auth"), count(&calls, "preauth")), (1, 1));
}

#[test]
fn a_denied_push_does_not_end_the_login_while_a_passcode_is_on_its_way() {
    for (answer, outcome, detail) in [
        (right(), Outcome::Successful, "passcode"),
        (wrong(), Outcome::Failed, "Incorrect passcode"),
    ] {
        let person = ScriptedPerson::waiting(&[(500, "123456")]);
        let (over, _) = race(2, &person, |duo| {
            duo.statuses = [denied("no")].into();
            duo.beside = [(5_000, answer)].into();
        });
        assert_eq!(over.outcome(), (outcome, detail));
        assert_eq!(over.failed, ["no"]);
        let waits = [
            Waiting::Begins(ApprovalOrPasscode),
            Waiting::Begins(Approval),
            Waiting::Begins(DuoAlone),
            Waiting::Ends,
        ];
        assert_eq!(*person.waits.borrow(), waits);
    }
}

#[test]
fn fraud_and_a_lock_out_on_either_line_end_the_login() {
    for progress in [Progress::Fraud, Progress::LockedOut] {
        let no = || status(progress, "no more");
        let of_the_push = |duo: &mut ScriptedDuo<'_>| {
            duo.statuses = [no()].into();
            duo.beside = [(5_000, right())].into();
        };
        let of_the_passcode = |duo: &mut ScriptedDuo<'_>| {
            duo.statuses = [waiting("Pushed"), allowed()].into();
            duo.beside = [(100, settled(no()))].into();
        };
        let push = ScriptedPerson::waiting(&[(500, "123456")]);
        let (by_push, _) = race(10, &push, of_the_push);
        let passcode = ScriptedPerson::waiting(&[(500, "123456")]);
        let (by_passcode, _) = race(10, &passcode, of_the_passcode);
        for (over, person) in [(by_push, push), (by_passcode, passcode)] {
            assert_eq!(over.outcome(), (Outcome::Aborted, "no more"));
            assert_eq!(*person.next.borrow(), [Next::Nothing]);
        }
        // Where nothing was typed, too: nobody asks the person again.
        let (over, calls) = race(3, &ScriptedPerson::waiting(&[]), |duo| {
            duo.statuses = [no()].into();
        });
        assert_eq!(over.outcome(), (Outcome::Aborted, "no more"));
        assert_eq!(count(&calls, "preauth"), 1);
    }
}

#[test]
fn each_passcode_counts_and_when_none_is_left_the_push_is() {
    let lines = [(500, "000000"), (1_000, "000001"), (1_500, "123456")];
    let person = ScriptedPerson::waiting(&lines);
    let (over, calls) = race(3, &person, |duo| {
        duo.statuses = [waiting("Pushed"), waiting(""), allowed()].into();
        duo.beside = [(100, wrong()), (100, wrong())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(over.failed.len(), 2);
    assert_eq!(count(&calls, "beside"), 2, "{calls:?}");
    assert!(person.heard("no attempt is left for a passcode"));
    let waits = [ApprovalOrPasscode, Approval].map(Waiting::Begins);
    assert_eq!(person.waits.borrow()[..2], waits);

    // With one attempt in all, the push is that attempt.
    let person = ScriptedPerson::waiting(&[(500, "123456")]);
    let (over, calls) = race(1, &person, |duo| {
        duo.statuses = [waiting("Pushed"), denied("no")].into();
    });
    assert_eq!(over.outcome(), (Outcome::Failed, "no"));
    assert_eq!(count(&calls, "beside"), 0);
}

#[test]
fn attempts_that_passcodes_have_taken_are_gone_at_the_menu() {
    let person = ScriptedPerson::waiting(&[(500, "000000")]);
    person
        .lines
        .borrow_mut()
        .extend([Ok(&b"2"[..]), Ok(&b"2"[..])]);
    let (over, calls) = race(3, &person, |duo| {
        duo.statuses = [waiting("Pushed"), denied("no"), denied("hung up")].into();
        duo.beside = [(100, wrong())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Failed, "hung up"));
    assert_eq!(over.failed, ["Incorrect passcode", "no"]);
    assert_eq!((count(&calls, "auth"), person.asked.get()), (2, 2));
}

#[test]
fn lines_that_were_pasted_are_sent_one_after_the_other() {
    let lines = [(500, "000000"), (500, "123456"), (500, "echo lost")];
    let person = ScriptedPerson::waiting(&lines);
    let (over, calls) = race(3, &person, |duo| {
        duo.beside = [(100, wrong()), (100, right())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    assert_eq!(calls[3..], ["beside 000000", "beside 123456"]);
}

#[test]
fn a_line_that_was_typed_before_the_push_was_denied_is_sent_after_it() {
    let person = ScriptedPerson::waiting(&[(500, "000000"), (600, "123456")]);
    let (over, calls) = race(3, &person, |duo| {
        duo.statuses = [denied("no")].into();
        duo.beside = [(5_000, wrong()), (100, right())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    assert_eq!(over.failed, ["no", "Incorrect passcode"]);
    assert_eq!(count(&calls, "preauth"), 1);
}

#[test]
fn what_is_no_passcode_is_not_sent_while_duo_waits() {
    let long: &'static str = "7".repeat(256).leak();
    let told = [
        ("9", "there is no option 9"),
        ("2", "while Duo waits, only a passcode can be typed"),
        ("push2", "while Duo waits, only a passcode can be typed"),
        (
            "sudo rm -r /",
            "while Duo waits, only a passcode can be typed",
        ),
        (long, "That is too long to be a passcode"),
        (
            "12\u{1b}[A",
            "That is not a passcode: it has control characters",
        ),
    ];
    for (line, words) in told {
        let person = ScriptedPerson::waiting(&[(500, line), (600, ""), (700, " \t")]);
        let (over, calls) = race(2, &person, |duo| {
            duo.statuses = [waiting("Pushed"), allowed()].into();
        });
        assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
        assert_eq!(count(&calls, "beside"), 0, "{line}");
        assert!(person.heard(words), "{line}");
        // An empty line does nothing.
        let told = person.shown.borrow();
        assert_eq!(told.len(), 3, "{told:?}");
    }
}

#[test]
fn a_second_line_that_fails_leaves_the_push() {
    let lost = || Err(Error::Service("Lost the connection".into()));
    let person = ScriptedPerson::waiting(&[(500, "123456")]);
    let (over, _) = race(3, &person, |duo| {
        duo.statuses = [waiting("Pushed"), waiting(""), allowed()].into();
        duo.beside = [(100, lost())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(over.failed, ["Lost the connection"]);
    assert!(person.heard("Lost the connection"));
    // And the other way round.
    let person = ScriptedPerson::waiting(&[(500, "123456")]);
    let (over, _) = race(3, &person, |duo| {
        duo.statuses = [lost().map(|_: Auth| unreachable!())].into();
        duo.beside = [(5_000, right())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    // Where both fail, the login ends as it does without a passcode.
    let person = ScriptedPerson::waiting(&[(500, "123456")]);
    let (over, _) = race(3, &person, |duo| {
        duo.answered = Answered::Yes;
        duo.statuses = [denied("no")].into();
        duo.beside = [(5_000, lost())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Error, "Lost the connection"));
}

#[test]
fn a_person_who_leaves_ends_the_race_whatever_is_on_its_way() {
    let person = ScriptedPerson::waiting(&[(500, "123456")]);
    let (over, _) = race(3, &person, |duo| {
        duo.statuses = [Err(Error::GaveUp("interrupted".into()))].into();
        duo.beside = [(5_000, right())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Aborted, "interrupted"));
    assert_eq!(person.waits.borrow().last(), Some(&Waiting::Ends));
}

#[test]
fn a_server_that_starts_a_transaction_for_a_passcode_is_asked_for_its_verdict() {
    let person = ScriptedPerson::waiting(&[(500, "123456")]);
    let (over, calls) = race(3, &person, |duo| {
        let started = Ok(Auth::Started("t2".into()));
        let not_yet = settled(waiting("checking"));
        duo.beside = [(10, started), (10, not_yet), (10, right())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    assert_eq!(count(&calls, "beside status t2"), 2);
    assert!(person.heard("checking"));
}

#[test]
fn nobody_is_listened_to_while_a_passcode_of_the_menu_is_judged() {
    let person = ScriptedPerson::waiting(&[(0, "ls")]);
    person.lines.replace([Ok(&b"123456"[..])].into());
    let (over, _) = race(3, &person, |duo| {
        duo.auths = [right()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    assert_eq!(person.keyboard.lines.borrow().len(), 1);
    assert_eq!(*person.waits.borrow(), [Waiting::Ends]);
}

#[test]
fn a_push_that_times_out_leaves_the_passcode_its_time() {
    let person = ScriptedPerson::waiting(&[(299_000, "123456")]);
    let (over, _) = race(3, &person, |duo| {
        duo.beside = [(10_000, right())].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    assert_eq!(over.failed, ["authentication timed out"]);
}
