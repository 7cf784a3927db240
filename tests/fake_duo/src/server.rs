//! The story of a connection: accept, TLS, requests, answers.

use crate::fault::Fault;
use crate::http::{self, Answer, Incoming};
use crate::service::{Reply, Service};
use crate::tls::Door;
use crate::wire::{self, After, Wire};
use crate::{clock, rest_v1, spoil};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A listener that ends for everybody when it is dropped. A process that this one has just
/// started has a copy until it executes, and connections would go on to be taken.
struct Listener(TcpListener);

impl Drop for Listener {
    fn drop(&mut self) {
        if let Ok(copy) = self.0.as_fd().try_clone_to_owned() {
            // The standard library shuts connections down alone; the call is the same.
            let _ = std::net::TcpStream::from(copy).shutdown(Shutdown::Both);
        }
    }
}

/// Accepts for ever; each connection lives on its own.
pub async fn serve(listener: TcpListener, door: Door, service: Arc<Service>) {
    let listener = Listener(listener);
    loop {
        match listener.0.accept().await {
            Ok((tcp, _)) => {
                let connection = Connection {
                    service: Arc::clone(&service),
                    door: door.clone(),
                };
                tokio::spawn(async move {
                    // A client that goes away is part of a test's life.
                    let _ = connection.live(tcp).await;
                });
            }
            // Out of descriptors: let some close.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

struct Connection {
    service: Arc<Service>,
    door: Door,
}

impl Connection {
    async fn live(&self, mut tcp: TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let (number, fault) = self.service.connected();
        if let Some(fault) = fault {
            return wire::before_requests(tcp, &fault).await;
        }
        match &self.door {
            Door::Tls(config) => {
                let tls = TlsAcceptor::from(Arc::clone(config)).accept(tcp).await?;
                self.service.shook_hands();
                self.talk(tls, number).await
            }
            Door::Plain => self.talk(tcp, number).await,
            Door::Hello(bytes) => {
                wire::read_hello(&mut tcp).await?;
                tcp.write_all(bytes).await?;
                tcp.shutdown().await?;
                wire::drain(&mut tcp).await
            }
        }
    }

    /// Serves requests until one side has enough.
    async fn talk<W: Wire>(&self, mut wire: W, number: usize) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut idle_limit = None;
        loop {
            let read = tokio::select! {
                read = http::read_request(&mut wire, &mut buffer) => read,
                () = idle_for(idle_limit) => Ok(None),
            };
            let incoming = match read {
                Ok(Some(incoming)) => incoming,
                Ok(None) => return wire.shutdown().await,
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        let answer = Answer::plain(400);
                        wire::deliver(&mut wire, &answer, &Fault::SayClose).await?;
                    }
                    return wire.shutdown().await;
                }
            };
            match self
                .exchange(&mut wire, &mut buffer, number, &incoming)
                .await?
            {
                After::Keep(limit) => idle_limit = limit,
                After::Close => return wire.shutdown().await,
                After::Cut => return Ok(()),
            }
        }
    }

    /// One request and its answer.
    async fn exchange<W: Wire>(
        &self,
        wire: &mut W,
        buffer: &mut Vec<u8>,
        number: usize,
        incoming: &Incoming,
    ) -> io::Result<After> {
        let (index, verdict, fault) = self.service.arrived(number, incoming);
        let fault = fault.unwrap_or(Fault::None);
        let performed = async {
            if let Fault::Delay(time) = fault {
                tokio::time::sleep(time).await;
            }
            match verdict {
                _ if fault.replaces_answer() => Reply {
                    answer: Answer::default(),
                    delivers: None,
                },
                Ok(call) => self.service.perform(call).await,
                Err(refusal) => Reply {
                    answer: refusal.answer(),
                    delivers: None,
                },
            }
        };
        let reply = tokio::select! {
            reply = performed => reply,
            gone = until_gone(wire, buffer) => {
                self.service.answered(index, 0);
                return gone.map(|()| After::Cut);
            }
        };
        let now = clock::now(self.service.clock_offset());
        let answer = spoil::spoil(&fault, reply.answer, now);
        let answer = if rest_v1::endpoint(&incoming.path).is_some() {
            rest_v1::in_bson(answer)
        } else {
            answer
        };
        let is_answered = wire::lets_the_head_out(&fault, &answer);
        self.service
            .answered(index, if is_answered { answer.status } else { 0 });
        let after = wire::deliver(wire, &answer, &fault).await?;
        if let Some(delivery) = reply.delivers
            && is_answered
            && !matches!(after, After::Cut)
        {
            self.service.delivered(delivery);
        }
        Ok(match after {
            After::Keep(_) if incoming.wants_close() => After::Close,
            after => after,
        })
    }
}

/// Ends when the client has gone while it should be waiting; what it says meanwhile is kept.
async fn until_gone<W: Wire>(wire: &mut W, buffer: &mut Vec<u8>) -> io::Result<()> {
    while http::read_more(wire, buffer).await? > 0 {}
    Ok(())
}

async fn idle_for(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
