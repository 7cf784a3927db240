//! The values that cross a pipe or reach the person: a front end shows each
//! [`Message`], the unprivileged child sends each [`Record`] to its parent, and
//! the parent sends a [`Departure`] to the child.
#![forbid(unsafe_code)]

mod message;
mod record;

pub use message::{Message, Next, Waiting, WaitingFor};
pub use record::{Departure, Facts, Outcome, Record, Verdict, Who};
