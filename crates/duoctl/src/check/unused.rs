//! `--unused`: who still runs login_duo or PAM's module, and so would be locked out if
//! that were removed. A configuration is used by Duo's C program and module too, which let
//! everybody in without it. sshd's files, the keys of all accounts and PAM's files are
//! looked through.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use duo_system::privsep::Standing;
use nix::unistd::{Gid, Uid};

use super::local::{Local, LocalUser};
use super::sshd::keys;
use super::sshd::lines::Lines;
use crate::Start;
use crate::cli::Used;
use crate::pam::module::is_ours;
use crate::pam::services;
use crate::ssh::place::Place;
use crate::ssh::record;
use crate::ssh::{Sshd, Style};

/// 0 if nobody does; else 1, with each place.
pub fn run(what: Used, program: &Path, started: &Start) -> ExitCode {
    let standing = started.standing;
    let mut found = match what {
        Used::Program => by_ssh(&program.to_string_lossy(), started),
        Used::Module => Vec::new(),
        Used::Configuration => by_ssh("/login_duo", started),
    };
    if standing == Standing::Root && what != Used::Program {
        found.extend(in_pams_files(what));
    }
    let mut stdout = std::io::stdout();
    for place in &found {
        let _ = writeln!(stdout, "{place}");
    }
    ExitCode::from(u8::from(!found.is_empty()))
}

fn by_ssh(name: &str, started: &Start) -> Vec<String> {
    let mut found = in_keys(name, started);
    if started.standing == Standing::Root {
        let known = record::known().into_iter();
        found.extend(known.flat_map(|sshd| in_sshds_files(&sshd, name)));
    }
    found
}

fn in_keys(name: &str, started: &Start) -> Vec<String> {
    let me = Uid::effective();
    let own = |uid: u32| me.is_root() || uid == me.as_raw();
    let local = Local::read();
    let users = local.users.iter().filter(|user| own(user.uid));
    let mut lines: Vec<String> = users
        .flat_map(|user| keys::naming(user, name, started.standing))
        .collect();
    lines.extend(
        home(started)
            .map(|user| keys::naming(&user, name, Standing::Own))
            .into_iter()
            .flatten(),
    );
    lines.sort();
    lines.dedup();
    let lines = lines.into_iter();
    let told = lines.map(|place| {
        format!(
            "{place} names {name}: take command=\"...\" out of that line, and leave the key in it"
        )
    });
    told.collect()
}

/// The caller, with the home that the environment names.
fn home(started: &Start) -> Option<LocalUser> {
    let entries = &started.inherited.environment;
    let mut homes = entries
        .iter()
        .filter_map(|entry| entry.to_str().ok()?.strip_prefix("HOME="));
    Some(LocalUser {
        name: String::new(),
        uid: Uid::effective().as_raw(),
        gid: Gid::effective().as_raw(),
        home: homes.next()?.to_owned(),
        shell: String::new(),
    })
}

/// A line whose module is gone denies everybody. Without its configuration Duo's C module
/// lets everybody in, so for a configuration each module of Duo counts.
fn in_pams_files(what: Used) -> Vec<String> {
    let asking = super::pam::asking().into_iter();
    let told = asking.filter_map(|it| {
        let (place, service) = (it.place(), &it.service);
        let is_our_module = it.module().is_some_and(|module| is_ours(&module.path));
        match (is_our_module, services::family(service)) {
            (true, Some(_)) => Some(format!(
                "{place} asks Duo: duoctl disable pam {service}, or remove that line"
            )),
            (true, None) => Some(format!("{place} asks Duo, for {service}: remove that line")),
            (false, _) if what == Used::Configuration => Some(format!(
                "{place} asks Duo, for {service}, by a module that is not of this duoctl: \
                 remove that line"
            )),
            (false, _) => None,
        }
    });
    told.collect()
}

/// Our own lines are no less ours where they name a program elsewhere.
fn in_sshds_files(sshd: &Sshd, name: &str) -> Vec<String> {
    let back = sshd.again("disable ssh");
    let ours = Place::with_lines(sshd, Style::Forced).unwrap_or_default();
    let mut found: Vec<String> = ours
        .iter()
        .map(|place| {
            format!(
                "{} has lines of duoctl enable: {back}",
                place.path().display()
            )
        })
        .collect();
    let is_ours = |file: &Path| ours.iter().any(|place| place.path() == file);
    let read = Lines::read(&sshd.config);
    let others = read
        .lines
        .iter()
        .filter(|line| line.rest().join(" ").contains(name) && !is_ours(&line.file));
    found.extend(
        others.map(|line| format!("{} names {name}: {back}, or remove that line", line.place())),
    );
    found
}
