//! How many attempts a login has, with which factor, and when it ends.

use duo_wire::WaitingFor;

use super::*;

/// A wait that lasts until Duo's verdict.
const WAITED: [Waiting; 2] = [
    Waiting::Begins(WaitingFor::ApprovalOrPasscode),
    Waiting::Ends,
];

/// `log_in` with a new clock; `script` sets the answers. Returns the calls too.
fn attempt(
    lines: &str,
    with: &Extras,
    person: &ScriptedPerson,
    script: impl FnOnce(&mut ScriptedDuo<'_>),
) -> (Ended, Vec<String>) {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    script(&mut duo);
    let over = log_in(lines, with, &mut duo, person);
    (over, duo.calls)
}

#[test]
fn a_push_that_is_approved_lets_in() {
    let person = ScriptedPerson::typing(&[""]);
    let (over, calls) = attempt("", &Extras::default(), &person, |duo| {
        duo.statuses = [waiting("Pushed"), allowed()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(calls, ["preauth", "auth push1", "status", "status"]);
    assert!(person.heard("Pushed") && person.heard("Success"));
    assert_eq!(*person.waits.borrow(), WAITED);
}

#[test]
fn attempts_are_as_many_as_prompts_says_and_the_last_is_the_verdict() {
    for (lines, attempts) in [("", 3), ("prompts = 1", 1), ("prompts = 10", 10)] {
        let person = ScriptedPerson::typing(&["1"; 10]);
        let (over, calls) = attempt(lines, &Extras::default(), &person, |duo| {
            duo.statuses = (1..=10).map(|n| denied(&format!("no {n}"))).collect();
        });
        let last = format!("no {attempts}");
        assert_eq!(over.outcome(), (Outcome::Failed, last.as_str()));
        let before: Vec<_> = (1..attempts).map(|n| format!("no {n}")).collect();
        assert_eq!(over.failed, before, "{lines:?}");
        let asked = calls.iter().filter(|call| *call == "preauth").count();
        assert_eq!((asked, person.asked.get()), (attempts, attempts));
    }
}

#[test]
fn a_headless_login_has_one_attempt_with_the_default_factor() {
    let person = ScriptedPerson::nobody();
    let (over, calls) = attempt("prompts = 5", &Extras::default(), &person, |duo| {
        duo.statuses = [denied("no")].into();
    });
    assert_eq!(over.outcome(), (Outcome::Failed, "no"));
    assert_eq!(calls, ["preauth", "auth push1", "status"]);
    assert!(person.must_hear("no"));
}

#[test]
fn a_headless_login_without_a_default_factor_is_denied_unasked() {
    let person = ScriptedPerson::nobody();
    let (over, calls) = attempt("", &Extras::default(), &person, |duo| {
        let menu = Menu::prompted("Passcode: ", None);
        duo.preauths = [Some(Ok(Preauth::Auth(menu)))].into();
    });
    assert_eq!(over.verdict.outcome, Outcome::Failed);
    assert_eq!(calls, ["preauth"]);
    assert!(person.must_hear("passcode"));
}

#[test]
fn autopush_takes_the_default_first_and_then_shows_the_menu() {
    let person = ScriptedPerson::typing(&["2"]);
    let (over, calls) = attempt("autopush = yes", &Extras::default(), &person, |duo| {
        duo.statuses = [denied("no"), allowed()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "phone1"));
    assert!(person.heard("Autopushing login request"));
    let auths: Vec<_> = calls.iter().filter(|c| c.starts_with("auth")).collect();
    assert_eq!(auths, ["auth push1", "auth phone1"]);
}

#[test]
fn a_passcode_in_the_environment_is_the_first_attempts_answer() {
    let with = Extras {
        passcode: Some(" 123 456\t"),
        ..Extras::default()
    };
    for lines in [
        "accept_env_factor = 1",
        "accept_env_factor = 1\nautopush = 1",
    ] {
        let person = ScriptedPerson::typing(&["2"]);
        let (over, calls) = attempt(lines, &with, &person, |duo| {
            duo.statuses = [denied("no"), allowed()].into();
        });
        assert_eq!(over.outcome(), (Outcome::Successful, "phone1"));
        assert_eq!(calls[1], "auth 123456");
        assert_eq!(person.asked.get(), 1, "the second attempt asks");
    }
    let person = ScriptedPerson::nobody();
    let (_, calls) = attempt("accept_env_factor = yes", &with, &person, |duo| {
        duo.statuses = [allowed()].into();
    });
    assert_eq!(calls, ["preauth", "auth 123456", "status"]);
}

#[test]
fn a_passcode_in_the_environment_is_nothing_unless_the_file_accepts_it() {
    let with = Extras {
        passcode: Some("123456"),
        ..Extras::default()
    };
    let (over, calls) = attempt("", &with, &ScriptedPerson::nobody(), |duo| {
        duo.statuses = [allowed()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(calls[1], "auth push1");
}

#[test]
fn a_factor_that_was_typed_by_name_is_waited_for_and_a_passcode_is_not() {
    let pushed = vec![waiting("Pushed"), waiting("Pushed"), allowed()];
    for (typed, statuses, waits) in [
        ("push", pushed, &WAITED[..]),
        ("123456", vec![allowed()], &[Waiting::Ends]),
    ] {
        let person = ScriptedPerson::typing(&[typed]);
        attempt("", &Extras::default(), &person, |duo| {
            duo.statuses = statuses.into();
        });
        assert_eq!(*person.waits.borrow(), waits, "{typed}");
    }
}

#[test]
fn a_passcode_is_never_the_logs() {
    let person = ScriptedPerson::typing(&["987654"]);
    let (over, calls) = attempt("", &Extras::default(), &person, |duo| {
        duo.statuses = [allowed()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "passcode"));
    assert_eq!(calls[1], "auth 987654");
}

#[test]
fn what_cannot_be_a_passcode_is_a_failed_attempt_without_asking_duo() {
    let long: &'static str = "7".repeat(256).leak();
    let person = ScriptedPerson::typing(&[long, "1\u{1b}[A", "1"]);
    let (over, calls) = attempt("", &Extras::default(), &person, |duo| {
        duo.statuses = [allowed()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(over.failed.len(), 2, "{:?}", over.failed);
    assert_eq!(
        calls,
        ["preauth", "preauth", "preauth", "auth push1", "status"]
    );
}

#[test]
fn preauth_settles_a_login_at_once() {
    let enroll = || Preauth::Enroll {
        text: "Enrol first".into(),
        url: Some("https://duo.example/enrol".into()),
    };
    let table = [
        (Preauth::Allow("bypass".into()), Outcome::Skipped, "bypass"),
        (Preauth::Deny("locked".into()), Outcome::Aborted, "locked"),
        (
            Preauth::Deny(String::new()),
            Outcome::Aborted,
            "Duo denied this login",
        ),
        (enroll(), Outcome::Aborted, "Enrol first"),
    ];
    for (answer, outcome, detail) in table {
        let person = ScriptedPerson::typing(&["1"; 3]);
        let (over, calls) = attempt("failmode = safe", &Extras::default(), &person, |duo| {
            duo.preauths = [Some(Ok(answer))].into();
        });
        assert_eq!(over.outcome(), (outcome, detail));
        assert_eq!(calls, ["preauth"], "{detail}");
        assert_eq!(person.asked.get(), 0);
        assert_eq!(person.must_hear(detail), !outcome.opens(), "{detail}");
    }
    for (text, words) in [
        ("Enrol first", "Enrol first"),
        ("", "Duo enrolment required"),
    ] {
        let headless = ScriptedPerson::nobody();
        let enroll = Preauth::Enroll {
            text: text.into(),
            url: Some("https://duo.example/enrol".into()),
        };
        attempt("", &Extras::default(), &headless, |duo| {
            duo.preauths = [Some(Ok(enroll))].into();
        });
        let shown = format!("{words}\nhttps://duo.example/enrol");
        assert_eq!(*headless.must_reach.borrow(), [shown]);
    }
}

#[test]
fn an_approved_connection_is_asked_nothing_but_preauth_still_decides() {
    let with = Extras {
        approved: Some(Duration::from_secs(3 * 60 + 59)),
        ..Extras::default()
    };
    let ago = "3 min ago on this connection";
    for person in [ScriptedPerson::typing(&["1"; 3]), ScriptedPerson::nobody()] {
        let (over, calls) = attempt("autopush = yes", &with, &person, |_| {});
        let detail = format!("approved {ago}");
        assert_eq!(over.outcome(), (Outcome::Remembered, &*detail));
        assert_eq!((calls, over.asking), (vec!["preauth".to_owned()], 0));
        assert_eq!(person.asked.get(), 0);
    }
    let down = || Error::Service("down".into());
    for (answer, outcome) in [
        (Ok(Preauth::Deny("disabled".into())), Outcome::Aborted),
        (Ok(Preauth::Allow("bypass".into())), Outcome::Skipped),
        (Err(down()), Outcome::Failsecure),
        (Err(Error::Refused("403".into())), Outcome::Aborted),
    ] {
        let person = ScriptedPerson::typing(&["1"; 3]);
        let (over, _) = attempt("failmode = secure", &with, &person, |duo| {
            duo.preauths = [Some(answer)].into();
        });
        assert_eq!(over.outcome().0, outcome);
    }
}

#[test]
fn a_denial_at_a_later_attempt_ends_the_login_too() {
    let person = ScriptedPerson::typing(&["1"; 3]);
    let (over, _) = attempt("", &Extras::default(), &person, |duo| {
        duo.preauths = [None, Some(Ok(Preauth::Deny("locked out".into())))].into();
        duo.statuses = [denied("no")].into();
    });
    assert_eq!(over.outcome(), (Outcome::Aborted, "locked out"));
    assert_eq!(over.failed, ["no"]);
}

#[test]
fn safe_opens_only_with_an_alibi_and_nothing_else_asks_for_one() {
    let down = || Some(Err(Error::Service("timed out".into())));
    let with = Extras {
        doubt: Some("no descriptor is left"),
        ..Extras::default()
    };
    for (lines, outcome, words) in [
        (
            "failmode = safe",
            Outcome::Error,
            "no descriptor is left: timed out",
        ),
        ("failmode = secure", Outcome::Failsecure, "timed out"),
    ] {
        let person = ScriptedPerson::typing(&["1"]);
        let (over, _) = attempt(lines, &with, &person, |duo| {
            duo.preauths = [down()].into();
        });
        assert_eq!(over.outcome(), (outcome, words));
        assert!(person.must_hear(words), "{lines}");
    }
    let (over, _) = attempt("", &with, &ScriptedPerson::typing(&["1"]), |duo| {
        duo.statuses = [allowed()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
}

#[test]
fn the_log_says_whom_duo_is_asked_for_once_before_the_first_auth() {
    let person = ScriptedPerson::typing(&["1"; 3]);
    let (over, _) = attempt("", &Extras::default(), &person, |duo| {
        duo.statuses = [denied("no"), denied("no"), denied("no")].into();
    });
    assert_eq!(over.asking, 1);
    // Who is asked for nothing, or gives up at the menu, costs no phone a ring.
    let (over, _) = attempt("", &Extras::default(), &ScriptedPerson::typing(&[]), |_| ());
    assert_eq!(over.asking, 0);
    let (over, _) = attempt("", &Extras::default(), &ScriptedPerson::nobody(), |duo| {
        duo.preauths = [Some(Ok(Preauth::Allow(String::new())))].into();
    });
    assert_eq!(over.asking, 0);
}

#[test]
fn a_number_that_is_no_option_is_asked_again_and_costs_no_attempt() {
    let person = ScriptedPerson::typing(&["9", " 42 ", "9", "9", "1"]);
    let (over, calls) = attempt("prompts = 1", &Extras::default(), &person, |duo| {
        duo.statuses = [allowed()].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(calls, ["preauth", "auth push1", "status"]);
    assert!(person.heard("there is no option 9") && person.heard("there is no option 42"));
    assert_eq!(person.asked.get(), 5);
}

#[test]
fn a_denial_says_what_is_left_to_do() {
    let locked = || status(Progress::LockedOut, "locked");
    let (attempt_follows, over, nothing) = (Next::Attempt, Next::Login, Next::Nothing);
    for (prompts, last, next) in [
        (2, denied("no"), vec![attempt_follows, over]),
        (1, denied("no"), vec![over]),
        (1, locked(), vec![nothing]),
    ] {
        let person = ScriptedPerson::typing(&["1"; 2]);
        let lines = format!("prompts = {prompts}");
        attempt(&lines, &Extras::default(), &person, |duo| {
            duo.statuses = (1..prompts).map(|_| denied("no")).collect();
            duo.statuses.push_back(last);
        });
        assert_eq!(*person.next.borrow(), next, "{prompts}");
    }
}

#[test]
fn failmode_counts_until_duo_has_answered_and_never_after() {
    let down = || Error::Service("HTTP 503".into());
    for (lines, outcome) in [
        ("failmode = safe", Outcome::Failsafe),
        ("failmode = secure", Outcome::Failsecure),
        ("", Outcome::Failsafe),
    ] {
        let person = ScriptedPerson::typing(&["1"]);
        let (over, _) = attempt(lines, &Extras::default(), &person, |duo| {
            duo.preauths = [Some(Err(down()))].into();
        });
        assert_eq!(over.outcome(), (outcome, "HTTP 503"), "{lines:?}");

        let at_auth = attempt(
            lines,
            &Extras::default(),
            &ScriptedPerson::typing(&["1"]),
            |duo| {
                duo.auths = [Err(down())].into();
            },
        );
        let at_status = attempt(
            lines,
            &Extras::default(),
            &ScriptedPerson::typing(&["1"]),
            |duo| {
                duo.statuses = [waiting("Pushed"), Err(down())].into();
            },
        );
        let at_second = attempt(
            lines,
            &Extras::default(),
            &ScriptedPerson::typing(&["1"; 2]),
            |duo| {
                duo.statuses = [denied("no")].into();
                duo.preauths = [None, Some(Err(down()))].into();
            },
        );
        let rate_limited = attempt(
            lines,
            &Extras::default(),
            &ScriptedPerson::typing(&[]),
            |duo| {
                duo.preauths = [Some(Err(down()))].into();
                duo.answered = Answered::Yes;
            },
        );
        for (over, _) in [at_auth, at_status, at_second, rate_limited] {
            assert_eq!(over.outcome(), (Outcome::Error, "HTTP 503"), "{lines:?}");
        }
    }
}

#[test]
fn a_person_who_gives_up_is_not_let_in_by_failmode() {
    let person = ScriptedPerson::typing(&[]);
    let (over, _) = attempt("failmode = safe", &Extras::default(), &person, |_| ());
    assert_eq!(over.outcome(), (Outcome::Aborted, "end of input"));
}

#[test]
fn a_server_that_answers_auth_at_once_is_not_polled() {
    let person = ScriptedPerson::typing(&["1"]);
    let (over, calls) = attempt("", &Extras::default(), &person, |duo| {
        duo.auths = [allowed().map(Auth::Settled)].into();
    });
    assert_eq!(over.outcome(), (Outcome::Successful, "push1"));
    assert_eq!(calls, ["preauth", "auth push1"]);
}

#[test]
fn a_wait_ends_after_five_minutes_however_long_a_poll_lasts() {
    for poll in [0, 1, 60, 75, 400].map(Duration::from_secs) {
        let clock = TestClock::new();
        let mut duo = ScriptedDuo::new(&clock);
        duo.poll = poll;
        let person = ScriptedPerson::nobody();
        let over = log_in("failmode = safe", &Extras::default(), &mut duo, &person);
        let outcome = (Outcome::Failed, "authentication timed out");
        assert_eq!(over.outcome(), outcome, "{poll:?}");
        let minutes = Duration::from_secs(300);
        let passed = clock.passed();
        assert!(passed >= minutes, "{poll:?}: {passed:?}");
        assert!(passed <= minutes + Duration::from_millis(500), "{passed:?}");
        assert!(duo.polls.iter().all(|at| *at < minutes), "{poll:?}");
        assert!(person.must_hear("authentication timed out"));
    }
}

#[test]
fn a_poll_that_fails_when_the_time_is_up_is_a_timeout() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.poll = Duration::from_secs(400);
    duo.statuses = [Err(Error::Service("timed out".into()))].into();
    let over = log_in("", &Extras::default(), &mut duo, &ScriptedPerson::nobody());
    assert_eq!(
        over.outcome(),
        (Outcome::Failed, "authentication timed out")
    );
}

#[test]
fn an_answer_with_news_is_followed_by_the_next_poll_at_once() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.statuses = [waiting("Pushed"), allowed()].into();
    log_in("", &Extras::default(), &mut duo, &ScriptedPerson::nobody());
    assert_eq!(duo.polls, [Duration::ZERO; 2]);
}

#[test]
fn polls_answered_at_once_with_nothing_new_go_out_twice_a_second_and_no_faster() {
    for poll in [0, 10, 499].map(Duration::from_millis) {
        let clock = TestClock::new();
        let mut duo = ScriptedDuo::new(&clock);
        duo.poll = poll;
        log_in("", &Extras::default(), &mut duo, &ScriptedPerson::nobody());
        let gaps: Vec<_> = duo.polls.windows(2).map(|two| two[1] - two[0]).collect();
        let half = Duration::from_millis(500);
        // The first answer is news, all others repeat it.
        assert_eq!(gaps[0], poll);
        assert!(gaps[1..].iter().all(|gap| *gap == half), "{poll:?}");
    }
    // A poll that lasted is followed at once.
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.poll = Duration::from_secs(2);
    log_in("", &Extras::default(), &mut duo, &ScriptedPerson::nobody());
    assert_eq!(duo.polls[1], Duration::from_secs(2));
}

#[test]
fn a_server_with_ever_new_texts_does_not_make_us_spin() {
    let clock = TestClock::new();
    let mut duo = ScriptedDuo::new(&clock);
    duo.statuses = (0..900).map(|n| waiting(&format!("text {n}"))).collect();
    let person = ScriptedPerson::nobody();
    let over = log_in("", &Extras::default(), &mut duo, &person);
    assert_eq!(over.outcome().1, "authentication timed out");
    let shown = person.shown.borrow();
    let texts = shown.iter().filter(|text| text.starts_with("text "));
    assert_eq!(texts.count(), MOST_TEXTS);
    assert_eq!(duo.count("status"), 600 + MOST_TEXTS);
}

#[test]
fn each_text_of_a_wait_is_told_once() {
    let person = ScriptedPerson::nobody();
    let (over, _) = attempt("", &Extras::default(), &person, |duo| {
        let texts = ["Pushed", "Pushed", "", "Answer", "Pushed"];
        duo.statuses = texts.map(waiting).into();
        duo.statuses.push_back(allowed());
    });
    assert_eq!(over.verdict.outcome, Outcome::Successful);
    let shown = person.shown.borrow();
    assert_eq!(shown.iter().filter(|text| *text == "Pushed").count(), 1);
    assert_eq!(shown.iter().filter(|text| *text == "Answer").count(), 1);
    assert!(!shown.contains(&String::new()));
}

#[test]
fn the_code_of_a_verified_push_reaches_those_who_cannot_be_asked() {
    let code = "Please enter verification code 708 into Duo Mobile";
    for (key, must_hear) in [("3", true), ("1", false)] {
        let person = ScriptedPerson::typing(&[key]);
        attempt("verified_push = yes", &Extras::default(), &person, |duo| {
            duo.statuses = [waiting(code), allowed()].into();
        });
        assert!(person.heard(code));
        assert_eq!(person.must_hear(code), must_hear);
    }
}
