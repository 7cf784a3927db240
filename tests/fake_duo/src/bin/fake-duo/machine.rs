//! The throw-away machine of `demo --pam`: namespaces with accounts, PAM stacks and a network of their own. The kernel ends
//! its processes and mounts with this program, whatever ends that.

use crate::cli::Service;
use crate::programs::{HELPER, PamDuo};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// The password of the account `demo`; `machine.sh` has it as a hash.
pub const PASSWORD: &str = "demo";

/// The folders in which a program may be.
const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Where the configuration that the machine gets looks for `ca.pem`.
pub const CA_FILE: &str = "/etc/duo/ca.pem";

/// Sets up the one interface of a new net namespace: without /sys mounted anew, it would be that of the real machine.
const LOOPBACK_UP: &str = "mount -t sysfs none /sys && echo 1 > /sys/class/net/lo/flags";

/// A net namespace with a loopback: nobody else on the real machine can reach its sshd.
pub struct Network(File);

impl Network {
    /// Makes one, with a socket in it for the service.
    ///
    /// # Errors
    /// This machine does not allow namespaces.
    pub fn new() -> io::Result<(Self, TcpListener)> {
        let made = std::thread::spawn(|| {
            // For this thread alone, and what it starts.
            unshare(CloneFlags::CLONE_NEWNET)?;
            succeed(Command::new("unshare").args(["--mount", "sh", "-c", LOOPBACK_UP]))?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let namespace = File::open("/proc/thread-self/ns/net")?;
            Ok((Self(namespace), listener))
        });
        made.join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread has ended")))
            .map_err(not_here)
    }
}

/// What becomes a machine.
pub struct Machine<'a> {
    pub network: Network,
    pub pam_duo: PamDuo,
    pub service: Service,
    pub config: String,
    pub ca_pem: &'a str,
}

impl Machine<'_> {
    /// A command that becomes the machine and then this program, if it is one; it ends with the thread that starts it.
    pub fn command(&self, program: &[&str]) -> Command {
        // What Ctrl-Z stops here, nobody would ever continue.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TSTP; exec \"$@\"", "sh"]);
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        let network = self.network.0.as_raw_fd();
        let network = format!("--net=/proc/{}/fd/{network}", std::process::id());
        command.args(["nsenter", &network]);
        command.args(["unshare", "--mount", "--propagation", "private"]);
        command.args(["--uts", "--ipc", "--pid", "--fork"]);
        command.args(["--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", include_str!("machine.sh"), "machine"]);
        command.args([&self.pam_duo.module, &self.pam_duo.helper]);
        command.args([HELPER, &self.config, self.ca_pem, name(self.service)]);
        command.args(program).env_clear();
        command.env("PATH", FOLDERS.join(":"));
        for kept in ["TERM", "LANG"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
    }

    /// Makes the machine once, to see whether it can be made.
    ///
    /// # Errors
    /// This machine does not allow what it takes.
    pub fn try_out(&self) -> io::Result<()> {
        succeed(&mut self.command(&[])).map_err(not_here)
    }
}

fn not_here(error: io::Error) -> io::Error {
    let text = format!("no throw-away machine can be made here: {error}");
    io::Error::new(error.kind(), text)
}

/// Runs this to its end; of what it says, the last line becomes the error.
fn succeed(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdout(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().rfind(|line| !line.trim().is_empty());
    Err(io::Error::other(why.map_or_else(
        || format!("{name}: {}", output.status),
        str::to_owned,
    )))
}

/// What the service is called.
pub fn name(service: Service) -> &'static str {
    match service {
        Service::Su => "su",
        Service::Sudo => "sudo",
        Service::Sshd => "sshd",
    }
}

/// The first program that is missing here, of those that this demo runs.
pub fn missing(service: Service) -> Option<&'static str> {
    let own: &[&str] = match service {
        Service::Su => &["su"],
        Service::Sudo => &["sudo"],
        Service::Sshd => &["sshd", "ssh", "ssh-keygen"],
    };
    let usual = ["unshare", "nsenter", "setpriv", "mount"];
    let is_missing = |program: &&str| {
        !FOLDERS
            .iter()
            .any(|folder| Path::new(folder).join(program).is_file())
    };
    own.iter().chain(&usual).find(|it| is_missing(it)).copied()
}
