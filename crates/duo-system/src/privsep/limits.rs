//! The caller's limits: raised as far as we may, and refused where they leave
//! too little. Found out later, that would look like Duo being down, and
//! `failmode = safe` would open the door.

use duo_policy::error::Error;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

/// What each is raised to, and the least that is enough for TLS, a resolver and
/// a thread or two; less is refused now, since later it would look like Duo
/// being down.
const LIMITS: [(Resource, rlim_t, rlim_t); 7] = [
    (Resource::RLIMIT_NOFILE, 1024, 64),
    (Resource::RLIMIT_AS, RLIM_INFINITY, 256 << 20),
    (Resource::RLIMIT_DATA, RLIM_INFINITY, 256 << 20),
    (Resource::RLIMIT_CPU, RLIM_INFINITY, 60),
    (Resource::RLIMIT_FSIZE, RLIM_INFINITY, 0),
    (Resource::RLIMIT_NPROC, RLIM_INFINITY, 0),
    (Resource::RLIMIT_STACK, 8 << 20, 0),
];

/// Undoes the caller's limits as far as we may, and refuses too little.
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

/// Sets a limit; what it is then, read back.
fn raise(resource: Resource, wanted: rlim_t) -> Result<rlim_t, Error> {
    let (soft, hard) = limit(resource)?;
    if soft == wanted {
        return Ok(soft);
    }
    // Without CAP_SYS_RESOURCE the hard limit is as far as it goes.
    if setrlimit(resource, wanted, wanted.max(hard)).is_err() {
        let _ = setrlimit(resource, wanted.min(hard), hard);
    }
    Ok(limit(resource)?.0)
}

fn limit(resource: Resource) -> Result<(rlim_t, rlim_t), Error> {
    getrlimit(resource).map_err(|errno| Error::fault("read a limit", errno.desc()))
}
