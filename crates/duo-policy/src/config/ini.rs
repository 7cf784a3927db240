//! The lines of an INI file, each with its number, as a section, an entry, a continuation or a
//! mistake. The module `parse` gives them their meaning.
//!
//! Not rust-ini, because it keeps no line numbers of what it read, stops at the first mistake,
//! takes UTF-8 only, splits at `:` as well as at `=`, and reads a line without `=` into the next
//! line's key. Code that works around all this (docs/behaviour.md, *Configuration file*) would be
//! longer than this module.

/// One line that is neither blank nor a comment, without the blanks around its parts.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `[name]`.
    Section(&'a [u8]),
    /// `[name` without a `]`.
    Unclosed,
    /// `[name] text`, where the text is no comment.
    AfterSection,
    /// `key = value`.
    Entry {
        /// What stands before the first `=`; may be empty.
        key: &'a [u8],
        /// What stands after it, up to the comment; may be empty.
        value: &'a [u8],
        /// What stands after the blank that opens the comment, its `;` included; empty if there is
        /// none.
        comment: &'a [u8],
    },
    /// An indented line: it continues the value above, if there is one.
    Continuation(&'a [u8]),
    /// A line that is none of these.
    NoEquals,
}

/// The lines of `file` in order, with their numbers, from 1. Takes time linear in the length.
pub fn lines(file: &[u8]) -> impl Iterator<Item = (usize, Line<'_>)> {
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    (1..)
        .zip(file.split(|byte| *byte == b'\n'))
        .filter_map(|(number, line)| {
            Some((
                number,
                classified(line.strip_suffix(b"\r").unwrap_or(line))?,
            ))
        })
}

/// `text` split at its first `=`, without the blanks around both parts.
pub fn split_at_equals(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |byte| *byte == b'=');
    Some((trim(parts.next()?), trim(parts.next()?)))
}

/// A blank, as the configuration file and its pattern-lists know it.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `text` without the blanks around it.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// The kind of a line; `None` for a blank line and a comment.
fn classified(line: &[u8]) -> Option<Line<'_>> {
    let whole = trim(line);
    if matches!(whole.first()?, b';' | b'#') {
        return None;
    }
    let (text, comment) = split_off_comment(whole);
    if line.first().copied().is_some_and(is_blank) {
        return Some(Line::Continuation(text));
    }
    if let Some(rest) = text.strip_prefix(b"[") {
        return Some(section(rest));
    }
    Some(match split_at_equals(text) {
        Some((key, value)) => Line::Entry {
            key,
            value,
            comment,
        },
        None => Line::NoEquals,
    })
}

/// The kind of a section's line; `rest` is what follows the `[`.
fn section(rest: &[u8]) -> Line<'_> {
    let mut parts = rest.splitn(2, |byte| *byte == b']');
    match (parts.next().map(trim), parts.next().map(trim)) {
        (Some(name), Some([] | [b'#' | b';', ..])) => Line::Section(name),
        (_, Some(_)) => Line::AfterSection,
        (_, None) => Line::Unclosed,
    }
}

/// `text` without its comment, and the comment, which begins at a `;` with a blank before it; a `#`, or a `;` within a word, is part of the
/// value.
fn split_off_comment(text: &[u8]) -> (&[u8], &[u8]) {
    let blank = text
        .windows(2)
        .position(|pair| matches!(pair, [before, b';'] if is_blank(*before)));
    let (text, comment) = blank
        .and_then(|at| text.split_at_checked(at))
        .unwrap_or((text, b""));
    (trim(text), trim(comment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(key: &'a str, value: &'a str, comment: &'a str) -> Line<'a> {
        Line::Entry {
            key: key.as_bytes(),
            value: value.as_bytes(),
            comment: comment.as_bytes(),
        }
    }

    #[test]
    fn each_shape_of_line() {
        let file = b"\xEF\xBB\xBF[duo]\r\n\tmore \r\n\n  ; c\n# c\n \t\na=b\n\ta = b ;c ;d\nk=v;x #y ; z\n[a\n[a ]#b\n[a]b\nword\n=\nk = ;";
        assert_eq!(
            lines(file).collect::<Vec<_>>(),
            [
                (1, Line::Section(b"duo")),
                (2, Line::Continuation(b"more")),
                (7, entry("a", "b", "")),
                (8, Line::Continuation(b"a = b")),
                (9, entry("k", "v;x #y", "; z")),
                (10, Line::Unclosed),
                (11, Line::Section(b"a")),
                (12, Line::AfterSection),
                (13, Line::NoEquals),
                (14, entry("", "", "")),
                (15, entry("k", "", ";")),
            ]
        );
    }

    #[test]
    fn a_comment_before_the_equals_sign_hides_it() {
        assert_eq!(
            lines(b"key ; = value").collect::<Vec<_>>(),
            [(1, Line::NoEquals)]
        );
    }

    #[test]
    fn a_byte_order_mark_counts_at_the_start_only() {
        assert_eq!(
            lines(b"\n\xEF\xBB\xBFa=").collect::<Vec<_>>(),
            [(2, entry_bytes(b"\xEF\xBB\xBFa"))]
        );
    }

    fn entry_bytes(key: &[u8]) -> Line<'_> {
        Line::Entry {
            key,
            value: b"",
            comment: b"",
        }
    }
}
