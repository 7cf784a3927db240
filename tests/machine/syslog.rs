//! A syslog: a socket, whoever reads it, and the kernel's word for who wrote.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt,
};

use crate::support::PATIENCE;

/// One line of syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Facility and severity, as syslog packs them.
    pub priority: u32,
    /// Which of our programs: `login_duo`, `pam_duo`; empty for others.
    pub program: String,
    pub pid: i32,
    pub text: String,
    /// The whole packet.
    pub packet: String,
    /// Who sent it, as the kernel says.
    pub sender: u32,
}

/// What a log has got so far.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<Line>>,
    changed: Condvar,
}

/// A log.
pub struct Syslog {
    path: PathBuf,
    got: Arc<Lines>,
}

impl Syslog {
    /// Listens at `path`.
    pub fn listen(path: PathBuf) -> Syslog {
        let socket = UnixDatagram::bind(&path).expect("a syslog socket");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        setsockopt(&socket, sockopt::PassCred, &true).unwrap();
        let got = Arc::new(Lines::default());
        let writes = got.clone();
        std::thread::spawn(move || {
            while let Some(line) = receive(&socket) {
                writes.lines.lock().unwrap().push(line);
                writes.changed.notify_all();
            }
        });
        Syslog { path, got }
    }

    /// What it got so far.
    pub fn lines(&self) -> Vec<Line> {
        self.catch_up();
        self.got.lines.lock().unwrap().clone()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.catch_up();
        self.got.lines.lock().unwrap().clear();
    }

    /// Waits until a line fits.
    pub fn wait_for(&self, what: impl Fn(&str) -> bool) -> Line {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.got.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| what(&line.text)) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such line in the log: {lines:#?}");
            lines = self.got.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits until it has all that was sent so far: a packet of our own comes
    /// behind it.
    fn catch_up(&self) {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("mark {};", MARKS.fetch_add(1, Ordering::Relaxed));
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(mark.as_bytes(), &self.path).unwrap();
        self.wait_for(|text| text.ends_with(&mark));
        let mut lines = self.got.lines.lock().unwrap();
        lines.retain(|line| !line.text.ends_with(&mark));
    }
}

/// The next packet, with its sender's user id.
fn receive(socket: &UnixDatagram) -> Option<Line> {
    let mut packet = vec![0; 64 * 1024];
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut buffer = [IoSliceMut::new(&mut packet)];
    let flags = MsgFlags::empty();
    let message =
        recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut buffer, Some(&mut space), flags).ok()?;
    let length = message.bytes;
    let sender = message.cmsgs().ok()?.find_map(|one| match one {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.uid()),
        _ => None,
    });
    let text = String::from_utf8_lossy(&packet[..length]).into_owned();
    Some(parse(&text, sender.expect("the sender's credentials")))
}

/// `<N>Nov 21 18:00:00 login_duo[PID]: text`, or `pam_duo[PID]`, with the
/// time or without
fn parse(packet: &str, sender: u32) -> Line {
    let packet = packet.trim_end_matches(['\0', '\n']);
    let fields = packet.strip_prefix('<').and_then(|rest| {
        let (priority, rest) = rest.split_once('>')?;
        let (head, text) = rest.split_once("]: ")?;
        let (head, pid) = head.rsplit_once('[')?;
        let program = ["login_duo", "pam_duo"]
            .into_iter()
            .find(|program| head.rsplit(' ').next() == Some(program))?;
        let text = text.to_owned();
        Some((priority.parse().ok()?, program, pid.parse().ok()?, text))
    });
    // sshd and sudo log here too; it is no line of ours.
    let other = || (0, "", 0, format!("(not login_duo) {packet}"));
    let (priority, program, pid, text) = fields.unwrap_or_else(other);
    Line {
        priority,
        program: program.to_owned(),
        pid,
        text,
        packet: packet.to_owned(),
        sender,
    }
}

/// Whether this is the last line of a login.
pub fn is_final(text: &str) -> bool {
    text.contains(" Duo login for '") || text.contains(" bypassed Duo 2FA ")
}
