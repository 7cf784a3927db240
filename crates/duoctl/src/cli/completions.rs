//! `completions`.

use clap::{Arg, ArgMatches, Command};

use super::subcommand;

/// For which shell.
pub struct Completions {
    /// Its name.
    pub shell: String,
}

/// The table of its options.
pub fn command() -> Command {
    subcommand("completions").arg(
        Arg::new("shell")
            .required_unless_present("help")
            .value_parser(["bash", "zsh", "fish"]),
    )
}

/// Its options as they were given.
pub fn read(matches: &ArgMatches) -> Completions {
    let shell = matches.get_one::<String>("shell").cloned();
    Completions {
        shell: shell.unwrap_or_default(),
    }
}
