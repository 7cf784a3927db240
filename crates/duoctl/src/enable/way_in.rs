//! The last way in. Where everybody is asked, root included, and Duo cannot be
//! reached or its keys are wrong, somebody must still be able to mend that.

use std::path::Path;

use duo_system::privsep::Standing;

use super::exempt::has_locked_password;
use crate::check::sshd::{Account, Forced, forced, keys};
use crate::finding::Finding;

const ID: &str = "no-way-in";

const TEXT: &str = "everybody would be asked, and nobody could log in to mend what is wrong";

/// Where PAM asks everybody.
pub fn missing() -> Finding {
    let mend = "leave an account out first, in sshd_config: 'Match User NAME' with 'AuthenticationMethods \
         publickey'; or, with a console at hand, --accept no-way-in";
    Finding::fail(ID, TEXT).mend(mend)
}

/// Fails unless an account gets a shell without login_duo.
pub fn look(accounts: &[Account], program: &Path, standing: Standing) -> Option<Finding> {
    let mut left = accounts
        .iter()
        .filter(|account| forced(&account.options, program) == Forced::Nothing);
    match left.any(|account| gets_in(account, standing)) {
        true => None,
        false => {
            let mend = "begin with --group GROUP; or leave an account out first, in sshd_config: 'Match User \
             NAME' with 'ForceCommand none'; or, with a console at hand, --accept no-way-in";
            Some(Finding::fail(ID, TEXT).mend(mend))
        }
    }
}

fn gets_in(account: &Account, standing: Standing) -> bool {
    let settings = &account.options;
    let is_root = account.user.uid == 0;
    let root = settings.value("permitrootlogin");
    if is_root && matches!(root, "no" | "forced-commands-only") {
        return false;
    }
    let mut files = keys::of(account, standing).into_iter();
    let has_key = files.any(|file| !file.plain.is_empty());
    let takes_passwords = settings.value("passwordauthentication") == "yes"
        || settings.value("kbdinteractiveauthentication") == "yes";
    let has_password = takes_passwords && !has_locked_password(&account.user.name);
    has_key || (has_password && (!is_root || root == "yes"))
}
