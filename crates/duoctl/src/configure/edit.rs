//! One key of a configuration file set anew; every other line stays byte for byte, comments and
//! order included. What the file then means is for the parser to say.

use duo_policy::config::{KEYS, KeyKind};
use duo_policy::secret::Secret;

/// A key with the value that it shall have.
pub struct Setting {
    /// As the parser spells it, an alias resolved.
    key: &'static str,
    value: Secret,
}

/// Why a key cannot be set so. In lower case, for an error.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such key. It may be a newer one, or the secret key in the wrong place: it is not repeated.
    UnknownKey,
    /// The value would end its line, or begin a comment.
    Unwritable,
}

impl Setting {
    /// `key` set to `value`; an empty value takes the key's lines out.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn new(key: &str, value: Secret) -> Result<Setting, Refusal> {
        let key = resolved(key.as_bytes()).ok_or(Refusal::UnknownKey)?;
        let bytes = value.expose();
        // It stands behind the blank of ` = `. In `gecos_delim = ;` no comment is read.
        let begins_a_comment = (bytes.starts_with(b";") && key != "gecos_delim")
            || bytes
                .windows(2)
                .any(|two| matches!(two, [b' ' | b'\t', b';']));
        if begins_a_comment || bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
            return Err(Refusal::Unwritable);
        }
        let value = match trim(bytes) {
            trimmed if trimmed.len() == bytes.len() => value,
            trimmed => Secret::from(trimmed.to_vec()),
        };
        Ok(Setting { key, value })
    }

    /// The file `text` with this setting.
    pub fn apply(&self, text: &Secret) -> Secret {
        let text = text.expose();
        let value = self.value.expose();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let roles = self.roles(&lines);
        // As long as it can get: a buffer that grows leaves copies of the secret key behind.
        let mut new = Vec::with_capacity(text.len() + value.len() + self.key.len() + 16);
        let last = roles.iter().rposition(|role| *role == Role::Ours);
        let end = match lines.first() {
            Some(line) if line.ends_with(b"\r\n") => "\r\n",
            _ => "\n",
        };
        let sample = match last {
            None if !value.is_empty() => Some(self.place_of_its_own(&lines, &roles)),
            _ => None,
        };
        if sample == Some(0) {
            self.write_line(&mut new, end);
        }
        for (at, (line, role)) in lines.iter().zip(&roles).enumerate() {
            match role {
                Role::Ours if last == Some(at) && !value.is_empty() => {
                    replace_value(&mut new, line, value);
                }
                Role::Ours | Role::ContinuesOurs => {}
                Role::Sample | Role::Comment | Role::Continues | Role::Other => {
                    new.extend_from_slice(line);
                }
            }
            if sample == Some(at + 1) {
                if !new.ends_with(b"\n") {
                    new.extend_from_slice(end.as_bytes());
                }
                self.write_line(&mut new, end);
            }
        }
        Secret::from(new)
    }

    fn write_line(&self, new: &mut Vec<u8>, end: &str) {
        for part in [
            self.key.as_bytes(),
            b" = ",
            self.value.expose(),
            end.as_bytes(),
        ] {
            new.extend_from_slice(part);
        }
    }

    /// Behind which line, from 1, a key stands that the file has not: behind its commented sample,
    /// else at the end.
    fn place_of_its_own(&self, lines: &[&[u8]], roles: &[Role]) -> usize {
        let sample = roles.iter().rposition(|role| *role == Role::Sample);
        let behind = |at: usize| {
            let mut below = roles.iter().skip(at + 1);
            let next = below.find(|role| !matches!(role, Role::Comment | Role::Sample));
            // A key in between would take the indented line over.
            !matches!(next, Some(Role::Continues | Role::ContinuesOurs))
        };
        match sample.filter(|at| behind(*at)) {
            Some(at) => at + 1,
            None => lines.len(),
        }
    }

    fn roles(&self, lines: &[&[u8]]) -> Vec<Role> {
        let mut above_is_ours = false;
        let role = |line: &&[u8]| {
            let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
            let text = trim(line);
            match text.first() {
                None => Role::Comment,
                Some(b';' | b'#') => {
                    let commented = text.trim_ascii_start();
                    let commented = commented.get(1..).unwrap_or_default();
                    match key_of(commented) == Some(self.key) {
                        true => Role::Sample,
                        false => Role::Comment,
                    }
                }
                Some(_) if line.first().copied().is_some_and(is_blank) => match above_is_ours {
                    true => Role::ContinuesOurs,
                    false => Role::Continues,
                },
                Some(_) => {
                    above_is_ours = key_of(text) == Some(self.key);
                    match above_is_ours {
                        true => Role::Ours,
                        false => Role::Other,
                    }
                }
            }
        };
        lines.iter().map(role).collect()
    }
}

/// What a line is to the key that is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `key = value`
    Ours,
    /// An indented line under it.
    ContinuesOurs,
    /// `;key = value`
    Sample,
    /// A comment, or nothing.
    Comment,
    /// An indented line under another key.
    Continues,
    /// All others.
    Other,
}

/// `line` with another value between its `=` and its comment.
fn replace_value(new: &mut Vec<u8>, line: &[u8], value: &[u8]) {
    let equals = line.iter().position(|byte| *byte == b'=').unwrap_or(0);
    let (key, rest) = line.split_at_checked(equals + 1).unwrap_or((line, b""));
    let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
    let (blanks, rest) = rest.split_at_checked(blanks).unwrap_or((b"", rest));
    new.extend_from_slice(key);
    match blanks {
        // `key =` with nothing behind it.
        [] if rest.trim_ascii().is_empty() && key.ends_with(b" =") => new.push(b' '),
        _ => new.extend_from_slice(blanks),
    }
    new.extend_from_slice(value);
    let comment = rest
        .windows(2)
        .position(|two| matches!(two, [before, b';'] if is_blank(*before)));
    let end = rest.len() - line_end(rest);
    // The blanks before the comment, too: it may stand in a column.
    let from = comment.map_or(end, |at| {
        let before = rest.get(..at).unwrap_or_default();
        trim_end(before).len()
    });
    new.extend_from_slice(rest.get(from..).unwrap_or_default());
}

fn line_end(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// The key that a line sets, an alias resolved.
fn key_of(line: &[u8]) -> Option<&'static str> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    resolved(trim(line.get(..equals)?))
}

fn resolved(spelling: &[u8]) -> Option<&'static str> {
    let key = KEYS.iter().find(|key| key.name.as_bytes() == spelling)?;
    match key.kind {
        KeyKind::Alias(name) => Some(name),
        _ => Some(key.name),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

fn trim_end(text: &[u8]) -> &[u8] {
    text.trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(file: &str, key: &str, value: &str) -> String {
        let setting = Setting::new(key, Secret::from(value.to_owned())).unwrap();
        let new = setting.apply(&Secret::from(file.to_owned()));
        String::from_utf8(new.expose().to_vec()).unwrap()
    }

    #[test]
    fn only_the_value_changes_and_its_comment_stays_where_it_was() {
        let file = "; head\n[duo]\nikey = A\nprompts=2   ; as in the policy\nhost = h\n";
        assert_eq!(
            set(file, "prompts", "1"),
            "; head\n[duo]\nikey = A\nprompts=1   ; as in the policy\nhost = h\n"
        );
        assert_eq!(set("ikey =\nhost = h", "ikey", "A"), "ikey = A\nhost = h");
        assert_eq!(
            set("ikey = A\r\nhost = h\r\n", "host", "x"),
            "ikey = A\r\nhost = x\r\n"
        );
    }

    #[test]
    fn the_last_of_several_lines_is_the_one_that_stays() {
        let file = "group = a\n  b\n; why\nhost = h\ngroups = c\n  d\nprompts = 1\n";
        assert_eq!(
            set(file, "groups", "x y"),
            "; why\nhost = h\ngroups = x y\nprompts = 1\n"
        );
        assert_eq!(set(file, "group", ""), "; why\nhost = h\nprompts = 1\n");
    }

    #[test]
    fn a_new_key_stands_behind_its_sample_or_at_the_end() {
        let file = "ikey = A\n;prompts = 3\n\n;motd = no\n";
        assert_eq!(
            set(file, "prompts", "1"),
            "ikey = A\n;prompts = 3\nprompts = 1\n\n;motd = no\n"
        );
        assert_eq!(set("ikey = A", "motd", "yes"), "ikey = A\nmotd = yes\n");
        assert_eq!(set("", "motd", "yes"), "motd = yes\n");
        // The sample stands between a value and the line that continues it.
        let file = "groups = a\n;prompts = 3\n  b\n";
        assert_eq!(
            set(file, "prompts", "1"),
            "groups = a\n;prompts = 3\n  b\nprompts = 1\n"
        );
    }

    #[test]
    fn a_file_that_is_set_to_what_it_says_stays_as_it_is() {
        let file = "\u{feff}[duo]\n\tx\nikey\t=\tA \t ; c\n\n# e\nhost = h ;\n";
        assert_eq!(set(file, "ikey", "A"), file);
        assert_eq!(set(file, "host", "h"), file);
    }

    #[test]
    fn a_value_cannot_become_a_line_or_a_comment() {
        let refused =
            |key: &str, value: &str| Setting::new(key, Secret::from(value.to_owned())).err();
        assert_eq!(
            refused("prompts", "1\nfailmode = safe"),
            Some(Refusal::Unwritable)
        );
        assert_eq!(refused("prompts", "1 ; x"), Some(Refusal::Unwritable));
        assert_eq!(refused("groups", ";admins"), Some(Refusal::Unwritable));
        assert_eq!(refused("promts", "1"), Some(Refusal::UnknownKey));
        assert_eq!(refused("gecos_delim", ";"), None);
    }
}
