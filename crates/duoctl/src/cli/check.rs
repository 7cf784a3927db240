//! `check`.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use duo_system::configuration;

use super::{Common, config, flag, path, subcommand, text, value};

/// What `check` shall look at, and how it shall read.
pub struct Check {
    /// The configuration file.
    pub config: PathBuf,
    /// `--as`: whose login to play.
    pub user: Option<String>,
    /// `-f`: the name that Duo knows.
    pub duo_user: Option<String>,
    /// `-h`: where that user comes from.
    pub client: Option<String>,
    /// `--unused`: look for whoever would be locked out, and for nothing else.
    pub unused: Option<Used>,
    /// What every command takes.
    pub common: Common,
}

impl Check {
    /// Everything but a user, with the configuration at `config`.
    pub fn of(config: &Path, common: &Common) -> Check {
        Check {
            config: config.to_owned(),
            user: None,
            duo_user: None,
            client: None,
            unused: None,
            common: common.clone(),
        }
    }
}

/// What shall be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// login_duo.
    Program,
    /// PAM's module.
    Module,
    /// The configuration, which a program elsewhere may read too.
    Configuration,
}

/// The table of its options.
pub fn command() -> Command {
    subcommand("check")
        .about("Look at everything that a login needs, and change nothing")
        .override_usage(
            "duoctl check [-c FILE] [--json] [--sshd-config FILE]\n             \
             [--as USER [-f DUOUSER] [-h ADDRESS]]\n       \
             duoctl check --unused program|module|configuration",
        )
        .after_help(
            "Rings no phone. Exit status: 0 all good, 1 something would deny a login or\n\
             open the door wrongly, 2 warnings only, 64 wrong usage.",
        )
        .arg(config())
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
        .arg(
            Arg::new("unused")
                .long("unused")
                .value_name("WHAT")
                .value_parser(["program", "module", "configuration"])
                .hide_possible_values(true)
                .help("Tell who would be locked out if that were removed"),
        )
}

/// Its options as they were given.
pub fn read(matches: &ArgMatches, common: Common) -> Check {
    Check {
        config: path(matches, "config").unwrap_or_else(configuration::default_path),
        user: text(matches, "as"),
        duo_user: text(matches, "user"),
        client: text(matches, "host"),
        unused: matches
            .get_one::<String>("unused")
            .map(|what| match what.as_str() {
                "configuration" => Used::Configuration,
                "module" => Used::Module,
                _ => Used::Program,
            }),
        common,
    }
}
