//! Tells the library the target that it is built for, since the User-Agent names it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=LOGIN_DUO_TARGET={target}");
}
