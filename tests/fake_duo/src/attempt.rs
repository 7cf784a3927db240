//! What becomes of an attempt: its statuses, and when each falls due.

use crate::factor::Factor;
use crate::script::{HOSTILE_TEXT, PASSCODE, SMS_PASSCODE, Script, VERIFICATION_CODE};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a push or a call waits for a person with a phone, as Duo's do.
const PATIENCE: Duration = Duration::from_secs(60);

/// One answer of `/auth_status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub result: &'static str,
    pub status: &'static str,
    /// `null` where there is none.
    pub message: Option<String>,
}

impl Status {
    fn new(result: &'static str, status: &'static str, message: &str) -> Self {
        Self {
            result,
            status,
            message: Some(message.to_owned()),
        }
    }

    /// The person said yes.
    pub fn allowed() -> Self {
        Self::new("allow", "allow", "Success. Logging you in...")
    }

    /// The person said no.
    pub fn denied() -> Self {
        Self::new("deny", "deny", "Login request denied.")
    }

    /// The person said that they did not ask for this login.
    pub fn fraud() -> Self {
        Self::new("deny", "fraud", "Login request reported as fraudulent.")
    }

    /// The person said nothing.
    pub fn timed_out() -> Self {
        Self::new("deny", "timeout", "Login timed out.")
    }

    /// Whether the person has still to answer.
    pub fn is_waiting(&self) -> bool {
        self.result == "waiting"
    }

    /// The `response` that carries it.
    pub fn response(&self) -> Value {
        json!({"result": self.result, "status": self.status, "status_msg": self.message})
    }
}

/// A status, and how long after `/auth` it falls due; `None`: when the test says so.
pub type Step = (Option<Duration>, Status);

/// What becomes of an attempt: at least one step, the last one final (unless a test is to settle it).
pub fn steps(script: Script, factor: &Factor, delay: Duration, texted: bool) -> Vec<Step> {
    let mut steps = if script == Script::LockedOut {
        vec![at(
            0,
            delay,
            Status::new("deny", "locked_out", "Your account has been locked out"),
        )]
    } else {
        match factor {
            Factor::Passcode(code) => vec![at(0, delay, judge_passcode(code, texted))],
            Factor::Sms => vec![at(
                0,
                delay,
                Status::new("deny", "sent", "New SMS passcodes sent"),
            )],
            Factor::Phone(number) => call(number, delay),
            Factor::VerifiedPush => {
                let text = format!(
                    "Please enter verification code {VERIFICATION_CODE} into Duo Mobile..."
                );
                vec![
                    at(0, delay, Status::new("waiting", "pushed", &text)),
                    at(1, delay, Status::allowed()),
                ]
            }
            Factor::Push => push(script, delay),
        }
    };
    if script == Script::Escapes {
        for (_, status) in &mut steps {
            status.message = status
                .message
                .take()
                .map(|text| format!("{HOSTILE_TEXT}{text}"));
        }
    }
    steps
}

/// Takes away the yes that the script would say: a person with a phone says it, or says nothing for so long.
///
/// A script's no stays.
pub fn leave_to_the_person(steps: &mut Vec<Step>, factor: &Factor) {
    if !factor.reaches_the_phone() {
        return;
    }
    steps.retain(|(_, status)| status.result != "allow");
    if steps.last().is_none_or(|(_, last)| last.is_waiting()) {
        steps.push((Some(PATIENCE), Status::timed_out()));
    }
}

fn at(delays: u32, delay: Duration, status: Status) -> Step {
    (Some(delay.saturating_mul(delays)), status)
}

fn judge_passcode(code: &str, texted: bool) -> Status {
    if code == PASSCODE || (texted && code == SMS_PASSCODE) {
        Status::allowed()
    } else {
        Status::new("deny", "deny", "Incorrect passcode. Please try again.")
    }
}

fn call(number: &str, delay: Duration) -> Vec<Step> {
    let dialing = Status::new("waiting", "calling", &format!("Dialing {number}..."));
    let answered = Status::new(
        "waiting",
        "answered",
        "Answered. Press any key on your phone to log in.",
    );
    vec![
        at(0, delay, dialing),
        (Some(delay / 2), answered),
        at(1, delay, Status::allowed()),
    ]
}

fn push(script: Script, delay: Duration) -> Vec<Step> {
    let pushed = |text: &str| Status::new("waiting", "pushed", text);
    let first = at(0, delay, pushed("Pushed a login request to your device..."));
    let last = match script {
        Script::PushManual => return vec![first],
        Script::PushAfter(time) => (Some(time), Status::allowed()),
        Script::SlowPush => {
            return vec![
                first,
                at(1, delay, pushed("Your device has the request...")),
                at(2, delay, pushed("Still waiting for you...")),
                at(3, delay, pushed("Still waiting for you, no hurry...")),
                at(4, delay, Status::allowed()),
            ];
        }
        Script::PushDenied => at(1, delay, Status::denied()),
        Script::PushTimeout => at(1, delay, Status::timed_out()),
        Script::PushFailed => {
            return vec![at(
                0,
                delay,
                Status::new("deny", "push_failed", "Could not push to your device."),
            )];
        }
        Script::Fraud => at(1, delay, Status::fraud()),
        Script::UnknownResult => at(1, delay, Status::new("review", "review", "Under review")),
        Script::Nulls => at(
            1,
            delay,
            Status {
                result: "deny",
                status: "deny",
                message: None,
            },
        ),
        _ => at(1, delay, Status::allowed()),
    };
    vec![first, last]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::USERS;

    #[test]
    fn every_user_has_a_script_that_ends() {
        for (name, script, _) in USERS {
            let steps = steps(*script, &Factor::Push, Duration::from_secs(1), false);
            let (_, last) = steps.last().unwrap();
            assert_eq!(
                last.result == "waiting",
                *script == Script::PushManual,
                "{name}"
            );
        }
    }

    #[test]
    fn with_a_phone_no_push_and_no_call_says_yes_by_itself() {
        for (name, script, _) in USERS {
            for factor in [Factor::Push, Factor::VerifiedPush, Factor::Phone("1")] {
                let mut steps = steps(*script, &factor, Duration::from_secs(1), false);
                leave_to_the_person(&mut steps, &factor);
                let (_, last) = steps.last().unwrap();
                assert!(!["allow", "waiting"].contains(&last.result), "{name}");
            }
        }
        let factor = Factor::Passcode(PASSCODE.to_owned());
        let mut steps = steps(Script::Push, &factor, Duration::ZERO, false);
        leave_to_the_person(&mut steps, &factor);
        assert_eq!(steps, [(Some(Duration::ZERO), Status::allowed())]);
    }
}
