//! The decisions of login_duo, without a system call: what the configuration
//! says ([`config`]), who is asked ([`groups`]), what Duo is sent and what its
//! answers mean ([`api`]), how the attempts of a login go ([`login`]), what an
//! emergency code is ([`codes`]), what is remembered of a yes ([`remember`]), which library
//! hashes ([`cryptography`]), what opens the door ([`verdict`]), and how the log words that
//! ([`log_line`]).
#![forbid(unsafe_code)]

pub mod api;
pub mod clock;
pub mod codes;
pub mod config;
pub mod conversation;
pub mod cryptography;
pub mod error;
pub mod groups;
pub mod log_line;
pub mod login;
pub mod remember;
pub mod secret;
pub mod text;
pub mod verdict;
