//! Answers that are not Duo's, and answers that refuse, whatever they look like: the
//! tables that a login of every kind is held to (docs/duo-api.md, *Envelope*).

use fake_duo::Fault;

/// Faults that turn an answer into one that is not Duo's, and the error's text.
pub fn not_duos() -> Vec<(Fault, &'static str)> {
    let raw = |text: &str| Fault::Raw(text.as_bytes().to_vec());
    vec![
        (Fault::Garbage, "invalid response: not a JSON object"),
        (Fault::NotJson, "invalid response: not a JSON object"),
        (Fault::DeepBrackets, "invalid response: not a JSON object"),
        (
            Fault::Body(Vec::new()),
            "invalid response: not a JSON object",
        ),
        (Fault::InvalidUtf8, "invalid response: not a JSON object"),
        (Fault::HugeBody, "invalid response from localhost:"),
        (Fault::EndlessBody, "invalid response from localhost:"),
        (Fault::NoStat, "no 'stat'"),
        (Fault::NoResponse, "no 'result'"),
        (Fault::NoResult, "no 'result'"),
        (Fault::WrongResult, "no 'result'"),
        (Fault::Response("[]".into()), "no 'result'"),
        (
            Fault::Fail {
                code: None,
                message: "m".into(),
            },
            "FAIL without a code",
        ),
        (Fault::Redirect("https://localhost/".into()), "HTTP 302"),
        (Fault::Bare { status: 502 }, "HTTP 502"),
        (
            Fault::Status {
                status: 500,
                code: 50_000,
            },
            "HTTP 500",
        ),
        (
            Fault::Status {
                status: 401,
                code: 40_102,
            },
            "Duo does not know this ikey",
        ),
        (
            Fault::Status {
                status: 401,
                code: 40_103,
            },
            "wrong skey",
        ),
        (
            raw("HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"),
            "HTTP 999",
        ),
        (raw("HTTP/2.0 200 OK\r\n\r\n"), "invalid response from"),
        (raw("SSH-2.0-x\r\n\r\n"), "invalid response from"),
        (
            raw(&format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "x".repeat(40_000)
            )),
            "invalid response from",
        ),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
            "invalid response from",
        ),
        (
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
            "invalid response from",
        ),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
            "invalid response from",
        ),
    ]
}

/// HTTP 4xx, as a proxy's page of any size and shape: it must not pass for Duo being
/// down.
pub fn refusals_of_any_shape() -> Vec<Fault> {
    let page = |head: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 403 Forbidden\r\n{head}\r\n");
        Fault::Raw([head.as_bytes(), body].concat())
    };
    let huge = "x".repeat(2 * 1024 * 1024);
    vec![
        Fault::Bare { status: 403 },
        Fault::Bare { status: 400 },
        page("Content-Type: text/html\r\n", b"<html>no</html>"),
        page("Content-Length: 90\r\n", b"cut off"),
        page("Content-Length: 1\r\nContent-Length: 2\r\n", b"xy"),
        page("Transfer-Encoding: chunked\r\n", b"not a length\r\n"),
        page("Content-Encoding: gzip\r\n", b"\x1f\x8b\x08"),
        page("", huge.as_bytes()),
        page(&format!("X-Long: {}\r\n", &huge[..20_000]), b""),
        page("no colon\r\n", b""),
    ]
}
