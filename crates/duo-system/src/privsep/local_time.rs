//! The time of this machine's time zone, for the lines of syslog.

use nix::libc;

unsafe extern "C" {
    fn tzset();
}

/// Reads the time zone's file, which [`local_time`] does otherwise.
pub(crate) fn read_time_zone() {
    // SAFETY: tzset reads a file, and the environment, which no other thread changes.
    unsafe { tzset() };
}

/// `Nov  6 13:45:20 `: now, as the C library's syslog(3) writes it; nothing if the C
/// library does not know.
pub(crate) fn local_time() -> String {
    let mut time = std::mem::MaybeUninit::<libc::tm>::zeroed();
    let mut text = [0_u8; 32];
    // SAFETY: localtime_r reads the number and writes the structure, which is zeroed and so
    // a valid value whether or not the call succeeds; strftime reads it and a C string, and
    // writes as much as it is told. The names are English, since no locale was ever set.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        match libc::localtime_r(&raw const now, time.as_mut_ptr()).is_null() {
            true => 0,
            false => libc::strftime(
                text.as_mut_ptr().cast(),
                text.len(),
                c"%h %e %T ".as_ptr(),
                time.as_ptr(),
            ),
        }
    };
    let text = text.get(..length).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
