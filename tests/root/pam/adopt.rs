//! Duo's own module, from a package, and ours beside it: both have one name.

use super::*;

/// Where ours is then.
const BESIDE: &str = "/usr/lib/login_duo/pam_duo.so";

/// The file that Debian's build of Duo's module reads.
const THEIR_FILE: &str = "/etc/security/pam_duo.conf";

/// A machine with Duo's module where PAM looks for one, and ours beside.
fn with_theirs() -> Pam {
    let pam = Pam::new();
    fs::create_dir_all("/usr/lib/login_duo").expect("a folder");
    let module = module_folder().join("pam_duo.so");
    fs::copy(&module, BESIDE).expect("copied");
    fs::remove_file(&module).expect("removed");
    let program = std::env::var("LOGIN_DUO_C_PROGRAM").expect("a program");
    let root = Path::new(&program).ancestors().nth(3).expect("its folder");
    let copy = format!(
        "set -e; cp {0}/*/*/security/pam_duo.so {1}/
         cp -a {0}/usr/lib/*/libduo.so.3* /usr/lib/
         ldconfig
         mkdir -p /etc/security; mv {PAM_CONFIG} {THEIR_FILE}",
        root.display(),
        module_folder().display()
    );
    succeed(Command::new("sh").args(["-c", &copy]));
    pam
}

pub fn lines_go_from_duos_module_to_ours_and_back() {
    let pam = with_theirs();
    let text = fs::read_to_string("/etc/pam.d/sudo").expect("read");
    let text = text.replace(
        "@include common-auth\n",
        "@include common-auth\nauth\trequired  pam_duo.so # ours is another pam_duo.so\n",
    );
    fs::write("/etc/pam.d/sudo", &text).expect("written");
    let asked = || {
        let rung = pam.rung();
        let is_right = sudo(&[], Factor::Right) && !sudo(&[], Factor::Wrong);
        is_right && pam.rung() > rung
    };
    assert!(asked(), "Duo's module does not ask");

    let dry = duoctl(&["adopt", "--dry-run"]).succeeds();
    assert!(
        dry.contains(&format!("/etc/pam.d/sudo:7 would name {BESIDE}")),
        "{dry}"
    );
    let said = duoctl(&["adopt"]).succeeds();
    assert!(said.contains(&format!("names {BESIDE}")), "{said}");
    let new = fs::read_to_string("/etc/pam.d/sudo").expect("read");
    assert!(
        new.contains(&format!(
            "auth\trequired  {BESIDE} # ours is another pam_duo.so\n"
        )),
        "{new}"
    );
    // Their configuration is now ours.
    assert_eq!(fs::read(PAM_CONFIG).unwrap(), fs::read(THEIR_FILE).unwrap());
    assert!(asked());
    let program = "pam-duo-helper";
    assert!(
        fs::read(BESIDE)
            .unwrap()
            .windows(program.len())
            .any(|it| it == program.as_bytes())
    );

    // Duo's module opens where it cannot use its file.
    fs::set_permissions(THEIR_FILE, fs::Permissions::from_mode(0o644)).unwrap();
    duoctl(&["adopt", "--back"]).fails();
    fs::set_permissions(THEIR_FILE, fs::Permissions::from_mode(0o600)).unwrap();
    // So it does at a key that it does not know.
    let theirs = fs::read_to_string(THEIR_FILE).unwrap();
    fs::write(THEIR_FILE, format!("{theirs}\nsandbox = no\n")).unwrap();
    let refused = duoctl(&["adopt", "--back"]);
    assert!(refused.text().contains("take out sandbox"), "{refused:?}");
    // And at a failmode that it does not know.
    fs::write(THEIR_FILE, format!("{theirs}\nfailmode = codes\n")).unwrap();
    let refused = duoctl(&["adopt", "--back"]);
    assert!(refused.text().contains("failmode = codes"), "{refused:?}");
    fs::write(THEIR_FILE, theirs).unwrap();
    assert_eq!(fs::read_to_string("/etc/pam.d/sudo").expect("read"), new);
    duoctl(&["adopt", "--back"]).succeeds();
    assert_eq!(fs::read_to_string("/etc/pam.d/sudo").expect("read"), text);
    assert!(asked());
}

pub fn a_module_of_another_package_is_not_written_over_but_gone_around() {
    let pam = with_theirs();
    pam.configure("secure", Duo::Yes, Selected::Yes);
    let found = state();
    let said = duoctl(&["enable", "pam", "sudo"]).succeeds();
    assert!(said.contains(&format!("auth required {BESIDE}")), "{said}");
    assert!(sudo(&[], Factor::Right) && !sudo(&[], Factor::Wrong));
    pam.configure("secure", Duo::No, Selected::Yes);
    assert!(!sudo(&[], Factor::Right));
    // What `enable` wrote is not Duo's, and never was.
    let refused = duoctl(&["adopt", "--back"]);
    assert_eq!(refused.code(), 1, "{}", refused.text());
    pam.configure("secure", Duo::Yes, Selected::Yes);
    duoctl(&["disable", "pam", "sudo"]).succeeds();
    assert_same(&found);
}
