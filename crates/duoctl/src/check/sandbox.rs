//! The sandbox of a login, on this machine: how much of it the kernel has, and whether
//! names are still found in it (docs/security.md, *The sandbox*). A machine that has none
//! still logs people in, so that alone fails nothing.

use std::net::ToSocketAddrs;

use duo_policy::config::Config;
use duo_system::sandbox::{self, Filtered, Level, Needs};

use super::user::Reachable;
use crate::finding::Finding;

/// What the newest version of Landlock that is used forbids, and each older one does not.
const NEWEST: i32 = 6;

/// Enters the sandbox in a thread of its own.
pub fn findings(config: &Config, reachable: Reachable) -> Vec<Finding> {
    const LEVEL: &str = "configuration.sandbox";
    if !config.sandbox {
        // The configuration's own warning says that.
        return Vec::new();
    }
    let next = config.next_hop();
    let needs = Needs {
        cafile: config.cafile.as_deref(),
        port: Some(next.port),
    };
    // A name that was not found before is another finding's.
    let is_found = || match reachable {
        Reachable::Yes => (next.name.as_str(), next.port).to_socket_addrs().is_ok(),
        Reachable::No => true,
    };
    match sandbox::try_out(&needs, is_found) {
        Err(error) => {
            let text = format!("each login is denied, for want of its sandbox: {error}");
            vec![Finding::fail(LEVEL, text)]
        }
        Ok((_, false)) => {
            let text = format!(
                "'{}' is found, but not in the sandbox that each login is in: \
                 a name service needs more",
                next.name
            );
            let finding = Finding::fail("network.sandbox", text);
            vec![finding.mend("sandbox = no")]
        }
        Ok((level, true)) => vec![Finding::ok(LEVEL, words(level))],
    }
}

fn words(level: Level) -> String {
    let landlock = match level.landlock {
        ..=0 => "this kernel has no Landlock".to_owned(),
        version @ 1..NEWEST => format!("Landlock {version} of {NEWEST}, as this kernel has it"),
        version => format!("Landlock {version}"),
    };
    let filter = match level.filtered {
        Filtered::Yes => "a filter of system calls",
        Filtered::Unavailable => "no filter of system calls",
    };
    format!("each login is shut in: {landlock}, and {filter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_of_the_kernel_has_its_words() {
        for (landlock, filtered, expected) in [
            (7, Filtered::Yes, "Landlock 7, and a filter of system calls"),
            (
                3,
                Filtered::Yes,
                "Landlock 3 of 6, as this kernel has it, and a filter of system calls",
            ),
            (
                0,
                Filtered::Unavailable,
                "this kernel has no Landlock, and no filter of system calls",
            ),
        ] {
            let text = words(Level { landlock, filtered });
            assert_eq!(text, format!("each login is shut in: {expected}"));
        }
    }
}
