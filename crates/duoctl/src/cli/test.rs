//! `test`.

use std::path::PathBuf;

use clap::{ArgMatches, Command};
use duo_system::configuration;

use super::{Common, config, flag, path, subcommand, text, value};

/// `test` as it was asked for.
#[derive(Clone)]
pub struct Test {
    /// Whose login to try.
    pub user: String,
    /// The configuration file.
    pub config: PathBuf,
    /// `--service`: the service of PAM whose configuration counts.
    pub service: Option<String>,
    /// `-f`: the name that Duo knows.
    pub duo_user: Option<String>,
    /// `-h`: where that user comes from.
    pub client: Option<String>,
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    subcommand("test")
        .about("Ask Duo for one user as a login does, and time each step")
        .override_usage(
            "duoctl test [-c FILE | --service SERVICE] [-f DUOUSER] [-h ADDRESS]\n            \
             [--json] USER",
        )
        .after_help(
            "It may ring the user's phone. On a terminal it shows the menu of a login. It\n\
             runs nothing. Exit status: 0 Duo lets the user in, or groups does, 1 all others.",
        )
        .arg(
            value("user")
                .required_unless_present("help")
                .value_name("USER")
                .help("Whose login to try"),
        )
        .arg(config().conflicts_with("service"))
        .arg(
            value("service")
                .long("service")
                .value_name("SERVICE")
                .help("As pam_duo.so would in this service of PAM"),
        )
        .arg(
            value("duo-user")
                .short('f')
                .long("user")
                .value_name("DUOUSER")
                .help("The name of that user that Duo knows"),
        )
        .arg(
            value("host")
                .short('h')
                .long("host")
                .value_name("ADDRESS")
                .help("Where that user comes from"),
        )
        .arg(
            flag("json")
                .long("json")
                .help("Tell as one JSON object, at the end"),
        )
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(matches: &ArgMatches, common: Common) -> Result<Test, String> {
    Ok(Test {
        user: text(matches, "user").ok_or("whose login?")?,
        config: path(matches, "config").unwrap_or_else(configuration::default_path),
        service: text(matches, "service"),
        duo_user: text(matches, "duo-user"),
        client: text(matches, "host"),
        common,
    })
}
