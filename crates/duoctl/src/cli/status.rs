//! `status`.

use std::path::PathBuf;

use clap::{ArgMatches, Command};
use duo_system::configuration;

use super::{Common, config, flag, path, subcommand, value};

/// `status` as it was asked for.
pub struct Status {
    /// The configuration file.
    pub config: PathBuf,
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    subcommand("status")
        .about("Tell on one screen what is enabled and how logins came out")
        .override_usage("duoctl status [-c FILE] [--sshd-config FILE] [--json]")
        .after_help("Rings no phone. Exit status: 0 told, 1 it could not be looked at.")
        .arg(config())
        .arg(
            value("sshd-config")
                .long("sshd-config")
                .value_name("FILE")
                .help("sshd's configuration [default: that of sshd]"),
        )
        .arg(flag("json").long("json").help("Tell as one JSON object"))
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(matches: &ArgMatches, common: Common) -> Result<Status, String> {
    Ok(Status {
        config: path(matches, "config").unwrap_or_else(configuration::default_path),
        common,
    })
}
