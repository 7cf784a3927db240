//! What waits for `duoctl confirm`: who enabled it, what was there before, and
//! what takes it back. Written before anything else changes, so that whatever
//! ends this process or this machine leaves something that takes it back.

pub mod session;
pub mod timer;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cli::Effect;
use crate::outcome::{Failure, Report};
use crate::pam::{self, edit};
use crate::ssh::accept::accepts;
use crate::ssh::place::{Place, content};
use crate::ssh::reload::reload;
use crate::ssh::replace::{Replaced, put_all_back, remove, replace};
use crate::ssh::{Sshd, record};
use crate::state::{self, FOLDER};
use session::Session;
use timer::Timer;

/// What is taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Waiting {
    /// Our lines in sshd's configuration.
    Sshd {
        /// sshd's configuration.
        config: PathBuf,
        /// Where our lines are.
        place: Place,
        /// Our lines before, if there were any.
        before: Option<Vec<u8>>,
    },
    /// Our lines in the file of a PAM service.
    Pam {
        /// The service.
        service: String,
        /// Its file.
        path: PathBuf,
        /// What was in it, if it was there.
        before: Option<Vec<u8>>,
        /// What is in it, if nobody has changed it since.
        after: Option<Vec<u8>>,
    },
}

/// What is waited for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pending {
    /// What is taken back.
    pub what: Vec<Waiting>,
    /// Who enabled it.
    pub session: Session,
    /// When it is taken back, in seconds since 1970.
    pub until: u64,
    /// What takes it back then.
    pub timer: Timer,
}

fn path() -> PathBuf {
    state::file("pending.json")
}

/// What waits now.
///
/// # Errors
/// It cannot be read.
pub fn read() -> Result<Option<Pending>, Failure> {
    let bytes = match fs::read(path()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(&error)),
    };
    let pending = serde_json::from_slice(&bytes);
    pending.map(Some).map_err(|error| unusable(&error.into()))
}

fn unusable(error: &io::Error) -> Failure {
    let path = path();
    Failure::refused(format!("'{}' cannot be used: {error}", path.display()))
}

/// When `span` from now is over, in seconds since 1970.
pub fn after(span: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().saturating_add(span).as_secs()
}

impl Pending {
    /// How long is left.
    pub fn left(&self) -> Duration {
        Duration::from_secs(self.until.saturating_sub(after(Duration::ZERO)))
    }

    /// Writes it down, then starts what takes it back after `span`.
    ///
    /// # Errors
    /// Nothing is left of it then.
    pub fn begin(mut self, span: Duration) -> Result<Pending, Failure> {
        self.timer = Timer::planned();
        self.write().map_err(|error| {
            let _ = forget();
            unusable(&error)
        })?;
        let started = Timer::start(span).and_then(|timer| {
            self.timer = timer;
            self.write().map_err(|error| error.to_string())
        });
        match started {
            Ok(()) => Ok(self),
            Err(why) => {
                self.end();
                let text = format!("nothing would take it back in time: {why}");
                Err(Failure::Refused(text))
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        state::make_folder(Path::new(FOLDER))?;
        let bytes = serde_json::to_vec(self)?;
        let new = path().with_extension("new");
        remove(&new)?;
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path())?;
        File::open(FOLDER)?.sync_all()
    }

    /// It waits no more; what was enabled stays.
    pub fn end(self) {
        let _ = forget();
        self.timer.stop();
    }

    /// The files that are waited for.
    pub fn paths(&self) -> Vec<&Path> {
        self.what.iter().map(Waiting::path).collect()
    }

    /// Whether nothing that waits is enabled any more.
    pub fn is_void(&self) -> bool {
        !self.what.iter().any(Waiting::is_enabled)
    }

    /// Puts back what was there before, and has sshd read it.
    ///
    /// # Errors
    /// It is as it was then, or half-way back.
    pub fn take_back(self, report: &mut Report) -> Result<(), Failure> {
        let mut replaced = Vec::new();
        for one in &self.what {
            match one.put_back(report) {
                Ok(done) => replaced.extend(done),
                Err(failure) => {
                    let _ = put_all_back(replaced);
                    return Err(failure);
                }
            }
        }
        replaced.into_iter().for_each(Replaced::keep);
        pam::record::refresh();
        let mut reloaded = Ok(());
        for one in &self.what {
            if let Waiting::Sshd { config, .. } = one {
                let sshd = Sshd::with(config)?;
                let _ = record::erase(&sshd);
                reloaded = accepts(&sshd.program, &sshd.config, Effect::Real)
                    .and_then(|()| reload(&sshd, report));
            }
        }
        self.end();
        reloaded.map_err(|why| Failure::HalfWay {
            why: format!("taken back, but sshd was not reloaded: {why}"),
            way_back: "have sshd reload its configuration".to_owned(),
        })
    }
}

impl Waiting {
    fn path(&self) -> &Path {
        match self {
            Waiting::Sshd { place, .. } => place.path(),
            Waiting::Pam { path, .. } => path,
        }
    }

    fn is_enabled(&self) -> bool {
        match self {
            Waiting::Sshd { place, .. } => place.ours().is_ok_and(|ours| ours.is_some()),
            Waiting::Pam { path, .. } => {
                let now = content(path).ok().flatten().unwrap_or_default();
                edit::take_out(&now).is_ok_and(|parts| parts.has_ours)
            }
        }
    }

    /// Puts back what was there before, unless our lines are gone.
    fn put_back(&self, report: &mut Report) -> Result<Option<Replaced>, Failure> {
        if !self.is_enabled() {
            return Ok(None);
        }
        let file = match self {
            Waiting::Sshd { place, before, .. } => place.file_with(before.as_deref())?,
            Waiting::Pam {
                path,
                before,
                after,
                ..
            } => match content(path)? {
                now if now == *after => before.clone(),
                // Somebody has changed the file: what they wrote stays.
                now => pam::without_ours(path, &now.unwrap_or_default())?,
            },
        };
        let path = self.path();
        let shown = path.display();
        let replaced = replace(path, file.as_deref())
            .map_err(|error| Failure::refused(format!("{shown} cannot be written: {error}")))?;
        report.say(format!("{shown} is as it was"));
        Ok(Some(replaced))
    }
}

/// The folder goes too, if nothing else is in it.
fn forget() -> io::Result<()> {
    remove(&path().with_extension("new"))?;
    remove(&path())?;
    let _ = fs::remove_dir(FOLDER);
    Ok(())
}
