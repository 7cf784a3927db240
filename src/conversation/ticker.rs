//! The ticker: the terminal's last line while Duo waits for the person. It counts
//! the seconds, and is erased at the end.
//!
//! After each second the ticker puts the cursor at the start of its line. So the
//! parent, which ends the login after Ctrl-C, need not know whether that line is
//! there: it erases what is right of the cursor.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use duo_policy::text::Charset;
use duo_system::output::write_patiently;
use duo_system::privsep::THREAD_STACK;

/// Moves the cursor to the start of the line, and erases the line.
const ERASE: &str = "\r\x1b[K";

/// The thread that writes the line.
pub struct Ticker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    since: Instant,
}

impl Ticker {
    /// Starts a ticker that counts from `since`. `None` if the thread cannot start:
    /// then only the line is missing.
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

    /// Erases the line, and returns since when the ticker counted.
    pub fn stop(self) -> Instant {
        drop(self.stop);
        let _ = self.thread.join();
        self.since
    }
}

/// The time until the next full second since `since`.
fn next_second(since: Instant) -> Duration {
    let part = Duration::from_nanos(u64::from(since.elapsed().subsec_nanos()));
    Duration::from_secs(1).saturating_sub(part)
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
        assert!(next_second(Instant::now()) <= Duration::from_secs(1));
        let since = Instant::now().checked_sub(Duration::from_millis(2_900));
        assert!(since.is_some_and(|since| next_second(since) <= Duration::from_millis(100)));
    }
}
