//! Running `sshd -T`, with a deadline and an empty environment, and reading the options that it prints.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use duo_system::system_words;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::finding::{Finding, quoted};

/// Where distributions and builds from source put sshd. The caller's PATH is not searched.
const PLACES: [&str; 2] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];

/// The time for one run of sshd.
const RUN_TIME: Duration = Duration::from_secs(10);

/// The time between two looks at whether a command has ended.
const END_POLL: Duration = Duration::from_millis(5);

/// The most bytes of output that are read. sshd never prints so many.
const LONGEST_OUTPUT: usize = 1024 * 1024;

/// The first sshd of this machine.
pub fn find() -> Option<&'static Path> {
    PLACES
        .into_iter()
        .map(Path::new)
        .find(|path| path.is_file())
}

/// sshd's options for one login: keywords in lower case, with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshdOptions(Vec<(String, String)>);

impl SshdOptions {
    /// The options in the output of `sshd -T`.
    pub fn of(text: &str) -> SshdOptions {
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            (key.to_ascii_lowercase(), value.trim().to_owned())
        };
        SshdOptions(text.lines().map(pair).collect())
    }

    /// The first value of a keyword; empty if sshd does not know the keyword.
    pub fn value(&self, key: &str) -> &str {
        let first = self.0.iter().find(|(name, _)| name == key);
        first.map_or("", |(_, value)| value)
    }

    /// Every value of a keyword.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.0.iter().filter(move |(name, _)| name == key);
        own.map(|(_, value)| value.as_str())
    }
}

/// Asks sshd for its options for the login `spec`, until `until` at most.
///
/// # Errors
/// The finding that says why sshd did not print them.
pub fn options(
    program: &Path,
    configuration: Option<&Path>,
    spec: &str,
    until: Instant,
) -> Result<SshdOptions, Finding> {
    const ID: &str = "sshd.configuration";
    let mut command = Command::new(program);
    command.env_clear().arg("-T");
    if let Some(path) = configuration {
        command.arg("-f").arg(path);
    }
    command.args(["-C", spec]);
    let file = configuration.map_or_else(String::new, |path| format!(" -f {}", quoted(path)));
    let by_hand = format!("{} -T{file}", program.display());
    let failed = |why: &str| Finding::fail(ID, format!("sshd -T failed: {why}")).mend(&*by_hand);
    let (is_success, output, errors) = run(&mut command, until.min(Instant::now() + RUN_TIME))
        .map_err(|error| failed(&system_words(&error)))?;
    if is_success {
        return Ok(SshdOptions::of(&output));
    }
    let why = errors
        .lines()
        .rfind(|line| !line.is_empty())
        .unwrap_or("it says nothing");
    // The unit of sshd makes this folder when it starts, so the folder is missing while sshd is off.
    if let Some(folder) = why.strip_prefix("Missing privilege separation directory: ") {
        let text = format!("sshd's configuration cannot be seen while {folder} is missing");
        let mend = format!("mkdir -m 755 {}", quoted(Path::new(folder)));
        return Err(Finding::warn(ID, text).mend(mend));
    }
    if why.contains("no hostkeys available") {
        let (why, mend) = match nix::unistd::geteuid().is_root() {
            true => ("there are no host keys", "ssh-keygen -A".to_owned()),
            false => (
                "its host keys are for root alone",
                format!("sudo {by_hand}"),
            ),
        };
        let text = format!("sshd's configuration cannot be seen: {why}");
        return Err(Finding::warn(ID, text).mend(mend));
    }
    Err(failed(why))
}

/// Whether it succeeded, its output and its complaints.
///
/// # Errors
/// It cannot be started, or takes too long.
pub fn run(command: &mut Command, until: Instant) -> io::Result<(bool, String, String)> {
    let mut child = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let ended = output(&mut child, until).and_then(|read| Ok((status(&mut child, until)?, read)));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status, (output, errors)) = ended?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status.success(), text(output), text(errors)))
}

/// Waits for the end of a command that has closed its outputs.
fn status(child: &mut Child, until: Instant) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(END_POLL);
    }
}

fn output(child: &mut Child, until: Instant) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    // Both pipes are read at the same time: a full pipe that is not read would stop the command.
    while stdout.is_some() || stderr.is_some() {
        let fds = [
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ];
        let mut polled: Vec<PollFd<'_>> = fds
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        match poll(
            &mut polled,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        if stdout.is_some() && ready.next() == Some(true) {
            read_some(&mut stdout, &mut output)?;
        }
        if stderr.is_some() && ready.next() == Some(true) {
            read_some(&mut stderr, &mut errors)?;
        }
    }
    Ok((output, errors))
}

/// Reads what the pipe has now, and closes the pipe at its end.
fn read_some<R: Read>(pipe: &mut Option<R>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 8192];
    let read = pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(&mut chunk))?;
    into.extend_from_slice(chunk.get(..read).unwrap_or_default());
    if read == 0 || into.len() > LONGEST_OUTPUT {
        pipe.take();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut sleep = Command::new("/bin/sleep");
        let start = Instant::now();
        let ended = run(sleep.arg("60"), start + Duration::from_millis(50));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_closes_its_outputs_and_runs_on_is_ended() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec >&- 2>&-; exec sleep 10"]);
        let ended = run(&mut shell, Instant::now() + Duration::from_millis(50));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn both_outputs_are_read_whole() {
        let mut shell = Command::new("/bin/sh");
        shell.args([
            "-c",
            "i=0; while [ $i -lt 3000 ]; do echo 1234567890123456789012345678901; \
            echo 1234567890123456789012345678901 >&2; i=$((i+1)); done; exit 3",
        ]);
        let until = Instant::now() + Duration::from_secs(30);
        let (good, output, errors) = run(&mut shell, until).unwrap();
        assert_eq!((good, output.len(), errors.len()), (false, 96_000, 96_000));
    }

    #[test]
    fn options_are_keywords_with_values() {
        let options =
            SshdOptions::of("port 22\nAcceptEnv LANG\nacceptenv LC_*\nforcecommand none\n");
        assert_eq!(options.value("port"), "22");
        assert_eq!(
            options.values("acceptenv").collect::<Vec<_>>(),
            ["LANG", "LC_*"]
        );
        assert_eq!(options.value("nothing"), "");
    }
}
