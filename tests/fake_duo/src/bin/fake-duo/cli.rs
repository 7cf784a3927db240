//! The command line.

use crate::machine::PASSWORD;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fake_duo::{FAULTS, PASSCODE, STAGES, Script, Setting, Shape, TLS_VARIANTS, Tls, USERS};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What the caller wants.
pub enum Action {
    Serve(Serve),
    Demo(Demo),
    /// The terminal's phone, for the service with this phone address; `None`: the last one that was started.
    Phone(Option<String>),
}

/// The options of `serve`.
pub struct Serve {
    pub port: u16,
    pub addresses: Vec<String>,
    pub names: Vec<String>,
    pub dir: Option<PathBuf>,
    pub shape: Shape,
    pub tls: Tls,
    pub clock_offset: i64,
    pub push_delay: Duration,
    pub users: Vec<(String, Script)>,
    pub default_script: Script,
    pub faults: Vec<Setting>,
    pub phone: Option<SocketAddr>,
}

/// The options of `demo`.
pub struct Demo {
    pub what: What,
    pub how: How,
}

/// What `demo` shows.
#[derive(Debug, PartialEq)]
pub enum What {
    /// login_duo, this one if it is given, with its command.
    LoginDuo {
        program: Option<PathBuf>,
        command: Vec<OsString>,
    },
    /// pam_duo.so, in the stack of this service.
    Pam(Service),
}

/// A program that asks PAM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service {
    Su,
    Sudo,
    Sshd,
}

/// How the service of `demo` behaves.
pub struct How {
    pub shape: Shape,
    pub push_delay: Duration,
    pub default_script: Script,
    pub phone: Option<SocketAddr>,
}

/// Reads the command line; ends the program where it asks for help or is wrong.
pub fn parse() -> Action {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("demo", matches)) => Action::Demo(demo(matches).unwrap_or_else(|error| error.exit())),
        Some(("phone", matches)) => Action::Phone(one(matches, "address")),
        Some((_, matches)) => Action::Serve(serve(matches)),
        // clap has seen to it already.
        None => command()
            .error(ErrorKind::MissingSubcommand, "serve, demo or phone?")
            .exit(),
    }
}

fn command() -> Command {
    Command::new("fake-duo")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Duo service on the loopback. FOR TESTS ONLY: its keys are public, and it lets people in.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve_command())
        .subcommand(demo_command())
        .subcommand(phone_command())
}

fn serve_command() -> Command {
    Command::new("serve")
        .about("Runs the service until stopped, for scripted tests. FOR TESTS ONLY.")
        .after_help(tables())
        .args([
            option("port", "N", "Port to listen on [default: a free one]")
                .value_parser(value_parser!(u16)),
            option(
                "bind",
                "ADDRESS",
                "Loopback address, may be repeated [default: 127.0.0.1]",
            )
            .action(ArgAction::Append),
            option(
                "name",
                "HOST",
                "Further host name to answer to, may be repeated",
            )
            .action(ArgAction::Append),
            option(
                "dir",
                "DIR",
                "Folder for ca.pem and login_duo.conf [default: a new one]",
            )
            .value_parser(value_parser!(PathBuf)),
            shape(),
            option(
                "tls",
                "VARIANT",
                "Certificate or TLS, see below [default: good]",
            )
            .value_parser(tls),
            option("clock-offset", "SECONDS", "Puts the service's clock off")
                .allow_hyphen_values(true)
                .value_parser(value_parser!(i64)),
            push_delay(),
            option(
                "user",
                "NAME=SCRIPT",
                "Gives a user a script, by the name of a user below; may be repeated",
            )
            .action(ArgAction::Append)
            .value_parser(user),
            default_script("The script of all other users [default: push]"),
            phone(),
            option(
                "fault",
                "[ENDPOINT/]NAME[:ARG][@TIMES]",
                "Something that goes wrong, see below; may be repeated",
            )
            .action(ArgAction::Append)
            .value_parser(value_parser!(Setting)),
        ])
}

fn demo_command() -> Command {
    Command::new("demo")
        .about("Runs the real login_duo, or pam_duo.so in su, sudo or sshd, on this terminal against the service. FOR TESTS ONLY.")
        .after_help(format!(
            "The push approves itself after the push delay, or waits for you with --phone; the passcode {PASSCODE} is right; \
             anything else is refused.\n\
             With --pam, the password is {PASSWORD}, and all happens in a throw-away machine: namespaces, which need root, end \
             with the demo. Nothing of yours is changed.\n\
             Ends with the exit status of login_duo, su, sudo or ssh; 2 where it could not be run."
        ))
        .args([
            option("login-duo", "PATH", "The login_duo to run [default: built by cargo, or the one beside this program]")
                .value_parser(value_parser!(PathBuf)),
            Arg::new("pam")
                .long("pam")
                .help("Shows pam_duo.so instead: a password, then Duo, in su, or in what stands after --: su, sudo or sshd")
                .action(ArgAction::SetTrue)
                .conflicts_with("login-duo"),
            shape(),
            push_delay(),
            default_script("What the login is like, by the name of a user that serve --help lists [default: push]"),
            phone(),
            Arg::new("command")
                .value_name("COMMAND")
                .help("Command and arguments for login_duo, after --  [default: a login shell]; with --pam: su, sudo or sshd  [default: su]")
                .num_args(0..)
                .last(true)
                .value_parser(value_parser!(OsString)),
        ])
}

fn phone_command() -> Command {
    Command::new("phone")
        .about("The phone of serve --phone or demo --phone, on this terminal. FOR TESTS ONLY.")
        .after_help("Shows each push and call as it comes, and reads what you say to it, a line each. Ends with the service, or with Ctrl-D.")
        .arg(
            Arg::new("address")
                .value_name("ADDRESS")
                .help("The address that --phone printed [default: that of the last one you started]"),
        )
}

fn phone() -> Arg {
    option(
        "phone",
        "ADDRESS[:PORT]",
        "You play the users' phones, on a web page at this address [default: 127.0.0.1, a free port]",
    )
    .num_args(0..=1)
    .require_equals(true)
    .default_missing_value("127.0.0.1")
    .value_parser(phone_address)
}

fn phone_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .or_else(|_| text.parse().map(|address: IpAddr| (address, 0).into()))
        .map_err(|_| "not an IP address, with or without a port".to_owned())?;
    if address.ip().is_unspecified() {
        return Err("name one address of this machine".to_owned());
    }
    Ok(address)
}

fn default_script(help: &'static str) -> Arg {
    option("default-script", "SCRIPT", help).value_parser(script)
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn shape() -> Arg {
    option(
        "shape",
        "prompt|devices",
        "UNIX Application or Auth API [default: prompt]",
    )
    .value_parser(|text: &str| match text {
        "prompt" => Ok(Shape::Prompt),
        "devices" => Ok(Shape::Devices),
        _ => Err("prompt or devices"),
    })
}

fn push_delay() -> Arg {
    option(
        "push-delay",
        "SECONDS",
        "How long a person takes to answer [default: 3]",
    )
    .value_parser(|text: &str| {
        let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    })
}

fn tls(text: &str) -> Result<Tls, String> {
    Tls::named(text).ok_or_else(|| "not one of the variants that --help lists".to_owned())
}

fn script(text: &str) -> Result<Script, String> {
    Script::named(text).ok_or_else(|| "not one of the users that --help lists".to_owned())
}

fn user(text: &str) -> Result<(String, Script), String> {
    let (name, wanted) = text.split_once('=').ok_or("not NAME=SCRIPT")?;
    Ok((name.to_owned(), script(wanted)?))
}

/// Users, faults and TLS variants, as `serve --help` shows them.
fn tables() -> String {
    let mut text = format!(
        "Users (any other name: push; the passcode {PASSCODE} is right unless said otherwise):\n"
    );
    for (name, _, what) in USERS {
        text.push_str(&format!("  {name:<16}{what}\n"));
    }
    text.push_str(
        "\nFaults, as [ENDPOINT/]NAME[:ARG][@TIMES]; ENDPOINT one of ping, check, preauth, auth, auth_status, any.\n\
         Faults that fit the same request are used up in the order given: preauth/rate-limited:1@2 preauth/bare:500\n",
    );
    for (name, what) in FAULTS {
        text.push_str(&format!("  {name:<28}{what}\n"));
    }
    text.push_str(&format!(
        "  STAGE is one of {STAGES};\n  the first two strike connections, whatever the endpoint.\n\nTLS variants:\n"
    ));
    for (name, _, what) in TLS_VARIANTS {
        text.push_str(&format!("  {name:<22}{what}\n"));
    }
    text
}

fn serve(matches: &ArgMatches) -> Serve {
    let addresses = all(matches, "bind");
    Serve {
        port: one(matches, "port").unwrap_or(0),
        addresses: if addresses.is_empty() {
            vec!["127.0.0.1".to_owned()]
        } else {
            addresses
        },
        names: all(matches, "name"),
        dir: one(matches, "dir"),
        shape: one(matches, "shape").unwrap_or_default(),
        tls: one(matches, "tls").unwrap_or_default(),
        clock_offset: one(matches, "clock-offset").unwrap_or(0),
        push_delay: delay(matches),
        users: all(matches, "user"),
        default_script: one(matches, "default-script").unwrap_or(Script::Push),
        faults: all(matches, "fault"),
        phone: one(matches, "phone"),
    }
}

fn demo(matches: &ArgMatches) -> Result<Demo, clap::Error> {
    let words: Vec<OsString> = all(matches, "command");
    let what = match matches.get_flag("pam") {
        true => What::Pam(service(&words)?),
        false => What::LoginDuo {
            program: one(matches, "login-duo"),
            command: words,
        },
    };
    let how = How {
        shape: one(matches, "shape").unwrap_or_default(),
        push_delay: delay(matches),
        default_script: one(matches, "default-script").unwrap_or(Script::Push),
        phone: one(matches, "phone"),
    };
    Ok(Demo { what, how })
}

/// What stands after `--pam --`.
fn service(words: &[OsString]) -> Result<Service, clap::Error> {
    let words: Vec<_> = words.iter().map(|word| word.to_str()).collect();
    match words.as_slice() {
        [] | [Some("su")] => Ok(Service::Su),
        [Some("sudo")] => Ok(Service::Sudo),
        [Some("sshd")] => Ok(Service::Sshd),
        _ => Err(command().error(
            ErrorKind::InvalidValue,
            "after --pam -- stands su, sudo or sshd",
        )),
    }
}

fn delay(matches: &ArgMatches) -> Duration {
    one(matches, "push-delay").unwrap_or(Duration::from_secs(3))
}

fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.get_one(name).cloned()
}

fn all<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<T> {
    matches
        .get_many(name)
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_help_names_every_user_fault_and_variant() {
        let help = serve_command().render_help().to_string();
        for (name, ..) in USERS {
            assert!(help.contains(&format!("\n  {name} ")), "{name}");
        }
        for (name, _) in FAULTS {
            assert!(help.contains(&format!("\n  {name} ")), "{name}");
        }
        for (name, ..) in TLS_VARIANTS {
            assert!(help.contains(&format!("\n  {name} ")), "{name}");
        }
        assert!(help.contains("FOR TESTS ONLY"));
    }

    #[test]
    fn options_are_read() {
        let words = "fake-duo serve --clock-offset -3600 --fault auth/bare:500@1 --user alice=deny --tls expired";
        let matches = command().try_get_matches_from(words.split(' ')).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        let options = serve(matches);
        assert_eq!((options.clock_offset, options.tls), (-3600, Tls::Expired));
        assert_eq!(options.users, [("alice".to_owned(), Script::Deny)]);
        assert_eq!(options.faults.len(), 1);

        let words = ["fake-duo", "demo", "--push-delay", "0.5", "--", "ls", "-l"];
        let matches = command().try_get_matches_from(words).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        let options = demo(matches).unwrap();
        assert_eq!(options.how.push_delay, Duration::from_millis(500));
        let what = What::LoginDuo {
            program: None,
            command: vec!["ls".into(), "-l".into()],
        };
        assert_eq!(options.what, what);
        assert_eq!(options.how.phone, None);
    }

    #[test]
    fn pam_is_shown_in_one_of_three_programs() {
        let read = |words: &str| {
            let words = format!("fake-duo demo --pam {words}");
            let matches = command().try_get_matches_from(words.split_whitespace());
            Some(demo(matches.ok()?.subcommand()?.1).ok()?.what)
        };
        for (words, service) in [
            ("", Some(Service::Su)),
            ("-- su", Some(Service::Su)),
            ("-- sudo", Some(Service::Sudo)),
            ("-- sshd", Some(Service::Sshd)),
            ("-- login", None),
            ("-- sudo id", None),
            ("--login-duo x", None),
        ] {
            assert_eq!(read(words), service.map(What::Pam), "{words}");
        }
    }

    #[test]
    fn a_phone_is_on_the_loopback_unless_told_otherwise() {
        let read = |option: &str| {
            let words = ["fake-duo", "serve", option, "--push-delay", "1"];
            let matches = command().try_get_matches_from(words).ok()?;
            serve(matches.subcommand()?.1).phone
        };
        for (option, address) in [
            ("--phone", Some("127.0.0.1:0")),
            ("--phone=192.0.2.1:8080", Some("192.0.2.1:8080")),
            ("--phone=::1", Some("[::1]:0")),
            ("--phone=0.0.0.0:80", None),
            ("--phone=a.example", None),
        ] {
            assert_eq!(
                read(option),
                address.map(|it| it.parse().unwrap()),
                "{option}"
            );
        }
    }
}
