//! The end of a run in which a test waits for a program that does not end.

use std::sync::Once;
use std::time::Duration;

/// No run takes this long, with a build of what the demo needs either.
const LONGEST: Duration = Duration::from_secs(1_800);

/// Ends this run then, since a run that hangs says nothing. What is missing above its last
/// words is the test that hangs.
pub fn end_a_run_that_hangs() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        std::thread::spawn(|| {
            std::thread::sleep(LONGEST);
            eprintln!("FAILED: a test has run for {LONGEST:?}");
            std::process::exit(1);
        });
    });
}
