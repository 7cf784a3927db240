//! The claim: who wants to log in, as a front end says it. No code below a front
//! end reads arguments or environment.

use std::net::IpAddr;

use duo_net::Person;
use duo_policy::config::Config;
use duo_policy::error::Error;
use duo_policy::secret::Secret;
use duo_system::account::Account;

/// One login as it was asked for.
pub struct Claim {
    /// Whose account it is.
    pub subject: Subject,
    /// Why this login is denied whatever the configuration and Duo say.
    pub objection: Option<&'static str>,
    /// The user name that Duo knows, if the front end was given one.
    pub duo_user: Option<String>,
    /// The client's address as the front end was given it, so perhaps no address.
    pub client: Option<String>,
    /// What asks, for the log: `ssh`, or the service of PAM.
    pub service: String,
    /// The terminal, for the log, as a host of PAM names it.
    pub terminal: Option<String>,
    /// The command that is to run in place of a login shell.
    pub command: Option<Vec<u8>>,
    /// A passcode that came with the login.
    pub passcode: Option<Secret>,
}

/// Whose account a login is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The account of the front end's real user id, before any privilege was dropped.
    Uid(u32),
    /// The account of this name, which a host of PAM's said. It may not exist.
    Name(String),
    /// The account of this name if it is not root's, else that of the user who asks to
    /// become root.
    Target {
        /// Whose session it will be.
        name: String,
        /// The user id of the user who asks.
        caller: u32,
    },
}

impl Subject {
    /// The account; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Fault`] if it cannot be looked up, or if a user id has no account.
    pub fn account(&self) -> Result<Option<Account>, Error> {
        match self {
            Subject::Uid(uid) => Account::of(*uid).map(Some),
            Subject::Name(name) => Account::named(name),
            Subject::Target { name, caller } => match Account::named(name)? {
                Some(target) if target.is_root() => Account::of(*caller).map(Some),
                target => Ok(target),
            },
        }
    }

    /// The name for the log where there is no such account.
    pub fn name(&self) -> &str {
        match self {
            Subject::Uid(_) => "?",
            Subject::Name(name) | Subject::Target { name, .. } => name,
        }
    }
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
