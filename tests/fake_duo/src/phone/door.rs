//! Which requests reach the phone. What it must stand:
//!
//! - another program on this machine that knows the port but not the token;
//! - a page of another site in the same browser that sends a form or a script's request here, even with the token;
//! - a name of an attacker's that points to this address, so that their page counts as of the same site (DNS rebinding).

use crate::http::Incoming;
use crate::phone::Place;
use crate::phone::person::Said;
use crate::signing;
use std::net::IpAddr;

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The page.
    Page,
    /// The page's changes, as HTML.
    Changes,
    /// The same as JSON, for programs.
    Screens,
    /// To answer the push or call of this number.
    Answer(usize, Said),
    /// The page behind an enrolment address, by its code.
    Portal(String),
    /// To enrol there.
    Enrol(String),
}

/// Why a request gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Neither the token nor an enrolment code, or nothing is there.
    Unknown,
    /// The Host header is a name: somebody's name for this address.
    ForeignHost,
    /// GET where it must be POST, or the other way round.
    Method,
    /// Not sent by the page itself.
    CrossSite,
    /// Not a form as the page sends it.
    Form,
}

/// Judges a request: first what it is for, then whether it may.
pub fn judge(incoming: &Incoming, place: &Place) -> Result<Wanted, Refused> {
    let host = incoming.header("host").unwrap_or_default();
    if !is_address(host) {
        return Err(Refused::ForeignHost);
    }
    let mut parts = incoming.path.strip_prefix('/').unwrap_or("").splitn(2, '/');
    match (parts.next(), parts.next()) {
        (Some("portal"), Some(code)) => match incoming.method.as_str() {
            "GET" => Ok(Wanted::Portal(code.to_owned())),
            _ => sent_by_the_page(incoming, host).map(|()| Wanted::Enrol(code.to_owned())),
        },
        (Some(token), Some(name)) if place.is_token(token) => of_the_phone(incoming, host, name),
        _ => Err(Refused::Unknown),
    }
}

fn of_the_phone(incoming: &Incoming, host: &str, name: &str) -> Result<Wanted, Refused> {
    let wanted = match name {
        "" => Wanted::Page,
        "changes" => Wanted::Changes,
        "screens" => Wanted::Screens,
        "answer" => {
            sent_by_the_page(incoming, host)?;
            return answer(&incoming.body);
        }
        _ => return Err(Refused::Unknown),
    };
    match incoming.method.as_str() {
        "GET" => Ok(wanted),
        _ => Err(Refused::Method),
    }
}

/// A browser says in `Origin` whose page sends a POST, and no page can make it say something else. It must be there:
/// without it nobody knows.
fn sent_by_the_page(incoming: &Incoming, host: &str) -> Result<(), Refused> {
    if incoming.method != "POST" {
        return Err(Refused::Method);
    }
    let is_ours = incoming.header("origin") == Some(&format!("http://{host}"));
    let is_same_site = incoming
        .header_values("sec-fetch-site")
        .all(|value| value == "same-origin");
    if !is_ours || !is_same_site {
        return Err(Refused::CrossSite);
    }
    let kind = incoming.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Ok(())
    } else {
        Err(Refused::Form)
    }
}

/// `number=3&answer=approve`, and `code=708` for a verified push.
fn answer(body: &str) -> Result<Wanted, Refused> {
    let pairs = signing::decode_pairs(body).ok_or(Refused::Form)?;
    let get = |name: &str| {
        let mut values = pairs.iter().filter(|(candidate, _)| candidate == name);
        values.next().map(|(_, value)| value.as_str())
    };
    let number = get("number").and_then(|number| number.parse().ok());
    let said = match get("answer") {
        Some("approve") => Some(Said::Yes {
            code: get("code").map(|code| code.trim().to_owned()),
        }),
        Some("deny") => Some(Said::No),
        Some("fraud") => Some(Said::Fraud),
        _ => None,
    };
    number
        .zip(said)
        .map(|(number, said)| Wanted::Answer(number, said))
        .ok_or(Refused::Form)
}

/// Whether a Host header is an address or localhost, with a port or without: no attacker can have a page there. The port may
/// be another one than ours where ssh forwards it.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let v6 = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name == "localhost" || v6.unwrap_or(name).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Incoming {
        Incoming {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    fn place() -> (Place, String) {
        let place = Place::new(([127, 0, 0, 1], 80).into()).unwrap();
        let path = place
            .address()
            .strip_prefix("http://127.0.0.1:80")
            .unwrap()
            .to_owned();
        (place, path)
    }

    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
    const HOST: (&str, &str) = ("Host", "127.0.0.1:80");
    const ORIGIN: (&str, &str) = ("Origin", "http://127.0.0.1:80");

    #[test]
    fn an_answer_comes_from_the_page_itself_or_not_at_all() {
        let (place, path) = place();
        let path = format!("{path}answer");
        let judged = |method: &str, headers: &[(&str, &str)]| {
            judge(
                &incoming(method, &path, headers, "number=1&answer=approve"),
                &place,
            )
        };
        let same = ("Sec-Fetch-Site", "same-origin");
        let yes = Ok(Wanted::Answer(1, Said::Yes { code: None }));
        assert_eq!(judged("POST", &[HOST, ORIGIN, FORM]), yes);
        assert_eq!(judged("POST", &[HOST, ORIGIN, FORM, same]), yes);
        for (method, headers, refused) in [
            ("GET", &[HOST, ORIGIN, FORM][..], Refused::Method),
            ("OPTIONS", &[HOST, ORIGIN], Refused::Method),
            ("POST", &[HOST, FORM], Refused::CrossSite),
            (
                "POST",
                &[HOST, ("Origin", "null"), FORM],
                Refused::CrossSite,
            ),
            (
                "POST",
                &[HOST, ("Origin", "http://127.0.0.1:81"), FORM],
                Refused::CrossSite,
            ),
            (
                "POST",
                &[HOST, ("Origin", "https://127.0.0.1:80"), FORM],
                Refused::CrossSite,
            ),
            (
                "POST",
                &[HOST, ORIGIN, ("Origin", "null"), FORM],
                Refused::CrossSite,
            ),
            (
                "POST",
                &[HOST, ORIGIN, FORM, ("Sec-Fetch-Site", "cross-site")],
                Refused::CrossSite,
            ),
            (
                "POST",
                &[HOST, ORIGIN, FORM, ("Sec-Fetch-Site", "same-site")],
                Refused::CrossSite,
            ),
            (
                "POST",
                &[HOST, ORIGIN, FORM, ("Sec-Fetch-Site", "none")],
                Refused::CrossSite,
            ),
            (
                "POST",
                &[HOST, ORIGIN, ("Content-Type", "text/plain")],
                Refused::Form,
            ),
            ("POST", &[ORIGIN, FORM], Refused::ForeignHost),
            (
                "POST",
                &[
                    ("Host", "rebound.example:80"),
                    ("Origin", "http://rebound.example:80"),
                    FORM,
                ],
                Refused::ForeignHost,
            ),
        ] {
            assert_eq!(
                judged(method, headers),
                Err(refused),
                "{method} {headers:?}"
            );
        }
    }

    #[test]
    fn hosts_are_addresses() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]:80",
            "[::1]",
            "localhost:80",
        ] {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "",
            "a.example",
            "localhost.a.example:80",
            "127.0.0.1.a.example",
            "a:80",
        ] {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn a_form_is_a_number_and_an_answer() {
        let code = Some("708".to_owned());
        for (body, wanted) in [
            (
                "number=2&code=+708+&answer=approve",
                Ok(Wanted::Answer(2, Said::Yes { code })),
            ),
            ("number=2&answer=deny", Ok(Wanted::Answer(2, Said::No))),
            ("number=2&answer=fraud", Ok(Wanted::Answer(2, Said::Fraud))),
            ("number=2", Err(Refused::Form)),
            ("answer=approve", Err(Refused::Form)),
            ("number=two&answer=approve", Err(Refused::Form)),
            ("number=2&answer=yes", Err(Refused::Form)),
            ("", Err(Refused::Form)),
        ] {
            assert_eq!(answer(body), wanted, "{body}");
        }
    }
}
