//! `adopt`.

use clap::{ArgMatches, Command};

use super::{Common, everywhere, subcommand};

/// `adopt` as it was asked for.
pub struct Adopt {
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    everywhere(subcommand("adopt"))
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(_: &ArgMatches, common: Common) -> Result<Adopt, String> {
    Ok(Adopt { common })
}
