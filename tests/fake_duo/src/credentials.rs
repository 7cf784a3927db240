//! Who signed a request, and when: the checks of date, key and signature.

use crate::http::Incoming;
use crate::refusal::Refusal;
use crate::signing::{self, Digest};
use crate::{FakeDuo, clock};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Seconds by which a request's date may differ from the service's clock.
const DATE_TOLERANCE: u64 = 300;

/// Proves that `incoming`, with these canonical parameters, was signed with our keys within the last five minutes.
pub fn verify(incoming: &Incoming, host: &str, parameters: &str, now: i64) -> Result<(), Refusal> {
    let (ikey, signature) = credentials(incoming)?;
    let date = incoming
        .header("x-duo-date")
        .or_else(|| incoming.header("date"))
        .ok_or_else(|| Refusal::new(40104, "X-Duo-Date"))?;
    if ikey != FakeDuo::IKEY {
        return Err(Refusal::new(40102, ""));
    }
    let sent_at =
        clock::parse_rfc2822(date).ok_or_else(|| Refusal::new(40105, "not an RFC 2822 date"))?;
    if sent_at.abs_diff(now) > DATE_TOLERANCE {
        return Err(Refusal::new(
            40105,
            format!("{} s off", sent_at.saturating_sub(now)),
        ));
    }
    let digest = Digest::of_signature(&signature)
        .ok_or_else(|| Refusal::new(40103, "neither SHA-1 nor SHA-512"))?;
    let canonical =
        signing::canonical_request(date, &incoming.method, host, &incoming.path, parameters);
    if signing::sign(digest, FakeDuo::SKEY, &canonical) == signature {
        Ok(())
    } else {
        Err(Refusal::new(40103, ""))
    }
}

/// The same for the older API, whose signature has no date in it, and SHA-1 alone.
pub fn verify_undated(incoming: &Incoming, host: &str, parameters: &str) -> Result<(), Refusal> {
    let (ikey, signature) = credentials(incoming)?;
    if ikey != FakeDuo::IKEY {
        return Err(Refusal::new(40102, ""));
    }
    let dated = signing::canonical_request("", &incoming.method, host, &incoming.path, parameters);
    let canonical = dated.trim_start_matches('\n');
    if signing::sign(Digest::Sha1, FakeDuo::SKEY, canonical) == signature {
        Ok(())
    } else {
        Err(Refusal::new(40103, ""))
    }
}

/// Integration key and signature from the Authorization header.
fn credentials(incoming: &Incoming) -> Result<(String, String), Refusal> {
    let missing = |what: &str| Refusal::new(40101, what);
    let header = incoming
        .header("authorization")
        .ok_or_else(|| missing("Authorization"))?;
    let encoded = header
        .strip_prefix("Basic ")
        .ok_or_else(|| missing("not Basic"))?;
    let decoded = STANDARD
        .decode(encoded)
        .map_err(|_| missing("not base64"))?;
    let text = String::from_utf8(decoded).map_err(|_| missing("not text"))?;
    let (ikey, signature) = text.split_once(':').ok_or_else(|| missing("no ':'"))?;
    Ok((ikey.to_owned(), signature.to_owned()))
}
