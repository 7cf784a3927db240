//! A service's file with our line at one place of it, and what becomes of the lines of the first
//! factor. Whether a place is any good is for the proof to say.

use std::collections::BTreeSet;
use std::ops::Range;

use super::First;
use crate::pam::file::{Facility, Line, Says, lines};
use crate::pam::proof::is_first_factor;
use crate::pam::stack::{Files, Step};

/// What becomes of the lines of the first factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// They stay.
    Behind,
    /// What includes one becomes a substack.
    BehindSubstacks,
    /// They are switched off.
    InsteadOf,
}

impl How {
    /// What is tried, in this order.
    pub(super) fn ways(first: First) -> &'static [How] {
        match first {
            First::InTheStack => &[How::Behind, How::BehindSubstacks],
            First::Key => &[How::InsteadOf],
        }
    }
}

/// A service's own file, without our lines.
pub(super) struct ServiceFile<'f> {
    pub(super) bytes: &'f [u8],
    lines: Vec<Line>,
    /// The numbers of the lines that bring a first factor.
    first_factors: BTreeSet<usize>,
}

/// Lines of ours in such a file.
pub(super) struct Rewrite {
    /// The bytes that they take the place of.
    pub(super) instead_of: Range<usize>,
    pub(super) lines: Vec<String>,
    /// The lines that are switched off.
    pub(super) replaced: Vec<String>,
}

impl ServiceFile<'_> {
    /// `steps` are those of the service's stack.
    pub(super) fn new<'f>(bytes: &'f [u8], steps: &[Step]) -> ServiceFile<'f> {
        let factors = steps.iter().filter(|step| is_first_factor(step));
        ServiceFile {
            bytes,
            lines: lines(bytes),
            first_factors: factors.map(|step| step.own_line).collect(),
        }
    }

    /// The lines behind which ours could stand: from the last one that brings a first factor to
    /// the end. None, if no line brings one.
    pub(super) fn places(&self) -> Vec<&Line> {
        let auth: Vec<&Line> = self.auth().collect();
        let last = auth.iter().rposition(|line| self.brings_first_factor(line));
        last.and_then(|last| auth.get(last..))
            .unwrap_or_default()
            .to_vec()
    }

    fn auth(&self) -> impl Iterator<Item = &Line> {
        self.lines
            .iter()
            .filter(|line| line.facility == Facility::Auth)
    }

    fn brings_first_factor(&self, line: &Line) -> bool {
        self.first_factors.contains(&line.number)
    }

    /// The byte where our lines begin if they end behind `place`. `None` if there is no line of
    /// which this way makes something else.
    fn start(&self, how: How, place: &Line) -> Option<usize> {
        let mut factors = self.auth().filter(|line| self.brings_first_factor(line));
        let begins = match how {
            How::Behind => return Some(place.bytes.end),
            How::BehindSubstacks => factors.find(|line| included(line).is_some()),
            How::InsteadOf => factors.next(),
        };
        begins.map(|line| line.bytes.start)
    }

    /// This file with `ours` behind `place`. `None` if it would take away what is for another
    /// facility than `auth`.
    pub(super) fn rewrite(
        &self,
        how: How,
        place: &Line,
        files: &impl Files,
        ours: &str,
    ) -> Option<Rewrite> {
        let mut rewrite = Rewrite {
            instead_of: self.start(how, place)?..place.bytes.end,
            lines: Vec::new(),
            replaced: Vec::new(),
        };
        let all = self.lines.iter();
        for line in all.filter(|line| rewrite.instead_of.contains(&line.bytes.start)) {
            let text = line.words.join(" ");
            let is_auth = line.facility == Facility::Auth;
            let is_factor = is_auth && self.brings_first_factor(line);
            match (how, included(line).filter(|_| is_factor)) {
                (How::InsteadOf, _) if is_auth => {
                    must_be_auth_only(line, files)?;
                    rewrite.replaced.push(text);
                }
                (How::BehindSubstacks, Some(name)) => {
                    must_be_auth_only(line, files)?;
                    rewrite.lines.push(format!("auth substack {name}"));
                    rewrite.replaced.push(text);
                }
                _ => rewrite.lines.push(text),
            }
        }
        match how {
            // In the place of the first factor.
            How::InsteadOf => rewrite.lines.insert(0, ours.to_owned()),
            How::Behind | How::BehindSubstacks => rewrite.lines.push(ours.to_owned()),
        }
        Some(rewrite)
    }
}

/// The file that a line includes at its own level.
fn included(line: &Line) -> Option<&str> {
    match &line.says {
        Says::Include(name) | Says::Everything(name) => Some(name),
        _ => None,
    }
}

/// `None` if the line includes a file for other facilities too: whatever else that file is for
/// would be gone with the line.
fn must_be_auth_only(line: &Line, files: &impl Files) -> Option<()> {
    match &line.says {
        Says::Everything(name) => is_auth_only(files, name, 0).then_some(()),
        _ => Some(()),
    }
}

/// Whether a file, with all that it includes, has nothing but lines of `auth`.
fn is_auth_only(files: &impl Files, name: &str, depth: usize) -> bool {
    let Some((_, bytes)) = files.read(name).filter(|_| depth < 16) else {
        return false;
    };
    lines(&bytes).iter().all(|line| {
        let below = match &line.says {
            Says::Everything(name) => is_auth_only(files, name, depth + 1),
            _ => true,
        };
        line.facility == Facility::Auth && below
    })
}
