//! install.sh, on every path: in throw-away roots (DESTDIR, a home folder), and on this machine
//! behind a real sshd.
//!
//! The latter run each in a mount namespace of its own, with copies of /etc, /usr and /run: they
//! may create users and rewrite sshd's configuration, and nothing of it is there afterwards.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a test's name says what it is about, and a test may panic"
)]

mod machine;
mod on_the_machine;
mod throw_away;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait more than they work.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let missing = machine::missing();
    let required = std::env::var_os("LOGIN_DUO_E2E").is_some_and(|value| value == "required");
    let mut trials: Vec<Trial> = throw_away::TESTS.iter().map(|test| here(*test)).collect();
    for test in on_the_machine::TESTS.iter().copied() {
        trials.push(match &missing {
            None if machine::is_a_copy() => here(test),
            None => Trial::test(test.0, move || Ok(machine::run_in_a_copy(test.0)?)),
            Some(what) if required => {
                let what = what.clone();
                Trial::test(test.0, move || Err(Failed::from(what)))
            }
            Some(_) => here(test).with_ignored_flag(true),
        });
    }
    if let Some(what) = missing.filter(|_| !arguments.list) {
        eprintln!("tests on the machine: {what}");
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test and its name.
type Test = (&'static str, fn());

fn here((name, run): Test) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}
