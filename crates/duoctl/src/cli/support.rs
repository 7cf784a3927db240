//! `support`.

use clap::{ArgMatches, Command};

use super::{Common, everywhere, subcommand};

/// `support` as it was asked for.
pub struct Support {
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    everywhere(subcommand("support"))
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(_: &ArgMatches, common: Common) -> Result<Support, String> {
    Ok(Support { common })
}
