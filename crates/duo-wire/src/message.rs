//! Everything that a person can be shown. The policy makes messages; a front
//! end chooses the words around them, since only it knows whether the person
//! sits at a menu, in front of scp, or at a dialogue of PAM's.

/// One thing to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A status text of Duo's, or a wait of ours. A front end may drop it where
    /// nobody reads along.
    Tell(String),
    /// Duo is about to ask the person for a factor that the person did not choose
    /// (`autopush`). A front end shows this even where it shows no status.
    Unasked(String),
    /// Something that the person should act on once they are in. A front end shows this
    /// even where it shows no status.
    Warn(String),
    /// An attempt, or the whole login, is denied. A front end shows this even
    /// where it cannot ask anything.
    Denied {
        /// The reason: a text of Duo's, or ours.
        why: String,
        /// What the person can do next.
        next: Next,
    },
    /// A text of Duo's with the code of a Verified Push, which the person types
    /// into the phone. The person must not miss it.
    Code(String),
    /// The person must enrol at Duo first.
    Enrol {
        /// Duo's instructions.
        text: String,
        /// The address of the page for it, if Duo sent one apart from the text.
        address: Option<String>,
    },
    /// Duo begins to wait for the person, or no longer waits.
    Waiting(Waiting),
}

/// What the person can do after a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next attempt of this login follows.
    Attempt,
    /// This login is over. A new login may succeed.
    Login,
    /// This login is over, and a new one would be denied for the same reason.
    Nothing,
}

/// Whether Duo waits for the person to approve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The person waits from here on, or now waits for this.
    Begins(WaitingFor),
    /// The wait is over. What the person has typed meanwhile is nobody's.
    Ends,
}

/// What the person waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// That they approve, or type a passcode, whichever they do first.
    ApprovalOrPasscode,
    /// That they approve: no attempt is left for a passcode.
    Approval,
    /// Duo's answer to a passcode that they typed meanwhile.
    Duo,
}
