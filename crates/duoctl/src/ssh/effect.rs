//! Whether our lines take effect: of several values sshd takes the first.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::block::settings;
use super::tool::{ask, tool};
use crate::check::local::Local;
use crate::check::sshd::lines::Lines;
use crate::check::sshd::{ANYBODY, ANYWHERE, Spec, run};
use crate::cli::Whom;

/// For sshd's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The usual number of `nobody`: a directory service answers a process without
/// rights.
const NOBODY: u32 = 65_534;

/// Someone to whom the new lines apply, if anybody is known.
pub fn somebody(whom: &Whom, exempt: &[String]) -> Option<String> {
    let candidates = match whom {
        Whom::Everybody => vec![ANYBODY.to_owned()],
        Whom::Group(group) => members(group),
        Whom::Users(users) => {
            let names = users
                .split(',')
                .filter(|name| !name.contains(['*', '?', '!']));
            names.map(str::to_owned).collect()
        }
    };
    let is_left = |name: &String| !exempt.contains(name);
    candidates.into_iter().find(is_left)
}

/// The accounts in a group, as far as they can be listed.
pub fn members(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(entry) = getent("group", group) {
        let listed = entry.rsplit(':').next().unwrap_or_default();
        let listed = listed.split(',').filter(|name| !name.is_empty());
        names.extend(listed.map(str::to_owned));
    }
    let local = Local::read();
    if let Some(group) = local.groups.iter().find(|it| it.name == group) {
        names.extend(group.members.iter().cloned());
        let primary = local.users.iter().filter(|user| user.gid == group.gid);
        names.extend(primary.map(|user| user.name.clone()));
    }
    names.dedup();
    names
}

/// Whether there is an entry of that name, here or in a directory service.
pub fn exists(database: &str, name: &str) -> bool {
    let local = Local::read();
    let is_local = match database {
        "group" => local.groups.iter().any(|group| group.name == name),
        _ => local.users.iter().any(|user| user.name == name),
    };
    is_local || getent(database, name).is_some()
}

fn getent(database: &str, name: &str) -> Option<String> {
    let mut command = tool("getent")?;
    command.args(["--", database, name]).uid(NOBODY).gid(NOBODY);
    let said = ask(command);
    let line = said.output.lines().next().map(str::to_owned);
    line.filter(|_| said.good)
}

/// Whether sshd with the configuration at `path` does for `who` what our lines
/// say. `shown` is the file whose lines are named.
///
/// # Errors
/// What wins over them, or why sshd cannot tell.
pub fn takes_effect(
    sshd: &Path,
    path: &Path,
    shown: &Path,
    who: &str,
    program: &Path,
) -> Result<(), String> {
    let spec = Spec::of(who, ANYWHERE).to_string();
    let effective = run::options(sshd, Some(path), &spec, Instant::now() + PATIENCE)
        .map_err(|finding| finding.text)?;
    let losing: Vec<(&str, String)> = settings(program)
        .into_iter()
        .filter(|(key, value)| effective.value(&key.to_ascii_lowercase()) != value)
        .collect();
    if losing.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = losing
        .iter()
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    let read = Lines::read(shown);
    let winning: Vec<String> = read
        .lines
        .iter()
        .filter(|line| {
            losing
                .iter()
                .any(|(key, value)| line.is(key) && line.rest().join(" ") != *value)
        })
        .map(|line| format!("{}: {}", line.place(), line.words.join(" ")))
        .collect();
    Err(format!(
        "an earlier line of sshd's configuration wins over {}: {}",
        told.join("; "),
        winning.join("; ")
    ))
}
