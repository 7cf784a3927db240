//! `enable`, `confirm` and `disable`.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};

use super::{Common, everywhere, flag, subcommand, text, value};

/// What to enable.
pub struct Enable {
    /// Who is asked.
    pub whom: Whom,
    /// `--exempt`: accounts that are left out.
    pub exempt: Vec<String>,
    /// `--confirm`: taken back after this time, unless somebody confirms.
    pub confirm: Option<Duration>,
    /// `--test-user`: whose login to make first.
    pub test_user: Option<String>,
    /// What every command takes.
    pub common: Common,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// Everybody, root included.
    Everybody,
    /// The members of a group.
    Group(String),
    /// These accounts, joined by commas.
    Users(String),
}

/// `confirm`.
pub struct Confirm {
    /// What to say to what waits.
    pub answer: Answer,
    /// What every command takes.
    pub common: Common,
}

/// What to say to what waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It stays.
    Yes,
    /// It is taken back.
    No,
    /// It is taken back after this time, unless somebody says yes.
    NoAfter(Duration),
}

/// What to take away.
pub struct Disable {
    /// `ssh` or `all`.
    pub what: What,
    /// What every command takes.
    pub common: Common,
}

/// What duoctl enables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The lines in sshd's configuration.
    Ssh,
    /// Whatever is enabled.
    All,
}

/// The table of the options of `enable`.
pub fn enable_command() -> Command {
    let command = subcommand("enable")
        .about("Have sshd run login_duo")
        .override_usage(
            "duoctl enable ssh [--group GROUP | --user-list NAME,...]\n              \
             [--exempt USER]... [--confirm SPAN] [--test-user NAME] [OPTION]...",
        )
        .after_help(
            "Without --group and --user-list, everybody is asked, root included. With\n\
             --confirm, everything is taken back unless 'duoctl confirm' is run in time\n\
             in another session than this one.",
        )
        .arg(what(&["ssh"]))
        .arg(
            value("group")
                .long("group")
                .value_name("GROUP")
                .conflicts_with("user-list")
                .help("Ask the members of this group only"),
        )
        .arg(
            value("user-list")
                .long("user-list")
                .value_name("NAME,...")
                .help("Ask these accounts only"),
        )
        .arg(
            value("exempt")
                .long("exempt")
                .value_name("USER")
                .action(clap::ArgAction::Append)
                .help("Leave this account out; may come several times"),
        )
        .arg(
            value("confirm")
                .long("confirm")
                .value_name("SPAN")
                .help("Take it back after this time (90s, 10m, 1h)"),
        )
        .arg(
            value("test-user")
                .long("test-user")
                .value_name("NAME")
                .help("First make a login as this account (rings a phone)"),
        );
    everywhere(command)
}

/// The table of the options of `confirm`.
pub fn confirm_command() -> Command {
    everywhere(
        subcommand("confirm")
            .about("Keep what 'enable --confirm' did")
            .override_usage("duoctl confirm [--no [--after SPAN]] [OPTION]...")
            .arg(flag("no").long("no").help("Take it back now"))
            .arg(
                value("after")
                    .long("after")
                    .value_name("SPAN")
                    .requires("no")
                    .help("Wait so long before (what 'enable' runs)"),
            ),
    )
}

/// The table of the options of `disable`.
pub fn disable_command() -> Command {
    everywhere(
        subcommand("disable")
            .about("Take away what 'enable' did")
            .override_usage("duoctl disable ssh|all [OPTION]...")
            .arg(what(&["ssh", "all"])),
    )
}

fn what(names: &[&'static str]) -> Arg {
    Arg::new("what")
        .required_unless_present("help")
        .hide(true)
        .value_parser(clap::builder::PossibleValuesParser::new(names.to_vec()))
}

/// The options of `enable` as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read_enable(matches: &ArgMatches, common: Common) -> Result<Enable, String> {
    let whom = match (text(matches, "group"), text(matches, "user-list")) {
        (Some(group), _) => Whom::Group(name(group)?),
        (None, Some(users)) => Whom::Users(name(users)?),
        (None, None) => Whom::Everybody,
    };
    let given = matches.get_many::<std::ffi::OsString>("exempt");
    let exempt = given.into_iter().flatten();
    let exempt = exempt.map(|user| name(user.to_string_lossy().into_owned()));
    Ok(Enable {
        whom,
        exempt: exempt.collect::<Result<_, _>>()?,
        confirm: text(matches, "confirm")
            .map(|text| span(&text))
            .transpose()?,
        test_user: text(matches, "test-user"),
        common,
    })
}

/// The options of `confirm` as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read_confirm(matches: &ArgMatches, common: Common) -> Result<Confirm, String> {
    let after = text(matches, "after").map(|text| span(&text)).transpose()?;
    let answer = match (matches.get_flag("no"), after) {
        (false, _) => Answer::Yes,
        (true, None) => Answer::No,
        (true, Some(span)) => Answer::NoAfter(span),
    };
    Ok(Confirm { answer, common })
}

/// The options of `disable` as they were given.
pub fn read_disable(matches: &ArgMatches, common: Common) -> Disable {
    let what = matches.get_one::<String>("what").map(String::as_str);
    Disable {
        what: match what {
            Some("all") => What::All,
            _ => What::Ssh,
        },
        common,
    }
}

/// These go into sshd's configuration: nothing that could be a second word or
/// line there.
fn name(text: String) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._@,\\*?!+-".contains(letter);
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text),
        false => Err("a name with a character that does not belong in one".to_owned()),
    }
}

/// Beyond it nobody remembers what waits, in seconds.
const LONGEST_SPAN: u64 = 7 * 24 * 3600;

/// `90s`, `10m` or `1h`; without a letter, minutes would be guessed at.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no span of time: 90s, 10m or 1h, at most a week");
    let letters = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number = text.strip_suffix(letters).unwrap_or_default();
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match letters {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(unit).ok_or_else(wrong)?;
    match (1..=LONGEST_SPAN).contains(&seconds) {
        true => Ok(Duration::from_secs(seconds)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_number_and_a_letter() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("10m", 600), ("168h", 604_800)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            "0s",
            "-1m",
            "1d",
            "169h",
            "1 m",
            "99999999999999999999h",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_one_word_of_sshds_configuration() {
        for good in ["alice", "a.b-c_d", "DOM\\bob", "x@y", "a,b,!c"] {
            assert!(name(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\nForceCommand none", "\"a\"", "#", "a=b", "ä"] {
            assert!(name(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
