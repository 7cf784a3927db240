//! `codes`.

use clap::{Arg, ArgMatches, Command};
use duo_policy::codes::MOST;

use super::{Common, Questions, flag, subcommand, text, value};

/// `codes` as it was asked for.
pub struct Codes {
    /// What is to be done.
    pub task: Task,
    /// What every command takes.
    pub common: Common,
}

/// What is done with codes.
pub enum Task {
    /// New ones in the place of the old ones.
    Create {
        /// Whose.
        user: String,
        /// How many.
        count: usize,
        /// How they are printed.
        style: PrintStyle,
    },
    /// Tell how many are left.
    List {
        /// Whose; `None`: everybody's.
        user: Option<String>,
    },
    /// Void all of them.
    Revoke {
        /// Whose.
        user: String,
    },
}

/// How codes are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrintStyle {
    /// A list.
    List,
    /// A page for paper, with what to do with it.
    Page,
}

/// The codes of one account, where no number is given.
const USUAL_COUNT: usize = 10;

/// The table of its options.
pub fn command() -> Command {
    subcommand("codes")
        .about("Make, count and revoke emergency codes (failmode = codes)")
        .override_usage(
            "duoctl codes create USER [--count N] [--page | --json] [--yes]\n       \
             duoctl codes list [USER] [--json]\n       \
             duoctl codes revoke USER [--json]",
        )
        .after_help(
            "create prints the codes once, and replaces those of before. They are good\n\
             where a configuration says failmode = codes. Exit status: 0 done, 1 not.",
        )
        .arg(
            Arg::new("what")
                .required_unless_present("help")
                .value_name("create|list|revoke")
                .value_parser(["create", "list", "revoke"])
                .help("What to do"),
        )
        .arg(
            value("user")
                .value_name("USER")
                .help("Whose codes; list and revoke take a user id too"),
        )
        .arg(
            value("count")
                .long("count")
                .value_name("N")
                .help(format!("How many, 1 to {MOST} [default: {USUAL_COUNT}]")),
        )
        .arg(
            flag("page")
                .long("page")
                .conflicts_with("json")
                .help("Print a page for paper, with what to do with it"),
        )
        .arg(flag("json").long("json").help("Tell as one JSON object"))
        .arg(
            flag("yes")
                .long("yes")
                .help("Void unused codes without a question"),
        )
}

/// Its options as they were given.
///
/// # Errors
/// What does not make sense.
pub fn read(matches: &ArgMatches, common: Common) -> Result<Codes, String> {
    let user = text(matches, "user");
    let count = text(matches, "count");
    let style = match matches.get_flag("page") {
        true => PrintStyle::Page,
        false => PrintStyle::List,
    };
    let what = matches.get_one::<String>("what").map(String::as_str);
    let is_for_create =
        count.is_some() || style == PrintStyle::Page || common.questions == Questions::Yes;
    if what != Some("create") && is_for_create {
        return Err("--count, --page and --yes are for create".to_owned());
    }
    let named = || user.clone().ok_or("whose codes?");
    let task = match what {
        Some("create") => Task::Create {
            user: named()?,
            count: count.map_or(Ok(USUAL_COUNT), |count| number(&count))?,
            style,
        },
        Some("revoke") => Task::Revoke { user: named()? },
        _ => Task::List { user },
    };
    Ok(Codes { task, common })
}

fn number(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| format!("--count takes a number from 1 to {MOST}"))
}
