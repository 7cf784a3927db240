//! What one of our processes says to another, or to the person: [`Message`] is
//! shown, [`Record`] goes from the unprivileged child to its parent, [`Left`]
//! from the parent to the child.
#![forbid(unsafe_code)]

mod message;
mod record;

pub use message::{Message, Next, Waiting};
pub use record::{Left, Outcome, Record, Verdict, Who};
