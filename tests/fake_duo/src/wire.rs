//! Faults of transport: how an answer reaches the wire, or does not.

use crate::fault::{Fault, Stage};
use crate::http::Answer;
use crate::tls::HALF_A_HELLO;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Between the bytes of [`Fault::Trickle`].
const DRIP: Duration = Duration::from_secs(1);
/// What [`Fault::EndlessBody`] announces: more than 32 bits hold.
const FOUR_GIB: u64 = 4 * 1024 * 1024 * 1024 + 1;

/// A connection, with TLS or without.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// The socket under it.
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What becomes of the connection after an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// It waits for the next request, for so long if there is a limit.
    Keep(Option<Duration>),
    /// It ends, with TLS's goodbye.
    Close,
    /// It ends in the middle of things.
    Cut,
}

/// Whether the client gets the answer's whole head, and so its status.
pub fn lets_the_head_out(fault: &Fault, answer: &Answer) -> bool {
    match fault {
        Fault::Raw(_) | Fault::ContinueForever => false,
        Fault::DropAfter(bytes) => *bytes >= answer.head().len(),
        Fault::Stall(stage) | Fault::Trickle(stage) | Fault::Close(stage) | Fault::Reset(stage) => {
            *stage == Stage::InBody
        }
        _ => true,
    }
}

/// Sends an answer as the fault has it.
pub async fn deliver<W: Wire>(wire: &mut W, answer: &Answer, fault: &Fault) -> io::Result<After> {
    let head = answer.head();
    match fault {
        Fault::Raw(bytes) => {
            send(wire, bytes).await?;
            return Ok(After::Close);
        }
        Fault::ContinueForever => loop {
            send(wire, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        },
        Fault::EndlessBody => return endless(wire, answer).await,
        Fault::Chunked => send(wire, &chunked(answer)).await?,
        Fault::SayClose => {
            let answer = answer.clone().with_header("Connection", "close");
            send(wire, &whole(&answer.head(), &answer.body)).await?;
            return Ok(After::Close);
        }
        Fault::DropAfter(bytes) => {
            let mut all = whole(&head, &answer.body);
            all.truncate(*bytes);
            send(wire, &all).await?;
            return Ok(After::Cut);
        }
        Fault::Stall(stage) | Fault::Trickle(stage) | Fault::Close(stage) | Fault::Reset(stage) => {
            let all = whole(&head, &answer.body);
            let kept = match stage {
                Stage::InHeaders => head.len() / 2,
                Stage::InBody => head.len() + answer.body.len() / 2,
                _ => 0,
            };
            let (sent, rest) = all.split_at_checked(kept).unwrap_or((&all, &[]));
            send(wire, sent).await?;
            return falter(wire, fault, rest).await;
        }
        _ => send(wire, &whole(&head, &answer.body)).await?,
    }
    Ok(match fault {
        Fault::CloseAfterAnswer => After::Close,
        Fault::CloseWhenIdle(limit) => After::Keep(Some(*limit)),
        _ => After::Keep(None),
    })
}

/// Strikes a connection before TLS has begun.
pub async fn before_requests(mut tcp: TcpStream, fault: &Fault) -> io::Result<()> {
    let stage = match fault {
        Fault::Stall(stage) | Fault::Trickle(stage) | Fault::Close(stage) | Fault::Reset(stage) => {
            stage
        }
        _ => return Ok(()),
    };
    if *stage == Stage::BeforeTls && matches!(fault, Fault::Stall(_)) {
        std::future::pending::<()>().await;
    }
    let mut already = 0;
    if *stage == Stage::InTls {
        read_hello(&mut tcp).await?;
        already = HALF_A_HELLO.len() / 2;
    }
    let (sent, rest) = HALF_A_HELLO.split_at_checked(already).unwrap_or_default();
    send(&mut tcp, sent).await?;
    if falter(&mut tcp, fault, rest).await? == After::Cut && !matches!(fault, Fault::Reset(_)) {
        // A socket closed over unread bytes is reset by the kernel; this fault is to be a plain end.
        tcp.shutdown().await?;
        drain(&mut tcp).await?;
    }
    Ok(())
}

/// Reads something of what a TLS client says first.
pub async fn read_hello(tcp: &mut TcpStream) -> io::Result<()> {
    let mut hello = [0; 4096];
    tcp.read(&mut hello).await.map(|_| ())
}

/// Reads and forgets until the client goes.
pub async fn drain<W: Wire>(wire: &mut W) -> io::Result<()> {
    let mut ignored = [0; 4096];
    while wire.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// Goes wrong where it is.
async fn falter<W: Wire>(wire: &mut W, fault: &Fault, rest: &[u8]) -> io::Result<After> {
    match fault {
        Fault::Stall(_) => drain(wire).await?,
        Fault::Trickle(_) => {
            for byte in rest {
                tokio::time::sleep(DRIP).await;
                send(wire, &[*byte]).await?;
            }
            return Ok(After::Keep(None));
        }
        Fault::Reset(_) => wire.tcp().set_zero_linger()?,
        _ => {}
    }
    Ok(After::Cut)
}

async fn send<W: Wire>(wire: &mut W, bytes: &[u8]) -> io::Result<()> {
    wire.write_all(bytes).await?;
    wire.flush().await
}

fn whole(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), body].concat()
}

fn chunked(answer: &Answer) -> Vec<u8> {
    let mut bytes = answer.open_head().into_bytes();
    bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
    for byte in &answer.body {
        bytes.extend([b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

async fn endless<W: Wire>(wire: &mut W, answer: &Answer) -> io::Result<After> {
    let head = format!("{}Content-Length: {FOUR_GIB}\r\n\r\n", answer.open_head());
    send(wire, head.as_bytes()).await?;
    // Blanks, so that the JSON never ends and is never wrong.
    let blanks = vec![b' '; 64 * 1024];
    let mut left = FOUR_GIB;
    while left > 0 {
        send(wire, &blanks).await?;
        left = left.saturating_sub(64 * 1024);
    }
    Ok(After::Cut)
}
