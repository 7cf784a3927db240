//! What of the machine the child may still use, landlock(7): files to read, ports to
//! connect to, and no other process. Best effort: a kernel that knows less forbids less.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use duo_policy::error::Error;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use nix::errno::Errno;
use nix::libc;

use super::Needs;

/// The newest version of Landlock that was tried with this program. What a newer one can
/// forbid beyond that is allowed.
const TRIED: ABI = ABI::V6;

/// Folders and files that may be read, with all that is in them (docs/security.md, *The
/// sandbox*, has the reason for each).
const READABLE: [&str; 12] = [
    "/etc",
    "/usr",
    "/proc/self",
    "/proc/sys",
    "/dev/null",
    "/var/lib/sss/mc",
    "/var/lib/extrausers",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/run/userdb",
    "/run/host/userdb",
    "/run/NetworkManager",
];

/// Where libraries are on a machine whose /lib is no link into /usr.
const LIBRARIES: [&str; 2] = ["/lib", "/lib64"];

/// Files in /etc that name lookup reads and that may be links out of /etc.
const LINKS: [&str; 9] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/services",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/localtime",
];

/// Where the name servers listen.
const DNS: u16 = 53;

/// Restricts this thread, and all that it starts. Returns the version of Landlock that
/// this kernel has, 0 if none.
///
/// # Errors
/// [`Error::Fault`] if the kernel has Landlock but refuses.
pub(super) fn restrict(needs: &Needs<'_>) -> Result<i32, Error> {
    // The last system call is the one that was refused.
    try_to_restrict(needs).map_err(|_| Error::fault("restrict this process", Errno::last().desc()))
}

fn try_to_restrict(needs: &Needs<'_>) -> Result<i32, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(TRIED))?
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::from_all(TRIED))?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in READABLE.iter().map(Path::new).chain(needs.cafile) {
        rules = add_path(rules, path, 0, read)?;
    }
    for path in LIBRARIES.iter().map(Path::new) {
        rules = add_path(rules, path, libc::O_NOFOLLOW | libc::O_DIRECTORY, read)?;
    }
    for path in LINKS.iter().map(Path::new) {
        if path.is_symlink() {
            rules = add_path(rules, path, 0, read)?;
        }
    }
    // Where descriptor 0 is a terminal that can only be read, questions go to this one.
    let terminal = AccessFs::WriteFile | AccessFs::IoctlDev;
    rules = add_path(rules, Path::new("/dev/tty"), 0, terminal)?;
    for port in needs.port.into_iter().chain([DNS]) {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    let status = rules.no_new_privs(false).restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi.unwrap_or(effective_abi as i32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    })
}

/// Allows `access` to what is at `path`, if anything is there.
fn add_path(
    rules: RulesetCreated,
    path: &Path,
    flags: i32,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let mut options = File::options();
    let place: io::Result<File> = options
        .read(true)
        .custom_flags(libc::O_PATH | flags)
        .open(path);
    match place {
        Ok(place) => rules.add_rule(PathBeneath::new(place, access)),
        Err(_) => Ok(rules),
    }
}
