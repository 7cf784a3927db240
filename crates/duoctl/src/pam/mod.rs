//! PAM as something to be changed and judged: the files of its services, what
//! their auth stacks come to, and our line in them.

pub mod control;
pub mod edit;
pub mod file;
pub mod plan;
pub mod proof;
pub mod services;
pub mod stack;
