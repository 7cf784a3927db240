//! The person at the other end, as the decisions see them.

use duo_wire::Message;
use zeroize::Zeroizing;

use crate::error::Error;

/// Somebody who can be told things and, perhaps, asked.
pub trait Conversation {
    /// Whether a question can be answered.
    fn is_interactive(&self) -> bool;

    /// Shows a message, in the front end's words.
    fn show(&self, message: &Message);

    /// Shows `question` and takes one line, without its end.
    ///
    /// # Errors
    /// [`Error::GaveUp`] at the end of input, without input for too long, or
    /// where nobody can be asked.
    fn ask(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Error>;
}
