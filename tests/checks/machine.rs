//! A machine for one check: accounts, groups, sshd's configuration and an installed setuid
//! login_duo, in a mount namespace that ends with it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use fake_duo::FakeDuo;
use serde_json::Value;

/// What is needed and not there.
pub fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root");
    }
    if !Path::new("/usr/sbin/sshd").exists() {
        return Some("sshd");
    }
    let namespace = Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "none", "/srv"])
        .stderr(Stdio::null())
        .status();
    let can = namespace.is_ok_and(|status| status.success());
    (!can).then_some("a mount namespace")
}

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
    duo: FakeDuo,
    folder: tempfile::TempDir,
    config: String,
    passwd: String,
    group: String,
    sshd: String,
    setup: String,
    before: String,
}

impl Machine {
    /// One as it should be.
    pub fn new() -> Machine {
        let duo = FakeDuo::start();
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        Machine {
            duo,
            folder,
            config: String::new(),
            passwd: PASSWD.to_owned(),
            group: GROUP.to_owned(),
            sshd: STRICT.to_owned(),
            setup: String::new(),
            before: String::new(),
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

    /// Runs the check with these arguments.
    pub fn run(&self, arguments: &str) -> Output {
        let at = |name: &str| self.folder.path().join(name);
        self.duo
            .write_config(self.folder.path(), &self.config)
            .unwrap();
        fs::write(at("passwd"), &self.passwd).unwrap();
        fs::write(at("group"), &self.group).unwrap();
        fs::write(at("sshd_config"), &self.sshd).unwrap();
        let sources = "passwd: files\ngroup: files\nhosts: files\n";
        fs::write(at("nsswitch.conf"), sources).unwrap();
        let script = format!(
            "set -e\n\
             cd {folder}\n\
             mount --make-rprivate /\n\
             for file in passwd group nsswitch.conf; do mount --bind $file /etc/$file; done\n\
             mount -t tmpfs -o mode=755 none /run\n\
             mkdir -m 755 /run/sshd /run/bin /run/duo\n\
             cp {program} /run/bin/login_duo; chmod 4755 /run/bin/login_duo\n\
             cp -p login_duo.conf ca.pem /run/duo/; cp sshd_config /run/\n\
             {setup}\n\
             exec {before} /run/bin/login_duo --check -c /run/duo/login_duo.conf \
             --sshd-config /run/sshd_config {arguments}\n",
            folder = self.folder.path().display(),
            program = env!("CARGO_BIN_EXE_login_duo"),
            setup = self.setup,
            before = self.before,
        );
        Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap()
    }

    /// Runs the check and reads what it found.
    pub fn check(&self, arguments: &str) -> Found {
        let output = self.run(&format!("--json {arguments}"));
        let json = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Found(json)
    }
}

/// What was found.
pub struct Found(pub Value);

impl Found {
    /// The findings of this id.
    pub fn of(&self, id: &str) -> Vec<&Value> {
        let findings = self.0["findings"].as_array().unwrap();
        findings
            .iter()
            .filter(|finding| finding["id"] == id)
            .collect()
    }

    /// Asserts that a finding of this id has this level, and says these words.
    #[track_caller]
    pub fn is(&self, id: &str, level: &str, words: &str) {
        let fits = |finding: &&Value| {
            finding["level"] == level && finding["text"].as_str().unwrap().contains(words)
        };
        assert!(
            self.of(id).iter().any(fits),
            "{id} is not {level} '{words}': {:#}",
            self.0
        );
    }

    /// Asserts that one of this id is mended by this.
    #[track_caller]
    pub fn is_mended_by(&self, id: &str, mend: &str) {
        let fits = |finding: &&Value| {
            finding["mend"]
                .as_str()
                .is_some_and(|text| text.contains(mend))
        };
        assert!(
            self.of(id).iter().any(fits),
            "{id} is not mended by '{mend}': {:#}",
            self.0
        );
    }

    /// Asserts that all findings of this id are ok, and that there is one.
    #[track_caller]
    pub fn is_ok(&self, id: &str) {
        let found = self.of(id);
        let good = !found.is_empty() && found.iter().all(|finding| finding["level"] == "ok");
        assert!(good, "{id} is not ok: {:#}", self.0);
    }
}
