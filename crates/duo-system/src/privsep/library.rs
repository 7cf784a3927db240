//! Loading a shared library, for what the C library would load by itself later.

use std::ffi::CString;

use nix::libc;

/// Loads the library of this name, if the loader finds it, and keeps it until the end of
/// the process.
pub(crate) fn load_library(name: &str) {
    let Ok(name) = CString::new(name) else {
        return;
    };
    // SAFETY: dlopen reads the name, and runs the library's own start. The C library loads
    // the same ones, and the loader of a setuid program looks in the system's folders.
    unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) };
}
