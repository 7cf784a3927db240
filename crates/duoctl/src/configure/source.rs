//! Where a candidate comes from: standard input, a file, or a value on standard input. The secret
//! key is never an argument, which every user of the machine can read.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Stdin, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use duo_policy::config::MAX_SIZE;
use duo_policy::secret::Secret;
use duo_system::system_words;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::outcome::{Failure, Report};
use crate::signals::Signals;

/// The value that means: take it from standard input.
const FROM_STDIN: &str = "-";

/// The whole of standard input.
pub fn stdin() -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        show("Type the configuration, and Ctrl-D at its end:\n");
    }
    whole(Interruptible::new(io::stdin())?)
        .map_err(|why| Failure::refused(format!("standard input {why}")))
}

/// The whole of a file.
pub fn file(path: &Path, report: &mut Report) -> Result<Secret, Failure> {
    let shown = path.display();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (status, file) =
        opened.map_err(|error| Failure::refused(format!("{shown}: {}", system_words(&error))))?;
    if !status.is_file() {
        return Err(Failure::refused(format!(
            "{shown} is not a regular file; for a pipe: duoctl configure -"
        )));
    }
    let bytes = whole(file).map_err(|why| Failure::refused(format!("{shown} {why}")))?;
    if status.mode() & 0o077 != 0 {
        report.warn(format!(
            "others may have read the secret key in {shown} (mode {:04o}): remove that file, \
             and make a new key in the Duo Admin Panel if they could",
            status.mode() & 0o7777
        ));
    }
    Ok(bytes)
}

/// Reads to the end; says what is wrong with its length, or the system's words.
fn whole(mut from: impl Read) -> Result<Secret, String> {
    // All of it at once: a buffer that grows leaves copies of the secret key behind.
    let mut bytes = vec![0; MAX_SIZE + 1];
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot be read: {}", system_words(&error))),
        }
    }
    bytes.truncate(length);
    let bytes = Secret::from(bytes);
    match length {
        0 => Err("is empty".to_owned()),
        _ if length > MAX_SIZE => Err("is longer than 1 MiB".to_owned()),
        _ => Ok(bytes),
    }
}

/// The value of `--set KEY=VALUE`; with `-`, the first line of standard input.
pub fn value(key: &str, value: &str, stdin_is_used: &mut bool) -> Result<Secret, Failure> {
    if value == FROM_STDIN {
        if std::mem::replace(stdin_is_used, true) {
            return Err(Failure::Usage("only one value can be '-'".to_owned()));
        }
        return line(key);
    }
    // A password stands before the '@' of a proxy.
    if key == "skey" || (key == "http_proxy" && value.contains('@')) {
        return Err(Failure::Usage(format!(
            "a secret in an argument can be read by every user of this machine (ps): say \
             --set {key}=- and give it on standard input"
        )));
    }
    Ok(Secret::from(value.to_owned()))
}

/// One line of standard input; a terminal does not show it.
fn line(key: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    let failed =
        |error: io::Error| Failure::refused(format!("standard input: {}", system_words(&error)));
    let shown = stdin.is_terminal().then(|| tcgetattr(stdin.as_fd()));
    let shown = shown.transpose().map_err(|errno| failed(errno.into()))?;
    if let Some(settings) = &shown {
        let mut hidden = settings.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin.as_fd(), SetArg::TCSAFLUSH, &hidden)
            .map_err(|errno| failed(errno.into()))?;
        show(&format!("{key}: "));
    }
    let taken = Interruptible::new(io::stdin()).and_then(|stdin| first_line(stdin).map_err(failed));
    if let Some(settings) = &shown {
        let _ = tcsetattr(stdin.as_fd(), SetArg::TCSANOW, settings);
        show("\n");
    }
    let taken = taken?;
    match taken.expose().is_empty() {
        true => Err(Failure::refused(format!(
            "no value for '{key}' on standard input"
        ))),
        false => Ok(taken),
    }
}

/// Standard input that Ctrl-C ends, though signals are blocked in this process: whoever waits for
/// a person must let them go, and put the terminal's settings back.
struct Interruptible {
    stdin: Stdin,
    signals: Signals,
}

/// Between two looks whether a signal has come, in milliseconds.
const LOOK: u8 = 100;

impl Interruptible {
    fn new(stdin: Stdin) -> Result<Interruptible, Failure> {
        let signals = Signals::block()?;
        Ok(Interruptible { stdin, signals })
    }
}

impl Read for Interruptible {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.signals.none_came().map_err(io::Error::other)?;
            let mut fds = [PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, LOOK) {
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(nix::unistd::read(self.stdin.as_fd(), into)?),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// On the terminal itself: stderr may be a file.
fn show(text: &str) {
    let _ = match File::options().write(true).open("/dev/tty") {
        Ok(mut terminal) => terminal.write_all(text.as_bytes()),
        Err(_) => io::stderr().write_all(text.as_bytes()),
    };
}

fn first_line(mut from: impl Read) -> io::Result<Secret> {
    const LONGEST: usize = 4096;
    let mut bytes = Vec::with_capacity(LONGEST);
    let mut one = [0];
    while bytes.len() < LONGEST {
        match from.read(&mut one) {
            Ok(0) => break,
            Ok(_) if one == *b"\n" => break,
            Ok(_) => bytes.extend_from_slice(&one),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if bytes.ends_with(b"\r") {
        bytes.pop();
    }
    Ok(Secret::from(bytes))
}
