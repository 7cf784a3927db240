//! install.sh in roots that are folders: nothing here needs root or touches the machine. On a
//! machine, behind a real sshd, it is tested in tests/root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Ended, install_sh, tree};

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

fn in_root(root: &Path, arguments: &[&str]) -> Ended {
    Ended::of(
        install_sh(arguments)
            .env("DESTDIR", root)
            .env("PREFIX", "/usr/local"),
    )
}

#[test]
fn a_packagers_root_gets_files_and_modes_and_no_user() {
    let root = folder();
    let accounts = fs::read("/etc/passwd").expect("the accounts");
    for _ in 0..2 {
        let said = in_root(root.path(), &["--binary", PROGRAM]).succeeds();
        assert!(said.contains("must create the system user 'duo'"), "{said}");
        assert!(!said.contains("--enable"), "{said}");
    }
    assert_eq!(mode(&root.path().join("usr/local/sbin/login_duo")), 0o4755);
    assert_eq!(mode(&root.path().join("usr/local/sbin/duoctl")), 0o755);
    assert_eq!(mode(&root.path().join("etc/duo/login_duo.conf")), 0o600);
    assert_eq!(
        mode(&root.path().join("usr/local/share/man/man8/login_duo.8")),
        0o644
    );
    assert_eq!(
        mode(
            &root
                .path()
                .join("usr/local/share/man/man5/login_duo.conf.5")
        ),
        0o644
    );
    assert_eq!(
        tree(&[root.path()])
            .iter()
            .filter(|line| line.contains(" file "))
            .count(),
        6
    );
    assert_eq!(fs::read("/etc/passwd").expect("the accounts"), accounts);

    in_root(root.path(), &["--uninstall"]).succeeds();
    let left = tree(&[root.path()]);
    assert_eq!(
        left.iter().filter(|line| line.contains(" file ")).count(),
        1,
        "{left:?}"
    );
    in_root(root.path(), &["--uninstall", "--purge"]).succeeds();
    assert!(!root.path().join("etc/duo").exists());
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
    let said = own(&["--binary", PROGRAM]).succeeds();
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
    assert!(script.lines().count() <= 300);
    assert!(!script.contains("sshd_config"), "it is duoctl that edits");
}

/// sshd would say yes to such a ForceCommand, and nobody could log in.
#[test]
fn a_place_that_a_shell_would_not_find_is_refused() {
    let root = folder();
    for name in ["PREFIX", "CONFDIR"] {
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
    fs::write(&here, "#!/bin/sh\nexit 0\n").expect("written");
    fs::set_permissions(&here, fs::Permissions::from_mode(0o755)).expect("its mode");
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
    fs::copy(original, &script).expect("copied");
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
