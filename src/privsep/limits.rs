//! The caller's limits: raised as far as we may, and refused where they leave
//! too little. Found out later, that would look like Duo being down, and
//! `failmode = safe` would open the door.
#![forbid(unsafe_code)]

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

use crate::error::Error;

/// Enough for TLS, a resolver and a thread or two; less is refused now, since
/// later it would look like Duo being down.
const NEEDS: [(Resource, rlim_t); 4] = [
    (Resource::RLIMIT_NOFILE, 64),
    (Resource::RLIMIT_AS, 256 << 20),
    (Resource::RLIMIT_DATA, 256 << 20),
    (Resource::RLIMIT_CPU, 60),
];

/// Undoes the caller's limits as far as we may, and refuses too little.
pub(super) fn raise_limits() -> Result<(), Error> {
    for (resource, wanted) in [
        (Resource::RLIMIT_NOFILE, 1024),
        (Resource::RLIMIT_AS, RLIM_INFINITY),
        (Resource::RLIMIT_DATA, RLIM_INFINITY),
        (Resource::RLIMIT_CPU, RLIM_INFINITY),
        (Resource::RLIMIT_FSIZE, RLIM_INFINITY),
        (Resource::RLIMIT_NPROC, RLIM_INFINITY),
        (Resource::RLIMIT_STACK, 8 << 20),
    ] {
        let (_, hard) = limit(resource)?;
        // Without CAP_SYS_RESOURCE the hard limit is as far as it goes.
        if setrlimit(resource, wanted, wanted.max(hard)).is_err() {
            let _ = setrlimit(resource, wanted.min(hard), hard);
        }
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .map_err(|errno| Error::fault("forbid core files", errno.desc()))?;

    for (resource, need) in NEEDS {
        let (soft, _) = limit(resource)?;
        if soft < need {
            return Err(Error::Fault(format!(
                "{resource:?} is {soft}, and {need} is needed"
            )));
        }
    }
    Ok(())
}

fn limit(resource: Resource) -> Result<(rlim_t, rlim_t), Error> {
    getrlimit(resource).map_err(|errno| Error::fault("read a limit", errno.desc()))
}
