//! An entry of systemd's journal in its native form (systemd.io, *Native Journal
//! Protocol*): each value has its length before it, so no value can begin a second field.

use duo_policy::log_line::{Field, Priority};

/// Where journald listens.
pub(super) const PATH: &str = "/run/systemd/journal/socket";

/// Which line this is, as for syslog.
pub(super) struct Origin<'a> {
    pub(super) name: &'a str,
    pub(super) pid: u32,
    pub(super) facility: u8,
    pub(super) priority: Priority,
}

/// The packet of an entry. Each text is at most 1,003 bytes long ([`text::field`]), so it
/// has fewer than 48 KiB.
///
/// [`text::field`]: duo_policy::text::field
pub(super) fn entry(origin: &Origin<'_>, message: &str, fields: &[Field]) -> Vec<u8> {
    let mut packet = Vec::new();
    for (name, value) in [
        ("MESSAGE", message),
        ("SYSLOG_IDENTIFIER", origin.name),
        ("SYSLOG_PID", &origin.pid.to_string()),
        ("SYSLOG_FACILITY", &origin.facility.to_string()),
        ("PRIORITY", &origin.priority.number().to_string()),
        ("DUO_VERSION", env!("CARGO_PKG_VERSION")),
    ] {
        append(&mut packet, name, value);
    }
    for (name, value) in fields {
        append(&mut packet, name, value);
    }
    packet
}

/// `NAME`, a newline, the length of the value in eight bytes, the value, a newline.
fn append(packet: &mut Vec<u8>, name: &str, value: &str) {
    packet.extend_from_slice(name.as_bytes());
    packet.push(b'\n');
    let length = u64::try_from(value.len()).unwrap_or_default();
    packet.extend_from_slice(&length.to_le_bytes());
    packet.extend_from_slice(value.as_bytes());
    packet.push(b'\n');
}

#[cfg(test)]
mod tests {
    use duo_policy::log_line;
    use duo_wire::{Facts, Outcome, Verdict, Who};

    use super::*;

    /// The fields of a packet, read as journald reads them.
    fn read(mut packet: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        while !packet.is_empty() {
            let end = packet.iter().position(|byte| *byte == b'\n').unwrap();
            let name = String::from_utf8(packet[..end].to_vec()).unwrap();
            assert!(!name.contains('='), "{name}");
            let (length, rest) = packet[end + 1..].split_first_chunk().unwrap();
            let (value, rest) = rest.split_at(u64::from_le_bytes(*length).try_into().unwrap());
            fields.push((name, value.to_vec()));
            packet = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    #[test]
    fn no_value_makes_a_second_field_or_a_packet_that_is_too_long() {
        let forged = "a\nDUO_OUTCOME=successful\nPRIORITY\n\0\0=";
        for text in [
            forged.to_owned(),
            forged.repeat(3_000),
            "é\\".repeat(50_000),
        ] {
            let some = || Some(text.clone());
            let who = Who {
                duo_user: text.clone(),
                client: some(),
                login: some(),
                service: some(),
                terminal: some(),
            };
            let verdict = Verdict::new(Outcome::Failed, &text).with_facts(Facts {
                factor: some(),
                transaction: some(),
                attempt: 2,
                ..Facts::default()
            });
            let origin = Origin {
                name: "login_duo",
                pid: 1,
                facility: 10,
                priority: Priority::Warning,
            };
            let message = duo_policy::text::for_log(&log_line::of_verdict(&verdict, &who));
            let packet = entry(&origin, &message, &log_line::fields(Some(&verdict), &who));
            assert!(packet.len() < 48 * 1024, "{}", packet.len());
            let fields = read(&packet);
            let names: Vec<_> = fields.iter().map(|(name, _)| &name[..]).collect();
            assert_eq!(
                names.join(" "),
                "MESSAGE SYSLOG_IDENTIFIER SYSLOG_PID SYSLOG_FACILITY PRIORITY DUO_VERSION \
                 DUO_USER DUO_LOGIN DUO_SERVICE DUO_CLIENT MESSAGE_ID DUO_OUTCOME DUO_FACTOR \
                 DUO_TXID DUO_REASON DUO_ATTEMPT DUO_LATENCY_MS DUO_PERSON_MS"
            );
            for (name, value) in fields {
                let is_harmless = value.iter().all(|byte| (b' '..=b'~').contains(byte));
                assert!(is_harmless && value.len() <= 1_003, "{name}");
            }
        }
    }
}
