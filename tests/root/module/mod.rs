//! The PAM module through the programs that ask it: a host of the tests' own, and
//! pamtester, su, sudo, login and sshd, with the machine's pam_unix before it.

pub mod asked;
pub mod attacks;
pub mod cgroups;
pub mod codes;
pub mod faults;
pub mod host;
pub mod programs;
pub mod sshd;
pub mod told;
