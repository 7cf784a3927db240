//! The commands of duoctl that need root or sshd, on made machines.

pub mod adopt;
pub mod status;
pub mod support;
