//! What encrypts: ring, or, with the feature `fips`, the FIPS module of AWS-LC
//! (docs/fips.md).

use std::sync::Arc;

use duo_policy::cryptography::{self, ALGORITHMS, Algorithms};
use duo_policy::error::Error;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;

/// The provider of the TLS library.
///
/// # Errors
/// [`Error::Fault`], which denies under each failmode, if a build with the feature `fips`
/// has a provider that does not report FIPS.
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, Error> {
    cryptography::prove()?;
    #[cfg(not(feature = "fips"))]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(feature = "fips")]
    let provider = rustls::crypto::default_fips_provider();
    if !provider.fips() {
        may_do_without_fips()?;
    }
    Ok(Arc::new(provider))
}

/// Makes sure that all of a connection's settings are what this build is for.
///
/// # Errors
/// As [`provider`].
pub(crate) fn prove(tls: &ClientConfig) -> Result<(), Error> {
    match tls.fips() {
        true => Ok(()),
        false => may_do_without_fips(),
    }
}

/// The error, in a build that must have FIPS, of a TLS library that does not report it.
fn may_do_without_fips() -> Result<(), Error> {
    match ALGORITHMS {
        Algorithms::All => Ok(()),
        Algorithms::FipsApproved => Err(Error::Fault(
            "the TLS library does not report FIPS, and this build has nothing else".to_owned(),
        )),
    }
}
