//! `login_duo --check` on machines of its own making: the setuid program, accounts and groups, and
//! a real `sshd -T`.
//!
//! Nothing of the machine is touched: each test has a mount namespace with a /run and accounts of
//! its own, which go with it. Where root, unshare or sshd is missing, the tests show as ignored;
//! with `LOGIN_DUO_E2E=required` they fail.
#![allow(missing_docs, reason = "a test's name says what it is about")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

mod accounts;
mod installation;
mod machine;
mod sshd;

use libtest_mimic::{Arguments, Trial};

type Test = (&'static str, fn());

/// The tests of a module by their functions' names.
macro_rules! tests {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn()),)*)*]
    };
}

fn main() {
    let missing = machine::missing();
    let required = std::env::var("LOGIN_DUO_E2E").is_ok_and(|value| value == "required");
    let trial = |(name, test): Test| {
        Trial::test(name, move || match missing {
            Some(missing) => Err(format!("needs {missing}").into()),
            None => {
                test();
                Ok(())
            }
        })
        .with_ignored_flag(missing.is_some() && !required)
    };
    let trials = everything().into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn everything() -> Vec<Test> {
    tests! {
        installation {
            a_machine_as_it_should_be_is_all_good,
            warnings_alone_end_with_status_2,
            a_program_of_somebody_else_fails,
            the_programs_mode,
            a_file_system_without_setuid_fails,
            folders_above_the_program,
            the_privilege_separation_user,
            a_child_that_cannot_drop_its_privileges_is_told,
            the_configurations_owner,
            a_user_of_the_setuid_program_may_not_check,
            an_install_of_ones_own,
        }
        accounts {
            groups_that_reach_some_or_nobody,
            a_group_without_members_is_warned_of,
            a_group_without_a_name_denies_whoever_is_in_it,
            a_user_id_with_two_names_is_told,
            shells_that_let_nobody_in,
        }
        sshd {
            no_sshd_is_a_warning,
            an_sshd_that_cannot_tell_says_how_to_make_it,
            a_broken_configuration_of_sshd_fails,
            without_force_command_nobody_is_asked,
            another_program_or_another_file_is_not_us,
            match_blocks_that_escape_are_named,
            a_match_block_that_cannot_be_tried_is_said,
            included_files_are_seen,
            as_a_user_from_an_address,
            ways_past_a_forced_command,
            forwarding_that_one_match_block_opens,
            what_a_client_may_set_before_us,
            the_passcode_variable_and_our_option_belong_together,
            sftp_needs_a_server,
            root_has_a_way_in_while_duo_is_down,
        }
    }
}
