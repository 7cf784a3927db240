//! The arguments: the host's process id, the user id of the account, and then those of the
//! line of the PAM stack, as the administrator wrote them (pam_duo(8)).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use duo_policy::text;
use duo_system::configuration;
use duo_system::log::{Identity, Sink};

use crate::claim::After;

/// What the administrator wants.
pub struct Arguments {
    /// What the log calls this login: the module's name with the host's process id.
    pub identity: Identity,
    /// The account whose emergency codes are opened, if the module found one. It is the
    /// child that looks up who logs in: codes of another account are good for nothing.
    pub account: Option<u32>,
    /// Where the log goes.
    pub sink: Sink,
    /// The configuration file.
    pub config: PathBuf,
    /// What must have succeeded before.
    pub after: After,
    /// What is wrong with the arguments. With one of these, nobody is let in.
    pub mistakes: Vec<String>,
}

impl Arguments {
    /// What a mistake is told of: the arguments, else the configuration file.
    pub fn blamed(&self) -> &Path {
        match self.mistakes.is_empty() {
            true => &self.config,
            false => Path::new("pam_duo.so"),
        }
    }
}

/// Reads this process's arguments.
pub fn read() -> Arguments {
    parse(std::env::args_os().skip(1))
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Arguments {
    let pid = words.next().unwrap_or_default();
    let account = words.next().unwrap_or_default();
    let mut arguments = Arguments {
        identity: Identity::OfHost(
            c"pam_duo",
            pid.to_string_lossy().parse().unwrap_or_default(),
        ),
        account: account.to_str().and_then(|uid| uid.parse().ok()),
        sink: Sink::Syslog,
        config: configuration::default_pam_path(),
        after: After::Anything,
        mistakes: Vec::new(),
    };
    for word in words {
        match word.as_bytes() {
            b"debug" => arguments.sink = Sink::Both,
            b"after=publickey" => arguments.after = After::PublicKey,
            word if word.starts_with(b"conf=/") => {
                let path = word.strip_prefix(b"conf=").unwrap_or_default();
                arguments.config = OsString::from_vec(path.to_vec()).into();
            }
            word if word.starts_with(b"conf=") => arguments
                .mistakes
                .push("conf= needs an absolute path".to_owned()),
            word => {
                let word = String::from_utf8_lossy(word);
                arguments.mistakes.push(format!(
                    "unknown argument '{}': there are conf=FILE, debug and after=publickey",
                    text::quoted(&word)
                ));
            }
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Arguments {
        parse(["42", "1000"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn the_last_configuration_counts() {
        let arguments = parsed(&["conf=/a", "debug", "conf=/b c", "after=publickey"]);
        assert_eq!(arguments.config, Path::new("/b c"));
        assert_eq!(arguments.sink, Sink::Both);
        assert_eq!(arguments.after, After::PublicKey);
        assert!(arguments.mistakes.is_empty());
        assert_eq!(arguments.account, Some(1000));
        assert_eq!(parsed(&[]).config, Path::new("/etc/duo/pam_duo.conf"));
        assert_eq!(parsed(&[]).after, After::Anything);
    }

    #[test]
    fn the_module_looks_for_the_folder_that_is_opened() {
        let folder = duo_system::codes::FOLDER;
        assert_eq!(pam_wire::CODES.to_str(), Ok(folder));
    }

    #[test]
    fn without_an_account_there_are_no_codes() {
        for uid in ["", "-", "-1", "4294967296", "1000 "] {
            let arguments = parse(["42", uid].iter().map(OsString::from));
            assert_eq!(arguments.account, None, "{uid}");
        }
    }

    #[test]
    fn each_unknown_argument_is_a_mistake() {
        let arguments = parsed(&[
            "use_first_pass",
            "conf=",
            "conf=x",
            "after=password",
            "Debug",
        ]);
        assert_eq!(arguments.mistakes.len(), 5);
        assert!(arguments.mistakes[0].starts_with("unknown argument 'use_first_pass'"));
        assert_eq!(arguments.blamed(), Path::new("pam_duo.so"));
    }
}
