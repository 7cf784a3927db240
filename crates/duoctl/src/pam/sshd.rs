//! What sshd must do for PAM's line: ask PAM at all, and take nobody in by a way
//! that does not come by it. `sshd -T` says what it does.

use crate::check::sshd::lines::Line;
use crate::check::sshd::run::SshdOptions;
use crate::check::sshd::{Account, Case, Users, keys};
use crate::cli::With;
use crate::enable::has_locked_password;
use crate::finding::Finding;
use crate::ssh::Style;
use crate::ssh::block::marked;
use duo_system::privsep::Standing;

/// The way that asks PAM.
const KEYBOARD: &str = "keyboard-interactive";

impl With {
    /// The value of AuthenticationMethods.
    pub fn methods(self) -> &'static str {
        match self {
            With::Keys => "publickey,keyboard-interactive",
            With::Passwords => KEYBOARD,
        }
    }
}

/// Our lines in sshd's configuration. An old sshd knows the second keyword by
/// another name; `before` is what it says now.
pub fn lines(with: With, before: &SshdOptions) -> Vec<u8> {
    let keyword = match before.value("challengeresponseauthentication") {
        "" => "KbdInteractiveAuthentication",
        _ => "ChallengeResponseAuthentication",
    };
    let lines = vec![
        "UsePAM yes".to_owned(),
        format!("{keyword} yes"),
        format!("AuthenticationMethods {}", with.methods()),
    ];
    marked(Style::Pam, lines)
}

/// What sshd asks for today, if that is plain.
pub fn derived(cases: &[Case]) -> Option<With> {
    let all = cases.iter().all(|case| {
        let options = &case.options;
        let asks_pam = options.value("usepam") == "yes" && is_interactive(options);
        let begins = |list: &str| list.split(',').next() == Some("publickey");
        let by_key = options
            .value("authenticationmethods")
            .split(' ')
            .all(begins);
        options.value("passwordauthentication") == "no" && (!asks_pam || by_key)
    });
    (all && !cases.is_empty()).then_some(With::Keys)
}

fn is_interactive(options: &SshdOptions) -> bool {
    let keys = [
        "kbdinteractiveauthentication",
        "challengeresponseauthentication",
    ];
    keys.iter().any(|key| options.value(key) == "yes")
}

/// What a login of these options meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// What `with` wants, then Duo.
    Duo,
    /// Not PAM's stack: no second factor.
    NoDuo,
    /// The stack without what should come before it; it denies.
    DuoAlone,
    /// Nothing that lets it in.
    Nothing,
}

/// What each list of methods leads to; the worst counts.
pub fn meets(options: &SshdOptions, with: With) -> Meets {
    let service = options.value("pamservicename");
    let asks_pam = options.value("usepam") == "yes" && is_interactive(options);
    let of = |list: &str| {
        let ways: Vec<&str> = list
            .split(',')
            .map(|way| way.split(':').next().unwrap_or(way))
            .collect();
        let first = ways.first().copied();
        match (ways.contains(&KEYBOARD), with) {
            (false, _) => Meets::NoDuo,
            // Its stack is another one.
            (true, _) if !matches!(service, "" | "sshd") => Meets::NoDuo,
            (true, _) if !asks_pam => Meets::Nothing,
            (true, With::Keys) if first != Some("publickey") => Meets::DuoAlone,
            (true, _) => Meets::Duo,
        }
    };
    let lists = options.value("authenticationmethods").split_whitespace();
    let met: Vec<Meets> = lists.map(of).collect();
    let worst = [Meets::NoDuo, Meets::DuoAlone, Meets::Duo, Meets::Nothing];
    let found = worst.into_iter().find(|worst| met.contains(worst));
    found.unwrap_or(Meets::NoDuo)
}

/// What must hold for everybody whom no Match block names, whatever is accepted.
///
/// # Errors
/// Why it does not.
pub fn must_hold(cases: &[Case], with: With) -> Result<(), String> {
    let everybody = cases.iter().filter(|case| case.users == Users::Everybody);
    for options in everybody.map(|case| &case.options) {
        let told = |key: &str| format!("{key} {}", options.value(key));
        if meets(options, with) != Meets::Duo {
            return Err(format!(
                "sshd would have {}, {}, {}: an earlier line of its configuration wins",
                told("usepam"),
                told("kbdinteractiveauthentication"),
                told("authenticationmethods")
            ));
        }
        if with == With::Keys && options.value("passwordauthentication") != "no" {
            let text = "passwords are not off (PasswordAuthentication yes): they are checked by \
                        the same stack, in which Duo will stand alone; say PasswordAuthentication no \
                        first, or --with passwords";
            return Err(text.to_owned());
        }
    }
    Ok(())
}

/// Whom it leaves out, or locks out.
pub fn findings(
    cases: &[Case],
    accounts: &[Account],
    with: With,
    standing: Standing,
) -> Vec<Finding> {
    let named = cases.iter().filter(|case| case.users != Users::Everybody);
    let logins = named.map(|case| (case.users.label(), &case.options));
    let mut findings: Vec<Finding> = Vec::new();
    let own = accounts
        .iter()
        .map(|account| (format!("'{}'", account.user.name), &account.options));
    for (who, options) in logins.chain(own) {
        let found = method_findings(&who, options, with);
        // The case of a Match block and its account say the same.
        findings.extend(found.into_iter().filter(|it| it.text.contains(&who)));
    }
    findings.extend(
        accounts
            .iter()
            .filter_map(|account| locked_out(account, with, standing)),
    );
    findings
}

/// Whether Duo is asked, behind what `with` says.
pub fn method_findings(who: &str, options: &SshdOptions, with: With) -> Vec<Finding> {
    const METHODS: &str = "sshd.authentication_methods";
    let mut findings = Vec::new();
    let methods = options.value("authenticationmethods");
    let mend = format!(
        "AuthenticationMethods {}   (in that Match block)",
        with.methods()
    );
    match meets(options, with) {
        Meets::Duo => {}
        Meets::NoDuo => {
            let text = format!("{who} gets in without Duo (AuthenticationMethods {methods})");
            findings.push(Finding::fail(METHODS, text).mend(mend));
        }
        Meets::DuoAlone => {
            let text = format!(
                "{who} would be denied: no key comes before Duo (AuthenticationMethods {methods})"
            );
            findings.push(Finding::fail(METHODS, text).mend(mend));
        }
        Meets::Nothing => {
            let text = format!("{who} would be denied: sshd does not ask PAM");
            let mend = "UsePAM yes, KbdInteractiveAuthentication yes";
            findings.push(Finding::fail(METHODS, text).mend(mend));
        }
    }
    if with == With::Keys && options.value("passwordauthentication") != "no" {
        let text = format!("passwords are not off for {who}, and the stack will not ask for one");
        let mend = "PasswordAuthentication no   (in that Match block)";
        findings.push(Finding::fail("sshd.password_authentication", text).mend(mend));
    }
    findings
}

/// What Match blocks say that sshd was not asked about: whom they are for, only it
/// knows.
pub fn unseen_findings<'a>(lines: impl Iterator<Item = &'a Line>, with: With) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in lines {
        let says = line.words.join(" ");
        let value = line.rest().join(" ");
        let criteria = line.below.as_ref().map(|words| words.join(" "));
        let criteria = criteria.unwrap_or_default();
        let leads = SshdOptions::of(&format!(
            "usepam yes\nkbdinteractiveauthentication yes\nauthenticationmethods {value}"
        ));
        let id = match () {
            () if line.is("authenticationmethods") && meets(&leads, with) != Meets::Duo => {
                "sshd.authentication_methods"
            }
            () if with == With::Keys && line.is("passwordauthentication") && value != "no" => {
                "sshd.password_authentication"
            }
            () if is_keyboard(line) && value == "no" => "sshd.authentication_methods",
            () => continue,
        };
        let text = format!("{}: for 'Match {criteria}' stands {says}", line.place());
        findings.push(Finding::fail(id, text).mend("take that line out of the Match block"));
    }
    findings
}

fn is_keyboard(line: &Line) -> bool {
    line.is("kbdinteractiveauthentication") || line.is("challengeresponseauthentication")
}

/// An account that gets in by a key today, and would not any more.
fn locked_out(account: &Account, with: With, standing: Standing) -> Option<Finding> {
    const ID: &str = "sshd.locked_out";
    let (name, options) = (&account.user.name, &account.options);
    let mut files = keys::of(account, standing).into_iter();
    let has_key = files.any(|file| !file.plain.is_empty() || !file.forced.is_empty());
    if !has_key || meets(options, with) != Meets::Duo {
        return None;
    }
    let root = options.value("permitrootlogin");
    // sshd refuses root by any way but a key, even behind one.
    if account.user.uid == 0 && matches!(root, "prohibit-password" | "without-password") {
        let text = format!("'{name}' gets in by a key alone (PermitRootLogin {root}): locked out");
        let mend =
            "PermitRootLogin yes, which AuthenticationMethods narrows; or no; or a Match block";
        return Some(Finding::fail(ID, text).mend(mend));
    }
    (with == With::Passwords && has_locked_password(name)).then(|| {
        let text = format!("'{name}' gets in by a key and has no password: locked out");
        Finding::fail(ID, text).mend(format!(
            "passwd {name}; or a Match block for it; or --with keys"
        ))
    })
}

/// Whether somebody would get in to mend things: an account that a Match block
/// leaves out.
pub fn has_way_in(accounts: &[Account], with: With) -> bool {
    accounts
        .iter()
        .any(|account| meets(&account.options, with) == Meets::NoDuo)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(methods: &str, more: &str) -> SshdOptions {
        SshdOptions::of(&format!(
            "usepam yes\nkbdinteractiveauthentication yes\nauthenticationmethods {methods}\n{more}"
        ))
    }

    #[test]
    fn each_list_of_methods_must_lead_to_duo() {
        for (methods, with, expected) in [
            ("publickey,keyboard-interactive", With::Keys, Meets::Duo),
            ("publickey,keyboard-interactive:pam", With::Keys, Meets::Duo),
            ("publickey", With::Keys, Meets::NoDuo),
            (
                "publickey,keyboard-interactive publickey",
                With::Keys,
                Meets::NoDuo,
            ),
            ("any", With::Keys, Meets::NoDuo),
            ("", With::Keys, Meets::NoDuo),
            ("keyboard-interactive", With::Keys, Meets::DuoAlone),
            (
                "keyboard-interactive,publickey",
                With::Keys,
                Meets::DuoAlone,
            ),
            ("keyboard-interactive", With::Passwords, Meets::Duo),
            (
                "publickey,keyboard-interactive",
                With::Passwords,
                Meets::Duo,
            ),
            ("password", With::Passwords, Meets::NoDuo),
        ] {
            assert_eq!(meets(&options(methods, ""), with), expected, "{methods}");
        }
        let off = SshdOptions::of(
            "usepam no\nkbdinteractiveauthentication yes\nauthenticationmethods keyboard-interactive",
        );
        assert_eq!(meets(&off, With::Passwords), Meets::Nothing);
        let other = options("keyboard-interactive", "pamservicename other");
        assert_eq!(meets(&other, With::Passwords), Meets::NoDuo);
    }

    #[test]
    fn only_an_sshd_without_passwords_is_plainly_one_of_keys() {
        let case = |text: &str| Case {
            users: Users::Everybody,
            options: SshdOptions::of(text),
        };
        for (text, expected) in [
            (
                "passwordauthentication no\nkbdinteractiveauthentication no\nusepam yes",
                Some(With::Keys),
            ),
            (
                "passwordauthentication no\nkbdinteractiveauthentication yes\nusepam no",
                Some(With::Keys),
            ),
            (
                "passwordauthentication no\nkbdinteractiveauthentication yes\nusepam yes\nauthenticationmethods any",
                None,
            ),
            (
                "passwordauthentication yes\nkbdinteractiveauthentication no\nusepam yes",
                None,
            ),
        ] {
            assert_eq!(derived(&[case(text)]), expected, "{text}");
        }
        assert_eq!(derived(&[]), None);
    }

    #[test]
    fn passwords_beside_a_stack_of_duo_alone_are_refused() {
        let case = |more: &str| Case {
            users: Users::Everybody,
            options: options("publickey,keyboard-interactive", more),
        };
        assert!(must_hold(&[case("passwordauthentication yes")], With::Keys).is_err());
        assert_eq!(
            must_hold(&[case("passwordauthentication no")], With::Keys),
            Ok(())
        );
        assert_eq!(
            must_hold(&[case("passwordauthentication yes")], With::Passwords),
            Ok(())
        );
    }
}
