//! Keys with a command of their own. ForceCommand wins over `command=` in
//! authorized_keys, so a key that may only run a backup becomes a shell
//! (docs/limits.md).
//!
//! A home folder is its owner's: the file is read by a child with the owner's
//! ids and nothing else, so that a link or a fifo there reaches nothing of
//! root's. Only a file's name and the numbers of its lines leave that child.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duo_policy::verdict::End;
use duo_system::privsep::{
    self, Caller, ChildEnds, Confined, Front, OpenFiles, PrivsepUser, Standing,
};
use duo_system::system_words;
use duo_wire::Departure;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::accounts::Account;
use crate::check::local::LocalUser;

/// How long an account's files may take. The reader runs as the account's owner, who may stop
/// it, and nobody's account may hold up a check or a package.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes; sshd itself reads without end.
const LONGEST: u64 = 1024 * 1024;

/// The keys of one file, by line.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// Its name.
    pub path: PathBuf,
    /// Lines of keys with `command=`.
    pub forced: Vec<usize>,
    /// Lines of keys that run whatever the client asks for.
    pub plain: Vec<usize>,
    /// Lines that trust whoever a CA vouches for.
    pub authorities: Vec<usize>,
    /// Lines with the text that was looked for.
    pub naming: Vec<usize>,
    /// Why it could not be read.
    pub unread: Option<String>,
}

/// The files of `account`, as far as there are any.
pub fn of(account: &Account, standing: Standing) -> Vec<KeyFile> {
    let files = files(account);
    if files.is_empty() {
        return Vec::new();
    }
    read_all(&account.user, standing, &files, None)
}

/// The lines of an account's usual file that hold `text`, as `FILE:LINE`.
pub fn naming(user: &LocalUser, text: &str, standing: Standing) -> Vec<String> {
    let files = [Path::new(&user.home).join(".ssh/authorized_keys")];
    let read = read_all(user, standing, &files, Some(text));
    let lines = read.iter().flat_map(|file| {
        let path = file.path.display();
        file.naming.iter().map(move |line| format!("{path}:{line}"))
    });
    lines.collect()
}

fn read_all(
    user: &LocalUser,
    standing: Standing,
    files: &[PathBuf],
    wanted: Option<&str>,
) -> Vec<KeyFile> {
    // Root's own files, or a user's own process: the owner's ids already.
    if user.uid == 0 || standing == Standing::Own {
        return files.iter().filter_map(|path| read(path, wanted)).collect();
    }
    let unread = |why: &str| {
        let file = |path: &PathBuf| KeyFile {
            path: path.clone(),
            unread: Some(why.to_owned()),
            ..KeyFile::default()
        };
        files.iter().map(file).collect()
    };
    read_as(user, standing, files, wanted).unwrap_or_else(|why| unread(&why))
}

/// Where sshd looks for this account's keys.
fn files(account: &Account) -> Vec<PathBuf> {
    if account.options.value("pubkeyauthentication") == "no" {
        return Vec::new();
    }
    let user = &account.user;
    let expand = |pattern: &str| {
        let text = pattern
            .replace("%%", "\0")
            .replace("%h", &user.home)
            .replace("%u", &user.name)
            .replace("%U", &user.uid.to_string())
            .replace('\0', "%");
        Path::new(&user.home).join(text)
    };
    let patterns = account.options.values("authorizedkeysfile");
    let patterns = patterns.flat_map(str::split_whitespace);
    let named = patterns.filter(|pattern| !pattern.eq_ignore_ascii_case("none"));
    named.map(expand).collect()
}

/// Reads them in a child that is the owner.
fn read_as(
    user: &LocalUser,
    standing: Standing,
    files: &[PathBuf],
    wanted: Option<&str>,
) -> Result<Vec<KeyFile>, String> {
    let owner = PrivsepUser {
        uid: Uid::from_raw(user.uid),
        gid: Gid::from_raw(user.gid),
        warning: None,
    };
    let child = |confined: Confined, mut ends: ChildEnds| {
        if confined.is_err() {
            return 1;
        }
        let found: Vec<KeyFile> = files.iter().filter_map(|path| read(path, wanted)).collect();
        let sent = serde_json::to_string(&found).map(|text| ends.send(&(text + "\n")));
        i32::from(!matches!(sent, Ok(Ok(()))))
    };
    let caller = Caller::of_this_process();
    let report = with_watched_signals_blocked(|| {
        privsep::separate(
            standing,
            caller,
            Some(&owner),
            OpenFiles::default(),
            Front::Session,
            child,
        )
        .map(|parent| parent.wait_at_most(PATIENCE))
    })?
    .map_err(|error| error.to_string())?;
    match report.left {
        Some(Departure::Unwatched) => return Err("it did not answer in time".to_owned()),
        Some(_) => return Err("it was interrupted".to_owned()),
        None => {}
    }
    match report.end {
        End::Exited(0) => {
            serde_json::from_slice(&report.records).map_err(|_| "the reader failed".to_owned())
        }
        _ => Err("the reader failed".to_owned()),
    }
}

/// A child's end is waited for by its signal, which comes only where it is
/// blocked; without, each child would take some seconds.
fn with_watched_signals_blocked<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let watched = [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ];
    let watched: SigSet = watched.into_iter().collect();
    let failed = |errno: nix::Error| errno.desc().to_owned();
    let before = watched
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .map_err(failed)?;
    let result = run();
    before.thread_set_mask().map_err(failed)?;
    Ok(result)
}

/// Reads one; nothing, if it is not there.
fn read(path: &Path, wanted: Option<&str>) -> Option<KeyFile> {
    let mut file = KeyFile {
        path: path.to_owned(),
        ..KeyFile::default()
    };
    match text(path) {
        Ok(text) => sort(&text, wanted, &mut file),
        Err(error) if is_missing(&error) => return None,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            file.unread = Some("it is a link, which is not followed".to_owned());
        }
        Err(error) => file.unread = Some(system_words(&error)),
    }
    Some(file)
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// O_NONBLOCK: a fifo would never answer.
fn text(path: &Path) -> std::io::Result<String> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    // sshd takes regular files only.
    if !opened.metadata()?.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Sorts the lines of the file by what they let in.
fn sort(text: &str, wanted: Option<&str>, file: &mut KeyFile) {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if wanted.is_some_and(|wanted| line.contains(wanted)) {
            file.naming.push(index + 1);
        }
        let has = |wanted: &str| options(line).iter().any(|name| name == wanted);
        let kind = match (has("cert-authority"), has("command")) {
            (true, _) => &mut file.authorities,
            (false, true) => &mut file.forced,
            (false, false) => &mut file.plain,
        };
        kind.push(index + 1);
    }
}

/// The names of the options before a key, in lower case.
fn options(line: &str) -> Vec<String> {
    let is_key = ["ssh-", "ecdsa-", "sk-", "rsa-", "webauthn-"];
    if is_key.iter().any(|kind| line.starts_with(kind)) {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut name = String::new();
    let (mut quoted, mut escaped, mut in_value) = (false, false, false);
    for letter in line.chars() {
        match letter {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => break,
            ',' if !quoted => {
                names.push(std::mem::take(&mut name));
                in_value = false;
            }
            '=' if !quoted && !in_value => in_value = true,
            _ if !in_value => name.push(letter.to_ascii_lowercase()),
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
    }
    names.push(name);
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn sorted(text: &str) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
        let mut file = KeyFile::default();
        sort(text, Some("only-backups"), &mut file);
        (file.forced, file.plain, file.authorities)
    }

    #[test]
    fn keys_with_a_command_of_their_own_are_found() {
        for line in [
            "command=\"/bin/echo only-backups\",restrict ssh-ed25519 AAAA",
            "  restrict,COMMAND=\"a b, c\" ssh-ed25519 AAAA",
            "from=\"a,command=b\",command=\"x \\\" y\" ssh-rsa AAAA x",
            "\tno-pty,command=\"\" ecdsa-sha2-nistp256 AAAA\r",
        ] {
            assert_eq!(sorted(line), (vec![1], vec![], vec![]), "{line}");
        }
        for line in [
            "ssh-ed25519 AAAA command=\"x\"",
            "restrict,pty ssh-ed25519 AAAA",
            "from=\"command=x,command=y\" ssh-ed25519 AAAA",
            "environment=\"A=command\" ssh-ed25519 AAAA",
            "sk-ssh-ed25519@openssh.com AAAA",
        ] {
            assert_eq!(sorted(line), (vec![], vec![1], vec![]), "{line}");
        }
        assert_eq!(
            sorted("# command=\"x\" ssh-rsa A\n\ncert-authority,command=\"x\" ssh-rsa A\n"),
            (vec![], vec![], vec![3])
        );
    }

    #[test]
    fn a_link_is_not_followed_and_a_fifo_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("keys"), "command=\"x\" ssh-rsa A\n").unwrap();
        assert_eq!(read(&at("keys"), None).unwrap().forced, [1]);
        symlink(at("keys"), at("link")).unwrap();
        let link = read(&at("link"), None).unwrap();
        assert!(link.forced.is_empty() && link.unread.unwrap().contains("link"));
        mkfifo(&at("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert_eq!(read(&at("fifo"), None), None);
        assert_eq!(read(&at("missing"), None), None);
        assert_eq!(read(&at("keys/below"), None), None);
    }
}
