//! This machine, as login_duo sees it: privilege separation ([`privsep`]), who
//! the account is ([`account`]), the configuration file ([`configuration`]), the
//! log ([`log`]), and waiting ([`wait`]). The only `unsafe` is in [`privsep`].
#![deny(unsafe_code)]

pub mod account;
pub mod alibi;
pub mod configuration;
pub mod log;
mod nsswitch;
pub mod output;
pub mod privsep;
pub mod sftp;
pub mod wait;
mod words;

pub use words::system_words;
