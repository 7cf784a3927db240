//! fail2ban's filter: whom it counts, by the very lines that the program writes. grep's
//! expressions (-P) are Python's, as far as the filter goes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use duo_policy::api::Answered;
use duo_policy::config::Failmode;
use duo_policy::error::Error;
use duo_policy::log_line;
use duo_policy::text;
use duo_policy::verdict::{self, Demands, NoCode};
use duo_wire::{Departure, Outcome, Verdict, Who};

const ADDRESS: &str = "198.51.100.9";
/// Names that would be another address, or another line.
const NAMES: [&str; 6] = [
    "alice",
    r"x' from 1.2.3.4: interrupted after ",
    r"x\' from 1.2.3.4: interrupted after ",
    "x' from 1.2.3.4: hung up: ' from 1.2.3.4: hung up",
    "\\",
    "zo\u{eb}\n'",
];

/// The filter's expressions, as fail2ban would fill them in.
struct Filter {
    counts: String,
    ignores: String,
}

impl Filter {
    fn read() -> Filter {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/fail2ban/login_duo.conf");
        let file = fs::read_to_string(path).unwrap();
        let mut section = "";
        let mut values = BTreeMap::new();
        for line in file.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once(" = ") {
                Some((key, value)) => {
                    values.insert((section, key), value);
                }
                None if line.starts_with('[') => section = line.trim_matches(['[', ']']),
                None => assert_eq!(line, ""),
            }
        }
        let filled = |section, key| {
            let mut value = values[&(section, key)].to_owned();
            for ((_, name), part) in values.iter().filter(|((place, _), _)| *place == "DEFAULT") {
                value = value.replace(&format!("%({name})s"), part);
            }
            value.replace(
                "<ADDR>",
                r"(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f:]*:[0-9a-f:]*)",
            )
        };
        Filter {
            counts: filled("of_journal", "line"),
            ignores: filled("Definition", "ignoreregex"),
        }
    }

    fn counts(&self, message: &str) -> bool {
        let line = format!("host pam_duo[12]: {message}");
        is_found(&self.counts, &line) && !is_found(&self.ignores, &line)
    }
}

fn is_found(expression: &str, line: &str) -> bool {
    let mut grep = Command::new("grep")
        .args(["-P", "-q", "-e", expression])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    grep.stdin
        .take()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
    match grep.wait().unwrap().code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("{other:?}: {expression}"),
    }
}

fn message(verdict: &Verdict, name: &str) -> String {
    let who = Who {
        duo_user: name.to_owned(),
        client: Some(ADDRESS.to_owned()),
        ..Who::unknown()
    };
    text::for_log(&log_line::of_verdict(verdict, &who))
}

#[test]
fn whoever_was_refused_counts_whatever_the_name_is() {
    let filter = Filter::read();
    let long = "\u{1f600}".repeat(63);
    let names = NAMES.into_iter().chain([&*long]);
    for name in names {
        for (outcome, why) in [
            (Outcome::Failed, "Login request denied."),
            (
                Outcome::Failed,
                "wrong emergency code: Couldn't connect to x",
            ),
            (Outcome::Aborted, "The account is locked out"),
            (Outcome::NoAccount, "there is no such account"),
        ] {
            let message = message(&Verdict::new(outcome, why), name);
            assert!(filter.counts(&message), "{message}");
        }
        for outcome in Outcome::ALL.into_iter().filter(|it| it.opens()) {
            let message = message(&Verdict::new(outcome, name), name);
            assert!(!filter.counts(&message), "{message}");
        }
    }
}

/// The reasons for which a person is gone; the question for an emergency code ends so too.
#[test]
fn who_gave_up_or_was_cut_off_does_not_count() {
    let filter = Filter::read();
    let left = (0..=u8::MAX).filter_map(Departure::from_byte);
    // A parent that is root's has nobody who could take its descriptors away.
    let left = left.filter(|left| *left != Departure::Unwatched);
    let reasons: Vec<&str> = left
        .map(Departure::reason)
        .chain([
            "pam-duo-helper was killed",
            "no input at the menu",
            "the program that asks gave no answer",
        ])
        .collect();
    assert_eq!(reasons.len(), 9);
    for (reason, name) in reasons.iter().zip(NAMES.iter().cycle()) {
        let code = || Err(NoCode::Ended(Error::GaveUp((*reason).to_owned())));
        let demands = Demands {
            alibi: &|| Ok(()),
            code: &code,
        };
        let down = Error::Service("Couldn't connect to api-x.duosecurity.com: HTTP 503".to_owned());
        for verdict in [
            Verdict::new(Outcome::Aborted, *reason),
            verdict::aborted(reason, Some(Outcome::Successful)),
            verdict::of_error(&down, Answered::NotYet, Failmode::Codes, &demands),
        ] {
            let message = message(&verdict, name);
            assert!(!filter.counts(&message), "{message}");
        }
    }
}
