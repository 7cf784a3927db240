//! Other programs of this machine: found in fixed folders, with nothing but a
//! PATH in their environment, and not waited for without end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::check::sshd::run::run;

const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// For a whole reload.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program `name` of this machine.
pub fn tool(name: &str) -> Option<Command> {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    let path: PathBuf = found.into_iter().find(|path| path.is_file())?;
    Some(Command::new(path))
}

/// What a program said.
pub struct Said {
    /// Whether it succeeded.
    pub good: bool,
    /// On stdout.
    pub output: String,
    /// On stderr; its last line is the reason.
    pub errors: String,
}

impl Said {
    /// Why it failed, in one line.
    pub fn why(&self) -> String {
        let mut lines = self
            .errors
            .lines()
            .chain(self.output.lines())
            .map(str::trim);
        let first = lines.find(|line| !line.is_empty());
        first.unwrap_or("it says nothing").to_owned()
    }
}

/// Runs a program to its end.
pub fn ask(mut command: Command) -> Said {
    command.env_clear().env("PATH", FOLDERS.join(":"));
    match run(&mut command, Instant::now() + PATIENCE) {
        Ok((good, output, errors)) => Said {
            good,
            output,
            errors,
        },
        Err(error) => Said {
            good: false,
            output: String::new(),
            errors: error.to_string(),
        },
    }
}

/// Whether systemd runs this machine, as sd_booted(3) has it.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// `systemctl` with these arguments; whether it succeeded.
pub fn systemctl(arguments: &[&str]) -> bool {
    let Some(mut command) = tool("systemctl") else {
        return false;
    };
    command.args(arguments);
    ask(command).good
}
