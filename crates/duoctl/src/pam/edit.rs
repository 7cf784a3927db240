//! Our lines in a PAM file. What they take the place of stands beside them as a
//! comment, byte for byte, so that the way back needs nothing but the file.

/// What every first line of ours begins with.
const BEGINS: &[u8] = b"# login_duo: begin.";

const BEGIN: &str =
    "# login_duo: begin. Written by duoctl enable; duoctl disable puts back what was here.";

const END: &str = "# login_duo: end.";

/// Before each line that ours take the place of.
const WAS: &[u8] = b"# login_duo: was: ";

/// Before the path and the sum of the file that ours is a copy of.
const COPY: &str = "# login_duo: copy of ";

/// A file in parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    /// The file as it was before our lines.
    pub others: Vec<u8>,
    /// Whether it has lines of ours.
    pub has_ours: bool,
    /// Whether the file was copied by us, and nobody has changed the copy since.
    pub is_our_copy: bool,
}

/// Takes our lines out of a file.
///
/// # Errors
/// They have no end.
pub fn take_out(file: &[u8]) -> Result<Parts, &'static str> {
    let mut others = Vec::new();
    let (mut is_inside, mut has_ours, mut copied) = (false, false, None);
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.trim_ascii_end();
        if !is_inside && bare.starts_with(BEGINS) {
            (is_inside, has_ours) = (true, true);
        } else if !is_inside {
            others.extend_from_slice(line);
        } else if bare == END.as_bytes() {
            is_inside = false;
        } else if let Some(was) = line.strip_prefix(WAS) {
            others.extend_from_slice(was);
        } else if let Some(of) = bare.strip_prefix(COPY.as_bytes()) {
            copied = Some(of.to_vec());
        }
    }
    if is_inside {
        return Err("our lines have no end: remove them by hand");
    }
    // The file had no line end before our lines gave it one: see `with`.
    if has_ours && file.ends_with(END.as_bytes()) && others.ends_with(b"\n") {
        others.pop();
    }
    let sum = sum(&others);
    let is_our_copy = copied.is_some_and(|of| of.ends_with(format!(" {sum}").as_bytes()));
    Ok(Parts {
        others,
        has_ours,
        is_our_copy,
    })
}

/// Our lines alone, marks included.
pub fn ours(file: &[u8]) -> Vec<u8> {
    let mut is_inside = false;
    let mut found = Vec::new();
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.trim_ascii_end();
        is_inside |= bare.starts_with(BEGINS);
        if is_inside {
            found.extend_from_slice(line);
        }
        is_inside &= bare != END.as_bytes();
    }
    found
}

/// What our lines are, and where.
#[derive(Debug, Clone)]
pub struct Edit<'a> {
    /// The bytes of the file that they take the place of; none if they stand
    /// before the byte where this begins.
    pub instead_of: std::ops::Range<usize>,
    /// The lines.
    pub lines: &'a [String],
    /// Where the file comes from, if it is a copy.
    pub copy_of: Option<&'a str>,
}

/// The file with our lines.
pub fn with(file: &[u8], edit: &Edit<'_>) -> Vec<u8> {
    let before = file.get(..edit.instead_of.start).unwrap_or_default();
    let was = file.get(edit.instead_of.clone()).unwrap_or_default();
    let behind = file.get(edit.instead_of.end..).unwrap_or_default();
    let mut new = before.to_vec();
    let ends_open = !file.is_empty() && !file.ends_with(b"\n") && behind.is_empty();
    if !new.is_empty() && !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    let mut say = |text: &[u8]| {
        new.extend_from_slice(text);
        if !text.ends_with(b"\n") {
            new.push(b'\n');
        }
    };
    say(BEGIN.as_bytes());
    if let Some(path) = edit.copy_of {
        say(format!("{COPY}{path} {}", sum(file)).as_bytes());
    }
    for line in was.split_inclusive(|byte| *byte == b'\n') {
        say(&[WAS, line].concat());
    }
    for line in edit.lines {
        say(line.as_bytes());
    }
    say(END.as_bytes());
    if ends_open {
        // As the file ended, so that the way back knows.
        new.pop();
    }
    [new.as_slice(), behind].concat()
}

/// FNV-1a: whether a copy is still what was copied; against accidents alone.
fn sum(bytes: &[u8]) -> String {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_comes_back_byte_for_byte() {
        let lines = ["auth required pam_duo.so".to_owned()];
        for file in [
            &b"auth a\nauth b\n"[..],
            b"auth a\nauth b",
            b"auth a",
            b"",
            b"\xff\r\n\n\nauth a \\\n  b\nx",
        ] {
            let ends: Vec<usize> = (0..=file.len())
                .filter(|at| *at == 0 || *at == file.len() || file[*at - 1] == b'\n')
                .collect();
            for start in &ends {
                for end in ends.iter().filter(|end| *end >= start) {
                    for copy_of in [None, Some("/usr/lib/pam.d/x")] {
                        let edit = Edit {
                            instead_of: *start..*end,
                            lines: &lines,
                            copy_of,
                        };
                        let new = with(file, &edit);
                        let text = String::from_utf8_lossy(&new).into_owned();
                        assert!(text.contains("\nauth required pam_duo.so\n"), "{text}");
                        let parts = take_out(&new).unwrap();
                        assert_eq!(parts.others, file, "{text}");
                        assert!(parts.has_ours);
                        assert_eq!(parts.is_our_copy, copy_of.is_some());
                    }
                }
            }
            let parts = take_out(file).unwrap();
            assert_eq!((parts.others.as_slice(), parts.has_ours), (file, false));
        }
    }

    #[test]
    fn a_copy_that_was_changed_is_nobodys_but_its_changers() {
        let lines = ["x".to_owned()];
        let edit = Edit {
            instead_of: 0..0,
            lines: &lines,
            copy_of: Some("/v"),
        };
        let mut new = with(b"auth a\n", &edit);
        new.extend_from_slice(b"auth b\n");
        let parts = take_out(&new).unwrap();
        assert_eq!(
            (parts.others.as_slice(), parts.is_our_copy),
            (&b"auth a\nauth b\n"[..], false)
        );
        assert!(take_out(b"# login_duo: begin. x\nauth\n").is_err());
    }
}
