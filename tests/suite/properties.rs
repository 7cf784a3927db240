//! The fuzz targets' bodies on 10,000 generated cases each, and on their seeds:
//! so they run wherever `cargo test` does. `cargo fuzz` runs the same for longer.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What hostile bytes are made of, besides bytes: whatever some parser looks at.
const PIECES: [&[u8]; 72] = [
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"=",
    b" = ",
    b";",
    b" ;",
    b"#",
    b"[duo]",
    b"[",
    b"]",
    b"\\",
    b"\\ ",
    b"ikey = DIFAKE\nskey = x\nhost = h.example\n",
    b"\nskey = SecretKEYForTests\n",
    b"failmode",
    b"\nfailmode = safe\n",
    b"\n failmode = secure",
    b"safe",
    b"secure",
    b"groups = ",
    b"prompts",
    b"https_timeout",
    b"autopush = yes\n",
    b"verified_push = on\n",
    b"cafile = /x\n",
    b"http_proxy",
    b"http://u:p@h:1/",
    b"gecos_delim = ",
    b"gecos_username_pos = ",
    b"*",
    b"?",
    b"!",
    b",",
    b"a",
    b"b",
    b"wheel",
    b"\0{\"stat\":\"OK\",\"response\":{\"result\":\"",
    b"\x08{\"stat\":\"OK\",\"response\":{\"result\":\"",
    b"\x03{\"stat\":\"FAIL\",\"code\":",
    b"allow",
    b"deny",
    b"auth",
    b"waiting",
    b"enroll",
    b"\",\"",
    b"\"}}",
    b"\":",
    b"}",
    b"{",
    b"null",
    b"\"prompt\":{\"factors\":{\"1\":\"push1\"}}",
    b"\"txid\":\"t",
    b"\"devices\":[{\"device\":\"D\",\"capabilities\":[\"push\"]}]",
    b"40105",
    b"-1",
    b"9223372036854775808",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sat, ",
    b" Nov ",
    b"2026",
    b" 16:31:48",
    b" GMT",
    b"123",
    b"\x1b[2J",
    b"\xc2\x9b",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"'",
    b"\xff",
    b"\0",
];

/// A number a piece: proptest is far slower with a choice a piece.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u32>(), 0..24).prop_map(|numbers| {
        let mut bytes = Vec::new();
        for number in numbers {
            let [kind, low, ..] = number.to_le_bytes();
            match (kind % 8, char::from_u32(number >> 16)) {
                (0, _) => bytes.push(low),
                (1, Some(letter)) => bytes.extend(letter.to_string().bytes()),
                (2, _) => bytes.push(low & 0x7f),
                // Where the invisible letters are.
                (3, _) => {
                    let letter = char::from_u32(0x2000 + u32::from(low % 112));
                    bytes.extend(letter.map(String::from).unwrap_or_default().bytes());
                }
                _ => bytes.extend(PIECES[usize::from(low) % PIECES.len()]),
            }
        }
        bytes
    })
}

/// Runs one body on its seeds, on parts of them, and on generated cases.
fn holds(name: &str) {
    let (_, body) = bodies::BODIES
        .into_iter()
        .find(|(body, _)| *body == name)
        .expect("a body of this name");
    let mut seeds = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    for entry in fs::read_dir(folder).expect("seeds") {
        let seed = fs::read(entry.expect("a seed").path()).expect("a seed");
        body(&seed);
        seeds.push(seed);
    }

    let mutated = (
        prop::sample::select(seeds),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        hostile(),
    );
    let mutated = mutated.prop_map(|(mut seed, from, to, middle)| {
        let (from, to) = (from.index(seed.len() + 1), to.index(seed.len() + 1));
        // A short cut keeps most of the seed, a long one gets to its end.
        let to = from.max(to.min(from + 8));
        seed.splice(from..to, middle);
        seed
    });
    let mut runner = TestRunner::new(Config {
        cases: 10_000,
        failure_persistence: None,
        ..Config::default()
    });
    let case = prop_oneof![hostile(), mutated];
    let result = runner.run(&case, |bytes| {
        body(&bytes);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn configurations_never_open_what_their_last_line_closes() {
    holds("configuration");
}

#[test]
fn group_patterns_agree_with_a_simpler_matcher() {
    holds("groups");
}

#[test]
fn answers_allow_only_by_the_word_allow() {
    holds("answer");
}

#[test]
fn retry_after_is_a_number_or_a_date() {
    holds("retry_after");
}

#[test]
fn http_dates_are_written_as_they_were_read() {
    holds("http_date");
}

#[test]
fn gecos_parts_stand_between_delimiters() {
    holds("gecos");
}

#[test]
fn typed_lines_lose_blanks_only() {
    holds("typed");
}

#[test]
fn sanitised_text_holds_no_order_and_no_forged_field() {
    holds("sanitiser");
}

#[test]
fn signed_parameters_decode_to_what_they_were() {
    holds("signing");
}

#[test]
fn records_open_only_as_the_three_of_a_yes() {
    holds("records");
}

#[test]
fn no_bytes_in_the_file_of_approved_connections_approve_one() {
    holds("approvals");
}

#[test]
fn packets_of_the_module_are_read_as_they_were_written() {
    holds("packets");
}

#[test]
fn a_file_of_codes_gives_no_code_twice() {
    holds("codes");
}

#[test]
fn certificates_are_read_to_their_end_and_no_further() {
    holds("certificate");
}
