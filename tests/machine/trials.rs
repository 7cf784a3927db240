//! Tests as a harness of our own runs them: each says what it needs.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

use super::{namespaces, needs};

/// One test: its name, what it needs, and what it does.
pub type Test = (&'static str, &'static [&'static str], fn());

/// No test takes this long, even with many logins on a busy machine. The run ends then
/// and names the test, since a run that hangs says nothing.
const LONGEST: Duration = Duration::from_secs(600);

/// The tests that run now, and since when.
static RUNNING: Mutex<Vec<(&'static str, Instant)>> = Mutex::new(Vec::new());

/// The tests of modules by their functions' names.
macro_rules! tests {
    ($($module:tt: $needs:tt { $($name:ident),* $(,)? })*) => {
        vec![$($(test!($module $needs $name),)*)*]
    };
}

macro_rules! test {
    (() $needs:tt $name:ident) => {
        (stringify!($name), &$needs as &[&str], $name as fn())
    };
    (($($module:ident)::+) $needs:tt $name:ident) => {{
        let name = concat!($(stringify!($module), "::",)+ stringify!($name));
        (name, &$needs as &[&str], $($module::)+$name as fn())
    }};
}

/// Runs these, so many side by side unless the command line says it, in
/// namespaces of their own where they can be made. What is missing for a test
/// shows as ignored; with `LOGIN_DUO_E2E=required` the test fails.
pub fn run_tests(tests: Vec<Test>, side_by_side: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(side_by_side));
    if !arguments.list {
        namespaces::enter();
        std::thread::spawn(end_a_run_that_hangs);
    }
    let trials = tests.into_iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The test as it can be run here.
fn trial((name, needs, run): Test) -> Trial {
    // Whoever made a copy has looked for what its test needs.
    let missing = match namespaces::in_a_copy() {
        true => None,
        false => needs::missing(needs),
    };
    if let Some(missing) = missing {
        let why = format!("needs {missing}");
        let required = needs::required(needs);
        let kind = why.clone();
        return Trial::test(name, || Err(Failed::from(why)))
            .with_kind(kind)
            .with_ignored_flag(!required);
    }
    Trial::test(name, move || {
        let _running = Running::begin(name);
        if needs.contains(&"a copy") && !namespaces::in_a_copy() {
            return Ok(namespaces::run_in_a_copy(name)?);
        }
        run();
        Ok(())
    })
}

/// A test that runs, for as long as this lives.
struct Running(&'static str);

impl Running {
    fn begin(name: &'static str) -> Running {
        RUNNING.lock().unwrap().push((name, Instant::now()));
        Running(name)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.lock().unwrap().retain(|(name, _)| *name != self.0);
    }
}

/// Ends this process once a test has run for [`LONGEST`]. The kernel ends with it all
/// that the tests have started.
fn end_a_run_that_hangs() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        for (name, begun) in RUNNING.lock().unwrap().iter() {
            if begun.elapsed() > LONGEST {
                eprintln!("test {name} ... FAILED: it has run for {LONGEST:?}");
                std::process::exit(1);
            }
        }
    }
}
