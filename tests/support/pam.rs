//! The PAM module and its helper, as they are built.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where both are.
#[derive(Debug, Clone)]
pub struct PamModule {
    /// `libpam_duo.so`.
    pub module: PathBuf,
    /// `pam-duo-helper`.
    pub helper: PathBuf,
}

/// Both. See `build_pam_module`.
pub fn pam_module() -> PamModule {
    let helper = PathBuf::from(env!("CARGO_BIN_EXE_pam-duo-helper"));
    PamModule {
        module: helper.with_file_name("libpam_duo.so"),
        helper,
    }
}

/// Builds the module: cargo builds no cdylib of another package for a test, and one
/// of yesterday does not fit today's helper.
pub fn build_pam_module() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "pam-duo"]);
    let folder = pam_module().module;
    if folder
        .parent()
        .is_some_and(|folder| folder.ends_with("release"))
    {
        cargo.arg("--release");
    }
    let built = cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status()
        .expect("cargo starts");
    assert!(built.success(), "pam-duo is not built");
}
