//! `duoctl check` on machines of its own making: the setuid program, accounts
//! and groups, and a real `sshd -T`.

pub mod accounts;
pub mod installation;
pub mod sshd;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::machine::{Accounts, once};
use crate::support::{Ended, Found, Sandbox, check_command};

/// sshd as the README wants it.
pub const STRICT: &str = "ForceCommand /run/bin/login_duo\nAllowTcpForwarding no\n\
    AllowStreamLocalForwarding no\nPermitTunnel no\nX11Forwarding no\nPermitUserRC no\n\
    PermitUserEnvironment no\nAcceptEnv LANG LC_*\nSubsystem sftp internal-sftp\n";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    sshd:x:4240:4240::/:/usr/sbin/nologin\n\
    duo:x:4242:4242::/:/usr/sbin/nologin\n\
    alice:x:5001:5001:Alice:/:/bin/sh\n\
    bob:x:5002:5002:Bob:/:/bin/sh\n";

const GROUP: &str = "root:x:0:\nsshd:x:4240:\nduo:x:4242:\nalice:x:5001:\nbob:x:5002:\n\
    admins:x:5003:alice\nempty:x:5004:\n";

/// A machine to be.
pub struct Machine {
    sandbox: Sandbox,
    config: String,
    passwd: String,
    group: String,
    sshd: String,
    setup: String,
    before: String,
    command: &'static str,
}

impl Machine {
    /// One as it should be.
    pub fn new() -> Machine {
        Machine {
            sandbox: Sandbox::new(),
            config: String::new(),
            passwd: PASSWD.to_owned(),
            group: GROUP.to_owned(),
            sshd: STRICT.to_owned(),
            setup: String::new(),
            before: String::new(),
            command: "check",
        }
    }

    /// Further lines of login_duo.conf.
    pub fn config(mut self, lines: &str) -> Machine {
        self.config.push_str(lines);
        self
    }

    /// /etc/passwd with `from` replaced.
    pub fn passwd(mut self, from: &str, to: &str) -> Machine {
        assert!(self.passwd.contains(from), "{from}");
        self.passwd = self.passwd.replace(from, to);
        self
    }

    /// /etc/group with `from` replaced.
    pub fn group(mut self, from: &str, to: &str) -> Machine {
        assert!(self.group.contains(from), "{from}");
        self.group = self.group.replace(from, to);
        self
    }

    /// sshd_config with `from` replaced.
    pub fn sshd(mut self, from: &str, to: &str) -> Machine {
        assert!(self.sshd.contains(from), "{from}");
        self.sshd = self.sshd.replace(from, to);
        self
    }

    /// Lines at the end of sshd_config.
    pub fn sshd_adds(mut self, lines: &str) -> Machine {
        self.sshd.push_str(lines);
        self
    }

    /// Shell commands before the check.
    pub fn setup(mut self, commands: &str) -> Machine {
        self.setup.push_str(commands);
        self.setup.push('\n');
        self
    }

    /// Words before login_duo's name.
    pub fn through(mut self, words: &str) -> Machine {
        self.before = words.to_owned();
        self
    }

    /// This command of duoctl's in place of `check`.
    pub fn runs(mut self, command: &'static str) -> Machine {
        self.command = command;
        self
    }

    /// The folder that is /etc/duo there.
    pub fn folder(&self) -> &Path {
        self.sandbox.path()
    }

    fn command(&self, arguments: &str) -> Command {
        let folder = self.sandbox.path();
        self.sandbox.configure(&self.config);
        Accounts::of(&self.passwd, &self.group).write(folder);
        fs::write(folder.join("sshd_config"), &self.sshd).unwrap();
        let (program, _) = check_command();
        let script = format!(
            "set -e\n\
             mkdir -m 755 /run/bin /run/duo\n\
             cp -p $(printf '/srv/bin/%s\n' login_duo {program} | sort -u) /run/bin/\n\
             cp -p /etc/duo/login_duo.conf /etc/duo/ca.pem /run/duo/\n\
             cp /etc/duo/sshd_config /run/\n\
             {setup}\n\
             exec {before} /run/bin/{program} {words} -c /run/duo/login_duo.conf \
             --sshd-config /run/sshd_config {arguments}\n",
            program = program.file_name().unwrap().display(),
            words = self.command,
            setup = self.setup,
            before = self.before,
        );
        let mut command = once(folder);
        command.args(["sh", "-c", &script]);
        command
    }

    /// Runs the check with these arguments.
    pub fn run(&self, arguments: &str) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// Runs the check and reads what it found.
    pub fn check(&self, arguments: &str) -> Found {
        Found::by(&mut self.command(&format!("--json {arguments}")))
    }
}
