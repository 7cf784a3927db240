//! Files that change together or not at all, and sshd, which reads some of them:
//! whatever goes wrong takes all of it back, a signal too.

use std::path::PathBuf;
use std::time::Duration;

use crate::outcome::{Failure, Report};
use crate::pending::session::Session;
use crate::pending::timer::Timer;
use crate::pending::{Pending, Waiting, after};
use crate::signals::Signals;
use crate::ssh::reload::reload;
use crate::ssh::replace::{Replaced, put_all_back, replace_all};
use crate::ssh::{Sshd, record};

/// A file and what shall be in it.
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// What shall be there; `None` for no file at all.
    pub bytes: Option<Vec<u8>>,
    /// The file whose owner and mode a new one gets.
    pub like: PathBuf,
}

/// What changes.
pub struct Transaction<'a> {
    /// The files, in the order in which they are written.
    pub files: Vec<Written>,
    /// The sshd that reads one of them.
    pub sshd: Option<&'a Sshd>,
    /// What takes it back if nobody confirms in time.
    pub waiting: Option<(Duration, Vec<Waiting>)>,
    /// The command that takes it back.
    pub way_back: String,
}

/// How far it came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// The files are written.
    Written,
    /// sshd has read them.
    Reloaded,
}

impl Transaction<'_> {
    /// Does it. `verify` judges what is written, before sshd reads it.
    ///
    /// # Errors
    /// All is as it was, or half-way.
    pub fn carry_out<T>(
        &self,
        signals: &Signals,
        report: &mut Report,
        verify: impl FnOnce(&mut Report) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let pending = self.begin_waiting()?;
        let replaced = match self.write() {
            Ok(replaced) => replaced,
            Err(failure) => {
                self.forget();
                return Err(given_up(pending, failure));
            }
        };
        let mut reached = Reached::Written;
        let verified = verify(report).and_then(|found| {
            self.have_it_read(signals, &mut reached, report)?;
            Ok(found)
        });
        match verified {
            Ok(found) => {
                replaced.into_iter().for_each(Replaced::keep);
                Ok(found)
            }
            Err(why) => {
                let failure = self.take_back(replaced, reached, &why, report);
                Err(given_up(pending, failure))
            }
        }
    }

    /// With `--confirm`: what takes it back stands before there is anything to be
    /// taken back.
    fn begin_waiting(&self) -> Result<Option<Pending>, Failure> {
        let Some((span, what)) = &self.waiting else {
            return Ok(None);
        };
        let pending = Pending {
            what: what.clone(),
            session: Session::of_this_process(),
            until: after(*span),
            timer: Timer::None,
        };
        pending.begin(*span).map(Some)
    }

    fn write(&self) -> Result<Vec<Replaced>, Failure> {
        if let Some(sshd) = self.sshd {
            record::note(sshd)
                .map_err(|error| Failure::Refused(format!("nothing has changed: {error}")))?;
        }
        let files = self.files.iter().map(|file| {
            let bytes = file.bytes.as_deref();
            (file.path.as_path(), bytes, file.like.as_path())
        });
        replace_all(files, &self.way_back)
    }

    fn have_it_read(
        &self,
        signals: &Signals,
        reached: &mut Reached,
        report: &mut Report,
    ) -> Result<(), String> {
        signals.none_came()?;
        if let Some(sshd) = self.sshd {
            *reached = Reached::Reloaded;
            reload(sshd, report).map_err(|why| format!("sshd could not be reloaded ({why})"))?;
        }
        // Whoever interrupts this must not leave an sshd that has read it.
        signals.none_came()
    }

    /// Puts everything back, and has sshd read that if it has read the other.
    fn take_back(
        &self,
        replaced: Vec<Replaced>,
        reached: Reached,
        why: &str,
        report: &mut Report,
    ) -> Failure {
        let paths: Vec<String> = self
            .files
            .iter()
            .map(|file| file.path.display().to_string())
            .collect();
        let paths = paths.join(", ");
        if let Err(error) = put_all_back(replaced) {
            return Failure::HalfWay {
                why: format!("{why}; {paths} cannot be put back: {error}"),
                way_back: self.way_back.clone(),
            };
        }
        self.forget();
        if reached == Reached::Reloaded
            && let Some(sshd) = self.sshd
            && let Err(error) = reload(sshd, report)
        {
            report.warn(format!("sshd was not reloaded again: {error}"));
        }
        Failure::Refused(match self.files.len() {
            0 | 1 => format!("{why}; {paths} is as it was"),
            _ => format!("{why}; {paths} are as they were"),
        })
    }

    fn forget(&self) {
        if let Some(sshd) = self.sshd {
            let _ = record::erase(sshd);
        }
    }
}

/// Nothing waits any more, unless something is left to be taken back: then what waits
/// takes it back when its time is over.
fn given_up(pending: Option<Pending>, failure: Failure) -> Failure {
    if !matches!(failure, Failure::HalfWay { .. }) {
        pending.into_iter().for_each(Pending::end);
    }
    failure
}
