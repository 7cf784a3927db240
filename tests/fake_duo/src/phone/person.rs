//! What a person does with the phone.

use crate::attempt::Status;
use crate::factor::Factor;
use crate::phone::Screen;
use crate::script::{Script, VERIFICATION_CODE};
use crate::service::Service;
use std::time::Instant;

/// What a person says to a push or a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Approve, or a key pressed in a call.
    Yes {
        /// What they typed for a verified push.
        code: Option<String>,
    },
    /// Deny, or hung up.
    No,
    /// Report fraud.
    Fraud,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The login goes on, or ends.
    Settled,
    /// A verified push, and not its code: it waits on.
    WrongCode,
    /// It is not there, or no longer waiting.
    TooLate,
}

/// Who stands behind an enrolment address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    pub user: String,
    pub is_done: bool,
}

impl Service {
    /// The person answers the push or call of this number.
    pub fn hear(&self, number: usize, said: &Said) -> Heard {
        let now = Instant::now();
        let mut state = self.state();
        let transaction = state
            .transactions
            .values_mut()
            .find(|it| it.number == number && it.factor.reaches_the_phone());
        let Some(transaction) = transaction.filter(|it| it.is_waiting(now)) else {
            return Heard::TooLate;
        };
        let verdict = match said {
            Said::Yes { code } if transaction.factor == Factor::VerifiedPush => {
                (code.as_deref() == Some(VERIFICATION_CODE)).then(Status::allowed)
            }
            Said::Yes { .. } => Some(Status::allowed()),
            Said::No => Some(Status::denied()),
            Said::Fraud => Some(Status::fraud()),
        };
        transaction.has_wrong_code = verdict.is_none();
        let heard = match verdict {
            Some(verdict) => {
                transaction.settle(now, verdict);
                Heard::Settled
            }
            None => Heard::WrongCode,
        };
        drop(state);
        self.tell_of_a_change();
        heard
    }

    /// Who enrols at the address with this code; `None` if it was never given out.
    pub fn enrolment(&self, code: &str) -> Option<Enrolment> {
        let state = self.state();
        let user = state.enrolments.get(code)?.clone();
        let is_done = state.script(&user) != Script::Enroll;
        Some(Enrolment { user, is_done })
    }

    /// The person enrols there: from now on the user has a phone.
    pub fn enrol(&self, code: &str) -> Option<Enrolment> {
        let enrolment = self.enrolment(code)?;
        if !enrolment.is_done {
            let user = enrolment.user.clone();
            self.state().users.insert(user, Script::Push);
            self.tell_of_a_change();
        }
        self.enrolment(code)
    }

    /// What the phone shows now, and when that changes by itself.
    pub fn screen(&self) -> (Screen, Option<Instant>) {
        let now = Instant::now();
        let state = self.state();
        let all = state.transactions.values();
        let next = all.filter_map(|it| it.next_due(now)).min();
        (Screen::of(&state, now), next)
    }
}
