//! Tells the program what it was built for (its User-Agent names it).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LOGIN_DUO_CONF_DIR");
    println!("cargo:rerun-if-env-changed=LOGIN_DUO_PRIVSEP_USER");
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=LOGIN_DUO_TARGET={target}");
}
