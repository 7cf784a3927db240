//! `configure`.

use clap::{ArgMatches, Command};

use super::{Common, everywhere, subcommand};

/// `configure` as it was asked for.
pub struct Configure {
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    everywhere(subcommand("configure"))
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(_: &ArgMatches, common: Common) -> Result<Configure, String> {
    Ok(Configure { common })
}
