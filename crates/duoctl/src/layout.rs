//! Where the pieces of one install are. By hand, the program is in the folder of this
//! duoctl, whatever that is called, and the module has the name of Duo's. A package
//! stands beside Duo's own, whose names and paths it must not take: its program and its
//! module have others, which are told when it is built.

use std::path::{Path, PathBuf};

/// The module of this install (`LOGIN_DUO_MODULE` at build time).
pub const MODULE: &str = match option_env!("LOGIN_DUO_MODULE") {
    Some(name) if !name.is_empty() => name,
    _ => THEIRS,
};

/// The name of Duo's own module.
const THEIRS: &str = "pam_duo.so";

/// Every name by which a stack asks Duo: ours by hand and Duo's, and that of our packages.
pub const MODULES: [&str; 3] = [THEIRS, "pam_duo_rs.so", MODULE];

/// The program that asks Duo for the module, as it is compiled into that.
pub const HELPER: &str = match option_env!("LOGIN_DUO_HELPER") {
    Some(path) if !path.is_empty() => path,
    _ => "/usr/libexec/login_duo/pam-duo-helper",
};

/// The program of a package (`LOGIN_DUO_PROGRAM` at build time).
const PROGRAM: Option<&str> = match option_env!("LOGIN_DUO_PROGRAM") {
    Some(path) if !path.is_empty() => Some(path),
    _ => None,
};

/// What installs the module and its helper again.
pub const MODULE_COMES_FROM: &str = match PROGRAM {
    None => "install.sh",
    // There is no rpm of the FIPS build (docs/fips.md).
    Some(_) if cfg!(feature = "fips") => "install libpam-duo-rs-fips again",
    Some(_) => "install libpam-duo-rs (deb) or pam-duo-rs (rpm) again",
};

/// This duoctl.
pub fn duoctl() -> PathBuf {
    let own = std::fs::read_link("/proc/self/exe");
    own.unwrap_or_else(|_| PathBuf::from("/usr/sbin/duoctl"))
}

/// The login_duo of this duoctl.
pub fn program() -> PathBuf {
    match PROGRAM {
        Some(path) => PathBuf::from(path),
        None => duoctl().with_file_name("login_duo"),
    }
}

/// Where the module is if PAM's folder has another of its name: `PREFIX/lib/login_duo`.
pub fn module_beside() -> PathBuf {
    let own = duoctl();
    let prefix = own.parent().and_then(Path::parent);
    let prefix = prefix.unwrap_or(Path::new("/usr"));
    prefix.join("lib/login_duo").join(MODULE)
}
