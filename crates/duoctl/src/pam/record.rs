//! The services that were enabled, so that a line that has vanished is missed: a
//! package's upgrade may put its own file in the place of ours.

use std::fs;
use std::path::{Path, PathBuf};

use duo_system::configuration;

use super::edit;
use super::services::Services;
use crate::ssh::replace::replace;

fn path() -> PathBuf {
    Path::new(configuration::FOLDER).join("enabled-pam")
}

/// The services that should have our line.
pub fn enabled() -> Vec<String> {
    let text = fs::read_to_string(path()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether a service's own file has lines of ours now.
pub fn has_ours(services: &Services, service: &str) -> bool {
    let now = fs::read(services.own_file(service)).unwrap_or_default();
    edit::take_out(&now).is_ok_and(|parts| parts.has_ours)
}

/// The file, and what shall be in it once these services have our line too.
pub fn with<'a>(more: impl Iterator<Item = &'a str>) -> (PathBuf, Option<Vec<u8>>) {
    let more: Vec<&str> = more.collect();
    let text = text(|name| more.contains(&name));
    (path(), (!text.is_empty()).then(|| text.into_bytes()))
}

fn text(is_new: impl Fn(&str) -> bool) -> String {
    let services = Services::of_this_machine();
    let names = super::services::all().filter(|name| is_new(name) || has_ours(&services, name));
    names.map(|name| format!("{name}\n")).collect()
}

/// Writes down the services that have lines of ours now, and forgets all others.
///
/// # Errors
/// The system's.
fn write() -> std::io::Result<()> {
    let text = text(|_| false);
    if text == fs::read_to_string(path()).unwrap_or_default() {
        return Ok(());
    }
    let bytes = (!text.is_empty()).then_some(text.as_bytes());
    replace(&path(), bytes)?.keep();
    Ok(())
}

/// Brings the list up to date. A failure is ignored: the list only serves a finding of
/// `duoctl check`.
pub fn refresh() {
    let _ = write();
}
