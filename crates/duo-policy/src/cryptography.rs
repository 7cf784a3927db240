//! Hashes, by one of two libraries: RustCrypto's, or, with the feature `fips`, the FIPS
//! module of AWS-LC. TLS is in `duo-net`, by the same choice (docs/fips.md).

use crate::config::Signature;
use crate::error::Error;

/// What computes hashes and speaks TLS in this build, as `--version` names it. A test
/// compares the version with Cargo.lock.
pub const NAME: &str = if cfg!(feature = "fips") {
    "AWS-LC FIPS module (aws-lc-fips-sys 0.14.4)"
} else {
    "ring and RustCrypto"
};

/// Which algorithms this build may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithms {
    /// All that the program knows.
    All,
    /// Those that FIPS 140 approves, by a module that was made for it.
    FipsApproved,
}

/// The algorithms of this build.
pub const ALGORITHMS: Algorithms = if cfg!(feature = "fips") {
    Algorithms::FipsApproved
} else {
    Algorithms::All
};

/// The HMAC of `text` under `key`, in lower-case hexadecimal digits.
pub(crate) fn hmac_hex(hash: Signature, key: &[u8], text: &[u8]) -> String {
    let tag = imp::hmac(hash, key, text);
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-512/256 of the two, one after the other.
pub(crate) fn sha512_256(first: &[u8], second: &[u8]) -> [u8; 32] {
    imp::sha512_256(first, second)
}

/// Makes sure that the library is the one that this build is for.
///
/// # Errors
/// [`Error::Fault`], which denies under each failmode, if a build with the feature `fips`
/// has another library.
pub fn prove() -> Result<(), Error> {
    imp::prove()
}

#[cfg(not(feature = "fips"))]
mod imp {
    use hmac::{Hmac, KeyInit, Mac};
    use sha1::Sha1;
    use sha2::{Digest, Sha512, Sha512_256};

    use super::{Error, Signature};

    pub(super) fn prove() -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn hmac(hash: Signature, key: &[u8], text: &[u8]) -> Vec<u8> {
        match hash {
            Signature::Sha512 => tag::<Hmac<Sha512>>(key, text),
            Signature::Sha1 => tag::<Hmac<Sha1>>(key, text),
        }
    }

    pub(super) fn sha512_256(first: &[u8], second: &[u8]) -> [u8; 32] {
        let hash = Sha512_256::new().chain_update(first).chain_update(second);
        hash.finalize().into()
    }

    fn tag<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
        // HMAC takes a key of any length, so this error cannot happen. If it did, Duo
        // would refuse the empty signature, and an approval would have no digest.
        let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
            return Vec::new();
        };
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(feature = "fips")]
mod imp {
    use aws_lc_rs::digest::{Context, SHA512_256};
    use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA512, Key, sign};

    use super::{Error, Signature};

    pub(super) fn prove() -> Result<(), Error> {
        aws_lc_rs::try_fips_mode()
            .map_err(|why| Error::Fault(format!("AWS-LC is not in FIPS mode: {why}")))
    }

    pub(super) fn hmac(hash: Signature, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match hash {
            Signature::Sha512 => HMAC_SHA512,
            // No configuration of this build asks for it.
            Signature::Sha1 => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        };
        sign(&Key::new(algorithm, key), text).as_ref().to_vec()
    }

    pub(super) fn sha512_256(first: &[u8], second: &[u8]) -> [u8; 32] {
        let mut hash = Context::new(&SHA512_256);
        hash.update(first);
        hash.update(second);
        // A hash of another length would be a fault of the library; it fits no code.
        hash.finish().as_ref().try_into().unwrap_or([0; 32])
    }
}
