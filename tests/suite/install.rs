//! install.sh in roots that are folders: nothing here needs root or touches the machine. On a
//! machine, behind a real sshd, it is tested in tests/root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Ended, install_sh, release, tree, write_program};

const PROGRAM: &str = env!("CARGO_BIN_EXE_login_duo");

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o7777
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Where PAM's modules are in such a root.
const PAM: &str = "/usr/lib/a/security";

/// With PREFIX=/usr/local.
const HELPER: &str = "/usr/local/libexec/login_duo/pam-duo-helper";

fn in_root(root: &Path, arguments: &[&str]) -> Ended {
    Ended::of(
        install_sh(arguments)
            .env("DESTDIR", root)
            .env("PREFIX", "/usr/local")
            .env("PAMDIR", PAM),
    )
}

/// How many files are in it.
fn files(root: &Path) -> usize {
    let tree = tree(&[root]);
    tree.iter().filter(|line| line.contains(" file ")).count()
}

/// A file of a root, with the folders above it.
fn put(root: &Path, path: &str, text: &str) -> PathBuf {
    let file = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(&file, text).expect("written");
    file
}

#[test]
fn a_packagers_root_gets_files_and_modes_and_no_user() {
    let (root, built) = (folder(), folder());
    let binary = release(built.path(), HELPER);
    let accounts = fs::read("/etc/passwd").expect("the accounts");
    for _ in 0..2 {
        let said = in_root(root.path(), &["--binary", &binary]).succeeds();
        assert!(said.contains("must create the system user 'duo'"), "{said}");
        assert!(!said.contains("--enable"), "{said}");
        assert!(said.contains("no stack of PAM was changed"), "{said}");
    }
    for (path, expected) in [
        ("usr/local/sbin/login_duo", 0o4755),
        ("usr/local/sbin/duoctl", 0o755),
        ("usr/local/libexec/login_duo/pam-duo-helper", 0o755),
        ("usr/lib/a/security/pam_duo.so", 0o644),
        ("etc/duo/login_duo.conf", 0o600),
        ("etc/duo/pam_duo.conf", 0o600),
        ("usr/local/share/man/man8/login_duo.8", 0o644),
        ("usr/local/share/man/man8/pam_duo.8", 0o644),
        ("usr/local/share/man/man5/login_duo.conf.5", 0o644),
        ("usr/local/share/login_duo/check.schema.json", 0o644),
    ] {
        assert_eq!(mode(&root.path().join(path)), expected, "{path}");
    }
    assert_eq!(files(root.path()), 11);
    assert_eq!(fs::read("/etc/passwd").expect("the accounts"), accounts);

    in_root(root.path(), &["--uninstall"]).succeeds();
    assert_eq!(files(root.path()), 2, "{:?}", tree(&[root.path()]));
    assert!(!root.path().join("usr/local/libexec/login_duo").exists());
    assert!(!root.path().join("usr/local/share/login_duo").exists());
    in_root(root.path(), &["--uninstall", "--purge"]).succeeds();
    assert!(!root.path().join("etc/duo").exists());
}

/// apt and dnf refuse a package that has a file of another one.
#[test]
fn a_package_has_no_file_at_a_path_of_duos_own_packages_and_no_configuration() {
    let (root, built) = (folder(), folder());
    let binary = release(built.path(), "/usr/libexec/login_duo/pam-duo-helper");
    let packaged = |arguments: &[&str]| {
        let mut command = install_sh(arguments);
        command.env("LAYOUT", "package").env("PAMDIR", PAM);
        command
    };
    Ended::of(packaged(&["--binary", &binary]).env("DESTDIR", root.path())).succeeds();
    let modes = [
        ("usr/libexec/login_duo/login_duo", 0o4755),
        ("usr/libexec/login_duo/pam-duo-helper", 0o755),
        ("usr/sbin/duoctl", 0o755),
        ("usr/lib/a/security/pam_duo_rs.so", 0o644),
        ("usr/share/login_duo/login_duo.conf", 0o644),
        ("usr/share/login_duo/pam_duo.conf", 0o644),
        ("usr/share/login_duo/check.schema.json", 0o644),
        ("usr/share/man/man5/login_duo.conf.5rs", 0o644),
        ("usr/share/man/man8/duoctl.8rs", 0o644),
        ("usr/share/man/man8/login_duo.8rs", 0o644),
        ("usr/share/man/man8/pam_duo.8rs", 0o644),
    ];
    for (path, expected) in modes {
        assert_eq!(mode(&root.path().join(path)), expected, "{path}");
    }
    assert_eq!(
        files(root.path()),
        modes.len(),
        "{:?}",
        tree(&[root.path()])
    );

    // Over a machine it would be an install that no package knows.
    let refused = Ended::of(&mut packaged(&["--binary", &binary]));
    assert_eq!(refused.code(), 2);
}

/// A running sshd may load it in that moment, and has the old one mapped.
#[test]
fn the_module_is_replaced_by_a_new_file() {
    let (root, built) = (folder(), folder());
    let binary = release(built.path(), HELPER);
    let inode = || {
        let module = root.path().join("usr/lib/a/security/pam_duo.so");
        fs::metadata(module).expect("the module").ino()
    };
    in_root(root.path(), &["--binary", &binary]).succeeds();
    let before = inode();
    in_root(root.path(), &["--binary", &binary]).succeeds();
    assert_ne!(inode(), before);
}

#[test]
fn another_module_of_that_name_is_never_overwritten() {
    let (root, built) = (folder(), folder());
    let binary = release(built.path(), HELPER);
    let theirs = put(root.path(), &format!("{PAM}/pam_duo.so"), "Duo's C module");
    let said = in_root(root.path(), &["--binary", &binary]).succeeds();
    assert!(
        said.contains("is another module and stays: ours is /usr/local/lib/login_duo/pam_duo.so"),
        "{said}"
    );
    let ours = root.path().join("usr/local/lib/login_duo/pam_duo.so");
    assert_eq!(mode(&ours), 0o644);

    // A stack without a path means theirs.
    let stack = put(root.path(), "etc/pam.d/sudo", "auth required pam_duo.so\n");
    put(
        root.path(),
        "etc/pam.d/su",
        "auth required /usr/local/lib/login_duo/pam_duo.so\n",
    );
    let refused = in_root(root.path(), &["--uninstall"]).fails();
    assert!(refused.contains("etc/pam.d/su:"), "{refused}");
    assert!(!refused.contains("etc/pam.d/sudo"), "{refused}");
    fs::remove_file(root.path().join("etc/pam.d/su")).expect("removed");
    let refused = in_root(root.path(), &["--uninstall", "--purge"]).fails();
    assert!(refused.contains("etc/pam.d/sudo:"), "{refused}");
    assert!(ours.exists());
    fs::remove_file(stack).expect("removed");

    // Without its configuration it would let everybody in.
    let said = in_root(root.path(), &["--uninstall", "--purge"]).succeeds();
    assert!(
        said.contains("/etc/duo/pam_duo.conf stays too: remove it yourself"),
        "{said}"
    );
    assert!(!ours.exists() && root.path().join("etc/duo/pam_duo.conf").exists());
    assert_eq!(fs::read(theirs).expect("read"), b"Duo's C module");
}

/// Once the other module is gone, ours takes the usual place; a stack may still name the first.
#[test]
fn a_module_beside_another_is_kept_up_to_date() {
    let (root, built) = (folder(), folder());
    let binary = release(built.path(), HELPER);
    let usual = put(root.path(), &format!("{PAM}/pam_duo.so"), "Duo's C module");
    in_root(root.path(), &["--binary", &binary]).succeeds();
    fs::remove_file(&usual).expect("removed");
    let beside = root.path().join("usr/local/lib/login_duo/pam_duo.so");
    fs::write(&beside, "an older pam-duo-helper").expect("written");
    in_root(root.path(), &["--binary", &binary]).succeeds();
    let read = |path: &Path| fs::read(path).expect("read");
    assert_eq!(read(&usual), read(&beside));
    in_root(root.path(), &["--uninstall"]).succeeds();
    assert!(!usual.exists() && !beside.exists());
}

#[test]
fn a_module_that_starts_another_helper_is_refused() {
    let (root, built) = (folder(), folder());
    let binary = release(built.path(), "/elsewhere/usr/local/pam-duo-helper");
    let refused = in_root(root.path(), &["--binary", &binary]).fails();
    assert!(
        refused.contains(&format!("build it with LOGIN_DUO_HELPER={HELPER}")),
        "{refused}"
    );
    assert_eq!(tree(&[root.path()]).len(), 1);
}

#[test]
fn without_the_module_it_says_so_and_goes_on() {
    for (left_out, says) in [
        ("libpam_duo.so", Some("there is no libpam_duo.so with")),
        ("pam-duo-helper", Some("there is no libpam_duo.so with")),
        ("none", None),
    ] {
        let (root, built) = (folder(), folder());
        let binary = release(built.path(), HELPER);
        let _ = fs::remove_file(built.path().join(left_out));
        let mut command = install_sh(&["--binary", &binary]);
        command
            .env("DESTDIR", root.path())
            .env("PREFIX", "/usr/local");
        command.env("PAMDIR", if says.is_none() { left_out } else { PAM });
        let said = Ended::of(&mut command).succeeds();
        assert_eq!(said.contains("no PAM module"), says.is_some(), "{said}");
        assert!(said.contains(says.unwrap_or_default()), "{said}");
        assert_eq!(files(root.path()), 7, "{left_out}");
    }
}

#[test]
fn uninstall_refuses_while_a_stack_names_the_module() {
    let (root, built) = (folder(), folder());
    let binary = release(built.path(), HELPER);
    in_root(root.path(), &["--binary", &binary]).succeeds();
    for (stack, line) in [
        (
            "etc/pam.d/sshd",
            "auth required pam_duo.so after=publickey\n",
        ),
        (
            "usr/lib/pam.d/sudo",
            "auth [success=1 default=die] pam_duo.so",
        ),
        (
            "etc/pam.d/su",
            "-auth required \\\n /usr/lib/a/security/pam_duo.so\n",
        ),
        ("etc/pam.conf", "login auth required pam_duo.so\n"),
    ] {
        let file = put(root.path(), stack, line);
        let before = tree(&[root.path()]);
        for arguments in [&["--uninstall"][..], &["--uninstall", "--purge"]] {
            let refused = in_root(root.path(), arguments).fails();
            assert!(
                refused.contains("would be locked out") && refused.contains(&format!("{stack}:")),
                "{refused}"
            );
            assert_eq!(tree(&[root.path()]), before);
        }
        fs::remove_file(file).expect("removed");
    }
    put(root.path(), "etc/pam.d/sshd", "#auth required pam_duo.so\n");
    in_root(root.path(), &["--uninstall"]).succeeds();
}

#[test]
fn a_dry_run_says_much_and_does_nothing() {
    let root = folder();
    for arguments in [
        &["--dry-run", "--binary", PROGRAM][..],
        &["--dry-run", "--uninstall", "--purge"],
    ] {
        in_root(root.path(), arguments).succeeds();
        assert_eq!(tree(&[root.path()]).len(), 1, "{arguments:?}");
    }
    let said = in_root(root.path(), &["--dry-run", "--binary", PROGRAM]).succeeds();
    assert!(
        said.contains("would install") && said.contains("/usr/local/sbin/login_duo, mode 4755"),
        "{said}"
    );
    let said = in_root(root.path(), &["--uninstall"]).succeeds();
    assert!(said.contains("nothing was installed"), "{said}");
}

#[test]
fn a_users_own_install_logs_in_and_leaves_again() {
    let home = folder();
    let own = |arguments: &[&str]| {
        Ended::of(install_sh(arguments).env("HOME", home.path()).arg("--user"))
    };
    let before = tree(&[home.path()]);
    let built = folder();
    let binary = release(built.path(), HELPER);
    let said = own(&["--binary", &binary]).succeeds();
    assert!(!said.contains("pam_duo"), "{said}");
    assert!(!home.path().join(".local/libexec").exists());
    assert!(!home.path().join(".config/duo/pam_duo.conf").exists());
    let program = home.path().join(".local/sbin/login_duo");
    let config = home.path().join(".config/duo/login_duo.conf");
    let line = format!(
        "restrict,pty,command=\"{} -c {}\"\n",
        program.display(),
        config.display()
    );
    assert!(said.contains(&line) && said.contains("fill in"), "{said}");
    assert!(said.contains("duoctl check -c"), "{said}");
    assert_eq!((mode(&program), mode(&config)), (0o755, 0o600));

    // A configuration that is there is never touched.
    let duo = fake_duo::FakeDuo::start();
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let written = duo
        .write_config(folder.path(), "")
        .expect("a configuration");
    fs::copy(&written, &config).expect("copied");
    let said = own(&["--binary", PROGRAM]).succeeds();
    assert!(!said.contains("fill in"), "{said}");
    assert_eq!(
        fs::read(&config).expect("read"),
        fs::read(&written).expect("read")
    );

    let login = Command::new(&program)
        .arg("-c")
        .arg(&config)
        .args(["-f", "alice", "echo", "hello"])
        .output();
    assert_eq!(login.expect("it runs").stdout, b"hello\n");
    assert!(!duo.paths().is_empty());

    let keys = home.path().join(".ssh/authorized_keys");
    fs::create_dir(home.path().join(".ssh")).expect("a folder");
    fs::write(
        &keys,
        format!("command=\"{} -c x\" ssh-ed25519 AAAA\n", program.display()),
    )
    .expect("written");
    let refused = own(&["--uninstall"]).fails();
    assert!(
        refused.contains("would be locked out") && refused.contains("leave the key"),
        "{refused}"
    );
    assert!(program.exists());

    fs::remove_dir_all(home.path().join(".ssh")).expect("removed");
    own(&["--uninstall", "--purge"]).succeeds();
    let left = tree(&[home.path()]);
    let files: Vec<_> = left.iter().filter(|line| line.contains(" file ")).collect();
    assert!(files.is_empty(), "{files:?}");
    assert_eq!(before.len(), 1);
}

#[test]
fn without_cargo_it_says_how_to_go_on() {
    let home = folder();
    for (argument, advice) in [
        ("--user", "install Rust (rustup), or give --binary FILE"),
        ("--dry-run", "build as yourself"),
    ] {
        let mut command = install_sh(&[argument, "--dry-run"]);
        command
            .env("HOME", home.path())
            .env("CARGO", "/nonexistent/cargo");
        let refused = Ended::of(&mut command).fails();
        assert!(refused.contains(advice), "{refused}");
    }
    let short = Ended::of(&mut install_sh(&["-h"])).succeeds();
    assert_eq!(short, Ended::of(&mut install_sh(&["--help"])).succeeds());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for arguments in [&["--nonsense"][..], &["--binary"], &["--purge"]] {
        let ran = Ended::of(&mut install_sh(arguments));
        assert_eq!(ran.code(), 2, "{arguments:?}: {}", ran.text());
    }
}

/// Scripts may still call it as they did when it enabled by itself.
#[test]
fn what_is_duoctls_now_names_the_command_and_does_nothing() {
    for (arguments, command) in [
        (&["--enable"][..], "duoctl enable ssh"),
        (&["--enable", "--group", "a"], "duoctl enable ssh"),
        (&["--disable"], "duoctl disable ssh"),
        (&["--user-list", "a"], "duoctl enable --help"),
        (&["--yes"], "duoctl enable --help"),
    ] {
        let ran = Ended::of(&mut install_sh(arguments));
        assert_eq!(ran.code(), 2, "{arguments:?}: {}", ran.text());
        assert!(ran.text().contains(command), "{}", ran.text());
    }
    let script = fs::read_to_string(install_sh(&[]).get_program()).expect("install.sh");
    assert!(script.lines().count() <= 480);
    assert!(!script.contains("sshd_config"), "it is duoctl that edits");
}

/// sshd would say yes to such a ForceCommand, and nobody could log in.
#[test]
fn a_place_that_a_shell_would_not_find_is_refused() {
    let root = folder();
    for name in ["PREFIX", "CONFDIR", "PAMDIR"] {
        for place in ["usr/local", "/opt/two words", "/opt/$(id)", "/opt/a;b"] {
            let mut command = install_sh(&["--binary", PROGRAM]);
            command
                .env("DESTDIR", root.path())
                .env(name, place)
                .current_dir(root.path());
            let ran = Ended::of(&mut command);
            assert_eq!(ran.code(), 2, "{name}={place}: {}", ran.text());
            assert_eq!(tree(&[root.path()]).len(), 1, "{name}={place}");
        }
    }
}

/// What was looked at and what is installed must be one file: it gets the setuid bit.
#[test]
fn a_program_named_without_its_folder_is_not_looked_for_in_path() {
    let home = folder();
    let here = home.path().join("login_duo");
    write_program(&here, "#!/bin/sh\nexit 0\n");
    let known = Path::new(PROGRAM).parent().expect("its folder");
    let path = std::env::var("PATH").expect("a path");
    let mut command = install_sh(&["--user", "--binary", "login_duo"]);
    command
        .env("HOME", home.path())
        .env("PATH", format!("{}:{path}", known.display()))
        .current_dir(home.path());
    let refused = Ended::of(&mut command).fails();
    assert!(refused.contains("is not this login_duo"), "{refused}");
    assert!(!home.path().join(".local").exists());
}

#[test]
fn without_root_it_says_so() {
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let script = folder.path().join("install.sh");
    let original = install_sh(&[]).get_program().to_owned();
    write_program(&script, &fs::read_to_string(original).expect("read"));
    for arguments in [&[][..], &["--uninstall"]] {
        let mut command = Command::new(&script);
        command
            .args(arguments)
            .env_remove("DESTDIR")
            .current_dir("/");
        if nix::unistd::geteuid().is_root() {
            command.uid(65534);
        }
        let refused = Ended::of(&mut command).fails();
        assert!(
            refused.contains("this needs root"),
            "{arguments:?}: {refused}"
        );
    }
}
