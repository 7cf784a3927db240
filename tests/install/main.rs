//! install.sh, on every path: in throw-away roots (DESTDIR, a home folder), and on this machine
//! behind a real sshd.
//!
//! The latter run in a mount namespace of their own, with copies of /etc, /usr and /run: they may
//! create users and rewrite sshd's configuration, and nothing of it is there afterwards.
#![allow(missing_docs, reason = "a test's name says what it is about")]

mod machine;
mod on_the_machine;
mod throw_away;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share the copies.
    arguments.test_threads = Some(1);
    let missing = match arguments.list {
        true => machine::missing(),
        false => machine::enter_a_copy_of_this_machine(),
    };
    let required = std::env::var_os("LOGIN_DUO_E2E").is_some_and(|value| value == "required");
    let mut trials: Vec<Trial> = throw_away::TESTS.iter().map(trial).collect();
    for test in on_the_machine::TESTS {
        trials.push(match &missing {
            None => trial(test),
            Some(what) if required => {
                let what = what.clone();
                Trial::test(test.0, move || Err(Failed::from(what)))
            }
            Some(_) => trial(test).with_ignored_flag(true),
        });
    }
    if let (Some(what), false) = (&missing, arguments.list) {
        eprintln!("tests on the machine are ignored: {what}");
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test and its name.
type Test = (&'static str, fn());

fn trial(test: &Test) -> Trial {
    let (name, run) = *test;
    Trial::test(name, move || {
        run();
        Ok(())
    })
}
