//! The documents tell the truth: keys, options and words of the log are the
//! same in the program, its `--help`, the man pages, the sample file and the
//! README.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use duo_policy::config::{self, KEYS};
use duo_policy::log_line;
use duo_wire::{Facts, Outcome, Verdict, Who};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn keys() -> BTreeSet<String> {
    KEYS.iter().map(|key| key.name.to_owned()).collect()
}

/// What `program` prints on stdout.
fn printed(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output().expect(program);
    assert!(output.status.success(), "{program} {argument}");
    String::from_utf8(output.stdout).expect("plain text")
}

/// The words of `text` that begin with `--`.
fn long_options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_man_page_describes_every_key_and_no_other() {
    let page = document("man/login_duo.conf.5");
    let described = page.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    assert_eq!(
        described.map(str::to_owned).collect::<BTreeSet<_>>(),
        keys()
    );
}

#[test]
fn the_sample_file_shows_every_key_and_no_other() {
    let sample = document("login_duo.conf");
    let shown: BTreeSet<String> = sample
        .lines()
        .filter_map(|line| line.strip_prefix(';').unwrap_or(line).split_once('='))
        .map(|(key, _)| key.trim().to_owned())
        .filter(|key| !key.contains(' '))
        .collect();
    assert_eq!(shown, keys());
}

#[test]
fn the_sample_files_optional_lines_are_right_once_they_are_switched_on() {
    let sample = document("login_duo.conf")
        .replace("ikey =", "ikey = DI1")
        .replace("skey =", "skey = s")
        .replace("host =", "host = api.example.com");
    let line = |line: &str| {
        let is_setting = line.strip_prefix(';').is_some_and(|line| {
            line.split_once('=')
                .is_some_and(|(key, _)| keys().contains(key.trim()))
        });
        match is_setting {
            true => format!("{}\n", line.trim_start_matches(';')),
            false => format!("{line}\n"),
        }
    };
    let all_on: String = sample.lines().map(line).collect();
    for text in [sample, all_on] {
        let problems = config::parse(text.as_bytes())
            .err()
            .map(|file| file.problems);
        assert_eq!(problems, None);
    }
}

/// `-c --config` for each option, as `--help` prints it.
fn options_of_help() -> BTreeSet<String> {
    let help = printed(env!("CARGO_BIN_EXE_login_duo"), "--help");
    let lines = help.lines().map(str::trim_start);
    let options = lines.filter(|line| line.starts_with('-')).map(|line| {
        let words = line.split([' ', ',']);
        let names: Vec<_> = words
            .take_while(|word| word.is_empty() || word.starts_with('-'))
            .collect();
        names
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    });
    options.collect()
}

/// The same, as the man page has it: `.It Fl c , -config Ar file`.
fn options_of_the_man_page() -> BTreeSet<String> {
    let page = document("man/login_duo.8");
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    let options = items.map(|item| {
        let names = item.split(" Ar ").next().unwrap_or(item).split(" , ");
        names
            .map(|name| format!("-{name}"))
            .collect::<Vec<_>>()
            .join(" ")
    });
    options.collect()
}

#[test]
fn the_man_page_describes_every_option_and_no_other() {
    let options = options_of_help();
    assert!(options.contains("-c --config"), "{options:?}");
    assert_eq!(options_of_the_man_page(), options);
}

#[test]
fn the_synopsis_names_every_option() {
    let page = document("man/login_duo.8");
    let synopsis = page
        .split(".Sh ")
        .find(|section| section.starts_with("SYNOPSIS"))
        .expect("a synopsis");
    for option in options_of_help() {
        let named = option.split(' ').any(|name| {
            let name = name.strip_prefix('-').unwrap_or(name);
            synopsis
                .lines()
                .any(|line| line.split(' ').any(|word| word == name))
        });
        assert!(named, "{option}");
    }
}

#[test]
fn the_man_page_explains_every_outcome_in_the_log() {
    let page = document("man/login_duo.8");
    for outcome in [
        Outcome::Successful,
        Outcome::Skipped,
        Outcome::Failed,
        Outcome::Aborted,
        Outcome::Failsafe,
        Outcome::Failsecure,
        Outcome::Error,
    ] {
        let (label, _) = log_line::label(outcome);
        assert!(page.contains(&format!(".It {label} Ta ")), "{label}");
    }
}

/// The words in backquotes of each row of a table, which a comment in the document names.
fn rows(document: &str, table: &str) -> Vec<Vec<String>> {
    let (_, after) = document.split_once(&format!("<!-- {table}:")).unwrap();
    let lines = after
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        let words = line.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    lines.skip(2).map(cells).collect()
}

#[test]
fn monitoring_has_every_outcome_with_its_id_and_every_field() {
    let document = document("docs/monitoring.md");
    let told: BTreeSet<(String, String)> = rows(&document, "outcomes")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let known: BTreeSet<(String, String)> = Outcome::ALL
        .iter()
        .map(|outcome| (outcome.name(), log_line::message_id(*outcome)))
        .map(|(name, id)| (name.to_owned(), id.to_owned()))
        .collect();
    assert_eq!(told, known);
    assert!(known.iter().all(|(_, id)| id.len() == 32));

    let some = || Some("x".to_owned());
    let who = Who {
        login: some(),
        service: some(),
        client: some(),
        ..Who::unknown()
    };
    let facts = Facts {
        factor: some(),
        transaction: some(),
        attempt: 1,
        ..Facts::default()
    };
    let failed = Verdict::new(Outcome::Failed, "x").with_facts(facts);
    let fields = log_line::fields(Some(&failed), &who);
    let own = [
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_FACILITY",
        "SYSLOG_IDENTIFIER",
    ];
    let own = own.into_iter().chain(["SYSLOG_PID", "DUO_VERSION"]);
    let known: BTreeSet<&str> = fields.iter().map(|(name, _)| *name).chain(own).collect();
    let rows = rows(&document, "fields");
    let told: BTreeSet<&str> = rows.iter().map(|row| &row[0][..]).collect();
    assert_eq!(told, known);
}

#[test]
fn what_runs_for_monitoring_names_ids_and_outcomes_that_exist() {
    let listener = document("packaging/monitoring/login_duo-failsafe");
    assert!(listener.contains(log_line::message_id(Outcome::Failsafe)));
    let rule = document("packaging/monitoring/login_duo-loki.yaml");
    assert!(rule.contains(&format!("DUO_OUTCOME = \"{}\"", Outcome::Failsafe.name())));
}

#[test]
fn install_sh_tells_of_every_option_that_it_takes() {
    let installer = format!("{}/install.sh", env!("CARGO_MANIFEST_DIR"));
    let told = long_options(&printed(&installer, "--help"));
    let script = document("install.sh");
    let (_, reader) = script
        .split_once("\nread_options() {")
        .expect("the reader of options");
    let (reader, _) = reader.split_once("\n}\n").expect("its end");
    assert_eq!(long_options(reader), told);
}

#[test]
fn the_readme_names_only_options_that_exist() {
    let installer = format!("{}/install.sh", env!("CARGO_MANIFEST_DIR"));
    let told = long_options(&printed(&installer, "--help"));
    let readme = document("README.md");
    for line in readme.lines().filter(|line| line.contains("install.sh")) {
        let (_, after) = line.split_once("install.sh").expect("install.sh");
        let unknown: Vec<_> = long_options(after).difference(&told).cloned().collect();
        assert!(unknown.is_empty(), "{unknown:?} in: {line}");
    }
}

/// What `duoctl enable` writes stands in its source as keywords, each set to no.
#[test]
fn the_documents_show_the_lines_that_duoctl_writes() {
    let source = document("crates/duoctl/src/ssh/block.rs");
    let (_, beside) = source.split_once("const BESIDE").expect("the keywords");
    let (beside, _) = beside.split_once("];").expect("their end");
    let keywords: Vec<&str> = beside.split('"').skip(1).step_by(2).collect();
    assert!(keywords.contains(&"PermitUserRC"), "{keywords:?}");
    let with_indent = |indent: &str| {
        let lines = keywords.iter().map(|key| format!("{indent}{key} no\n"));
        format!("{indent}ForceCommand /usr/sbin/login_duo\n") + &lines.collect::<String>()
    };
    let readme = document("README.md");
    assert!(readme.contains(&with_indent("    ")));
    let page = document("man/login_duo.8");
    assert!(page.contains(&with_indent("")) && page.contains(&with_indent("    ")));
}

#[test]
fn the_picture_of_a_login_is_drawn_from_the_transcript() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/draw-login");
    let drawn = Command::new(script).output().expect("docs/draw-login");
    let picture = String::from_utf8(drawn.stdout).expect("plain text");
    assert!(
        picture == document("docs/login.svg"),
        "docs/draw-login > docs/login.svg"
    );
    assert!(picture.contains("Success. Logging you in..."));
}
