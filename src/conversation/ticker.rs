//! The terminal's last line while Duo waits for the person: it counts the
//! seconds, and leaves no trace.
//!
//! After each second the cursor goes back to the line's start. So whoever ends
//! the login in our place (the parent, after Ctrl-C) need not know whether a
//! line was there: erasing what is right of the cursor is always right.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use duo_policy::text::Charset;
use duo_system::output::write_patiently;
use duo_system::privsep::THREAD_STACK;

/// Back to the line's start, and erase to its end.
const ERASE: &str = "\r\x1b[K";

/// A line that counts.
pub struct Ticker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    since: Instant,
}

impl Ticker {
    /// Counts from `since`. Without a thread there is no counter, and nothing
    /// worse.
    pub fn start(
        output: &File,
        charset: Charset,
        since: Instant,
        patience: Duration,
    ) -> Option<Ticker> {
        let output = output.try_clone().ok()?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ticker".to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                let write =
                    |text: &str| write_patiently(output.as_fd(), text.as_bytes(), patience).is_ok();
                let mut shown = false;
                while stopped.recv_timeout(next_second(since)) == Err(RecvTimeoutError::Timeout) {
                    let columns = super::terminal::size(&output).map_or(80, |size| size.columns);
                    let line = line(since.elapsed().as_secs(), charset, columns);
                    shown |= write(&format!("{ERASE}{line}\r"));
                }
                if shown {
                    write(ERASE);
                }
            })
            .ok()?;
        Some(Ticker {
            stop,
            thread,
            since,
        })
    }

    /// Erases the line; returns when the waiting began.
    pub fn stop(self) -> Instant {
        drop(self.stop);
        let _ = self.thread.join();
        self.since
    }
}

fn next_second(since: Instant) -> Duration {
    let part = Duration::from_nanos(u64::from(since.elapsed().subsec_nanos()));
    Duration::from_secs(1).saturating_sub(part)
}

/// The longest text that does not wrap: half of a wrapped line would stay.
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
    fn the_counter_never_wraps() {
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
    fn it_counts_on_the_full_second() {
        assert!(next_second(Instant::now()) <= Duration::from_secs(1));
        let since = Instant::now().checked_sub(Duration::from_millis(2_900));
        assert!(since.is_some_and(|since| next_second(since) <= Duration::from_millis(100)));
    }
}
