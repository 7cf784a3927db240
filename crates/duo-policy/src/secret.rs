//! Bytes that must not outlive their use: overwritten when dropped, and without `Debug` or
//! `Display`, so that no log line, error or panic can hold them by accident.

use zeroize::Zeroizing;

/// A secret key, proxy credentials, or a whole configuration file, which holds them (docs/security.md,
/// attack 11).
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes themselves. A copy of them is not overwritten when it is dropped.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Takes the bytes over; they are not copied. Memory that the vector gave back earlier, when it
/// grew, is not overwritten.
impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// Takes the bytes of the text over; they are not copied.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        assert_eq!(Secret::from(String::from("a b")).expose(), b"a b");
        assert_eq!(Secret::from(vec![0xff]).clone().expose(), [0xff]);
    }

    #[test]
    fn the_bytes_are_taken_over_and_not_copied() {
        let bytes = vec![1, 2, 3];
        let place = bytes.as_ptr();
        assert_eq!(Secret::from(bytes).expose().as_ptr(), place);
    }
}
