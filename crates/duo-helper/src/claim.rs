//! Who is asked, and what Duo is told of it, by the items that the module sends
//! (pam_duo(8), *Who is asked*). The child reads them: they come from a host that may
//! have them from the network.

use std::net::IpAddr;

use duo_ask::{Claim, Subject};
use pam_wire::Item;

/// What must have succeeded before this module in the same login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Whatever the stack says.
    Anything,
    /// A public key, as sshd says (`after=publickey`).
    PublicKey,
}

/// How much the person is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// All of it.
    All,
    /// What cannot be left out (PAM_SILENT).
    Needed,
}

/// What the module has sent.
pub struct Received {
    /// Who wants in.
    pub claim: Claim,
    /// How much the person is shown.
    pub verbosity: Verbosity,
}

/// Reads a packet.
pub fn of(packet: &[u8], after: After) -> Received {
    let items = pam_wire::Claim::of(packet);
    let text = |item| {
        items
            .get(item)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let service = items.get(Item::Service).unwrap_or_default();
    let has_key = items.get(Item::PublicKey).is_some();
    let claim = Claim {
        subject: subject(
            text(Item::User).unwrap_or_default(),
            service,
            items.get(Item::RealUser),
        ),
        objection: match (after, has_key) {
            (After::PublicKey, false) => Some("sshd has taken no public key before Duo"),
            (After::PublicKey, true) | (After::Anything, _) => None,
        },
        duo_user: None,
        client: client(text(Item::RemoteHost), text(Item::SshConnection)),
        service: String::from_utf8_lossy(service).into_owned(),
        terminal: text(Item::Terminal).filter(|name| !name.is_empty()),
        command: items.get(Item::SudoCommand).map(<[u8]>::to_vec),
        passcode: None,
    };
    let verbosity = match items.get(Item::Silent) {
        Some(_) => Verbosity::Needed,
        None => Verbosity::All,
    };
    Received { claim, verbosity }
}

/// For su to root, the user who runs it; for each other service, the user that the host
/// names, who is the invoking user for sudo.
fn subject(name: String, service: &[u8], caller: Option<&[u8]>) -> Subject {
    let caller = caller.and_then(|bytes| bytes.try_into().ok());
    match caller.map(u32::from_ne_bytes) {
        Some(caller) if pam_wire::asks_the_caller_for_root(service) => {
            Subject::Target { name, caller }
        }
        _ => Subject::Name(name),
    }
}

/// PAM_RHOST if it is an address. With `UseDNS yes` it is a name, and sshd has the address
/// in `SSH_CONNECTION`. Without an address Duo is told none, and the log names the host.
fn client(host: Option<String>, connection: Option<String>) -> Option<String> {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let host = host.filter(|host| !host.is_empty());
    if host.as_deref().is_some_and(is_address) {
        return host;
    }
    let connection = connection.unwrap_or_default();
    let first = connection.split(' ').next().unwrap_or_default();
    match is_address(first) {
        true => Some(first.to_owned()),
        false => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pam_wire::Packet;

    fn claim_of(items: &[(Item, &[u8])], after: After) -> Claim {
        let mut packet = Packet::new();
        for (item, value) in items {
            packet.put(*item, value);
        }
        of(packet.as_bytes(), after).claim
    }

    #[test]
    fn su_to_root_asks_the_caller_and_everything_else_the_named_user() {
        let caller = 1000_u32.to_ne_bytes();
        for (service, expected) in [
            ("su", true),
            ("su-l", true),
            ("sudo", false),
            ("runuser", false),
            ("", false),
        ] {
            let items = [
                (Item::User, &b"root"[..]),
                (Item::Service, service.as_bytes()),
                (Item::RealUser, &caller),
            ];
            let subject = claim_of(&items, After::Anything).subject;
            let name = "root".to_owned();
            let target = Subject::Target {
                name: name.clone(),
                caller: 1000,
            };
            let expected = if expected {
                target
            } else {
                Subject::Name(name)
            };
            assert_eq!(subject, expected, "{service}");
        }
        let nobody = claim_of(&[], After::Anything).subject;
        assert_eq!(nobody, Subject::Name(String::new()));
    }

    #[test]
    fn without_a_key_after_publickey_objects() {
        let with_key = [(Item::PublicKey, &b""[..])];
        assert!(claim_of(&with_key, After::PublicKey).objection.is_none());
        assert!(claim_of(&[], After::PublicKey).objection.is_some());
        assert!(claim_of(&[], After::Anything).objection.is_none());
    }

    #[test]
    fn the_client_is_an_address_where_there_is_one() {
        let client = |host: &str, connection: &str| {
            client(Some(host.to_owned()), Some(connection.to_owned()))
        };
        let address = Some("192.0.2.7".to_owned());
        assert_eq!(client("192.0.2.7", "198.51.100.1 1 2 3"), address);
        assert_eq!(
            client("host.example", "192.0.2.7 50022 192.0.2.1 22"),
            address
        );
        assert_eq!(
            client("host.example", "UNKNOWN"),
            Some("host.example".into())
        );
        assert_eq!(client("", ""), None);
        assert_eq!(super::client(None, None), None);
    }
}
