//! The accounts of this machine as sshd would serve them: `sshd -T` for each,
//! so that no rule of sshd's matching is written here a second time.

use std::path::Path;
use std::time::Instant;

use nix::unistd::Uid;

use super::run::{SshdOptions, options};
use super::{ANYWHERE, Scope, Spec};
use crate::check::local::{Local, LocalUser};
use crate::finding::Finding;

/// Accounts that are asked about, since sshd is run for each.
const MOST_ACCOUNTS: usize = 200;

/// An account and what would apply to it.
pub struct Account {
    /// The line of /etc/passwd.
    pub user: LocalUser,
    /// sshd's answer for a login from anywhere.
    pub options: SshdOptions,
}

/// Every account that can log in, of those that this process may look at.
pub fn accounts(
    program: &Path,
    wanted: &Scope<'_>,
    local: &Local,
    until: Instant,
) -> (Vec<Account>, Option<Finding>) {
    const ID: &str = "sshd.accounts";
    let me = Uid::effective();
    let served = |user: &&LocalUser| me.is_root() || user.uid == me.as_raw();
    let users: Vec<&LocalUser> = local.logins().filter(served).collect();
    let mut accounts = Vec::new();
    for user in users.iter().take(MOST_ACCOUNTS) {
        let spec = Spec::of(&user.name, ANYWHERE).to_string();
        match options(program, wanted.configuration, &spec, until) {
            Ok(options) => accounts.push(Account {
                user: (*user).clone(),
                options,
            }),
            Err(_) => break,
        }
    }
    let left = users.len().saturating_sub(accounts.len());
    let finding = (left > 0).then(|| {
        let text = format!(
            "{left} of this machine's {} accounts were not looked at: sshd is asked about each",
            users.len()
        );
        Finding::fail(ID, text)
    });
    (accounts, finding)
}
