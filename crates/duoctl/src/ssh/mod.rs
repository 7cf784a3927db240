//! sshd's configuration as something to be changed: which file takes our lines,
//! what they are, how a file is replaced, and how sshd comes to read it.

pub mod accept;
pub mod block;
pub mod candidate;
pub mod effect;
pub mod place;
pub mod record;
pub mod reload;
pub mod replace;
pub mod tool;

use std::path::{Path, PathBuf};

use crate::check::sshd::{CONFIGURATION, run};
use crate::cli::Common;
use crate::finding::quoted;
use crate::outcome::Failure;

/// By which of our styles a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// sshd runs login_duo.
    Forced,
    /// sshd asks PAM, which asks Duo.
    Pam,
}

/// The sshd that is configured, and by which files.
#[derive(Debug, Clone)]
pub struct Sshd {
    /// The program.
    pub program: PathBuf,
    /// Its configuration: the file itself, so that a link to it stays a link.
    pub config: PathBuf,
}

impl Sshd {
    /// Finds both.
    ///
    /// # Errors
    /// One is not there.
    pub fn find(common: &Common) -> Result<Sshd, Failure> {
        let config = common.sshd_config.as_deref();
        Sshd::with(config.unwrap_or(Path::new(CONFIGURATION)))
    }

    /// The sshd that reads the file at `path`.
    ///
    /// # Errors
    /// One is not there.
    pub fn with(path: &Path) -> Result<Sshd, Failure> {
        let Some(program) = run::find() else {
            let text = "there is no sshd in /usr/sbin or /usr/local/sbin";
            return Err(Failure::refused(text));
        };
        let Ok(config) = path.canonicalize() else {
            let text = format!(
                "there is no '{}': name it with --sshd-config",
                path.display()
            );
            return Err(Failure::refused(text));
        };
        Ok(Sshd {
            program: program.to_owned(),
            config,
        })
    }

    /// The file of our own, where its folder is included.
    pub fn drop_in(&self, style: Style) -> PathBuf {
        let folder = self.config.with_file_name("sshd_config.d");
        folder.join(match style {
            Style::Forced => "00-login_duo.conf",
            Style::Pam => "00-login_duo-pam.conf",
        })
    }

    /// Whether it reads the usual file.
    pub fn is_usual(&self) -> bool {
        let usual = Path::new(CONFIGURATION).canonicalize();
        usual.is_ok_and(|usual| usual == self.config)
    }

    /// The command that does `what` to this sshd.
    pub fn again(&self, what: &str) -> String {
        let own = crate::layout::duoctl();
        let own = match own.as_path() == Path::new("/usr/sbin/duoctl") {
            true => "duoctl".to_owned(),
            false => quoted(&own),
        };
        match self.is_usual() {
            true => format!("{own} {what}"),
            false => format!("{own} {what} --sshd-config {}", quoted(&self.config)),
        }
    }
}
