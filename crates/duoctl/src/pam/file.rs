//! The lines of one PAM file, as Linux-PAM reads them: blanks and tabs part the
//! words, brackets hold them together, `#` ends a line, a backslash joins two.

use std::ops::Range;

use super::control::Control;

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// Who somebody is: the only kind that is looked at here.
    Auth,
    /// account, session and password.
    Other,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// A module is asked.
    Module {
        /// What comes of its answer.
        control: Control,
        /// Its name or path.
        module: String,
        /// The rest of the line.
        arguments: Vec<String>,
    },
    /// The lines of another file stand here: those of one facility.
    Include(String),
    /// They stand here, and end no more than themselves.
    Substack(String),
    /// All lines of another file stand here (Debian's `@include`).
    Everything(String),
    /// Linux-PAM cannot read it, and fails.
    Broken,
}

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number of its first line, from 1.
    pub number: usize,
    /// Its bytes in the file, line end included.
    pub bytes: Range<usize>,
    /// What it is for; of `@include`, what is looked for here.
    pub facility: Facility,
    /// What it says.
    pub says: Says,
    /// Its words.
    pub words: Vec<String>,
}

/// The lines of a file.
pub fn lines(file: &[u8]) -> Vec<Line> {
    let mut found = Vec::new();
    let mut begun: Option<(usize, usize, String)> = None;
    let mut at = 0;
    for (index, raw) in file.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = at + raw.len();
        let text = String::from_utf8_lossy(raw);
        let bare = text.strip_suffix('\n').unwrap_or(&text);
        let is_empty = bare.trim_start_matches([' ', '\t']).is_empty();
        let is_comment = bare.trim_start_matches([' ', '\t']).starts_with('#');
        if !is_empty && !is_comment {
            let (number, start, mut words) = begun.take().unwrap_or((index + 1, at, String::new()));
            let (said, is_cut) = match bare.split_once('#') {
                Some((said, _)) => (said, true),
                None => (bare, false),
            };
            let goes_on = !is_cut && said.ends_with('\\');
            words.push_str(said.trim_end_matches('\\'));
            words.push(' ');
            match goes_on {
                true => begun = Some((number, start, words)),
                false => found.extend(line(number, start..end, &words)),
            }
        }
        at = end;
    }
    if let Some((number, start, words)) = begun {
        found.extend(line(number, start..at, &words));
    }
    found
}

fn line(number: usize, bytes: Range<usize>, text: &str) -> Option<Line> {
    let words = words(text);
    let (facility, says) = says(&words)?;
    Some(Line {
        number,
        bytes,
        facility,
        says,
        words,
    })
}

fn says(words: &[String]) -> Option<(Facility, Says)> {
    let mut rest = words.iter();
    let first = rest.next()?;
    if first.eq_ignore_ascii_case("@include") {
        let says = rest
            .next()
            .map_or(Says::Broken, |file| Says::Everything(file.clone()));
        return Some((Facility::Auth, says));
    }
    let kind = first
        .strip_prefix('-')
        .unwrap_or(first)
        .to_ascii_lowercase();
    let facility = match kind.as_str() {
        "account" | "session" | "password" => Facility::Other,
        "auth" => Facility::Auth,
        _ => return Some((Facility::Auth, Says::Broken)),
    };
    let (Some(control), Some(name)) = (rest.next(), rest.next()) else {
        return Some((facility, Says::Broken));
    };
    let says = match control.to_ascii_lowercase().as_str() {
        "include" => Says::Include(name.clone()),
        "substack" => Says::Substack(name.clone()),
        _ => match Control::parse(control) {
            Some(control) => Says::Module {
                control,
                module: name.clone(),
                arguments: rest.cloned().collect(),
            },
            None => Says::Broken,
        },
    };
    Some((facility, says))
}

/// A word in brackets goes up to the closing one.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n']);
        let end = match rest.chars().next() {
            None => return words,
            Some('[') => rest.find(']').map_or(rest.len(), |at| at + 1),
            Some(_) => rest.find([' ', '\t', '\n']).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(end);
        words.push(word.to_owned());
        rest = after;
    }
}

/// The name of a module without its folder.
pub fn base_name(module: &str) -> &str {
    module.rsplit('/').next().unwrap_or(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_linux_pam_reads_them() {
        let text = b"#%PAM-1.0\n\n auth\t[success=1  default=ignore]  pam_unix.so nullok # why\n\
            -auth sufficient pam_x.so [a b] c\\\n  d\naccount required pam_y.so\n@include common-auth\n\
            auth include z\nauth substack s\nauth maybe pam_q.so\nnonsense\nauth required";
        let found = lines(text);
        let told: Vec<String> = found
            .iter()
            .map(|line| match &line.says {
                Says::Module {
                    module, arguments, ..
                } => {
                    format!("{} {module} {}", line.number, arguments.join(","))
                }
                says => format!("{} {says:?}", line.number),
            })
            .collect();
        assert_eq!(
            told,
            [
                "3 pam_unix.so nullok",
                "4 pam_x.so [a b],c,d",
                "6 pam_y.so ",
                "7 Everything(\"common-auth\")",
                "8 Include(\"z\")",
                "9 Substack(\"s\")",
                "10 Broken",
                "11 Broken",
                "12 Broken",
            ]
        );
        let raw = |at: usize| String::from_utf8_lossy(&text[found[at].bytes.clone()]).into_owned();
        assert_eq!(raw(1), "-auth sufficient pam_x.so [a b] c\\\n  d\n");
        assert_eq!(raw(8), "auth required");
        assert_eq!(found[2].facility, Facility::Other);
    }
}
