//! `duoctl completions`: each shell takes its script, and completes with it.

use std::process::Command;

use super::duoctl;
use crate::support::{Ended, run, run_with};

fn script(shell: &str) -> String {
    let ended = run(duoctl(&["completions", shell]));
    assert_eq!(ended.status(), 0, "{}", ended.text());
    ended.stdout()
}

#[test]
fn bash_completes_commands_and_options() {
    let ask = "\nCOMP_WORDS=(duoctl \"$@\"); COMP_CWORD=$#\n\
        _duoctl duoctl \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"; echo \"${COMPREPLY[@]}\"\n";
    let completed = |words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.env_clear().args(["-s"]).args(words);
        let script = script("bash") + ask;
        run_with(bash, script.as_bytes()).succeeds()
    };
    assert_eq!(completed(&["conf"]), "configure confirm\n");
    assert!(completed(&["configure", "--re"]).contains("--restore"));
}

#[test]
fn zsh_and_fish_get_a_script_of_their_own() {
    assert!(script("zsh").starts_with("#compdef duoctl\n"));
    assert!(script("fish").contains("complete -c duoctl "));
    let syntax = |shell: &str, check: &str| {
        let mut command = Command::new(shell);
        command.env_clear().arg(check);
        let there = Command::new(shell).arg("--version").output().is_ok();
        there.then(|| run_with(command, script(shell).as_bytes()).succeeds())
    };
    syntax("zsh", "-n");
    syntax("fish", "--no-execute");
}

#[test]
fn another_shell_is_wrong_usage() {
    assert_eq!(Ended::of(&mut duoctl(&["completions", "csh"])).status(), 64);
    assert_eq!(Ended::of(&mut duoctl(&["completions"])).status(), 64);
}
