//! What waits for `duoctl confirm`: who enabled it, what was there before, and
//! what takes it back. Written before anything else changes, so that whatever
//! ends this process or this machine leaves something that takes it back.

pub mod session;
pub mod timer;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cli::Effect;
use crate::outcome::{Failure, Report};
use crate::ssh::Sshd;
use crate::ssh::accept::accepts;
use crate::ssh::place::Place;
use crate::ssh::record;
use crate::ssh::reload::reload;
use crate::ssh::replace::{remove, replace};
use session::Session;
use timer::Timer;

/// Root's alone.
const FOLDER: &str = "/var/lib/login_duo";

/// What is waited for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pending {
    /// sshd's configuration.
    pub sshd_config: PathBuf,
    /// Where our lines are.
    pub place: Place,
    /// Our lines before, if there were any.
    pub before: Option<Vec<u8>>,
    /// Whether the configuration was noted for this.
    pub remembered: bool,
    /// Who enabled it.
    pub session: Session,
    /// When it is taken back, in seconds since 1970.
    pub until: u64,
    /// What takes it back then.
    pub timer: Timer,
}

fn path() -> PathBuf {
    Path::new(FOLDER).join("pending.json")
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
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(FOLDER)?;
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

    /// Puts back what was there before, and has sshd read it.
    ///
    /// # Errors
    /// It is as it was then, or half-way back.
    pub fn take_back(self, report: &mut Report) -> Result<(), Failure> {
        let sshd = Sshd::with(&self.sshd_config)?;
        if self.place.ours()?.is_some() {
            let file = self.place.file_with(self.before.as_deref())?;
            let place = self.place.path().display();
            let replaced = replace(self.place.path(), file.as_deref());
            replaced
                .map_err(|error| Failure::refused(format!("{place} cannot be written: {error}")))?
                .keep();
            report.say(format!("{place} is as it was"));
        }
        if self.remembered {
            let _ = record::forget(&sshd);
        }
        let reloaded =
            accepts(&sshd.program, &sshd.config, Effect::Real).and_then(|()| reload(&sshd, report));
        self.end();
        reloaded.map_err(|why| Failure::HalfWay {
            why: format!("taken back, but sshd was not reloaded: {why}"),
            way_back: "have sshd reload its configuration".to_owned(),
        })
    }
}

/// The folder goes too, if nothing else is in it.
fn forget() -> io::Result<()> {
    remove(&path().with_extension("new"))?;
    remove(&path())?;
    let _ = fs::remove_dir(FOLDER);
    Ok(())
}
