//! Everything that a person can be shown. The policy makes messages; a front
//! end chooses the words around them, since only it knows whether the person
//! sits at a menu, in front of scp, or at a dialogue of PAM's.

/// One thing to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// News for somebody who watches: a status of Duo's, a wait.
    Tell(String),
    /// An attempt, or the login, is denied. It must be told even where nobody
    /// can be asked.
    Denied {
        /// Duo's reason or ours.
        why: String,
        /// What is left to do.
        next: Next,
    },
    /// A text of Duo's with the code to type into the phone. Nobody may overlook it.
    Code(String),
    /// The person must enrol at Duo first.
    Enrol {
        /// How.
        text: String,
        /// Where, if Duo gave an address apart from the text.
        address: Option<String>,
    },
    /// Whether Duo waits for the person, from here on.
    Waiting(Waiting),
}

/// What a denial leaves to the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next attempt of this login follows.
    Attempt,
    /// This login is over; another one may go better.
    Login,
    /// This login is over, and trying again does not help by itself.
    Nothing,
}

/// Whether a request of Duo's to the person is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It is.
    Begins,
    /// It is not any more.
    Ends,
}
