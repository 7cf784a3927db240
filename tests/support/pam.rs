//! The PAM module and its helper, as they are built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where both are.
#[derive(Debug, Clone)]
pub struct PamModule {
    /// `libpam_duo.so`.
    pub module: PathBuf,
    /// `pam-duo-helper`.
    pub helper: PathBuf,
}

/// Both, built if they are not yet: cargo builds no cdylib for a test by itself.
pub fn pam_module() -> PamModule {
    static BUILT: OnceLock<PamModule> = OnceLock::new();
    let of = || {
        let helper = PathBuf::from(env!("CARGO_BIN_EXE_pam-duo-helper"));
        let module = helper.with_file_name("libpam_duo.so");
        if !module.is_file() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", "pam-duo"]);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
            let built = cargo.current_dir(folder).status().expect("cargo starts");
            assert!(built.success(), "pam-duo is not built");
        }
        PamModule { module, helper }
    };
    BUILT.get_or_init(of).clone()
}
