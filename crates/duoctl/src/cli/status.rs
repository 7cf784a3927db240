//! `status`.

use clap::{ArgMatches, Command};

use super::{Common, everywhere, subcommand};

/// `status` as it was asked for.
pub struct Status {
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    everywhere(subcommand("status"))
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(_: &ArgMatches, common: Common) -> Result<Status, String> {
    Ok(Status { common })
}
