//! Changes which pam_duo.so the lines of PAM name: Duo's or ours. Both modules have one
//! name, and Duo's belongs to a package, so a line names ours by its path. `--back` writes
//! the name that was there before.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use duo_policy::config::{Failmode, keys_in};
use duo_system::system_words;
use serde::{Deserialize, Serialize};

use super::theirs::{content, path_in};
use crate::check;
use crate::cli::{Adopt, Check, Configure, Effect, NewConfiguration, Way, pam_configuration};
use crate::enable::transaction::{Transaction, Written};
use crate::finding::Level;
use crate::layout::MODULES;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::pam::edit;
use crate::pam::file::{Line, Says, base_name, lines};
use crate::pam::module;
use crate::pam::services::Services;
use crate::signals::Signals;
use crate::{Start, configure, state};

/// Where it is written down what the lines said.
fn record() -> PathBuf {
    state::file("adopted-pam.json")
}

/// The keys that every release of Duo's module knows. It lets everybody in at any other key, so
/// a key that is new here must not stand in this list.
const ALWAYS_THEIRS: [&str; 20] = [
    "ikey",
    "skey",
    "host",
    "failmode",
    "groups",
    "group",
    "pushinfo",
    "autopush",
    "prompts",
    "accept_env_factor",
    "fallback_local_ip",
    "https_timeout",
    "http_proxy",
    "cafile",
    "noverify",
    "send_gecos",
    "gecos_delim",
    "gecos_username_pos",
    "gecos_parsed",
    "dev_fips_mode",
];

/// What the lines said before.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Duo's module, as the lines named it.
    name: String,
    /// Its file.
    path: PathBuf,
}

/// A line that names the module that shall not be named any more.
struct Found {
    file: PathBuf,
    line: Line,
    /// The module, as the line names it.
    name: String,
    /// Its `conf=`.
    conf: Option<PathBuf>,
}

/// What is to be done.
pub struct Plan {
    way: Way,
    found: Vec<Found>,
    to: String,
    theirs: PathBuf,
}

impl Plan {
    /// The lines that change; none if there is nothing to do.
    ///
    /// # Errors
    /// They name several modules, or one that is not there.
    pub fn of(way: Way) -> Result<Option<Plan>, Failure> {
        match way {
            Way::Here => Plan::here(),
            Way::Back => Plan::back(),
        }
    }

    fn here() -> Result<Option<Plan>, Failure> {
        let found = named(|path| path.is_file() && !module::is_ours(path));
        let names: BTreeSet<&str> = found.iter().map(|it| it.name.as_str()).collect();
        let Some(name) = names.first().map(|name| (*name).to_owned()) else {
            return Ok(None);
        };
        if names.len() > 1 {
            let names: Vec<&str> = names.into_iter().collect();
            let text = format!("PAM loads several pam_duo.so: {}", names.join(", "));
            return Err(Failure::Refused(text));
        }
        let ours = module::find().map_err(Failure::Refused)?;
        Ok(Some(Plan {
            way: Way::Here,
            theirs: resolved(&name).unwrap_or_default(),
            found,
            to: ours.name,
        }))
    }

    fn back() -> Result<Option<Plan>, Failure> {
        let Ok(bytes) = fs::read(record()) else {
            return Ok(None);
        };
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::Refused(format!("{} cannot be used: {error}", record().display()))
        })?;
        if !record.path.is_file() {
            let text = format!(
                "{} is gone: install its package again first",
                record.path.display()
            );
            return Err(Failure::Refused(text));
        }
        let found = named(module::is_ours);
        Ok((!found.is_empty()).then_some(Plan {
            way: Way::Back,
            found,
            to: record.name,
            theirs: record.path,
        }))
    }

    /// Does it.
    ///
    /// # Errors
    /// All is as it was, or half-way.
    pub fn carry_out(&self, wanted: &Adopt, start: &Start, report: &mut Report) -> Outcome {
        self.must_work(wanted, start, report)?;
        if self.way == Way::Here {
            self.copy_configuration(wanted, start, report)?;
        }
        if wanted.common.effect == Effect::DryRun {
            self.say("would name", report);
            return Ok(Done::WouldChange);
        }
        let _ = start.inherited.restore_signals();
        let signals = Signals::block()?;
        let transaction = Transaction {
            files: self.files()?,
            sshd: None,
            waiting: None,
            way_back: format!(
                "in the lines of PAM that have pam_duo.so, write {}",
                self.names()
            ),
        };
        transaction.carry_out(&signals, report, |_| self.verify())?;
        self.say("names", report);
        report.say("KEEP THIS SESSION OPEN, with a root shell in it, and try a second one now");
        Ok(Done::Changed)
    }

    /// What the lines name now.
    fn names(&self) -> &str {
        self.found.first().map_or("", |found| &found.name)
    }

    fn say(&self, verb: &str, report: &mut Report) {
        for found in &self.found {
            let place = format!("{}:{}", found.file.display(), found.line.number);
            report.say(format!("{place} {verb} {}", self.to));
        }
    }

    /// The configurations that the lines have read: `theirs` where they name none.
    fn configurations(&self) -> Result<BTreeSet<PathBuf>, Failure> {
        let usual = || {
            let bytes = content(&self.theirs).unwrap_or_default();
            path_in(&bytes, "pam_duo.conf").ok_or_else(|| {
                let text = format!("{} names no pam_duo.conf", self.theirs.display());
                Failure::Refused(text)
            })
        };
        let all = self.found.iter().map(|found| match &found.conf {
            Some(conf) => Ok(conf.clone()),
            None => usual(),
        });
        all.collect()
    }

    /// Refuses what would not work. Duo's module lets everybody in where it cannot
    /// use its file, unless that says otherwise in time.
    fn must_work(&self, wanted: &Adopt, start: &Start, report: &mut Report) -> Result<(), Failure> {
        if self.way == Way::Here {
            let ours = module::find().map_err(Failure::Refused)?;
            let findings = module::findings(&ours);
            if let Some(finding) = findings.iter().find(|it| it.level == Level::Fail) {
                return Err(Failure::Refused(format!(
                    "{}; nothing has changed",
                    finding.text
                )));
            }
        }
        for config in self.configurations()? {
            let about = Check::of(&config, &wanted.common);
            let (findings, failmode) = check::pam_duo(&about, start.standing, Instant::now());
            configure::refuse_failures(&findings, &wanted.common, &config, report)?;
            let mode = fs::metadata(&config).map_or(0o777, |status| status.mode());
            if self.way == Way::Back && mode & 0o077 != 0 {
                let shown = config.display();
                let text = format!(
                    "{shown} can be read by others, so Duo's module would let everybody in: chmod 600 {shown}"
                );
                return Err(Failure::Refused(text));
            }
            if self.way == Way::Back && failmode == Some(Failmode::Codes) {
                let shown = config.display();
                let text = format!(
                    "{shown} says failmode = codes, which is a mistake to Duo's module, so it would let everybody in: failmode = secure"
                );
                return Err(Failure::Refused(text));
            }
            if self.way == Way::Back {
                self.must_know_its_keys(&config)?;
            }
        }
        Ok(())
    }

    /// Duo's module takes a key that it does not know for a mistake.
    fn must_know_its_keys(&self, config: &Path) -> Result<(), Failure> {
        let shown = config.display();
        let file = fs::read(config)
            .map_err(|error| Failure::Refused(format!("{shown}: {}", system_words(&error))))?;
        let unknown: Vec<&str> = keys_in(&file)
            .map(|key| key.name)
            .filter(|name| !ALWAYS_THEIRS.contains(name) && !self.has_text(name))
            .collect();
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(Failure::Refused(format!(
                "{shown} has keys that Duo's module may not know, so it would let everybody in: take out {}",
                unknown.join(", ")
            ))),
        }
    }

    /// Whether Duo's module, or the library that Debian has for it, holds this C string.
    fn has_text(&self, text: &str) -> bool {
        let text = [b"\0", text.as_bytes(), b"\0"].concat();
        let library = self
            .theirs
            .ancestors()
            .nth(2)
            .unwrap_or(Path::new("/usr/lib"));
        [&self.theirs, &library.join("libduo.so.3")]
            .iter()
            .any(|path| {
                let bytes = content(path).unwrap_or_default();
                bytes.windows(text.len()).any(|window| window == text)
            })
    }

    /// Their usual file, for our module; a `conf=` stays in its line.
    fn copy_configuration(
        &self,
        wanted: &Adopt,
        start: &Start,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let usual = pam_configuration();
        if self.found.iter().all(|found| found.conf.is_some()) {
            return Ok(());
        }
        let bytes = content(&self.theirs).unwrap_or_default();
        let theirs = path_in(&bytes, "pam_duo.conf").unwrap_or_else(pam_configuration);
        if configure::behind_links(&usual) == configure::behind_links(&theirs) {
            return Ok(());
        }
        let request = Configure {
            config: usual,
            new: NewConfiguration::File(theirs),
            common: wanted.common.clone(),
        };
        configure::run(&request, start, report).map(|_| ())
    }

    fn files(&self) -> Result<Vec<Written>, Failure> {
        let paths: BTreeSet<&Path> = self
            .found
            .iter()
            .map(|found| found.file.as_path())
            .collect();
        let mut files = Vec::new();
        for path in paths {
            let now = fs::read(path)
                .map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
            let mut new = now.clone();
            // From the end, so that what comes before stays where it is.
            for found in self.found.iter().rev().filter(|found| found.file == path) {
                let range = found.line.bytes.clone();
                let old = now.get(range.clone()).unwrap_or_default();
                new.splice(range, with_module(old, &found.name, &self.to)?);
            }
            files.push(Written {
                path: path.to_owned(),
                bytes: Some(new),
                like: path.to_owned(),
            });
        }
        files.push(self.record()?);
        Ok(files)
    }

    fn record(&self) -> Result<Written, Failure> {
        let path = record();
        let failed = |why: String| Failure::Refused(format!("{}: {why}", path.display()));
        let bytes = match self.way {
            Way::Back => None,
            Way::Here => {
                state::make_folder(Path::new(state::FOLDER))
                    .map_err(|error| failed(error.to_string()))?;
                let record = Record {
                    name: self.names().to_owned(),
                    path: self.theirs.clone(),
                };
                Some(serde_json::to_vec(&record).map_err(|error| failed(error.to_string()))?)
            }
        };
        Ok(Written {
            like: path.clone(),
            path,
            bytes,
        })
    }

    /// No line names the other module any more.
    fn verify(&self) -> Result<(), String> {
        let left = match self.way {
            Way::Here => named(|path| path.is_file() && !module::is_ours(path)),
            Way::Back => named(module::is_ours),
        };
        match left.first() {
            Some(found) => Err(format!(
                "{}:{} is not changed",
                found.file.display(),
                found.line.number
            )),
            None => Ok(()),
        }
    }
}

/// The lines of /etc/pam.d whose pam_duo.so is of this kind, but for those that
/// `enable` has written.
fn named(is_wanted: impl Fn(&Path) -> bool) -> Vec<Found> {
    let services = Services::of_this_machine();
    let files: BTreeSet<PathBuf> = services
        .names()
        .iter()
        .map(|name| services.own_file(name))
        .collect();
    let mut found = Vec::new();
    for file in files {
        let bytes = fs::read(&file).unwrap_or_default();
        let ours = edit::ours(&bytes);
        for line in lines(&bytes) {
            let Says::Module {
                module, arguments, ..
            } = &line.says
            else {
                continue;
            };
            let raw = bytes.get(line.bytes.clone()).unwrap_or_default();
            let is_enabled = !raw.is_empty() && ours.windows(raw.len()).any(|window| window == raw);
            let is_it = MODULES.contains(&base_name(module))
                && resolved(module).is_some_and(|path| is_wanted(&path));
            if is_it && !is_enabled {
                let mut conf = arguments.iter().rev();
                found.push(Found {
                    file: file.clone(),
                    name: module.clone(),
                    conf: conf
                        .find_map(|it| it.strip_prefix("conf="))
                        .map(PathBuf::from),
                    line,
                });
            }
        }
    }
    found
}

/// The file of a module, as PAM finds it.
fn resolved(name: &str) -> Option<PathBuf> {
    match name.starts_with('/') {
        true => Some(PathBuf::from(name)),
        false => Some(module::folder()?.join(name)),
    }
}

/// A line with another module.
fn with_module(line: &[u8], from: &str, to: &str) -> Result<Vec<u8>, Failure> {
    let from = from.as_bytes();
    let is_blank = |at: usize| line.get(at).is_none_or(u8::is_ascii_whitespace);
    let at = line
        .windows(from.len())
        .enumerate()
        .position(|(at, window)| {
            window == from && at > 0 && is_blank(at - 1) && is_blank(at + from.len())
        });
    let at = at.ok_or_else(|| Failure::refused("a line of PAM has changed meanwhile"))?;
    let (before, rest) = line.split_at(at);
    let behind = rest.get(from.len()..).unwrap_or_default();
    Ok([before, to.as_bytes(), behind].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_alone_changes_in_a_line() {
        let line =
            b"auth\t[success=1 default=ignore]  /lib64/security/pam_duo.so conf=/x # pam_duo.so\n";
        let new = with_module(line, "/lib64/security/pam_duo.so", "pam_duo.so").unwrap();
        assert_eq!(
            new,
            b"auth\t[success=1 default=ignore]  pam_duo.so conf=/x # pam_duo.so\n"
        );
        let back = with_module(&new, "pam_duo.so", "/lib64/security/pam_duo.so").unwrap();
        assert_eq!(back, line);
        assert!(with_module(b"auth required x\n", "pam_duo.so", "y").is_err());
    }

    #[test]
    fn a_key_of_ours_alone_is_not_taken_for_one_of_theirs() {
        let names = duo_policy::config::KEYS.iter().map(|key| key.name);
        let not_always: Vec<_> = names.filter(|name| !ALWAYS_THEIRS.contains(name)).collect();
        assert_eq!(
            not_always.join(" "),
            "accessible verified_push motd min_tls prompt_for_commands signature sandbox remember \
             remember_max syslog_facility"
        );
    }
}
