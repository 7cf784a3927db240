//! `completions`.

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

use super::subcommand;

/// For which shell.
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// Those that a test completes with.
const SHELLS: [(&str, Shell); 3] = [
    ("bash", Shell::Bash),
    ("zsh", Shell::Zsh),
    ("fish", Shell::Fish),
];

/// The table of its options.
pub fn command() -> Command {
    subcommand("completions")
        .about("Print what a shell needs to complete duoctl's command line")
        .override_usage("duoctl completions bash|zsh|fish")
        .arg(
            Arg::new("shell")
                .required_unless_present("help")
                .value_name("SHELL")
                .value_parser(SHELLS.map(|(name, _)| name))
                .help("The shell"),
        )
}

/// Its options as they were given.
pub fn read(matches: &ArgMatches) -> Completions {
    let name = matches.get_one::<String>("shell");
    let named = |known: &&(&str, Shell)| name.is_some_and(|name| name == known.0);
    Completions {
        shell: SHELLS
            .iter()
            .find(named)
            .map_or(Shell::Bash, |known| known.1),
    }
}
