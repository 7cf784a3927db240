//! Emergency codes as values: how a code is written and typed, and what a file of them
//! holds (docs/emergency.md). No file has a code: it has a SHA-512/256 over a salt and the
//! code, and 80 random bits need no slower hash. (SHA-256 would be as good, and 11 KiB more of
//! a setuid program, which signs with SHA-512.)
//!
//! A file may hold anything: a child that was taken over can write to the file of its own
//! account (docs/security.md, attack 16).

use std::hint::black_box;

use zeroize::Zeroizing;

use crate::cryptography::sha512_256;
use crate::error::Error;
use crate::verdict::UsedUp;

/// The bytes of a code, before they are written as letters.
pub const CODE: usize = 10;

/// The letters of a code, each of which has five bits.
const LETTERS: usize = 16;

/// The bytes of a salt.
pub const SALT: usize = 16;

/// The bytes of a slot. No slot lies across two sectors of a disk, so one write changes all
/// of it or nothing.
pub const SLOT: usize = 64;

/// The most codes that an account has.
pub const MOST: usize = 50;

/// With fewer codes left than so many, an account should get new ones.
pub const FEW: usize = 3;

/// The most bytes of a file that are read.
pub const LONGEST_FILE: usize = (MOST + 1) * SLOT;

/// What a file begins with: one slot, filled up with zeros.
const HEADER: &[u8] = b"login_duo: emergency codes, version 1\n";

/// How a slot begins whose code is good. In any other slot there is no code.
const GOOD: &[u8; SALT] = b"a good code ----";

/// A slot whose code was used up. It has no salt and no hash any more.
pub const USED: [u8; SLOT] = [b'-'; SLOT];

/// Crockford's base32: no letter looks like another one or like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One emergency code. It has no `Debug` and no `Display`, and is overwritten when dropped.
pub struct Code(Zeroizing<[u8; CODE]>);

impl Code {
    /// The code of these bytes, which are random.
    pub fn of(bytes: Zeroizing<[u8; CODE]>) -> Code {
        Code(bytes)
    }

    /// The code in a line that a person typed: in any case, with or without dashes and
    /// blanks, and with O for 0, I or L for 1. `None` if the line is none.
    pub fn typed(line: &[u8]) -> Option<Code> {
        let mut bytes = Zeroizing::new([0; CODE]);
        let mut room = bytes.iter_mut();
        let (mut held, mut bits, mut letters) = (0_u32, 0, 0);
        for letter in line {
            if *letter == b'-' || letter.is_ascii_whitespace() {
                continue;
            }
            held = (held << 5 | value(*letter)?) & 0xfff;
            bits += 5;
            letters += 1;
            if bits >= 8 {
                bits -= 8;
                *room.next()? = u8::try_from(held >> bits & 0xff).ok()?;
            }
        }
        (letters == LETTERS).then_some(Code(bytes))
    }

    /// The code as a person reads it: `XXXX-XXXX-XXXX-XXXX`.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(LETTERS + 3));
        let mut bytes = self.0.iter();
        let (mut held, mut bits) = (0_u32, 0);
        for place in 0..LETTERS {
            if place > 0 && place % 4 == 0 {
                text.push('-');
            }
            if bits < 5 {
                held = held << 8 | bytes.next().copied().map_or(0, u32::from);
                bits += 8;
            }
            bits -= 5;
            let letter = usize::try_from(held >> bits & 31).unwrap_or(0);
            text.push(ALPHABET.get(letter).copied().map_or('0', char::from));
        }
        text
    }

    fn digest(&self, salt: &[u8]) -> [u8; 32] {
        sha512_256(salt, &*self.0)
    }
}

/// The five bits of a letter.
fn value(letter: u8) -> Option<u32> {
    let letter = match letter.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        letter => letter,
    };
    let place = ALPHABET.iter().position(|known| *known == letter)?;
    u32::try_from(place).ok()
}

/// The slots of a file.
pub struct Slots<'a>(&'a [u8]);

impl<'a> Slots<'a> {
    /// The slots in a file of these bytes; `None` if it is no file of codes.
    pub fn read(file: &'a [u8]) -> Option<Slots<'a>> {
        let (header, slots) = file.split_at_checked(SLOT)?;
        let slots = slots.get(..SLOT * MOST).unwrap_or(slots);
        (header == slot(&[HEADER])).then_some(Slots(slots))
    }

    /// How many codes were made.
    pub fn made(&self) -> usize {
        self.0.chunks_exact(SLOT).count()
    }

    /// How many of them are good.
    pub fn left(&self) -> usize {
        self.0
            .chunks_exact(SLOT)
            .filter(|slot| good(slot).is_some())
            .count()
    }

    /// Where in the file the slot of this code begins, if the code is good. How long that
    /// takes does not tell how much of a code was right, nor which one it was.
    pub fn find(&self, code: &Code) -> Option<u64> {
        let mut found = None;
        for (place, slot) in (1_u64..).zip(self.0.chunks_exact(SLOT)) {
            if let Some((salt, digest)) = good(slot)
                && is_equal(&code.digest(salt), digest)
            {
                found = Some(place);
            }
        }
        found?.checked_mul(u64::try_from(SLOT).ok()?)
    }
}

/// The salt and the hash of a slot whose code is good.
fn good(slot: &[u8]) -> Option<(&[u8], &[u8])> {
    slot.strip_prefix(GOOD)?.split_at_checked(SALT)
}

/// Compares in a time that does not depend on where the two differ.
fn is_equal(one: &[u8; 32], other: &[u8]) -> bool {
    let differing = one
        .iter()
        .zip(other)
        .fold(0, |bits, (one, other)| black_box(bits | (one ^ other)));
    one.len() == other.len() && differing == 0
}

/// A file of these codes, each with the salt for it.
pub fn file_of(codes: &[(Code, [u8; SALT])]) -> Vec<u8> {
    let mut file = slot(&[HEADER]).to_vec();
    for (code, salt) in codes {
        file.extend(slot(&[GOOD, salt, &code.digest(salt)]));
    }
    file
}

/// A slot that begins with these parts.
fn slot(parts: &[&[u8]]) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    for (to, from) in slot.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    slot
}

/// The emergency codes of the account that logs in.
pub trait EmergencyCodes {
    /// How many are left.
    ///
    /// # Errors
    /// Why the account has no codes, for the log.
    fn left(&self) -> Result<usize, String>;

    /// Uses a code up, so that no other login gets in with it; `None` if it is none of the
    /// account's.
    ///
    /// # Errors
    /// [`Error::Fault`] if it cannot be used up. Then it must open nothing.
    fn use_up(&self, code: &Code) -> Result<Option<UsedUp>, Error>;
}

/// An account that has no codes, and why. For a login that shall use none up.
pub struct NoCodes(pub &'static str);

impl EmergencyCodes for NoCodes {
    fn left(&self) -> Result<usize, String> {
        Err(self.0.to_owned())
    }

    fn use_up(&self, _: &Code) -> Result<Option<UsedUp>, Error> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(text: &str) -> Option<String> {
        Code::typed(text.as_bytes()).map(|code| code.text().to_string())
    }

    #[test]
    fn a_code_is_taken_in_any_spelling_and_nothing_else_is() {
        let expected = Some("01AB-CDEF-GHJK-MNPQ".to_owned());
        for text in [
            "01AB-CDEF-GHJK-MNPQ",
            "01abcdefghjkmnpq",
            "  OlAb cdEF\tghjk-mnpq \r",
            "o-i-abcdefghjkmnpq--",
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
        for text in [
            "",
            "01AB-CDEF-GHJK-MNP",
            "01AB-CDEF-GHJK-MNPQR",
            "01AB-CDEF-GHJK-MNPU",
            "01AB-CDEF-GHJK-MNP\u{e9}",
            "123456",
            "push",
        ] {
            assert_eq!(code(text), None, "{text}");
        }
        assert!(Code::typed(&[b'0'; 10_000]).is_none());
    }

    /// Made by another program.
    #[test]
    fn the_letters_are_crockfords_and_the_hash_is_sha_512_256_over_salt_and_code() {
        let code = Code::of(Zeroizing::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!(code.text().as_str(), "000G-40R4-0M30-E209");
        let hash: String = code
            .digest(&[b'S'; SALT])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let expected = "ebc9d7db699bb6fe153fd893203566f06fc9ddff13ee14fe468e07c5503fa288";
        assert_eq!(hash, expected);
    }

    #[test]
    fn a_code_opens_its_slot_until_that_is_used() {
        let bytes = |number| Code::of(Zeroizing::new([number; CODE]));
        let codes: Vec<_> = (0..10).map(|n| (bytes(n), [100 + n; SALT])).collect();
        let mut file = file_of(&codes);
        assert_eq!(file.len(), 11 * SLOT);
        for (number, (code, _)) in codes.iter().enumerate() {
            let slots = Slots::read(&file).unwrap();
            assert_eq!((slots.made(), slots.left()), (10, 10 - number));
            let place = usize::try_from(slots.find(code).unwrap()).unwrap();
            file[place..place + SLOT].copy_from_slice(&USED);
            assert_eq!(Slots::read(&file).unwrap().find(code), None);
        }
        assert_eq!(Slots::read(&file).unwrap().find(&bytes(200)), None);
    }

    #[test]
    fn a_slot_that_was_written_in_part_opens_nothing() {
        let code = || Code::of(Zeroizing::new([7; CODE]));
        let file = file_of(&[(code(), [1; SALT])]);
        for cut in 1..=SLOT {
            let mut torn = file.clone();
            torn[SLOT..SLOT + cut].copy_from_slice(&USED[..cut]);
            assert_eq!(Slots::read(&torn).unwrap().find(&code()), None, "{cut}");
            let mut torn = file.clone();
            torn[2 * SLOT - cut..].copy_from_slice(&USED[..cut]);
            assert_eq!(Slots::read(&torn).unwrap().find(&code()), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_typed(bytes: [u8; CODE]) {
            let text = Code::of(Zeroizing::new(bytes)).text();
            prop_assert_eq!(text.len(), 19);
            let typed = Code::typed(text.as_bytes()).unwrap();
            prop_assert_eq!(*typed.0, bytes);
            let typed = Code::typed(text.to_ascii_lowercase().as_bytes()).unwrap();
            prop_assert_eq!(*typed.0, bytes);
        }

        #[test]
        fn no_bytes_of_a_file_or_a_line_are_a_danger(
            junk in prop::collection::vec(any::<u8>(), 0..5_000),
            line in prop::collection::vec(any::<u8>(), 0..300),
            keep in 0..2_usize,
        ) {
            let code = Code::of(Zeroizing::new([1; CODE]));
            let mut file = file_of(&[(Code::of(Zeroizing::new([1; CODE])), [2; SALT])]);
            file.truncate(SLOT * keep);
            file.extend(&junk);
            if let Some(slots) = Slots::read(&file) {
                prop_assert!(slots.left() <= slots.made() && slots.made() <= MOST);
                prop_assert!(slots.find(&code).is_none());
            }
            let _ = Slots::read(&junk).is_some_and(|slots| slots.find(&code).is_some());
            let _ = Code::typed(&line).map(|code| code.text());
        }
    }
}
