//! The ids of findings that a report may name. An id comes back from the child as a text; only one
//! that stands here goes on.

/// All of them, in order.
const IDS: &[&str] = &[
    "configuration.codes",
    "configuration.codes_administrators",
    "configuration.failmode",
    "configuration.groups",
    "configuration.no_effect",
    "configuration.noverify",
    "configuration.reach",
    "configuration.remember",
    "configuration.sandbox",
    "configuration.signature",
    "configuration.syntax",
    "configuration.warning",
    "installation.capabilities",
    "installation.child",
    "installation.configuration_file",
    "installation.configuration_folder",
    "installation.cryptography",
    "installation.mode",
    "installation.mount",
    "installation.owner",
    "installation.privsep_shell",
    "installation.privsep_user",
    "installation.program_folder",
    "network.certificate",
    "network.clock",
    "network.keys",
    "network.name",
    "network.outcome",
    "network.pin",
    "network.proxy",
    "network.roots",
    "network.sandbox",
    "network.tcp",
    "network.tls",
    "pam.asked_early",
    "pam.beside",
    "pam.failmode",
    "pam.helper",
    "pam.left_out",
    "pam.loads",
    "pam.locked_out",
    "pam.locker",
    "pam.module",
    "pam.nopasswd",
    "pam.only_factor",
    "pam.stack",
    "pam.vanished",
    "pam.way_around",
    "sshd.accept_env",
    "sshd.accept_env_passcode",
    "sshd.accounts",
    "sshd.asked_twice",
    "sshd.authentication_methods",
    "sshd.authorized_keys_command",
    "sshd.certificates",
    "sshd.configuration",
    "sshd.exempt",
    "sshd.force_command",
    "sshd.forced_key",
    "sshd.keys_unread",
    "sshd.locked_out",
    "sshd.login_grace_time",
    "sshd.match",
    "sshd.other_force_command",
    "sshd.password_authentication",
    "sshd.permit_user_environment",
    "sshd.permit_user_rc",
    "sshd.program",
    "sshd.root_way_in",
    "sshd.service",
    "sshd.sftp",
    "sshd.shell",
    "sshd.stream_local_forwarding",
    "sshd.tcp_forwarding",
    "sshd.tunnel",
    "sshd.x11_forwarding",
    "user.account",
    "user.codes",
    "user.duo",
    "user.duo_name",
    "user.gate",
    "user.shell",
];

/// The same id as a word of this program's code.
pub fn known(id: &str) -> &'static str {
    let found = IDS.iter().find(|known| **known == id);
    found.copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The texts between quotes in the code below `folder` that have the form of an id.
    fn ids_in(folder: &Path, ids: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                ids_in(&path, ids);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let quoted = text.split('"').skip(1);
            ids.extend(quoted.filter(|text| is_id(text)).map(str::to_owned));
        }
    }

    fn is_id(text: &str) -> bool {
        const GROUPS: [&str; 6] = [
            "installation",
            "configuration",
            "network",
            "sshd",
            "user",
            "pam",
        ];
        text.split_once('.').is_some_and(|(group, what)| {
            let plain = |letter: u8| {
                letter.is_ascii_lowercase() || letter == b'_' || letter.is_ascii_digit()
            };
            GROUPS.contains(&group) && !what.is_empty() && what.bytes().all(plain)
        })
    }

    #[test]
    fn every_finding_of_the_check_is_known() {
        let mut ids = Vec::new();
        ids_in(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check"),
            &mut ids,
        );
        assert!(ids.len() > 30);
        for id in ids {
            assert_eq!(known(&id), id, "add it to the list");
        }
        assert!(IDS.is_sorted());
        assert_eq!(known("network.secret"), "other");
    }
}
