//! Who is asked for the second factor: pattern-lists over the names of the user's groups, and the
//! gate, which lets a user pass only if it is certain that no group is missing (docs/behaviour.md,
//! *Groups*).

use std::fmt;

use crate::config::is_blank;

/// A name that no group has, looked up to see whether the directory can say "no such group". It is
/// spelt like a real one, since some name services refuse an unusual name without asking the
/// directory.
const NO_SUCH_GROUP: &[u8] = b"login_duo-no-such-group";

/// The pattern-lists of `groups`: blanks between lists, commas between the patterns of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    lists: Vec<Vec<Pattern>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    sense: Sense,
    name: Vec<u8>,
}

/// What a pattern does to its list if one of the user's groups fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// The list matches, unless a negated pattern of it fits too.
    Positive,
    /// With `!`: the list does not match.
    Negated,
}

impl Groups {
    /// Reads one value. Empty patterns (`a,,b`) match nobody and are dropped; the
    /// configuration warns of them.
    ///
    /// # Errors
    /// What is wrong, in words that follow the key's name: a `!` before nothing, or no pattern at
    /// all, which would let everybody pass.
    pub fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let mut lists = Vec::new();
        for text in split_at_blanks(value) {
            let mut list = Vec::new();
            for pattern in text
                .split(|byte| *byte == b',')
                .filter(|pattern| !pattern.is_empty())
            {
                list.push(Pattern::parse(pattern)?);
            }
            if !list.is_empty() {
                lists.push(list);
            }
        }
        if lists.is_empty() {
            return Err("names no group");
        }
        Ok(Self { lists })
    }

    /// Adds the lists of another line of the file.
    pub fn add(&mut self, other: Self) {
        self.lists.extend(other.lists);
    }

    /// Whether a list matches: one of the `names` fits a positive pattern of it, and none of them
    /// fits a negated one.
    pub fn matches<N: AsRef<[u8]>>(&self, names: &[N]) -> bool {
        self.lists.iter().any(|list| {
            let hit = |sense| {
                list.iter().any(|p| {
                    p.sense == sense && names.iter().any(|name| fits(&p.name, name.as_ref()))
                })
            };
            hit(Sense::Positive) && !hit(Sense::Negated)
        })
    }

    /// The patterns without `*` and `?`, positive or negated: each is the name of one group.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        let names = self
            .lists
            .iter()
            .flatten()
            .map(|pattern| pattern.name.as_slice());
        names.filter(|name| !name.iter().any(|byte| matches!(byte, b'*' | b'?')))
    }

    /// The first list that matches, as the file spells it (`*,!guests`), to explain why a user is
    /// asked.
    pub fn first_match<N: AsRef<[u8]>>(&self, names: &[N]) -> Option<String> {
        let list = self.lists.iter().find(|list| {
            let alone = Self {
                lists: vec![(*list).clone()],
            };
            alone.matches(names)
        })?;
        let spell = |pattern: &Pattern| match pattern.sense {
            Sense::Positive => String::from_utf8_lossy(&pattern.name).into_owned(),
            Sense::Negated => format!("!{}", String::from_utf8_lossy(&pattern.name)),
        };
        Some(list.iter().map(spell).collect::<Vec<_>>().join(","))
    }

    /// Each pattern with its sense.
    pub fn patterns(&self) -> impl Iterator<Item = (Sense, &[u8])> {
        let all = self.lists.iter().flatten();
        all.map(|pattern| (pattern.sense, pattern.name.as_slice()))
    }

    /// Whether one list matches every user, so that the other lists change nothing.
    pub fn matches_everybody(&self) -> bool {
        self.lists.iter().any(|list| {
            list.iter()
                .any(|pattern| pattern.name.iter().all(|byte| *byte == b'*'))
                && list.iter().all(|pattern| pattern.sense == Sense::Positive)
        })
    }

    /// Whether every pattern is negated, so that nobody can match.
    pub fn all_negated(&self) -> bool {
        self.lists
            .iter()
            .flatten()
            .all(|pattern| pattern.sense == Sense::Negated)
    }
}

impl Pattern {
    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let (sense, name) = match text.strip_prefix(b"!") {
            Some([]) => return Err("has a '!' with no name after it"),
            Some(name) => (Sense::Negated, name),
            None => (Sense::Positive, text),
        };
        Ok(Self {
            sense,
            name: name.to_vec(),
        })
    }
}

/// Whether a pattern of `value` is empty, as in `a, b`, where the writer may have meant `a,b`.
pub(crate) fn has_empty_pattern(value: &[u8]) -> bool {
    split_at_blanks(value)
        .iter()
        .any(|list| list.split(|byte| *byte == b',').any(<[u8]>::is_empty))
}

/// The pattern-lists of `value`, which blanks separate. A backslash before a blank makes the blank part
/// of a name.
fn split_at_blanks(value: &[u8]) -> Vec<Vec<u8>> {
    let mut lists = Vec::new();
    let mut list = Vec::new();
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'\\', [blank, after @ ..]) if is_blank(*blank) => {
                list.push(*blank);
                rest = after;
            }
            (byte, _) if is_blank(*byte) => lists.push(std::mem::take(&mut list)),
            (byte, _) => list.push(*byte),
        }
    }
    lists.push(list);
    lists.retain(|list| !list.is_empty());
    lists
}

/// Whether the whole `name` fits `pattern`, byte by byte; `*` is any bytes, `?` any one.
///
/// Only the last `*` is ever tried again, since an earlier `*` would only repeat the same choices. So
/// the time is at most the product of the two lengths, also for `*a*a*a*a*b`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([], []) => return true,
            ([b'*', after @ ..], _) => {
                last_star = Some((after, name));
                pattern = after;
            }
            ([wanted, after @ ..], [found, rest @ ..]) if *wanted == b'?' || wanted == found => {
                (pattern, name) = (after, rest);
            }
            _ => {
                let Some((after, [_, rest @ ..])) = last_star else {
                    return false;
                };
                last_star = Some((after, rest));
                (pattern, name) = (after, rest);
            }
        }
    }
}

/// The directory in which the groups of one account are looked up: NSS or, in tests, a script.
pub trait Directory {
    /// The names of the account's groups, primary and supplementary.
    ///
    /// # Errors
    /// A group id has no name, or a lookup failed.
    fn group_names(&self) -> Result<Vec<Vec<u8>>, LookupError>;

    /// What the group of this name says of the account; [`Membership::NoSuchGroup`] only if the
    /// directory said so.
    ///
    /// # Errors
    /// The directory could not tell.
    fn membership(&self, name: &[u8]) -> Result<Membership, LookupError>;

    /// Whether [`Membership::NoSuchGroup`] may mean that a directory is down.
    fn hides_failures(&self) -> bool;
}

/// What a group, looked up by its name, says of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// There is no group of this name.
    NoSuchGroup,
    /// The group does not list the account. The account may still be a member, if this is its primary
    /// group.
    Unlisted,
    /// The group lists the account.
    Listed,
}

/// Why a group could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// The user is in a group whose id has no name, so no pattern can be compared with it.
    Nameless {
        /// The group id.
        gid: u32,
    },
    /// The directory failed.
    Failed {
        /// What was looked up, such as `the user's groups` or `group 'wheel'`.
        what: String,
        /// The system's text for the error.
        cause: String,
    },
    /// The directory contradicts itself: a group lists the account, but was not among the account's
    /// groups.
    Overlooked {
        /// The group's name.
        group: String,
    },
    /// A configured group was not found. This may mean that the directory is down, since
    /// nsswitch.conf hides the difference.
    Hidden {
        /// The group's name.
        group: String,
    },
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nameless { gid } => write!(f, "group id {gid} has no name"),
            Self::Failed { what, cause } => write!(f, "{what} cannot be looked up: {cause}"),
            Self::Overlooked { group } => write!(
                f,
                "group '{group}' lists the user, but was not among the user's groups"
            ),
            Self::Hidden { group } => write!(
                f,
                "group '{group}' was not found, and nsswitch.conf hides whether a directory is down"
            ),
        }
    }
}

impl std::error::Error for LookupError {}

/// What the gate decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The user needs the second factor.
    Ask(Reason),
    /// The user's groups free them from it; the log says so.
    Pass,
}

/// Why a user is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `groups` is not set.
    Everybody,
    /// A pattern-list matches.
    Matched,
    /// No list matches, but a group may be missing from the user's groups; why, for the log.
    Doubt(LookupError),
}

/// Decides whether Duo is asked. Without `groups`, no group is looked up.
///
/// # Errors
/// The user's own groups cannot be named: a fault of this machine, so deny.
pub fn gate(groups: Option<&Groups>, directory: &impl Directory) -> Result<Gate, LookupError> {
    let Some(groups) = groups else {
        return Ok(Gate::Ask(Reason::Everybody));
    };
    let names = directory.group_names()?;
    if groups.matches(&names) {
        return Ok(Gate::Ask(Reason::Matched));
    }
    // When a directory is down, getgrouplist reports no error: it returns fewer groups. Without this
    // check, everybody who logs in while LDAP is down would pass (docs/security.md, attack 13). If
    // LDAP comes back between the two lookups, a group lists a user whose groups did not have it.
    for name in groups.literals().chain([NO_SUCH_GROUP]) {
        if let Some(doubt) = doubt_about(name, &names, directory) {
            return Ok(Gate::Ask(Reason::Doubt(doubt)));
        }
    }
    Ok(Gate::Pass)
}

/// Looks the group `name` up. Returns why the user may be in more groups than `names`, if the lookup
/// shows that.
fn doubt_about(name: &[u8], names: &[Vec<u8>], directory: &impl Directory) -> Option<LookupError> {
    let group = || String::from_utf8_lossy(name).into_owned();
    match directory.membership(name) {
        Err(error) => Some(error),
        Ok(Membership::Listed) if !names.iter().any(|known| known == name) => {
            Some(LookupError::Overlooked { group: group() })
        }
        Ok(Membership::NoSuchGroup) if name != NO_SUCH_GROUP && directory.hides_failures() => {
            Some(LookupError::Hidden { group: group() })
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::Membership::{Listed, NoSuchGroup, Unlisted};
    use super::*;

    fn asked(groups: &str, names: &[&str]) -> bool {
        Groups::parse(groups.as_bytes()).unwrap().matches(names)
    }

    #[test]
    fn patterns_and_pattern_lists() {
        let table: &[(&str, &[&str], bool)] = &[
            ("wheel", &["staff", "wheel"], true),
            ("wheel", &["Wheel", "wheels", "whee"], false),
            ("wheel", &[], false),
            ("*", &["x"], true),
            ("*", &[], false),
            ("a?c", &["abc"], true),
            ("a?c", &["ac"], false),
            ("a*c", &["ac"], true),
            ("a*c", &["abcc"], true),
            ("a*b*c", &["aXbXcX"], false),
            ("a,b", &["b"], true),
            ("a b", &["b"], true),
            ("a\tb", &["b"], true),
            ("*,!guests", &["staff"], true),
            ("*,!guests", &["staff", "guests"], false),
            ("!guests,*", &["guests", "staff"], false),
            ("*,!guests wheel", &["guests", "wheel"], true),
            ("*,!g*", &["a", "guests"], false),
            ("!guests", &["staff"], false),
            ("!!a", &["x", "!a"], false),
            ("domain\\ users", &["domain users"], true),
            ("domain\\ users", &["domain"], false),
            ("DOM\\domain\\ users,x", &["DOM\\domain users"], true),
            ("DOM\\users", &["DOM\\users"], true),
            ("a\\", &["a\\"], true),
            ("a, b", &["b"], true),
            (",a,,", &[""], false),
            ("caf\u{e9}", &["caf\u{e9}"], true),
            ("caf?", &["caf\u{e9}"], false),
        ];
        for (groups, names, expected) in table {
            assert_eq!(asked(groups, names), *expected, "{groups:?} over {names:?}");
        }
    }

    #[test]
    fn names_are_bytes() {
        assert!(Groups::parse(b"\xff*").unwrap().matches(&[b"\xff\xfe"]));
    }

    #[test]
    fn values_that_name_nobody_are_errors() {
        for value in ["", ",", " , ,, "] {
            assert_eq!(Groups::parse(value.as_bytes()), Err("names no group"));
        }
        for value in ["!", "a,!", "! a"] {
            assert_eq!(
                Groups::parse(value.as_bytes()),
                Err("has a '!' with no name after it")
            );
        }
    }

    #[test]
    fn the_list_that_decides_is_told_as_it_was_written() {
        let groups = Groups::parse(b"wheel *,!guests").unwrap();
        let of = |names: &[&str]| groups.first_match(names);
        assert_eq!(of(&["wheel", "guests"]).as_deref(), Some("wheel"));
        assert_eq!(of(&["staff"]).as_deref(), Some("*,!guests"));
        assert_eq!(of(&["guests"]), None);
        let everybody = |value: &[u8]| Groups::parse(value).unwrap().matches_everybody();
        assert!(everybody(b"a ** b") && !everybody(b"*,!a") && !everybody(b"a*"));
    }

    #[test]
    fn literals_negation_and_gaps() {
        let groups = Groups::parse(b"a*,!b c\\ d,e? f").unwrap();
        assert_eq!(
            groups.literals().collect::<Vec<_>>(),
            [&b"b"[..], b"c d", b"f"]
        );
        assert!(!groups.all_negated());
        assert!(Groups::parse(b"!a,!b !c").unwrap().all_negated());
        assert!(
            has_empty_pattern(b"a, b")
                && has_empty_pattern(b"a,,b")
                && !has_empty_pattern(b"a,b  c ")
        );
    }

    /// The obvious matcher, exponential and clearly right.
    fn reference(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', after @ ..], [_, rest @ ..]) => {
                reference(after, name) || reference(pattern, rest)
            }
            ([b'*', after @ ..], []) => reference(after, name),
            ([b'?', after @ ..], [_, rest @ ..]) => reference(after, rest),
            ([p, after @ ..], [n, rest @ ..]) => p == n && reference(after, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_obvious_matcher_does(pattern in "[ab*?]{0,8}", name in "[ab*]{0,8}") {
            prop_assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), reference(pattern.as_bytes(), name.as_bytes()));
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn never_backtracks_exponentially(stars in 1..64_usize, name in "[ab]{10000}", end in "[abc]") {
            let pattern = "*a".repeat(stars) + "*" + &end;
            let start = Instant::now();
            for name in [name, "a".repeat(10_000)] {
                fits(pattern.as_bytes(), name.as_bytes());
            }
            prop_assert!(start.elapsed() < Duration::from_secs(1));
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(groups) = Groups::parse(&value) {
                groups.matches(&[&value]);
                prop_assert!(groups.literals().all(|name| !name.is_empty()));
            }
        }
    }

    /// A directory for tests: the user's groups, and its answer to a lookup by name.
    struct ScriptedDirectory {
        names: Result<Vec<Vec<u8>>, LookupError>,
        says: fn(&[u8]) -> Result<Membership, LookupError>,
        hides_failures: bool,
    }

    impl Directory for ScriptedDirectory {
        fn group_names(&self) -> Result<Vec<Vec<u8>>, LookupError> {
            self.names.clone()
        }

        fn membership(&self, name: &[u8]) -> Result<Membership, LookupError> {
            (self.says)(name)
        }

        fn hides_failures(&self) -> bool {
            self.hides_failures
        }
    }

    fn down() -> LookupError {
        LookupError::Failed {
            what: "group 'admins'".into(),
            cause: "Connection refused".into(),
        }
    }

    fn gate_of(
        groups: &str,
        names: &[&str],
        says: fn(&[u8]) -> Result<Membership, LookupError>,
    ) -> Gate {
        let names = Ok(names.iter().map(|name| name.as_bytes().to_vec()).collect());
        gate(
            Some(&Groups::parse(groups.as_bytes()).unwrap()),
            &ScriptedDirectory {
                names,
                says,
                hides_failures: false,
            },
        )
        .unwrap()
    }

    #[test]
    fn without_groups_nothing_is_looked_up() {
        let directory = ScriptedDirectory {
            names: Err(down()),
            says: |_| panic!("looked up"),
            hides_failures: false,
        };
        assert_eq!(gate(None, &directory), Ok(Gate::Ask(Reason::Everybody)));
    }

    #[test]
    fn a_match_asks_and_anything_else_passes() {
        assert_eq!(
            gate_of("admins", &["admins"], |_| panic!("looked up")),
            Gate::Ask(Reason::Matched)
        );
        assert_eq!(gate_of("admins", &["staff"], |_| Ok(Unlisted)), Gate::Pass);
        assert_eq!(
            gate_of("admins", &["staff"], |_| Ok(NoSuchGroup)),
            Gate::Pass
        );
        assert_eq!(gate_of("!staff", &["users"], |_| Ok(Unlisted)), Gate::Pass);
    }

    #[test]
    fn a_group_id_without_a_name_or_a_failed_lookup_denies() {
        for error in [LookupError::Nameless { gid: 1234 }, down()] {
            let directory = ScriptedDirectory {
                names: Err(error.clone()),
                says: |_| Ok(Unlisted),
                hides_failures: false,
            };
            assert_eq!(
                gate(Some(&Groups::parse(b"*").unwrap()), &directory),
                Err(error)
            );
        }
    }

    #[test]
    fn a_directory_that_is_down_asks() {
        let doubt = Gate::Ask(Reason::Doubt(down()));
        assert_eq!(
            gate_of("*s,admins", &[], |name| if name == b"admins" {
                Err(down())
            } else {
                Ok(Unlisted)
            }),
            doubt
        );
        assert_eq!(
            gate_of("*,!admins", &["admins"], |name| if name == b"admins" {
                Err(down())
            } else {
                Ok(Unlisted)
            }),
            doubt
        );
        assert_eq!(
            gate_of("adm*", &["staff"], |name| if name == NO_SUCH_GROUP {
                Err(down())
            } else {
                Ok(Unlisted)
            }),
            doubt
        );
    }

    #[test]
    fn a_group_that_lists_the_user_and_was_overlooked_asks() {
        let doubt = Gate::Ask(Reason::Doubt(LookupError::Overlooked {
            group: "admins".into(),
        }));
        let listed: fn(&[u8]) -> Result<Membership, LookupError> = |name| {
            Ok(match name {
                b"admins" => Listed,
                _ => NoSuchGroup,
            })
        };
        assert_eq!(gate_of("admins", &["staff"], listed), doubt);
        assert_eq!(
            gate_of("staff,!admins", &["staff", "admins"], listed),
            Gate::Pass
        );
    }

    #[test]
    fn a_configured_group_that_is_gone_asks_where_a_directory_may_be_down_unheard() {
        let gone: fn(&[u8]) -> Result<Membership, LookupError> = |_| Ok(NoSuchGroup);
        let there: fn(&[u8]) -> Result<Membership, LookupError> = |name| {
            Ok(match name {
                b"admins" => Unlisted,
                _ => NoSuchGroup,
            })
        };
        let groups = Groups::parse(b"admins adm*").unwrap();
        let gate_with = |says| {
            let silent = ScriptedDirectory {
                names: Ok(vec![b"staff".to_vec()]),
                says,
                hides_failures: true,
            };
            gate(Some(&groups), &silent).unwrap()
        };
        let doubt = LookupError::Hidden {
            group: "admins".into(),
        };
        assert_eq!(gate_with(gone), Gate::Ask(Reason::Doubt(doubt)));
        assert_eq!(gate_with(there), Gate::Pass);
        assert_eq!(gate_of("admins", &["staff"], gone), Gate::Pass);
    }

    #[test]
    fn errors_say_what_and_why() {
        assert_eq!(
            LookupError::Nameless { gid: 7 }.to_string(),
            "group id 7 has no name"
        );
        assert_eq!(
            down().to_string(),
            "group 'admins' cannot be looked up: Connection refused"
        );
    }
}
