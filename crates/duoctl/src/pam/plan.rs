//! Where our line goes in a service's file. A place is taken only if every way
//! through the whole stack is proved (`proof`): nobody gets in without what was
//! asked before and Duo's yes, and whoever gave both gets in.

mod candidate;
mod rewrite;

use std::fs;
use std::path::{Path, PathBuf};

use super::edit::{self, Edit};
use super::proof::{self, is_duo};
use super::services::Services;
use super::stack::{Files, Step};
use candidate::Candidate;
pub use candidate::WayAround;
use rewrite::{How, ServiceFile};

/// Where the first factor is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// By the stack itself: our line stands behind.
    InTheStack,
    /// By sshd, which wants a key: the stack must not ask for a password too.
    Key,
}

/// A service's file as it is and as it shall be.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The service.
    pub service: String,
    /// The file to be written.
    pub path: PathBuf,
    /// What is in it now, if it is there.
    pub now: Option<Vec<u8>>,
    /// What shall be in it; as `now` where another file of the family brings the
    /// line here.
    pub then: Option<Vec<u8>>,
    /// The distribution's file that is copied.
    pub copy_of: Option<PathBuf>,
    /// What lets somebody in without Duo, and did so before.
    pub ways_around: Vec<WayAround>,
    /// Whether a wrong password asks Duo too.
    pub asks_early: bool,
    /// Lines that ours take the place of.
    pub replaced: Vec<String>,
}

impl Planned {
    /// The lines of ours, marks included.
    pub fn ours(&self) -> Vec<u8> {
        let then = self.then.clone().unwrap_or_default();
        edit::ours(&then)
    }
}

/// The line of pam_duo.so, without the argument that [`First::Key`] adds.
#[derive(Debug, Clone)]
pub struct OurLine {
    /// The module, as PAM finds it.
    pub module: String,
    /// The configuration, where it is not the usual one.
    pub conf: Option<PathBuf>,
}

impl OurLine {
    fn text(&self, first: First) -> String {
        let mut text = format!("auth required {}", self.module);
        if let Some(conf) = &self.conf {
            text += &format!(" conf={}", conf.display());
        }
        if first == First::Key {
            text += &format!(" {}", proof::AFTER_KEY);
        }
        text
    }
}

/// Plans the files of one family, in their order: a later one may include an
/// earlier one. `services` are the files as they are.
///
/// # Errors
/// Why a file cannot have the line.
pub fn plan(
    services: &Services,
    family: &[&str],
    line: &OurLine,
    first: First,
) -> Result<Vec<Planned>, String> {
    let (mut before, mut after) = (services.clone(), services.clone());
    let mut planned = Vec::new();
    // Whoever was enabled before is judged by what was there without us.
    for service in family {
        let path = services.own_file(service);
        if let Some(now) = content(&path)? {
            let parts = edit::take_out(&now).map_err(|why| format!("{}: {why}", path.display()))?;
            before.instead.insert(path, parts.others);
        }
    }
    after.instead.clone_from(&before.instead);
    for service in family {
        if before.read(service).is_none() {
            continue;
        }
        let one = one(&before, &after, service, line, first)?;
        if let Some(then) = &one.then {
            after.instead.insert(one.path.clone(), then.clone());
        }
        planned.push(one);
    }
    match planned.is_empty() {
        true => Err(format!(
            "there is no PAM file of '{}'",
            family.join("' or '")
        )),
        false => Ok(planned),
    }
}

/// A file's bytes, if it is there.
fn content(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("'{}' cannot be read: {error}", path.display())),
    }
}

fn one(
    before: &Services,
    after: &Services,
    service: &str,
    line: &OurLine,
    first: First,
) -> Result<Planned, String> {
    let path = before.own_file(service);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("common-") || name.ends_with("-auth") {
        let path = path.display();
        return Err(format!(
            "'{service}' is a link to '{path}', which other services use too"
        ));
    }
    let now = content(&path)?;
    let others = before.instead.get(&path).cloned();
    let vendor = before.vendor_file(service);
    let is_copy = match &now {
        None => true,
        Some(now) => edit::take_out(now).is_ok_and(|parts| parts.is_our_copy),
    };
    let file = match others {
        Some(others) => others,
        None => content(&vendor)?.unwrap_or_default(),
    };
    let planned = Planned {
        service: service.to_owned(),
        path,
        now,
        then: None,
        copy_of: is_copy.then_some(vendor),
        ways_around: Vec::new(),
        asks_early: false,
        replaced: Vec::new(),
    };
    let old = before.steps(service).unwrap_or_default();
    if let Some(step) = old.iter().find(|step| is_duo(step)) {
        let place = step.shown();
        return Err(format!(
            "{place} is there already: remove that line, or see duoctl adopt"
        ));
    }
    // Another file of the family may bring the line here.
    if after
        .steps(service)
        .is_some_and(|steps| steps.iter().any(is_duo))
    {
        let found = Candidate::of(after, service, &old, first).map_err(|flaw| {
            format!("'{service}' includes a file that gets our line, and {flaw}")
        })?;
        let then = planned.now.clone().filter(|_| !is_copy);
        return Ok(found.into_planned(Planned {
            then,
            copy_of: None,
            ..planned
        }));
    }
    search(after, planned, &file, &old, line, first)
}

/// Tries the places from the first factor to the end, then the same with each
/// include of a first factor as a substack.
fn search(
    after: &Services,
    planned: Planned,
    file: &[u8],
    old: &[Step],
    line: &OurLine,
    first: First,
) -> Result<Planned, String> {
    let service = planned.service.clone();
    let file = ServiceFile::new(file, old);
    let places = file.places();
    if places.is_empty() {
        return Err(format!(
            "no module that is known to ask for a first factor stands in '{service}'"
        ));
    }
    let ours = line.text(first);
    let mut reason = None;
    for how in How::ways(first) {
        for place in &places {
            let Some(rewrite) = file.rewrite(*how, place, after, &ours) else {
                continue;
            };
            let edit = Edit {
                instead_of: rewrite.instead_of,
                lines: &rewrite.lines,
                copy_of: planned.copy_of.as_ref().and_then(|path| path.to_str()),
            };
            let then = edit::with(file.bytes, &edit);
            let mut trial = after.clone();
            trial.instead.insert(planned.path.clone(), then.clone());
            match Candidate::of(&trial, &service, old, first) {
                Ok(found) => {
                    return Ok(found.into_planned(Planned {
                        then: Some(then),
                        replaced: rewrite.replaced,
                        ..planned
                    }));
                }
                Err(flaw) => {
                    reason.get_or_insert(flaw);
                }
            }
        }
    }
    let reason = reason.unwrap_or_else(|| "there is no place".into());
    Err(format!(
        "no place for the line in '{service}' is safe: right behind the first factor, {reason}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = "auth [success=1 default=ignore] pam_unix.so nullok\n\
        auth requisite pam_deny.so\nauth required pam_permit.so\nauth optional pam_cap.so\n";
    const FEDORA: &str = "#%PAM-1.0\nauth required pam_env.so\nauth sufficient pam_unix.so nullok\n\
        auth required pam_deny.so\naccount required pam_unix.so\nsession required pam_limits.so\n";

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn with(files: &[(&str, &str)]) -> Tree {
            let tree = Tree(tempfile::tempdir().unwrap());
            for folder in [FOLDER, "usr/lib/pam.d"] {
                fs::create_dir_all(tree.0.path().join(folder)).unwrap();
            }
            let usual = [
                ("etc/pam.d/common-auth", COMMON),
                ("etc/pam.d/common-account", "account required pam_unix.so\n"),
                (
                    "etc/pam.d/common-password",
                    "password required pam_unix.so\n",
                ),
                ("etc/pam.d/system-auth", FEDORA),
            ];
            for (name, text) in usual.iter().chain(files) {
                fs::write(tree.0.path().join(name), text).unwrap();
            }
            tree
        }

        fn plan(&self, family: &[&str], first: First) -> Result<Vec<Planned>, String> {
            let line = OurLine {
                module: "pam_duo.so".into(),
                conf: None,
            };
            plan(&Services::below(self.0.path()), family, &line, first)
        }

        /// The lines of ours in the first file, without the marks.
        fn ours(&self, family: &[&str], first: First) -> Result<Vec<String>, String> {
            let planned = self.plan(family, first)?;
            let text = String::from_utf8(planned[0].then.clone().unwrap()).unwrap();
            let lines = text
                .lines()
                .skip_while(|line| !line.starts_with("# login_duo: begin"));
            let lines = lines.take_while(|line| !line.starts_with("# login_duo: end"));
            Ok(lines.skip(1).map(str::to_owned).collect())
        }
    }

    use super::super::services::FOLDER;

    #[test]
    fn debians_include_stays_and_the_line_stands_behind() {
        let sudo = "#%PAM-1.0\nsession required pam_limits.so\n@include common-auth\n@include common-account\n";
        let tree = Tree::with(&[("etc/pam.d/sudo", sudo), ("etc/pam.d/sudo-i", sudo)]);
        let planned = tree.plan(&["sudo", "sudo-i"], First::InTheStack).unwrap();
        assert_eq!(planned.len(), 2);
        for one in &planned {
            let text = String::from_utf8(one.then.clone().unwrap()).unwrap();
            assert!(
                text.contains("@include common-auth\n# login_duo: begin.")
                    && text.contains(
                        "\nauth required pam_duo.so\n# login_duo: end.\n@include common-account"
                    ),
                "{text}"
            );
            assert!(one.ways_around.is_empty() && !one.asks_early && one.copy_of.is_none());
            assert_eq!(
                edit::take_out(text.as_bytes()).unwrap().others,
                sudo.as_bytes()
            );
        }
    }

    #[test]
    fn an_include_that_can_end_the_stack_becomes_a_substack() {
        let tree = Tree::with(&[
            (
                "etc/pam.d/sudo",
                "auth include system-auth\naccount include system-auth\n",
            ),
            (
                "etc/pam.d/sudo-i",
                "auth include sudo\naccount include sudo\n",
            ),
        ]);
        let family = ["sudo", "sudo-i"];
        assert_eq!(
            tree.ours(&family, First::InTheStack).unwrap(),
            [
                "# login_duo: was: auth include system-auth",
                "auth substack system-auth",
                "auth required pam_duo.so"
            ]
        );
        let planned = tree.plan(&family, First::InTheStack).unwrap();
        assert!(planned[0].asks_early);
        // The line comes to sudo-i by its include.
        assert_eq!(planned[1].then, planned[1].now);
        // Debian's include brings all kinds of lines: a substack would lose them.
        let tree = Tree::with(&[("etc/pam.d/sudo", "@include system-auth\n")]);
        let refused = tree.plan(&["sudo"], First::InTheStack).unwrap_err();
        assert!(
            refused.contains("pam_unix.so") && refused.contains("ends the stack"),
            "{refused}"
        );
    }

    #[test]
    fn the_distributions_file_is_copied() {
        let sudo = "auth substack system-auth\n";
        let tree = Tree::with(&[("usr/lib/pam.d/sudo", sudo)]);
        let planned = tree.plan(&["sudo", "sudo-i"], First::InTheStack).unwrap();
        assert_eq!(planned.len(), 1);
        let one = &planned[0];
        assert!(one.path.ends_with("etc/pam.d/sudo") && one.now.is_none());
        assert!(
            one.copy_of
                .as_ref()
                .unwrap()
                .ends_with("usr/lib/pam.d/sudo")
        );
        let parts = edit::take_out(one.then.as_ref().unwrap()).unwrap();
        assert!(parts.is_our_copy && parts.others == sudo.as_bytes());
    }

    #[test]
    fn su_does_not_ask_root_and_says_so() {
        let su =
            "auth sufficient pam_rootok.so\nsession required pam_env.so\n@include common-auth\n";
        let tree = Tree::with(&[
            ("etc/pam.d/su", su),
            ("etc/pam.d/su-l", "auth include su\nsession include su\n"),
        ]);
        for one in tree.plan(&["su", "su-l"], First::InTheStack).unwrap() {
            assert!(
                matches!(one.ways_around.as_slice(), [way] if way.is_root),
                "{one:?}"
            );
        }
        let trust = "auth sufficient pam_wheel.so trust\n@include common-auth\n";
        let tree = Tree::with(&[("etc/pam.d/su", trust)]);
        let planned = tree.plan(&["su"], First::InTheStack).unwrap();
        let way = &planned[0].ways_around[0];
        assert!(
            !way.is_root && way.shown.contains("pam_wheel.so"),
            "{way:?}"
        );
    }

    #[test]
    fn what_ends_the_stack_before_duo_is_refused_with_its_line() {
        for (file, by) in [
            (
                "auth sufficient pam_unix.so\nauth required pam_deny.so\n",
                "pam_unix.so (",
            ),
            (
                "auth sufficient pam_fprintd.so\n@include common-auth\n",
                "pam_fprintd.so (",
            ),
            ("auth required pam_mystery.so\n", "no module that is known"),
            (
                "@include common-auth\nauth required pam_duo.so\n",
                "is there already",
            ),
            ("auth include gone\n", "no module that is known"),
        ] {
            let tree = Tree::with(&[("etc/pam.d/login", file)]);
            let refused = tree.plan(&["login"], First::InTheStack).unwrap_err();
            assert!(refused.contains(by), "{file}: {refused}");
        }
    }

    #[test]
    fn a_first_factor_in_the_files_own_lines() {
        let login = "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\n\
            auth required pam_permit.so\nauth optional pam_group.so\n";
        let tree = Tree::with(&[("etc/pam.d/login", login)]);
        let planned = tree.plan(&["login"], First::InTheStack).unwrap();
        let text = String::from_utf8(planned[0].then.clone().unwrap()).unwrap();
        // Where the jump goes to, and not within it: there it would count as a line.
        assert!(text.contains("pam_deny.so\n# login_duo: begin."), "{text}");
    }

    #[test]
    fn with_keys_the_stack_asks_for_no_password() {
        let sshd =
            "@include common-auth\naccount required pam_nologin.so\n@include common-password\n";
        let tree = Tree::with(&[("etc/pam.d/sshd", sshd)]);
        assert_eq!(
            tree.ours(&["sshd"], First::Key).unwrap(),
            [
                "# login_duo: was: @include common-auth",
                "auth required pam_duo.so after=publickey"
            ]
        );
        let fedora =
            "auth substack system-auth\nauth include postlogin\naccount required pam_nologin.so\n";
        let tree = Tree::with(&[
            ("etc/pam.d/sshd", fedora),
            ("etc/pam.d/postlogin", "auth optional pam_lastlog.so\n"),
        ]);
        assert_eq!(
            tree.ours(&["sshd"], First::Key).unwrap(),
            [
                "# login_duo: was: auth substack system-auth",
                "auth required pam_duo.so after=publickey"
            ]
        );
        let own = "auth required pam_env.so\nauth sufficient pam_unix.so\naccount required pam_unix.so\nauth required pam_deny.so\n";
        let tree = Tree::with(&[("etc/pam.d/sshd", own)]);
        let planned = tree.plan(&["sshd"], First::Key).unwrap();
        assert_eq!(
            planned[0].replaced,
            ["auth sufficient pam_unix.so", "auth required pam_deny.so"]
        );
    }

    /// authselect's profile sssd, with faillock, fingerprints and a smart card.
    #[test]
    fn a_large_stack_is_proved_too() {
        let auth = "auth required pam_env.so\nauth required pam_faildelay.so delay=2000000\n\
            auth required pam_faillock.so preauth silent\n\
            auth [success=1 default=ignore] pam_succeed_if.so service notin login:gdm\n\
            auth sufficient pam_sss.so require_cert_auth\n\
            auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
            auth [default=1 ignore=ignore success=ok] pam_localuser.so\n\
            auth sufficient pam_fprintd.so\nauth sufficient pam_unix.so nullok\n\
            auth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n\
            auth sufficient pam_sss.so forward_pass\nauth required pam_faillock.so authfail\n\
            auth required pam_deny.so\n";
        let tree = Tree::with(&[
            ("etc/pam.d/large-auth", auth),
            ("etc/pam.d/postlogin", "auth optional pam_lastlog.so\n"),
            ("etc/pam.d/sudo", "auth include large-auth\n"),
            (
                "etc/pam.d/sshd",
                "auth substack large-auth\nauth include postlogin\n",
            ),
        ]);
        assert_eq!(
            tree.ours(&["sudo"], First::InTheStack).unwrap(),
            [
                "# login_duo: was: auth include large-auth",
                "auth substack large-auth",
                "auth required pam_duo.so"
            ]
        );
        let sshd = tree.ours(&["sshd"], First::InTheStack).unwrap();
        assert_eq!(sshd, ["auth required pam_duo.so"]);
    }
}
