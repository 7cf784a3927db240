//! What the phone shows of a login: which host, from where, and which command.

use crate::signing;

/// What `/auth` says of a login; each part may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// `hostname`.
    pub host: Option<String>,
    /// `ipaddr`: where the person is.
    pub address: Option<String>,
    /// `Server IP` of `pushinfo`.
    pub server: Option<String>,
    /// `Command` of `pushinfo`.
    pub command: Option<String>,
}

impl Details {
    /// Reads `pushinfo`, a form within the form.
    pub fn new(host: Option<&str>, address: Option<&str>, pushinfo: Option<&str>) -> Self {
        let of_pushinfo = |name: &str| {
            pushinfo?
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(candidate, _)| signing::decode(candidate).as_deref() == Some(name))
                .and_then(|(_, value)| signing::decode(value))
                .filter(|value| !value.is_empty())
        };
        Self {
            host: host.map(str::to_owned),
            address: address.map(str::to_owned),
            server: of_pushinfo("Server IP"),
            command: of_pushinfo("Command"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushinfo_is_a_form_within_the_form() {
        let details = Details::new(
            Some("web"),
            None,
            Some("Server+IP=192.0.2.1&Command=ls+-l+%26%26+a%2Bb%3D1"),
        );
        assert_eq!(details.server.as_deref(), Some("192.0.2.1"));
        assert_eq!(details.command.as_deref(), Some("ls -l && a+b=1"));
        // Duo's C program sends an empty command where it shows none.
        let details = Details::new(None, None, Some("Server+IP=(null)&Command="));
        assert_eq!(details.server.as_deref(), Some("(null)"));
        assert_eq!(details.command, None);
    }
}
