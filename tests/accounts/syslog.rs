//! What the system's log gets.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use fake_duo::FakeDuo;

use crate::machine::{ANNA, Machine};

/// The lines that a login sends to syslog.
fn logged(machine: &Machine) -> Vec<String> {
    let path = machine.path().join("log");
    let socket = UnixDatagram::bind(&path).expect("a log");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("its mode");
    socket.set_nonblocking(true).expect("no waiting");
    machine.login_to_syslog(ANNA).run().assert_denied();
    fs::remove_file(&path).expect("the log goes");
    let mut lines = Vec::new();
    let mut line = [0; 8192];
    while let Ok(length) = socket.recv(&mut line) {
        lines.push(String::from_utf8_lossy(&line[..length]).into_owned());
    }
    lines
}

pub fn mistakes_reach_syslog_and_the_secret_does_not() {
    let machine = Machine::new("");
    let files = [
        "colour = red\n@\n",
        "@ = x\n[@]\nskey = @ x\nfailmode = @\n",
        "skey @",
    ];
    for file in files {
        let text = file.replace('@', FakeDuo::SKEY);
        fs::write(machine.config(), text).expect("a configuration");
        let lines = logged(&machine);
        let (last, before) = lines.split_last().expect("a line");
        // 83: authpriv, error; 84: authpriv, warning.
        assert!(
            before.iter().all(|line| line.starts_with("<83>")),
            "{lines:?}"
        );
        assert!(last.starts_with("<84>"), "{last}");
        assert!(
            last.contains("]: Failsecure Duo login for 'anna' from 192.0.2.7: "),
            "{last}"
        );
        let mistake = "]: /etc/duo/login_duo.conf:1: ";
        assert!(
            before.iter().any(|line| line.contains(mistake)),
            "{lines:?}"
        );
        assert!(
            lines.iter().all(|line| line.contains(" login_duo[")),
            "{lines:?}"
        );
        for part in FakeDuo::SKEY.as_bytes().windows(8) {
            let part = String::from_utf8_lossy(part);
            assert!(!lines.iter().any(|line| line.contains(&*part)), "{lines:?}");
        }
    }
}
