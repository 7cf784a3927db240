//! How pam_duo.so is linked.

fn main() {
    for argument in [
        // A symbol that nobody defines is an error here, and not when sshd loads the
        // module. This also proves that the module cannot panic: see src/lib.rs.
        "-Wl,-z,defs",
        "-Wl,-z,now",
        "-Wl,-z,nodelete",
        "-Wl,--gc-sections",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    let helper = std::env::var("LOGIN_DUO_HELPER").unwrap_or_default();
    let helper = match helper.is_empty() {
        true => "/usr/libexec/login_duo/pam-duo-helper",
        false => &helper,
    };
    println!("cargo:rustc-env=PAM_DUO_HELPER={helper}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LOGIN_DUO_HELPER");
}
