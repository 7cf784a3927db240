//! Our lines in sshd's configuration, and where they begin and end. Bytes, not
//! text: every other byte of the file is its administrator's and stays.

use std::path::Path;

use crate::cli::Whom;

use super::Style;

/// The first and the last of our lines.
struct Marks {
    /// What every first line of ours begins with.
    begins: &'static [u8],
    begin: &'static str,
    end: &'static str,
}

const FORCED: Marks = Marks {
    begins: b"# login_duo: begin.",
    begin: "# login_duo: begin. Written by duoctl enable; duoctl disable removes these lines.",
    end: "# login_duo: end.",
};

const PAM: Marks = Marks {
    begins: b"# login_duo, PAM: begin.",
    begin: "# login_duo, PAM: begin. Written by duoctl enable; duoctl disable removes these lines.",
    end: "# login_duo, PAM: end.",
};

impl Style {
    fn marks(self) -> &'static Marks {
        match self {
            Style::Forced => &FORCED,
            Style::Pam => &PAM,
        }
    }
}

/// Whatever a login could do beside or before the forced command.
const BESIDE: [&str; 5] = [
    "PermitTunnel",
    "AllowTcpForwarding",
    "AllowStreamLocalForwarding",
    "X11Forwarding",
    "PermitUserRC",
];

/// What our lines set, as keyword and value.
pub fn settings(program: &Path) -> Vec<(&'static str, String)> {
    let mut settings = vec![("ForceCommand", program.display().to_string())];
    settings.extend(BESIDE.map(|keyword| (keyword, "no".to_owned())));
    settings
}

/// Our lines, marks included.
pub fn lines(whom: &Whom, exempt: &[String], program: &Path) -> Vec<u8> {
    let mut lines: Vec<String> = criteria(whom, exempt).into_iter().collect();
    let settings = settings(program);
    lines.extend(settings.iter().map(|(key, value)| format!("{key} {value}")));
    marked(Style::Forced, lines)
}

/// Lines between the marks of a style.
pub fn marked(style: Style, mut lines: Vec<String>) -> Vec<u8> {
    let marks = style.marks();
    lines.insert(0, marks.begin.to_owned());
    lines.push(marks.end.to_owned());
    (lines.join("\n") + "\n").into_bytes()
}

fn criteria(whom: &Whom, exempt: &[String]) -> Option<String> {
    let but: String = exempt.iter().map(|name| format!(",!{name}")).collect();
    match (whom, but.is_empty()) {
        (Whom::Everybody, true) => None,
        (Whom::Everybody, false) => Some(format!("Match User *{but}")),
        (Whom::Group(group), true) => Some(format!("Match Group {group}")),
        (Whom::Group(group), false) => Some(format!("Match Group {group} User *{but}")),
        (Whom::Users(users), _) => Some(format!("Match User {users}{but}")),
    }
}

/// A file in two parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    /// The file without our lines, as it was before them.
    pub others: Vec<u8>,
    /// Our lines, if there are any.
    pub ours: Option<Vec<u8>>,
}

/// Takes our lines of one style out of a file.
///
/// # Errors
/// The block has no end.
pub fn split(file: &[u8], style: Style) -> Result<Parts, &'static str> {
    let marks = style.marks();
    let (mut others, mut ours) = (Vec::new(), Vec::new());
    let mut is_inside = false;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.trim_ascii_end();
        is_inside |= bare.starts_with(marks.begins);
        let part = if is_inside { &mut ours } else { &mut others };
        part.extend_from_slice(line);
        if is_inside && bare == marks.end.as_bytes() {
            is_inside = false;
        }
    }
    if is_inside {
        return Err("our lines have no end: remove them by hand");
    }
    // The file had no line end before our lines gave it one: see `join`.
    if file.ends_with(marks.end.as_bytes()) && others.ends_with(b"\n") {
        others.pop();
    }
    let ours = (!ours.is_empty()).then(|| with_line_end(ours));
    Ok(Parts { others, ours })
}

/// Puts our lines where sshd's first value wins: for everybody at the top; a
/// Match at the end, since what follows a Match belongs to it.
pub fn join(others: &[u8], ours: &[u8]) -> Vec<u8> {
    if !has_match(ours) {
        return [ours, others].concat();
    }
    match others.is_empty() || others.ends_with(b"\n") {
        true => [others, ours].concat(),
        // A last line without an end: ours have none either, so that the way
        // back knows.
        false => [others, b"\n", ours.trim_ascii_end()].concat(),
    }
}

fn has_match(ours: &[u8]) -> bool {
    let mut lines = ours.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(b"Match "))
}

fn with_line_end(mut lines: Vec<u8>) -> Vec<u8> {
    if !lines.ends_with(b"\n") {
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "/usr/sbin/login_duo";

    fn all() -> Vec<Vec<u8>> {
        let one = ["a".to_owned()];
        let all: [(Whom, &[String]); 4] = [
            (Whom::Everybody, &[]),
            (Whom::Everybody, &one),
            (Whom::Group("g".into()), &[]),
            (Whom::Users("b,c".into()), &one),
        ];
        all.map(|(whom, exempt)| lines(&whom, exempt, Path::new(US)))
            .to_vec()
    }

    #[test]
    fn our_lines_say_whom_they_are_for() {
        let second = |lines: &[u8]| {
            let text = String::from_utf8_lossy(lines).into_owned();
            text.lines().nth(1).unwrap_or_default().to_owned()
        };
        let all: Vec<String> = all().iter().map(|lines| second(lines)).collect();
        assert_eq!(
            all,
            [
                "ForceCommand /usr/sbin/login_duo",
                "Match User *,!a",
                "Match Group g",
                "Match User b,c,!a"
            ]
        );
        let both = lines(&Whom::Group("g".into()), &["a".into()], Path::new(US));
        assert_eq!(second(&both), "Match Group g User *,!a");
    }

    #[test]
    fn every_file_comes_back_byte_for_byte() {
        for file in [
            &b""[..],
            b"Port 22\n",
            b"Port 22",
            b"Port 22\r\nUsePAM yes\r\n",
            b"Port 22\r\nUsePAM yes",
            b"\n\n",
            b"# \xff\xfe\nMatch User x\n  PermitTTY no\n\n",
        ] {
            for ours in all() {
                let joined = join(file, &ours);
                let parts = split(&joined, Style::Forced).unwrap();
                assert_eq!(parts.others, file);
                assert_eq!(parts.ours, Some(ours.clone()));
                // An editor that gives every file a line end.
                let edited = with_line_end(joined);
                assert_eq!(split(&edited, Style::Forced).unwrap().ours, Some(ours));
            }
        }
        let untouched = split(b"Port 22", Style::Forced).unwrap();
        assert_eq!(
            (untouched.others.as_slice(), untouched.ours),
            (&b"Port 22"[..], None)
        );
    }

    #[test]
    fn the_lines_of_both_styles_stand_in_one_file_and_go_in_any_order() {
        let file = b"Port 22\nMatch User x\n  PermitTTY no";
        let pam = marked(Style::Pam, vec!["UsePAM yes".to_owned()]);
        for forced in all() {
            let both = join(&join(file, &forced), &pam);
            let one = split(&both, Style::Forced).unwrap();
            assert_eq!(one.ours, Some(forced.clone()));
            assert_eq!(split(&one.others, Style::Pam).unwrap().others, file);
            let other = split(&both, Style::Pam).unwrap();
            assert_eq!(other.ours, Some(pam.clone()));
            assert_eq!(split(&other.others, Style::Forced).unwrap().others, file);
        }
    }

    #[test]
    fn marks_that_an_editor_gave_carriage_returns_are_still_marks() {
        let file = b"# login_duo: begin. x\r\nForceCommand y\r\n# login_duo: end.\r\nPort 22\r\n";
        assert_eq!(split(file, Style::Forced).unwrap().others, b"Port 22\r\n");
        assert!(split(b"# login_duo: begin. x\nForceCommand y\n", Style::Forced).is_err());
    }
}
