//! The version that login_duo and duoctl tell: that of the release, and the commit that
//! was built. A packager tells the commit (`LOGIN_DUO_COMMIT`); else git does, for a
//! release build of a clone. A build for tests tells none: it would be built anew after
//! every commit.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=LOGIN_DUO_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let given = env::var("LOGIN_DUO_COMMIT").ok();
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match given {
        Some(commit) => Some(commit).filter(|commit| !commit.is_empty()),
        None if is_release => commit_of_this_clone(),
        None => None,
    };
    match commit {
        Some(commit) => println!("cargo:rustc-env=LOGIN_DUO_VERSION={version} ({commit})"),
        None => println!("cargo:rustc-env=LOGIN_DUO_VERSION={version}"),
    }
}

/// The commit, with `-dirty` where files differ from it. None if this is no clone: sources
/// that were unpacked inside another clone must not tell that one's commit.
fn commit_of_this_clone() -> Option<String> {
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&here, &["rev-parse", "--show-toplevel"])?;
    let workspace = Path::new(&here)
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())?;
    if Path::new(&top).canonicalize().ok()? != workspace.canonicalize().ok()? {
        return None;
    }
    let folder = git(&here, &["rev-parse", "--absolute-git-dir"])?;
    for name in ["HEAD", "index", "logs/HEAD"] {
        println!("cargo:rerun-if-changed={folder}/{name}");
    }
    git(
        &here,
        &[
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ],
    )
}

fn git(folder: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| text.trim().to_owned())
}
