//! Everything that touches this machine: privilege separation ([`privsep`]), the
//! account and its groups ([`account`]), root's records of it ([`account_file`]),
//! its emergency codes ([`codes`]), the configuration file ([`configuration`]), the log
//! ([`log`]) and the audit record ([`audit`]), control groups ([`cgroup`]), the sandbox
//! ([`sandbox`]), whether the parent still waits ([`life`]), waiting ([`wait`]), and the alibi
//! of this machine ([`alibi`]). The only `unsafe` code is in [`privsep`].
#![deny(unsafe_code)]

pub mod account;
pub mod account_file;
pub mod alibi;
pub mod audit;
pub mod cgroup;
pub mod codes;
pub mod configuration;
pub mod life;
pub mod log;
mod nsswitch;
pub mod output;
pub mod privsep;
pub mod remember;
pub mod sandbox;
pub mod sftp;
pub mod wait;
mod words;

pub use words::system_words;
