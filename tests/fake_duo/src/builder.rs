//! [`Builder`]: what a service shall be before it starts.

use crate::background::{self, Background};
use crate::duo::{FakeDuo, bracketed};
use crate::fault::{Endpoint, Fault, Setting, Times};
use crate::log::Request;
use crate::phone::{self, Place};
use crate::rules::Shape;
use crate::script::{Script, USERS};
use crate::server;
use crate::service::{Observer, Service, Settings};
use crate::tls::{self, Tls};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// What a service shall be before it starts.
#[must_use]
pub struct Builder {
    shape: Shape,
    tls: Tls,
    addresses: Vec<String>,
    port: u16,
    listener: Option<TcpListener>,
    names: Vec<String>,
    users: HashMap<String, Script>,
    default_script: Script,
    clock_offset: i64,
    push_delay: Duration,
    poll_limit: Duration,
    faults: Vec<Setting>,
    observer: Option<Observer>,
    phone: Option<SocketAddr>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            tls: Tls::default(),
            addresses: vec!["127.0.0.1".to_owned()],
            port: 0,
            listener: None,
            names: Vec::new(),
            users: USERS
                .iter()
                .map(|(name, script, _)| ((*name).to_owned(), *script))
                .collect(),
            default_script: Script::Push,
            clock_offset: 0,
            push_delay: Duration::from_millis(300),
            poll_limit: Duration::from_secs(60),
            faults: Vec::new(),
            observer: None,
            phone: None,
        }
    }
}

impl Builder {
    /// Which integration it plays.
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// How it presents itself on the wire.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The loopback addresses it listens on, all at the same port.
    pub fn bind(mut self, addresses: &[&str]) -> Self {
        self.addresses = addresses
            .iter()
            .map(|address| (*address).to_owned())
            .collect();
        self
    }

    /// The port; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Serves at this socket alone, whatever addresses and port were set: one that was opened in another network namespace.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// A further host name that it answers to, in its certificate too.
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.to_ascii_lowercase());
        self
    }

    /// The script of a user.
    pub fn user(mut self, name: &str, script: Script) -> Self {
        self.users.insert(name.to_owned(), script);
        self
    }

    /// The script of every user that has none of their own.
    pub fn default_script(mut self, script: Script) -> Self {
        self.default_script = script;
        self
    }

    /// Forgets the users of [`USERS`], and those set so far: every name follows the default script.
    pub fn without_users(mut self) -> Self {
        self.users.clear();
        self
    }

    /// Seconds by which the service's clock is off.
    pub fn clock_offset(mut self, seconds: i64) -> Self {
        self.clock_offset = seconds;
        self
    }

    /// How long a person takes to answer; 0.3 s by default.
    pub fn push_delay(mut self, delay: Duration) -> Self {
        self.push_delay = delay;
        self
    }

    /// How long `/auth_status` waits for news before it answers with none; 60 s by default.
    pub fn poll_limit(mut self, limit: Duration) -> Self {
        self.poll_limit = limit;
        self
    }

    /// A fault from the start on, as [`FakeDuo::fault`].
    pub fn fault(mut self, endpoint: Endpoint, fault: Fault, times: Times) -> Self {
        self.faults.push(Setting {
            endpoint,
            fault,
            times,
        });
        self
    }

    /// Tells `observer` of each request once it has been answered or dropped, on the service's own thread.
    pub fn observer(mut self, observer: impl Fn(&Request) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Gives the users a phone that a person plays, a web page at this address (port 0: a free one); see
    /// [`FakeDuo::phone`]. Then no push and no call is approved by a script: it waits for that person, 60 s at most.
    pub fn phone(mut self, address: SocketAddr) -> Self {
        self.phone = Some(address);
        self
    }

    /// Starts.
    ///
    /// # Panics
    /// Where it cannot start, with the reason: a test can only fail then. See [`Builder::try_start`].
    pub fn start(self) -> FakeDuo {
        match self.try_start() {
            Ok(duo) => duo,
            Err(error) => panic!("the fake Duo service cannot start: {error}"),
        }
    }

    /// Starts.
    ///
    /// # Errors
    /// An address that is none, or is not of the loopback; a port that is taken; no descriptor, no thread.
    pub fn try_start(self) -> io::Result<FakeDuo> {
        let texts = match &self.listener {
            Some(listener) => vec![listener.local_addr()?.ip().to_string()],
            None => self.addresses,
        };
        let addresses = loopback_addresses(&texts)?;
        let first = *addresses
            .first()
            .ok_or_else(|| io::Error::other("no address to listen on"))?;
        let listeners = match self.listener {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                vec![listener]
            }
            None => background::listen(&addresses, self.port)?,
        };
        let bound = listeners
            .first()
            .ok_or_else(|| io::Error::other("no listener"))?;
        let port = bound.local_addr()?.port();

        let usual = ["127.0.0.1".parse(), "::1".parse()];
        let at_localhost = addresses
            .iter()
            .any(|address| usual.contains(&Ok(*address)));
        let host = if at_localhost {
            "localhost".to_owned()
        } else {
            bracketed(first)
        };
        let mut in_certificate = vec!["localhost".to_owned()];
        in_certificate.extend(self.names.iter().cloned());
        let mut names = in_certificate.clone();
        for address in addresses.iter().copied().chain(usual.into_iter().flatten()) {
            in_certificate.push(address.to_string());
            names.push(bracketed(address));
        }
        let (door, ca_pem) = tls::door(self.tls, &in_certificate)?;

        let (phone_listener, phone) = self.phone.map(listen_for_the_phone).transpose()?.unzip();
        let settings = Settings {
            shape: self.shape,
            names,
            port,
            host: format!("{host}:{port}"),
            push_delay: self.push_delay,
            poll_limit: self.poll_limit,
            observer: self.observer,
            phone,
        };
        let service = Arc::new(Service::new(
            settings,
            self.users,
            self.default_script,
            self.clock_offset,
        ));
        for setting in self.faults {
            service.add_fault(setting);
        }
        let shared = Arc::clone(&service);
        let background = Background::start(move || {
            for listener in listeners {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(server::serve(listener, door.clone(), Arc::clone(&shared)));
            }
            if let Some(listener) = phone_listener {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(phone::serve(listener, shared));
            }
            Ok(std::future::pending())
        })?;
        Ok(FakeDuo {
            service,
            background,
            ca_pem,
            address: first,
        })
    }
}

fn listen_for_the_phone(address: SocketAddr) -> io::Result<(TcpListener, Place)> {
    let listener = background::listen(&[address.ip()], address.port())?.pop();
    let listener = listener.ok_or_else(|| io::Error::other("no listener"))?;
    let place = Place::new(listener.local_addr()?)?;
    Ok((listener, place))
}

/// Never anywhere else: keys and scripts of this service are known to the whole world.
fn loopback_addresses(texts: &[String]) -> io::Result<Vec<IpAddr>> {
    texts
        .iter()
        .map(|text| {
            let address: Option<IpAddr> = text.parse().ok();
            address.filter(IpAddr::is_loopback).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("'{text}' is not a loopback address"),
                )
            })
        })
        .collect()
}
