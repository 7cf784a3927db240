//! The ticker: the terminal's last line while Duo waits for the person. It counts
//! the seconds, and is erased at the end.
//!
//! After each second the ticker puts the cursor at the start of its line. So the
//! parent, which ends the login after Ctrl-C, need not know whether that line is
//! there: it erases what is right of the cursor.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use duo_policy::text::Charset;
use duo_system::output::write_patiently;
use duo_system::wait::Waiter;

/// Moves the cursor to the start of the line, and erases the line.
const ERASE: &str = "\r\x1b[K";

/// The line, which the waiter writes anew after each second.
pub struct Ticker {
    /// Whether the line was written.
    is_shown: Rc<Cell<bool>>,
    since: Instant,
}

impl Ticker {
    /// Starts a ticker that counts from `since`. `None` if the terminal cannot be
    /// opened again: then only the line is missing.
    pub fn start(
        output: &File,
        charset: Charset,
        since: Instant,
        waiter: &Waiter<'_>,
    ) -> Option<Ticker> {
        let output = output.try_clone().ok()?;
        let is_shown = Rc::new(Cell::new(false));
        let shown = Rc::clone(&is_shown);
        let tick = move |now: Instant| {
            let columns = super::terminal::size(&output).map_or(80, |size| size.columns);
            let seconds = now.saturating_duration_since(since).as_secs();
            let line = format!("{ERASE}{}\r", line(seconds, charset, columns));
            // A terminal that was stopped gets no line, and holds nothing up.
            let written = write_patiently(output.as_fd(), line.as_bytes(), Duration::ZERO);
            shown.set(shown.get() || written.is_ok());
            Some(next_second(since, now))
        };
        waiter.start_ticking(next_second(since, waiter.now()), Box::new(tick));
        Some(Ticker { is_shown, since })
    }

    /// Stops, and erases the line if it is there. Returns since when the ticker
    /// counted.
    pub fn stop(self, output: &File, patience: Duration, waiter: &Waiter<'_>) -> Instant {
        waiter.stop_ticking();
        if self.is_shown.get() {
            let _ = write_patiently(output.as_fd(), ERASE.as_bytes(), patience);
        }
        self.since
    }
}

/// The next full second since `since`.
fn next_second(since: Instant, now: Instant) -> Instant {
    let passed = now.saturating_duration_since(since).as_secs();
    since + Duration::from_secs(passed + 1)
}

/// The longest of three texts that fits in a line of the terminal. Of a text that
/// wraps, only the last line would be erased.
fn line(seconds: u64, charset: Charset, columns: usize) -> String {
    let dots = charset.ellipsis();
    [
        format!("waiting for your approval{dots} {seconds} s, Ctrl-C gives up"),
        format!("waiting{dots} {seconds} s, Ctrl-C gives up"),
        format!("{seconds} s"),
    ]
    .into_iter()
    .find(|text| text.chars().count() < columns)
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_never_wraps() {
        assert_eq!(
            line(12, Charset::Utf8, 80),
            "waiting for your approval… 12 s, Ctrl-C gives up"
        );
        assert_eq!(
            line(12, Charset::Ascii, 40),
            "waiting... 12 s, Ctrl-C gives up"
        );
        for columns in 0..60 {
            let text = line(299, Charset::Utf8, columns);
            assert!(text.is_empty() || text.chars().count() < columns, "{text}");
        }
    }

    #[test]
    fn the_ticker_counts_on_the_full_second() {
        let since = Instant::now();
        for (passed, next) in [(0, 1_000), (999, 1_000), (1_000, 2_000), (2_900, 3_000)] {
            let [now, next] = [passed, next].map(|ms| since + Duration::from_millis(ms));
            assert_eq!(next_second(since, now), next);
        }
    }
}
