//! Opens the phone's page, where somebody sits before a browser.

use crate::say;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Opens the page in the person's browser: `$BROWSER`, or the desktop's. In a script, and where there is neither, nothing is
/// opened; a browser that does not start is no reason to stop, since the address has been printed.
pub fn open(address: &str) {
    if !io::stderr().is_terminal() {
        return;
    }
    if let Some(browser) = browser() {
        // A process group of its own, so that Ctrl-C on this terminal is not for the browser.
        let _ = Command::new(browser)
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
    }
}

fn browser() -> Option<OsString> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match std::env::var_os("BROWSER") {
        Some(_) => set("BROWSER"),
        None => set("WAYLAND_DISPLAY")
            .or_else(|| set("DISPLAY"))
            .map(|_| "xdg-open".into()),
    }
}

/// Off the loopback the page's address, and all that is said there, goes over the network unencrypted.
pub fn warn_off_the_loopback(address: SocketAddr) {
    if !address.ip().is_loopback() {
        say(&format!(
            "THE PHONE IS ON THE NETWORK, at {}, without encryption: whoever sees its address can approve.",
            address.ip()
        ));
    }
}
