//! Every text from outside passes through this module before it reaches a
//! terminal or the log.
//!
//! The module must withstand escape sequences, line breaks that forge a second line,
//! quotes that forge a field, letters that turn the direction of writing, and
//! half a UTF-8 letter on an 8-bit terminal (docs/security.md, attack 8).

use std::borrow::Cow;

/// The longest text from outside that is shown, in characters.
pub const LONGEST: usize = 1_000;

/// The most characters that a name takes in the log, where each byte of a letter that is
/// not ASCII takes four. A name may not push the address and the reason, which follow it,
/// out of the line.
const LONGEST_NAME: usize = 400;

/// The most characters of a client's address in the log, which a caller of a setuid
/// install chooses.
const LONGEST_CLIENT: usize = 100;

/// The characters that a terminal can show, as far as its locale says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// The locale says UTF-8.
    Utf8,
    /// The locale names another character set, or none.
    Ascii,
}

impl Charset {
    /// The character set of a locale; `variables` are the values of LC_ALL, LC_CTYPE and
    /// LANG. POSIX: the first of these that is set and not empty names the locale.
    pub fn of_locale(variables: [Option<&[u8]>; 3]) -> Charset {
        let mut named = variables.into_iter().flatten();
        let locale = named
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_ascii_lowercase();
        // `language_TERRITORY.codeset@modifier`
        let codeset = locale.split(|byte| *byte == b'.').nth(1);
        let codeset = codeset.and_then(|rest| rest.split(|byte| *byte == b'@').next());
        match codeset {
            Some(b"utf-8" | b"utf8") => Charset::Utf8,
            _ => Charset::Ascii,
        }
    }

    /// The mark at the end of a text that was cut.
    pub fn ellipsis(self) -> &'static str {
        match self {
            Charset::Utf8 => "…",
            Charset::Ascii => "...",
        }
    }
}

/// Text from outside as the log takes it: printable ASCII stays, every other
/// byte is `\xNN`, so that two names that differ differ in the log too, whatever
/// locale the person claims. At most [`LONGEST`] characters, then `...`.
pub fn for_log(text: &str) -> String {
    ascii(text, Backslash::Kept)
}

/// `name` with a backslash before each quote and backslash, so that it cannot end
/// the quotes around it in the log. As many letters of it as [`for_log`] writes with at
/// most [`LONGEST_NAME`] characters, and `...` where there are more.
pub fn quoted(name: &str) -> String {
    let mut safe = String::with_capacity(name.len().min(LONGEST_NAME));
    let mut written = 0;
    for letter in name.chars() {
        let is_marked = matches!(letter, '\'' | '\\');
        written += match letter {
            _ if is_marked => 2,
            ' '..='~' => 1,
            // `\xNN` for each byte
            _ => 4 * letter.len_utf8(),
        };
        if written > LONGEST_NAME {
            // Else a longer name would look like this one.
            safe.push_str("...");
            break;
        }
        if is_marked {
            safe.push('\\');
        }
        safe.push(letter);
    }
    safe
}

/// A text from outside as the value of a field: as [`for_log`], with a backslash before
/// each backslash, so that two values that differ differ in the field too.
pub fn field(text: &str) -> String {
    ascii(text, Backslash::Doubled)
}

/// What becomes of a backslash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    Kept,
    Doubled,
}

fn ascii(text: &str, backslash: Backslash) -> String {
    let digit = |number: u8| {
        char::from_digit(number.into(), 16).map_or('0', |digit| digit.to_ascii_uppercase())
    };
    let mut safe = String::with_capacity(text.len().min(LONGEST));
    for byte in text.bytes() {
        let printable = char::from(byte);
        let escaped = ['\\', 'x', digit(byte >> 4), digit(byte & 0xf)];
        let letters: &[char] = match byte {
            b'\\' if backslash == Backslash::Doubled => &['\\'; 2],
            b' '..=b'~' => std::slice::from_ref(&printable),
            _ => &escaped,
        };
        if safe.len() + letters.len() > LONGEST {
            safe.push_str("...");
            break;
        }
        safe.extend(letters);
    }
    safe
}

/// A client's address for the log: ASCII letters, digits and `.:%_-` stay, any
/// other character becomes `?`, since it could forge a field. At most
/// [`LONGEST_CLIENT`] characters of it.
pub(crate) fn client_field(client: &str) -> String {
    let field = client
        .chars()
        .take(LONGEST_CLIENT)
        .map(|letter| match letter {
            '.' | ':' | '%' | '_' | '-' => letter,
            _ if letter.is_ascii_alphanumeric() => letter,
            _ => '?',
        });
    field.collect()
}

/// Text from outside as one line for a person: what a terminal must not get
/// becomes `?` (docs/behaviour.md, *In every case*).
pub fn one_line(text: &str, charset: Charset) -> Cow<'_, str> {
    sanitised(text, charset, &[])
}

/// Text from outside for a terminal, as [`one_line`], but newlines and tabs stay.
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

/// Whether a terminal must not get `letter`: the terminal could obey it, or the
/// person could read something else than what is there.
fn is_unsafe(letter: char, charset: Charset) -> bool {
    match letter {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_become_question_marks_on_a_terminal() {
        let nasty = "a\x1b[2J\r\n\u{9b}31m\u{202e}\u{200b}\u{feff}\u{61c}\u{2066}z\x7f";
        assert_eq!(one_line(nasty, Charset::Utf8), "a?[2J???31m?????z?");
        assert_eq!(for_terminal("a\tb\nc\rd", Charset::Utf8), "a\tb\nc?d");
        assert_eq!(one_line("zoë", Charset::Utf8), "zoë");
        assert_eq!(one_line("zoë", Charset::Ascii), "zo?");
    }

    #[test]
    fn the_log_is_ascii_and_two_names_stay_two() {
        assert_eq!(for_log("a\x1b[2J\n'~ "), r"a\x1B[2J\x0A'~ ");
        // Its last byte, 0x9B, is an escape sequence to an 8-bit terminal.
        assert_eq!(for_log("ě"), r"\xC4\x9B");
        assert_ne!(for_log("zoë"), for_log("zoé"));
        // What a person types as an escape is not what one becomes.
        assert_eq!(for_log(&quoted("\\xC4")), r"\\xC4");
        assert_eq!(field("a'\nÄ\\xC4\0="), r"a'\x0A\xC3\x84\\xC4\x00=");
        assert!(field(&"\\".repeat(100_000)).len() <= LONGEST + 3);
    }

    #[test]
    fn the_locale_is_read_as_posix_says() {
        let is_utf8 = |variables: [&str; 3]| {
            let set = variables.map(|value| Some(value.as_bytes()).filter(|v| *v != b"unset"));
            Charset::of_locale(set) == Charset::Utf8
        };
        assert!(is_utf8(["unset", "unset", "en_US.UTF-8"]));
        assert!(is_utf8(["", "de_DE.utf8@euro", "C"]));
        assert!(!is_utf8(["C", "unset", "en_US.UTF-8"]));
        assert!(!is_utf8(["unset", "unset", "en_US"]));
        assert!(!is_utf8(["unset", "unset", "unset"]));
    }

    #[test]
    fn overlong_text_is_cut_on_a_character() {
        let long = "ë".repeat(5_000);
        assert_eq!(one_line(&long, Charset::Utf8).chars().count(), LONGEST + 1);
        assert!(one_line(&"x".repeat(5_000), Charset::Ascii).ends_with("x..."));
        let logged = for_log(&long);
        assert!(logged.ends_with(r"\xAB...") && logged.len() <= LONGEST + 3);
        assert_eq!(for_log(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
    }

    #[test]
    fn a_name_cannot_end_its_quotes_and_an_address_not_its_field() {
        assert_eq!(quoted("a' from 192.0.2.1: \\"), r"a\' from 192.0.2.1: \\");
        assert_eq!(client_field("x' y\n[1]"), "x??y??1?");
    }
}
