//! Findings about the installation: to whom the program and its configuration belong, who could
//! replace these files, and which user the unprivileged child runs as.

use std::fs::{self, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use duo_policy::config::Problem;
use duo_policy::cryptography::{self, ALGORITHMS, Algorithms};
use duo_policy::error::Error;
use duo_system::privsep::{Caller, Standing};
use duo_system::system_words;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::User;

use super::local::is_login_shell;
use crate::finding::{Finding, Level, quoted};

/// Whose install is checked: the machine's if root checks it, else that of the user
/// who does.
#[derive(Debug, Clone, Copy)]
pub struct Install {
    /// How this program was started.
    pub standing: Standing,
    /// Who started it.
    pub caller: Caller,
}

impl Install {
    fn is_own(self) -> bool {
        self.standing == Standing::Own
    }

    fn trusts(self, uid: u32) -> bool {
        uid == 0 || (self.is_own() && uid == self.caller.uid.as_raw())
    }

    fn rightful(self) -> String {
        match self.is_own() {
            false => "root:root".to_owned(),
            true => self.caller.uid.to_string(),
        }
    }
}

/// The findings about the program's file: its owner, its mode, its mount.
pub fn program(path: &Path, install: Install) -> Vec<Finding> {
    let opened = fs::File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (status, file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let text = format!(
                "{} cannot be opened: {}",
                path.display(),
                system_words(&error)
            );
            return vec![Finding::warn("installation.owner", text)];
        }
    };
    let no_suid =
        fstatvfs(file.as_fd()).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_NOSUID));
    let mut findings = vec![owner(path, &status, install), mode(path, &status, install)];
    if !install.is_own() {
        findings.push(mount(path, no_suid));
        findings.push(capabilities(path));
    }
    findings
}

/// The kernel gives a program with capabilities of its own those instead of
/// root's, so that a setuid program cannot drop to its child's user.
fn capabilities(path: &Path) -> Finding {
    const ID: &str = "installation.capabilities";
    let name = path.display();
    let mut room = [0_u8; 64];
    match rustix::fs::getxattr(path, "security.capability", &mut room) {
        Ok(_) | Err(rustix::io::Errno::RANGE) => {
            let text = format!("{name} has file capabilities beside setuid: everybody is denied");
            Finding::fail(ID, text).mend(format!("setcap -r {}", quoted(path)))
        }
        Err(_) => Finding::ok(ID, format!("{name} has no file capabilities")),
    }
}

/// The finding about the library that hashes and encrypts, and about what this kernel
/// wants (docs/fips.md).
pub fn cryptography() -> Finding {
    // A kernel without this file knows no FIPS mode.
    let kernel = fs::read_to_string("/proc/sys/crypto/fips_enabled").unwrap_or_default();
    let kernel = match kernel.trim() {
        "1" => Kernel::WantsFips,
        _ => Kernel::TakesAll,
    };
    cryptography_finding(ALGORITHMS, kernel, cryptography::prove())
}

/// What `/proc/sys/crypto/fips_enabled` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// 1: the machine was started with `fips=1`.
    WantsFips,
    /// Anything else.
    TakesAll,
}

fn cryptography_finding(
    algorithms: Algorithms,
    kernel: Kernel,
    proved: Result<(), Error>,
) -> Finding {
    const ID: &str = "installation.cryptography";
    let name = cryptography::NAME;
    let mode = match kernel {
        Kernel::WantsFips => "this kernel is in FIPS mode",
        Kernel::TakesAll => "this kernel is not in FIPS mode",
    };
    match (algorithms, kernel, proved) {
        (_, _, Err(error)) => Finding::fail(ID, format!("everybody is denied: {error}")),
        (Algorithms::All, Kernel::WantsFips, Ok(())) => {
            let text = format!("{mode}, and this build ({name}) is not for it: docs/fips.md");
            Finding::warn(ID, text)
        }
        (_, _, Ok(())) => Finding::ok(ID, format!("TLS and signatures by {name}; {mode}")),
    }
}

fn owner(path: &Path, status: &Metadata, install: Install) -> Finding {
    const ID: &str = "installation.owner";
    let (name, uid) = (path.display(), status.uid());
    match uid {
        0 => Finding::ok(ID, format!("{name} belongs to root")),
        _ if install.trusts(uid) => Finding::ok(ID, format!("{name} belongs to you")),
        _ => Finding::fail(
            ID,
            format!("{name} belongs to user id {uid}, who can replace it"),
        )
        .mend(format!("chown {} {}", install.rightful(), quoted(path))),
    }
}

fn mode(path: &Path, status: &Metadata, install: Install) -> Finding {
    const ID: &str = "installation.mode";
    let (name, mode) = (path.display(), status.mode() & 0o7777);
    let mend = |bits: &str| format!("chmod {bits} {}", quoted(path));
    match install.is_own() {
        _ if mode & 0o022 != 0 => {
            let bits = if install.is_own() { "755" } else { "4755" };
            let text = format!("{name} can be written by group or others (mode {mode:04o})");
            Finding::fail(ID, text).mend(mend(bits))
        }
        true => {
            let text = format!("{name} is your own install, for you alone (mode {mode:04o})");
            Finding::ok(ID, text)
        }
        false if mode & 0o4000 == 0 || status.uid() != 0 => {
            let text = format!(
                "{name} is not setuid root (mode {mode:04o}): everybody but root is denied"
            );
            Finding::fail(ID, text).mend(mend("4755"))
        }
        false if mode & 0o2000 != 0 => {
            let text = format!("{name} is setgid too (mode {mode:04o})");
            Finding::warn(ID, text).mend(mend("4755"))
        }
        false => Finding::ok(ID, format!("{name} is setuid (mode {mode:04o})")),
    }
}

fn mount(path: &Path, no_suid: bool) -> Finding {
    const ID: &str = "installation.mount";
    let name = path.display();
    if no_suid {
        let text =
            format!("{name} is on a file system mounted nosuid: everybody but root is denied");
        let target = format!("\"$(findmnt -no TARGET -T {})\"", quoted(path));
        return Finding::fail(ID, text).mend(format!("mount -o remount,suid {target}"));
    }
    Finding::ok(ID, format!("{name} is on a file system that allows setuid"))
}

/// The findings about the folders above `path`, as the path is written and as links resolve it. Who
/// may write to one of these folders can replace the file.
pub fn folders(id: &'static str, path: &Path, install: Install) -> Vec<Finding> {
    let mut all: Vec<PathBuf> = Vec::new();
    let written = std::path::absolute(path).ok();
    let real = fs::canonicalize(path).ok();
    for path in [written, real].into_iter().flatten() {
        for folder in path.ancestors().skip(1) {
            if !all.iter().any(|known| known == folder) {
                all.push(folder.to_owned());
            }
        }
    }
    let bad: Vec<Finding> = all
        .iter()
        .filter_map(|folder| folder_finding(id, folder, install))
        .collect();
    if bad.is_empty() {
        let who = match install.is_own() {
            false => "root",
            true => "root and you",
        };
        let text = format!("nobody but {who} can replace {}", path.display());
        return vec![Finding::ok(id, text)];
    }
    bad
}

/// The finding about one folder, if others than the trusted users can write to it.
fn folder_finding(id: &'static str, folder: &Path, install: Install) -> Option<Finding> {
    let name = folder.display();
    let status = match fs::metadata(folder) {
        Ok(status) => status,
        Err(error) => {
            let text = format!(
                "the folder {name} cannot be looked at: {}",
                system_words(&error)
            );
            return Some(Finding::warn(id, text));
        }
    };
    let (uid, mode) = (status.uid(), status.mode() & 0o7777);
    if !install.trusts(uid) {
        let text =
            format!("the folder {name} belongs to user id {uid}, who can replace what is in it");
        let mend = format!("chown {} {}", install.rightful(), quoted(folder));
        return Some(Finding::fail(id, text).mend(mend));
    }
    // In a sticky folder nobody can replace a file of root's.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        let text = format!("the folder {name} can be written by group or others (mode {mode:04o})");
        return Some(Finding::fail(id, text).mend(format!("chmod go-w {}", quoted(folder))));
    }
    None
}

/// The findings about the privilege-separation user.
pub fn privsep_user(name: &str) -> Vec<Finding> {
    let shell_of = |name: &str| User::from_name(name).map(|user| user.map(|user| user.shell));
    let (shell, has_stand_in) = match (shell_of(name), shell_of("sshd")) {
        (Ok(shell), Ok(stand_in)) => (shell, stand_in.is_some()),
        (Err(errno), _) | (_, Err(errno)) => {
            let text = format!(
                "the user '{name}' cannot be looked up: {}",
                system_words(&errno.into())
            );
            return vec![Finding::fail("installation.privsep_user", text)];
        }
    };
    user_findings(name, shell.as_deref(), has_stand_in)
}

/// `shell` is that of the user `name`, if there is one. `has_stand_in` says whether there is a user
/// `sshd`.
fn user_findings(name: &str, shell: Option<&Path>, has_stand_in: bool) -> Vec<Finding> {
    const ID: &str = "installation.privsep_user";
    const SHELL_ID: &str = "installation.privsep_shell";
    let add = format!("useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin {name}");
    match shell {
        None if has_stand_in => vec![
            Finding::warn(
                ID,
                format!("there is no user '{name}': 'sshd' serves in its place"),
            )
            .mend(add),
        ],
        None => vec![
            Finding::fail(
                ID,
                format!("there is no user '{name}', nor 'sshd': everybody is denied"),
            )
            .mend(add),
        ],
        Some(shell) => {
            let exists = Finding::ok(ID, format!("the user '{name}' exists"));
            let shell = match is_login_shell(&shell.to_string_lossy()) {
                false => Finding::ok(SHELL_ID, format!("nobody can log in as '{name}'")),
                true => Finding::warn(
                    SHELL_ID,
                    format!("'{name}' has the shell {}", shell.display()),
                )
                .mend(format!("usermod --shell /usr/sbin/nologin {name}")),
            };
            vec![exists, shell]
        }
    }
}

/// The finding about the configuration file, by the result of opening it.
pub fn configuration_file(path: &Path, opened: &Result<Option<Problem>, Problem>) -> Finding {
    const ID: &str = "installation.configuration_file";
    let (problem, level) = match opened {
        Ok(None) => {
            return Finding::ok(
                ID,
                format!("{} is readable by its owner alone", path.display()),
            );
        }
        Ok(Some(warning)) => (warning, Level::Warn),
        Err(problem) => (problem, Level::Fail),
    };
    Finding {
        mend: problem.mend.clone(),
        ..Finding::new(level, ID, format!("{}: {}", path.display(), problem.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_privilege_separation_user_exists_and_has_no_shell() {
        let levels = |shell: Option<&str>, stand_in| -> Vec<Level> {
            user_findings("duo", shell.map(Path::new), stand_in)
                .iter()
                .map(|finding| finding.level)
                .collect()
        };
        assert_eq!(
            levels(Some("/usr/sbin/nologin"), false),
            [Level::Ok, Level::Ok]
        );
        assert_eq!(levels(Some("/bin/sh"), false), [Level::Ok, Level::Warn]);
        assert_eq!(levels(Some(""), false), [Level::Ok, Level::Warn]);
        assert_eq!(levels(None, true), [Level::Warn]);
        assert_eq!(levels(None, false), [Level::Fail]);
    }

    #[test]
    fn a_kernel_in_fips_mode_wants_a_build_for_it() {
        let level =
            |algorithms, kernel, proved| cryptography_finding(algorithms, kernel, proved).level;
        let broken = || Err(Error::Fault("no FIPS mode".to_owned()));
        let (all, fips) = (Algorithms::All, Algorithms::FipsApproved);
        assert_eq!(level(all, Kernel::TakesAll, Ok(())), Level::Ok);
        assert_eq!(level(all, Kernel::WantsFips, Ok(())), Level::Warn);
        assert_eq!(level(fips, Kernel::WantsFips, Ok(())), Level::Ok);
        assert_eq!(level(fips, Kernel::TakesAll, Ok(())), Level::Ok);
        assert_eq!(level(fips, Kernel::TakesAll, broken()), Level::Fail);
    }

    #[test]
    fn a_nosuid_mount_fails() {
        assert_eq!(mount(Path::new("/x"), true).level, Level::Fail);
        assert_eq!(mount(Path::new("/x"), false).level, Level::Ok);
    }

    #[test]
    fn the_configurations_command_stands_apart_from_its_text() {
        let path = Path::new("/x");
        let bad = Problem::of_file("belongs to user id 7").mended_by("chown root /x");
        let found = configuration_file(path, &Err(bad));
        assert_eq!(found.text, "/x: belongs to user id 7");
        assert_eq!(found.mend.as_deref(), Some("chown root /x"));
        let odd = Problem::of_file("belongs to sshd, better to root").mended_by("chown root /x");
        let found = configuration_file(path, &Ok(Some(odd)));
        assert_eq!(
            (found.level, found.mend.as_deref()),
            (Level::Warn, Some("chown root /x"))
        );
        assert_eq!(configuration_file(path, &Ok(None)).level, Level::Ok);
    }
}
