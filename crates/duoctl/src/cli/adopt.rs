//! `adopt`.

use std::path::PathBuf;

use clap::{ArgMatches, Command};
use duo_system::configuration;

use super::{Common, config, everywhere, flag, path, subcommand, text, value};

/// `adopt` as it was asked for.
pub struct Adopt {
    /// From Duo's program to this one, or back.
    pub way: Way,
    /// Duo's program, where it is not the one that sshd names.
    pub theirs: Option<PathBuf>,
    /// The configuration of this login_duo.
    pub config: PathBuf,
    /// Who tries Duo's program before anybody depends on it again.
    pub test_user: String,
    /// What every command takes.
    pub common: Common,
}

/// The direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To this login_duo.
    Here,
    /// Back to Duo's.
    Back,
}

/// An account that every machine has, that nobody uses, and whose shell runs nothing.
const NOBODY: &str = "nobody";

/// The table of its options.
pub fn command() -> Command {
    everywhere(subcommand("adopt"))
        .about("Go from Duo's own login_duo to this one, or back")
        .override_usage("duoctl adopt [--from PROGRAM] [OPTION...]\n       duoctl adopt --back [--test-user USER] [OPTION...]")
        .after_help(
            "Both programs must be installed. The configuration is proved at Duo and copied,\n\
             then the ForceCommand lines of sshd name the other program. --back does it again\n\
             the other way, after an ordinary user has seen that Duo's program asks.\n\
             Exit status: 0 done, or so already, 1 refused, 3 half-way, 64 wrong usage.",
        )
        .arg(flag("back").long("back").help("Back to Duo's program"))
        .arg(
            value("from")
                .long("from")
                .value_name("PROGRAM")
                .help("Duo's login_duo [default: the one that sshd runs]"),
        )
        .arg(
            value("test-user")
                .long("test-user")
                .value_name("USER")
                .requires("back")
                .help(format!("Who tries Duo's program first [default: {NOBODY}]")),
        )
        .arg(config())
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(matches: &ArgMatches, common: Common) -> Result<Adopt, String> {
    Ok(Adopt {
        way: match matches.get_flag("back") {
            true => Way::Back,
            false => Way::Here,
        },
        theirs: path(matches, "from"),
        config: path(matches, "config").unwrap_or_else(configuration::default_path),
        test_user: text(matches, "test-user").unwrap_or_else(|| NOBODY.to_owned()),
        common,
    })
}
