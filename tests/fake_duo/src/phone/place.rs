//! Where the phone is: its address, with the token that only those know who were told.

use crate::signing::{self, Digest};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;

/// Hex digits of a token: 128 bits.
const TOKEN_LENGTH: usize = 32;

/// The address of a phone.
pub struct Place {
    /// `http://127.0.0.1:PORT`.
    origin: String,
    secret: String,
    token: String,
}

impl Place {
    /// A phone at this address, with a token of its own.
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        let mut secret = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut secret)?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            origin: format!("http://{address}"),
            token: derive(&secret, "token"),
            secret,
        })
    }

    /// The page: `http://127.0.0.1:PORT/TOKEN/`.
    pub fn address(&self) -> String {
        format!("{}/{}/", self.origin, self.token)
    }

    /// Compares without telling by its time how much of the token was right.
    pub fn is_token(&self, candidate: &str) -> bool {
        let difference = |so_far, (one, other)| so_far | (one ^ other);
        let pairs = self.token.bytes().zip(candidate.bytes());
        self.token.len() == candidate.len() && pairs.fold(0, difference) == 0
    }

    /// The code in a user's enrolment address. The address is shown to whoever logs in as that user, so the token must not
    /// stand in it.
    pub fn enrolment_code(&self, user: &str) -> String {
        derive(&self.secret, &format!("enrolment of {user}"))
    }

    /// The enrolment address with this code.
    pub fn portal(&self, code: &str) -> String {
        format!("{}/portal/{code}", self.origin)
    }
}

fn derive(secret: &str, purpose: &str) -> String {
    let digest = signing::sign(Digest::Sha512, secret, purpose);
    digest.chars().take(TOKEN_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let place = Place::new(([127, 0, 0, 1], 80).into()).unwrap();
        let token = place.token.clone();
        assert_eq!(token.len(), TOKEN_LENGTH);
        assert!(place.is_token(&token));
        for wrong in ["", &token[1..], &format!("{token}0"), &"0".repeat(32)] {
            assert!(!place.is_token(wrong), "{wrong}");
        }
        assert!(!place.portal(&place.enrolment_code("u")).contains(&token));
        let other = Place::new(([127, 0, 0, 1], 80).into()).unwrap();
        assert!(!other.is_token(&token));
    }
}
