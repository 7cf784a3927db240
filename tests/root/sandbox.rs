//! Attack 15: a child that was taken over. This test program is a front end of its own,
//! with the same two processes as login_duo, and its child misbehaves on order, where a
//! conversation would begin: after the configuration and the account, before Duo. Each
//! order is also given with `sandbox = no`, where it succeeds.

use std::fs::{self, File};
use std::mem::ManuallyDrop;
use std::net::{TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use duo_ask::{Claim, Start, Subject};
use duo_policy::verdict;
use duo_system::codes;
use duo_system::configuration::{self, Owners};
use duo_system::log::{Identity, Log, Sink};
use duo_system::privsep::{self, Caller, Front, OpenFiles, Parent, user_id};
use duo_system::sandbox::{self, Filtered, Needs};
use duo_wire::Who;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sched::CloneFlags;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::unistd::{Pid, Uid};

use crate::machine::World;
use crate::support::{Ended, run, run_quietly, start};

/// The first argument with which this program is the front end, and not the tests.
pub const AS_FRONT_END: &str = "--misbehave";

const CONFIG: &str = "/etc/duo/login_duo.conf";

const IDENTITY: Identity = Identity::Program(c"login_duo");

/// What happens to an order in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The kernel kills the child.
    Killed,
    /// The kernel refuses it.
    Refused(Errno),
}

/// The login of one who was told what to do: `order` is a word, and `with` what it is
/// about.
pub fn front_end(order: &str, with: &str) -> ExitCode {
    if order == "parent" {
        return parent(with);
    }
    privsep::take_over(IDENTITY).unwrap();
    let standing = privsep::standing().unwrap();
    let caller = Caller::of_this_process();
    let user = privsep::privsep_user(standing).unwrap();
    let owners = Owners::of(standing, user.as_ref(), caller);
    let path = Path::new(CONFIG);
    let claim = Claim {
        subject: Subject::Name("allow".to_owned()),
        objection: None,
        duo_user: None,
        client: None,
        service: "ssh".to_owned(),
        terminal: None,
        command: None,
        passcode: None,
    };
    let own = user_id("allow").unwrap();
    let (codes_file, codes) = codes::open(standing, own);
    let start = Start {
        identity: IDENTITY,
        sink: Sink::Syslog,
        warning: None,
        path,
        opened: Ok(None),
        codes,
        doubt: None,
        complain: &|_| {},
    };
    let report = privsep::separate(
        standing,
        caller,
        user.as_ref(),
        OpenFiles {
            codes: codes_file,
            ..OpenFiles::config(Some(configuration::open(path, &owners).unwrap().file))
        },
        Front::Session,
        |confined, ends| {
            duo_ask::run(
                &start,
                confined,
                ends,
                |_| Ok(&claim),
                |_, _| {
                    let outcome = misbehave(order, with).map_err(|errno| errno.desc());
                    Log::open(IDENTITY, Sink::Syslog).info(&format!("{order}: {outcome:?}"));
                    // As a child that is taken over would end: as if all were well.
                    std::process::exit(0)
                },
            )
        },
    );
    let judgement = verdict::judge(report.map(Parent::wait), Who::unknown());
    if let Some((verdict, who)) = &judgement.to_log {
        let log = Log::open(IDENTITY, Sink::Syslog);
        log.verdict(verdict, who).unwrap();
    }
    ExitCode::from(u8::from(judgement.allow.is_none()))
}

fn misbehave(order: &str, with: &str) -> Result<(), Errno> {
    let number = || with.parse::<i32>().unwrap();
    let pid = || Pid::from_raw(number());
    let of_io = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    let a_socket = |family, kind, protocol: Option<SockProtocol>| {
        socket(family, kind, SockFlag::empty(), protocol).map(drop)
    };
    match order {
        "execute" => Err(of_io(Command::new(with).exec())),
        "start" => Command::new(with).status().map(drop).map_err(of_io),
        "read" => File::open(with).map(drop).map_err(of_io),
        "list" => fs::read_dir(with).map(drop).map_err(of_io),
        "write" => File::options()
            .append(true)
            .open(with)
            .map(drop)
            .map_err(of_io),
        "create" => File::create_new(with).map(drop).map_err(of_io),
        "link" => fs::hard_link(with, "/dev/shm/linked").map_err(of_io),
        "replace" => fs::rename("/dev/shm/file", with).map_err(of_io),
        "remove" => fs::remove_file(with).map_err(of_io),
        "truncate" => nix::unistd::truncate(with, 0),
        "mode" => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4777);
            fs::set_permissions(with, mode).map_err(of_io)
        }
        "connect" => {
            let port = u16::try_from(number()).unwrap();
            TcpStream::connect(("127.0.0.1", port))
                .map(drop)
                .map_err(of_io)
        }
        "listen" => TcpListener::bind("127.0.0.1:0").map(drop).map_err(of_io),
        "abstract" => {
            let name = SocketAddr::from_abstract_name(with).unwrap();
            UnixStream::connect_addr(&name).map(drop).map_err(of_io)
        }
        "kill" => kill(pid(), Signal::SIGKILL),
        "continue" => kill(pid(), Signal::SIGCONT),
        "trace" => ptrace::attach(pid()),
        "become" => nix::unistd::setuid(Uid::from_raw(u32::try_from(number()).unwrap())),
        "namespace" => nix::sched::unshare(CloneFlags::CLONE_NEWUSER),
        "root" => nix::unistd::chroot(with),
        "packets" => a_socket(AddressFamily::Packet, SockType::Datagram, None),
        "netlink" => {
            let audit = SockProtocol::NetlinkAudit;
            a_socket(AddressFamily::Netlink, SockType::Raw, Some(audit))
        }
        "vsock" => a_socket(AddressFamily::Vsock, SockType::Stream, None),
        "lengthen" => lengthen(with.parse().unwrap()),
        "reserve" => reserve(with.parse().unwrap()),
        // What a lookup needs.
        "routes" => {
            let route = SockProtocol::NetlinkRoute;
            a_socket(AddressFamily::Netlink, SockType::Raw, Some(route))
        }
        "thread" => {
            let thread = std::thread::Builder::new().spawn(|| {}).map_err(of_io)?;
            thread.join().map_err(|_| Errno::ECHILD)
        }
        _ => panic!("{order}"),
    }
}

/// Writes a byte to each file that this process has open, so that it is this long.
#[allow(unsafe_code, reason = "these descriptors are other code's")]
fn lengthen(length: u64) -> Result<(), Errno> {
    let mut outcome = Err(Errno::EBADF);
    for number in 3..20 {
        // SAFETY: the number may be nobody's, and then each call fails. It is not closed here.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
        if file.metadata().is_ok_and(|status| status.is_file()) {
            outcome = file
                .write_all_at(b"x", length - 1)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()));
        }
    }
    outcome
}

/// Takes so much room for the first file that this process has open, beyond its end, which
/// nobody sees in its size.
#[allow(unsafe_code, reason = "these descriptors are other code's")]
fn reserve(length: i64) -> Result<(), Errno> {
    for number in 3..20 {
        // SAFETY: the number may be nobody's, and then each call fails. It is not closed here.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
        if file.metadata().is_ok_and(|status| status.is_file()) {
            return fallocate(&*file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length);
        }
    }
    Err(Errno::EBADF)
}

/// A parent that only waits, and then does not.
fn parent(order: &str) -> ExitCode {
    // It is not this process, so no process may be killed.
    sandbox::keep_only_waiting(Pid::from_raw(1)).unwrap();
    let code = match order {
        "execute" => {
            let _ = Command::new("true").exec();
            2
        }
        "read" => u8::from(File::open("/etc/passwd").is_ok()),
        "connect" => u8::from(UnixStream::connect("/dev/log").is_ok()),
        "kill" => u8::from(kill(Pid::this(), Signal::SIGKILL).is_ok()),
        "send" => {
            let path = nix::sys::socket::UnixAddr::new("/dev/log").unwrap();
            let flags = nix::sys::socket::MsgFlags::empty();
            u8::from(nix::sys::socket::sendto(2, b"x", &path, flags).is_ok())
        }
        "thread" => u8::from(std::thread::Builder::new().spawn(|| {}).is_ok()),
        "wait" => u8::from(nix::sys::wait::waitpid(None, None) != Err(Errno::ECHILD)),
        "become" => u8::from(nix::unistd::setuid(Uid::from_raw(1)).is_ok()),
        "end" => 0,
        _ => panic!("{order}"),
    };
    ExitCode::from(code)
}

/// A machine on which orders are given, and what they are about.
struct Target {
    world: World,
    other_port: TcpListener,
    _abstract: UnixListener,
    abstract_name: String,
    process: Child,
}

impl Target {
    fn new(extra: &str) -> Target {
        let world = World::with(extra, |_| {});
        let for_all = std::os::unix::fs::PermissionsExt::from_mode;
        for (name, mode) in [("file", 0o666), ("script", 0o755)] {
            let path = world.at(&format!("/dev/shm/{name}"));
            fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
            fs::set_permissions(&path, for_all(mode)).unwrap();
        }
        let duo = world.uid("duo");
        std::os::unix::fs::chown(world.at("/dev/shm/file"), Some(duo), None).unwrap();
        let mut sleep = world.as_ids(duo, duo, "--clear-groups");
        let process = start_quietly(sleep.args(["sleep", "1000"]));
        let abstract_name = format!("login_duo-test-{}", process.id());
        let name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Target {
            world,
            other_port: TcpListener::bind("127.0.0.1:0").unwrap(),
            _abstract: UnixListener::bind_addr(&name).unwrap(),
            abstract_name,
            process,
        }
    }

    /// Each order, what it is about, and its fate.
    fn orders(&self) -> Vec<(&'static str, String, Fate)> {
        use Fate::{Killed, Refused};
        let pid = self.process.id().to_string();
        let port = self.other_port.local_addr().unwrap().port().to_string();
        let file = || "/dev/shm/file".to_owned();
        let duo = self.world.uid("duo").to_string();
        vec![
            ("execute", "/bin/true".to_owned(), Killed),
            ("start", "/bin/true".to_owned(), Refused(Errno::EPERM)),
            ("read", file(), Refused(Errno::EACCES)),
            ("list", "/srv/home".to_owned(), Refused(Errno::EACCES)),
            ("read", "/proc/1/status".to_owned(), Refused(Errno::EACCES)),
            ("write", file(), Refused(Errno::EACCES)),
            ("truncate", file(), Refused(Errno::EACCES)),
            ("create", "/dev/shm/new".to_owned(), Refused(Errno::EACCES)),
            ("mode", file(), Killed),
            ("connect", port, Refused(Errno::EACCES)),
            ("listen", String::new(), Refused(Errno::EACCES)),
            (
                "abstract",
                self.abstract_name.clone(),
                Refused(Errno::EPERM),
            ),
            ("continue", pid.clone(), Killed),
            ("trace", pid.clone(), Killed),
            ("become", duo, Killed),
            ("namespace", String::new(), Killed),
            ("kill", pid, Killed),
        ]
    }

    /// Gives an order, and returns what the log has of it.
    fn give(&self, order: &str, with: &str) -> (Ended, Vec<String>) {
        self.world.clear_log();
        let mut front_end = self.world.inside();
        front_end
            .arg(std::env::current_exe().unwrap())
            .args([AS_FRONT_END, order, with]);
        let ended = run(front_end);
        let is_final = |text: &str| text.contains(" Duo login for ");
        self.world.wait_for_log(is_final);
        let lines = self.world.log().into_iter();
        (ended, lines.map(|line| line.text).collect())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start_quietly(command: &mut Command) -> Child {
    let mut quiet = Command::new(command.get_program());
    quiet.args(command.get_args()).stdin(Stdio::null());
    start(quiet)
}

const UNFIT: &str =
    "Error in Duo login for 'allow': the child's exit status 0 does not fit what it said";

pub fn a_child_that_was_taken_over_is_stopped_and_the_login_denied() {
    let target = Target::new("");
    let (level, ()) = sandbox::try_out(&Needs::default(), || ()).unwrap();
    assert_eq!(level.filtered, Filtered::Yes);
    let landlock = level.landlock;
    for (order, with, fate) in target.orders() {
        let (ended, log) = target.give(order, &with);
        assert_eq!(ended.code(), 1, "{order} {with}: {log:?}");
        if matches!(fate, Fate::Refused(_)) && landlock < 6 {
            eprintln!("Landlock has version {landlock} here: not tried: {order}");
            continue;
        }
        let expected = match fate {
            Fate::Killed => {
                vec!["Error in Duo login for 'allow': the child was killed by SIGSYS".to_owned()]
            }
            Fate::Refused(errno) => {
                let refused: Result<(), &str> = Err(errno.desc());
                vec![format!("{order}: {refused:?}"), UNFIT.to_owned()]
            }
        };
        assert_eq!(log, expected, "{order} {with}");
    }
    // What only root could do in any case is not even tried.
    for (order, with) in [
        ("root", "/"),
        ("packets", ""),
        ("netlink", ""),
        ("vsock", ""),
    ] {
        let (_, log) = target.give(order, with);
        assert!(
            log.concat().ends_with("killed by SIGSYS"),
            "{order}: {log:?}"
        );
    }
    // What lookups do still works.
    let port = target.world.sandbox.duo.address();
    let port = port.rsplit_once(':').unwrap().1;
    let resolver = "/etc/resolv.conf";
    for (order, with) in [
        ("routes", ""),
        ("thread", ""),
        ("connect", port),
        ("read", resolver),
        ("read", "/etc/passwd"),
        ("read", "/proc/self/status"),
        ("read", "/dev/null"),
    ] {
        if Path::new(with).is_absolute() && !target.world.at(with).exists() {
            continue;
        }
        let (_, log) = target.give(order, with);
        assert_eq!(
            log,
            [format!("{order}: Ok(())"), UNFIT.to_owned()],
            "{with}"
        );
    }
    assert!(target.world.sandbox.duo.requests().is_empty());
}

pub fn without_the_sandbox_each_order_would_succeed_and_the_log_warns() {
    let target = Target::new("sandbox = no\n");
    for (order, with, _) in target.orders() {
        let (ended, log) = target.give(order, &with);
        assert_eq!(ended.code(), 1, "{order} {with}: {log:?}");
        assert!(
            log.concat()
                .contains("key 'sandbox' is off: nothing limits"),
            "{log:?}"
        );
        let text = log.join("\n");
        assert!(!text.contains("SIGSYS"), "{order} {with}: {text}");
        match order {
            "execute" => assert!(!text.contains("execute: Err"), "{text}"),
            _ => assert!(text.contains(&format!("{order}: Ok(())")), "{with}: {text}"),
        }
    }
}

/// The child holds the file of its own account, and can reach no other one: not in the
/// sandbox, and not without it.
pub fn a_child_that_was_taken_over_touches_no_codes_of_others() {
    for (extra, errno) in [("", "Permission denied"), ("sandbox = no\n", "")] {
        let target = Target::new(extra);
        let world = &target.world;
        for user in ["allow", "push"] {
            let mut duoctl = world.inside();
            duoctl.args(["/srv/bin/duoctl", "codes", "create", user, "--json"]);
            run(duoctl).succeeds();
        }
        let folder = codes::FOLDER;
        let others = format!("{folder}/{}", world.uid("push"));
        let before = fs::read(world.at(&others)).unwrap();
        let new = format!("{folder}/1");
        for (order, with) in [
            ("list", folder),
            ("read", &others),
            ("write", &others),
            ("truncate", &others),
            ("remove", &others),
            ("link", &others),
            ("replace", &others),
            ("create", &new),
        ] {
            let (ended, log) = target.give(order, with);
            assert_eq!(ended.code(), 1, "{order}: {log:?}");
            let text = log.concat();
            assert!(text.contains(&format!("{order}: Err(")), "{text}");
            assert!(text.contains(errno), "{text}");
        }
        assert_eq!(fs::read(world.at(&others)).unwrap(), before);
        assert_eq!(fs::read_dir(world.at(folder)).unwrap().count(), 2);
    }
}

/// It can write to the file of its own account, and not fill the disk by it.
pub fn a_child_that_was_taken_over_makes_no_file_longer() {
    for extra in ["", "sandbox = no\n"] {
        let target = Target::new(extra);
        let world = &target.world;
        let mut duoctl = world.inside();
        duoctl.args([
            "/srv/bin/duoctl",
            "codes",
            "create",
            "allow",
            "--count",
            "50",
        ]);
        run(duoctl).succeeds();
        let file = world.at(&format!("{}/{}", codes::FOLDER, world.uid("allow")));
        let length = fs::metadata(&file).unwrap().len();
        for more in [1, 1 << 30] {
            let (ended, log) = target.give("lengthen", &(length + more).to_string());
            assert_eq!(ended.code(), 1, "{log:?}");
            let text = log.concat();
            assert!(text.contains("lengthen: Err(\"File too large\")"), "{text}");
            assert!(!text.contains("killed by"), "{text}");
            assert_eq!(fs::metadata(&file).unwrap().len(), length);
        }
        // Not every file system holds what lies beyond the end to that limit.
        if extra.is_empty() {
            let (_, log) = target.give("reserve", "268435456");
            let text = log.concat();
            assert!(
                text.contains(r#"reserve: Err("Operation not supported"#),
                "{text}"
            );
        }
        // What is there already is its own.
        let (_, log) = target.give("lengthen", &length.to_string());
        assert!(log.concat().contains("lengthen: Ok(())"), "{log:?}");
    }
}

pub fn both_processes_of_a_login_are_what_they_should_be() {
    for (extra, filters) in [("", "2"), ("sandbox = no\n", "0")] {
        let world = World::with(extra, |_| {});
        let mut login = world.login(crate::machine::Install::Setuid, "manual");
        login.args(["echo", "in"]);
        let login = start(login);
        let (parent, child) = world.wait_for_push();
        let seccomp = |pid| crate::machine::process::status(pid, "Seccomp");
        assert_eq!(seccomp(child), filters, "{extra}");
        // It becomes the session.
        assert_eq!(seccomp(parent), "0");
        kill(Pid::from_raw(parent), Signal::SIGTERM).unwrap();
        crate::support::ended(login);
        world.wait_until_empty();
    }
}

pub fn a_parent_that_only_waits_can_do_nothing_else() {
    let world = World::new();
    const SIGSYS: Option<i32> = Some(31);
    for (order, code, signal) in [
        ("end", Some(0), None),
        ("wait", Some(0), None),
        ("read", Some(0), None),
        ("connect", Some(0), None),
        ("send", None, SIGSYS),
        ("execute", None, SIGSYS),
        ("kill", None, SIGSYS),
        ("thread", None, SIGSYS),
        ("become", None, SIGSYS),
    ] {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args([AS_FRONT_END, "parent", order]);
        let status = run_quietly(program.stderr(Stdio::null()));
        assert_eq!((status.code(), status.signal()), (code, signal), "{order}");
    }
    drop(world);
}
