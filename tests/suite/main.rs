//! The built program as a process, against the fake Duo service: one module a
//! concern.
#![allow(missing_docs, reason = "a test's name says what it is about")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong in a test fails it"
)]

mod beside;
mod check;
mod configuration;
mod conversation;
mod deploy;
mod documents;
mod duoctl;
mod fail2ban;
mod house;
mod install;
mod login;
mod network;
mod properties;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "tests/root uses the rest")]
mod support;
