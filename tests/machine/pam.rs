//! A machine whose programs ask PAM: stacks, passwords, sudo's rules, and a host of
//! the tests' own in C.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use fake_duo::{Builder, FakeDuo, Script};

use super::{Accounts, Sshd, World};
use crate::support::{Ended, PATIENCE, Sandbox, Terminal, TerminalSize, run_with, wait_until};

/// Everybody's password, and what /etc/shadow has for it.
pub const PASSWORD: &str = "first-factor";
const HASH: &str = "$6$rounds=1000$logintests$/x72Mw.GFAQhz3Lg/1OZpzs9OU.ll/QcB0LtXvvcE/\
                    m8jBJp360vHb/IBW.6sr6c7tKYij4d7IrrTHKl9piVv.";

/// Where the module is.
pub const MODULE: &str = "/srv/lib/pam_duo.so";
/// The first factor. Without `nodelay` each refusal takes two seconds.
const PAM_UNIX: &str = "auth requisite pam_unix.so nodelay\n";

/// Named, so that another module of that interface can stand in for ours.
const CONF: &str = "conf=/etc/duo/pam_duo.conf";

/// The codes that PAM's own header has.
pub mod code {
    pub const SUCCESS: i32 = 0;
    pub const SERVICE_ERR: i32 = 3;
    pub const AUTHINFO_UNAVAIL: i32 = 9;
    pub const USER_UNKNOWN: i32 = 10;
    pub const MAXTRIES: i32 = 11;
    pub const ABORT: i32 = 26;
}

/// A machine with PAM.
pub struct PamWorld(World);

impl Deref for PamWorld {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl PamWorld {
    /// With these lines in pam_duo.conf.
    pub fn new(extra: &str) -> PamWorld {
        PamWorld::with(FakeDuo::builder(), extra)
    }

    /// With a service of one's own making.
    pub fn with(builder: Builder, extra: &str) -> PamWorld {
        PamWorld::of(builder, extra, |_| {})
    }

    /// And with the accounts changed by `edit`.
    pub fn of(builder: Builder, extra: &str, edit: impl Fn(&mut Vec<String>)) -> PamWorld {
        let sandbox = Sandbox::with(builder.user("root", Script::Push));
        let mut accounts = Accounts::people();
        for line in &mut accounts.passwd {
            *line = line.replacen(":*:", ":x:", 1);
        }
        edit(&mut accounts.passwd);
        let world = PamWorld(World::of(sandbox, accounts));
        world.configure(extra);
        world.lay_out_etc();
        world
    }

    /// Stacks, passwords and sudo's rules, in place of the machine's own.
    fn lay_out_etc(&self) {
        for name in [
            "pam.d",
            "pam.conf",
            "sudoers",
            "sudoers.d",
            "sudo.conf",
            "login.defs",
        ] {
            let _ = fs::remove_file(self.etc(name));
        }
        // su and login wait three seconds after each refusal.
        self.write("login.defs", "FAIL_DELAY 0\nLOGIN_TIMEOUT 60\n", 0o644);
        fs::create_dir(self.etc("pam.d")).unwrap();
        fs::create_dir(self.etc("sudoers.d")).unwrap();
        let sudoers = "Defaults env_reset, timestamp_timeout=0, lecture=never, !insults\n\
                       Defaults secure_path=\"/usr/sbin:/usr/bin:/sbin:/bin\"\n\
                       ALL ALL=(ALL:ALL) ALL\n";
        self.write("sudoers", sudoers, 0o440);
        self.write("sudo.conf", "Set disable_coredump true\n", 0o644);
        let passwd = fs::read_to_string(self.etc("passwd")).unwrap();
        let names = passwd.lines().filter_map(|line| line.split(':').next());
        let shadow: String = names
            .map(|name| format!("{name}:{HASH}:19000:0:99999:7:::\n"))
            .collect();
        self.write("shadow", &shadow, 0o600);
        self.stack("duo", "");
        self.stack("other", "");
        for service in ["su", "su-l", "sudo", "sudo-i", "login", "sshd"] {
            self.stack(service, PAM_UNIX);
        }
    }

    /// A file of /etc.
    pub fn etc(&self, name: &str) -> std::path::PathBuf {
        self.at("/etc").join(name)
    }

    /// Writes a file of /etc.
    pub fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.etc(name), text).expect(name);
        fs::set_permissions(self.etc(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A service's stack: these lines, then the module.
    pub fn stack(&self, service: &str, before: &str) {
        self.stack_with(service, before, CONF);
    }

    /// The same with arguments for the module.
    pub fn stack_with(&self, service: &str, before: &str, arguments: &str) {
        let text = format!(
            "{before}auth required {MODULE} {arguments}\n\
             account required pam_permit.so\nsession required pam_permit.so\n\
             password required {MODULE}\n"
        );
        self.write(&format!("pam.d/{service}"), &text, 0o644);
    }

    /// A stack of all the module's entry points.
    pub fn stack_of_all(&self, service: &str) {
        let kinds = ["auth", "account", "session", "password"];
        let lines = kinds.map(|kind| format!("{kind} required {MODULE}\n"));
        self.write(&format!("pam.d/{service}"), &lines.concat(), 0o644);
    }

    /// Writes pam_duo.conf anew, with these lines after those that it needs.
    pub fn configure(&self, extra: &str) {
        let text = fs::read(self.sandbox.configure(extra)).unwrap();
        self.configure_with(&text);
    }

    /// Writes this very text as pam_duo.conf.
    pub fn configure_with(&self, text: &[u8]) {
        let path = self.config();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(0), Some(0)).unwrap();
    }

    /// Where pam_duo.conf is for this process.
    pub fn config(&self) -> std::path::PathBuf {
        self.sandbox.path().join("pam_duo.conf")
    }

    /// pamtester, as root: one authentication.
    pub fn pamtester(&self, service: &str, user: &str) -> Command {
        let mut command = self.inside();
        command.args(["pamtester", service, user, "authenticate"]);
        command
    }

    /// The host of the tests' own, as root, with its options, service and user.
    pub fn host(&self, words: &[&str]) -> Asked {
        self.host_by(self.inside(), words)
    }

    /// The same through a command that executes its arguments.
    pub fn host_by(&self, mut command: Command, words: &[&str]) -> Asked {
        command.arg(pam_host()).args(words);
        Asked::of(Ended::of(command.stdin(std::process::Stdio::null())))
    }

    /// The host as a command.
    pub fn host_command(&self, words: &[&str]) -> Command {
        let mut command = self.inside();
        command.arg(pam_host()).args(words);
        command
    }

    /// One authentication by the stack `duo`, which asks nothing but Duo, with these
    /// answers: its code.
    pub fn code(&self, user: &str, answers: &[&str]) -> i32 {
        self.asks("duo", user, answers).code()
    }

    /// One authentication with these answers.
    pub fn asks(&self, service: &str, user: &str, answers: &[&str]) -> Asked {
        let mut words: Vec<&str> = answers.iter().flat_map(|text| ["-a", text]).collect();
        words.extend([service, user]);
        self.host(&words)
    }

    /// By how many KiB so many authentications grow the host, the first one and the
    /// module itself included, beyond what a module that does nothing costs it.
    pub fn growth_beyond_pams_own(
        &self,
        times: usize,
        options: &[&str],
        user: &str,
    ) -> (i64, Asked) {
        self.write("pam.d/nothing", "auth required pam_permit.so\n", 0o644);
        let times = times.to_string();
        let grown = |service| {
            let words = [&["-q", "-n", &times], options, &[service, user]].concat();
            self.host(&words)
        };
        // What the kernel maps around a page that is touched differs from run to run by as
        // much as the bound, so the smallest of three counts.
        let smallest = |service| {
            let runs = [(); 3].map(|()| grown(service));
            let growth = runs.iter().map(Asked::resident_growth).min();
            let [asked, ..] = runs;
            (growth.expect("three runs"), asked)
        };
        let ((base, _), (growth, asked)) = (smallest("nothing"), smallest("duo"));
        (growth - base, asked)
    }

    /// `sudo -S …`, as that user, with these lines as its input.
    pub fn sudo(&self, user: &str, words: &[&str], input: &str) -> Ended {
        let mut sudo = self.as_user(user);
        // Not -p, whose text stands in place of the menu too.
        sudo.args(["sudo", "-S"]).args(words);
        run_with(sudo, input.as_bytes())
    }

    /// `su …`, as that user, with these lines as its input.
    pub fn su(&self, user: &str, words: &[&str], input: &str) -> Ended {
        let mut su = self.as_user(user);
        su.arg("su").args(words);
        run_with(su, input.as_bytes())
    }

    /// A command of that user's on a terminal.
    pub fn on_terminal(&self, user: &str, words: &[&str]) -> Terminal {
        let mut command = self.as_user(user);
        command.env("TERM", "xterm").args(words);
        Terminal::start(&command, TerminalSize::USUAL)
    }

    /// sshd with PAM, and these lines before those that it has anyway.
    pub fn sshd(&self, lines: &str) -> Sshd {
        let first = format!("UsePAM yes\nKbdInteractiveAuthentication yes\n{lines}");
        Sshd::start_behind(self, &first, "")
    }

    /// The lines of the module's log.
    pub fn module_lines(&self) -> Vec<super::Line> {
        let mut lines = self.log();
        lines.retain(|line| line.program == "pam_duo");
        lines
    }

    /// The final lines of the module's log.
    pub fn finals(&self) -> Vec<String> {
        let lines = self.module_lines().into_iter().map(|line| line.text);
        lines.filter(|text| super::is_final(text)).collect()
    }

    /// Waits for a final line: its text.
    pub fn wait_for_final(&self) -> String {
        self.wait_for_log(super::is_final).text
    }

    /// Waits for the first push, and returns the helper's two processes.
    pub fn wait_for_helper(&self) -> (i32, i32) {
        self.wait_for_push()
    }

    /// Waits until the helper's two processes are there.
    pub fn wait_for_halves(&self) -> (i32, i32) {
        wait_until(
            || self.find_halves().is_some(),
            || format!("no helper: {:?}", self.processes()),
        );
        self.halves()
    }

    /// Waits until Duo was asked that often for preauth.
    pub fn wait_for_preauth(&self) {
        let asked = |requests: &[fake_duo::Request]| !requests.is_empty();
        assert!(self.sandbox.duo.wait_until(asked, PATIENCE), "no preauth");
    }
}

/// What the host of the tests' own said.
#[derive(Debug)]
pub struct Asked {
    pub ended: Ended,
    lines: Vec<String>,
}

impl Asked {
    pub fn of(ended: Ended) -> Asked {
        let lines = ended.stdout().lines().map(str::to_owned).collect();
        Asked { ended, lines }
    }

    /// All that begins with this word, without it.
    pub fn all(&self, word: &str) -> Vec<&str> {
        let lines = self.lines.iter();
        lines
            .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
            .collect()
    }

    /// Each authentication's code.
    pub fn codes(&self) -> Vec<i32> {
        let codes = self.all("code").into_iter();
        codes.map(|text| text.parse().expect("a code")).collect()
    }

    /// The one authentication's code.
    #[track_caller]
    pub fn code(&self) -> i32 {
        let codes = self.codes();
        assert_eq!(codes.len(), 1, "{:#?}", self.ended);
        codes[0]
    }

    /// By how many KiB the host's resident memory grew.
    #[track_caller]
    pub fn resident_growth(&self) -> i64 {
        let grown = self.all("grown");
        assert_eq!(grown.len(), 1, "{:#?}", self.ended);
        let number = grown[0]
            .split(' ')
            .next()
            .and_then(|word| word.parse().ok());
        number.expect("a number")
    }

    /// The prompts, visible ones.
    pub fn prompts(&self) -> Vec<&str> {
        self.all("prompt-on")
    }

    /// What was told: texts and errors.
    pub fn told(&self) -> Vec<&str> {
        [self.all("info"), self.all("error")].concat()
    }

    /// Asserts that the host is as it was before.
    #[track_caller]
    pub fn is_unchanged(&self) -> &Asked {
        let (changed, failed) = (self.all("changed"), self.all("failed"));
        assert!(changed.is_empty() && failed.is_empty(), "{:#?}", self.lines);
        assert_eq!(self.ended.code(), 0, "{:#?}", self.ended);
        self
    }
}

/// The host of the tests' own, compiled once.
fn pam_host() -> &'static Path {
    static COMPILED: OnceLock<()> = OnceLock::new();
    let program = Path::new("/srv/bin/pam_host");
    COMPILED.get_or_init(|| {
        let mut cc = Command::new("cc");
        cc.args(["-Wall", "-Wextra", "-O1", "-pthread", "-rdynamic", "-o"])
            .arg(program)
            .args(["-x", "c", "-"])
            // Without the package that has libpam.so for the linker.
            .args(["-x", "none", "-l:libpam.so.0"])
            .env("TMPDIR", "/srv/tmp");
        run_with(cc, include_bytes!("pam_host.c")).succeeds();
    });
    program
}
