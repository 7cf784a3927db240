//! PAM as something to be changed and judged: the files of its services, what
//! their auth stacks come to, and our line in them.

pub mod control;
pub mod edit;
pub mod file;
pub mod module;
pub mod plan;
pub mod proof;
pub mod record;
pub mod services;
pub mod sshd;
pub mod stack;

use std::path::Path;

use crate::finding::Finding;
use crate::outcome::Failure;

/// A file without our lines; `None` for no file at all, where it was our copy.
///
/// # Errors
/// Our lines have no end.
pub fn without_ours(path: &Path, now: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let parts = edit::take_out(now)
        .map_err(|why| Failure::refused(format!("'{}': {why}", path.display())))?;
    Ok((!parts.is_our_copy).then_some(parts.others))
}

/// Somebody gets in without Duo, by a line that was there before.
pub fn way_around(service: &str, shown: &str) -> Finding {
    let text = format!("{service}: {shown} lets in whom it takes without Duo");
    Finding::fail("pam.way_around", text).mend("take that line out, if it should not")
}

/// A wrong password asks Duo too.
pub fn asks_early(service: &str) -> Finding {
    let text = format!(
        "{service}: the stack goes on after a wrong password, so whoever knows a name can ring a phone"
    );
    Finding::warn("pam.asked_early", text)
}

/// Whoever has a way to root by their own password controls what Duo's module may
/// use of the machine and the network (docs/security.md).
pub fn safe(service: &str) -> Option<Finding> {
    matches!(service, "sudo" | "sudo-i" | "su" | "su-l").then(|| {
        let text = format!("{service}: failmode = safe: whoever can keep Duo away becomes root");
        Finding::fail("pam.failmode", text).mend("failmode = secure   (in pam_duo.conf)")
    })
}
