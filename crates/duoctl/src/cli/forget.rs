//! `forget`.

use clap::{ArgMatches, Command};

use super::{Common, flag, subcommand, text, value};

/// `forget` as it was asked for.
pub struct Forget {
    /// Whose approvals, by name or user id; `None` for all.
    pub user: Option<String>,
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    subcommand("forget")
        .about("Forget which connections are approved (remember = connection)")
        .override_usage("duoctl forget [--dry-run] [--json] [USER]")
        .after_help(
            "Sessions that are open stay; the next one is asked, on whatever connection.\n\
             Exit status: 0 forgotten, or there was nothing; 1 it could not be done.",
        )
        .arg(
            value("user")
                .value_name("USER")
                .help("Of this user alone, by name or user id [default: of all]"),
        )
        .arg(
            flag("dry-run")
                .long("dry-run")
                .help("Say what would be forgotten, and do nothing"),
        )
        .arg(flag("json").long("json").help("Tell as one JSON object"))
}

/// Its options as they were given.
pub fn read(matches: &ArgMatches, common: Common) -> Forget {
    Forget {
        user: text(matches, "user"),
        common,
    }
}
