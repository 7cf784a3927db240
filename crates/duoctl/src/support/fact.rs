//! What may go into a report: words of this program's own, and numbers. There is no way to make a
//! fact from a text that was read somewhere, so no secret can be in one, whatever file it stands in.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// One of the words in this program's code.
    Word(&'static str),
    /// A number.
    Number(u64),
    /// So or not so.
    Is(bool),
    /// Several.
    Several(Vec<Fact>),
    /// Named ones.
    Named(Facts),
    /// `12.5`, at most three numbers.
    Version(Version),
}

/// Facts by their names, which stand in this program's code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<&'static str, Fact>);

impl Facts {
    /// One more.
    pub fn add(&mut self, name: &'static str, fact: impl Into<Fact>) {
        self.0.insert(name, fact.into());
    }

    /// One more, where there is one.
    pub fn add_some(&mut self, name: &'static str, fact: Option<impl Into<Fact>>) {
        if let Some(fact) = fact {
            self.add(name, fact);
        }
    }
}

impl From<&'static str> for Fact {
    fn from(word: &'static str) -> Fact {
        Fact::Word(word)
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Fact {
        Fact::Number(number)
    }
}

impl From<usize> for Fact {
    fn from(number: usize) -> Fact {
        Fact::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Fact {
    fn from(is_so: bool) -> Fact {
        Fact::Is(is_so)
    }
}

impl From<Facts> for Fact {
    fn from(facts: Facts) -> Fact {
        Fact::Named(facts)
    }
}

impl From<Version> for Fact {
    fn from(version: Version) -> Fact {
        Fact::Version(version)
    }
}

impl<T: Into<Fact>> From<Vec<T>> for Fact {
    fn from(several: Vec<T>) -> Fact {
        Fact::Several(several.into_iter().map(Into::into).collect())
    }
}

/// The numbers of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(Vec<u16>);

impl Version {
    /// The numbers at the beginning of `text`, as in `6.1.0-18-amd64`. A number with more than four
    /// digits is no part of a version.
    pub fn at_start_of(text: &str) -> Option<Version> {
        const MOST: usize = 3;
        let mut numbers = Vec::new();
        let mut rest = text;
        while numbers.len() < MOST {
            let after = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
            let digits = rest.strip_suffix(after).unwrap_or_default();
            let fits = (1..=4).contains(&digits.len());
            let Some(number) = digits.parse().ok().filter(|_| fits) else {
                break;
            };
            numbers.push(number);
            match after.strip_prefix('.') {
                Some(more) => rest = more,
                None => break,
            }
        }
        (!numbers.is_empty()).then_some(Version(numbers))
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for number in &self.0 {
            list.serialize_element(number)?;
        }
        list.end()
    }
}

/// The one of `known` that `text` is; `other` for all others.
pub fn known(text: &str, known: &[&'static str]) -> &'static str {
    let found = known.iter().find(|word| text.eq_ignore_ascii_case(word));
    found.copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_numbers_and_nothing_else() {
        let of = |text: &str| Version::at_start_of(text).map(|version| version.0);
        assert_eq!(of("6.1.0-18-amd64"), Some(vec![6, 1, 0]));
        assert_eq!(of("12"), Some(vec![12]));
        assert_eq!(of("9.2p1 Debian"), Some(vec![9, 2]));
        assert_eq!(of("1.2.3.4"), Some(vec![1, 2, 3]));
        // A passcode, a key.
        for text in ["123456", "x1.2", "", "DIXXXXXX", "12345.1"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_called_other() {
        assert_eq!(known("No", &["yes", "no"]), "no");
        assert_eq!(known("secret", &["yes", "no"]), "other");
    }
}
