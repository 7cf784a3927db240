//! The command line and the environment, read once and turned into one
//! [`Invocation`]. No later code reads either.
//!
//! The person who logs in controls both, so both are hostile: any bytes, of any
//! length (docs/security.md, attacks 1 and 7).

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use duo_ask::{Claim, Subject};
use duo_policy::cryptography;
use duo_policy::secret::Secret;
use duo_policy::text::Charset;
use duo_system::configuration;
use duo_system::log::Sink;
use duo_system::privsep::{Caller, Standing};
use zeroize::Zeroize;

/// What the caller wants.
pub enum Request {
    /// A login.
    Login(Box<Invocation>),
    /// `--help`, `--version`: a text for stdout, exit 0.
    Show(String),
    /// A wrong option: a text for stderr, exit 2.
    Usage(String),
    /// An option that this caller may not use: a text for stderr, exit 1.
    Forbidden(String),
}

/// One login as it was asked for.
pub struct Invocation {
    /// Where the log goes: syslog; with `-d`, stderr, or both.
    pub sink: Sink,
    /// The configuration file.
    pub config: PathBuf,
    /// Who wants to log in.
    pub claim: Claim,
    /// Whether the client asked sshd for a command (`SSH_ORIGINAL_COMMAND`).
    pub has_original_command: bool,
    /// Whether the claim has that command, and not one from the arguments.
    pub is_command_from_sshd: bool,
    /// The character set of the terminal's locale.
    pub charset: Charset,
    /// Whether the terminal can move its cursor (`TERM` is set, and not `dumb`).
    pub is_terminal_capable: bool,
    /// The session's environment: each entry as it was at the start.
    pub environment: Vec<CString>,
}

/// Reads this process's arguments. `environment` is that of the start.
pub fn read(environment: Vec<CString>, standing: Standing, caller: Caller) -> Request {
    parse(std::env::args_os().skip(1), environment, standing, caller)
}

fn parse(
    arguments: impl Iterator<Item = OsString>,
    environment: Vec<CString>,
    standing: Standing,
    caller: Caller,
) -> Request {
    let mut command = options();
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => return Request::Usage(error.to_string()),
    };
    if matches.get_flag("help") {
        return Request::Show(command.render_help().to_string());
    }
    if matches.get_flag("version") {
        let version = env!("LOGIN_DUO_VERSION");
        let library = cryptography::NAME;
        return Request::Show(format!("login_duo {version} with {library}\n"));
    }
    if standing == Standing::Setuid {
        for (option, name) in [("config", "-c"), ("user", "-f")] {
            if matches.contains_id(option) {
                return Request::Forbidden(format!("only root may use {name}"));
            }
        }
    }
    let invocation = invocation(&matches, environment, standing, caller);
    Request::Login(Box::new(invocation))
}

fn options() -> Command {
    Command::new("login_duo")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .about("Asks Duo for a second factor, then becomes your shell or COMMAND.")
        .override_usage("login_duo [-d] [-c FILE] [-f DUOUSER] [-h HOST] [COMMAND [ARG...]]")
        .after_help(
            "Set it as ForceCommand in sshd_config. Exit status: that of the shell or COMMAND;\n\
             1 denied, 2 wrong usage. See login_duo(8), login_duo.conf(5) and duoctl(8).",
        )
        .args(arguments())
}

/// Each option and argument, in the order of `--help`. Values are bytes.
fn arguments() -> [Arg; 7] {
    let value = |name: &'static str| {
        Arg::new(name)
            .value_parser(clap::value_parser!(OsString))
            .action(ArgAction::Set)
    };
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    [
        value("config")
            .short('c')
            .long("config")
            .value_name("FILE")
            .help(format!(
                "Configuration file [default: {}/login_duo.conf]",
                configuration::FOLDER
            )),
        flag("debug")
            .short('d')
            .help("Log to standard error, not to syslog"),
        value("user")
            .short('f')
            .long("user")
            .value_name("DUOUSER")
            .help("The user name that Duo knows [default: the login name]"),
        value("host")
            .short('h')
            .long("host")
            .value_name("HOST")
            .help("The client's address, where SSH_CONNECTION is not set"),
        flag("help").help("Print this"),
        flag("version").short('v').help("Print the version"),
        value("command")
            .value_name("COMMAND")
            .action(ArgAction::Append)
            .num_args(0..)
            .trailing_var_arg(true)
            .help("Run by the shell's -c [default: $SSH_ORIGINAL_COMMAND, else a login shell]"),
    ]
}

fn invocation(
    matches: &ArgMatches,
    mut environment: Vec<CString>,
    standing: Standing,
    caller: Caller,
) -> Invocation {
    let passcode = take_passcode(&mut environment);
    let variable = |name: &str| variable(&environment, name);
    let option = |name: &str| matches.get_one::<OsString>(name).cloned();

    let words: Vec<&OsStr> = matches
        .get_many::<OsString>("command")
        .unwrap_or_default()
        .map(OsString::as_os_str)
        .collect();
    let original = variable("SSH_ORIGINAL_COMMAND").filter(|command| !command.is_empty());
    let client = variable("SSH_CONNECTION")
        .and_then(|line| line.split(|byte| *byte == b' ').next())
        .filter(|word| !word.is_empty())
        .map(<[u8]>::to_vec)
        .or_else(|| option("host").map(OsString::into_vec));
    // A script that passes an empty `-h "$CLIENT"` names no address.
    let client = client.filter(|client| !client.is_empty());
    let terminal = variable("TERM").unwrap_or_default();

    Invocation {
        sink: match (matches.get_flag("debug"), standing) {
            (false, _) => Sink::Syslog,
            (true, Standing::Root | Standing::Own) => Sink::Stderr,
            (true, Standing::Setuid) => Sink::Both,
        },
        config: option("config").map_or_else(configuration::default_path, PathBuf::from),
        has_original_command: original.is_some(),
        is_command_from_sshd: original.is_some() && words.is_empty(),
        claim: Claim {
            subject: Subject::Uid(caller.uid.as_raw()),
            objection: None,
            duo_user: option("user").map(|name| name.to_string_lossy().into_owned()),
            client: client.map(|client| String::from_utf8_lossy(&client).into_owned()),
            service: "ssh".to_owned(),
            terminal: None,
            command: if words.is_empty() {
                original.map(<[u8]>::to_vec)
            } else {
                Some(words.join(OsStr::new(" ")).as_bytes().to_vec())
            },
            passcode,
        },
        charset: Charset::of_locale([variable("LC_ALL"), variable("LC_CTYPE"), variable("LANG")]),
        is_terminal_capable: !matches!(terminal, b"" | b"dumb"),
        environment,
    }
}

/// The value of the first entry for the variable `name`, as getenv finds it.
fn variable<'a>(environment: &'a [CString], name: &str) -> Option<&'a [u8]> {
    environment.iter().find_map(|entry| {
        entry
            .to_bytes()
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
    })
}

/// Takes every `DUO_PASSCODE` out of the environment and overwrites it, so that
/// neither the session nor /proc/PID/environ of the session has it (docs/security.md,
/// attack 11).
fn take_passcode(environment: &mut Vec<CString>) -> Option<Secret> {
    let passcode = variable(environment, "DUO_PASSCODE")
        .filter(|value| !value.is_empty())
        .map(|value| Secret::from(value.to_vec()));
    let (taken, kept) = std::mem::take(environment)
        .into_iter()
        .partition(|entry| entry.to_bytes().starts_with(b"DUO_PASSCODE="));
    *environment = kept;
    let taken: Vec<CString> = taken;
    for entry in taken {
        entry.into_bytes().zeroize();
    }
    passcode
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller = Caller {
        uid: nix::unistd::Uid::from_raw(1000),
        gid: nix::unistd::Gid::from_raw(1000),
    };

    fn environment(entries: &[&str]) -> Vec<CString> {
        entries
            .iter()
            .map(|entry| CString::new(*entry).unwrap())
            .collect()
    }

    fn login(arguments: &[&str], entries: &[&str]) -> Invocation {
        let arguments = arguments.iter().map(OsString::from);
        match parse(arguments, environment(entries), Standing::Root, CALLER) {
            Request::Login(invocation) => *invocation,
            Request::Show(text) | Request::Usage(text) | Request::Forbidden(text) => {
                panic!("not a login: {text}")
            }
        }
    }

    #[test]
    fn options_end_at_the_first_word_that_is_not_one() {
        let invocation = login(&["-d", "ls", "-h", "-c", "x"], &[]);
        assert_eq!(invocation.sink, Sink::Stderr);
        assert_eq!(
            invocation.claim.command.as_deref(),
            Some(&b"ls -h -c x"[..])
        );
        assert_eq!(invocation.config, configuration::default_path());
    }

    #[test]
    fn a_caller_who_is_not_trusted_cannot_keep_a_login_out_of_the_log() {
        let request = parse(
            [OsString::from("-d")].into_iter(),
            vec![],
            Standing::Setuid,
            CALLER,
        );
        assert!(matches!(request, Request::Login(login) if login.sink == Sink::Both));
    }

    #[test]
    fn long_forms_mean_the_same() {
        let invocation = login(
            &[
                "--debug",
                "--config",
                "/x",
                "--user",
                "bob",
                "--host",
                "192.0.2.1",
            ],
            &[],
        );
        assert_eq!(invocation.sink, Sink::Stderr);
        assert_eq!(invocation.config, PathBuf::from("/x"));
        assert_eq!(invocation.claim.duo_user.as_deref(), Some("bob"));
        assert_eq!(invocation.claim.client.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_wrong_option_is_a_usage_error_and_never_a_command() {
        for wrong in ["-x", "--nonsense", "-c"] {
            let request = parse(
                [OsString::from(wrong)].into_iter(),
                vec![],
                Standing::Root,
                CALLER,
            );
            assert!(matches!(request, Request::Usage(_)), "{wrong}");
        }
    }

    #[test]
    fn help_and_version_run_nothing() {
        for word in ["--help", "--version", "-v"] {
            let arguments = [word, "ls"].map(OsString::from);
            let request = parse(arguments.into_iter(), vec![], Standing::Setuid, CALLER);
            assert!(matches!(request, Request::Show(_)), "{word}");
        }
    }

    #[test]
    fn an_untrusted_caller_chooses_neither_file_nor_name() {
        for option in ["-c", "-f", "--config", "--user"] {
            let arguments = [option, "x"].map(OsString::from);
            let request = parse(arguments.into_iter(), vec![], Standing::Setuid, CALLER);
            assert!(matches!(request, Request::Forbidden(_)), "{option}");
        }
        let arguments = ["-d", "-h", "192.0.2.1"].map(OsString::from);
        assert!(matches!(
            parse(arguments.into_iter(), vec![], Standing::Setuid, CALLER),
            Request::Login(_)
        ));
    }

    #[test]
    fn sshds_command_is_taken_unless_arguments_name_one_or_it_is_empty() {
        let invocation = login(&[], &["SSH_ORIGINAL_COMMAND=uptime"]);
        assert_eq!(invocation.claim.command.as_deref(), Some(&b"uptime"[..]));
        assert!(invocation.has_original_command);
        let invocation = login(&["id"], &["SSH_ORIGINAL_COMMAND=uptime"]);
        assert_eq!(invocation.claim.command.as_deref(), Some(&b"id"[..]));
        let invocation = login(&[], &["SSH_ORIGINAL_COMMAND="]);
        assert!(invocation.claim.command.is_none() && !invocation.has_original_command);
    }

    #[test]
    fn the_client_is_the_first_word_of_ssh_connection_else_the_option() {
        let connection = "SSH_CONNECTION=192.0.2.7 50022 192.0.2.1 22";
        assert_eq!(
            login(&["-h", "x"], &[connection]).claim.client.as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(
            login(&["-h", "x"], &["SSH_CONNECTION="])
                .claim
                .client
                .as_deref(),
            Some("x")
        );
        for environment in [&[][..], &["SSH_CONNECTION="]] {
            assert_eq!(login(&["-h", ""], environment).claim.client, None);
        }
    }

    #[test]
    fn the_passcode_leaves_the_environment_in_every_case() {
        let invocation = login(
            &[],
            &[
                "A=1",
                "DUO_PASSCODE=123456",
                "B=2",
                "DUO_PASSCODE=x",
                "DUO_PASSCODEX=y",
            ],
        );
        assert_eq!(
            invocation.claim.passcode.as_ref().map(Secret::expose),
            Some(&b"123456"[..])
        );
        assert_eq!(
            invocation.environment,
            environment(&["A=1", "B=2", "DUO_PASSCODEX=y"])
        );
    }

    #[test]
    fn everything_else_in_the_environment_stays_as_it_was_given() {
        let mut odd = environment(&["A=1", "no equals sign", "=x", "A=2"]);
        odd.push(CString::new(b"B=\xff\xfe".to_vec()).unwrap());
        let kept = parse(std::iter::empty(), odd.clone(), Standing::Root, CALLER);
        assert!(matches!(kept, Request::Login(i) if i.environment == odd));
    }
}
