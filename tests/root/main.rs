//! All that needs root: the setuid program as an attacker meets it, on made
//! machines and behind a real sshd with the real clients; `duoctl check` of such a
//! machine; and install.sh and `duoctl enable`, which rewrite one. (What a child may
//! say that was taken over, attack 6, is tested beside `verdict::judge`.)
//!
//! Nothing of this machine is touched: the whole run lives in namespaces of its
//! own, each test on a machine of its own within, and the kernel ends all of it
//! with the run. Where root or a program is missing, a test shows as ignored;
//! with `LOGIN_DUO_E2E=required` it fails.
#![allow(missing_docs, reason = "a test's name says what it is about")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

#[macro_use]
#[path = "../machine/mod.rs"]
mod machine;

mod accounts;
mod caller;
mod cases;
mod checks;
mod clients;
mod confinement;
mod confirm;
mod duoctl;
mod enable;
mod host;
mod inheritance;
mod install;
mod life;
mod programs;
mod sandbox;
mod standstill;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "tests/suite uses the rest")]
mod support;

use std::process::ExitCode;

/// How many run side by side: they wait more than they work.
const SIDE_BY_SIDE: usize = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, order, with] = &arguments[..]
        && first == sandbox::AS_FRONT_END
    {
        return sandbox::front_end(order, with);
    }
    machine::run_tests(everything(), SIDE_BY_SIDE)
}

fn everything() -> Vec<machine::Test> {
    tests! {
        (caller): ["root", "perl", "prlimit"] {
            no_variable_changes_the_outcome,
            a_library_of_the_callers_is_not_loaded_setuid,
            no_limit_of_the_callers_lets_anyone_in_unasked,
            a_limit_that_leaves_too_little_is_a_fault_before_anything_is_asked,
            a_soft_limit_is_raised_for_the_child_and_kept_for_the_session,
            a_timer_slack_of_the_callers_does_not_stretch_the_childs_deadlines,
            silent_name_servers_cost_ten_seconds_and_then_failmode_decides,
            callers_with_a_low_limit_of_processes_do_not_lock_each_other_out,
            closed_descriptors_in_every_combination,
            descriptors_that_are_no_pipe_or_terminal,
            a_callers_own_way_into_the_log_carries_nothing_of_ours,
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
        (caller): ["root", "strace"] {
            nothing_is_written_as_root_to_what_the_caller_chose,
        }
        (life): ["root", "perl", "prlimit"] {
            signals_to_the_parent_end_the_login,
            signals_to_the_child_deny,
            signals_of_the_terminal_do_not_end_the_child,
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
        (standstill): ["root"] {
            duo_that_is_silent_while_we_are_awake_is_down,
            a_frozen_child_does_not_take_its_own_silence_for_duos,
            a_child_frozen_again_and_again_for_a_moment_does_not_either,
            a_waiting_thread_stopped_alone_does_not_take_its_own_silence_for_duos,
        }
        (confinement): ["root", "python3"] {
            the_child_has_nothing_and_the_parent_only_what_the_user_has,
            the_child_keeps_no_descriptor_of_the_callers,
            nobody_can_trace_either_process,
            another_child_of_the_same_user_cannot_be_read_by_a_child,
            the_passcode_is_in_no_environment,
            no_core_file_whatever_the_kernel_is_set_to,
            the_secret_key_is_nowhere_in_the_parent,
        }
        (sandbox): ["root"] {
            a_child_that_was_taken_over_is_stopped_and_the_login_denied,
            without_the_sandbox_each_order_would_succeed_and_the_log_warns,
            both_processes_of_a_login_are_what_they_should_be,
            a_parent_that_only_waits_can_do_nothing_else,
        }
        (inheritance): ["root", "perl"] {
            the_session_is_what_it_would_be_without_login_duo,
            sigpipe_ignored_or_default_at_start_is_the_same_in_the_session,
            every_disposition_and_the_mask_are_handed_on,
            the_shell_and_its_name,
            without_a_command_it_is_a_login_shell,
            the_message_of_the_day_is_for_a_shell_on_a_terminal,
            sudo_works_in_the_session,
        }
        (clients): ["root", "sshd", "ssh"] {
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
        (clients): ["root", "sshd", "ssh", "scp", "sftp", "rsync"] {
            scp_sftp_and_rsync_with_the_external_server,
            scp_and_sftp_with_internal_sftp,
        }
        (clients): ["root", "sshd", "ssh", "git"] {
            git_clone_and_push,
        }
        (clients): ["root", "sshd", "ssh", "scp", "sftp", "rsync", "git"] {
            a_denied_copy_fails_with_one_line,
        }
        (programs): ["root", "sshd", "ssh"] {
            a_command_on_a_terminal_is_the_same_as_without_login_duo,
            a_command_on_a_terminal_is_the_same_when_the_person_takes_their_time,
            nothing_stands_on_the_terminal_before_the_command_runs,
            what_is_sent_along_is_the_commands,
            a_passcode_sent_along_is_taken_on_a_terminal_too,
            a_denied_command_on_a_terminal_says_why_in_one_line,
            a_person_gets_the_menu_for_commands_too_where_it_is_configured,
        }
        (programs): ["root", "sshd", "ssh", "mosh", "mosh-server"] {
            mosh_starts_its_server_and_runs_a_command,
        }
        (programs): ["root", "sshd", "ssh", "ansible-playbook"] {
            ansible_runs_a_playbook_without_pipelining,
            ansible_runs_a_playbook_with_pipelining,
        }
        (programs): ["root", "sshd", "ssh", "paramiko"] {
            paramiko_gets_the_commands_output_alone,
        }
        (clients): ["root", "sshd", "ssh", "pkill"] {
            a_user_who_is_killed_while_waiting_leaves_no_process,
        }
        (accounts::identity): ["root"] {
            the_account_is_the_real_uids_whatever_user_and_logname_say,
            a_uid_without_an_account_is_denied,
            the_duo_name_is_the_gecos_field_or_a_part_of_it,
            a_gecos_part_that_is_missing_falls_back_to_the_login_name_and_says_so,
            a_hostile_gecos_field_reaches_duo_whole_and_the_log_without_its_teeth,
            root_may_name_another_duo_user_and_both_names_are_logged,
        }
        (accounts::owner): ["root"] {
            a_file_of_the_daemons_user_is_accepted_with_a_warning,
            a_file_of_anyone_else_is_denied_though_it_says_safe,
            a_users_own_install_reads_the_users_own_file,
            a_file_that_cannot_be_read_is_denied,
        }
        (accounts::groups): ["root"] {
            whoever_a_pattern_list_matches_is_asked_and_others_pass,
            without_groups_everybody_is_asked_and_nothing_is_looked_up,
            a_group_id_without_a_name_is_denied,
            patterns_that_are_all_negated_ask_nobody_and_warn,
        }
        (accounts::syslog): ["root"] {
            mistakes_reach_syslog_and_the_secret_does_not,
        }
        (accounts::directory): ["root", "gcc", "ldconfig"] {
            a_directory_that_answers_lets_others_pass,
            a_directory_that_is_down_asks_and_never_passes,
            a_directory_whose_failure_the_next_service_hides_asks,
            a_directory_that_answers_with_fewer_groups_asks,
            a_directory_that_cannot_name_a_group_id_denies,
            a_directory_that_is_down_and_knows_the_account_denies,
        }
        (checks::installation): ["root", "sshd"] {
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
        (checks::installation): ["root", "sshd", "python3"] {
            file_capabilities_beside_setuid_fail,
        }
        (checks::accounts): ["root", "sshd"] {
            groups_that_reach_some_or_nobody,
            a_group_without_members_is_warned_of,
            a_group_without_a_name_denies_whoever_is_in_it,
            a_user_id_with_two_names_is_told,
            shells_that_let_nobody_in,
            a_shell_that_cannot_run_us_locks_its_account_out,
        }
        (checks::sshd): ["root", "sshd"] {
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
            keys_with_commands_and_where_they_may_be,
            a_force_command_that_is_overruled_fails,
            a_short_grace_time_is_warned_of_where_pam_asks,
        }
        (duoctl::adopt): ["root", "sshd", "ssh", "ldconfig", "Duo's C program"] {
            from_duos_program_and_back_without_a_login_that_is_not_asked,
            a_configuration_that_does_not_work_is_not_adopted,
            duos_program_is_not_gone_back_to_unless_it_asks_an_ordinary_user,
            a_program_that_was_put_aside_takes_its_place_again,
            a_file_that_both_read_is_left_as_duos_program_needs_it,
            a_path_that_would_be_two_words_is_not_written,
            where_one_file_cannot_be_written_no_line_changes,
        }
        (duoctl::status): ["root", "sshd"] {
            one_screen_says_what_is_there_and_what_is_not,
            only_what_the_log_daemon_says_is_login_duos_is_told,
            a_journal_counts_by_what_journald_itself_says,
            a_user_may_not_look_at_the_machines_install,
        }
        (duoctl::support): ["root", "sshd"] {
            a_secret_is_in_no_report_wherever_it_stands,
            a_report_says_what_is_wrong,
            nothing_is_written_unseen_and_nothing_is_written_over,
        }
        (install): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su"] {
            installing_twice_creates_the_user_and_keeps_the_configuration,
            a_folder_that_others_can_write_to_is_told_of,
            an_account_of_that_name_stays_and_must_not_be_root,
            uninstall_refuses_while_sshd_names_the_program,
            uninstall_refuses_whoever_else_would_be_locked_out,
            uninstall_refuses_while_an_install_elsewhere_is_enabled,
            another_program_of_that_name_is_kept,
            uninstall_keeps_the_user_while_an_install_elsewhere_is_there,
        }
        (enable): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su"] {
            enabled_asks_disabled_does_not_and_nothing_is_left,
            without_an_include_the_block_comes_and_goes,
            enabled_for_a_group_asks_its_members_only,
            enabled_for_names_asks_them_only,
            a_configuration_that_sshd_refuses_is_not_touched,
            an_earlier_line_that_wins_is_found_and_all_is_taken_back,
            an_sshd_that_does_not_survive_the_reload_gets_its_configuration_back,
            with_systemd_the_unit_is_reloaded,
            an_enable_that_is_interrupted_leaves_no_sshd_that_asks,
            what_would_not_work_is_not_enabled,
            a_test_login_that_duo_did_not_allow_is_none,
            a_dry_run_of_enable_and_disable_changes_nothing,
            an_sshd_with_a_configuration_of_its_own_is_not_forgotten,
            an_exemption_that_the_group_overrides_is_told_of,
            after_enabling_the_check_has_no_complaint_of_sshd,
            disable_tells_of_a_line_by_hand_that_still_asks,
        }
        (enable::cases): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su"] {
            a_key_with_a_command_of_its_own_never_becomes_a_shell,
            an_account_that_gets_a_shell_is_not_exempt,
            keys_that_cannot_be_read_are_said,
            a_forced_command_that_holds_today_is_not_overruled,
            what_cannot_be_seen_through_must_be_accepted,
            a_machine_whose_sshd_has_never_run,
            a_match_block_that_opens_a_way_past_is_refused,
            for_everybody_somebody_must_have_another_way_in,
        }
        (enable::layouts): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su"] {
            every_layout_comes_back_byte_for_byte,
            a_link_to_the_configuration_stays_a_link,
            a_second_run_changes_and_reloads_nothing_and_another_group_replaces,
            a_full_disk_leaves_everything_as_it_was,
            a_machine_with_next_to_nothing_on_it,
        }
        (confirm): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su"] {
            confirmed_from_another_session_it_stays,
            another_window_of_the_same_connection_does_not_confirm,
            run_out_it_is_taken_back,
            taken_back_to_what_was_enabled_before,
            the_enabling_session_is_killed,
            a_refused_enable_leaves_nothing_that_waits,
            disabled_nothing_waits,
            with_systemd_a_restart_takes_it_back,
            without_a_timer_nothing_is_enabled,
        }
        (cases): ["root", "prlimit"] {
            a_killed_leader_of_the_session_leaves_one_line_of_duos,
            a_leader_stopped_interrupted_and_killed_leaves_one_line_of_duos,
            a_parent_killed_before_the_child_says_who_it_is_leaves_a_line_with_the_name,
            a_parent_without_descriptors_still_has_its_line_with_the_name,
            a_denial_is_in_the_log_while_the_parent_is_stopped,
            a_yes_is_in_the_log_while_the_parent_is_stopped,
            a_setuid_program_under_no_new_privs_refuses_to_run,
        }
        (cases): ["root", "tracing"] {
            a_setuid_program_under_the_callers_tracer_refuses_to_run,
            a_child_that_is_roots_still_cannot_be_stopped_by_the_caller,
            a_process_that_has_opened_the_configuration_cannot_be_stopped_by_the_caller,
            a_parent_that_drops_its_privileges_cannot_be_stopped_with_an_id_of_roots,
        }
        (cases): ["root", "user namespaces"] {
            a_setuid_program_in_a_user_namespace_refuses_to_run,
        }
        (cases): ["root", "perl", "chrt", "taskset", "choom"] {
            the_child_takes_back_what_the_caller_made_slow,
        }
    }
}
