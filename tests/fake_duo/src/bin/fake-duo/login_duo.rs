//! Where the login_duo to run comes from.

use crate::say;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program to run: the one asked for; else, where cargo runs us, the one that cargo builds now; else the one beside us.
pub fn find(asked_for: Option<PathBuf>) -> io::Result<PathBuf> {
    if let Some(path) = asked_for {
        return existing(&path);
    }
    let ours = std::env::current_exe()?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(&cargo, &ours)?;
    }
    existing(&ours.with_file_name("login_duo"))
}

fn existing(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().map_err(|error| {
        let text = format!(
            "no login_duo at {}: {error}; name it with --login-duo PATH",
            path.display()
        );
        io::Error::new(error.kind(), text)
    })
}

fn is_about_our_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Builds login_duo with the profile and into the target folder that we were built with.
fn build(cargo: &OsStr, ours: &Path) -> io::Result<()> {
    let member = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let mut command = Command::new(cargo);
    command.current_dir(member.join("../..")).args([
        "build",
        "-q",
        "-p",
        "login_duo",
        "--bin",
        "login_duo",
    ]);
    let folder = ours.parent();
    match folder.and_then(Path::file_name).and_then(OsStr::to_str) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    if let Some(target) = folder.and_then(Path::parent) {
        command.arg("--target-dir").arg(target);
    }
    // What cargo told us about ourselves would look to it like a change of
    // everything that it has built.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_about_our_package) {
            command.env_remove(&name);
        }
    }
    say("building login_duo (some minutes the first time)");
    let status = command.status().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot run {}: {error}", cargo.display()),
        )
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("login_duo does not build"))
    }
}
