//! How the log words a login: the line of a verdict, its priority, and its fields in the
//! journal (docs/behaviour.md, *Log*, and docs/monitoring.md). Nothing here decides:
//! [`crate::verdict`] does.

use duo_wire::{Outcome, Verdict, Who};

use crate::text;

/// The syslog priority of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Priority 3.
    Error,
    /// Priority 4.
    Warning,
    /// Priority 6.
    Info,
}

impl Priority {
    /// The number that syslog gives to this priority.
    pub fn number(self) -> u8 {
        match self {
            Priority::Error => 3,
            Priority::Warning => 4,
            Priority::Info => 6,
        }
    }
}

/// The words that an outcome's line in the log begins with, and its priority.
/// Source: docs/behaviour.md, *Log*.
pub fn label(outcome: Outcome) -> (&'static str, Priority) {
    match outcome {
        Outcome::Successful => ("Successful", Priority::Info),
        Outcome::Skipped => ("Skipped", Priority::Warning),
        // Duo was asked, and its question to the person left out: the same word, and
        // nothing to look after.
        Outcome::Remembered => ("Skipped", Priority::Info),
        Outcome::Bypassed => ("Bypassed", Priority::Info),
        Outcome::Failed => ("Failed", Priority::Warning),
        Outcome::Aborted => ("Aborted", Priority::Warning),
        Outcome::Failsafe => ("Failsafe", Priority::Warning),
        Outcome::Failsecure => ("Failsecure", Priority::Warning),
        Outcome::Error => ("Error in", Priority::Error),
        Outcome::NoAccount => ("Rejected", Priority::Warning),
    }
}

/// The MESSAGE_ID of an outcome's lines in the journal, of which none ever changes
/// (docs/monitoring.md, *Outcomes*).
pub fn message_id(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Successful => "080f50de20904dcebcdd652038cd3540",
        Outcome::Skipped => "6c20770c53554d5fac7500a5dc1d3650",
        Outcome::Remembered => "ea6671b71e174629b8eca8b7057d93f7",
        Outcome::Bypassed => "d9d414b0df85495cb92127182c782abc",
        Outcome::Failed => "71fd56c9369b496b87d9b7630c0295ce",
        Outcome::Aborted => "aae96bf022a5467591c32ada9baa2953",
        Outcome::Failsafe => "c76684e8af98445d9c70bf944ce56f5d",
        Outcome::Failsecure => "1af5404a75424e249372f7ca90e24606",
        Outcome::Error => "e602a2c83d7547769969f63c974f2a8a",
        Outcome::NoAccount => "88e5245e06f54bb88b54c83bc8d59bbc",
    }
}

/// A field of the log: its name, and its value in the characters of the log.
pub type Field = (&'static str, String);

/// The fields of a line about `who`, and about how the login or the attempt came out if
/// that is known. They are made of the values that [`of_verdict`] is made of
/// (docs/monitoring.md, *Fields*).
pub fn fields(verdict: Option<&Verdict>, who: &Who) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |name, value: Option<&str>| {
        if let Some(value) = value {
            fields.push((name, text::field(value)));
        }
    };
    add("DUO_USER", Some(&who.duo_user));
    add("DUO_LOGIN", who.login.as_deref());
    add("DUO_SERVICE", who.service.as_deref());
    add("DUO_CLIENT", who.client.as_deref());
    let Some(verdict) = verdict else {
        return fields;
    };
    let (outcome, facts) = (verdict.outcome, &verdict.facts);
    add("MESSAGE_ID", Some(message_id(outcome)));
    add("DUO_OUTCOME", Some(outcome.name()));
    add("DUO_FACTOR", facts.factor.as_deref());
    add("DUO_TXID", facts.transaction.as_deref());
    // Else the detail is the factor, or the name of the account.
    if !matches!(outcome, Outcome::Successful | Outcome::Bypassed) {
        add("DUO_REASON", Some(&verdict.detail));
    }
    if facts.attempt > 0 {
        for (name, number) in [
            ("DUO_ATTEMPT", facts.attempt.into()),
            ("DUO_LATENCY_MS", facts.duo.as_millis()),
            ("DUO_PERSON_MS", facts.person.as_millis()),
        ] {
            fields.push((name, number.to_string()));
        }
    }
    fields
}

/// `<Outcome> Duo login for '<duo user>'[ from <client>][: <detail>]`: the line of
/// a login, or of one attempt, of `who`.
pub fn of_verdict(verdict: &Verdict, who: &Who) -> String {
    let detail = &verdict.detail;
    if verdict.outcome == Outcome::Bypassed {
        let name = text::quoted(detail);
        return format!("User {name} bypassed Duo 2FA due to user's UNIX group");
    }
    let (word, _) = label(verdict.outcome);
    let mut line = format!("{word} Duo login for {}", named(who));
    if !detail.is_empty() {
        line.push_str(": ");
        line.push_str(detail);
    }
    line
}

/// The line that the log gets before Duo is first asked to verify a factor.
/// Somebody who sends many pushes, or guesses passcodes, leaves this trace even
/// where the login never ends.
pub fn of_asking(who: &Who) -> String {
    format!("Asking Duo for {}", named(who))
}

/// `'<duo user>'[ from <client>]`
fn named(who: &Who) -> String {
    let mut named = format!("'{}'", text::quoted(&who.duo_user));
    if let Some(client) = &who.client {
        named.push_str(" from ");
        named.push_str(&text::client_field(client));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(duo_user: &str, client: Option<&str>) -> Who {
        Who {
            duo_user: duo_user.to_owned(),
            client: client.map(str::to_owned),
            ..Who::unknown()
        }
    }

    #[test]
    fn lines_have_the_shape_that_log_readers_expect() {
        let alice = who("alice", Some("192.0.2.7"));
        let verdict = Verdict::new(Outcome::Successful, "push1");
        assert_eq!(
            of_verdict(&verdict, &alice),
            "Successful Duo login for 'alice' from 192.0.2.7: push1"
        );
        assert_eq!(
            of_verdict(&Verdict::new(Outcome::Aborted, ""), &who("login", None)),
            "Aborted Duo login for 'login'"
        );
        assert_eq!(of_asking(&alice), "Asking Duo for 'alice' from 192.0.2.7");
        let bypass = Verdict::new(Outcome::Bypassed, "alice");
        assert_eq!(
            of_verdict(&bypass, &alice),
            "User alice bypassed Duo 2FA due to user's UNIX group"
        );
    }

    #[test]
    fn a_name_cannot_forge_a_field() {
        let who = who("a' from 192.0.2.1: \\", Some("x' y\n[1]"));
        assert_eq!(
            of_verdict(&Verdict::new(Outcome::Failed, "no"), &who),
            r"Failed Duo login for 'a\' from 192.0.2.1: \\' from x??y??1?: no"
        );
    }

    /// Each byte of a name that is not printable ASCII takes four letters of the line.
    #[test]
    fn no_name_pushes_the_address_and_the_reason_out_of_the_line() {
        let client = "2001:db8::9%".to_owned() + &"x".repeat(88);
        let end = format!("' from {client}: why");
        for name in [
            "\u{1f600}".repeat(63),
            "\u{10ffff}".repeat(5_000),
            "\0".repeat(400),
            "'".repeat(5_000),
            "\\".repeat(400),
            format!("{}'\\", "x".repeat(198)),
            "x".repeat(5_000),
        ] {
            let line = of_verdict(
                &Verdict::new(Outcome::Failed, "why"),
                &who(&name, Some(&client)),
            );
            let written = text::for_log(&line);
            let name = written.strip_suffix(&end);
            let name = name.and_then(|head| head.strip_prefix("Failed Duo login for '"));
            let name = name.unwrap_or_else(|| panic!("{written}"));
            // A backslash that stands alone at the end would take the quote into the name.
            let backslashes = name.chars().rev().take_while(|it| *it == '\\').count();
            assert!(
                !name.is_empty() && backslashes.is_multiple_of(2),
                "{written}"
            );
        }
        // The names that people have are in the line as a whole.
        let whole = "ж".repeat(40);
        assert_eq!(text::quoted(&whole), whole);
        // A name that is cut does not look like a shorter one.
        let [longest, cut] = [400, 401].map(|length| text::quoted(&"x".repeat(length)));
        assert_eq!(longest.len(), 400);
        assert_eq!(cut, longest + "...");
    }
}
