//! Where the programs to run come from: cargo builds them now where cargo runs us; else they are beside us.

use crate::say;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where pam_duo.so looks for its helper, if nobody said otherwise to cargo.
pub const HELPER: &str = "/usr/libexec/login_duo/pam-duo-helper";

/// The login_duo to run: the one asked for, or the usual one.
pub fn login_duo(asked_for: Option<PathBuf>) -> io::Result<PathBuf> {
    let advice = "name it with --login-duo PATH";
    if let Some(path) = asked_for {
        return existing(&path, advice);
    }
    let ours = built("login_duo", &["-p", "login_duo", "--bin", "login_duo"])?;
    existing(&ours.with_file_name("login_duo"), advice)
}

/// pam_duo.so and its helper.
pub struct PamDuo {
    pub module: PathBuf,
    pub helper: PathBuf,
}

/// The pam_duo.so to run.
pub fn pam_duo() -> io::Result<PamDuo> {
    let packages = ["-p", "pam-duo", "-p", "login_duo"];
    let targets = ["--lib", "--bin", "pam-duo-helper"];
    let ours = built("pam_duo.so", &[packages.as_slice(), &targets].concat())?;
    let advice = "build it with cargo build -p pam-duo -p login_duo";
    let module = existing(&ours.with_file_name("libpam_duo.so"), advice)?;
    let helper = existing(&ours.with_file_name("pam-duo-helper"), advice)?;
    let bytes = fs::read(&module)?;
    if !bytes
        .windows(HELPER.len())
        .any(|part| part == HELPER.as_bytes())
    {
        let text = format!("{} does not start {HELPER}; {advice}", module.display());
        return Err(io::Error::other(text));
    }
    Ok(PamDuo { module, helper })
}

/// Has cargo build these, if cargo runs us. This program's path: what cargo builds is beside it.
fn built(name: &str, what: &[&str]) -> io::Result<PathBuf> {
    let ours = std::env::current_exe()?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(&cargo, &ours, name, what)?;
    }
    Ok(ours)
}

fn existing(path: &Path, advice: &str) -> io::Result<PathBuf> {
    path.canonicalize().map_err(|error| {
        let name = path.file_name().unwrap_or_default().display();
        let text = format!("no {name} at {}: {error}; {advice}", path.display());
        io::Error::new(error.kind(), text)
    })
}

fn is_about_our_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Builds with the profile and into the target folder that we were built with.
fn build(cargo: &OsStr, ours: &Path, name: &str, what: &[&str]) -> io::Result<()> {
    let member = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let mut command = Command::new(cargo);
    command
        .current_dir(member.join("../.."))
        // The usual places, whatever somebody builds for theirs.
        .env_remove("LOGIN_DUO_HELPER")
        .env_remove("LOGIN_DUO_CONF_DIR")
        .args(["build", "-q"])
        .args(what);
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
    say(&format!("building {name} (some minutes the first time)"));
    let status = command.status().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot run {}: {error}", cargo.display()),
        )
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{name} does not build")))
    }
}
