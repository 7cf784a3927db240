//! How codes are printed: as a list, and as a page for paper, which is plain text of 80
//! columns, so that every printer and `lp` take it and no file with codes is left behind.

use std::fmt::Write;
use std::time::SystemTime;

use nix::unistd::gethostname;
use zeroize::Zeroizing;

/// More codes than so many stand in two columns, so that all of them fit on a page.
const ONE_COLUMN: usize = 16;

/// Room for the longest text, so that no part of it is left behind in memory when it grows.
const ROOM: usize = 16 * 1024;

type Texts = [Zeroizing<String>];

/// The codes, one a line.
pub fn list(user: &str, codes: &Texts) -> Zeroizing<String> {
    let mut text = with_room();
    let host = host();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Emergency codes of {user} on {host}:\n");
    for (number, code) in (1..).zip(codes) {
        let _ = writeln!(text, "  {number:>2}  {}", code.as_str());
    }
    text.push_str(
        "\nThey are shown this once: print them or write them down. Each is good for one\n\
         login while Duo cannot be reached. Codes that were made before are void.\n",
    );
    text
}

/// The codes on a page.
pub fn page(user: &str, codes: &Texts) -> Zeroizing<String> {
    let mut text = with_room();
    let _ = write!(
        text,
        "\n\n                             EMERGENCY CODES\n\n\
         \x20   Account  {user}\n\
         \x20   Machine  {}\n\
         \x20   Made on  {}\n\n\
         \x20   For the day on which Duo cannot be reached. Log in as always, with your\n\
         \x20   key or password first. Then the machine asks:\n\n\
         \x20       Duo cannot be reached. Emergency code:\n\n\
         \x20   Type one of these codes, in capital or small letters, with or without the\n\
         \x20   dashes. Each is good for one login, on this machine alone. Tick it off.\n\n\n",
        host(),
        today(),
    );
    let rows = match codes.len() {
        0..=ONE_COLUMN => codes.len(),
        many => many.div_ceil(2),
    };
    for row in 0..rows {
        text.push_str("    ");
        for place in [row, row + rows] {
            if let Some(code) = codes.get(place) {
                let number = place + 1;
                let _ = write!(text, "    [ ]  {number:>2}   {}", code.as_str());
            }
        }
        text.push_str(match codes.len() {
            0..=ONE_COLUMN => "\n\n",
            _ => "\n",
        });
    }
    let _ = write!(
        text,
        "\n\
         \x20   Keep this page like a key: locked away, not at the computer, and not as a\n\
         \x20   picture. Without your key or password a code is worth nothing.\n\n\
         \x20   Fewer than three left?        sudo duoctl codes create {user}\n\
         \x20   Lost, or seen by others?      sudo duoctl codes revoke {user}\n\n\
         \x20   New codes make all older ones void, those on this page too.\n"
    );
    text
}

fn with_room() -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(ROOM))
}

fn host() -> String {
    let name = gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// `26 Nov 2026`. A login does not know when its code was made: this is for people.
fn today() -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    date.get(5..16).unwrap_or(&date).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(count: usize) -> Vec<Zeroizing<String>> {
        let code = |number| Zeroizing::new(format!("0123-4567-89AB-{number:04}"));
        (1..=count).map(code).collect()
    }

    #[test]
    fn every_code_is_on_one_page_of_80_columns() {
        for count in [1, 10, 16, 17, 50] {
            let codes = codes(count);
            let text = page("alice", &codes);
            assert!(text.lines().count() <= 60, "{count}: {text:?}");
            assert!(text.lines().all(|line| line.chars().count() <= 80));
            assert!(
                codes
                    .iter()
                    .all(|code| text.matches(code.as_str()).count() == 1)
            );
            assert_eq!(text.matches("[ ]").count(), count);
            assert!(text.len() < ROOM && list("alice", &codes).len() < ROOM);
        }
    }
}
