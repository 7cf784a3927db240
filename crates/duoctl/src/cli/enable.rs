//! `enable`, `confirm` and `disable`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use duo_policy::clock;
use duo_system::configuration;

use super::{Common, Request, everywhere, flag, path, subcommand, text, value};
use crate::pam::services;

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
    /// `ssh`, services of PAM, or `all`.
    pub what: What,
    /// What every command takes.
    pub common: Common,
}

/// What duoctl enables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The lines in sshd's configuration.
    Ssh,
    /// The line in the files of these PAM services, whole families of them.
    Pam(Vec<String>),
    /// Whatever is enabled.
    All,
}

/// What `enable pam` shall do.
pub struct EnablePam {
    /// The families of services.
    pub families: Vec<&'static [&'static str]>,
    /// `--with`: what sshd asks for before Duo.
    pub with: Option<With>,
    /// `-c`: the configuration of pam_duo.so, where it is not the usual one.
    pub config: Option<PathBuf>,
    /// `--confirm`: taken back after this time, unless somebody confirms.
    pub confirm: Option<Duration>,
    /// `--test-user`: for whom to ask Duo first.
    pub test_user: Option<String>,
    /// What every command takes.
    pub common: Common,
}

/// What sshd asks for before Duo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// A key.
    Keys,
    /// The password, by PAM.
    Passwords,
}

/// The table of the options of `enable`.
pub fn enable_command() -> Command {
    let command = subcommand("enable")
        .about("Have sshd run login_duo, or services of PAM ask Duo")
        .override_usage(
            "duoctl enable ssh [--group GROUP | --user-list NAME,...]\n              \
             [--exempt USER]... [--confirm SPAN] [--test-user NAME] [OPTION]...\n       \
             duoctl enable pam SERVICE... [--with keys|passwords] [-c FILE]\n              \
             [--confirm SPAN] [--test-user NAME] [OPTION]...",
        )
        .after_help(
            "Without --group and --user-list, everybody is asked, root included. With\n\
             --confirm, everything is taken back unless 'duoctl confirm' is run in time\n\
             in another session than this one.\n\n\
             SERVICE is sshd, sudo (with sudo-i), su (with su-l) or login. Whom pam_duo.so\n\
             asks is said by 'groups' in its configuration.",
        )
        .arg(what(&["ssh", "pam"]))
        .arg(services());
    let command = for_ssh(command)
        .arg(
            value("confirm")
                .long("confirm")
                .value_name("SPAN")
                .help("Take it back after this time (90s, 10m, 1h)"),
        )
        .arg(
            Arg::new("with")
                .long("with")
                .value_name("WHAT")
                .value_parser(["keys", "passwords"])
                .hide_possible_values(true)
                .help("For pam sshd: Duo comes after keys, or passwords"),
        )
        .arg(
            value("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .help("For pam: another configuration than the usual one"),
        );
    everywhere(command)
}

/// Whom `enable ssh` is for.
fn for_ssh(command: Command) -> Command {
    command
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
            value("test-user")
                .long("test-user")
                .value_name("NAME")
                .help("First make a login as this account (rings a phone)"),
        )
}

/// The configuration that pam_duo.so reads where no `conf=` names another.
pub fn pam_configuration() -> PathBuf {
    Path::new(configuration::FOLDER).join("pam_duo.conf")
}

fn services() -> Arg {
    Arg::new("service")
        .action(clap::ArgAction::Append)
        .num_args(0..)
        .hide(true)
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
            .override_usage(
                "duoctl disable ssh|all [OPTION]...\n       \
                 duoctl disable pam SERVICE...|all [OPTION]...",
            )
            .arg(what(&["ssh", "pam", "all"]))
            .arg(services()),
    )
}

fn what(names: &[&'static str]) -> Arg {
    Arg::new("what")
        .required_unless_present("help")
        .hide(true)
        .value_parser(clap::builder::PossibleValuesParser::new(names.to_vec()))
}

/// `enable` as it was asked for.
///
/// # Errors
/// What does not make sense.
pub fn read_enable(matches: &ArgMatches, common: Common) -> Result<Request, String> {
    if matches.get_one::<String>("what").map(String::as_str) != Some("pam") {
        if matches.contains_id("service")
            || matches.contains_id("with")
            || matches.contains_id("config")
        {
            return Err("services, --with and -c go with 'enable pam'".to_owned());
        }
        return Ok(Request::Enable(Box::new(read_enable_ssh(matches, common)?)));
    }
    for option in ["group", "user-list", "exempt"] {
        if matches.contains_id(option) {
            let text = "goes with 'enable ssh': 'groups' in pam_duo.conf says who is asked";
            return Err(format!("--{option} {text}"));
        }
    }
    let mut families: Vec<&'static [&'static str]> = Vec::new();
    for name in service_names(matches) {
        let family = services::family(&name)
            .ok_or_else(|| format!("'{name}' is none of sshd, sudo, su and login"))?;
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if families.is_empty() {
        return Err("no service is given: sshd, sudo, su or login".to_owned());
    }
    let with = matches
        .get_one::<String>("with")
        .map(|with| match with.as_str() {
            "keys" => With::Keys,
            _ => With::Passwords,
        });
    if with.is_some() && !families.contains(&["sshd"].as_slice()) {
        return Err("--with goes with 'enable pam sshd'".to_owned());
    }
    let config = path(matches, "config").filter(|path| *path != pam_configuration());
    Ok(Request::EnablePam(Box::new(EnablePam {
        families,
        with,
        config,
        confirm: text(matches, "confirm")
            .map(|text| span(&text))
            .transpose()?,
        test_user: text(matches, "test-user"),
        common,
    })))
}

fn service_names(matches: &ArgMatches) -> Vec<String> {
    let given = matches.get_many::<String>("service");
    given.into_iter().flatten().cloned().collect()
}

/// The options of `enable ssh` as they were given.
///
/// # Errors
/// What does not make sense.
fn read_enable_ssh(matches: &ArgMatches, common: Common) -> Result<Enable, String> {
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
///
/// # Errors
/// What does not make sense.
pub fn read_disable(matches: &ArgMatches, common: Common) -> Result<Disable, String> {
    let what = matches.get_one::<String>("what").map(String::as_str);
    let names = service_names(matches);
    if what != Some("pam") && !names.is_empty() {
        return Err("services go with 'disable pam'".to_owned());
    }
    Ok(Disable {
        what: match what {
            Some("all") => What::All,
            Some("pam") => What::Pam(families(&names)?),
            _ => What::Ssh,
        },
        common,
    })
}

/// Every service of the families of these.
fn families(names: &[String]) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("no service is given: sshd, sudo, su, login or all".to_owned());
    }
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let family: Vec<&str> = match name.as_str() {
            "all" => services::all().collect(),
            name => services::family(name)
                .ok_or_else(|| format!("'{name}' is none of sshd, sudo, su and login"))?
                .to_vec(),
        };
        all.extend(family.into_iter().map(str::to_owned));
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|name| seen.insert(name.clone()));
    Ok(all)
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

/// A span of time, from a second to a week.
fn span(text: &str) -> Result<Duration, String> {
    let span = clock::written_span(text);
    span.filter(|span| (1..=LONGEST_SPAN).contains(&span.as_secs()))
        .ok_or_else(|| format!("'{text}' is no span of time: 90s, 10m or 1h, at most a week"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_lasts_from_a_second_to_a_week() {
        for (text, seconds) in [("1s", 1), ("10m", 600), ("168h", 604_800)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["0s", "169h", "10"] {
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
