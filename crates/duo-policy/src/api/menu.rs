//! Factors, and the menu that offers them. Duo answers in one of two forms
//! (docs/duo-api.md, *Requests*): with a `prompt`, Duo wrote the menu and names
//! the factors; without one, we build the menu from the devices.

use std::fmt::Write;

/// The name in the log of typed text that is no choice of the menu, since the
/// text itself may be a secret.
const PASSCODE: &str = "passcode";

/// The letters of a one-time password that a YubiKey types (modhex: these letters
/// have the same place on every keyboard layout).
const YUBIKEY_LETTERS: &[u8] = b"cbdefghijklnrtuv";

/// 12 letters for the id of the YubiKey, and 32 for the password.
const YUBIKEY_LENGTH: usize = 44;

/// A second factor, for Duo to verify. Source: docs/duo-api.md, *Requests*.
#[derive(Clone, PartialEq, Eq)]
pub enum Factor {
    /// With a menu that Duo wrote: the name of a factor, or a passcode.
    Prompt {
        /// `push1`, or what was typed.
        value: String,
        /// The transaction of preauth, for a Verified Push.
        txid: Option<String>,
        /// The name of this factor in the log: never what was typed.
        name: String,
    },
    /// A push to the device with this id.
    Push(String),
    /// A phone call to the device with this id.
    Phone(String),
    /// Passcodes by SMS to the device with this id.
    Sms(String),
    /// A passcode.
    Passcode(String),
    /// The factor that Duo chooses.
    Auto,
}

impl Factor {
    /// The name of this factor in the log.
    pub fn name(&self) -> &str {
        match self {
            Factor::Prompt { name, .. } => name,
            Factor::Push(_) => "push",
            Factor::Phone(_) => "phone",
            Factor::Sms(_) => "sms",
            Factor::Passcode(_) => PASSCODE,
            Factor::Auto => "auto",
        }
    }

    /// Whether the person typed something that is no choice of the menu: a
    /// passcode, or the name of a factor.
    pub fn is_typed(&self) -> bool {
        self.name() == PASSCODE
    }

    /// Whether this factor can only be a passcode: all digits, or what a YubiKey
    /// types. A passcode asks nothing more of the person, so Duo can answer with
    /// its verdict at once.
    pub(crate) fn is_passcode(&self) -> bool {
        let text = match self {
            Factor::Prompt { value, name, .. } if name == PASSCODE => value,
            Factor::Passcode(text) => text,
            _ => return false,
        };
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_yubikeys = text.len() == YUBIKEY_LENGTH
            && text
                .bytes()
                .all(|byte| YUBIKEY_LETTERS.contains(&byte.to_ascii_lowercase()));
        is_digits || is_yubikeys
    }

    /// Whether this is a Verified Push, whose code for the phone comes in the text
    /// of a status.
    pub(crate) fn is_verified_push(&self) -> bool {
        matches!(self, Factor::Prompt { value, .. } if value.starts_with("verified_push"))
    }
}

/// Shows the name only, since a factor may hold a passcode.
impl std::fmt::Debug for Factor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Factor({})", self.name())
    }
}

/// What the person may choose from.
#[derive(Debug, PartialEq, Eq)]
pub struct Menu {
    /// The text of Duo's menu, or the lines of ours.
    text: String,
    choices: Vec<Choice>,
    default: Option<Factor>,
    origin: Origin,
}

/// One line of a menu.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// What the person types.
    pub key: String,
    /// Our own line, or the name that Duo gave to the factor.
    pub label: String,
    factor: Factor,
}

#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// Duo wrote the menu. With the transaction of preauth, for a Verified Push.
    Prompt(Option<String>),
    /// We built the menu from the devices.
    Devices,
}

impl Menu {
    /// A menu that Duo wrote, without its choices.
    pub(crate) fn prompted(text: &str, txid: Option<&str>) -> Menu {
        Menu {
            text: text.to_owned(),
            choices: Vec::new(),
            default: None,
            origin: Origin::Prompt(txid.map(str::to_owned)),
        }
    }

    /// Adds the factor `name` as the choice `key`. The key `default` is the factor
    /// of an empty line.
    pub(crate) fn add_prompted(&mut self, key: &str, name: &str) {
        let factor = self.prompt_factor(name, name);
        if key == "default" {
            self.default = Some(factor);
        } else {
            self.choices.push(Choice {
                key: key.to_owned(),
                label: name.to_owned(),
                factor,
            });
        }
    }

    /// A menu for devices, without its choices.
    pub(crate) fn of_devices() -> Menu {
        Menu {
            text: String::new(),
            choices: Vec::new(),
            default: None,
            origin: Origin::Devices,
        }
    }

    /// Adds a choice; the first one is the default.
    pub(crate) fn add_device(&mut self, label: &str, device: &str, factor: Factor) {
        let key = (self.choices.len() + 1).to_string();
        let label = format!("{label} {device}");
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, " {key}. {label}");
        self.default.get_or_insert_with(|| factor.clone());
        self.choices.push(Choice { key, label, factor });
    }

    /// What the person may choose from, in the order of Duo's answer.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// Whether `typed` is a number of one or two digits that is no key of this menu.
    pub(crate) fn lacks_option(&self, typed: &str) -> bool {
        let is_option = (1..=2).contains(&typed.len()) && typed.bytes().all(|b| b.is_ascii_digit());
        is_option
            && !self.choices.is_empty()
            && self.choices.iter().all(|choice| choice.key != typed)
    }

    /// The text that asks `user` for a line.
    pub fn text(&self, user: &str) -> String {
        match (&self.origin, self.choices.len()) {
            (Origin::Prompt(_), _) => match self.text.is_empty() {
                true => "Passcode: ".to_owned(),
                false => self.text.clone(),
            },
            (Origin::Devices, 0) => format!("Duo two-factor login for {user}\n\nPasscode: "),
            (Origin::Devices, count) => format!(
                "Duo two-factor login for {user}\n\n\
                 Enter a passcode or select one of the following options:\n\n\
                 {}\nPasscode or option (1-{count}): ",
                self.text
            ),
        }
    }

    /// The factor of an empty line, and of a login without a menu; `None` if Duo's
    /// menu has no default.
    pub fn default_factor(&self) -> Option<Factor> {
        match self.origin {
            Origin::Prompt(_) => self.default.clone(),
            Origin::Devices => Some(self.default.clone().unwrap_or(Factor::Auto)),
        }
    }

    /// The factor that `typed` means: the choice with this key, or else a passcode
    /// or the name of a factor, which Duo verifies. `None` if `typed` is empty and
    /// there is no default.
    pub fn factor(&self, typed: &str) -> Option<Factor> {
        if typed.is_empty() {
            return self.default_factor();
        }
        if let Some(choice) = self.choices.iter().find(|choice| choice.key == typed) {
            return Some(choice.factor.clone());
        }
        let mut factors = self.choices.iter().map(|choice| &choice.factor);
        let known = factors.any(|factor| factor.name() == typed);
        Some(match self.origin {
            Origin::Prompt(_) => self.prompt_factor(typed, if known { typed } else { PASSCODE }),
            Origin::Devices => Factor::Passcode(typed.to_owned()),
        })
    }

    /// The factor `value` of a menu that Duo wrote, called `name` in the log.
    fn prompt_factor(&self, value: &str, name: &str) -> Factor {
        let txid = match &self.origin {
            Origin::Prompt(txid) if value.starts_with("verified_push") => txid.clone(),
            _ => None,
        };
        Factor::Prompt {
            value: value.to_owned(),
            txid,
            name: name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duos() -> Menu {
        let mut menu = Menu::prompted("choose: ", Some("t1"));
        for (key, name) in [
            ("default", "push1"),
            ("1", "push1"),
            ("2", "verified_push1"),
        ] {
            menu.add_prompted(key, name);
        }
        menu
    }

    fn value(factor: Option<Factor>) -> (String, Option<String>, String) {
        match factor {
            Some(Factor::Prompt { value, txid, name }) => (value, txid, name),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_means_its_factor_and_enter_the_default() {
        assert_eq!(
            value(duos().factor("")),
            ("push1".into(), None, "push1".into())
        );
        assert_eq!(value(duos().factor("1")).0, "push1");
    }

    #[test]
    fn only_a_verified_push_carries_preauths_transaction() {
        let (value, txid, name) = value(duos().factor("2"));
        assert_eq!(
            (value.as_str(), txid.as_deref()),
            ("verified_push1", Some("t1"))
        );
        assert_eq!(name, "verified_push1");
        assert!(
            duos()
                .factor("2")
                .is_some_and(|factor| factor.is_verified_push())
        );
    }

    #[test]
    fn what_was_typed_never_reaches_the_log_unless_duo_named_it() {
        assert_eq!(value(duos().factor("123456")).2, "passcode");
        assert_eq!(value(duos().factor("my login password")).2, "passcode");
        assert_eq!(value(duos().factor("push1")).2, "push1");
        assert_eq!(
            format!("{:?}", duos().factor("123456")),
            "Some(Factor(passcode))"
        );
    }

    #[test]
    fn what_can_only_be_a_passcode_is_told_from_what_may_ask_a_person() {
        let is_passcode = |typed: &str| duos().factor(typed).unwrap().is_passcode();
        let yubikey = "cccccckdvvulgjvtkjdhtlrbjjctggdihuevikehtlil";
        for typed in ["123456", "1234567", "000000000", yubikey] {
            assert!(is_passcode(typed), "{typed}");
            assert!(Factor::Passcode(typed.into()).is_passcode());
        }
        for typed in ["", "1", "push", "push2", "12345a", "phone1 ", &yubikey[1..]] {
            assert!(!is_passcode(typed), "{typed}");
        }
        assert!(!Factor::Passcode(String::new()).is_passcode());
        assert!(!Factor::Auto.is_passcode());
    }

    #[test]
    fn a_number_that_is_no_option_is_no_passcode_either() {
        for (typed, lacks) in [("9", true), ("42", true), ("1", false), ("", false)] {
            assert_eq!(duos().lacks_option(typed), lacks, "{typed}");
        }
        for typed in ["123", "123456", "a", "9x"] {
            assert!(!duos().lacks_option(typed), "{typed}");
        }
        // Without choices, Duo verifies any number.
        assert!(!Menu::prompted("Passcode: ", None).lacks_option("9"));
    }

    #[test]
    fn the_choices_are_those_of_the_menu() {
        let listed = |menu: &Menu| -> Vec<String> {
            let choices = menu.choices().iter();
            choices.map(|c| format!("{} {}", c.key, c.label)).collect()
        };
        assert_eq!(listed(&duos()), ["1 push1", "2 verified_push1"]);
        let mut menu = Menu::of_devices();
        menu.add_device("Duo Push to", "phone (1234)", Factor::Push("D1".into()));
        assert_eq!(listed(&menu), ["1 Duo Push to phone (1234)"]);
    }

    #[test]
    fn without_a_default_enter_means_nothing() {
        let menu = Menu::prompted("passcode: ", None);
        assert_eq!(menu.factor(""), None);
        assert_eq!(menu.default_factor(), None);
    }

    #[test]
    fn devices_make_a_numbered_menu() {
        let mut menu = Menu::of_devices();
        menu.add_device("Duo Push to", "phone (1234)", Factor::Push("D1".into()));
        menu.add_device("Phone call to", "phone (1234)", Factor::Phone("D1".into()));
        assert!(
            menu.text("bob")
                .contains(" 2. Phone call to phone (1234)\n")
        );
        assert!(menu.text("bob").ends_with("Passcode or option (1-2): "));
        assert_eq!(menu.factor("2"), Some(Factor::Phone("D1".into())));
        assert_eq!(menu.factor(""), Some(Factor::Push("D1".into())));
        assert_eq!(
            menu.factor("123456"),
            Some(Factor::Passcode("123456".into()))
        );
    }

    #[test]
    fn without_devices_duo_chooses_and_passcodes_still_work() {
        let menu = Menu::of_devices();
        assert_eq!(menu.default_factor(), Some(Factor::Auto));
        assert_eq!(
            menu.factor("123456"),
            Some(Factor::Passcode("123456".into()))
        );
    }
}
