//! The command line and what the environment says of the terminal, read once.
//! Each command has a file below with its table of options and its reader.

mod adopt;
mod check;
mod codes;
mod completions;
mod configure;
mod enable;
mod forget;
mod status;
mod support;
mod test;

use std::ffi::{CString, OsString};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use duo_policy::text::Charset;
use duo_system::configuration;

pub use adopt::{Adopt, Way};
pub use check::{Check, Used};
pub use codes::{Codes, PrintStyle, Task};
pub use completions::Completions;
pub use configure::{Configure, NewConfiguration};
pub use enable::{
    Answer, Confirm, Disable, Enable, EnablePam, What, Whom, With, pam_configuration,
};
pub use forget::Forget;
pub use status::Status;
pub use support::Support;
pub use test::Test;

/// What is wanted.
pub enum Request {
    /// `check`.
    Check(Box<Check>),
    /// `enable ssh`.
    Enable(Box<Enable>),
    /// `enable pam`.
    EnablePam(Box<EnablePam>),
    /// `confirm`.
    Confirm(Box<Confirm>),
    /// `disable`.
    Disable(Box<Disable>),
    /// `configure`.
    Configure(Box<Configure>),
    /// `adopt`.
    Adopt(Box<Adopt>),
    /// `codes`.
    Codes(Box<Codes>),
    /// `forget`.
    Forget(Box<Forget>),
    /// `status`.
    Status(Box<Status>),
    /// `test`.
    Test(Box<Test>),
    /// `support`.
    Support(Box<Support>),
    /// `completions`.
    Completions(Completions),
    /// `--help`, `--version`: a text for stdout, exit 0.
    Show(String),
    /// Wrong usage: a text for stderr.
    Usage(String),
}

/// What every command takes.
#[derive(Debug, Clone)]
pub struct Common {
    /// `--dry-run`, or for real.
    pub effect: Effect,
    /// `--yes`, or a person is asked.
    pub questions: Questions,
    /// `--accept`: ids of findings that shall not keep the command from working.
    pub accepted: Vec<String>,
    /// `--sshd-config`: sshd's configuration, if it is not the usual one.
    pub sshd_config: Option<PathBuf>,
    /// `--json`, or text.
    pub format: Format,
    /// The reader's terminal.
    pub terminal: Terminal,
}

/// Whether a command changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Real,
    /// It says what it would do.
    DryRun,
}

/// How questions are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Questions {
    /// By the person at the terminal.
    Ask,
    /// With yes.
    Yes,
}

/// How a command tells what it did or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What the environment says of the reader's terminal.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// What its locale takes.
    pub charset: Charset,
    /// Whether it can move its cursor.
    pub is_capable: bool,
    /// Whether it may be sent colours: it can, and `NO_COLOR` is not set.
    pub may_colour: bool,
}

impl Terminal {
    fn of(environment: &[CString]) -> Terminal {
        let variable = |name: &str| {
            environment.iter().find_map(|entry| {
                let rest = entry.to_bytes().strip_prefix(name.as_bytes())?;
                rest.strip_prefix(b"=")
            })
        };
        let wants_none = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_capable = !matches!(variable("TERM"), None | Some(b"" | b"dumb"));
        let locale = [variable("LC_ALL"), variable("LC_CTYPE"), variable("LANG")];
        Terminal {
            charset: Charset::of_locale(locale),
            is_capable,
            may_colour: is_capable && !wants_none,
        }
    }
}

/// Reads this process's arguments. `environment` is what was found at start.
pub fn read(environment: &[CString]) -> Request {
    parse(std::env::args_os().skip(1), environment)
}

fn parse(arguments: impl Iterator<Item = OsString>, environment: &[CString]) -> Request {
    let mut command = commands();
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => return Request::Usage(error.to_string()),
    };
    if matches.get_flag("version") {
        return Request::Show(format!("duoctl {}\n", crate::version()));
    }
    if matches.get_flag("help") {
        return Request::Show(command.render_help().to_string());
    }
    let Some((name, given)) = matches.subcommand() else {
        let usage = command.render_usage();
        return Request::Usage(format!("no command is given\n\n{usage}\n"));
    };
    if given.get_flag("help") {
        let found = command.find_subcommand_mut(name);
        let help = found.map(|found| found.render_help().to_string());
        return Request::Show(help.unwrap_or_default());
    }
    match request(name, given, Terminal::of(environment)) {
        Ok(request) => request,
        Err(why) => Request::Usage(format!("{why}; see duoctl {name} --help\n")),
    }
}

/// One command with its options.
fn request(name: &str, given: &ArgMatches, terminal: Terminal) -> Result<Request, String> {
    let common = common(given, terminal);
    Ok(match name {
        "check" => Request::Check(Box::new(check::read(given, common))),
        "enable" => enable::read_enable(given, common)?,
        "confirm" => Request::Confirm(Box::new(enable::read_confirm(given, common)?)),
        "disable" => Request::Disable(Box::new(enable::read_disable(given, common)?)),
        "configure" => Request::Configure(Box::new(configure::read(given, common)?)),
        "adopt" => Request::Adopt(Box::new(adopt::read(given, common)?)),
        "codes" => Request::Codes(Box::new(codes::read(given, common)?)),
        "forget" => Request::Forget(Box::new(forget::read(given, common))),
        "status" => Request::Status(Box::new(status::read(given, common)?)),
        "test" => Request::Test(Box::new(test::read(given, common)?)),
        "support" => Request::Support(Box::new(support::read(given, common)?)),
        "completions" => Request::Completions(completions::read(given)),
        _ => return Err(format!("there is no command '{name}'")),
    })
}

/// The table of all commands and their options.
pub(crate) fn commands() -> Command {
    Command::new("duoctl")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .about("Configures, checks, enables and takes back login_duo, for the administrator.")
        .override_usage("duoctl COMMAND [OPTION]...")
        .after_help("'duoctl COMMAND --help' has the options of each. See duoctl(8).")
        .arg(flag("help").long("help").help("Print this"))
        .arg(flag("version").long("version").help("Print the version"))
        .subcommand(configure::command())
        .subcommand(check::command())
        .subcommand(enable::enable_command())
        .subcommand(enable::confirm_command())
        .subcommand(enable::disable_command())
        .subcommand(adopt::command())
        .subcommand(codes::command())
        .subcommand(forget::command())
        .subcommand(status::command())
        .subcommand(test::command())
        .subcommand(support::command())
        .subcommand(completions::command())
}

/// A command with nothing but `--help`.
fn subcommand(name: &'static str) -> Command {
    Command::new(name)
        .disable_help_flag(true)
        .args_override_self(true)
        .arg(
            flag("help")
                .long("help")
                .display_order(HELP_COMES_LAST)
                .help("Print this"),
        )
}

const HELP_COMES_LAST: usize = 900;

/// Adds the options that every command takes which may change something.
fn everywhere(command: Command) -> Command {
    command
        .arg(
            flag("dry-run")
                .long("dry-run")
                .display_order(800)
                .help("Say what would be done, and do nothing"),
        )
        .arg(
            flag("yes")
                .long("yes")
                .display_order(801)
                .help("Answer every question with yes"),
        )
        .arg(
            value("accept")
                .long("accept")
                .value_name("FINDING-ID")
                .action(ArgAction::Append)
                .display_order(802)
                .help("Go on in spite of this finding of 'duoctl check'"),
        )
        .arg(
            value("sshd-config")
                .long("sshd-config")
                .value_name("FILE")
                .display_order(803)
                .help("sshd's configuration, if it is not the usual one"),
        )
        .arg(
            flag("json")
                .long("json")
                .display_order(804)
                .help("Tell as one JSON object what was done"),
        )
}

fn common(given: &ArgMatches, terminal: Terminal) -> Common {
    let is_set = |name: &str| matches!(given.try_get_one::<bool>(name), Ok(Some(true)));
    let several = given.try_get_many::<OsString>("accept");
    let accepted = several.ok().flatten().into_iter().flatten();
    let sshd_config = given.try_get_one::<OsString>("sshd-config");
    Common {
        effect: match is_set("dry-run") {
            true => Effect::DryRun,
            false => Effect::Real,
        },
        questions: match is_set("yes") {
            true => Questions::Yes,
            false => Questions::Ask,
        },
        accepted: accepted
            .map(|id| id.to_string_lossy().into_owned())
            .collect(),
        sshd_config: sshd_config.ok().flatten().map(PathBuf::from),
        format: match is_set("json") {
            true => Format::Json,
            false => Format::Text,
        },
        terminal,
    }
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).action(ArgAction::SetTrue)
}

fn value(name: &'static str) -> Arg {
    Arg::new(name)
        .value_parser(clap::value_parser!(OsString))
        .action(ArgAction::Set)
}

/// `-c FILE`, where a command reads the configuration of login_duo.
fn config() -> Arg {
    value("config")
        .short('c')
        .long("config")
        .value_name("FILE")
        .help(format!(
            "Configuration [default: {}/login_duo.conf]",
            configuration::FOLDER
        ))
}

/// The value of an option that is a path.
fn path(given: &ArgMatches, name: &str) -> Option<PathBuf> {
    given.get_one::<OsString>(name).map(PathBuf::from)
}

/// The value of an option that is text.
fn text(given: &ArgMatches, name: &str) -> Option<String> {
    let value = given.get_one::<OsString>(name);
    value.map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use duo_system::configuration;

    use super::*;

    fn of(arguments: &[&str]) -> Request {
        let environment = ["TERM=xterm", "NO_COLOR=1"].map(|text| CString::new(text).unwrap());
        parse(arguments.iter().map(OsString::from), &environment)
    }

    #[test]
    fn check_takes_its_options() {
        let arguments = [
            "check",
            "--json",
            "-c",
            "/x",
            "--as",
            "bob",
            "-h",
            "192.0.2.1",
        ];
        assert!(matches!(
            of(&arguments),
            Request::Check(check) if check.common.format == Format::Json
                && check.config.as_os_str() == "/x"
                && check.user.as_deref() == Some("bob")
                && check.client.as_deref() == Some("192.0.2.1")
                && !check.common.terminal.may_colour
        ));
        assert!(matches!(of(&["check"]), Request::Check(check)
            if check.config == configuration::default_path()));
    }

    #[test]
    fn enable_takes_its_options() {
        let arguments = [
            "enable",
            "ssh",
            "--group",
            "admins",
            "--exempt",
            "a",
            "--exempt",
            "b",
            "--confirm",
            "10m",
            "--yes",
            "--accept",
            "x.y",
            "--dry-run",
        ];
        assert!(matches!(
            of(&arguments),
            Request::Enable(it) if it.whom == Whom::Group("admins".into())
                && it.exempt == ["a", "b"]
                && it.confirm.is_some_and(|span| span.as_secs() == 600)
                && it.common.questions == Questions::Yes
                && it.common.effect == Effect::DryRun
                && it.common.accepted == ["x.y"]
        ));
        assert!(matches!(of(&["enable", "ssh"]), Request::Enable(it)
            if it.whom == Whom::Everybody && it.common.effect == Effect::Real));
        assert!(matches!(of(&["disable", "all"]), Request::Disable(it) if it.what == What::All));
    }

    #[test]
    fn wrong_usage_is_told_and_nothing_is_done() {
        for wrong in [
            &[][..],
            &["--json"],
            &["chek"],
            &["check", "ls"],
            &["check", "-f", "x"],
            &["check", "-h", "x"],
            &["check", "--nonsense"],
            &["enable"],
            &["enable", "telnet"],
            &["enable", "ssh", "--group", "a", "--user-list", "b"],
            &["enable", "ssh", "--group", "a\nForceCommand none"],
            &["enable", "ssh", "--user-list", "a b"],
            &["enable", "ssh", "--confirm", "soon"],
            &["disable"],
            &["codes"],
            &["codes", "make", "bob"],
            &["codes", "create"],
            &["codes", "revoke"],
            &["codes", "create", "bob", "--count", "0"],
            &["codes", "create", "bob", "--count", "51"],
            &["codes", "create", "bob", "--page", "--json"],
            &["codes", "list", "--page"],
            &["codes", "revoke", "bob", "--count", "3"],
            &["codes", "revoke", "bob", "--yes"],
        ] {
            assert!(matches!(of(wrong), Request::Usage(_)), "{wrong:?}");
        }
    }

    #[test]
    fn help_fits_80_columns_and_names_each_option() {
        let all = commands();
        let names = all.get_subcommands().map(Command::get_name);
        for name in names.chain([""]) {
            let arguments: Vec<_> = [name, "--help"]
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect();
            let Request::Show(text) = of(&arguments) else {
                panic!("{arguments:?} is help")
            };
            assert!(
                text.lines().all(|line| line.chars().count() <= 80),
                "{text}"
            );
        }
        assert!(matches!(of(&["--version"]), Request::Show(_)));
    }
}
