//! What a request must look like: method, host, encoding, signature, and the parameters of each endpoint.

use crate::credentials;
use crate::details::Details;
use crate::factor::Asked;
use crate::fault::Endpoint;
use crate::http::Incoming;
use crate::refusal::Refusal;
use crate::{rest_v1, signing};
use std::net::IpAddr;

/// Bytes that `pushinfo` must stay under.
const PUSHINFO_LIMIT: usize = 20_000;

/// Which kind of integration the service plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// A "UNIX Application": preauth answers with `prompt`, `/auth` takes `factor=prompt`.
    #[default]
    Prompt,
    /// An "Auth API": preauth answers with `devices[]`, `/auth` takes `push`, `phone`, `sms`, `passcode`, `auto`.
    Devices,
}

/// What the service is: the part of it that requests are held against.
pub struct Site<'a> {
    /// Host names and addresses it answers to, in lower case.
    pub names: &'a [String],
    pub port: u16,
    pub shape: Shape,
    /// Unix seconds on the service's clock.
    pub now: i64,
}

/// A request that is well-formed and properly signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `/ping` and `/check`.
    Time,
    Preauth {
        user: String,
        verified: bool,
    },
    Auth {
        user: String,
        asked: Asked,
        details: Details,
        asynchronous: bool,
        txid: Option<String>,
    },
    AuthStatus {
        txid: String,
    },
}

/// The endpoint of a path, in either API.
pub fn endpoint(path: &str) -> Option<Endpoint> {
    let Some(name) = path.strip_prefix("/auth/v2/") else {
        return rest_v1::endpoint(path);
    };
    match name {
        "ping" => Some(Endpoint::Ping),
        "check" => Some(Endpoint::Check),
        "preauth" => Some(Endpoint::Preauth),
        "auth" => Some(Endpoint::Auth),
        "auth_status" => Some(Endpoint::AuthStatus),
        _ => None,
    }
}

/// The parameters as they came, undecodable ones left out: for the log.
pub fn parameters(incoming: &Incoming) -> Vec<(String, String)> {
    let raw = if incoming.method == "GET" {
        &incoming.query
    } else {
        &incoming.body
    };
    raw.split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((signing::decode(name)?, signing::decode(value)?))
        })
        .collect()
}

/// Judges a request: first its form, then its signature, then its parameters.
pub fn judge(incoming: &Incoming, site: &Site) -> Result<Call, Refusal> {
    let endpoint =
        endpoint(&incoming.path).ok_or_else(|| Refusal::new(40401, incoming.path.clone()))?;
    let raw = raw_parameters(incoming, endpoint)?;
    let pairs =
        signing::decode_pairs(raw).ok_or_else(|| Refusal::parameter("not an encoded form"))?;
    let canonical = signing::canonical_parameters(&pairs);
    let host = host(incoming, site)?;
    let is_old = rest_v1::endpoint(&incoming.path).is_some();
    if is_old {
        credentials::verify_undated(incoming, &host, &canonical)?;
    } else if endpoint != Endpoint::Ping {
        credentials::verify(incoming, &host, &canonical, site.now)?;
    }
    if canonical != raw {
        return Err(Refusal::parameter(
            "sent otherwise than they were signed: encoding or order",
        ));
    }
    let parameters = Parameters::new(pairs)?;
    if is_old {
        rest_v1::call(endpoint, &parameters)
    } else {
        call(endpoint, site.shape, &parameters)
    }
}

/// The raw form: the query of a GET, the body of a POST.
fn raw_parameters(incoming: &Incoming, endpoint: Endpoint) -> Result<&str, Refusal> {
    let method = match endpoint {
        Endpoint::Preauth | Endpoint::Auth => "POST",
        _ => "GET",
    };
    if incoming.method != method {
        return Err(Refusal::new(40501, format!("use {method}")));
    }
    if method == "GET" {
        return if incoming.body.is_empty() {
            Ok(&incoming.query)
        } else {
            Err(Refusal::parameter("a GET with a body"))
        };
    }
    if !incoming.query.is_empty() {
        return Err(Refusal::parameter("a POST with a query"));
    }
    let kind = incoming.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Ok(&incoming.body)
    } else {
        Err(Refusal::parameter(
            "Content-Type is not application/x-www-form-urlencoded",
        ))
    }
}

/// The host that must have been signed: that of the Host header, without its port, if it is one of ours.
fn host(incoming: &Incoming, site: &Site) -> Result<String, Refusal> {
    let header = incoming
        .header("host")
        .ok_or_else(|| Refusal::parameter("no single Host header"))?;
    let host = header.to_ascii_lowercase();
    let name = match host.strip_suffix(&format!(":{}", site.port)) {
        Some(name) => name,
        // A client behind a proxy that maps names may see us at the usual port.
        None => &host,
    };
    if site.names.iter().any(|ours| ours == name) {
        Ok(name.to_owned())
    } else {
        Err(Refusal::new(
            40103,
            format!("Host '{header}' is not this service's"),
        ))
    }
}

/// Decoded parameters, each name once.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub fn new(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
        names.sort();
        let twice = names
            .iter()
            .zip(names.iter().skip(1))
            .find(|(one, next)| one == next);
        match twice {
            Some((name, _)) => Err(Refusal::parameter(format!("{name} stands twice"))),
            None => Ok(Self(pairs)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there and not empty.
    pub fn required(&self, name: &str) -> Result<String, Refusal> {
        match self.get(name) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(Refusal::parameter(format!("{name} is required"))),
        }
    }

    /// A parameter that may be absent, but else must be one of these.
    pub fn one_of(&self, name: &str, values: &[&str]) -> Result<bool, Refusal> {
        match self.get(name) {
            None => Ok(false),
            Some(value) if values.contains(&value) => Ok(true),
            Some(_) => Err(Refusal::parameter(format!(
                "{name} must be one of {}",
                values.join(", ")
            ))),
        }
    }

    /// Nothing but these.
    pub fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self
            .0
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            Some((name, _)) => Err(Refusal::parameter(format!(
                "{name} is unknown or out of place"
            ))),
            None => Ok(()),
        }
    }

    /// `ipaddr` may be absent, but else must be an address.
    pub fn address_if_any(&self) -> Result<(), Refusal> {
        match self.get("ipaddr") {
            Some(text) if text.parse::<IpAddr>().is_err() => {
                Err(Refusal::parameter("ipaddr is not an IP address"))
            }
            _ => Ok(()),
        }
    }

    /// Whether `/auth` is to answer at once, with a txid to poll. Duo's documentation: `async=1`; without it, as with
    /// `async=0`, the answer is the verdict.
    pub fn asynchronous(&self) -> Result<bool, Refusal> {
        self.one_of("async", &["0", "1"])?;
        Ok(self.get("async") == Some("1"))
    }

    /// What the phone shows.
    pub fn details(&self) -> Details {
        let of = |name| self.get(name).filter(|value| !value.is_empty());
        Details::new(of("hostname"), of("ipaddr"), of("pushinfo"))
    }

    /// `pushinfo` may be absent, but else must be a form of its own.
    pub fn pushinfo_if_any(&self) -> Result<(), Refusal> {
        self.get("pushinfo").map_or(Ok(()), pushinfo)
    }
}

fn call(endpoint: Endpoint, shape: Shape, parameters: &Parameters) -> Result<Call, Refusal> {
    match endpoint {
        Endpoint::Preauth => preauth(shape, parameters),
        Endpoint::Auth => auth(shape, parameters),
        Endpoint::AuthStatus => {
            parameters.only(&["txid"])?;
            Ok(Call::AuthStatus {
                txid: parameters.required("txid")?,
            })
        }
        Endpoint::Ping | Endpoint::Check | Endpoint::Any => {
            parameters.only(&[])?;
            Ok(Call::Time)
        }
    }
}

fn preauth(shape: Shape, parameters: &Parameters) -> Result<Call, Refusal> {
    parameters.only(&[
        "username",
        "text_prompt",
        "hostname",
        "failmode",
        "ipaddr",
        "client_supports_verified_push",
    ])?;
    let user = parameters.required("username")?;
    parameters.address_if_any()?;
    parameters.one_of("failmode", &["open", "closed"])?;
    let text_prompt = parameters.one_of("text_prompt", &["1"])?;
    if shape == Shape::Prompt && !text_prompt {
        return Err(Refusal::parameter("text_prompt is required"));
    }
    let verified = parameters.one_of("client_supports_verified_push", &["1"])?;
    Ok(Call::Preauth { user, verified })
}

fn auth(shape: Shape, parameters: &Parameters) -> Result<Call, Refusal> {
    let mut known = vec![
        "username", "factor", "async", "ipaddr", "hostname", "pushinfo",
    ];
    let factor = parameters.required("factor")?;
    let asked = match (shape, factor.as_str()) {
        (Shape::Prompt, "prompt") => {
            known.extend(["prompt", "txid"]);
            Asked::Prompt(parameters.required("prompt")?)
        }
        (Shape::Devices, "push" | "phone" | "sms") => {
            known.push("device");
            Asked::Device {
                way: factor,
                device: parameters.required("device")?,
            }
        }
        (Shape::Devices, "passcode") => {
            known.push("passcode");
            Asked::Passcode(parameters.required("passcode")?)
        }
        (Shape::Devices, "auto") => {
            known.push("device");
            if parameters.get("device") != Some("auto") {
                return Err(Refusal::parameter("factor=auto needs device=auto"));
            }
            Asked::Auto
        }
        _ => {
            return Err(Refusal::parameter(
                "factor does not exist for this integration",
            ));
        }
    };
    parameters.only(&known)?;
    parameters.address_if_any()?;
    parameters.pushinfo_if_any()?;
    Ok(Call::Auth {
        user: parameters.required("username")?,
        asked,
        details: parameters.details(),
        asynchronous: parameters.asynchronous()?,
        txid: parameters.get("txid").map(str::to_owned),
    })
}

/// `pushinfo` is itself a form: `Server+IP=…&Command=…`.
fn pushinfo(text: &str) -> Result<(), Refusal> {
    if text.len() >= PUSHINFO_LIMIT {
        return Err(Refusal::parameter(format!(
            "pushinfo has {} bytes",
            text.len()
        )));
    }
    // Duo's C program writes this address, in parentheses that it does not encode, on a host without a default route.
    let form = match text.strip_prefix("Server+IP=(null)") {
        Some(rest) => format!("Server+IP={rest}"),
        None => text.to_owned(),
    };
    let encoded = form
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~*+%&=".contains(&byte));
    if encoded && signing::decode_pairs(&form).is_some_and(|pairs| !pairs.is_empty()) {
        Ok(())
    } else {
        Err(Refusal::parameter("pushinfo is not an encoded form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Parameters {
        Parameters::new(signing::decode_pairs(text).unwrap()).unwrap()
    }

    fn judged(endpoint: Endpoint, shape: Shape, text: &str) -> Result<Call, String> {
        call(endpoint, shape, &parameters(text)).map_err(|refusal| refusal.detail)
    }

    #[test]
    fn parameters_of_auth_in_both_shapes() {
        for (shape, text) in [
            (
                Shape::Prompt,
                "username=u&async=1&factor=prompt&prompt=push1&ipaddr=2001:db8::1&hostname=h",
            ),
            (
                Shape::Prompt,
                "username=u&factor=prompt&prompt=verified_push1&txid=x",
            ),
            (
                Shape::Devices,
                "username=u&factor=push&device=D&pushinfo=Server%2BIP%3D192.0.2.1%26Command%3Dls%2B-l",
            ),
            (
                Shape::Prompt,
                "username=u&async=0&factor=prompt&prompt=push1&pushinfo=Server%2BIP%3D192.0.2.1%26Command%3D",
            ),
            (
                Shape::Prompt,
                "username=u&async=0&factor=prompt&prompt=push1&pushinfo=Server%2BIP%3D(null)%26Command%3D",
            ),
            (Shape::Devices, "username=u&factor=passcode&passcode=1"),
            (Shape::Devices, "username=u&factor=auto&device=auto"),
        ] {
            assert!(judged(Endpoint::Auth, shape, text).is_ok(), "{text}");
        }
        for (shape, text, detail) in [
            (
                Shape::Prompt,
                "username=u&factor=push&device=D",
                "factor does not exist for this integration",
            ),
            (
                Shape::Devices,
                "username=u&factor=prompt&prompt=push1",
                "factor does not exist for this integration",
            ),
            (
                Shape::Prompt,
                "username=u&factor=prompt",
                "prompt is required",
            ),
            (
                Shape::Prompt,
                "factor=prompt&prompt=1",
                "username is required",
            ),
            (
                Shape::Prompt,
                "username=u&factor=prompt&prompt=1&device=D",
                "device is unknown or out of place",
            ),
            (
                Shape::Devices,
                "username=u&factor=push&device=D&txid=1",
                "txid is unknown or out of place",
            ),
            (
                Shape::Devices,
                "username=u&factor=auto&device=D",
                "factor=auto needs device=auto",
            ),
            (
                Shape::Devices,
                "username=u&factor=passcode&passcode=1&async=yes",
                "async must be one of 0, 1",
            ),
            (
                Shape::Devices,
                "username=u&factor=passcode&passcode=1&ipaddr=here",
                "ipaddr is not an IP address",
            ),
            (
                Shape::Devices,
                "username=u&factor=passcode&passcode=1&pushinfo=Server%2BIP%3D192.0.2.1%26Command%3D(ls)",
                "pushinfo is not an encoded form",
            ),
            (
                Shape::Devices,
                "username=u&factor=passcode&passcode=1&pushinfo=ls",
                "pushinfo is not an encoded form",
            ),
            (
                Shape::Devices,
                "username=u&factor=passcode&passcode=1&pushinfo=Command%3Dls%20-l",
                "pushinfo is not an encoded form",
            ),
        ] {
            assert_eq!(
                judged(Endpoint::Auth, shape, text),
                Err(detail.to_owned()),
                "{text}"
            );
        }
        let long = format!(
            "username=u&factor=passcode&passcode=1&pushinfo=a%3D{}",
            "x".repeat(19_998)
        );
        assert_eq!(
            judged(Endpoint::Auth, Shape::Devices, &long),
            Err("pushinfo has 20000 bytes".to_owned())
        );
    }

    #[test]
    fn parameters_of_preauth() {
        for (text, detail) in [
            ("username=u", "text_prompt is required"),
            ("username=&text_prompt=1", "username is required"),
            (
                "username=u&text_prompt=1&failmode=safe",
                "failmode must be one of open, closed",
            ),
            (
                "username=u&text_prompt=1&factor=push",
                "factor is unknown or out of place",
            ),
        ] {
            assert_eq!(
                judged(Endpoint::Preauth, Shape::Prompt, text),
                Err(detail.to_owned()),
                "{text}"
            );
        }
        assert_eq!(
            judged(
                Endpoint::Preauth,
                Shape::Prompt,
                "client_supports_verified_push=1&failmode=closed&hostname=h&ipaddr=::1&text_prompt=1&username=u"
            ),
            Ok(Call::Preauth {
                user: "u".to_owned(),
                verified: true
            })
        );
    }

    #[test]
    fn a_name_may_stand_only_once() {
        let pairs = signing::decode_pairs("a=1&b=2&a=3").unwrap();
        assert!(Parameters::new(pairs).is_err());
    }
}
