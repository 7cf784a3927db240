//! The configuration file in the child. It is read before the sandbox, which is made of what
//! it says, and reported once there is a log.

use std::fs::File;
use std::path::Path;

use duo_policy::config::{self, Config, Facility, Failmode, Problem};
use duo_policy::error::Error;
use duo_policy::log_line::Priority;
use duo_system::configuration;
use duo_system::log::Log;
use duo_system::sandbox::{self, Needs};

use crate::Start;

/// The configuration file, as it was read.
pub(crate) struct Read {
    /// What the file decides.
    pub(crate) config: Reading,
    /// Where the log of this login goes.
    pub(crate) facility: Facility,
    sandbox: bool,
    mistakes: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// How reading the configuration file ended.
pub(crate) enum Reading {
    Good(Box<Config>),
    /// The mistakes, and the failmode that applies to them: `safe` only if the file
    /// says so beyond doubt (docs/behaviour.md, *Failmode*).
    Broken(Error, Failmode),
}

impl Read {
    /// Reads the file that root has opened. Nothing is reported yet.
    pub(crate) fn of(start: &Start<'_>, file: Option<File>) -> Read {
        let nothing = |mistakes| Read::nothing(start.path, mistakes);
        let (file, warning) = match (&start.opened, file) {
            (Ok(warning), Some(file)) => (file, warning),
            (Ok(_), None) => return nothing(Vec::new()),
            (Err(mistakes), _) => return nothing(mistakes.clone()),
        };
        let bytes = match configuration::read(&file) {
            Ok(bytes) => bytes,
            Err(mistake) => return nothing(vec![mistake]),
        };
        let mut read = match config::parse(bytes.expose()) {
            Ok(parsed) => Read {
                sandbox: parsed.config.sandbox,
                facility: parsed.config.syslog_facility,
                config: Reading::Good(Box::new(parsed.config)),
                mistakes: Vec::new(),
                warnings: parsed.warnings,
            },
            Err(broken) => Read {
                sandbox: broken.sandbox,
                facility: broken.syslog_facility,
                config: Reading::Broken(
                    summary(start.path, &broken.problems),
                    broken.failmode.unwrap_or(Failmode::Secure),
                ),
                mistakes: broken.problems,
                warnings: broken.warnings,
            },
        };
        if let Some(warning) = warning {
            read.warnings.insert(0, warning.clone());
        }
        read
    }

    /// A file of which nothing could be read.
    fn nothing(path: &Path, mistakes: Vec<Problem>) -> Read {
        Read {
            config: Reading::Broken(summary(path, &mistakes), Failmode::Secure),
            sandbox: true,
            facility: Facility::AUTHPRIV,
            mistakes,
            warnings: Vec::new(),
        }
    }

    /// Shuts this process in, unless the configuration says otherwise.
    ///
    /// The sandbox needs to know Duo's port and the file of roots, so the configuration is
    /// parsed before: it is a file of root's. All else that is read comes from outside and is
    /// read afterwards: the claim of a host, what directories say of accounts and groups, the
    /// network, and the person.
    ///
    /// # Errors
    /// [`Error::Fault`] if the kernel refuses what it has.
    pub(crate) fn enter_sandbox(&self) -> Result<(), Error> {
        if !self.sandbox {
            return Ok(());
        }
        let needs = match &self.config {
            Reading::Good(config) => Needs {
                cafile: config.cafile.as_deref(),
                port: Some(config.next_hop().port),
            },
            Reading::Broken(..) => Needs::default(),
        };
        sandbox::enter(&needs).map(drop)
    }

    /// Writes all mistakes and warnings to the log, and shows the mistakes, so that whoever
    /// tries the file sees them, by ssh or on the machine.
    pub(crate) fn report(&self, start: &Start<'_>, log: &Log) {
        if let Reading::Broken(..) = self.config {
            let mistakes = self.mistakes.iter();
            let texts: Vec<String> = mistakes.map(|mistake| mistake.at(start.path)).collect();
            for text in &texts {
                log.line(Priority::Error, text);
            }
            (start.complain)(&texts.join("\n"));
        }
        for warning in &self.warnings {
            log.warning(&warning.at(start.path));
        }
    }
}

/// The first mistake of the configuration file, and how many more there are.
fn summary(path: &Path, problems: &[Problem]) -> Error {
    let mut text = match problems {
        [] => format!("{}: cannot be read", path.display()),
        [first, ..] => first.at(path),
    };
    if problems.len() > 1 {
        text.push_str(&format!(" (and {} more)", problems.len() - 1));
    }
    Error::Configuration(text)
}
