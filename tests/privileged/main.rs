//! What needs root: the setuid program as an attacker meets it, and behind a
//! real sshd with the real clients. (What a child may say that was taken over,
//! attack 6, is tested beside `login::judge`.)
//!
//! Nothing of the machine is touched: each test makes a mount namespace with
//! an /etc, a /dev/log and users of its own, and all of it goes with the test.
//! Where root or a program is missing, a test shows as ignored; with
//! `LOGIN_DUO_E2E=required` it fails.
#![allow(missing_docs, reason = "a test's name says what it is about")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

mod caller;
mod clients;
mod confinement;
mod inheritance;
mod life;
mod needs;
mod programs;
mod sshd;
mod standstill;
#[path = "../suite/support/mod.rs"]
#[allow(dead_code, reason = "the other suite uses the rest")]
mod support;
mod world;

use libtest_mimic::{Arguments, Trial};

/// One test: its name, the programs that it needs, and what it does.
type Test = (&'static str, &'static [&'static str], fn());

/// The tests of a module by their functions' names.
macro_rules! tests {
    ($($module:ident: $needs:tt { $($name:ident),* $(,)? })*) => {
        vec![$($((
            concat!(stringify!($module), "::", stringify!($name)),
            &$needs as &[&str],
            $module::$name as fn(),
        ),)*)*]
    };
}

fn main() {
    let trials = everything()
        .into_iter()
        .map(|(name, programs, test)| {
            let missing = needs::missing(programs);
            let required = needs::required();
            Trial::test(name, move || match missing {
                Some(missing) => Err(format!("needs {missing}").into()),
                None => {
                    test();
                    Ok(())
                }
            })
            .with_ignored_flag(needs::missing(programs).is_some() && !required)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn everything() -> Vec<Test> {
    tests! {
        caller: ["root", "perl", "prlimit"] {
            no_variable_changes_the_outcome,
            a_library_of_the_callers_is_not_loaded_setuid,
            no_limit_of_the_callers_lets_anyone_in_unasked,
            a_limit_that_leaves_too_little_is_a_fault_before_anything_is_asked,
            a_soft_limit_is_raised_for_the_child_and_kept_for_the_session,
            a_timer_slack_of_the_callers_does_not_stretch_the_childs_deadlines,
            no_port_left_to_ask_from_is_not_taken_for_duo_being_down,
            a_full_table_of_connections_is_not_taken_for_duo_being_down,
            closed_descriptors_in_every_combination,
            descriptors_that_are_no_pipe_or_terminal,
            full_pipes_do_not_hold_the_login_up,
            a_terminal_stopped_with_ctrl_s_does_not_hold_the_login_up,
            odd_arguments,
            no_arguments_at_all_not_even_a_name,
            every_byte_in_every_variable,
            no_text_forges_a_line_or_a_field_of_the_log,
            no_text_of_duos_reaches_the_terminal_raw,
            a_configuration_that_others_could_read_or_write_denies,
            a_syntax_error_never_shows_the_secret_key,
            a_user_by_hand_chooses_neither_configuration_nor_name,
            without_the_setuid_bits_force_the_configuration_stays_closed,
            an_account_that_does_not_exist_is_denied,
            groups_that_cannot_be_looked_up_never_pass,
            without_its_user_it_takes_sshds_and_without_that_it_denies,
        }
        caller: ["root", "strace"] {
            nothing_is_written_as_root_to_what_the_caller_chose,
        }
        life: ["root", "perl", "prlimit"] {
            signals_to_the_parent_end_the_login,
            signals_to_the_child_deny,
            the_users_own_signals_do_not_reach_the_child,
            a_killed_parent_leaves_a_line_and_no_process,
            a_denial_is_logged_though_the_parent_is_stopped_and_then_killed,
            descriptors_taken_from_the_parent_do_not_keep_its_line_out_of_the_log,
            a_stopped_child_does_not_hold_the_parent_for_ever,
            a_stopped_parent_opens_nothing_by_itself,
            a_signal_that_comes_with_the_verdict_wins,
            tstp_ttin_and_ttou_stop_neither,
            a_terminal_that_is_closed_ends_the_login_at_the_menu,
            a_terminal_that_is_closed_ends_the_login_while_it_waits,
            output_that_is_broken_on_one_side_only_keeps_waiting_without_spinning,
            output_that_is_broken_on_both_sides_ends_the_login,
            a_caller_that_ignores_or_blocks_every_signal,
            the_session_has_no_zombie,
        }
        standstill: ["root"] {
            duo_that_is_silent_while_we_are_awake_is_down,
            a_frozen_child_does_not_take_its_own_silence_for_duos,
            a_waiting_thread_stopped_alone_does_not_take_its_own_silence_for_duos,
        }
        standstill: ["root", "control groups"] {
            a_thread_put_into_a_control_group_of_its_own_denies,
        }
        confinement: ["root", "python3"] {
            the_child_has_nothing_and_the_parent_only_what_the_user_has,
            the_child_keeps_no_descriptor_of_the_callers,
            nobody_can_trace_either_process,
            another_child_of_the_same_user_cannot_be_read_by_a_child,
            the_passcode_is_in_no_environment,
            no_core_file_whatever_the_kernel_is_set_to,
            the_secret_key_is_nowhere_in_the_parent,
        }
        inheritance: ["root", "perl"] {
            the_session_is_what_it_would_be_without_login_duo,
            sigpipe_ignored_or_default_at_start_is_the_same_in_the_session,
            every_disposition_and_the_mask_are_handed_on,
            the_shell_and_its_name,
            without_a_command_it_is_a_login_shell,
            the_message_of_the_day_is_for_a_shell_on_a_terminal,
            sudo_works_in_the_session,
        }
        clients: ["root", "sshd", "ssh"] {
            a_terminal_has_menu_push_shell_size_and_job_control,
            ctrl_c_at_the_menu_and_while_waiting,
            a_command_is_the_same_as_without_login_duo,
            ten_mebibytes_both_ways_byte_for_byte,
            a_command_on_a_terminal,
            a_passcode_sent_along_as_a_variable,
            sessions_that_share_a_connection_are_each_asked,
            a_hundred_logins_at_once,
            a_cut_connection_ends_a_headless_login,
            a_cut_connection_ends_a_login_for_sftp,
            a_cut_connection_ends_a_login_on_a_terminal,
            a_forced_command_alone_does_not_stop_port_forwarding,
            the_documented_settings_stop_port_forwarding,
        }
        clients: ["root", "sshd", "ssh", "scp", "sftp", "rsync"] {
            scp_sftp_and_rsync_with_the_external_server,
            scp_and_sftp_with_internal_sftp,
        }
        clients: ["root", "sshd", "ssh", "git"] {
            git_clone_and_push,
        }
        clients: ["root", "sshd", "ssh", "scp", "sftp", "rsync", "git"] {
            a_denied_copy_fails_with_one_line,
        }
        programs: ["root", "sshd", "ssh"] {
            a_command_on_a_terminal_is_the_same_as_without_login_duo,
            a_command_on_a_terminal_is_the_same_when_the_person_takes_their_time,
            nothing_stands_on_the_terminal_before_the_command_runs,
            what_is_sent_along_is_the_commands,
            a_passcode_sent_along_is_taken_on_a_terminal_too,
            a_denied_command_on_a_terminal_says_why_in_one_line,
            a_person_gets_the_menu_for_commands_too_where_it_is_configured,
        }
        programs: ["root", "sshd", "ssh", "mosh", "mosh-server"] {
            mosh_starts_its_server_and_runs_a_command,
        }
        programs: ["root", "sshd", "ssh", "ansible-playbook"] {
            ansible_runs_a_playbook_without_pipelining,
            ansible_runs_a_playbook_with_pipelining,
        }
        programs: ["root", "sshd", "ssh", "paramiko"] {
            paramiko_gets_the_commands_output_alone,
        }
        clients: ["root", "sshd", "ssh", "pkill"] {
            a_user_who_is_killed_while_waiting_leaves_no_process,
        }
    }
}
