//! Who wants in, as a front end says it. Nothing below a front end reads its
//! arguments or its environment.

use std::net::IpAddr;

use duo_net::Person;
use duo_policy::config::Config;
use duo_policy::secret::Secret;

/// One login as it was asked for.
pub struct Claim {
    /// The account, by its user id: that of whoever started the front end, as
    /// it was before any drop of privileges.
    pub uid: u32,
    /// The name that Duo knows, where the front end was told one.
    pub duo_user: Option<String>,
    /// The client's address, as the front end was told it.
    pub client: Option<String>,
    /// What is to be run in place of a login shell.
    pub command: Option<Vec<u8>>,
    /// A passcode that came with the login.
    pub passcode: Option<Secret>,
}

/// The client's address, if it is one that Duo takes.
pub fn client_address(client: Option<&str>) -> Option<IpAddr> {
    client.and_then(|client| client.parse().ok())
}

/// Who logs in, as Duo is told.
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
