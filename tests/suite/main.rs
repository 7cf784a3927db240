//! The built program as a process, against the fake Duo service: one module a
//! concern.
#![allow(missing_docs, reason = "a test's name says what it is about")]

mod configuration;
mod documents;
mod login;
mod network;
mod support;
