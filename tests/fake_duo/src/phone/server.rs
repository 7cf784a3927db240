//! The phone's web server: plain HTTP, since a browser would warn of a certificate that it cannot know.

use crate::http::{self, Answer};
use crate::phone::door::{self, Refused, Wanted};
use crate::phone::page;
use crate::phone::person::Heard;
use crate::phone::screen::Screen;
use crate::service::Service;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// How often something is sent to a page that has nothing to hear: one that is gone is noticed then.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// Accepts for ever; each connection lives on its own.
pub async fn serve(listener: TcpListener, service: Arc<Service>) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    // A browser that goes away is no event.
                    let _ = live(tcp, &service).await;
                });
            }
            // Out of descriptors: let some close.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn live(mut tcp: TcpStream, service: &Service) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let Some(place) = &service.settings.phone else {
        return Ok(());
    };
    let mut buffer = Vec::new();
    loop {
        let incoming = match http::read_request(&mut tcp, &mut buffer).await {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return Ok(()),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    send(&mut tcp, &refusal(Refused::Form)).await?;
                }
                return tcp.shutdown().await;
            }
        };
        let answer = match door::judge(&incoming, place) {
            Ok(Wanted::Changes) => return stream(tcp, service, page::lists).await,
            Ok(Wanted::Screens) => return stream(tcp, service, json).await,
            Ok(Wanted::Page) => html(200, page::phone(&service.screen().0)),
            Ok(Wanted::Answer(number, said)) => match service.hear(number, &said) {
                Heard::Settled | Heard::WrongCode => see_other("."),
                Heard::TooLate => html(409, page::too_late()),
            },
            Ok(Wanted::Portal(code)) => match service.enrolment(&code) {
                Some(enrolment) => html(200, page::portal(&enrolment)),
                None => refusal(Refused::Unknown),
            },
            Ok(Wanted::Enrol(code)) => match service.enrol(&code) {
                Some(_) => see_other(&code),
                None => refusal(Refused::Unknown),
            },
            Err(why) => refusal(why),
        };
        send(&mut tcp, &answer).await?;
        if incoming.wants_close() {
            return tcp.shutdown().await;
        }
    }
}

fn json(screen: &Screen) -> String {
    serde_json::to_string(screen).unwrap_or_default()
}

/// Server-sent events: the whole screen now and whenever it changes, until the client is gone.
async fn stream(
    mut tcp: TcpStream,
    service: &Service,
    draw: impl Fn(&Screen) -> String,
) -> io::Result<()> {
    let head = guarded(Answer {
        status: 200,
        ..Answer::default()
    })
    .with_header("Content-Type", "text/event-stream");
    let head = format!("{}Connection: close\r\n\r\n", head.open_head());
    tcp.write_all(head.as_bytes()).await?;
    let (mut reader, mut writer) = tcp.split();
    let mut changes = service.changes();
    let mut last = String::new();
    loop {
        changes.mark_unchanged();
        let (screen, next) = service.screen();
        let drawn = draw(&screen);
        let event = if drawn == last {
            ":\n\n".to_owned()
        } else {
            event(&drawn)
        };
        last = drawn;
        writer.write_all(event.as_bytes()).await?;
        let wake = next.map_or(SIGN_OF_LIFE, |next| {
            SIGN_OF_LIFE.min(next.saturating_duration_since(Instant::now()))
        });
        let mut ignored = Vec::new();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(wake) => {}
            read = http::read_more(&mut reader, &mut ignored) => if read? == 0 { return Ok(()) },
        }
    }
}

/// One event, each of its lines marked.
fn event(text: &str) -> String {
    let mut event = String::with_capacity(text.len() + 16);
    for line in text.split('\n') {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event
}

fn html(status: u16, page: String) -> Answer {
    guarded(Answer {
        status,
        body: page.into_bytes(),
        ..Answer::default()
    })
    .with_header("Content-Type", "text/html; charset=utf-8")
    .with_header("Content-Security-Policy", &page::policy())
}

fn refusal(why: Refused) -> Answer {
    let (status, page) = page::refused(why);
    html(status, page)
}

fn see_other(place: &str) -> Answer {
    guarded(Answer {
        status: 303,
        ..Answer::default()
    })
    .with_header("Location", place)
}

/// Keeps an answer, and the token in its address, from other sites and from every cache.
fn guarded(answer: Answer) -> Answer {
    [
        ("Cache-Control", "no-store"),
        // Not no-referrer: with that a browser says no Origin to the page's own forms.
        ("Referrer-Policy", "same-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    .into_iter()
    .fold(answer, |answer, (name, value)| {
        answer.with_header(name, value)
    })
}

async fn send(tcp: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let bytes = [answer.head().as_bytes(), &answer.body].concat();
    tcp.write_all(&bytes).await
}
