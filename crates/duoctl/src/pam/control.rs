//! What a line of a PAM file does with what its module says: the words of
//! pam.conf(5), as Linux-PAM turns them into an action for each return value.

/// The return values of pam.conf(5), in Linux-PAM's order.
const NAMES: [&str; 32] = [
    "success",
    "open_err",
    "symbol_err",
    "service_err",
    "system_err",
    "buf_err",
    "perm_denied",
    "auth_err",
    "cred_insufficient",
    "authinfo_unavail",
    "user_unknown",
    "maxtries",
    "new_authtok_reqd",
    "acct_expired",
    "session_err",
    "cred_unavail",
    "cred_expired",
    "cred_err",
    "no_module_data",
    "conv_err",
    "authtok_err",
    "authtok_recover_err",
    "authtok_lock_busy",
    "authtok_disable_aging",
    "try_again",
    "ignore",
    "abort",
    "authtok_expired",
    "module_unknown",
    "bad_item",
    "conv_again",
    "incomplete",
];

/// A return value: its place in Linux-PAM's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(u8);

impl Value {
    /// `PAM_SUCCESS`.
    pub const SUCCESS: Value = Value(0);
    /// `PAM_AUTH_ERR`.
    pub const AUTH_ERR: Value = Value(7);
    /// `PAM_NEW_AUTHTOK_REQD`.
    const NEW_AUTHTOK_REQD: Value = Value(12);
    /// `PAM_IGNORE`.
    pub const IGNORE: Value = Value(25);
    /// All that pam_duo.so says, and what stands for it where it is missing: never
    /// `PAM_IGNORE`.
    pub const OF_DUO: [Value; 8] = [
        Value::SUCCESS,
        Value::AUTH_ERR,
        Value(3),
        Value(9),
        Value(10),
        Value(11),
        Value(26),
        Value(28),
    ];

    fn named(name: &str) -> Option<Value> {
        let at = NAMES.iter().position(|it| it.eq_ignore_ascii_case(name))?;
        u8::try_from(at).ok().map(Value)
    }
}

/// What comes of one return value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It does not count.
    Ignore,
    /// It counts, unless something failed before.
    Ok,
    /// As `Ok`, and the stack ends, unless something failed before.
    Done,
    /// The stack fails.
    Bad,
    /// As `Bad`, and the stack ends.
    Die,
    /// What was before the substack counts again.
    Reset,
    /// So many lines are left out; 255 stands for more, which no stack has.
    Jump(u8),
}

/// The action for each return value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Control([Action; NAMES.len()]);

impl Control {
    /// Every value fails: what Linux-PAM makes of a line that it cannot read.
    pub const BROKEN: Control = Control([Action::Bad; NAMES.len()]);

    fn of(success: Action, ignore: Action, others: Action) -> Control {
        let mut actions = Control([others; NAMES.len()]);
        actions.set(Value::SUCCESS, success);
        actions.set(Value::NEW_AUTHTOK_REQD, success);
        actions.set(Value::IGNORE, ignore);
        actions
    }

    /// The control of this word, or of the words between brackets.
    pub fn parse(word: &str) -> Option<Control> {
        if let Some(list) = word.strip_prefix('[') {
            return Control::list(list.trim_end_matches(']'));
        }
        Some(match word.to_ascii_lowercase().as_str() {
            "required" => Control::of(Action::Ok, Action::Ignore, Action::Bad),
            "requisite" => Control::of(Action::Ok, Action::Ignore, Action::Die),
            "sufficient" => Control::of(Action::Done, Action::Ignore, Action::Ignore),
            "optional" => Control::of(Action::Ok, Action::Ignore, Action::Ignore),
            _ => return None,
        })
    }

    /// A value that is not named fails, unless `default` says otherwise. (Linux-PAM
    /// calls it a bad jump, and fails.)
    fn list(list: &str) -> Option<Control> {
        let mut actions = [None; NAMES.len()];
        let mut default = Action::Bad;
        let spaced = list.replace('=', " = ");
        let mut words = spaced.split_whitespace();
        while let Some(name) = words.next() {
            let ("=", Some(text)) = (words.next()?, words.next()) else {
                return None;
            };
            let action = action(text)?;
            match Value::named(name) {
                Some(value) => *actions.get_mut(usize::from(value.0))? = Some(action),
                None if name.eq_ignore_ascii_case("default") => default = action,
                None => return None,
            }
        }
        Some(Control(actions.map(|action| action.unwrap_or(default))))
    }

    fn set(&mut self, value: Value, action: Action) {
        if let Some(place) = self.0.get_mut(usize::from(value.0)) {
            *place = action;
        }
    }

    /// What comes of `value`.
    pub fn action(&self, value: Value) -> Action {
        let found = self.0.get(usize::from(value.0));
        found.copied().unwrap_or(Action::Bad)
    }

    /// One value for each thing that can come of this line.
    pub fn values(&self) -> Vec<Value> {
        // A plain failure stands for all of its kind.
        let first = [Value::SUCCESS, Value::AUTH_ERR].into_iter();
        let all = first.chain((0..).take(NAMES.len()).map(Value));
        self.distinct(all)
    }

    /// Those of `values` that do not do what one before does.
    pub fn distinct(&self, values: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let class = |value: Value| (value == Value::SUCCESS, self.action(value));
        let mut found: Vec<Value> = Vec::new();
        for value in values {
            if found.iter().all(|known| class(*known) != class(value)) {
                found.push(value);
            }
        }
        found
    }
}

fn action(text: &str) -> Option<Action> {
    Some(match text.to_ascii_lowercase().as_str() {
        "ignore" => Action::Ignore,
        "ok" => Action::Ok,
        "done" => Action::Done,
        "bad" => Action::Bad,
        "die" => Action::Die,
        "reset" => Action::Reset,
        number => match number.parse::<u32>().ok()? {
            0 => Action::Ignore,
            lines => Action::Jump(u8::try_from(lines).unwrap_or(u8::MAX)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_words_are_what_pam_conf_says() {
        for (word, list) in [
            (
                "required",
                "[success=ok new_authtok_reqd=ok ignore=ignore default=bad]",
            ),
            (
                "requisite",
                "[success=ok new_authtok_reqd=ok ignore=ignore default=die]",
            ),
            (
                "Sufficient",
                "[success=done new_authtok_reqd=done default=ignore]",
            ),
            (
                "optional",
                "[success=ok new_authtok_reqd=ok default=ignore]",
            ),
        ] {
            assert_eq!(Control::parse(word), Control::parse(list), "{word}");
            assert!(Control::parse(word).is_some());
        }
    }

    #[test]
    fn what_is_not_named_fails_and_what_is_unknown_is_no_control() {
        let jump = Control::parse("[success = 1  default=ignore]").unwrap();
        assert_eq!(jump.action(Value::SUCCESS), Action::Jump(1));
        assert_eq!(jump.action(Value::AUTH_ERR), Action::Ignore);
        let open = Control::parse("[success=ok]").unwrap();
        assert_eq!(open.action(Value::AUTH_ERR), Action::Bad);
        for bad in [
            "",
            "needed",
            "[success]",
            "[success=well]",
            "[odd=ok]",
            "[success=-1]",
        ] {
            assert_eq!(Control::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_value_stands_for_all_that_do_the_same() {
        let count = |word: &str| Control::parse(word).unwrap().values().len();
        assert_eq!(count("required"), 4);
        assert_eq!(count("optional"), 3);
        assert_eq!(count("[default=die]"), 2);
        assert_eq!(count("[success=ok user_unknown=2 default=bad]"), 3);
    }
}
