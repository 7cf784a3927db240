//! The command line and what the environment says of the terminal, read once.

use std::ffi::{CString, OsString};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use duo_policy::text::Charset;
use duo_system::configuration;

/// What is wanted.
pub enum Request {
    /// `check`.
    Check(Box<Check>),
    /// `--help`, `--version`: a text for stdout, exit 0.
    Show(String),
    /// Wrong usage: a text for stderr.
    Usage(String),
}

/// What `check` shall look at, and how it shall read.
pub struct Check {
    /// The configuration file.
    pub config: PathBuf,
    /// sshd's configuration, if it is not the usual one.
    pub sshd_config: Option<PathBuf>,
    /// `--as`: whose login to play.
    pub user: Option<String>,
    /// `-f`: the name that Duo knows.
    pub duo_user: Option<String>,
    /// `-h`: where that user comes from.
    pub client: Option<String>,
    /// `--json`, or text.
    pub format: Format,
    /// What the terminal's locale takes.
    pub charset: Charset,
    /// Whether a terminal may be sent colours: it can, and `NO_COLOR` is not set.
    pub may_colour: bool,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Reads this process's arguments. `environment` is what was found at start.
pub fn read(environment: &[CString]) -> Request {
    parse(std::env::args_os().skip(1), environment)
}

fn parse(arguments: impl Iterator<Item = OsString>, environment: &[CString]) -> Request {
    let mut command = commands();
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => return Request::Usage(error.to_string()),
    };
    if matches.get_flag("version") {
        return Request::Show(format!("duoctl {}\n", env!("CARGO_PKG_VERSION")));
    }
    match matches.subcommand() {
        _ if matches.get_flag("help") => Request::Show(command.render_help().to_string()),
        Some(("check", given)) if given.get_flag("help") => {
            let check = command.find_subcommand_mut("check");
            let help = check.map(Command::render_help);
            Request::Show(help.map(|help| help.to_string()).unwrap_or_default())
        }
        Some(("check", given)) => Request::Check(Box::new(check(given, environment))),
        _ => Request::Usage(format!(
            "no command is given\n\n{}\n",
            command.render_usage()
        )),
    }
}

fn commands() -> Command {
    Command::new("duoctl")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .about("Looks at everything that login_duo needs, for the administrator.")
        .override_usage("duoctl check [OPTION...]")
        .after_help("See duoctl(8).")
        .arg(flag("help").long("help").help("Print this"))
        .arg(flag("version").long("version").help("Print the version"))
        .subcommand(check_command())
}

fn check_command() -> Command {
    Command::new("check")
        .disable_help_flag(true)
        .about("Looks at everything that a login needs, and changes nothing")
        .override_usage(
            "duoctl check [-c FILE] [--json] [--sshd-config FILE]\n             \
             [--as USER [-f DUOUSER] [-h ADDRESS]]",
        )
        .after_help(
            "Rings no phone. Exit status: 0 all good, 1 something would deny a login or\n\
             open the door wrongly, 2 warnings only, 64 wrong usage.",
        )
        .arg(
            value("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .help(format!(
                    "Configuration [default: {}/login_duo.conf]",
                    configuration::FOLDER
                )),
        )
        .arg(
            flag("json")
                .long("json")
                .help("Tell what was found as JSON"),
        )
        .arg(
            value("sshd-config")
                .long("sshd-config")
                .value_name("FILE")
                .help("sshd's configuration [default: that of sshd]"),
        )
        .arg(
            value("as")
                .long("as")
                .value_name("USER")
                .help("Tell too whether this user would be asked"),
        )
        .arg(
            value("user")
                .short('f')
                .long("user")
                .requires("as")
                .value_name("DUOUSER")
                .help("The name of that user that Duo knows"),
        )
        .arg(
            value("host")
                .short('h')
                .long("host")
                .requires("as")
                .value_name("ADDRESS")
                .help("Where that user comes from"),
        )
        .arg(flag("help").long("help").help("Print this"))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).action(ArgAction::SetTrue)
}

fn value(name: &'static str) -> Arg {
    Arg::new(name)
        .value_parser(clap::value_parser!(OsString))
        .action(ArgAction::Set)
}

fn check(matches: &ArgMatches, environment: &[CString]) -> Check {
    let path = |name: &str| matches.get_one::<OsString>(name).map(PathBuf::from);
    let text = |name: &str| {
        let value = matches.get_one::<OsString>(name);
        value.map(|value| value.to_string_lossy().into_owned())
    };
    let variable = |name: &str| {
        environment.iter().find_map(|entry| {
            let rest = entry.to_bytes().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=")
        })
    };
    let wants_none = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_capable = !matches!(variable("TERM"), None | Some(b"" | b"dumb"));
    Check {
        config: path("config").unwrap_or_else(configuration::default_path),
        sshd_config: path("sshd-config"),
        user: text("as"),
        duo_user: text("user"),
        client: text("host"),
        format: match matches.get_flag("json") {
            true => Format::Json,
            false => Format::Text,
        },
        charset: Charset::of_locale([variable("LC_ALL"), variable("LC_CTYPE"), variable("LANG")]),
        may_colour: is_capable && !wants_none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Request {
        let environment = ["TERM=xterm", "NO_COLOR=1"].map(|text| CString::new(text).unwrap());
        parse(arguments.iter().map(OsString::from), &environment)
    }

    #[test]
    fn check_takes_its_options() {
        let arguments = [
            "check",
            "--json",
            "-c",
            "/x",
            "--as",
            "bob",
            "-h",
            "192.0.2.1",
        ];
        assert!(matches!(
            of(&arguments),
            Request::Check(check) if check.format == Format::Json
                && check.config.as_os_str() == "/x"
                && check.user.as_deref() == Some("bob")
                && check.client.as_deref() == Some("192.0.2.1")
                && !check.may_colour
        ));
        assert!(matches!(of(&["check"]), Request::Check(check)
            if check.config == configuration::default_path()));
    }

    #[test]
    fn wrong_usage_is_told_and_nothing_is_done() {
        for wrong in [
            &[][..],
            &["--json"],
            &["chek"],
            &["check", "ls"],
            &["check", "-f", "x"],
            &["check", "-h", "x"],
            &["check", "--nonsense"],
        ] {
            assert!(matches!(of(wrong), Request::Usage(_)), "{wrong:?}");
        }
    }

    #[test]
    fn help_fits_80_columns_and_names_each_option() {
        for arguments in [&["--help"][..], &["check", "--help"]] {
            let Request::Show(text) = of(arguments) else {
                panic!("{arguments:?} is help")
            };
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
        }
        assert!(matches!(of(&["--version"]), Request::Show(_)));
    }
}
