//! `sshd -t`: whether sshd takes a configuration.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use super::tool::{Said, ask};
use crate::cli::Effect;

/// Asks sshd whether it takes the configuration at `path`.
///
/// # Errors
/// Its complaint.
pub fn accepts(program: &Path, path: &Path, effect: Effect) -> Result<(), String> {
    let first = test(program, path);
    if first.good {
        return Ok(());
    }
    // Only a running sshd has this folder, and with socket activation none may
    // be running.
    match (missing_folder(&first.errors), effect) {
        (None, _) => Err(first.why()),
        (Some(_), Effect::DryRun) => Ok(()),
        (Some(folder), Effect::Real) => {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o755).create(folder);
            made.map_err(|error| format!("{folder} cannot be made: {error}"))?;
            let again = test(program, path);
            again.good.then_some(()).ok_or_else(|| again.why())
        }
    }
}

fn test(program: &Path, path: &Path) -> Said {
    let mut command = Command::new(program);
    command.arg("-t").arg("-f").arg(path);
    ask(command)
}

/// sshd ends its lines with a carriage return.
fn missing_folder(errors: &str) -> Option<&str> {
    const WORDS: &str = "Missing privilege separation directory: ";
    let mut lines = errors.lines().map(str::trim);
    let folder = lines.find_map(|line| line.strip_prefix(WORDS))?;
    folder.starts_with('/').then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriage_return_is_no_part_of_a_folders_name() {
        let said = "Missing privilege separation directory: /run/sshd\r\n";
        assert_eq!(missing_folder(said), Some("/run/sshd"));
        assert_eq!(missing_folder("no hostkeys available\r\n"), None);
    }
}
