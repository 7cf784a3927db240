//! Names into addresses, and this host's own full name, each in a thread of its
//! own, since the system's resolver knows no deadline.
//!
//! Whoever uses up descriptors, ports or the firewall's table makes the resolver
//! say "not found": such an answer counts as the network's only if a file, a
//! socket, a port and a place in that table can still be had.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use nix::libc;

use super::tracking;
use crate::clock::in_steps;
use crate::error::{Error, system_words};

/// Room for a resolver's thread: NSS modules are not ours to measure.
const RESOLVER_STACK: usize = 1024 * 1024;

/// Who knows names: the system, or a test's stand-in.
pub trait Names: Send + Sync {
    /// The addresses of `name`, in the order in which they are to be tried.
    ///
    /// # Errors
    /// [`Unknown`].
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unknown>;

    /// The full name of this host, which calls itself `short`.
    fn full_name(&self, short: &str) -> Option<String>;
}

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// The name service says so, or says nothing; in our words.
    Service(&'static str),
    /// This machine could not ask; in the system's words.
    Fault(String),
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Unknown> {
        let hints = AddrInfoHints {
            socktype: SockType::Stream.into(),
            ..AddrInfoHints::default()
        };
        match getaddrinfo(Some(name), None, Some(hints)) {
            Ok(list) => Ok(list.flatten().map(|entry| entry.sockaddr.ip()).collect()),
            Err(error) => Err(match error.kind() {
                LookupErrorKind::NoName | LookupErrorKind::NoData => {
                    Unknown::Service("name not found")
                }
                LookupErrorKind::Again => Unknown::Service("no answer from the name service"),
                LookupErrorKind::Fail => Unknown::Service("the name service failed"),
                _ => Unknown::Fault(system_words(&io::Error::from(error))),
            }),
        }
    }

    fn full_name(&self, short: &str) -> Option<String> {
        let hints = AddrInfoHints {
            flags: libc::AI_CANONNAME,
            socktype: SockType::Stream.into(),
            ..AddrInfoHints::default()
        };
        let list = getaddrinfo(Some(short), None, Some(hints)).ok()?;
        list.flatten().find_map(|entry| entry.canonname)
    }
}

/// Looks `name` up, by `deadline`.
///
/// # Errors
/// [`Error::Service`] if it is not found, or nobody answers in time;
/// [`Error::Fault`] if this machine cannot ask.
pub fn look_up(
    names: &Arc<dyn Names>,
    name: &str,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Error> {
    match look_up_once(names, name, deadline) {
        // Believed when said twice: whoever takes a port or a descriptor away just
        // for the question, and gives it back for the proof, must do both again.
        Err(Error::Service(_)) => look_up_once(names, name, deadline),
        answer => answer,
    }
}

fn look_up_once(
    names: &Arc<dyn Names>,
    name: &str,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Error> {
    let asked = name.to_owned();
    let answer = beside("lookup", names, move |names| names.addresses(&asked))?;
    let failed = |words: &str| format!("Couldn't look up {name}: {words}");
    match receive(&answer, deadline) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(not_found(failed("name not found"))),
        Ok(Err(Unknown::Service(words))) => Err(not_found(failed(words))),
        Ok(Err(Unknown::Fault(words))) => Err(Error::Fault(failed(&words))),
        Err(TryRecvError::Empty) => Err(not_found(failed("timed out"))),
        Err(TryRecvError::Disconnected) => Err(Error::Fault(failed("no answer"))),
    }
}

/// Starts `ask` in a thread.
fn beside<T: Send + 'static>(
    thread: &str,
    names: &Arc<dyn Names>,
    ask: impl FnOnce(&dyn Names) -> T + Send + 'static,
) -> Result<mpsc::Receiver<T>, Error> {
    let (found, answer) = mpsc::channel();
    let names = names.clone();
    std::thread::Builder::new()
        .name(thread.to_owned())
        .stack_size(RESOLVER_STACK)
        .spawn(move || {
            // Nobody may be listening any more.
            let _ = found.send(ask(&*names));
        })
        .map_err(|error| Error::fault("start a thread", system_words(&error)))?;
    Ok(answer)
}

/// Waits for an answer; one that is there already is taken at any time.
fn receive<T>(answer: &mpsc::Receiver<T>, by: Instant) -> Result<T, TryRecvError> {
    let waited = in_steps(by, |step| match answer.recv_timeout(step) {
        Ok(found) => Some(Ok(found)),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(TryRecvError::Disconnected)),
    });
    waited.unwrap_or_else(|| answer.try_recv())
}

fn not_found(text: String) -> Error {
    let proofs = [
        File::open("/dev/null").map(drop),
        UnixDatagram::unbound().map(drop),
        a_port_is_free(Ipv4Addr::UNSPECIFIED.into()),
        a_port_is_free(Ipv6Addr::UNSPECIFIED.into()),
        tracking::has_room(),
    ];
    match proofs.into_iter().find_map(Result::err) {
        None => Error::Service(text),
        Some(error) => Error::Fault(format!("{text}; and {}", system_words(&error))),
    }
}

/// Whether there is a port left to ask a name server from: any user can bind
/// them all.
fn a_port_is_free(any: IpAddr) -> io::Result<()> {
    match UdpSocket::bind((any, 0)) {
        // A family that this kernel does not have.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
            ) =>
        {
            Ok(())
        }
        bound => bound.map(drop),
    }
}

/// The address that this host would reach `to` from. Sends nothing.
pub fn own_address(to: SocketAddr) -> Option<IpAddr> {
    Some(towards(to).ok()?.local_addr().ok()?.ip())
}

/// A datagram socket that leads to `to`. Sends nothing.
pub(super) fn towards(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

/// This host's own full name, looked up beside everything else.
pub struct OwnName {
    answer: mpsc::Receiver<Option<String>>,
    short: String,
    by: Instant,
}

impl OwnName {
    /// Starts looking; whoever asks later waits until `patience` from now, no longer.
    ///
    /// # Errors
    /// [`Error::Fault`] if there is no name at all, or no thread.
    pub fn look_up(names: &Arc<dyn Names>, patience: Duration) -> Result<OwnName, Error> {
        let short = nix::unistd::gethostname()
            .map_err(|errno| Error::fault("find this host's name", errno.desc()))?
            .to_string_lossy()
            .into_owned();
        let by = Instant::now() + patience;
        let asked = short.clone();
        let answer = beside("own name", names, move |names| names.full_name(&asked))?;
        Ok(OwnName { answer, short, by })
    }

    /// The full name; the short one if the full one is not known by now.
    pub fn name(self) -> String {
        match receive(&self.answer, self.by) {
            Ok(Some(full)) => full,
            Ok(None) | Err(_) => self.short,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers what it was given; hangs where that is nothing.
    struct Given(Option<Result<Vec<IpAddr>, Unknown>>);

    impl Given {
        fn answer(answer: Result<Vec<IpAddr>, Unknown>) -> Arc<dyn Names> {
            Arc::new(Given(Some(answer)))
        }
    }

    impl Names for Given {
        fn addresses(&self, _name: &str) -> Result<Vec<IpAddr>, Unknown> {
            self.0.clone().unwrap_or_else(|| hang())
        }

        fn full_name(&self, short: &str) -> Option<String> {
            match self.0 {
                Some(_) => Some(format!("{short}.example")),
                None => hang(),
            }
        }
    }

    fn hang() -> ! {
        loop {
            std::thread::park();
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[test]
    fn a_lookup_that_hangs_ends_in_time() {
        let names: Arc<dyn Names> = Arc::new(Given(None));
        let started = Instant::now();
        let error = look_up(&names, "duo.example", soon()).unwrap_err();
        assert_eq!(
            error,
            Error::Service("Couldn't look up duo.example: timed out".into())
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_name_that_is_not_known_is_duos_and_a_machine_that_cannot_ask_is_not() {
        for (answer, words) in [
            (Ok(Vec::new()), "name not found"),
            (
                Err(Unknown::Service("no answer from the name service")),
                "no answer from the name service",
            ),
        ] {
            let names = Given::answer(answer);
            let expected = Error::Service(format!("Couldn't look up duo.example: {words}"));
            assert_eq!(look_up(&names, "duo.example", soon()), Err(expected));
        }
        let names = Given::answer(Err(Unknown::Fault("too many open files".into())));
        assert!(matches!(
            look_up(&names, "h", soon()),
            Err(Error::Fault(text)) if text.ends_with("too many open files")
        ));
    }

    #[test]
    fn addresses_keep_the_resolvers_order() {
        let list: Vec<IpAddr> = ["::1", "192.0.2.9", "192.0.2.1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let names = Given::answer(Ok(list.clone()));
        assert_eq!(look_up(&names, "h", soon()), Ok(list));
    }

    #[test]
    fn a_name_of_ones_own_that_takes_too_long_is_the_short_one() {
        let short = nix::unistd::gethostname().unwrap();
        let short = short.to_string_lossy();
        let slow: Arc<dyn Names> = Arc::new(Given(None));
        let started = Instant::now();
        let own = OwnName::look_up(&slow, Duration::from_millis(50)).unwrap();
        assert_eq!(own.name(), short);
        assert!(started.elapsed() < Duration::from_secs(5));

        let quick = Given::answer(Ok(Vec::new()));
        let own = OwnName::look_up(&quick, Duration::from_secs(60)).unwrap();
        assert_eq!(own.name(), format!("{short}.example"));
    }

    #[test]
    fn this_host_has_an_address_towards_itself() {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        assert_eq!(own_address(to), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
