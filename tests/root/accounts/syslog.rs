//! What the system's log gets.

use std::fs;

use fake_duo::FakeDuo;

use super::{ANNA, Machine};

/// The lines that a login sends to syslog.
fn logged(machine: &Machine) -> Vec<String> {
    machine.login_to_syslog(ANNA).run().assert_denied();
    machine.logged()
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
