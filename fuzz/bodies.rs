//! What must hold for hostile bytes, one function a parser: the fuzz targets
//! run each for hours, and `cargo test` runs the same on generated cases.
//!
//! Each goes beyond "it does not panic": it compares with a second, simpler way
//! to the same answer, or with what the specification promises of every output.
#![allow(dead_code, reason = "a fuzz target uses one of them")]

use std::time::{Duration, SystemTime};

use duo_net::{Answer, backoff, tls};
use duo_policy::api::menu::Factor;
use duo_policy::api::reply::{self, Auth, Kind, Preauth, Progress};
use duo_policy::api::signing;
use duo_policy::codes::{self, Code, Slots};
use duo_policy::config::{self, Failmode, Gecos, Remember};
use duo_policy::error::Error;
use duo_policy::groups::Groups;
use duo_policy::log_line;
use duo_policy::login;
use duo_policy::remember::{Approval, Approvals, Circumstances, Connection, FileIdentity, Now};
use duo_policy::secret::Secret;
use duo_policy::text::{self, Charset};
use duo_policy::verdict::{self, End, Report};
use duo_system::account;
use duo_wire::{Outcome, Record, Verdict, Who};
use pam_wire::{Item, Packet};
use rustls::pki_types::CertificateDer;

/// A body, and the name of its fuzz target and of its folder of seeds.
pub type Body = (&'static str, fn(&[u8]));

/// All of them.
pub const BODIES: [Body; 14] = [
    ("configuration", configuration),
    ("groups", groups),
    ("answer", answer),
    ("retry_after", retry_after),
    ("http_date", http_date),
    ("gecos", gecos),
    ("typed", typed),
    ("sanitiser", sanitiser),
    ("signing", signing),
    ("certificate", certificate),
    ("records", records),
    ("packets", packets),
    ("codes", codes),
    ("approvals", approvals),
];

/// A configuration file. A `failmode = secure` at its end is never overheard,
/// nor one that was indented by mistake, whatever else is there; and nothing
/// that could be a secret is in what the sysadmin is told.
pub fn configuration(bytes: &[u8]) {
    let told = match config::parse(bytes) {
        Ok(parsed) => {
            let config = parsed.config;
            assert!(config.remember == Remember::No || config::may_remember(bytes));
            assert!((60..=86_400).contains(&config.remember_max.as_secs()));
            assert!((1..=10).contains(&config.prompts));
            assert!(!(config.autopush && config.verified_push));
            assert!(config.cafile.is_none_or(|path| path.is_absolute()));
            let day = Duration::from_secs(86_400);
            assert!(
                config
                    .https_timeout
                    .is_none_or(|span| !span.is_zero() && span <= day)
            );
            assert!(!config.ikey.is_empty() && !config.skey.expose().is_empty());
            parsed.warnings
        }
        Err(broken) => {
            assert!(!broken.problems.is_empty());
            [broken.problems, broken.warnings].concat()
        }
    };
    for secret in bytes
        .split(u8::is_ascii_whitespace)
        .filter(|word| looks_secret(word))
    {
        for problem in &told {
            assert!(
                !problem
                    .text
                    .as_bytes()
                    .windows(secret.len())
                    .any(|part| part == secret),
                "told: {}",
                problem.text
            );
        }
    }

    let indented = b"failmode = safe\nikey = x\n failmode = secure\n";
    for closed in [
        [bytes, b"\nfailmode = secure\n"].concat(),
        [&indented[..], bytes].concat(),
    ] {
        match config::parse(&closed) {
            Ok(parsed) => assert_eq!(parsed.config.failmode, Failmode::Secure),
            Err(broken) => assert_ne!(broken.failmode, Some(Failmode::Safe)),
        }
    }
}

/// Long, and with a letter that no known key, value or message has.
fn looks_secret(word: &[u8]) -> bool {
    let odd = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii();
    word.len() >= 6 && word.iter().filter(|byte| odd(byte)).count() >= 3
}

/// The first line is `groups`, each further one the name of a group. The answer
/// is that of a matcher that tries every length of every `*`.
pub fn groups(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let value = lines.next().unwrap_or_default();
    let names: Vec<&[u8]> = lines.filter(|name| !name.is_empty()).collect();
    let Ok(groups) = Groups::parse(value) else {
        return;
    };
    let found = groups.matches(&names);
    assert!(!(found && groups.all_negated()));
    // The table below is slow, and a backslash makes other words.
    if value.len() > 200 || names.iter().any(|name| name.len() > 100) || value.contains(&b'\\') {
        return;
    }
    let expected = value
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .any(|list| {
            let patterns = || {
                list.split(|byte| *byte == b',')
                    .filter(|text| !text.is_empty())
            };
            let any = |pattern: &[u8]| names.iter().any(|name| fits(pattern, name));
            patterns().any(|text| text[0] != b'!' && any(text))
                && !patterns().any(|text| text[0] == b'!' && any(&text[1..]))
        });
    assert_eq!(found, expected);
}

/// Whether `name` fits `pattern`, by the table of all their prefixes.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut row: Vec<bool> = (0..=name.len()).map(|length| length == 0).collect();
    for wanted in pattern {
        let above = row.clone();
        for length in 0..=name.len() {
            row[length] = match (wanted, length) {
                (b'*', 0) => above[0],
                (b'*', _) => above[length] || row[length - 1],
                (_, 0) => false,
                (wanted, _) => {
                    above[length - 1] && (*wanted == b'?' || *wanted == name[length - 1])
                }
            };
        }
    }
    row[name.len()]
}

/// A byte that chooses the HTTP status, and a body, read as the answer to every
/// question that we ask. Only "allow" allows, and what Duo has said is never
/// taken for a service that is down.
pub fn answer(bytes: &[u8]) {
    const STATUSES: [u16; 12] = [200, 200, 200, 401, 429, 400, 403, 302, 500, 503, 204, 100];
    let Some((choice, body)) = bytes.split_first() else {
        return;
    };
    let http = STATUSES[usize::from(*choice) % STATUSES.len()];
    let result = duos_result(body);
    let response = match reply::read(http, body) {
        Ok(response) => response,
        Err(trouble) => {
            if let (Kind::Final, Error::Service(text)) = (trouble.kind, trouble.error) {
                assert_eq!(result, None, "HTTP {http} is a service error: {text}");
                assert!(!matches!(http, 400 | 403 | 429), "HTTP {http}: {text}");
            }
            return;
        }
    };
    assert!((200..300).contains(&http));
    let result = result.or_else(|| denied_by_code(body));
    assert_eq!(response.has_result(), result.is_some());
    let says = |word: &str| result.as_deref() == Some(word);

    match response.preauth() {
        Ok(Preauth::Allow(_)) => assert!(says("allow")),
        Ok(Preauth::Auth(menu)) => {
            assert!(says("auth"));
            let _ = (menu.text("alice"), menu.default_factor());
            for typed in ["", "1", "2", "123456", "push1"] {
                if let Some(Factor::Passcode(code)) = menu.factor(typed) {
                    assert_eq!(code, typed);
                }
            }
        }
        Ok(Preauth::Enroll { .. }) => assert!(says("enroll")),
        Ok(Preauth::Deny(_)) => assert!(!says("allow") && !says("auth")),
        Err(_) => assert_eq!(result, None),
    }
    match response.auth() {
        Ok(Auth::Settled(status)) => {
            assert_ne!(status.progress, Progress::Waiting);
            assert_eq!(status.progress == Progress::Allow, says("allow"));
        }
        Ok(Auth::Started(_)) => assert!(result.is_none() || says("waiting")),
        Err(_) => {}
    }
    match response.status() {
        Ok(status) => assert_eq!(status.progress == Progress::Allow, says("allow")),
        Err(_) => assert_eq!(result, None),
    }
    let _ = response.time();
}

/// The textual `result` beside `stat: OK`, in lower case.
fn duos_result(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let stat = answer.get("stat")?.as_str()?;
    let result = answer.get("response")?.get("result")?.as_str()?;
    stat.eq_ignore_ascii_case("ok")
        .then(|| result.to_ascii_lowercase())
}

/// `deny`, if that is what a `stat: FAIL` of this code means: any but five digits.
fn denied_by_code(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let stat = answer.get("stat")?.as_str()?;
    let code = answer.get("code")?.as_u64()?;
    (stat.eq_ignore_ascii_case("fail") && code.to_string().len() != 5).then(|| "deny".to_owned())
}

/// A `Retry-After` and the server's `Date`, a line each: a number of seconds is
/// that number however long, a date is as far off as the server's clock says,
/// and nothing makes us come back in less than a second.
pub fn retry_after(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (asked, date) = text.split_once('\n').unwrap_or((&text, ""));
    let wait = wait(asked, date);
    assert!(wait >= Duration::from_secs(1));
    let asked = asked.trim();
    let moment = |text: &str| httpdate::parse_http_date(text).ok();
    if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = asked.parse().map_or(Duration::MAX, Duration::from_secs);
        assert_eq!(wait, seconds.max(Duration::from_secs(1)));
    } else if let (Some(then), Some(now)) = (moment(asked), moment(date)) {
        let distance = then.duration_since(now).unwrap_or_default();
        assert_eq!(wait, distance.max(Duration::from_secs(1)));
    } else if moment(asked).is_none() {
        assert!(wait <= Duration::from_secs(2));
    }
}

fn wait(retry_after: &str, date: &str) -> Duration {
    let answer = Answer {
        status: 429,
        body: Vec::new(),
        retry_after: Some(retry_after.to_owned()),
        date: Some(date.to_owned()),
    };
    backoff::wait(&answer, 0)
}

/// An HTTP date: what is read is written as the same moment, both as HTTP and
/// as Duo have it; one in the past does not wait.
pub fn http_date(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(time) = httpdate::parse_http_date(&text) else {
        return;
    };
    let again = httpdate::fmt_http_date(time);
    assert!(httpdate::parse_http_date(&again).is_ok_and(|read| read == time));
    let duos = signing::date(time);
    assert_eq!(duos.strip_suffix("+0000"), again.strip_suffix("GMT"));
    if time <= SystemTime::now() {
        assert_eq!(wait(&again, ""), Duration::from_secs(1));
    }
}

/// A root's name: what `duoctl check` shows of a certificate's bytes is not
/// empty and not long.
pub fn certificate(bytes: &[u8]) {
    if let Some(name) = tls::name_of(&CertificateDer::from(bytes)) {
        assert!((1..=100).contains(&name.chars().count()), "{name}");
    }
}

/// What a child may write on the verdict pipe, were it taken over: nothing
/// opens but the three records of a yes, and whatever is read is written again
/// as it was.
pub fn records(bytes: &[u8]) {
    let read = Record::read_all(bytes);
    if let Some(records) = &read {
        let again: String = records.iter().map(Record::to_line).collect();
        assert_eq!(Record::read_all(again.as_bytes()).as_ref(), Some(records));
    }
    for status in [0, 1] {
        let report = Report {
            records: bytes.to_vec(),
            left: None,
            end: End::Exited(status),
        };
        let judgement = verdict::judge(Ok(report), Who::unknown());
        let is_yes = matches!(
            read.as_deref(),
            Some([Record::Who(_), Record::Logged, Record::Verdict(verdict)])
                if verdict.outcome.opens()
        );
        assert_eq!(judgement.allow.is_some(), is_yes && status == 0);
    }
}

/// Delimiter, position and a GECOS field: the part between the delimiters.
pub fn gecos(bytes: &[u8]) {
    let [delimiter, position, field @ ..] = bytes else {
        return;
    };
    let (delimiter, position) = (*delimiter, usize::from(*position));
    let wanted = Gecos::Part {
        delimiter,
        position,
    };
    let part = account::gecos_part(field, &wanted);
    if let (Some(part), 1..) = (part, position) {
        assert!(!part.is_empty() && !part.contains(&delimiter));
        let mut end = 0;
        for _ in 1..position {
            let length = field[end..].iter().position(|byte| *byte == delimiter);
            end += length.expect("a delimiter before the part") + 1;
        }
        assert!(field[end..].starts_with(part));
        let after = field.get(end + part.len());
        assert!(after.is_none_or(|byte| *byte == delimiter));
    }
    let whole = account::gecos_part(field, &Gecos::Whole);
    assert_eq!(whole, Some(field).filter(|field| !field.is_empty()));
    assert_eq!(account::gecos_part(field, &Gecos::No), None);
}

/// A line from the terminal: nothing but blanks is lost, and what is left
/// cannot move a cursor.
pub fn typed(bytes: &[u8]) {
    let Ok(text) = login::typed(bytes) else {
        return;
    };
    assert!(bytes.len() <= 255);
    assert!(!text.chars().any(char::is_control));
    assert_eq!(text, text.trim());
    let solid = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(solid(&text), solid(&String::from_utf8_lossy(bytes)));
    let letters: Vec<char> = text.chars().collect();
    for (place, letter) in letters.iter().enumerate() {
        let lone = letter.is_whitespace()
            && letters[place - 1].is_ascii_digit()
            && letters[place + 1].is_ascii_digit();
        assert!(!lone, "a blank between digits");
    }
}

/// Any text, as it reaches a terminal or the log: no control character, no
/// change of direction, one line, and no field that its writer forged.
pub fn sanitiser(bytes: &[u8]) {
    let given = &*String::from_utf8_lossy(bytes);
    for charset in [Charset::Utf8, Charset::Ascii] {
        let line = text::one_line(given, charset);
        assert!(!line.contains(is_an_order), "{line:?}");
        let screen = text::for_terminal(given, charset).replace(['\n', '\t'], "");
        assert!(!screen.contains(is_an_order), "{screen:?}");
        for shown in [&*line, &screen] {
            assert!(charset == Charset::Utf8 || shown.is_ascii());
            assert!(shown.chars().count() <= 1_003);
        }
    }

    let (name, client) = given.split_once('\n').unwrap_or((given, ""));
    let who = Who {
        duo_user: name.to_owned(),
        client: Some(client.to_owned()),
        ..Who::unknown()
    };
    let line = log_line::of_verdict(&Verdict::new(Outcome::Failed, "why"), &who);
    let line = text::for_log(&line);
    assert!(
        line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{line}"
    );
    assert!(line.len() <= 1_003);
    if line.len() < 1_000 {
        let fields = line.strip_prefix("Failed Duo login for '");
        let fields = after_the_quote(fields.expect("the line's start"));
        let client = fields.strip_prefix(" from ").expect("a client");
        let client = client.strip_suffix(": why").expect("a detail");
        assert!(!client.contains([' ', '\'', '[']), "{client}");
    }
}

/// What follows the first quote that no backslash stands before.
fn after_the_quote(text: &str) -> &str {
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '\'' => return &text[place + 1..],
            _ => {}
        }
    }
    panic!("the name has no end: {text}")
}

/// As docs/behaviour.md lists them, *The conversation*.
fn is_an_order(letter: char) -> bool {
    letter.is_control()
        || matches!(u32::from(letter),
            0x61c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff)
}

/// Parameters, a line each with a NUL between name and value: decoded again,
/// the query gives them back, in the order in which they are signed.
pub fn signing(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs: Vec<(&str, &str)> = text
        .lines()
        .map(|line| line.split_once('\0').unwrap_or((line, "")))
        .collect();
    let parameters = signing::Parameters::new(&pairs);
    let query = parameters.as_str();
    if pairs.is_empty() {
        assert_eq!(query, "");
        return;
    }
    let mut encoded = Vec::new();
    let mut decoded = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').expect("name=value");
        encoded.push((name, value));
        decoded.push((decode(name), decode(value)));
    }
    assert!(encoded.is_sorted());
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut expected: Vec<(String, String)> = pairs.iter().map(owned).collect();
    expected.sort();
    decoded.sort();
    assert_eq!(decoded, expected);
}

/// Undoes the percent-encoding; anything that RFC 3986 reserves is a failure.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next().expect("%XX"), rest.next().expect("%XX")];
            assert!(!hex.iter().any(u8::is_ascii_lowercase));
            let hex = std::str::from_utf8(&hex).expect("ASCII");
            bytes.push(u8::from_str_radix(hex, 16).expect("hex digits"));
        } else {
            assert!(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("UTF-8, as it was")
}

/// Packets between pam_duo.so and its helper: an item's value is what a plain list of
/// all items has first, and whatever is a message, an answer or a ruling is written
/// again as it was read.
pub fn packets(bytes: &[u8]) {
    const KNOWN: [(Item, u8); 8] = [
        (Item::User, b'u'),
        (Item::Service, b's'),
        (Item::RemoteHost, b'h'),
        (Item::SshConnection, b'c'),
        (Item::PublicKey, b'k'),
        (Item::SudoCommand, b'x'),
        (Item::RealUser, b'r'),
        (Item::Silent, b'q'),
    ];
    let mut listed = Vec::new();
    let mut rest = bytes;
    while let [tag, low, high, after @ ..] = rest {
        let length = usize::from(*low) + 256 * usize::from(*high);
        if after.len() < length {
            break;
        }
        listed.push((*tag, &after[..length]));
        rest = &after[length..];
    }
    for (item, tag) in KNOWN {
        let first = listed.iter().find(|(known, _)| *known == tag);
        let value = pam_wire::Claim::of(bytes).get(item);
        assert_eq!(value, first.map(|(_, value)| *value), "{item:?}");
    }
    if let Some(message) = pam_wire::Message::read(bytes) {
        let again = [&[message.style.to_byte()], message.text].concat();
        assert_eq!(again, bytes);
    }
    if let Some(pam_wire::Answer::Line(line)) = pam_wire::Answer::read(bytes) {
        let mut packet = Packet::new();
        packet.set_answer(Some(line));
        let kept = bytes.len().min(pam_wire::LONGEST);
        assert_eq!(packet.as_bytes(), &bytes[..kept]);
    }
}

/// A typed code up to the first line end, and a file of codes behind it. A code is what is
/// left of the line without dashes and blanks. A file gives no more codes than it has slots,
/// and none twice.
pub fn codes(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, file) = bytes.split_at(end.unwrap_or(bytes.len()));
    let file = file.get(1..).unwrap_or_default();
    let letters: String = line
        .iter()
        .filter(|byte| **byte != b'-' && !byte.is_ascii_whitespace())
        .map(|byte| match byte.to_ascii_uppercase() {
            b'O' => '0',
            b'I' | b'L' => '1',
            byte => char::from(byte),
        })
        .collect();
    let Some(code) = Code::typed(line) else {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() && letter != 'U';
        assert!(letters.len() != 16 || !letters.chars().all(is_letter));
        assert!(Slots::read(file).is_none_or(|slots| slots.left() <= codes::MOST));
        return;
    };
    assert_eq!(code.text().replace('-', ""), letters);
    let mut file = file.to_vec();
    let mut left = codes::MOST;
    while let Some(slots) = Slots::read(&file) {
        assert!(slots.left() <= slots.made().min(left));
        left = slots.left().saturating_sub(1);
        let Some(place) = slots.find(&code) else {
            return;
        };
        let place = usize::try_from(place).expect("in the file");
        file[place..place + codes::SLOT].copy_from_slice(&codes::USED);
    }
}

/// A file of approved connections, which a child that was taken over has written. Whatever is
/// read is written again as it was; no byte of it approves a connection whose digest the writer
/// could not compute; and one approval can be added, found, and is the last to make room.
pub fn approvals(bytes: &[u8]) {
    let Some(read) = Approvals::read(bytes) else {
        let is_whole = bytes.len().is_multiple_of(Approval::SIZE);
        assert!(!is_whole || bytes.len() > Approvals::LONGEST_FILE);
        return;
    };
    assert_eq!(read.to_file(), bytes);
    assert_eq!(read.count(), bytes.len() / Approval::SIZE);
    let connection = Connection {
        boot: *b"an id of a boot that nobody has ever",
        pid: 4242,
        session: 4242,
        start: 12_345,
    };
    let circumstances = Circumstances {
        connection: &connection,
        uid: 1000,
        groups: &[1000],
        duo_user: "alice",
        ikey: "DIXXXXXXXXXXXXXXXXXX",
        skey: &Secret::from("a secret key".to_owned()),
        host: "api-x.duosecurity.com",
        configuration: FileIdentity {
            device: 1,
            inode: 2,
            modified: (3, 4),
        },
    };
    let now = Now {
        boot: connection.boot,
        time: Duration::from_secs(100_000),
        longest: Duration::from_secs(60),
    };
    let digest = circumstances.digest().unwrap();
    assert_eq!(read.age(&digest, &now), None);
    let mut more = read.clone();
    let own = Approval::new(&circumstances, now.time).unwrap();
    match more.add(own) {
        Ok(()) => assert_eq!(more.age(&digest, &now), Some(Duration::ZERO)),
        Err(_) => assert_eq!(read.count(), Approvals::MOST),
    }
    more.forget_ended(&now, |approval| approval.process() == (4242, 4242));
    assert!(more.count() <= read.count() + 1);
    more.forget_ended(&now, |_| false);
    assert_eq!(more.count(), 0);
}
