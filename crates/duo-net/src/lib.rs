//! The line to Duo, from its API down to TCP: [`client`] (signatures, the clock,
//! rate limits, retries), [`http`] (one connection for a whole login),
//! [`connect`] (every address, the proxy, TLS), [`names`].
//!
//! Nothing here waits but by a [`Waiter`](duo_system::wait::Waiter).
#![forbid(unsafe_code)]

mod answer;
pub mod backoff;
mod certificate;
pub mod client;
pub mod connect;
pub mod http;
pub mod names;
mod proxy;
mod socket;
pub mod tls;

pub use client::{Client, Notice, Person};
