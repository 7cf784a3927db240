//! `configure`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use duo_system::configuration;

use super::{Common, everywhere, flag, path, subcommand, value};

/// `configure` as it was asked for.
pub struct Configure {
    /// The configuration that is to be replaced.
    pub config: PathBuf,
    /// What comes in its place.
    pub new: NewConfiguration,
    /// What every command takes.
    pub common: Common,
}

/// Where the new configuration comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum NewConfiguration {
    /// `-`, or nothing: standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// `--set`: keys with their values.
    Set(Vec<(String, String)>),
    /// `--restore`: the one before.
    Restore,
}

/// The table of its options.
pub fn command() -> Command {
    everywhere(subcommand("configure"))
        .about("Put a configuration in place, after it was proved at Duo")
        .override_usage(
            "duoctl configure [-c FILE] [OPTION...] [-|NEWFILE]\n       \
             duoctl configure [-c FILE] [OPTION...] --set KEY=VALUE...\n       \
             duoctl configure [-c FILE] [OPTION...] --restore",
        )
        .after_help(
            "A file with a mistake, or with keys that Duo does not take, is refused; what is\n\
             in place stays. The secret key is never an argument: --set skey=- takes it\n\
             from standard input. Exit status: 0 done, or so already, 1 refused, 64 usage.",
        )
        .arg(
            value("new")
                .value_name("NEWFILE")
                .conflicts_with_all(["set", "restore"])
                .help("The new configuration; - for standard input (default)"),
        )
        .arg(
            value("config")
                .short('c')
                .long("config")
                .value_name("FILE")
                .help(format!(
                    "What to replace [default: {}/login_duo.conf]",
                    configuration::FOLDER
                )),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Change a key; KEY= takes it out, KEY=- reads stdin"),
        )
        .arg(
            flag("restore")
                .long("restore")
                .conflicts_with("set")
                .help("Put the configuration back that was replaced last"),
        )
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(matches: &ArgMatches, common: Common) -> Result<Configure, String> {
    let settings: Vec<&String> = matches.get_many("set").into_iter().flatten().collect();
    let new = match path(matches, "new") {
        _ if matches.get_flag("restore") => NewConfiguration::Restore,
        Some(file) if file.as_os_str() != "-" => NewConfiguration::File(file),
        _ if !settings.is_empty() => NewConfiguration::Set(
            settings
                .into_iter()
                .map(|text| setting(text))
                .collect::<Result<_, _>>()?,
        ),
        _ => NewConfiguration::Stdin,
    };
    Ok(Configure {
        config: path(matches, "config").unwrap_or_else(configuration::default_path),
        new,
        common,
    })
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("--set wants KEY=VALUE; KEY=- reads the value from standard input")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
