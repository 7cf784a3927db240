//! The PAM module and its helper program, as they were built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names a module that is built already, a release's for example.
pub const PREBUILT: &str = "LOGIN_DUO_PAM_MODULE";

/// The two files of the PAM style.
pub struct PamModule {
    /// `libpam_duo.so`, installed as `pam_duo.so`.
    pub module: PathBuf,
    /// `pam-duo-helper`.
    pub helper: PathBuf,
}

/// Both, built where they are not: cargo builds a test's own programs before it, but
/// no library that the test is not linked to. What `LOGIN_DUO_SHIPPED` lies beside
/// comes first.
pub fn pam_module() -> &'static PamModule {
    static BUILT: OnceLock<PamModule> = OnceLock::new();
    BUILT.get_or_init(|| {
        let named = |name| std::env::var_os(name).filter(|path| !path.is_empty());
        let shipped = named("LOGIN_DUO_SHIPPED").map(PathBuf::from);
        let beside = |file: &str| {
            let path = shipped.as_ref()?.parent()?.join(file);
            path.is_file().then_some(path)
        };
        let prebuilt = named(PREBUILT).map(PathBuf::from);
        PamModule {
            module: prebuilt
                .or_else(|| beside("libpam_duo.so"))
                .unwrap_or_else(build),
            helper: beside("pam-duo-helper")
                .unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pam-duo-helper"))),
        }
    })
}

fn build() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "-p", "pam-duo", "--manifest-path"])
        .arg(manifest)
        .status()
        .expect("cargo starts");
    assert!(built.success(), "the PAM module could not be built");
    // Beside the programs, wherever the target folder is.
    let folder = Path::new(env!("CARGO_BIN_EXE_login_duo")).parent();
    folder.expect("a folder").join("libpam_duo.so")
}
