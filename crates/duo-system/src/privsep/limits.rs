//! The caller's limits. The child raises them as far as it may, and a login that
//! has too little is denied at once. A limit that is met later looks like a Duo
//! that is down, and `failmode = safe` would open the door (docs/security.md,
//! *Causes removed*).

use duo_policy::error::Error;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

use super::inherited::ignore_file_size;

/// Each limit, the value that it is set to, and the least that is enough for TLS,
/// a resolver and a thread or two: descriptors, bytes, seconds of processor time,
/// or processes.
const LIMITS: [(Resource, rlim_t, rlim_t); 7] = [
    (Resource::RLIMIT_NOFILE, 1024, 64),
    (Resource::RLIMIT_AS, RLIM_INFINITY, 256 << 20),
    (Resource::RLIMIT_DATA, RLIM_INFINITY, 256 << 20),
    (Resource::RLIMIT_CPU, RLIM_INFINITY, 60),
    (Resource::RLIMIT_FSIZE, RLIM_INFINITY, 0),
    (Resource::RLIMIT_NPROC, RLIM_INFINITY, 0),
    (Resource::RLIMIT_STACK, 8 << 20, 0),
];

/// Undoes the caller's limits as far as this process may, and forbids core files.
///
/// # Errors
/// [`Error::Fault`] if a limit is still lower than a login needs.
pub(super) fn raise_limits() -> Result<(), Error> {
    let mut soft = Vec::new();
    for (resource, wanted, _) in LIMITS {
        soft.push(raise(resource, wanted)?);
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .map_err(|errno| Error::fault("forbid core files", errno.desc()))?;

    for ((resource, _, need), soft) in LIMITS.into_iter().zip(soft) {
        if soft < need {
            return Err(Error::Fault(format!(
                "{resource:?} is {soft}, and {need} is needed"
            )));
        }
    }
    Ok(())
}

/// Keeps this process from making a file longer than so many bytes: a child that was taken over
/// has a file of root's to write to, and could fill the disk or the memory of this machine. A
/// write beyond the limit fails, and does not kill, so that the child can say why it denies.
///
/// A caller's limit that is lower, and that this process may not raise (a container without
/// CAP_SYS_RESOURCE), stays.
///
/// The limit holds for standard error too. Where root gives the child a regular file there
/// (`login_duo -d 2>FILE`), lines beyond this size are lost.
///
/// # Errors
/// [`Error::Fault`] if the kernel refuses.
pub(super) fn limit_file_size(bytes: usize) -> Result<(), Error> {
    ignore_file_size()?;
    let (_, hard) = limit(Resource::RLIMIT_FSIZE)?;
    let most = rlim_t::try_from(bytes).unwrap_or(RLIM_INFINITY).min(hard);
    setrlimit(Resource::RLIMIT_FSIZE, most, most)
        .map_err(|errno| Error::fault("limit the size of files", errno.desc()))
}

/// Sets the soft limit to `wanted`, or as near as this process may, and returns
/// the soft limit as the kernel has it then.
fn raise(resource: Resource, wanted: rlim_t) -> Result<rlim_t, Error> {
    let (soft, hard) = limit(resource)?;
    if soft == wanted {
        return Ok(soft);
    }
    // Without CAP_SYS_RESOURCE the hard limit cannot be raised.
    if setrlimit(resource, wanted, wanted.max(hard)).is_err() {
        let _ = setrlimit(resource, wanted.min(hard), hard);
    }
    Ok(limit(resource)?.0)
}

/// The soft and the hard limit.
fn limit(resource: Resource) -> Result<(rlim_t, rlim_t), Error> {
    getrlimit(resource).map_err(|errno| Error::fault("read a limit", errno.desc()))
}
