//! A browser without JavaScript, as far as the phone needs one, that can do each thing wrong.

use crate::client::tcp;
use fake_duo::{FakeDuo, Screen};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// What came back.
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Page {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (candidate, value) = line.split_once(": ")?;
            candidate.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// The way to a phone.
#[derive(Clone)]
pub struct Web {
    /// `127.0.0.1:PORT`.
    pub place: String,
    /// `/TOKEN/`.
    pub path: String,
}

/// `http://PLACE/PATH`, in two.
pub fn split(address: &str) -> Web {
    let rest = address.strip_prefix("http://").unwrap();
    let slash = rest.find('/').unwrap();
    Web {
        place: rest[..slash].to_owned(),
        path: rest[slash..].to_owned(),
    }
}

impl Web {
    pub fn of(duo: &FakeDuo) -> Self {
        split(&duo.phone().unwrap())
    }

    /// A request with these headers besides Host.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        let host = ("Host", self.place.as_str());
        let has_host = headers.iter().any(|(name, _)| *name == "Host");
        for (name, value) in headers.iter().chain((!has_host).then_some(&host)) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = body.len();
        let mut tcp = tcp(&self.place).unwrap();
        write!(
            tcp,
            "{text}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Page {
            status: head[9..12].parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub fn get(&self, path: &str) -> Page {
        self.request("GET", path, &[], "")
    }

    pub fn page(&self) -> String {
        let page = self.get(&self.path);
        assert_eq!(page.status, 200);
        page.body
    }

    /// Sends a form as a browser sends one of a page of this origin.
    pub fn post_from(&self, origin: &str, path: &str, body: &str) -> Page {
        let headers = [
            ("Origin", origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.request("POST", path, &headers, body)
    }

    pub fn post(&self, path: &str, body: &str) -> Page {
        self.post_from(&format!("http://{}", self.place), path, body)
    }

    /// Presses a button on the page.
    pub fn press(&self, number: usize, answer: &str) -> u16 {
        let body = format!("number={number}&answer={answer}");
        self.post(&format!("{}answer", self.path), &body).status
    }

    /// The screens as they come.
    pub fn screens(&self) -> Screens {
        let tcp = tcp(&self.place).unwrap();
        let (path, place) = (&self.path, &self.place);
        write!(&tcp, "GET {path}screens HTTP/1.1\r\nHost: {place}\r\n\r\n").unwrap();
        Screens(BufReader::new(tcp))
    }
}

/// A stream of server-sent events.
pub struct Screens(BufReader<TcpStream>);

impl Screens {
    /// Waits for a screen that is so.
    pub fn wait_for(&mut self, is_so: impl Fn(&Screen) -> bool) -> Screen {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("such a screen") > 0);
            if let Some(json) = line.strip_prefix("data: ") {
                let screen = serde_json::from_str(json).unwrap();
                if is_so(&screen) {
                    return screen;
                }
            }
        }
    }
}
