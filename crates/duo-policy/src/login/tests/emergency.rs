//! When a code is asked for, and what becomes of the login.

use super::*;
use crate::codes::Code;
use crate::verdict::UsedUp;

const GOOD: &str = "0000-0000-0000-0007";

/// Codes of which one is good.
struct OneGood {
    left: usize,
    broken: bool,
}

impl EmergencyCodes for OneGood {
    fn left(&self) -> Result<usize, String> {
        Ok(self.left)
    }

    fn use_up(&self, code: &Code) -> Result<Option<UsedUp>, Error> {
        match (self.broken, code.text().as_str() == GOOD) {
            (true, _) => Err(Error::Fault("couldn't write: no space".to_owned())),
            (false, true) => Ok(Some(UsedUp {
                left: self.left - 1,
            })),
            (false, false) => Ok(None),
        }
    }
}

fn eight() -> Box<dyn EmergencyCodes> {
    Box::new(OneGood {
        left: 8,
        broken: false,
    })
}

fn three() -> Box<dyn EmergencyCodes> {
    Box::new(OneGood {
        left: 3,
        broken: false,
    })
}

fn none_left() -> Box<dyn EmergencyCodes> {
    Box::new(OneGood {
        left: 0,
        broken: false,
    })
}

fn on_a_full_disk() -> Box<dyn EmergencyCodes> {
    Box::new(OneGood {
        left: 8,
        broken: true,
    })
}

/// A login while Duo is down, and how long it took.
fn with_duo_down(
    lines: &str,
    codes: &'static dyn Fn() -> Box<dyn EmergencyCodes>,
    person: &ScriptedPerson,
) -> (Ended, Duration) {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.preauths = [Some(Err(Error::Service("no route".into())))].into();
    let extras = Extras {
        codes: Some(codes),
        ..Extras::default()
    };
    let over = log_in(lines, &extras, &mut duo, person);
    (over, clock.passed())
}

const CODES: &str = "failmode = codes";

#[test]
fn a_good_code_lets_in_and_says_how_many_are_left() {
    let person = ScriptedPerson::typing(&["0000 0000 0000 ooo7"]);
    let (over, _) = with_duo_down(CODES, &eight, &person);
    let detail = "emergency code, 7 left: no route";
    assert_eq!(over.outcome(), (Outcome::Failsafe, detail));
    assert!(person.heard("Codes left: 7.") && !person.heard("new ones"));
    let person = ScriptedPerson::typing(&[GOOD]);
    with_duo_down(CODES, &three, &person);
    assert!(person.heard("Codes left: 2. Ask your administrator for new ones."));
}

#[test]
fn three_wrong_codes_deny_and_each_costs_a_second() {
    let person = ScriptedPerson::typing(&["123456", "0000-0000-0000-0008", "", GOOD]);
    let (over, passed) = with_duo_down(CODES, &eight, &person);
    let last = "not an emergency code, which has 16 letters and digits: no route";
    assert_eq!(over.outcome(), (Outcome::Failed, last));
    let first = "not an emergency code, which has 16 letters and digits";
    assert_eq!(over.failed, [first, "wrong emergency code"]);
    assert_eq!((person.asked.get(), passed), (3, Duration::from_secs(3)));
    assert!(person.must_hear("not an emergency code"));
    let person = ScriptedPerson::typing(&["x", "x", GOOD]);
    let (over, _) = with_duo_down(CODES, &eight, &person);
    assert_eq!(over.verdict.outcome, Outcome::Failsafe);
    assert_eq!(over.failed.len(), 2);
}

#[test]
fn nobody_is_asked_for_a_code_that_cannot_help() {
    let asked_in_vain = |lines, codes, person: &ScriptedPerson| {
        let (over, _) = with_duo_down(lines, codes, person);
        assert_eq!(person.asked.get(), 0);
        // How many attempts it took is told in facts.rs.
        over.verdict.with_facts(Facts::default())
    };
    let secure = |why| Verdict::new(Outcome::Failsecure, format!("{why}: no route"));
    assert_eq!(
        asked_in_vain(CODES, &none_left, &ScriptedPerson::typing(&[GOOD])),
        secure("no emergency code is left")
    );
    let nobody = ScriptedPerson::nobody();
    assert_eq!(
        asked_in_vain(CODES, &eight, &nobody),
        secure("nobody can be asked for an emergency code")
    );
    assert!(nobody.must_hear("nobody can be asked"));
    for (mode, outcome) in [
        ("failmode = safe", Outcome::Failsafe),
        ("failmode = secure", Outcome::Failsecure),
    ] {
        let verdict = asked_in_vain(mode, &eight, &ScriptedPerson::typing(&[GOOD]));
        assert_eq!(verdict, Verdict::new(outcome, "no route"));
    }
}

#[test]
fn once_duo_has_answered_no_code_is_asked_for() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.auths = [Err(Error::Service("reset".into()))].into();
    let person = ScriptedPerson::typing(&["1", GOOD]);
    let extras = Extras {
        codes: Some(&eight),
        ..Extras::default()
    };
    let over = log_in(CODES, &extras, &mut duo, &person);
    assert_eq!(over.outcome(), (Outcome::Error, "reset"));
    assert_eq!(person.asked.get(), 1);
}

#[test]
fn a_code_that_cannot_be_used_up_and_a_person_who_leaves_are_denied() {
    let person = ScriptedPerson::typing(&[GOOD]);
    let (over, _) = with_duo_down(CODES, &on_a_full_disk, &person);
    let detail = "couldn't write: no space: no route";
    assert_eq!(over.outcome(), (Outcome::Error, detail));
    assert!(person.must_hear("no space"));
    let person = ScriptedPerson::typing(&["x"]);
    let (over, _) = with_duo_down(CODES, &eight, &person);
    let detail = "end of input: no route";
    assert_eq!(over.outcome(), (Outcome::Aborted, detail));
}
