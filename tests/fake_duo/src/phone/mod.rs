//! The phone of every user: a web page, for a person who answers pushes and calls themselves.
//!
//! Approving lets somebody in, so the page has the threats of any such page: other programs of this machine that find its
//! port (a token stands in its address), other pages of the same browser (`door`), and texts that a client chose (`page`).

mod door;
mod page;
mod person;
mod place;
mod screen;
mod server;

pub use place::Place;
pub use screen::{Card, Kind, Outcome, Passcode, Screen};
pub use server::serve;
