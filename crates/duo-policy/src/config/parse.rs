//! From the bytes of the file to its decisions. The whole file is read whatever is wrong with it, so
//! that all mistakes are reported at once. A value is read only after its indented lines are joined
//! to it.

use std::time::Duration;

use super::ini::{self, Line};
use super::keys::{self, Key, KeyKind, Reading, Value};
use super::{
    Broken, Config, Facility, Failmode, Gecos, MAX_SIZE, MinTls, Parsed, Problem, ProblemKind,
    Remember, Signature,
};
use crate::groups::Groups;

/// Reads a configuration file.
///
/// # Errors
/// Every mistake in it. A file that is longer than [`MAX_SIZE`] or holds a NUL byte is not read at
/// all.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Broken> {
    if let Some(problem) = unreadable(bytes) {
        return Err(Broken {
            problems: vec![problem],
            warnings: Vec::new(),
            failmode: None,
            sandbox: true,
            syslog_facility: Facility::AUTHPRIV,
        });
    }
    let mut parser = Parser::of(bytes);
    let config = parser.config();
    let failmode = parser.certain_failmode();
    let sandbox = parser.line_that_sets("sandbox", false).is_none();
    let syslog_facility = parser.syslog_facility;
    let (problems, warnings) = (in_order(parser.problems), in_order(parser.warnings));
    match config {
        Some(config) if problems.is_empty() => Ok(Parsed { config, warnings }),
        _ => Err(Broken {
            problems,
            warnings,
            failmode,
            sandbox,
            syslog_facility,
        }),
    }
}

/// The keys of this program that the file has, whatever their values are.
pub fn keys_in(file: &[u8]) -> impl Iterator<Item = Key> {
    ini::lines(file).filter_map(|(_, line)| match line {
        Line::Entry { key, .. } => keys::KEYS
            .iter()
            .copied()
            .find(|it| it.name.as_bytes() == key),
        _ => None,
    })
}

/// Whether a line of the file begins with the word `remember`: never false for a file that
/// sets this key. Root calls this function, and root parses no configuration: so it knows
/// neither sections nor values, and a wrong `true` only makes root read /proc in vain
/// (docs/security.md, *Remembered connections*).
pub fn may_remember(file: &[u8]) -> bool {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    let mut lines = file.split(|byte| *byte == b'\n');
    lines.any(|line| line.trim_ascii_start().starts_with(b"remember"))
}

/// The keys whose values are not the same in both files, aliases resolved. Comments, blank lines and
/// the order of the keys do not count.
pub fn keys_that_differ(one: &[u8], two: &[u8]) -> Vec<Key> {
    let (one, two) = (Parser::of(one), Parser::of(two));
    let is_told = |key: &&Key| !matches!(key.kind, KeyKind::Alias(_));
    let differs = |key: &Key| one.texts(key).ne(two.texts(key));
    let known = keys::KEYS.iter().filter(is_told).copied();
    known.filter(differs).collect()
}

/// Why nothing of the file is read, if so.
fn unreadable(bytes: &[u8]) -> Option<Problem> {
    if bytes.len() > MAX_SIZE {
        return Some(Problem::too_long());
    }
    let before = bytes.split(|byte| *byte == 0).next()?;
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let text = "has a NUL byte, so nothing of the file is read";
    (before.len() < bytes.len()).then(|| Problem::in_line(ProblemKind::Content, Some(line), text))
}

/// The first 100 `problems` by line, those of the whole file last. A file of garbage can have a mistake
/// on each of half a million lines, and so many lines would hide everything else in the log.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    const MOST: usize = 100;
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    let more = problems.len().saturating_sub(MOST);
    problems.truncate(MOST);
    if more > 0 {
        let text = format!("and {more} more of these");
        problems.push(Problem::in_line(ProblemKind::Content, None, text));
    }
    problems
}

/// The entries of the file, and the problems and warnings found so far.
#[derive(Default)]
struct Parser<'a> {
    entries: Vec<Entry<'a>>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// A `failmode` line is indented under another key, so it is in doubt which failmode the file's
    /// writer meant.
    has_indented_failmode: bool,
    /// The last `syslog_facility` that is one.
    syslog_facility: Facility,
}

/// One key with its value and the indented lines under it.
struct Entry<'a> {
    key: Key,
    values: Vec<(usize, &'a [u8])>,
}

/// The line that an indented line would continue.
#[derive(Clone, Copy)]
enum Above {
    /// There is no value to continue.
    Nothing,
    /// A key that the program knows.
    Known,
    /// An unknown key. It is a mistake itself, so its indented lines are none.
    Unknown,
}

impl<'a> Parser<'a> {
    /// Joins the lines into entries. The lines of a section that is not `[duo]` are read like the
    /// others, so that `[dou]` hides no other mistake.
    fn of(bytes: &'a [u8]) -> Self {
        let mut parser = Self::default();
        let mut above = Above::Nothing;
        for (number, line) in ini::lines(bytes) {
            above = match line {
                Line::Continuation(text) => parser.continue_entry(number, text, above),
                Line::Entry {
                    key,
                    value,
                    comment,
                } => parser.begin_entry(number, key, value, comment),
                Line::Section(b"duo") => Above::Nothing,
                Line::Section(name) => parser.mistake(number, keys::unknown("section", name)),
                Line::Unclosed => parser.mistake(number, "a section without its ']'"),
                Line::AfterSection => parser.mistake(number, "text after a section's ']'"),
                Line::NoEquals => parser.mistake(number, "a line without '='"),
            };
        }
        parser
    }

    /// What the file says for this key, in the order of its lines.
    fn texts(&self, key: &Key) -> impl Iterator<Item = &'a [u8]> {
        let entries = self.entries.iter().filter(|entry| entry.key == *key);
        entries.flat_map(|entry| entry.values.iter().map(|(_, text)| *text))
    }

    /// Reports a mistake in a line that no indented line can continue.
    fn mistake(&mut self, number: usize, text: impl Into<String>) -> Above {
        self.report(Some(number), text);
        Above::Nothing
    }

    /// Begins an entry with the line `key = value`.
    fn begin_entry(
        &mut self,
        number: usize,
        key: &[u8],
        value: &'a [u8],
        comment: &'a [u8],
    ) -> Above {
        if key.is_empty() {
            return self.mistake(number, "no key before the '='");
        }
        let Some(key) = keys::known(key) else {
            self.report(Some(number), keys::unknown("key", key));
            return Above::Unknown;
        };
        if key.kind == KeyKind::Deprecated {
            let text = format!("key '{}' is deprecated and does nothing", key.name);
            self.warn(Some(number), text);
        }
        // Only this value may be a ';': the C program reads no comment in `gecos_delim = ;`.
        let value = match (key.name, comment) {
            ("gecos_delim", b";") if value.is_empty() => comment,
            _ => value,
        };
        self.entries.push(Entry {
            key,
            values: vec![(number, value)],
        });
        Above::Known
    }

    /// Adds an indented line to the entry above it.
    fn continue_entry(&mut self, number: usize, text: &'a [u8], above: Above) -> Above {
        // An indented `failmode = secure` would be lost in the value above it, and the default,
        // `safe`, would apply.
        if let Some(key) = ini::split_at_equals(text).and_then(|(key, _)| keys::known(key)) {
            self.has_indented_failmode |= key.name == "failmode";
            let text = format!(
                "key '{}' is indented, so it would continue the value above",
                key.name
            );
            self.report(Some(number), text);
            return above;
        }
        match (above, self.entries.last_mut()) {
            (Above::Known, Some(entry)) => entry.values.push((number, text)),
            (Above::Unknown, _) => {}
            (Above::Known | Above::Nothing, _) => {
                return self.mistake(
                    number,
                    "an indented line with no value above it to continue",
                );
            }
        }
        above
    }

    /// Reads each key (docs/behaviour.md, *Configuration file*). `None` if a required key has no
    /// good value.
    fn config(&mut self) -> Option<Config> {
        self.check_combinations();
        if let Some(number) = self.last("syslog_facility", keys::facility) {
            self.syslog_facility = Facility(number);
        }
        let ikey = self.required("ikey", keys::text);
        let skey = self.required("skey", keys::secret);
        let host = self.required("host", keys::host);
        Some(Config {
            failmode: self
                .last("failmode", keys::failmode)
                .unwrap_or(Failmode::Safe),
            failmode_if_broken: self.certain_failmode().unwrap_or(Failmode::Secure),
            groups: self.groups(),
            push_info: self.flag("pushinfo"),
            autopush: self.flag("autopush"),
            accessible: self.flag("accessible"),
            verified_push: self.flag("verified_push"),
            prompts: self.last("prompts", keys::prompts).unwrap_or(3),
            motd: self.flag("motd"),
            accept_env_factor: self.flag("accept_env_factor"),
            fallback_local_ip: self.flag("fallback_local_ip"),
            https_timeout: self
                .last("https_timeout", keys::timeout)
                .unwrap_or(Some(Duration::from_secs(30))),
            http_proxy: self.last("http_proxy", keys::proxy),
            cafile: self.last("cafile", keys::path),
            noverify: self.flag("noverify"),
            min_tls: self.last("min_tls", keys::min_tls).unwrap_or(MinTls::Tls12),
            prompt_for_commands: self.flag("prompt_for_commands"),
            signature: self
                .last("signature", keys::signature)
                .unwrap_or(Signature::Sha512),
            sandbox: self.last("sandbox", keys::boolean).unwrap_or(true),
            remember: self
                .last("remember", keys::remember)
                .unwrap_or(Remember::No),
            remember_max: self
                .last("remember_max", keys::remember_max)
                .unwrap_or(Duration::from_secs(8 * 60 * 60)),
            syslog_facility: self.syslog_facility,
            gecos: self.gecos(),
            // These stand last, since a `?` further up would skip the mistakes below it.
            ikey: ikey?,
            skey: skey?,
            host: host?,
        })
    }

    /// Reports keys that are wrong together, and keys that are dangerous.
    fn check_combinations(&mut self) {
        let both = self
            .line_if_on("verified_push")
            .zip(self.line_if_on("autopush"));
        if let Some((one, other)) = both {
            let text = "key 'verified_push' cannot be used with 'autopush'";
            self.report(Some(one.max(other)), text);
        }
        if let Some(line) = self.line_if_on("noverify") {
            let text = "key 'noverify' is on: nobody checks that the server is Duo's";
            self.warn_of(ProblemKind::Noverify, Some(line), text);
        }
        if let Some(line) = self.line_that_sets("sandbox", false) {
            let text = "key 'sandbox' is off: nothing limits the process that talks to Duo";
            self.warn(Some(line), text);
        }
    }

    fn groups(&mut self) -> Option<Groups> {
        let lines = self.read_each("groups", keys::groups);
        let (line, groups) = lines.into_iter().reduce(|(_, mut all), (line, more)| {
            all.add(more);
            (line, all)
        })?;
        if groups.all_negated() {
            let text = "key 'groups' has negated patterns only, so nobody is asked";
            self.warn_of(ProblemKind::NobodyAsked, Some(line), text);
        }
        Some(groups)
    }

    fn gecos(&mut self) -> Gecos {
        let delimiter = self.last("gecos_delim", keys::delimiter).unwrap_or(b',');
        let position = self.last("gecos_username_pos", keys::position);
        let whole = self.flag("send_gecos");
        match position {
            Some(position) => {
                if let Some(line) = self.line_if_on("send_gecos") {
                    let text = "key 'send_gecos' does nothing beside 'gecos_username_pos'";
                    self.warn(Some(line), text);
                }
                Gecos::Part {
                    delimiter,
                    position,
                }
            }
            None if whole => Gecos::Whole,
            None => Gecos::No,
        }
    }

    /// The failmode that the file states beyond doubt, see [`Broken::failmode`].
    fn certain_failmode(&self) -> Option<Failmode> {
        let mut modes =
            self.effective_lines("failmode")
                .map(|(_, value)| match keys::failmode(value) {
                    Ok(Value::Good(mode)) => Some(mode),
                    _ => None,
                });
        let first = modes.next()?;
        first.filter(|_| !self.has_indented_failmode && modes.all(|mode| mode == first))
    }

    fn flag(&mut self, name: &'static str) -> bool {
        self.last(name, keys::boolean).unwrap_or(false)
    }

    fn required<T>(&mut self, name: &'static str, read: fn(&[u8]) -> Reading<T>) -> Option<T> {
        if self.effective_lines(name).next().is_none() {
            self.report(None, format!("key '{name}' is missing"));
        }
        self.last(name, read)
    }

    /// The value of `name`. A later line wins, but the earlier lines must be right too.
    fn last<T>(&mut self, name: &'static str, read: fn(&[u8]) -> Reading<T>) -> Option<T> {
        self.read_each(name, read).pop().map(|(_, value)| value)
    }

    /// The good values of `name` with their lines. The other values are reported.
    fn read_each<T>(
        &mut self,
        name: &'static str,
        read: fn(&[u8]) -> Reading<T>,
    ) -> Vec<(usize, T)> {
        let lines: Vec<_> = self.effective_lines(name).collect();
        let mut good = Vec::new();
        for (number, value) in lines {
            match read(value) {
                _ if value.is_empty() => self.report_empty(number, name),
                Ok(Value::Good(value)) => good.push((number, value)),
                Ok(Value::WithWarning(value, why)) => {
                    self.warn(Some(number), format!("key '{name}' {why}"));
                    good.push((number, value));
                }
                Err(why) => self.report(Some(number), format!("key '{name}' {why}")),
            }
        }
        good
    }

    fn report_empty(&mut self, number: usize, name: &'static str) {
        // An empty value of these keys is a mistake: there is no default, or the default may be
        // less strict than what the file's writer meant.
        if matches!(name, "ikey" | "skey" | "host" | "cafile" | "failmode") {
            self.report(Some(number), format!("key '{name}' is empty"));
        } else {
            let text = format!("key '{name}' is empty and counts as absent");
            self.warn(Some(number), text);
        }
    }

    /// The lines of each entry of `name` that count: the last line of the entry, which replaces the
    /// lines above it. For `groups` each line that is not empty counts, or the last if all are empty.
    fn effective_lines(&self, name: &'static str) -> impl Iterator<Item = (usize, &'a [u8])> {
        let entries = self
            .entries
            .iter()
            .filter(move |entry| entry.key.name == name);
        entries.flat_map(move |entry| {
            let last = entry.values.len().saturating_sub(1);
            let is_empty = entry.values.iter().all(|(_, value)| value.is_empty());
            let counts = move |at, value: &[u8]| match name {
                "groups" if !is_empty => !value.is_empty(),
                _ => at == last,
            };
            let lines = entry
                .values
                .iter()
                .enumerate()
                .filter(move |(at, (_, value))| counts(*at, value));
            lines.map(|(_, line)| *line)
        })
    }

    /// The line that sets the boolean `name` to yes, if no later line sets it to no.
    fn line_if_on(&self, name: &'static str) -> Option<usize> {
        self.line_that_sets(name, true)
    }

    /// The last line that sets the boolean `name`, if it sets it to `wanted`.
    fn line_that_sets(&self, name: &'static str, wanted: bool) -> Option<usize> {
        let read = |(line, value)| match keys::boolean(value) {
            Ok(Value::Good(is_on)) => Some((line, is_on)),
            _ => None,
        };
        let (line, is_on) = self.effective_lines(name).filter_map(read).last()?;
        (is_on == wanted).then_some(line)
    }

    fn report(&mut self, line: Option<usize>, text: impl Into<String>) {
        let problem = Problem::in_line(ProblemKind::Content, line, text);
        self.problems.push(problem);
    }

    fn warn(&mut self, line: Option<usize>, text: impl Into<String>) {
        self.warn_of(ProblemKind::Content, line, text);
    }

    fn warn_of(&mut self, kind: ProblemKind, line: Option<usize>, text: impl Into<String>) {
        self.warnings.push(Problem::in_line(kind, line, text));
    }
}
