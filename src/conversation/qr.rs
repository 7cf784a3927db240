//! The enrolment address as a QR code that a phone can read from the terminal. Each
//! character shows two modules of the code.
//!
//! The address comes from the network, so it is checked first: only an https
//! address in plain ASCII is drawn, which also stands above the code as text. A
//! phone could take another text for a call or a message.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use super::terminal::Size;

/// The most bytes of an address that is drawn. Enrolment addresses are far shorter,
/// and the code of a longer one fits no terminal.
const LONGEST: usize = 300;

/// The escape sequences before and after a line: white on black, whatever the
/// terminal's colours are, since a phone needs the light margin around the code.
const COLOURS: [&str; 2] = ["\x1b[37;40m", "\x1b[0m"];

/// The first https address in `text`.
pub fn address_in(text: &str) -> Option<&str> {
    let start = text.find("https://")?;
    let rest = text.get(start..)?;
    let end = rest
        .find(|letter: char| !letter.is_ascii_graphic() || matches!(letter, '"' | '<' | '>'))
        .unwrap_or(rest.len());
    let address = rest
        .get(..end)?
        .trim_end_matches(['.', ',', ';', ')', '\'']);
    Some(address)
}

/// The terminal is too small for the code.
#[derive(Debug, PartialEq, Eq)]
pub enum TooSmall {
    /// It has too few columns.
    Narrow,
    /// It has columns enough, and too few rows.
    Low,
}

/// The code of `address` with its margin, as lines of half blocks that each end in
/// a newline. `None` if it is no plain https address. `is_capable` says that the
/// terminal has colours.
pub fn drawn(address: &str, size: Size, is_capable: bool) -> Option<Result<String, TooSmall>> {
    let plain = address.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || !address.starts_with("https://") || address.len() > LONGEST {
        return None;
    }
    let code = QrCode::with_error_correction_level(address, EcLevel::L).ok()?;
    let image = code
        .render::<Dense1x2>()
        .quiet_zone(true)
        .module_dimensions(1, 1)
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    let lines: Vec<&str> = image.lines().collect();
    let columns = lines.first().map_or(0, |line| line.chars().count());
    if columns > size.columns {
        return Some(Err(TooSmall::Narrow));
    }
    if lines.len() >= size.rows {
        return Some(Err(TooSmall::Low));
    }
    let [begin, end] = if is_capable { COLOURS } else { ["", ""] };
    let lines = lines.iter().map(|line| format!("{begin}{line}{end}\n"));
    Some(Ok(lines.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "https://api-1a2b3c4d.duosecurity.com/portal?code=48bac5d9393fb2c2&akey=DIXXXXXXXXXXXXXXXXXX";

    fn size(rows: usize, columns: usize) -> Size {
        Size { rows, columns }
    }

    #[test]
    fn the_address_is_found_in_a_text() {
        let text = format!("Please enroll at {ADDRESS}.\nThank you");
        assert_eq!(address_in(&text), Some(ADDRESS));
        assert_eq!(
            address_in("(https://a.example/b)"),
            Some("https://a.example/b")
        );
        assert_eq!(
            address_in("https://a.example/\u{202e}b"),
            Some("https://a.example/")
        );
        assert_eq!(address_in("http://a.example"), None);
    }

    #[test]
    fn a_usual_address_fits_a_usual_terminal() {
        let code = drawn(ADDRESS, size(24, 80), false).unwrap().unwrap();
        assert!(code.lines().count() < 24);
        assert!(code.lines().all(|line| line.chars().count() == 45));
        assert!(code.chars().all(|letter| " ▀▄█\n".contains(letter)));
    }

    #[test]
    fn a_code_that_would_be_cut_is_not_drawn() {
        let why_not = |size| drawn(ADDRESS, size, false).unwrap().err();
        assert_eq!(why_not(size(24, 45)), None);
        assert_eq!(why_not(size(24, 44)), Some(TooSmall::Narrow));
        assert_eq!(why_not(size(23, 80)), Some(TooSmall::Low));
        assert_eq!(why_not(size(0, 0)), Some(TooSmall::Narrow));
    }

    #[test]
    fn nothing_but_a_plain_https_address_is_drawn() {
        let large = size(500, 500);
        for address in [
            "",
            "http://a.example/",
            "tel:+1234",
            "https://a b",
            "https://a\n",
            "https://ë",
        ] {
            assert!(drawn(address, large, true).is_none(), "{address:?}");
        }
        let long = format!("https://{}", "a".repeat(LONGEST));
        assert!(drawn(&long, large, true).is_none());
    }
}
