//! The person who logs in, as the decisions see them.

use duo_wire::Message;
use zeroize::Zeroizing;

use crate::error::Error;

/// A person who can be shown messages and, in an interactive login, asked.
pub trait Conversation {
    /// Whether the person can be asked (docs/behaviour.md, *The conversation*).
    fn is_interactive(&self) -> bool;

    /// Shows a message, in the front end's words.
    fn show(&self, message: &Message);

    /// Shows `question` and takes one line, without its end.
    ///
    /// # Errors
    /// [`Error::GaveUp`] at the end of input, without input for
    /// [`Deadlines::menu`](crate::clock::Deadlines::menu), or in a login that is
    /// not interactive.
    fn ask(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Error>;
}
