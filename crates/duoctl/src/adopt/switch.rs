//! The ForceCommand lines of sshd that name one login_duo come to name the other: the path alone
//! changes, in each file, and all of it is taken back if sshd does not do as it should.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use duo_system::system_words;

use crate::check::local::Local;
use crate::check::sshd::lines::{Line, Lines};
use crate::check::sshd::{ANYBODY, ANYWHERE, Spec, run};
use crate::cli::Effect;
use crate::outcome::{Failure, Report};
use crate::signals::Signals;
use crate::ssh::Sshd;
use crate::ssh::accept::accepts;
use crate::ssh::reload::reload;
use crate::ssh::replace::{Replaced, replace};

/// For all of sshd's answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Accounts that sshd is asked about, besides root and somebody whom no Match block names.
const MOST_ACCOUNTS: usize = 100;

/// What is to be done.
pub struct Plan<'a> {
    sshd: &'a Sshd,
    from: &'a Path,
    to: &'a Path,
    lines: Vec<Line>,
    /// What sshd runs for each of some logins as it is.
    before: Vec<(String, String)>,
}

/// Whether two paths are one file, or the same words.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| {
        let status = fs::metadata(path).ok()?;
        Some((status.dev(), status.ino()))
    };
    one == other || file(one).is_some_and(|status| file(other) == Some(status))
}

/// The ForceCommand lines whose program is `program`.
pub fn naming<'a>(lines: &'a Lines, program: &Path) -> Vec<&'a Line> {
    let all = lines.lines.iter().filter(|line| line.is("forcecommand"));
    all.filter(|line| named(line).is_some_and(|path| is_same(&path, program)))
        .collect()
}

/// The programs of the name login_duo that ForceCommand lines name, but for ours.
pub fn others(lines: &Lines, ours: &Path) -> Vec<PathBuf> {
    let all = lines.lines.iter().filter(|line| line.is("forcecommand"));
    let mut paths: Vec<PathBuf> = all
        .filter_map(named)
        .filter(|path| path.file_name().is_some_and(|name| name == "login_duo"))
        .filter(|path| !is_same(path, ours))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// The program of a ForceCommand line.
fn named(line: &Line) -> Option<PathBuf> {
    let words = line.rest().iter().flat_map(|word| word.split_whitespace());
    let first = words.into_iter().find(|word| *word != "exec")?;
    first.starts_with('/').then(|| PathBuf::from(first))
}

impl<'a> Plan<'a> {
    /// The lines that name `from` shall name `to`.
    ///
    /// # Errors
    /// There are none, or one says more than a path.
    pub fn of(
        sshd: &'a Sshd,
        lines: &Lines,
        from: &'a Path,
        to: &'a Path,
    ) -> Result<Plan<'a>, Failure> {
        // A shell reads the line, and so does sshd.
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
        let path = to.to_string_lossy();
        if !path.chars().all(plain) {
            let text = format!("'{path}' has a blank or another character that a line cannot have");
            return Err(Failure::refused(text));
        }
        let found: Vec<Line> = naming(lines, from).into_iter().cloned().collect();
        if found.is_empty() {
            let text = format!("no ForceCommand of sshd names {}", from.display());
            return Err(Failure::refused(text));
        }
        // `-c FILE` is root's alone in both programs, so such a line works for nobody else.
        let odd = found.iter().find(|line| {
            line.rest().len() != 1 || line.rest().first().is_some_and(|word| word.contains(' '))
        });
        if let Some(line) = odd {
            let text = format!("{} says more than a path: change it by hand", line.place());
            return Err(Failure::refused(text));
        }
        Ok(Plan {
            sshd,
            from,
            to,
            lines: found,
            before: commands(sshd).map_err(Failure::Refused)?,
        })
    }

    /// The lines, for people.
    pub fn say(&self, verb: &str, report: &mut Report) {
        for line in &self.lines {
            report.say(format!("{} {verb} {}", line.place(), self.to.display()));
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// All is as it was, or half-way.
    pub fn carry_out(&self, report: &mut Report) -> Result<(), Failure> {
        let signals = Signals::block()?;
        let mut files: BTreeMap<&Path, Vec<&Line>> = BTreeMap::new();
        for line in &self.lines {
            files.entry(&line.file).or_default().push(line);
        }
        let mut replaced = Vec::new();
        let mut failed = None;
        for (path, lines) in files {
            match self
                .rewritten(path, &lines)
                .and_then(|bytes| replace(path, Some(&bytes)).map_err(|error| system_words(&error)))
            {
                Ok(file) => replaced.push(file),
                Err(why) => {
                    failed = Some(format!("{} cannot be written: {why}", path.display()));
                    break;
                }
            }
        }
        let mut has_read = HasRead::No;
        let done = match failed {
            Some(why) => Err(why),
            None => self.verify(&signals, &mut has_read, report),
        };
        match done {
            Ok(()) => {
                replaced.into_iter().for_each(Replaced::keep);
                self.say("names", report);
                Ok(())
            }
            Err(why) => Err(self.take_back(replaced, has_read, why, report)),
        }
    }

    /// The file with the path changed in these lines, and nothing else.
    fn rewritten(&self, path: &Path, lines: &[&Line]) -> Result<Vec<u8>, String> {
        let file = fs::read(path).map_err(|error| system_words(&error))?;
        let mut new = Vec::with_capacity(file.len() + 256);
        for (number, text) in (1..).zip(file.split_inclusive(|byte| *byte == b'\n')) {
            let Some(line) = lines.iter().find(|line| line.number == number) else {
                new.extend_from_slice(text);
                continue;
            };
            let written = named(line).ok_or("the line is gone")?;
            let written = written.as_os_str().as_bytes();
            let at = text
                .windows(written.len())
                .position(|window| window == written);
            let (before, rest) = at
                .and_then(|at| text.split_at_checked(at))
                .ok_or("the file has changed")?;
            new.extend_from_slice(before);
            new.extend_from_slice(self.to.as_os_str().as_bytes());
            new.extend_from_slice(rest.get(written.len()..).unwrap_or_default());
        }
        Ok(new)
    }

    fn verify(
        &self,
        signals: &Signals,
        has_read: &mut HasRead,
        report: &mut Report,
    ) -> Result<(), String> {
        accepts(&self.sshd.program, &self.sshd.config, Effect::Real)?;
        let after = commands(self.sshd)?;
        for ((user, was), (_, is)) in self.before.iter().zip(&after) {
            let expected = self.switched(was);
            if *is != expected {
                return Err(format!(
                    "for '{user}' sshd would run '{is}', not '{expected}'"
                ));
            }
        }
        signals.none_came()?;
        *has_read = HasRead::Yes;
        reload(self.sshd, report).map_err(|why| format!("sshd could not be reloaded ({why})"))?;
        signals.none_came()
    }

    /// What sshd runs in place of this.
    fn switched(&self, command: &str) -> String {
        let words = command.split_whitespace();
        let plain = words.map(|word| word.trim_matches(['"', '\'']));
        match plain.into_iter().find(|word| *word != "exec") {
            Some(word) if is_same(Path::new(word), self.from) => {
                command.replacen(word, &self.to.to_string_lossy(), 1)
            }
            _ => command.to_owned(),
        }
    }

    fn take_back(
        &self,
        replaced: Vec<Replaced>,
        has_read: HasRead,
        why: String,
        report: &mut Report,
    ) -> Failure {
        for file in replaced {
            if let Err(error) = file.put_back() {
                return Failure::HalfWay {
                    why: format!("{why}; a file cannot be put back: {}", system_words(&error)),
                    way_back: format!(
                        "in the ForceCommand lines of {}, write {}",
                        self.sshd.config.display(),
                        self.from.display()
                    ),
                };
            }
        }
        if has_read == HasRead::Yes
            && let Err(error) = reload(self.sshd, report)
        {
            report.warn(format!("sshd was not reloaded again: {error}"));
        }
        Failure::Refused(format!("{why}; sshd's files are as they were"))
    }
}

/// What sshd would run for each of some logins.
fn commands(sshd: &Sshd) -> Result<Vec<(String, String)>, String> {
    let until = Instant::now() + PATIENCE;
    let local = Local::read();
    let users = local.users.iter().take(MOST_ACCOUNTS);
    let names = users.map(|user| user.name.as_str());
    let ask = |user: &str| {
        let spec = Spec::of(user, ANYWHERE).to_string();
        let settings = run::options(&sshd.program, Some(&sshd.config), &spec, until)
            .map_err(|finding| finding.text)?;
        Ok((user.to_owned(), settings.value("forcecommand").to_owned()))
    };
    [ANYBODY, "root"]
        .into_iter()
        .chain(names)
        .map(ask)
        .collect()
}

/// Whether the listening sshd may have read the new lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HasRead {
    No,
    Yes,
}
