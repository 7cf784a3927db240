//! Where this machine has sftp-server. A forced command cannot run `internal-sftp`,
//! which is built into sshd, so that program is run in its place
//! (docs/behaviour.md, *The session*).

use std::path::Path;

/// Where distributions put sftp-server: Debian, Fedora, SUSE, Arch, Alpine.
const PLACES: [&str; 5] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/sftp-server",
];

/// The path of this machine's sftp-server, if there is one.
pub fn sftp_server() -> Option<&'static str> {
    PLACES.into_iter().find(|path| Path::new(path).is_file())
}
