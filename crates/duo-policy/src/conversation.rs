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

    /// The next line that the person has typed since Duo began to wait for them, without
    /// its end; `None` if there is no whole line. Does not wait. A front end that cannot
    /// be typed at meanwhile has none.
    ///
    /// # Errors
    /// [`Error::GaveUp`] at the end of input.
    fn typed(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(None)
    }
}
