//! The claim: who wants to log in, as a front end says it. No code below a front
//! end reads arguments or environment.

use std::net::IpAddr;

use duo_net::Person;
use duo_policy::config::Config;
use duo_policy::secret::Secret;

/// One login as it was asked for.
pub struct Claim {
    /// The user id of the account: the real user id of the front end before any
    /// privilege was dropped.
    pub uid: u32,
    /// The user name that Duo knows, if the front end was given one.
    pub duo_user: Option<String>,
    /// The client's address as the front end was given it, so perhaps no address.
    pub client: Option<String>,
    /// The command that is to run in place of a login shell.
    pub command: Option<Vec<u8>>,
    /// A passcode that came with the login.
    pub passcode: Option<Secret>,
}

/// The client's address, if the text is an IPv4 or IPv6 address.
fn client_address(client: Option<&str>) -> Option<IpAddr> {
    client.and_then(|client| client.parse().ok())
}

/// What Duo is told of the person who logs in (docs/behaviour.md, *Who logs in,
/// and from where*).
pub fn person(claim: &Claim, duo_user: &str, config: &Config) -> Person {
    let address = client_address(claim.client.as_deref());
    let command = claim.command.as_ref().filter(|_| config.push_info);
    Person {
        user: duo_user.to_owned(),
        address,
        own_address_instead: config.fallback_local_ip && address.is_none(),
        command: command.map(|command| String::from_utf8_lossy(command).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_address_literals_are_client_addresses() {
        assert!(client_address(Some("192.0.2.7")).is_some());
        assert!(client_address(Some("2001:db8::7")).is_some());
        for text in ["", "host.example", "192.0.2.7 ", "::1%eth0", "UNKNOWN"] {
            assert!(client_address(Some(text)).is_none(), "{text}");
        }
    }
}
