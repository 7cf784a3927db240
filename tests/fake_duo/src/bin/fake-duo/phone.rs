//! `phone`: the phone on a terminal, beside the login.

use crate::{print, rendezvous};
use fake_duo::{Card, Kind, Outcome, Screen};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// What happens to the terminal's phone.
enum Event {
    /// The phone shows this now.
    Screen(Screen),
    /// The person typed a line.
    Line(String),
    /// The service ended, or the person did.
    End,
}

/// Shows and answers until the service or the input ends.
pub fn run(address: Option<String>) -> io::Result<ExitCode> {
    let address = match address {
        Some(address) => address,
        None => rendezvous::find()?,
    };
    let line = Line::to(address.trim())?;
    let screens = line.screens()?;
    print("TEST DOUBLE: not Duo, for tests only. Waiting for a push or a call.");
    let (sender, events) = mpsc::channel();
    let of_person = sender.clone();
    thread::spawn(move || tell_screens(screens, &sender));
    thread::spawn(move || tell_lines(&of_person));
    let mut phone = Phone::default();
    for event in events {
        match event {
            Event::Screen(screen) => phone.show(screen),
            Event::Line(text) if text.trim().is_empty() => {}
            Event::Line(text) => match phone.read(&text) {
                Ok(form) => line.answer(&form)?,
                Err(why) => print(why),
            },
            Event::End => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was shown so far.
#[derive(Default)]
struct Phone {
    screen: Screen,
    shown: HashMap<usize, Card>,
}

impl Phone {
    /// Prints what is new.
    fn show(&mut self, screen: Screen) {
        for passcode in &screen.passcodes {
            if !self.screen.passcodes.contains(passcode) {
                let whose = match &passcode.user {
                    Some(user) => format!("{user}, by SMS"),
                    None => "every user".to_owned(),
                };
                print(&format!("Passcode of {whose}: {}", passcode.code));
            }
        }
        for card in screen.earlier.iter().chain(&screen.waiting).rev() {
            match self.shown.insert(card.number, card.clone()) {
                // What was over before this phone was there.
                None if card.outcome.is_some() => {}
                Some(before) if before == *card => {}
                _ => print(&describe(card)),
            }
        }
        self.screen = screen;
    }

    /// The form that says what the person typed: a word, the number of the push or call, the code of a verified push.
    fn read(&self, text: &str) -> Result<String, &'static str> {
        let mut words = text.split_whitespace();
        let answer = match words.next() {
            Some("a" | "approve" | "k" | "key") => "approve",
            Some("d" | "deny" | "h" | "hang-up") => "deny",
            Some("f" | "fraud") => "fraud",
            _ => {
                return Err(
                    "Say a (approve, or press a key), d (deny, or hang up) or f (report fraud), then the number.",
                );
            }
        };
        let number: usize = words
            .next()
            .and_then(|word| word.trim_start_matches('#').parse().ok())
            .ok_or("Which one? Its number goes behind the word.")?;
        let waiting = &self.screen.waiting;
        let card = waiting
            .iter()
            .find(|card| card.number == number)
            .ok_or("No push or call of this number waits.")?;
        let code = words.next();
        if answer == "approve" && card.kind == Kind::VerifiedPush && code.is_none() {
            return Err("A verified push wants the code that the login shows, behind the number.");
        }
        let code = code.map_or_else(String::new, |code| {
            format!("&code={}", fake_duo::signing::encode(code))
        });
        Ok(format!("number={number}&answer={answer}{code}"))
    }
}

fn describe(card: &Card) -> String {
    let number = card.number;
    let ended = match card.outcome {
        None => return describe_waiting(card),
        Some(Outcome::Approved) => "approved",
        Some(Outcome::Denied) => "denied",
        Some(Outcome::Fraud) => "reported as fraud",
        Some(Outcome::TimedOut) => "timed out",
        Some(Outcome::Scripted) => "ended by script",
    };
    format!("#{number} for {}: {ended}", card.user)
}

fn describe_waiting(card: &Card) -> String {
    let number = card.number;
    let (what, ways) = match card.kind {
        Kind::Push => (
            "Push",
            format!("a {number} approves, d {number} denies, f {number} reports fraud"),
        ),
        Kind::VerifiedPush => (
            "Verified push",
            format!("a {number} CODE approves, d {number} denies, f {number} reports fraud"),
        ),
        Kind::Call => (
            "Call",
            format!("k {number} presses a key, h {number} hangs up, f {number} reports fraud"),
        ),
    };
    let told = |text: &Option<String>| text.clone().unwrap_or_else(|| "not told".to_owned());
    let wrong = match card.has_wrong_code {
        true => "    That was not the code that the login shows.\n",
        false => "",
    };
    format!(
        "#{number} {what} for {}\n    host {}, from {}, command: {}\n{wrong}    {ways}",
        card.user,
        told(&card.host),
        told(&card.address),
        card.command.as_deref().unwrap_or("a shell, or not told"),
    )
}

/// The way to the phone's web server.
struct Line {
    /// `127.0.0.1:PORT`.
    place: String,
    /// `/TOKEN/`.
    path: String,
}

impl Line {
    fn to(address: &str) -> io::Result<Self> {
        let parts = address
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| io::Error::other(format!("'{address}' is not a phone's address")))?;
        let (place, path) = (parts.0.to_owned(), parts.1.trim_end_matches('/'));
        Ok(Self {
            place,
            path: format!("/{path}/"),
        })
    }

    fn send(&self, request: &str, body: &str) -> io::Result<BufReader<TcpStream>> {
        let tcp = TcpStream::connect(&self.place).map_err(|error| {
            io::Error::new(error.kind(), format!("no phone at {}: {error}", self.place))
        })?;
        let (place, length) = (&self.place, body.len());
        write!(
            &tcp,
            "{request} HTTP/1.1\r\nHost: {place}\r\nOrigin: http://{place}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        Ok(BufReader::new(tcp))
    }

    /// The stream of screens, its head read.
    fn screens(&self) -> io::Result<BufReader<TcpStream>> {
        let mut answer = self.send(&format!("GET {}screens", self.path), "")?;
        let mut line = String::new();
        answer.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!(
                "the service at {} does not know this address",
                self.place
            )));
        }
        while !line.trim_end().is_empty() {
            line.clear();
            answer.read_line(&mut line)?;
        }
        Ok(answer)
    }

    /// What comes of it shows in the next screen.
    fn answer(&self, form: &str) -> io::Result<()> {
        let mut answer = self.send(&format!("POST {}answer", self.path), form)?;
        answer.read_to_end(&mut Vec::new()).map(|_| ())
    }
}

fn tell_screens(screens: BufReader<TcpStream>, events: &Sender<Event>) {
    for line in screens.lines().map_while(Result::ok) {
        let screen = line.strip_prefix("data: ").map(serde_json::from_str);
        if let Some(Ok(screen)) = screen
            && events.send(Event::Screen(screen)).is_err()
        {
            return;
        }
    }
    print("The service has ended.");
    let _ = events.send(Event::End);
}

fn tell_lines(events: &Sender<Event>) {
    for line in io::stdin().lines().map_while(Result::ok) {
        if events.send(Event::Line(line)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::End);
}
