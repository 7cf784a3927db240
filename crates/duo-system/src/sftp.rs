//! The system's sftp-server, which stands in for sshd's built-in one: a forced
//! command cannot run `internal-sftp`.

use std::path::Path;

/// Where distributions put sftp-server: Debian, Fedora, SUSE, Arch, Alpine.
const PLACES: [&str; 5] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/sftp-server",
];

/// This machine's sftp-server.
pub fn sftp_server() -> Option<&'static str> {
    PLACES.into_iter().find(|path| Path::new(path).is_file())
}
