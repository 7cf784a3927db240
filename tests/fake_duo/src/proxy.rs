//! [`FakeProxy`]: a small HTTP proxy for CONNECT, good or ill.

use crate::background::{self, Background};
use crate::fault::Fault;
use crate::http::{self, Answer, Incoming};
use crate::wire;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// One request that the proxy read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// `CONNECT`, or what else came.
    pub method: String,
    /// `HOST:PORT` as the client wrote it.
    pub target: String,
    /// The Proxy-Authorization header as it came.
    pub authorization: Option<String>,
    /// All headers, in the order and the case sent.
    pub headers: Vec<(String, String)>,
    /// The HTTP status answered; 0 if it got none.
    pub status: u16,
}

/// How the proxy fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// 407, whatever the credentials.
    AuthRequired,
    /// This status, as 502 or 403.
    Status(u16),
    /// Reads the request and says nothing.
    Hang,
    /// Answers with bytes that are not HTTP.
    Garbage,
    /// Reads the request and closes.
    Close,
    /// Answers 200, and then nothing goes through the tunnel.
    DeadTunnel,
}

/// A running proxy. Dropping it stops it and frees its port.
pub struct FakeProxy {
    shared: Arc<Shared>,
    background: Background,
    address: IpAddr,
    port: u16,
}

/// What a proxy shall be before it starts.
#[must_use]
#[derive(Default)]
pub struct ProxyBuilder {
    credentials: Option<String>,
    fault: Option<ProxyFault>,
    forward_to: Option<String>,
    port: u16,
}

impl ProxyBuilder {
    /// Answers 407 unless these come as Basic credentials.
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        ));
        self
    }

    /// Fails like this from the start on.
    pub fn fault(mut self, fault: ProxyFault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Leads every tunnel to this `ADDRESS:PORT`, whatever target was asked for.
    pub fn forward_to(mut self, place: &str) -> Self {
        self.forward_to = Some(place.to_owned());
        self
    }

    /// The port; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts on 127.0.0.1.
    ///
    /// # Panics
    /// Where it cannot start, with the reason: a test can only fail then. See [`ProxyBuilder::try_start`].
    #[must_use]
    pub fn start(self) -> FakeProxy {
        match self.try_start() {
            Ok(proxy) => proxy,
            Err(error) => panic!("the fake proxy cannot start: {error}"),
        }
    }

    /// Starts on 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken; no descriptor, no thread.
    pub fn try_start(self) -> io::Result<FakeProxy> {
        let address = IpAddr::from([127, 0, 0, 1]);
        let listener = background::listen(&[address], self.port)?
            .pop()
            .ok_or_else(|| io::Error::other("no listener"))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            credentials: self.credentials,
            forward_to: self.forward_to,
            state: Mutex::new(State {
                fault: self.fault,
                connects: Vec::new(),
                connections: 0,
            }),
            changed: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        let background =
            Background::start(move || Ok(serve(TcpListener::from_std(listener)?, serving)))?;
        Ok(FakeProxy {
            shared,
            background,
            address,
            port,
        })
    }
}

impl FakeProxy {
    /// Starts with the defaults: 127.0.0.1, a free port, no credentials, no fault.
    ///
    /// # Panics
    /// Where it cannot start, with the reason.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// What to set before starting.
    pub fn builder() -> ProxyBuilder {
        ProxyBuilder::default()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`: what stands at `http_proxy =`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// Fails like this from now on; `None`: works.
    pub fn set_fault(&self, fault: Option<ProxyFault>) {
        self.shared.state().fault = fault;
    }

    /// Every request that arrived whole, in order.
    #[must_use]
    pub fn connects(&self) -> Vec<Connect> {
        self.shared.state().connects.clone()
    }

    /// TCP connections accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Blocks until the log of requests is as wanted; `false` if it is not after `timeout`. `is_so` must not call this proxy.
    #[must_use]
    pub fn wait_until(&self, is_so: impl Fn(&[Connect]) -> bool, timeout: Duration) -> bool {
        let waited =
            self.shared
                .changed
                .wait_timeout_while(self.shared.state(), timeout, |state| {
                    !is_so(&state.connects)
                });
        let (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !result.timed_out()
    }

    /// Stops; when this returns the port is free and every tunnel closed. The log can still be read.
    pub fn stop(&self) {
        self.background.stop();
    }
}

struct Shared {
    credentials: Option<String>,
    forward_to: Option<String>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    fault: Option<ProxyFault>,
    connects: Vec<Connect>,
    connections: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a request.
    fn log(&self, incoming: &Incoming, status: u16) {
        self.state().connects.push(Connect {
            method: incoming.method.clone(),
            target: incoming.path.clone(),
            authorization: incoming.header("proxy-authorization").map(str::to_owned),
            headers: incoming.headers.clone(),
            status,
        });
        self.changed.notify_all();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that goes away is part of a test's life.
                    let _ = tunnel(tcp, &shared).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The story of one connection.
async fn tunnel(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    shared.state().connections += 1;
    let mut beyond = Vec::new();
    let Some(incoming) = http::read_request(&mut client, &mut beyond).await? else {
        return Ok(());
    };
    let fault = shared.state().fault;
    match fault {
        Some(ProxyFault::Hang) => {
            shared.log(&incoming, 0);
            return wire::drain(&mut client).await;
        }
        Some(ProxyFault::Close) => {
            shared.log(&incoming, 0);
            return client.shutdown().await;
        }
        Some(ProxyFault::Garbage) => {
            shared.log(&incoming, 0);
            client
                .write_all(b"\x00\xff\x7fthis is not HTTP\n\x00\n")
                .await?;
            return client.shutdown().await;
        }
        _ => {}
    }
    if let Some(answer) = refusal(&incoming, shared, fault) {
        shared.log(&incoming, answer.status);
        wire::deliver(&mut client, &answer, &Fault::SayClose).await?;
        return client.shutdown().await;
    }
    let place = shared.forward_to.as_ref().unwrap_or(&incoming.path);
    let Ok(mut server) = TcpStream::connect(place).await else {
        shared.log(&incoming, 502);
        wire::deliver(&mut client, &Answer::plain(502), &Fault::SayClose).await?;
        return client.shutdown().await;
    };
    shared.log(&incoming, 200);
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    if fault == Some(ProxyFault::DeadTunnel) {
        return wire::drain(&mut client).await;
    }
    server.write_all(&beyond).await?;
    copy_bidirectional(&mut client, &mut server)
        .await
        .map(|_| ())
}

/// Why no tunnel is dug, if none is.
fn refusal(incoming: &Incoming, shared: &Shared, fault: Option<ProxyFault>) -> Option<Answer> {
    if incoming.method != "CONNECT" {
        return Some(Answer::plain(405));
    }
    if let Some(ProxyFault::Status(status)) = fault {
        return Some(Answer::plain(status));
    }
    let is_known = match &shared.credentials {
        Some(wanted) => incoming.header("proxy-authorization") == Some(wanted),
        None => true,
    };
    if is_known && fault != Some(ProxyFault::AuthRequired) {
        return None;
    }
    Some(Answer::plain(407).with_header("Proxy-Authenticate", "Basic realm=\"fake proxy\""))
}
