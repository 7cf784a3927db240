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
mod codes;
mod confinement;
mod confirm;
mod duoctl;
mod enable;
mod failsafe;
mod host;
mod inheritance;
mod install;
mod life;
mod log;
mod module;
mod pam;
mod programs;
mod remember;
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
        // What takes longest begins first, so that nothing waits for it at the end.
        (enable::layouts): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su"] {
            every_layout_with_a_file_of_its_own_comes_back_byte_for_byte,
            every_layout_with_a_block_comes_back_byte_for_byte,
            a_link_to_the_configuration_stays_a_link,
            a_second_run_changes_and_reloads_nothing_and_another_group_replaces,
            a_full_disk_leaves_everything_as_it_was,
            a_machine_with_next_to_nothing_on_it,
        }
        (pam::table): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su", "sudo", "pamtester"] {
            sudo_lets_in_whoever_has_both_factors,
            su_lets_in_whoever_has_both_factors,
            login_lets_in_whoever_has_both_factors,
            login_itself_asks_for_both_factors,
            sshd_with_keys_lets_in_whoever_has_both_factors,
            nobody_without_a_key_gets_in_while_it_changes,
            sshd_with_passwords_lets_in_whoever_has_both_factors,
        }
        (programs): ["root", "sshd", "ssh", "ansible-playbook"] {
            ansible_runs_a_playbook_without_pipelining,
            ansible_runs_a_playbook_with_pipelining,
        }
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
        (log): ["root"] {
            the_journal_gets_each_line_with_its_fields_and_syslog_gets_none,
            a_denial_says_why_in_a_field_and_names_the_account,
            duos_time_and_the_persons_are_true,
            nothing_that_is_forged_makes_a_second_field,
            a_journal_that_is_gone_or_full_delays_no_login_and_loses_no_line,
            a_log_that_is_stuck_rings_no_phone_and_holds_nobody,
            no_yes_counts_that_a_stuck_log_has_not_taken,
            a_journal_that_is_full_without_a_syslog_takes_no_yes_either,
            ctrl_c_ends_a_login_though_the_log_is_stuck,
            a_syslog_that_was_started_anew_gets_the_final_line,
            a_syslog_of_streams_gets_each_line_with_a_nul_behind_it,
            the_facility_is_the_configurations_even_of_one_that_is_broken,
        }
        (log): ["root", "PAM"] {
            pam_names_its_service_and_the_hosts_process,
            the_helpers_parent_writes_to_a_journal_or_to_syslog_behind_its_filter,
            the_modules_own_line_goes_to_a_syslog_of_streams_too,
        }
        (log): ["root", "PAM", "tracing"] {
            the_audit_log_gets_one_record_and_nobody_waits_for_it,
            a_login_without_a_child_has_its_record_too,
        }
        (failsafe): ["jq"] {
            a_login_while_the_script_did_not_run_is_told_of_afterwards,
            what_was_not_told_to_its_end_is_told_again,
            the_place_in_the_journal_moves_on_without_a_login_too,
            without_the_user_duo_it_takes_sshds_lines_and_without_that_it_says_so,
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
            a_child_that_was_taken_over_touches_no_codes_of_others,
            a_child_that_was_taken_over_makes_no_file_longer,
            both_processes_of_a_login_are_what_they_should_be,
            a_parent_that_only_waits_can_do_nothing_else,
        }
        (codes): ["root"] {
            while_duo_is_down_a_code_lets_in_once,
            nobody_is_asked_for_a_code_that_cannot_help,
            a_broken_configuration_asks_for_no_code,
            of_two_logins_with_one_code_one_gets_in,
            codes_that_are_replaced_or_revoked_are_void_at_once,
            a_folder_or_file_that_is_not_roots_alone_has_no_codes,
            a_read_only_disk_denies_and_a_full_one_costs_nothing,
            duoctl_makes_counts_and_revokes_codes,
            on_a_terminal_unused_codes_are_void_only_after_a_yes,
            codes_that_nobody_could_read_do_not_replace_the_old_ones,
            check_says_who_has_none,
            check_looks_at_every_account_and_names_those_that_it_cannot_see,
        }
        (codes::hostile): ["root", "prlimit"] {
            no_limit_of_the_callers_opens_or_costs_a_code,
            a_file_size_of_zero_denies_with_the_reason_and_keeps_the_code,
            closed_descriptors_open_nothing,
            a_frozen_child_asks_for_no_code,
        }
        (codes::hostile): ["root", "PAM", "sudo", "prlimit"] {
            in_front_of_sudo_limits_and_descriptors_open_nothing,
            in_front_of_sudo_a_file_size_of_zero_denies_with_the_reason,
            in_front_of_sudo_a_frozen_child_asks_for_no_code,
        }
        (codes): ["root", "tracing"] {
            killed_at_each_system_call_a_code_is_never_good_twice,
        }
        (codes): ["root", "strace"] {
            what_the_disk_refuses_is_denied_with_the_reason,
        }
        (codes): ["root", "sshd", "ssh"] {
            from_far_away_with_the_network_cut,
        }
        (codes): ["root", "PAM", "sudo", "su"] {
            in_front_of_sudo_and_su,
            codes_of_another_account_are_good_for_nothing,
        }
        (codes): ["root", "PAM", "sshd", "ssh"] {
            behind_sshd_with_pam,
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
        (programs): ["root", "sshd", "ssh", "paramiko"] {
            paramiko_gets_the_commands_output_alone,
        }
        (remember): ["root", "sshd", "ssh"] {
            one_yes_serves_every_session_of_one_connection,
            another_connection_at_the_same_time_is_asked,
            behind_a_listener_users_and_root_are_asked_once_a_connection,
            what_a_users_login_makes_has_roots_group,
            without_the_key_each_is_asked_and_nothing_is_made,
        }
        (remember::attacks): ["root", "sshd", "ssh"] {
            a_record_counts_for_its_connection_alone_whatever_else_it_says,
            records_that_are_too_old_of_the_future_or_of_another_boot_do_not_count,
            a_file_that_is_cut_too_long_or_garbage_is_not_read_and_begins_anew,
            a_full_file_of_open_connections_takes_no_other,
            a_folder_or_file_that_is_not_roots_alone_is_not_used,
            whatever_has_changed_since_is_asked,
            duo_and_failmode_decide_as_ever,
            only_a_persons_yes_is_kept,
            who_leaves_before_the_yes_has_approved_nothing,
            two_first_logins_at_once_are_each_asked_and_one_record_is_left,
            a_dead_master_leaves_nothing_to_the_next,
            another_account_below_an_approved_connection_is_asked,
            another_pid_namespaces_proc_names_no_connection,
            a_proc_that_hides_processes_hides_none_from_root,
            an_sshd_whose_file_was_replaced_is_the_same_connection,
            an_sshd_that_others_can_write_to_is_none,
            the_child_alone_has_the_file_and_can_make_it_no_longer,
            on_a_terminal_one_line_says_so_and_there_is_no_menu,
            what_is_forgotten_during_a_login_is_asked_by_it,
            behind_an_sshd_that_is_process_1_one_yes_serves_one_connection,
        }
        (remember::attacks): ["root", "sshd", "ssh", "python3", "perl"] {
            what_has_no_sshd_above_it_is_asked,
            more_than_sixteen_processes_up_is_too_far,
            a_lock_that_is_never_given_back_does_not_hold_the_login_up,
        }
        (remember::attacks): ["root", "sshd", "ssh", "python3", "gcc"] {
            a_listener_that_adopts_orphans_is_nobodys_connection,
        }
        (remember::clients): ["root", "sshd", "ssh", "scp", "sftp", "rsync", "git"] {
            copies_over_one_connection_are_asked_once,
            a_file_manager_with_two_channels_at_a_time_is_asked_once,
        }
        (remember::told): ["root", "sshd", "ssh"] {
            status_counts_and_forget_removes_all_or_one_users,
            status_counts_what_the_configuration_remembers_now,
            ended_connections_are_not_counted_and_a_bad_file_is_forgotten_too,
            forget_is_roots,
        }
        (remember::told): ["root", "sshd", "setpriv"] {
            check_says_what_makes_it_useless,
        }
        (remember::attacks): ["root", "sshd", "ssh", "setpriv"] {
            where_root_may_not_see_programs_each_is_asked,
        }
        (remember::clients): ["root", "sshd", "ssh"] {
            an_editor_with_a_shell_and_many_channels_is_asked_once,
            a_hundred_sessions_at_once_after_the_first,
        }
        (remember::clients): ["root", "sshd", "ssh", "ansible-playbook"] {
            ansible_without_pipelining_is_asked_once,
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
            a_user_who_stops_the_reader_of_their_keys_holds_up_nothing,
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
            without_the_user_duo_the_journals_lines_are_those_of_sshds,
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
            the_module_comes_to_the_others_of_pam_and_into_no_stack,
            a_packages_module_is_never_overwritten,
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
        (pam::enable): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su", "sudo"] {
            a_second_run_changes_nothing_and_all_of_it_goes_again,
            a_program_is_told_what_a_dry_run_would_change_and_what_waits,
            a_test_user_whom_duo_did_not_let_in_is_none,
            a_file_that_was_edited_meanwhile_keeps_the_edit,
            a_service_that_only_the_distribution_has_is_copied_and_the_copy_goes_again,
            an_include_that_ends_the_stack_becomes_a_substack_or_is_refused,
            a_way_around_is_named_and_refused_unless_it_is_accepted,
            safe_in_front_of_sudo_is_refused_unless_it_is_accepted,
            what_is_missing_or_not_roots_is_refused,
            with_keys_passwords_must_be_off,
            a_match_block_that_goes_past_duo_is_refused_unless_it_is_accepted,
            root_who_may_come_by_a_key_alone_would_be_locked_out,
            the_lines_of_both_styles_come_and_go_in_any_order,
            where_one_file_cannot_be_written_none_is,
            interrupted_it_leaves_no_line_and_no_sshd_that_asks,
            unconfirmed_it_is_taken_back,
        }
        (pam::adopt): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su", "sudo", "ldconfig", "Duo's C module"] {
            lines_go_from_duos_module_to_ours_and_back,
            a_module_of_another_package_is_not_written_over_but_gone_around,
        }
        (pam::check): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su", "sudo"] {
            what_is_enabled_is_proved_and_what_has_vanished_is_missed,
            one_attempt_is_made_as_in_a_service,
            stacks_by_hand_are_judged,
        }
        (confirm): ["root", "a copy", "sshd", "ssh", "ssh-keygen", "useradd", "su"] {
            confirmed_from_another_session_it_stays,
            another_window_of_the_same_connection_does_not_confirm,
            run_out_it_is_taken_back,
            taken_back_to_what_was_enabled_before,
            the_enabling_session_is_killed,
            a_refused_enable_leaves_nothing_that_waits,
            disabled_nothing_waits,
            no_user_can_hold_up_what_is_to_be_taken_back,
            with_systemd_a_restart_takes_it_back,
            without_a_timer_nothing_is_enabled,
        }
        (module::host): ["root", "PAM", "perl"] {
            nothing_of_it_is_changed_whatever_comes_back,
            nor_where_duo_is_down_or_the_configuration_is_broken,
            many_authentications_leave_nothing_behind,
            a_host_that_ignores_its_children_gets_the_verdict,
            a_host_that_handles_its_children_hears_of_none,
            a_host_that_reaps_whatever_ends_reaps_none,
            a_host_with_eight_busy_threads_gets_the_verdict,
            two_threads_get_each_their_own_verdict,
            descriptors_0_to_2_closed_in_every_combination,
            a_module_that_is_loaded_and_unloaded_stays_whole,
            the_other_entry_points_say_nothing,
            its_log_stays_the_hosts_and_ours_is_authpriv_with_its_pid,
            a_host_that_is_not_root_is_told_so_and_never_succeeds,
            conversations_of_every_kind,
            an_answer_is_overwritten_before_it_is_freed,
            a_small_stack_is_enough,
            items_of_any_length_are_survived,
            debug_into_a_full_pipe_does_not_hold_the_login,
            a_host_killed_at_the_menu_ends_the_login,
            a_host_killed_during_a_push_ends_the_login,
            the_helper_has_descriptors_and_an_environment_of_its_own,
            the_helper_hears_signals_that_the_host_has_blocked,
            a_helper_or_child_that_is_killed_denies,
            a_hundred_at_once_get_each_their_own_verdict,
        }
        (module::host): ["root", "PAM", "nm", "readelf"] {
            the_module_exports_its_entry_points_alone,
        }
        (module::codes): ["root", "PAM"] {
            each_outcome_has_its_code_and_its_line,
            an_account_that_there_is_not_is_unknown_and_duo_is_not_asked,
            whoever_groups_do_not_select_passes_and_it_is_logged,
            failmode_decides_where_duo_could_not_be_asked,
            failmode_decides_nothing_once_duo_has_answered,
            a_rate_limit_followed_by_an_error_does_not_open,
            a_service_that_says_nothing_does_not_hold_it_for_ever,
            a_bad_argument_is_an_error_under_safe_too,
            of_several_files_the_last_counts_and_without_one_it_is_the_default,
            debug_writes_the_log_to_stderr_too,
            a_broken_configuration_opens_only_by_its_own_plain_safe,
            a_configuration_that_others_could_change_or_read_never_opens,
            keys_of_the_login_program_do_nothing,
            without_its_helper_it_never_opens,
        }
        (module::faults): ["root", "PAM"] {
            an_answer_that_is_not_duos_is_decided_by_failmode,
            the_same_later_is_an_error_and_rings_once,
            a_4xx_of_any_shape_denies,
            a_connection_that_breaks_is_decided_by_failmode_before_an_answer,
            a_connection_that_stalls_ends_in_time,
            what_is_not_due_may_be_wrong_or_there_twice,
            an_endless_answer_does_not_grow_the_host,
            a_hostile_server_is_not_duo,
            a_clock_that_is_off_is_found_out,
        }
        (module::asked): ["root", "PAM"] {
            another_service_to_root_asks_root,
            the_client_is_an_address_or_what_sshd_knows,
            no_client_forges_a_line_or_a_field,
            the_gecos_field_names_whom_duo_is_asked_about,
            after_a_key_only_whoever_came_with_one_is_looked_at,
        }
        (module::asked): ["root", "PAM", "sudo"] {
            sudo_asks_the_invoking_user,
            sudo_with_targetpw_asks_the_target,
            sudos_command_is_in_the_push,
        }
        (module::asked): ["root", "PAM", "su"] {
            su_to_root_asks_the_caller,
            su_to_another_asks_the_other,
            su_by_root_asks_whom_it_is_to_be,
            the_variable_of_another_program_is_no_command,
        }
        (module::told): ["root", "PAM"] {
            one_visible_prompt_has_the_menu,
            an_empty_answer_takes_the_default,
            a_slip_is_asked_again_and_is_no_attempt,
            a_denial_is_an_error_and_says_why,
            each_denied_attempt_says_so_and_shows_the_menu_again,
            autopush_asks_nothing_first_and_shows_the_menu_after_a_denial,
            without_a_conversation_autopush_sends_one_push,
            without_a_conversation_and_without_autopush_nothing_is_sent,
            the_code_of_a_verified_push_stands_in_a_prompt,
            where_to_enrol_is_told_once,
            silence_hides_progress_alone,
            no_text_of_duos_reaches_the_person_raw,
            a_rate_limit_is_told,
        }
        (module::programs): ["root", "PAM", "pamtester"] {
            pamtester_asks_duo,
        }
        (module::programs): ["root", "PAM", "sudo", "su"] {
            sudo_and_su_open_by_both_factors_alone,
            sudo_ends_at_once_where_duo_denies,
            sudo_starts_again_where_every_attempt_is_denied,
            sudo_without_a_conversation_is_refused_at_the_menu,
            sudo_with_its_input_gone_is_refused,
            sudo_on_a_terminal_shows_the_menu_and_progress,
            sudo_with_a_terminal_of_its_own_works,
            a_command_of_100_kilobytes_is_asked_about,
            ctrl_c_at_sudos_menu_and_during_its_push_ends_it,
            ctrl_c_during_a_push_of_su_ends_it,
            a_stack_with_success_and_die_in_brackets,
        }
        (module::programs): ["root", "PAM", "login"] {
            login_on_a_terminal_asks_both_and_starts_the_shell,
            login_on_a_terminal_that_duo_denies_starts_none,
        }
        (module::programs): ["root", "PAM", "sudo-rs"] {
            sudo_rs_asks_the_password_and_duo,
        }
        (module::sshd): ["root", "PAM", "sshd", "ssh", "scp", "sftp", "setsid"] {
            a_key_and_then_duo,
            a_password_and_then_duo,
            a_wrong_first_factor_asks_nobody,
            password_authentication_alone_cannot_answer_the_menu,
            the_clients_address_is_told_though_sshd_looks_up_its_name,
            without_duos_yes_there_is_no_session,
            in_batch_mode_nobody_is_asked_and_nobody_gets_in,
            with_autopush_commands_and_copies_work_without_a_terminal,
            a_denied_copy_copies_nothing,
            a_copy_on_a_terminal_asks_there,
            forwarding_waits_for_duos_yes,
            one_connection_is_asked_once_for_all_its_sessions,
            an_unknown_user_is_refused_and_duo_is_not_asked,
            without_a_key_a_stack_of_duo_alone_opens_nothing,
            a_client_that_goes_while_the_phone_rings_gets_no_session,
            the_end_of_the_grace_time_ends_the_login,
            a_verified_pushs_code_is_seen_in_time,
            twenty_connections_at_once_are_each_asked,
        }
        (module::attacks): ["root", "PAM", "sudo", "su", "perl", "prlimit"] {
            no_limit_at_start_lets_anyone_in_unasked,
            a_low_limit_of_ones_own_does_not_lock_one_out,
            signals_to_su_open_nothing_and_leave_a_line,
            su_stopped_and_continued_gets_the_verdict_that_came,
            a_caller_that_ignores_or_blocks_every_signal_gets_the_verdict,
            no_variable_changes_the_outcome,
            odd_descriptors_let_nobody_in,
            the_helper_by_hand_does_nothing,
            a_login_without_a_claim_is_a_fault,
            the_child_leaves_the_callers_session_for_the_scheduler,
            personalities_and_timers_of_the_callers_let_nobody_in,
            a_hundred_tries_let_nobody_in_and_leave_a_line_each,
        }
        (module::attacks): ["root", "PAM", "sudo", "su", "perl", "chrt", "taskset", "choom"] {
            the_user_can_do_nothing_to_the_helper_and_its_child,
            the_helper_takes_back_what_the_caller_made_slow,
        }
        (module::attacks): ["root", "PAM", "sudo", "su", "tracing"] {
            the_user_traces_neither_the_helper_nor_its_host,
        }
        (module::attacks): ["root", "PAM", "sudo", "su", "user namespaces"] {
            a_host_in_a_user_namespace_gets_nothing,
        }
        (module::cgroups): ["root", "PAM", "sudo", "su", "control groups"] {
            the_helper_leaves_the_callers_control_groups,
            a_frozen_host_does_not_hold_the_helper,
            a_frozen_helper_does_not_take_its_own_silence_for_duos,
            freezing_again_and_again_lets_nobody_in,
            freezing_again_and_again_opens_nothing_without_a_code,
            a_starved_host_gets_the_verdict_or_none,
            where_the_group_cannot_be_left_safe_opens_only_for_roots_groups,
            nor_where_only_a_part_of_the_hierarchy_is_mounted,
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
