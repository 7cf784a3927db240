//! What sshd's options mean: for which users it does not run login_duo, and what it lets a client do
//! before or beside a forced command. Only ForceCommand's file is looked at, to compare it with
//! login_duo's.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use duo_policy::config::Failmode;
use duo_policy::groups::Groups;

use super::run::SshdOptions;
use super::{Case, Users};
use crate::cli::With;
use crate::finding::{Finding, Level, quoted};
use crate::pam::sshd::{Meets, meets};

/// What the rest of the check has found.
pub struct Facts<'a> {
    /// The file of login_duo.
    pub program: &'a Path,
    /// The configuration's failmode, if it could be read.
    pub failmode: Option<Failmode>,
    /// Whether `$DUO_PASSCODE` is taken, if the configuration could be read.
    pub takes_passcode: Option<bool>,
    /// The path of sftp-server, which is run in place of `internal-sftp`.
    pub sftp_server: Option<&'a str>,
    /// What sshd asks for before PAM's module, if its stack has one.
    pub pam: Option<With>,
}

/// The forced command of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forced {
    /// login_duo.
    LoginDuo,
    /// Another program.
    Other(String),
    /// Whatever the client asks for.
    Nothing,
}

/// The findings about the cases. `path` is sshd's configuration, for the texts.
pub fn findings(cases: &[Case], facts: &Facts<'_>, path: &Path) -> Vec<Finding> {
    let forced: Vec<(&Case, Forced)> = cases
        .iter()
        .map(|case| (case, forced(&case.options, facts.program)))
        .collect();
    let mut findings = force_command(&forced, facts, path);
    // Whatever goes past login_duo matters only to users for whom sshd runs login_duo.
    let asked: Vec<&Case> = forced
        .iter()
        .filter(|(_, forced)| *forced == Forced::LoginDuo)
        .map(|(case, _)| *case)
        .collect();
    // PAM asks before there is a session, or any forwarding.
    if asked.is_empty() && facts.pam.is_some() {
        findings.extend(cases.first().and_then(|case| grace(&case.options)));
        return findings;
    }
    let asked = if asked.is_empty() {
        cases.iter().collect()
    } else {
        asked
    };
    for channel in &CHANNELS {
        findings.extend(forwarding(channel, &asked));
    }
    findings.extend(user_files(&asked));
    findings.extend(accept_env(&asked, facts));
    findings.extend(sftp(&asked, facts));
    findings.extend(root_way_in(&forced, facts));
    findings.extend(cases.first().and_then(|case| grace(&case.options)));
    findings
}

/// What a login with these options would run.
pub fn forced(options: &SshdOptions, program: &Path) -> Forced {
    let command = options.value("forcecommand");
    let mut words = command.split_whitespace().filter(|word| *word != "exec");
    let Some(first) = words
        .next()
        .filter(|word| !word.eq_ignore_ascii_case("none"))
    else {
        return Forced::Nothing;
    };
    let file = |path: &Path| {
        let status = std::fs::metadata(path).ok()?;
        Some((status.dev(), status.ino()))
    };
    let first = Path::new(first);
    let same = first.is_absolute() && file(first).is_some() && file(first) == file(program);
    if same {
        Forced::LoginDuo
    } else {
        Forced::Other(command.to_owned())
    }
}

impl Users {
    /// For people.
    pub fn label(&self) -> String {
        match self {
            Users::Everybody => "everybody whom no Match block names".to_owned(),
            Users::Root => "root".to_owned(),
            Users::Matched(label) => format!("'{label}'"),
            Users::Named(name) => format!("'{name}'"),
        }
    }
}

fn force_command(forced: &[(&Case, Forced)], facts: &Facts<'_>, path: &Path) -> Vec<Finding> {
    const ID: &str = "sshd.force_command";
    let line = format!(
        "ForceCommand {}   (in {})",
        facts.program.display(),
        quoted(path)
    );
    let somebody = forced.iter().any(|(_, forced)| *forced == Forced::LoginDuo);
    let finding = |(case, forced): &(&Case, Forced)| {
        let who = case.users.label();
        let level = match case.users {
            Users::Named(_) => Level::Fail,
            _ if somebody => Level::Warn,
            _ => Level::Fail,
        };
        let text = match forced {
            Forced::LoginDuo => return login_duo_finding(&case.options, facts.program, &who),
            Forced::Other(command) => format!("sshd runs another program for {who}: {command}"),
            Forced::Nothing if is_asked_by_pam(&case.options, facts) => {
                return Finding::ok(ID, format!("no ForceCommand for {who}, whom PAM asks"));
            }
            Forced::Nothing => format!("no ForceCommand for {who}: not asked"),
        };
        Finding::new(level, ID, text).mend(&*line)
    };
    forced.iter().map(finding).collect()
}

fn is_asked_by_pam(options: &SshdOptions, facts: &Facts<'_>) -> bool {
    let met = facts.pam.map(|with| meets(options, with));
    met == Some(Meets::Duo)
}

/// The finding about a case that runs login_duo. sshd changes its root directory before it runs a
/// forced command, so the program must be inside ChrootDirectory.
fn login_duo_finding(options: &SshdOptions, program: &Path, who: &str) -> Finding {
    const ID: &str = "sshd.force_command";
    let root = options.value("chrootdirectory");
    let inside = Path::new(root).join(program.strip_prefix("/").unwrap_or(program));
    if matches!(root, "" | "none") || inside.is_file() {
        return Finding::ok(ID, format!("sshd runs login_duo for {who}"));
    }
    let text = format!("login_duo is not inside ChrootDirectory {root}: locked out, {who}");
    Finding::fail(ID, text).mend("ChrootDirectory none, or ForceCommand internal-sftp, for them")
}

/// A kind of forwarding, which sshd does without running the forced command.
struct Channel {
    id: &'static str,
    keyword: &'static str,
    level: Level,
    what: &'static str,
}

const CHANNELS: [Channel; 4] = [
    Channel {
        id: "sshd.tcp_forwarding",
        keyword: "AllowTcpForwarding",
        level: Level::Fail,
        what: "TCP forwarding",
    },
    Channel {
        id: "sshd.stream_local_forwarding",
        keyword: "AllowStreamLocalForwarding",
        level: Level::Fail,
        what: "forwarding to Unix sockets",
    },
    Channel {
        id: "sshd.tunnel",
        keyword: "PermitTunnel",
        level: Level::Fail,
        what: "tunnelling",
    },
    Channel {
        id: "sshd.x11_forwarding",
        keyword: "X11Forwarding",
        level: Level::Warn,
        what: "X11 forwarding",
    },
];

fn forwarding(channel: &Channel, asked: &[&Case]) -> Option<Finding> {
    let key = channel.keyword.to_ascii_lowercase();
    // An sshd that was built without this forwarding does not print the keyword.
    asked
        .iter()
        .find(|case| !case.options.value(&key).is_empty())?;
    let open = |case: &&&Case| {
        let value = case.options.value(&key);
        !matches!(value, "" | "no") && case.options.value("disableforwarding") != "yes"
    };
    let open: Vec<&Case> = asked.iter().filter(open).copied().collect();
    Some(match open.first() {
        None => Finding::ok(channel.id, format!("{} is off", channel.what)),
        Some(first) => {
            let value = first.options.value(&key);
            let text = format!(
                "{} needs no second factor ({} {value}) for {}",
                channel.what,
                channel.keyword,
                labels(&open)
            );
            Finding::new(channel.level, channel.id, text).mend(format!("{} no", channel.keyword))
        }
    })
}

fn labels(cases: &[&Case]) -> String {
    let labels: Vec<String> = cases.iter().map(|case| case.users.label()).collect();
    labels.join(", ")
}

/// The findings about files in the user's home that sshd reads before it runs login_duo.
fn user_files(asked: &[&Case]) -> Vec<Finding> {
    let finding = |id, keyword: &str, what: &str| {
        let key = keyword.to_ascii_lowercase();
        let bad = |case: &&&Case| !matches!(case.options.value(&key), "" | "no");
        let bad: Vec<&Case> = asked.iter().filter(bad).copied().collect();
        if bad.is_empty() {
            return Finding::ok(id, format!("{what} does not count"));
        }
        let text = format!("{what} counts before login_duo runs, for {}", labels(&bad));
        Finding::warn(id, text).mend(format!("{keyword} no"))
    };
    vec![
        finding(
            "sshd.permit_user_environment",
            "PermitUserEnvironment",
            "~/.ssh/environment",
        ),
        finding("sshd.permit_user_rc", "PermitUserRC", "~/.ssh/rc"),
    ]
}

/// Variables by which a client makes a shell or the loader run code before the forced command. Bash
/// runs what `BASH_ENV` names, and expands `PS4` where `SHELLOPTS` turns tracing on.
const DANGEROUS: [&str; 8] = [
    "BASH_ENV",
    "ENV",
    "SHELLOPTS",
    "PS4",
    "BASH_FUNC_x%%",
    "ZDOTDIR",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
];

/// Whether a name matches a pattern of sshd's.
fn fits(pattern: &str, name: &str) -> bool {
    Groups::parse(pattern.as_bytes()).is_ok_and(|pattern| pattern.matches(&[name]))
}

fn accept_env(asked: &[&Case], facts: &Facts<'_>) -> Vec<Finding> {
    const ID: &str = "sshd.accept_env";
    let patterns: Vec<&str> = asked
        .iter()
        .flat_map(|case| case.options.values("acceptenv"))
        .flat_map(str::split_whitespace)
        .collect();
    let accepts = |name: &str| patterns.iter().any(|pattern| fits(pattern, name));
    let bad: Vec<&str> = DANGEROUS.into_iter().filter(|name| accepts(name)).collect();
    let mut findings = vec![match bad.is_empty() {
        true => Finding::ok(ID, "AcceptEnv takes nothing that makes a shell run it"),
        false => {
            let text = format!(
                "AcceptEnv takes {}: with these a client runs commands before login_duo",
                bad.join(", ")
            );
            Finding::fail(ID, text).mend("AcceptEnv LANG LC_*")
        }
    }];
    const PASSCODE: &str = "sshd.accept_env_passcode";
    findings.extend(
        facts
            .takes_passcode
            .map(|taken| match (taken, accepts("DUO_PASSCODE")) {
                (true, true) => Finding::ok(PASSCODE, "a passcode may come as DUO_PASSCODE"),
                (false, false) => Finding::ok(PASSCODE, "no passcode comes as DUO_PASSCODE"),
                (true, false) => {
                    let text = "accept_env_factor does nothing: sshd does not take DUO_PASSCODE";
                    Finding::warn(PASSCODE, text).mend("AcceptEnv DUO_PASSCODE")
                }
                (false, true) => {
                    let text =
                        "sshd takes DUO_PASSCODE, which does nothing without accept_env_factor";
                    Finding::warn(PASSCODE, text)
                        .mend("accept_env_factor = yes   (in login_duo.conf)")
                }
            }),
    );
    findings
}

fn sftp(asked: &[&Case], facts: &Facts<'_>) -> Option<Finding> {
    const ID: &str = "sshd.sftp";
    let first = asked.first()?;
    let commands = first.options.values("subsystem");
    let command = commands
        .into_iter()
        .find_map(|line| line.strip_prefix("sftp "))?;
    let program = command.split_whitespace().next().unwrap_or_default();
    Some(match (program, facts.sftp_server) {
        ("internal-sftp", Some(server)) => {
            Finding::ok(ID, format!("internal-sftp is replaced by {server}"))
        }
        ("internal-sftp", None) => {
            let text = "sftp fails: a forced command cannot run internal-sftp, and there is no sftp-server";
            Finding::warn(ID, text).mend("apt-get install openssh-sftp-server")
        }
        (path, _) if Path::new(path).is_file() => Finding::ok(ID, format!("sftp is {path}")),
        (path, _) => {
            let text = format!("sftp fails: there is no {path}");
            Finding::warn(ID, text).mend("apt-get install openssh-sftp-server")
        }
    })
}

/// Seconds that a person may take at most: a call, a text message, a passcode.
const LONGEST_LOGIN: u64 = 420;

/// sshd ends a login that takes longer to authenticate. A forced command runs
/// after that, a PAM module within it.
fn grace(options: &SshdOptions) -> Option<Finding> {
    const ID: &str = "sshd.login_grace_time";
    let seconds: u64 = options.value("logingracetime").parse().ok()?;
    let stack = std::fs::read_to_string("/etc/pam.d/sshd").unwrap_or_default();
    let mut lines = stack.lines().map(str::trim_start);
    let asks = lines.any(|line| !line.starts_with('#') && line.contains("pam_duo"));
    (asks && options.value("usepam") == "yes" && (1..LONGEST_LOGIN).contains(&seconds)).then(|| {
        let text =
            format!("sshd ends a login after {seconds} s, which a phone may need longer than");
        Finding::warn(ID, text).mend(format!("LoginGraceTime {LONGEST_LOGIN}"))
    })
}

/// Whether root can come in to mend things while Duo is down.
fn root_way_in(forced: &[(&Case, Forced)], facts: &Facts<'_>) -> Option<Finding> {
    const ID: &str = "sshd.root_way_in";
    let (root, forced) = forced.iter().find(|(case, _)| case.users == Users::Root)?;
    let may_log_in = root.options.value("permitrootlogin") != "no";
    Some(match (facts.failmode?, may_log_in, forced) {
        (Failmode::Safe, ..) => Finding::ok(
            ID,
            "while Duo is down, people pass without it (failmode = safe)",
        ),
        (Failmode::Codes, ..) => Finding::ok(
            ID,
            "while Duo is down, people get in with an emergency code (failmode = codes)",
        ),
        (Failmode::Secure, true, Forced::Nothing) => Finding::ok(
            ID,
            "while Duo is down, root gets in: there is no ForceCommand for root",
        ),
        (Failmode::Secure, true, _) => Finding::warn(
            ID,
            "while Duo is down, nobody gets in by ssh, not even root",
        )
        .mend("keep a console, or: Match User root Address YOUR.ADDRESS, ForceCommand none"),
        (Failmode::Secure, false, _) => Finding::warn(
            ID,
            "while Duo is down, nobody gets in by ssh (PermitRootLogin no)",
        )
        .mend("keep a console"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/bin/sh";

    fn case(users: Users, lines: &str) -> Case {
        Case {
            users,
            options: SshdOptions::of(lines),
        }
    }

    fn found(cases: &[Case], facts: &Facts<'_>) -> Vec<(String, Level)> {
        findings(cases, facts, Path::new("/etc/ssh/sshd_config"))
            .into_iter()
            .map(|finding| (finding.id.into_owned(), finding.level))
            .collect()
    }

    fn facts() -> Facts<'static> {
        Facts {
            program: Path::new(PROGRAM),
            failmode: Some(Failmode::Secure),
            takes_passcode: Some(false),
            sftp_server: Some("/usr/lib/sftp-server"),
            pam: None,
        }
    }

    fn level(id: &str, lines: &str, facts: &Facts<'_>) -> Vec<Level> {
        let cases = [
            case(
                Users::Everybody,
                &format!("forcecommand {PROGRAM}\n{lines}"),
            ),
            case(Users::Root, &format!("forcecommand {PROGRAM}\n{lines}")),
        ];
        let found = found(&cases, facts);
        let own = found.into_iter().filter(|(found, _)| found == id);
        own.map(|(_, level)| level).collect()
    }

    #[test]
    fn what_goes_past_a_forced_command_is_seen() {
        for (id, lines, expected) in [
            ("sshd.tcp_forwarding", "allowtcpforwarding no", Level::Ok),
            (
                "sshd.tcp_forwarding",
                "allowtcpforwarding local",
                Level::Fail,
            ),
            (
                "sshd.tcp_forwarding",
                "allowtcpforwarding yes\ndisableforwarding yes",
                Level::Ok,
            ),
            (
                "sshd.stream_local_forwarding",
                "allowstreamlocalforwarding yes",
                Level::Fail,
            ),
            (
                "sshd.stream_local_forwarding",
                "allowstreamlocalforwarding no",
                Level::Ok,
            ),
            ("sshd.tunnel", "permittunnel point-to-point", Level::Fail),
            ("sshd.tunnel", "permittunnel no", Level::Ok),
            ("sshd.x11_forwarding", "x11forwarding yes", Level::Warn),
            ("sshd.x11_forwarding", "x11forwarding no", Level::Ok),
            (
                "sshd.permit_user_environment",
                "permituserenvironment LANG",
                Level::Warn,
            ),
            (
                "sshd.permit_user_environment",
                "permituserenvironment no",
                Level::Ok,
            ),
            ("sshd.permit_user_rc", "permituserrc yes", Level::Warn),
            ("sshd.permit_user_rc", "permituserrc no", Level::Ok),
            (
                "sshd.accept_env",
                "acceptenv LANG\nacceptenv LC_*",
                Level::Ok,
            ),
            ("sshd.accept_env", "acceptenv *", Level::Fail),
            ("sshd.accept_env", "acceptenv BASH_*", Level::Fail),
            ("sshd.accept_env_passcode", "acceptenv DUO_*", Level::Warn),
            ("sshd.accept_env_passcode", "acceptenv LANG", Level::Ok),
            (
                "sshd.sftp",
                "subsystem sftp internal-sftp -l INFO",
                Level::Ok,
            ),
            (
                "sshd.sftp",
                "subsystem sftp /no/such/sftp-server",
                Level::Warn,
            ),
            ("sshd.sftp", "subsystem sftp /bin/sh", Level::Ok),
            ("sshd.root_way_in", "permitrootlogin yes", Level::Warn),
            ("sshd.root_way_in", "permitrootlogin no", Level::Warn),
        ] {
            assert!(
                level(id, lines, &facts()).iter().all(|l| *l == expected),
                "{id} {lines}"
            );
            assert!(!level(id, lines, &facts()).is_empty(), "{id} {lines}");
        }
    }

    #[test]
    fn what_depends_on_the_configuration_follows_it() {
        let taking = Facts {
            takes_passcode: Some(true),
            ..facts()
        };
        assert_eq!(
            level("sshd.accept_env_passcode", "acceptenv LANG", &taking),
            [Level::Warn]
        );
        assert_eq!(
            level(
                "sshd.accept_env_passcode",
                "acceptenv DUO_PASSCODE",
                &taking
            ),
            [Level::Ok]
        );
        let unread = Facts {
            takes_passcode: None,
            failmode: None,
            ..facts()
        };
        assert!(level("sshd.accept_env_passcode", "acceptenv X", &unread).is_empty());
        assert!(level("sshd.root_way_in", "", &unread).is_empty());
        let safe = Facts {
            failmode: Some(Failmode::Safe),
            ..facts()
        };
        assert_eq!(level("sshd.root_way_in", "", &safe), [Level::Ok]);
        let bare = Facts {
            sftp_server: None,
            ..facts()
        };
        assert_eq!(
            level("sshd.sftp", "subsystem sftp internal-sftp", &bare),
            [Level::Warn]
        );
    }

    #[test]
    fn users_for_whom_sshd_runs_another_program_are_named() {
        let forced = |forces: [&str; 3]| -> Vec<Level> {
            let whos = [Users::Everybody, Users::Root, Users::Named("bob".into())];
            let cases: Vec<Case> = whos
                .into_iter()
                .zip(forces)
                .map(|(who, force)| case(who, &format!("forcecommand {force}")))
                .collect();
            let found = found(&cases, &facts());
            let own = found
                .into_iter()
                .filter(|(id, _)| id == "sshd.force_command");
            own.map(|(_, level)| level).collect()
        };
        assert_eq!(forced([PROGRAM, PROGRAM, PROGRAM]), [Level::Ok; 3]);
        assert_eq!(
            forced([PROGRAM, "none", PROGRAM]),
            [Level::Ok, Level::Warn, Level::Ok]
        );
        assert_eq!(
            forced([PROGRAM, PROGRAM, "none"]),
            [Level::Ok, Level::Ok, Level::Fail]
        );
        assert_eq!(
            forced(["none", "none", PROGRAM]),
            [Level::Warn, Level::Warn, Level::Ok]
        );
        assert_eq!(forced(["none", "none", "none"]), [Level::Fail; 3]);
        assert_eq!(forced(["/bin/cat", "/bin/cat", "sh"]), [Level::Fail; 3]);
        assert_eq!(
            forced(["exec /bin/sh -d", PROGRAM, PROGRAM]),
            [Level::Ok; 3]
        );
    }

    #[test]
    fn a_chroot_directory_without_login_duo_locks_its_users_out() {
        for (root, expected) in [
            ("none", Level::Ok),
            ("/", Level::Ok),
            ("/nonexistent", Level::Fail),
            ("%h", Level::Fail),
        ] {
            let lines = format!("chrootdirectory {root}");
            assert_eq!(
                level("sshd.force_command", &lines, &facts()),
                [expected; 2],
                "{root}"
            );
        }
    }

    #[test]
    fn root_without_a_forced_command_is_a_way_in() {
        let cases = [
            case(Users::Everybody, &format!("forcecommand {PROGRAM}")),
            case(
                Users::Root,
                "forcecommand none\npermitrootlogin without-password",
            ),
        ];
        assert!(found(&cases, &facts()).contains(&("sshd.root_way_in".into(), Level::Ok)));
    }
}
