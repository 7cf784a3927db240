//! Which file takes our lines: one of its own, where sshd includes that for
//! everybody; else sshd_config itself, between marks.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::block;
use super::{Sshd, Style};
use crate::check::sshd::lines::{includes, words};
use crate::outcome::Failure;

/// Where our lines are, or shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A file with nothing else in it.
    OwnFile(PathBuf),
    /// A file of the administrator's, in which they stand between marks.
    Block(PathBuf),
    /// The same, for the lines that the PAM style needs.
    PamBlock(PathBuf),
}

impl Place {
    fn block(sshd: &Sshd, style: Style) -> Place {
        match style {
            Style::Forced => Place::Block(sshd.config.clone()),
            Style::Pam => Place::PamBlock(sshd.config.clone()),
        }
    }

    /// The place for new lines.
    ///
    /// # Errors
    /// Lines of ours stand in the other place.
    pub fn choose(sshd: &Sshd, style: Style) -> Result<Place, Failure> {
        let block = Place::block(sshd, style);
        let drop_in = sshd.drop_in(style);
        if !includes_our_file(sshd, &drop_in)? {
            return Ok(block);
        }
        if block.ours()?.is_some() {
            let text = format!(
                "'{}' has lines of ours, and now includes '{}' too: {} first",
                sshd.config.display(),
                drop_in.display(),
                sshd.again(match style {
                    Style::Forced => "disable ssh",
                    Style::Pam => "disable pam sshd",
                })
            );
            return Err(Failure::refused(text));
        }
        Ok(Place::OwnFile(drop_in))
    }

    /// Every place that has lines of ours, of one style.
    ///
    /// # Errors
    /// A file cannot be read, or its lines have no end.
    pub fn with_lines(sshd: &Sshd, style: Style) -> Result<Vec<Place>, Failure> {
        let both = [
            Place::OwnFile(sshd.drop_in(style)),
            Place::block(sshd, style),
        ];
        let mut found = Vec::new();
        for place in both {
            if place.ours()?.is_some() {
                found.push(place);
            }
        }
        Ok(found)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Place::OwnFile(path) | Place::Block(path) | Place::PamBlock(path) => path,
        }
    }

    /// Our lines, if they are there.
    ///
    /// # Errors
    /// The file cannot be read, or they have no end.
    pub fn ours(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(file) = content(self.path())? else {
            return Ok(None);
        };
        match self {
            Place::OwnFile(_) => Ok(Some(file)),
            Place::Block(path) => Ok(parts(path, &file, Style::Forced)?.ours),
            Place::PamBlock(path) => Ok(parts(path, &file, Style::Pam)?.ours),
        }
    }

    /// The whole file with `lines` as ours; `None` for no file at all.
    ///
    /// # Errors
    /// The file cannot be read, or our lines have no end.
    pub fn file_with(&self, lines: Option<&[u8]>) -> Result<Option<Vec<u8>>, Failure> {
        let (path, style) = match self {
            Place::OwnFile(_) => return Ok(lines.map(<[u8]>::to_vec)),
            Place::Block(path) => (path, Style::Forced),
            Place::PamBlock(path) => (path, Style::Pam),
        };
        let file = content(path)?.unwrap_or_default();
        let others = parts(path, &file, style)?.others;
        Ok(Some(match lines {
            Some(lines) => block::join(&others, lines),
            None => others,
        }))
    }
}

fn parts(path: &Path, file: &[u8], style: Style) -> Result<block::Parts, Failure> {
    block::split(file, style)
        .map_err(|why| Failure::refused(format!("'{}': {why}", path.display())))
}

/// A file's bytes, if it is there.
pub fn content(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let text = format!("'{}' cannot be read: {error}", path.display());
            Err(Failure::refused(text))
        }
    }
}

/// Whether sshd reads our file for everybody: included before any Match, by
/// sshd_config itself.
fn includes_our_file(sshd: &Sshd, drop_in: &Path) -> Result<bool, Failure> {
    if !drop_in.parent().is_some_and(Path::is_dir) {
        return Ok(false);
    }
    let file = content(&sshd.config)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&file);
    let is = |words: &[String], keyword: &str| {
        let first = words.first();
        first.is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    };
    let mut before_match = text
        .lines()
        .map(words)
        .take_while(|words| !is(words, "match"));
    Ok(before_match
        .any(|words| is(&words, "include") && words.iter().skip(1).any(|it| includes(it, drop_in))))
}
