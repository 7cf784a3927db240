//! The log: one line format, and the only door through which text from outside
//! reaches it or a terminal.
//!
//! What it must withstand: escape sequences, line breaks that forge a second
//! line, quotes that forge a field, bidirectional tricks, half a UTF-8 letter
//! on an 8-bit terminal, a reader of stderr that has stopped reading.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::syslog::{Severity, syslog};

/// The longest text from outside that is shown, in characters.
const LONGEST: usize = 1_000;

/// What a reader's locale is known to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// The locale says UTF-8.
    Utf8,
    /// It says something else, or nothing.
    Ascii,
}

impl Charset {
    /// What stands for what was left out.
    pub fn ellipsis(self) -> &'static str {
        match self {
            Charset::Utf8 => "…",
            Charset::Ascii => "...",
        }
    }
}

/// How bad it is, in syslog's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Priority 3.
    Error,
    /// Priority 4.
    Warning,
    /// Priority 6.
    Info,
}

impl Priority {
    /// syslog's number.
    pub fn number(self) -> u8 {
        match self {
            Priority::Error => 3,
            Priority::Warning => 4,
            Priority::Info => 6,
        }
    }

    fn severity(self) -> Severity {
        match self {
            Priority::Error => Severity::LOG_ERR,
            Priority::Warning => Severity::LOG_WARNING,
            Priority::Info => Severity::LOG_INFO,
        }
    }
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// syslog, facility authpriv, identity `login_duo` with the pid.
    Syslog,
    /// stderr, as `[N] text` (`-d`).
    Stderr,
    /// Both: `-d` from a caller who is not to be trusted, and whose login must
    /// leave its trace whatever options they choose.
    Both,
}

/// The log of one process. Make it after the fork: a syslog descriptor that
/// crosses it could end up being Duo's socket.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    sink: Sink,
    charset: Charset,
}

impl Log {
    /// Opens the log. Nothing fails: a machine without a syslog still logs in.
    /// (`privsep::take_over` has named us to syslog.)
    pub fn open(sink: Sink, charset: Charset) -> Log {
        Log { sink, charset }
    }

    /// Writes one line. `text` may hold anything: it is made one harmless line.
    pub fn line(&self, priority: Priority, text: &str) {
        let text = one_line(text, self.charset);
        if matches!(self.sink, Sink::Syslog | Sink::Both) {
            let _ = syslog(priority.severity(), text.as_ref());
        }
        if matches!(self.sink, Sink::Stderr | Sink::Both) {
            let line = format!("[{}] {text}\n", priority.number());
            let _ = write_patiently(io::stderr().as_fd(), line.as_bytes(), PATIENCE);
        }
    }

    /// A line that does not end the login but that someone should read.
    pub fn warning(&self, text: &str) {
        self.line(Priority::Warning, text);
    }

    /// A line for the record.
    pub fn info(&self, text: &str) {
        self.line(Priority::Info, text);
    }
}

/// Who logs in, as the log names them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The name that Duo knows.
    pub duo_user: String,
    /// The client's address as we were told it, if we were.
    pub client: Option<String>,
}

/// `<outcome> Duo login for '<duo user>'[ from <client>][: <detail>]`
pub fn login_line(outcome: &str, who: &Who, detail: &str) -> String {
    let mut line = format!("{outcome} Duo login for '{}'", quoted(&who.duo_user));
    if let Some(client) = &who.client {
        line.push_str(" from ");
        line.push_str(&client_field(client));
    }
    if !detail.is_empty() {
        line.push_str(": ");
        line.push_str(detail);
    }
    line
}

/// A name between quotes cannot end them.
pub fn quoted(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for letter in name.chars() {
        if matches!(letter, '\'' | '\\') {
            safe.push('\\');
        }
        safe.push(letter);
    }
    shortened(&safe, Charset::Ascii).into_owned()
}

/// A client's address has few letters; any other could forge a field.
fn client_field(client: &str) -> String {
    let safe: String = client
        .chars()
        .map(|letter| match letter {
            '.' | ':' | '%' | '_' | '-' => letter,
            _ if letter.is_ascii_alphanumeric() => letter,
            _ => '?',
        })
        .collect();
    shortened(&safe, Charset::Ascii).into_owned()
}

/// Text from outside for the log: one line, nothing but letters.
pub fn one_line(text: &str, charset: Charset) -> Cow<'_, str> {
    sanitised(text, charset, &[])
}

/// Text from outside for a terminal: lines and tabs stay.
pub fn for_terminal(text: &str, charset: Charset) -> Cow<'_, str> {
    sanitised(text, charset, &['\n', '\t'])
}

fn sanitised<'a>(text: &'a str, charset: Charset, kept: &[char]) -> Cow<'a, str> {
    let unsafe_letter = |letter: char| !kept.contains(&letter) && is_unsafe(letter, charset);
    let text = shortened(text, charset);
    if !text.contains(unsafe_letter) {
        return text;
    }
    Cow::Owned(text.replace(unsafe_letter, "?"))
}

/// Whether a terminal or a log's reader could take `letter` for an order.
fn is_unsafe(letter: char, charset: Charset) -> bool {
    match letter {
        // The ellipsis of `shortened` is put in for a known charset only.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => true,
        _ => charset == Charset::Ascii && !letter.is_ascii(),
    }
}

fn shortened(text: &str, charset: Charset) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        None => Cow::Borrowed(text),
        Some((end, _)) => {
            let kept = text.get(..end).unwrap_or_default();
            Cow::Owned(format!("{kept}{}", charset.ellipsis()))
        }
    }
}

/// How long a full pipe or a stopped terminal may hold a line up.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// As much as goes out at once: below what `poll` promises room for.
const CHUNK: usize = 128;

/// Writes to a descriptor that others share, so O_NONBLOCK may not be set on
/// it: waits for room, at most `patience` in all, and drops what is left then.
///
/// # Errors
/// The system's, `TimedOut`, or `WriteZero`.
pub fn write_patiently(to: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let end = Instant::now() + patience;
    for chunk in bytes.chunks(CHUNK) {
        let mut left = chunk;
        while !left.is_empty() {
            wait_for_room(to, end)?;
            match nix::unistd::write(to, left) {
                // What a caller gives us may always have room, and never take a byte.
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(nix::Error::EINTR | nix::Error::EAGAIN) if Instant::now() < end => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn wait_for_room(to: BorrowedFd<'_>, end: Instant) -> io::Result<()> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
        match poll(&mut fds, timeout) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, client: &str) -> Who {
        Who {
            duo_user: name.into(),
            client: Some(client.into()),
        }
    }

    #[test]
    fn a_line_has_the_shape_that_log_readers_expect() {
        assert_eq!(
            login_line("Successful", &who("alice", "192.0.2.7"), "push1"),
            "Successful Duo login for 'alice' from 192.0.2.7: push1"
        );
        let nobody = Who {
            duo_user: "bob".into(),
            client: None,
        };
        assert_eq!(
            login_line("Aborted", &nobody, ""),
            "Aborted Duo login for 'bob'"
        );
    }

    #[test]
    fn a_name_cannot_forge_a_field() {
        let line = login_line("Failed", &who("a' from 192.0.2.1: \\", "x' y\n[1]"), "no");
        assert_eq!(
            line,
            r"Failed Duo login for 'a\' from 192.0.2.1: \\' from x??y??1?: no"
        );
    }

    #[test]
    fn control_and_direction_characters_become_question_marks() {
        let nasty = "a\x1b[2J\r\n\u{9b}31m\u{202e}\u{200b}\u{feff}\u{61c}\u{2066}z\x7f";
        assert_eq!(one_line(nasty, Charset::Utf8), "a?[2J???31m?????z?");
        assert_eq!(for_terminal("a\tb\nc\rd", Charset::Utf8), "a\tb\nc?d");
        assert_eq!(one_line("zoë", Charset::Utf8), "zoë");
        assert_eq!(one_line("zoë", Charset::Ascii), "zo?");
    }

    #[test]
    fn overlong_text_is_cut_on_a_character() {
        let long = "ë".repeat(5_000);
        assert_eq!(one_line(&long, Charset::Utf8).chars().count(), LONGEST + 1);
        assert!(one_line(&"x".repeat(5_000), Charset::Ascii).ends_with("x..."));
    }

    #[test]
    fn a_full_pipe_does_not_hold_a_line_up_for_ever() {
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        let much = vec![b'x'; 1 << 20];
        let error = write_patiently(writer.as_fd(), &much, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_never_takes_a_byte_does_not_hold_a_line_up_for_ever() {
        let mut other = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let memory = std::fs::File::options()
            .write(true)
            .open(format!("/proc/{}/mem", other.id()))
            .unwrap();
        drop(other.stdin.take());
        other.wait().unwrap();
        // The memory of a process that is no more: poll sees room, write takes nothing.
        let error = write_patiently(memory.as_fd(), b"x", PATIENCE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
