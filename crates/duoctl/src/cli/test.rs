//! `test`.

use clap::{ArgMatches, Command};

use super::{Common, everywhere, subcommand};

/// `test` as it was asked for.
pub struct Test {
    /// What every command takes.
    pub common: Common,
}

/// The table of its options.
pub fn command() -> Command {
    everywhere(subcommand("test"))
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(_: &ArgMatches, common: Common) -> Result<Test, String> {
    Ok(Test { common })
}
