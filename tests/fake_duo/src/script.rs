//! The scripted users: who there is, and what each is for.

use std::time::Duration;

/// The passcode that is right for every user, unless their script says otherwise.
pub const PASSCODE: &str = "123456";
/// The passcode that is right once passcodes were sent by SMS.
pub const SMS_PASSCODE: &str = "7654321";
/// The code that a verified push asks for.
pub const VERIFICATION_CODE: &str = "708";
/// What [`Script::Escapes`] puts into every text: escapes to clear the screen and set the title, carriage return, line
/// feed, backspace, a C1 control, bidirectional overrides, quotes, and a forged log line.
pub const HOSTILE_TEXT: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}devorppa\u{2066}\r\n\
    Successful Duo login for 'root' from 192.0.2.1: push1\u{8}\u{8}'\"\\\u{7f}\u{feff}";

/// How the service treats a user. Times are multiples of the push delay (see `Builder::push_delay`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Preauth lets the user pass without a second factor.
    Allow,
    /// Preauth denies.
    Deny,
    /// Preauth asks to enrol, with a text and the portal's address.
    Enroll,
    /// The push is approved after the push delay.
    Push,
    /// The push is approved after this time.
    PushAfter(Duration),
    /// The push waits until the test calls `approve` or `deny`.
    PushManual,
    /// The person denies the push.
    PushDenied,
    /// Nobody answers the push.
    PushTimeout,
    /// The push cannot be delivered.
    PushFailed,
    /// The person reports the push as fraud.
    Fraud,
    /// Whatever the factor, the right passcode too: locked out.
    LockedOut,
    /// The default factor is a phone call: dialing, answered, approved.
    Phone,
    /// The default factor is SMS: fails with "New SMS passcodes sent", after which [`SMS_PASSCODE`] is right too.
    Sms,
    /// A hardware token only: no menu, no default factor.
    Token,
    /// A smartphone and a landline that takes only calls.
    TwoPhones,
    /// A push whose code must be typed into the phone, for clients that say they can; else an ordinary push.
    Verified,
    /// The push is approved after four delays, with a new waiting status at each.
    SlowPush,
    /// As [`Script::Push`], but `/auth` ignores `async=1` and answers when all is done.
    Sync,
    /// Preauth answers with a result that no document knows.
    UnknownPreauth,
    /// `/auth_status` ends with a result that no document knows.
    UnknownResult,
    /// Preauth denies with `"status_msg":null`.
    NullPreauth,
    /// `/auth_status` ends with `{"result":"deny","status_msg":null}`.
    Nulls,
    /// As [`Script::Push`], with [`HOSTILE_TEXT`] in every text.
    Escapes,
}

/// The users that exist from the start: name, script, and what a reader should know of it.
pub const USERS: &[(&str, Script, &str)] = &[
    ("allow", Script::Allow, "passes without a second factor"),
    ("deny", Script::Deny, "is denied at once"),
    (
        "enroll",
        Script::Enroll,
        "must enrol: text and portal address",
    ),
    ("push", Script::Push, "push approved after the push delay"),
    (
        "manual",
        Script::PushManual,
        "push waits until a test approves or denies it (library only)",
    ),
    ("pushdeny", Script::PushDenied, "push denied by the person"),
    (
        "pushtimeout",
        Script::PushTimeout,
        "push that nobody answers",
    ),
    (
        "pushfailed",
        Script::PushFailed,
        "push that cannot be delivered",
    ),
    ("fraud", Script::Fraud, "push reported as fraud"),
    (
        "lockedout",
        Script::LockedOut,
        "locked out: denied with every factor, 123456 too",
    ),
    (
        "phone",
        Script::Phone,
        "phone call by default: dialing, answered, approved",
    ),
    (
        "sms",
        Script::Sms,
        "SMS by default: that attempt fails, then 7654321 is right too",
    ),
    (
        "token",
        Script::Token,
        "hardware token only: no menu, no default factor",
    ),
    (
        "twophones",
        Script::TwoPhones,
        "a smartphone and a landline",
    ),
    (
        "verified",
        Script::Verified,
        "verified push, code 708, if the client can; else push",
    ),
    (
        "slowpush",
        Script::SlowPush,
        "push approved after four delays, a new status at each",
    ),
    (
        "syncauth",
        Script::Sync,
        "push; /auth ignores async=1 and answers when done",
    ),
    (
        "unknownpreauth",
        Script::UnknownPreauth,
        "preauth with an unknown result",
    ),
    (
        "unknownresult",
        Script::UnknownResult,
        "push that ends with an unknown result",
    ),
    (
        "nullpreauth",
        Script::NullPreauth,
        "preauth denies with status_msg null",
    ),
    (
        "nulls",
        Script::Nulls,
        "push that is denied with status_msg null",
    ),
    (
        "escapes",
        Script::Escapes,
        "push; every text full of terminal escapes",
    ),
];

impl Script {
    /// The script that goes by this name in [`USERS`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        USERS
            .iter()
            .find(|(candidate, ..)| *candidate == name)
            .map(|(_, script, _)| *script)
    }
}
