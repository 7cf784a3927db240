//! The requests to Duo: the endpoints, and the parameters of preauth and auth.
//! Source: docs/duo-api.md, *Requests*.

use std::net::IpAddr;

use super::menu::Factor;
pub use super::signing::Parameters;
use super::signing::encode;
use crate::config::Failmode;

/// A kind of request to Duo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The HTTP method, which says where the parameters stand.
    pub method: Method,
    /// `/auth/v2/…`
    pub path: &'static str,
    /// Whether a request that was lost may be sent again.
    pub retry: Retry,
}

/// Whether a request that was lost may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may be sent again: it changes nothing at Duo.
    Harmless,
    /// It may be sent again. It is a long poll, so one without an answer in time
    /// does not count as a failure.
    Poll,
    /// It must not be sent again once a byte of it was sent: it may ring a phone.
    Rings,
}

impl Endpoint {
    /// Asks for Duo's time. Duo does not check the signature.
    pub const PING: Endpoint = Endpoint::of(Method::Get, "/auth/v2/ping", Retry::Harmless);
    /// Asks for Duo's time with a signature that Duo checks, which proves `ikey`,
    /// `skey` and clock.
    pub const CHECK: Endpoint = Endpoint::of(Method::Get, "/auth/v2/check", Retry::Harmless);
    /// Asks whether a user needs a second factor, and which ones there are.
    pub const PREAUTH: Endpoint = Endpoint::of(Method::Post, "/auth/v2/preauth", Retry::Harmless);
    /// Starts to verify a factor.
    pub const AUTH: Endpoint = Endpoint::of(Method::Post, "/auth/v2/auth", Retry::Rings);
    /// Waits for news of a transaction.
    pub const AUTH_STATUS: Endpoint =
        Endpoint::of(Method::Get, "/auth/v2/auth_status", Retry::Poll);

    const fn of(method: Method, path: &'static str, retry: Retry) -> Endpoint {
        Endpoint {
            method,
            path,
            retry,
        }
    }
}

/// The HTTP methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The parameters are the query string.
    Get,
    /// The parameters are the body.
    Post,
}

impl Method {
    /// The method as HTTP and the canonical request spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// `pushinfo` stays below this, in bytes.
const LONGEST_PUSHINFO: usize = 20_000;

/// The parameters that preauth and auth have in common: who logs in, from where,
/// to where.
pub struct CommonParameters<'a> {
    /// The Duo user name.
    pub user: &'a str,
    /// The client's address, if it is known and valid.
    pub address: Option<&'a str>,
    /// This host's full name.
    pub hostname: &'a str,
}

impl CommonParameters<'_> {
    /// The parameters of preauth. `verified_push`: this login can show the code of
    /// a Verified Push.
    pub fn preauth(&self, failmode: Failmode, verified_push: bool) -> Parameters {
        let failmode = match failmode {
            Failmode::Safe => "open",
            // Duo knows no third one, and would not ask for a code of ours.
            Failmode::Secure | Failmode::Codes => "closed",
        };
        let mut pairs = self.pairs();
        pairs.extend([("text_prompt", "1"), ("failmode", failmode)]);
        if verified_push {
            pairs.push(("client_supports_verified_push", "1"));
        }
        Parameters::new(&pairs)
    }

    /// The parameters of auth, for the factor that was chosen.
    pub fn auth(&self, factor: &Factor, pushinfo: &str) -> Parameters {
        let mut pairs = self.pairs();
        // A passcode asks nothing more of the person, so the answer can be the
        // verdict, and the login costs one round trip less.
        pairs.push(("async", if factor.is_passcode() { "0" } else { "1" }));
        if !pushinfo.is_empty() {
            pairs.push(("pushinfo", pushinfo));
        }
        match factor {
            Factor::Prompt { value, txid, .. } => {
                pairs.extend([("factor", "prompt"), ("prompt", value.as_str())]);
                if let Some(txid) = txid {
                    pairs.push(("txid", txid));
                }
            }
            Factor::Push(device) => pairs.extend([("factor", "push"), ("device", device)]),
            Factor::Phone(device) => pairs.extend([("factor", "phone"), ("device", device)]),
            Factor::Sms(device) => pairs.extend([("factor", "sms"), ("device", device)]),
            Factor::Passcode(code) => pairs.extend([("factor", "passcode"), ("passcode", code)]),
            Factor::Auto => pairs.extend([("factor", "auto"), ("device", "auto")]),
        }
        Parameters::new(&pairs)
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let address = self.address.map(|address| ("ipaddr", address));
        [("username", self.user), ("hostname", self.hostname)]
            .into_iter()
            .chain(address)
            .collect()
    }
}

/// The value of `pushinfo`, itself a form: `Server+IP=…&Command=…`. `own` is this
/// host's address. The command is cut between two characters, so that the value
/// stays below 20,000 bytes.
pub fn pushinfo(own: Option<IpAddr>, command: Option<&str>) -> String {
    let form = |text: &str| encode(text).replace("%20", "+");
    let mut info = own.map_or_else(String::new, |own| {
        format!("Server+IP={}", form(&own.to_string()))
    });
    if let Some(command) = command {
        if !info.is_empty() {
            info.push('&');
        }
        info.push_str("Command=");
        for letter in command.chars() {
            let letter = form(letter.encode_utf8(&mut [0; 4]));
            if info.len() + letter.len() >= LONGEST_PUSHINFO {
                break;
            }
            info.push_str(&letter);
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: CommonParameters<'_> = CommonParameters {
        user: "alice",
        address: Some("192.0.2.7"),
        hostname: "web.example",
    };

    #[test]
    fn preauth_tells_who_from_where_to_where_and_what_failure_means() {
        assert_eq!(
            ALICE.preauth(Failmode::Safe, false).as_str(),
            "failmode=open&hostname=web.example&ipaddr=192.0.2.7&text_prompt=1&username=alice"
        );
        let nowhere = CommonParameters {
            address: None,
            ..ALICE
        };
        assert_eq!(
            nowhere.preauth(Failmode::Secure, true).as_str(),
            "client_supports_verified_push=1&failmode=closed&hostname=web.example&text_prompt=1\
             &username=alice"
        );
    }

    #[test]
    fn auth_names_the_factor_in_either_shape() {
        let auth = |factor: Factor| {
            let text = ALICE.auth(&factor, "").as_str().to_owned();
            let is_sync = matches!(factor, Factor::Passcode(_));
            let mode = if is_sync { "async=0&" } else { "async=1&" };
            assert!(text.starts_with(mode), "{text}");
            text.replace(mode, "")
                .replace("&hostname=web.example&ipaddr=192.0.2.7", "")
                .replace("&username=alice", "")
        };
        assert_eq!(
            auth(Factor::Prompt {
                value: "verified_push1".into(),
                txid: Some("t".into()),
                name: String::new()
            }),
            "factor=prompt&prompt=verified_push1&txid=t"
        );
        let device = || "D1".to_owned();
        for (factor, text) in [
            (Factor::Push(device()), "device=D1&factor=push"),
            (Factor::Phone(device()), "device=D1&factor=phone"),
            (Factor::Sms(device()), "device=D1&factor=sms"),
            (Factor::Passcode("1".into()), "factor=passcode&passcode=1"),
            (Factor::Auto, "device=auto&factor=auto"),
        ] {
            assert_eq!(auth(factor), text);
        }
    }

    #[test]
    fn pushinfo_is_a_form_within_the_form() {
        let own = "2001:db8::1".parse().ok();
        let command = Some("rm 'a&b' ë");
        let info = "Server+IP=2001%3Adb8%3A%3A1&Command=rm+%27a%26b%27+%C3%AB";
        assert_eq!(pushinfo(own, command), info);
        assert_eq!(pushinfo(own, None), "Server+IP=2001%3Adb8%3A%3A1");
        assert_eq!(pushinfo(None, Some("a")), "Command=a");
        assert_eq!(pushinfo(None, None), "");
        let sent = ALICE.auth(&Factor::Auto, info);
        assert!(
            sent.as_str()
                .contains("&pushinfo=Server%2BIP%3D2001%253Adb8")
        );
    }

    #[test]
    fn a_long_command_is_cut_on_a_character() {
        for padding in 0..6 {
            let command = "x".repeat(padding) + &"ë".repeat(20_000);
            let info = pushinfo(None, Some(&command));
            assert!(info.len() < LONGEST_PUSHINFO && info.len() > LONGEST_PUSHINFO - 8);
            assert!(info.ends_with("%C3%AB"), "{}", info.len());
        }
    }
}
