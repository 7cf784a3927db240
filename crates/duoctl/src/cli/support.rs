//! `support`.

use std::path::PathBuf;

use clap::{ArgMatches, Command};
use duo_system::configuration;

use super::{Common, config, flag, path, subcommand, value};

/// `support` as it was asked for.
pub struct Support {
    /// The configuration file.
    pub config: PathBuf,
    /// The file that is written.
    pub file: PathBuf,
    /// What every command takes.
    pub common: Common,
}

/// Where the report goes unless another file is named.
const FILE: &str = "duoctl-support.tar";

/// The table of its options.
pub fn command() -> Command {
    subcommand("support")
        .about("Write a report for whoever helps you, without secrets")
        .override_usage("duoctl support [-c FILE] [--sshd-config FILE] [--yes] [--dry-run]\n                      [--json] [REPORT]")
        .after_help(
            "The report holds numbers and words of this program's own: no name, no address,\n\
             no line of any file. It is shown before it is written. Exit status: 0 written,\n\
             1 refused.",
        )
        .arg(
            value("report")
                .value_name("REPORT")
                .help(format!("The file to write, a tar [default: {FILE}]")),
        )
        .arg(config())
        .arg(
            value("sshd-config")
                .long("sshd-config")
                .value_name("FILE")
                .help("sshd's configuration [default: that of sshd]"),
        )
        .arg(flag("yes").long("yes").help("Write it without a question"))
        .arg(
            flag("dry-run")
                .long("dry-run")
                .help("Show the report, and write nothing"),
        )
        .arg(flag("json").long("json").help("Tell as one JSON object"))
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(matches: &ArgMatches, common: Common) -> Result<Support, String> {
    Ok(Support {
        config: path(matches, "config").unwrap_or_else(configuration::default_path),
        file: path(matches, "report").unwrap_or_else(|| PathBuf::from(FILE)),
        common,
    })
}
