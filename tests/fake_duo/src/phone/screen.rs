//! What the phone shows, as facts: `page` makes HTML of it, `fake-duo phone` lines.

use crate::factor::Factor;
use crate::script::{PASSCODE, SMS_PASSCODE};
use crate::service::State;
use crate::transaction::Transaction;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// How many of those that are over the phone still shows.
const EARLIER: usize = 10;

/// Everything that the phone shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screen {
    /// Pushes and calls to answer, the newest first.
    pub waiting: Vec<Card>,
    /// The last ones that are over, the newest first.
    pub earlier: Vec<Card>,
    /// Passcodes that are right now.
    pub passcodes: Vec<Passcode>,
}

/// One push or call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Counted from 1 over everything that was asked of anybody.
    pub number: usize,
    /// What it is.
    pub kind: Kind,
    /// Who logs in.
    pub user: String,
    /// Where to.
    pub host: Option<String>,
    /// Where from.
    pub address: Option<String>,
    /// The host's own address.
    pub server: Option<String>,
    /// What is to run; absent for a shell, and where the host does not tell.
    pub command: Option<String>,
    /// The person typed another code than the login shows.
    pub has_wrong_code: bool,
    /// `None` while it waits.
    pub outcome: Option<Outcome>,
}

/// What reached the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A push.
    Push,
    /// A push that asks for the code that the login shows.
    VerifiedPush,
    /// A call.
    Call,
}

/// How a push or call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Denied,
    /// Somebody said that they did not ask for it.
    Fraud,
    /// Nobody said anything.
    TimedOut,
    /// The user's script ended it otherwise.
    Scripted,
}

/// A passcode that is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passcode {
    /// `None`: every user's.
    pub user: Option<String>,
    /// What to type.
    pub code: String,
}

impl Screen {
    /// What there is to show now.
    pub(crate) fn of(state: &State, now: Instant) -> Self {
        let mut cards: Vec<Card> = state
            .transactions
            .values()
            .filter_map(|transaction| Card::of(transaction, now))
            .collect();
        cards.sort_by_key(|card| std::cmp::Reverse(card.number));
        let (waiting, mut earlier): (Vec<_>, Vec<_>) =
            cards.into_iter().partition(|card| card.outcome.is_none());
        earlier.truncate(EARLIER);
        let mut texted: Vec<&String> = state.texted.iter().collect();
        texted.sort();
        let everybodys = Passcode {
            user: None,
            code: PASSCODE.to_owned(),
        };
        let by_sms = texted.into_iter().map(|user| Passcode {
            user: Some(visible(user)),
            code: SMS_PASSCODE.to_owned(),
        });
        Self {
            waiting,
            earlier,
            passcodes: std::iter::once(everybodys).chain(by_sms).collect(),
        }
    }
}

impl Card {
    /// `None` for what never reached the phone: a passcode, or a push that could not be delivered.
    fn of(transaction: &Transaction, now: Instant) -> Option<Self> {
        let kind = match transaction.factor {
            Factor::Push => Kind::Push,
            Factor::VerifiedPush => Kind::VerifiedPush,
            Factor::Phone(_) => Kind::Call,
            Factor::Sms | Factor::Passcode(_) => return None,
        };
        let (_, first) = transaction.steps.first()?;
        if !first.is_waiting() {
            return None;
        }
        let status = transaction.status(now).map(|status| status.status);
        let outcome = (!transaction.is_waiting(now)).then_some(match status {
            Some("allow") => Outcome::Approved,
            Some("deny") => Outcome::Denied,
            Some("fraud") => Outcome::Fraud,
            Some("timeout") => Outcome::TimedOut,
            _ => Outcome::Scripted,
        });
        let details = &transaction.details;
        let shown = |text: &Option<String>| text.as_deref().map(visible);
        Some(Self {
            number: transaction.number,
            kind,
            user: visible(&transaction.user),
            host: shown(&details.host),
            address: shown(&details.address),
            server: shown(&details.server),
            command: shown(&details.command),
            has_wrong_code: transaction.has_wrong_code,
            outcome,
        })
    }
}

/// The text with everything escaped that a terminal or a browser would not show as it stands: a client chooses its command
/// and its user's name, and must not be able to make the request look like another one.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_chose_moves_the_cursor_or_the_letters() {
        assert_eq!(visible("ls -l \"a\\b\" 'é' 漢"), "ls -l \"a\\b\" 'é' 漢");
        assert_eq!(
            visible("\u{1b}[2J\r\n\u{202e}x\u{9b}\u{2066}\u{feff}"),
            "\\u{1b}[2J\\r\\n\\u{202e}x\\u{9b}\\u{2066}\\u{feff}"
        );
    }
}
