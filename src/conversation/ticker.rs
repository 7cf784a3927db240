//! The ticker: the terminal's last line while Duo waits for the person. It counts the
//! seconds, and is erased at the end.
//!
//! The line above it is the person's: there the kernel shows what they type. An
//! unfinished line is known to the kernel alone, since the terminal's settings are not
//! changed. So whatever is written leaves that line and the cursor where they are: the
//! ticker stands below the cursor, and texts are inserted above it.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use duo_policy::text::Charset;
use duo_system::output::write_patiently;
use duo_system::wait::Waiter;
use duo_wire::WaitingFor;

use super::terminal::size;

/// Moves the cursor to the start of its line, and erases all from there.
pub const ERASE: &str = "\r\x1b[J";

/// Moves the cursor up, after an empty line of the person's.
pub const BACK: &str = "\x1b[A";

/// A vertical tab moves the cursor down in its column. At the bottom of the screen it
/// scrolls, and so makes room for a line below.
const DOWN: &str = "\x0b";

/// The line, which the waiter writes anew after each second.
pub struct Ticker(Rc<Line>);

struct Line {
    output: File,
    charset: Charset,
    since: Instant,
    waiting_for: Cell<WaitingFor>,
    /// Whether the line was written.
    is_shown: Cell<bool>,
}

impl Ticker {
    /// Starts a ticker, whose line comes after a second. `None` if the terminal cannot
    /// be opened again: then only the line is missing.
    pub fn start(
        output: &File,
        charset: Charset,
        waiting_for: WaitingFor,
        waiter: &Waiter<'_>,
    ) -> Option<Ticker> {
        let since = waiter.now();
        let line = Rc::new(Line {
            output: output.try_clone().ok()?,
            charset,
            since,
            waiting_for: Cell::new(waiting_for),
            is_shown: Cell::new(false),
        });
        let ticker = Ticker(Rc::clone(&line));
        let tick = move |now: Instant| {
            line.draw(now);
            Some(next_second(since, now))
        };
        waiter.start_ticking(next_second(since, since), Box::new(tick));
        Some(ticker)
    }

    /// What the person waits for from here on.
    pub fn set(&self, waiting_for: WaitingFor, now: Instant) {
        self.0.waiting_for.set(waiting_for);
        self.draw_again(now);
    }

    /// Draws the line below the cursor, wherever that is now, if it was drawn before.
    pub fn draw_again(&self, now: Instant) {
        if self.0.is_shown.get() {
            self.0.draw(now);
        }
    }
}

impl Line {
    fn draw(&self, now: Instant) {
        let columns = size(&self.output).map_or(80, |size| size.columns);
        let seconds = now.saturating_duration_since(self.since).as_secs();
        let text = line(self.waiting_for.get(), seconds, self.charset, columns);
        // Room below; save the cursor, erase what is right of it and below, one line
        // down, the text, and the cursor back.
        let bytes = format!("{DOWN}\x1b[A\x1b7\x1b[J\x1b[B\r{text}\x1b8");
        // A terminal that was stopped gets no line, and holds nothing up.
        let written = write_patiently(self.output.as_fd(), bytes.as_bytes(), Duration::ZERO);
        self.is_shown.set(self.is_shown.get() || written.is_ok());
    }
}

/// The bytes that insert `text`, which is harmless, above the line of the cursor; `None`
/// if it fills the terminal. Each line of it ends with a newline. `plain` is the same
/// text without escapes.
pub fn inserted(text: &str, plain: &str, output: &File) -> Option<String> {
    let size = size(output)?;
    let rows: usize = plain.lines().map(|line| rows(line, size.columns)).sum();
    if rows + 2 > size.rows {
        return None;
    }
    let room = DOWN.repeat(rows);
    let text = text.strip_suffix('\n').unwrap_or(text);
    Some(format!(
        "{room}\x1b[{rows}A\x1b7\r\x1b[{rows}L{text}\x1b8\x1b[{rows}B"
    ))
}

/// How many lines of a terminal a line takes.
fn rows(line: &str, columns: usize) -> usize {
    let width = |letter| match letter {
        '\t' => 8,
        // Letters of East Asia, and pictures.
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    };
    let width: usize = line.chars().map(width).sum();
    width.div_ceil(columns.max(1)).max(1)
}

/// The next full second since `since`.
fn next_second(since: Instant, now: Instant) -> Instant {
    let passed = now.saturating_duration_since(since).as_secs();
    since + Duration::from_secs(passed + 1)
}

/// What is waited for, in words; the longer ones first.
fn words(waiting_for: WaitingFor) -> [(&'static str, &'static str); 3] {
    match waiting_for {
        WaitingFor::ApprovalOrPasscode => [
            (
                "waiting for your approval",
                ", or type a passcode (Ctrl-C gives up)",
            ),
            ("waiting for your approval", ", or type a passcode"),
            ("waiting", ", or type a passcode"),
        ],
        WaitingFor::Approval => [
            ("waiting for your approval", ", Ctrl-C gives up"),
            ("waiting", ", Ctrl-C gives up"),
            ("waiting", ""),
        ],
        WaitingFor::Duo => [
            ("waiting for Duo", ", Ctrl-C gives up"),
            ("waiting", ", Ctrl-C gives up"),
            ("waiting", ""),
        ],
    }
}

/// The one line of a terminal that has no ticker.
pub fn sentence(waiting_for: WaitingFor) -> String {
    let [(begin, end), ..] = words(waiting_for);
    format!("{begin}{end}\n")
}

/// The longest text that fits in a line of the terminal, so that it stays one line.
fn line(waiting_for: WaitingFor, seconds: u64, charset: Charset, columns: usize) -> String {
    let dots = charset.ellipsis();
    words(waiting_for)
        .map(|(begin, end)| format!("{begin}{dots} {seconds} s{end}"))
        .into_iter()
        .chain([format!("{seconds} s")])
        .find(|text| text.chars().count() < columns)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [WaitingFor; 3] = [
        WaitingFor::ApprovalOrPasscode,
        WaitingFor::Approval,
        WaitingFor::Duo,
    ];

    #[test]
    fn the_line_never_wraps_and_says_that_a_passcode_can_be_typed() {
        let usual = WaitingFor::ApprovalOrPasscode;
        assert_eq!(
            line(usual, 12, Charset::Utf8, 80),
            "waiting for your approval… 12 s, or type a passcode (Ctrl-C gives up)"
        );
        assert_eq!(
            line(usual, 299, Charset::Ascii, 40),
            "waiting... 299 s, or type a passcode"
        );
        assert_eq!(
            line(WaitingFor::Approval, 12, Charset::Ascii, 40),
            "waiting... 12 s, Ctrl-C gives up"
        );
        for columns in 0..90 {
            for waiting_for in ALL {
                let text = line(waiting_for, 299, Charset::Utf8, columns);
                assert!(text.is_empty() || text.chars().count() < columns, "{text}");
            }
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

    #[test]
    fn a_text_takes_as_many_lines_as_a_terminal_needs_for_it() {
        for (text, lines) in [
            ("", 1),
            ("1234567890", 1),
            ("12345678901", 2),
            ("プッシュ", 1),
            ("プッシュを送信", 2),
            ("\t\t", 2),
        ] {
            assert_eq!(rows(text, 10), lines, "{text}");
        }
    }
}
