//! The connection to Duo, from its API down to TCP: [`Client`] (signatures, the
//! clock, rate limits, retries), `http` (one connection for a whole login, and one for
//! passcodes beside a push),
//! [`connect`] (every address, the proxy, TLS), [`names`].
//!
//! Every wait in this crate is a wait of a [`Waiter`](duo_system::wait::Waiter),
//! so it ends at its deadline, or when the parent of this process ends.
#![forbid(unsafe_code)]

mod answer;
pub mod backoff;
mod certificate;
mod client;
pub mod connect;
mod cryptography;
mod http;
pub mod names;
mod proxy;
mod socket;
pub mod tls;

pub use answer::Answer;
pub use client::{CLOCK_TOLERANCE, Client, Notice, Person};
