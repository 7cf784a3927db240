//! The configurations of sshd that have our lines and are not the usual one, so
//! that `disable` and an uninstall know of an sshd that does not run now.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use duo_system::configuration;

use super::place::Place;
use super::replace::replace;
use super::{Sshd, Style};
use crate::check::sshd::CONFIGURATION;

fn path() -> PathBuf {
    Path::new(configuration::FOLDER).join("enabled-in")
}

fn recorded() -> Vec<String> {
    let text = fs::read_to_string(path()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Notes an unusual configuration.
///
/// # Errors
/// The system's.
pub fn note(sshd: &Sshd) -> std::io::Result<()> {
    let name = sshd.config.display().to_string();
    let mut all = recorded();
    if sshd.is_usual() || all.contains(&name) {
        return Ok(());
    }
    all.push(name);
    write(&all)
}

/// Erases it again, unless it has lines of ours still.
///
/// # Errors
/// The system's.
pub fn erase(sshd: &Sshd) -> std::io::Result<()> {
    let name = sshd.config.display().to_string();
    let mut all = recorded();
    if !all.contains(&name) || has_lines(sshd) {
        return Ok(());
    }
    all.retain(|other| *other != name);
    write(&all)
}

fn write(all: &[String]) -> std::io::Result<()> {
    let text = all
        .iter()
        .map(|name| format!("{name}\n"))
        .collect::<String>();
    let bytes = (!text.is_empty()).then_some(text.as_bytes());
    replace(&path(), bytes)?.keep();
    Ok(())
}

/// Every sshd that may have our lines: with the usual configuration, with those
/// noted, and those that listen now.
pub fn known() -> Vec<Sshd> {
    let mut paths = vec![PathBuf::from(CONFIGURATION)];
    paths.extend(recorded().into_iter().map(PathBuf::from));
    paths.extend(listening());
    let mut found: Vec<Sshd> = Vec::new();
    for sshd in paths.iter().filter_map(|path| Sshd::with(path).ok()) {
        if found.iter().all(|it| it.config != sshd.config) {
            found.push(sshd);
        }
    }
    found
}

/// The others that have our lines of a style.
pub fn elsewhere(sshd: &Sshd, style: Style) -> impl Iterator<Item = Sshd> {
    let others = known().into_iter();
    others.filter(move |other| other.config != sshd.config && has(other, style))
}

fn has(sshd: &Sshd, style: Style) -> bool {
    Place::with_lines(sshd, style).is_ok_and(|places| !places.is_empty())
}

fn has_lines(sshd: &Sshd) -> bool {
    has(sshd, Style::Forced) || has(sshd, Style::Pam)
}

/// The `-f` of the sshds that run: of root's only, since nobody else's process
/// should keep us from anything.
fn listening() -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).ok()?;
        let is_roots = fs::metadata(process).ok()?.uid() == 0;
        if !is_roots || name.trim() != "sshd" {
            return None;
        }
        let line = fs::read(process.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let (_, after) = line.split_once(" -f")?;
        let file = after.split_whitespace().next()?;
        file.starts_with('/').then(|| PathBuf::from(file))
    };
    processes.filter_map(|entry| of(&entry.path())).collect()
}
