//! Whose login it is, as a sysadmin's machine would have it: users, groups, a
//! directory service that is down, a configuration that belongs to someone.
//!
//! Each login runs the built program, setuid root, in a mount namespace of its
//! own with an `/etc` made for the test: this machine is never touched, and
//! nothing is left behind, whatever happens. That needs root; where something
//! is missing, the tests show as ignored, or, with `LOGIN_DUO_E2E=required`,
//! fail.
#![allow(missing_docs, reason = "a test's name says what it is about")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong in a test fails it"
)]

mod directory;
mod groups;
mod identity;
mod machine;
mod owner;
mod syslog;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// A test, and what it needs beside root and mount namespaces.
struct Test {
    name: &'static str,
    run: fn(),
    tools: &'static [&'static str],
}

/// The functions of a module as tests named after them.
macro_rules! tests {
    ($tools:expr; $($module:ident: $($name:ident),+;)+) => {
        [$($(Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: $module::$name,
            tools: $tools,
        }),+),+]
    };
}

fn main() -> ExitCode {
    let tests = tests! { &[];
        identity:
            the_account_is_the_real_uids_whatever_user_and_logname_say,
            a_uid_without_an_account_is_denied,
            the_duo_name_is_the_gecos_field_or_a_part_of_it,
            a_gecos_part_that_is_missing_falls_back_to_the_login_name_and_says_so,
            a_hostile_gecos_field_reaches_duo_whole_and_the_log_without_its_teeth,
            root_may_name_another_duo_user_and_both_names_are_logged;
        owner:
            a_file_of_the_daemons_user_is_accepted_with_a_warning,
            a_file_of_anyone_else_is_denied_though_it_says_safe,
            a_users_own_install_reads_the_users_own_file,
            a_file_that_cannot_be_read_is_denied;
        groups:
            whoever_a_pattern_list_matches_is_asked_and_others_pass,
            without_groups_everybody_is_asked_and_nothing_is_looked_up,
            a_group_id_without_a_name_is_denied,
            patterns_that_are_all_negated_ask_nobody_and_warn;
        syslog:
            mistakes_reach_syslog_and_the_secret_does_not;
    };
    let with_directory = tests! { &["gcc", "ldconfig"];
        directory:
            a_directory_that_answers_lets_others_pass,
            a_directory_that_is_down_asks_and_never_passes,
            a_directory_whose_failure_the_next_service_hides_asks,
            a_directory_that_answers_with_fewer_groups_asks,
            a_directory_that_cannot_name_a_group_id_denies,
            a_directory_that_is_down_and_knows_the_account_denies;
    };
    let lacking = machine::lacking();
    let is_required = std::env::var("LOGIN_DUO_E2E").is_ok_and(|value| value == "required");
    let trials = tests.into_iter().chain(with_directory).map(|test| {
        let tool = test.tools.iter().find(|tool| !machine::has(tool));
        let tool = tool.map(|tool| format!("there is no '{tool}'"));
        match lacking.clone().or(tool) {
            None => Trial::test(test.name, move || {
                (test.run)();
                Ok(())
            }),
            Some(why) => {
                Trial::test(test.name, || Err(Failed::from(why))).with_ignored_flag(!is_required)
            }
        }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
