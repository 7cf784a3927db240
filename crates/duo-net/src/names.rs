//! Lookups of names, and of this host's own full name. Each runs in a thread of
//! its own, since the system's resolver takes no deadline.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use duo_policy::error::Error;
use duo_system::system_words;
use duo_system::wait::Waiter;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::PollFlags;

/// Bytes of stack for a thread that runs the resolver. NSS modules run in it, and
/// nobody knows how much stack they need.
const RESOLVER_STACK: usize = 1024 * 1024;

/// A resolver: the system's, or one of a test.
pub trait Names: Send + Sync {
    /// The addresses of `name`, in the order in which they are to be tried.
    ///
    /// # Errors
    /// [`NameError`].
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NameError>;

    /// The full name of this host, whose short name is `short`; `None` if there is none.
    fn full_name(&self, short: &str) -> Option<String>;
}

/// Why no addresses of a name were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// The name service does not know the name, fails, or does not answer: a text
    /// of ours.
    Service(&'static str),
    /// This machine could not ask: the system's text.
    Fault(String),
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        let hints = AddrInfoHints {
            socktype: SockType::Stream.into(),
            ..AddrInfoHints::default()
        };
        match getaddrinfo(Some(&absolute(name)), None, Some(hints)) {
            Ok(list) => Ok(list.flatten().map(|entry| entry.sockaddr.ip()).collect()),
            Err(error) => Err(match error.kind() {
                LookupErrorKind::NoName | LookupErrorKind::NoData => {
                    NameError::Service("name not found")
                }
                LookupErrorKind::Again => NameError::Service("no answer from the name service"),
                LookupErrorKind::Fail => NameError::Service("the name service failed"),
                _ => NameError::Fault(system_words(&io::Error::from(error))),
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

/// `name` with a dot at its end, which keeps the resolver from its search list.
/// Where no name server answers, the search list would cost one more wait for each
/// of its domains. Two names get no dot: a name without any dot may need the search
/// list (a proxy that is called `proxy`), and a name in /etc/hosts is not found with
/// a dot at its end.
fn absolute(name: &str) -> String {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    match name.contains('.') && !is_in_hosts_file(&hosts, name) {
        true => format!("{name}."),
        false => name.to_owned(),
    }
}

/// Whether the text of a hosts file has an address for `name`.
fn is_in_hosts_file(hosts: &str, name: &str) -> bool {
    hosts.lines().any(|line| {
        let entry = line.split('#').next().unwrap_or_default();
        let mut names = entry.split_whitespace().skip(1);
        names.any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// Looks `name` up, by `deadline`.
///
/// # Errors
/// [`Error::Service`] if the name is not found, or no name server answers in time;
/// [`Error::Fault`] if this machine cannot ask; those of [`Waiter::wait`].
pub(crate) fn look_up(
    names: &Arc<dyn Names>,
    name: &str,
    deadline: Instant,
    waiter: &Waiter<'_>,
) -> Result<Vec<IpAddr>, Error> {
    let asked = name.to_owned();
    let answer = Lookup::start("lookup", names, move |names| names.addresses(&asked))?;
    let failed = |words: &str| format!("Couldn't look up {name}: {words}");
    match answer.wait(deadline, waiter)? {
        Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Some(Ok(_)) => Err(Error::Service(failed("name not found"))),
        Some(Err(NameError::Service(words))) => Err(Error::Service(failed(words))),
        Some(Err(NameError::Fault(words))) => Err(Error::Fault(failed(&words))),
        None => Err(Error::Service(failed("timed out"))),
    }
}

/// A lookup in a thread of its own.
struct Lookup<T> {
    answer: mpsc::Receiver<T>,
    /// Becomes readable when the thread has answered and closed the other end.
    done: OwnedFd,
}

impl<T: Send + 'static> Lookup<T> {
    /// Starts `ask` in a thread. Where the caller's limits allow no more threads, `ask`
    /// runs in this one, without a deadline: the resolver has timeouts of its own.
    fn start(
        thread: &str,
        names: &Arc<dyn Names>,
        ask: impl Fn(&dyn Names) -> T + Clone + Send + 'static,
    ) -> Result<Lookup<T>, Error> {
        let (done, signal) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
            .map_err(|errno| Error::fault("make a pipe", errno.desc()))?;
        let (found, answer) = mpsc::channel();
        let theirs = (names.clone(), ask.clone(), found.clone());
        let started = std::thread::Builder::new()
            .name(thread.to_owned())
            .stack_size(RESOLVER_STACK)
            .spawn(move || {
                let (names, ask, found) = theirs;
                // The receiver may be gone: the login went on without the answer.
                let _ = found.send(ask(&*names));
                drop(signal);
            });
        if started.is_err() {
            let _ = found.send(ask(&**names));
        }
        Ok(Lookup { answer, done })
    }

    /// The answer, if it comes by `deadline`. An answer that has already come is
    /// returned even after `deadline`.
    fn wait(&self, deadline: Instant, waiter: &Waiter<'_>) -> Result<Option<T>, Error> {
        if let Ok(found) = self.answer.try_recv() {
            return Ok(Some(found));
        }
        waiter.wait(self.done.as_fd(), PollFlags::POLLIN, deadline)?;
        match self.answer.try_recv() {
            Ok(found) => Ok(Some(found)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                Err(Error::Fault("a thread ended without an answer".to_owned()))
            }
        }
    }
}

/// The address from which this host would reach `to`. Sends nothing.
pub(crate) fn own_address(to: SocketAddr) -> Option<IpAddr> {
    Some(udp_socket_to(to).ok()?.local_addr().ok()?.ip())
}

/// A UDP socket that is connected to `to`, which sends nothing.
pub(crate) fn udp_socket_to(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

/// The lookup of this host's own full name, which runs while the connection is
/// made.
pub(crate) struct OwnName {
    lookup: Lookup<Option<String>>,
    short: String,
    deadline: Instant,
}

impl OwnName {
    /// Starts the lookup. [`OwnName::name`] waits for it until `patience` from now.
    ///
    /// # Errors
    /// [`Error::Fault`] if this host's short name cannot be read.
    pub fn look_up(
        names: &Arc<dyn Names>,
        patience: Duration,
        waiter: &Waiter<'_>,
    ) -> Result<OwnName, Error> {
        let short = nix::unistd::gethostname()
            .map_err(|errno| Error::fault("find this host's name", errno.desc()))?
            .to_string_lossy()
            .into_owned();
        let deadline = waiter.now() + patience;
        let asked = short.clone();
        let lookup = Lookup::start("own name", names, move |names| names.full_name(&asked))?;
        Ok(OwnName {
            lookup,
            short,
            deadline,
        })
    }

    /// The full name, or the short name if the full name was not found in time.
    ///
    /// # Errors
    /// Those of [`Waiter::wait`].
    pub fn name(self, waiter: &Waiter<'_>) -> Result<String, Error> {
        let full = self.lookup.wait(self.deadline, waiter)?.flatten();
        Ok(full.unwrap_or(self.short))
    }
}

#[cfg(test)]
mod tests {
    use duo_system::wait::SystemClock;

    use super::*;

    /// A resolver with one answer to every name; without an answer it hangs.
    struct FixedNames(Option<Result<Vec<IpAddr>, NameError>>);

    impl FixedNames {
        fn answer(answer: Result<Vec<IpAddr>, NameError>) -> Arc<dyn Names> {
            Arc::new(FixedNames(Some(answer)))
        }
    }

    impl Names for FixedNames {
        fn addresses(&self, _name: &str) -> Result<Vec<IpAddr>, NameError> {
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

    fn waiter() -> Waiter<'static> {
        Waiter::new(&SystemClock, None)
    }

    #[test]
    fn a_lookup_that_hangs_ends_in_time() {
        let names: Arc<dyn Names> = Arc::new(FixedNames(None));
        let started = Instant::now();
        let error = look_up(&names, "duo.example", soon(), &waiter()).unwrap_err();
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
                Err(NameError::Service("no answer from the name service")),
                "no answer from the name service",
            ),
        ] {
            let names = FixedNames::answer(answer);
            let expected = Error::Service(format!("Couldn't look up duo.example: {words}"));
            assert_eq!(
                look_up(&names, "duo.example", soon(), &waiter()),
                Err(expected)
            );
        }
        let names = FixedNames::answer(Err(NameError::Fault("too many open files".into())));
        assert!(matches!(
            look_up(&names, "h", soon(), &waiter()),
            Err(Error::Fault(text)) if text.ends_with("too many open files")
        ));
    }

    #[test]
    fn a_hosts_file_is_read_by_whole_names_and_without_comments() {
        let hosts = "127.0.0.1 localhost\n192.0.2.7\tx.example Duo.Example # not.example\n";
        assert!(is_in_hosts_file(hosts, "duo.example") && is_in_hosts_file(hosts, "x.example"));
        for name in ["not.example", "o.example", "192.0.2.7", "duo"] {
            assert!(!is_in_hosts_file(hosts, name), "{name}");
        }
        assert_eq!(absolute("api-1.duo.test"), "api-1.duo.test.");
        assert_eq!(absolute("proxy"), "proxy");
    }

    #[test]
    fn addresses_keep_the_resolvers_order() {
        let list: Vec<IpAddr> = ["::1", "192.0.2.9", "192.0.2.1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let names = FixedNames::answer(Ok(list.clone()));
        assert_eq!(look_up(&names, "h", soon(), &waiter()), Ok(list));
    }

    #[test]
    fn a_name_of_ones_own_that_takes_too_long_is_the_short_one() {
        let short = nix::unistd::gethostname().unwrap();
        let short = short.to_string_lossy();
        let slow: Arc<dyn Names> = Arc::new(FixedNames(None));
        let started = Instant::now();
        let own = OwnName::look_up(&slow, Duration::from_millis(50), &waiter()).unwrap();
        assert_eq!(own.name(&waiter()).as_deref(), Ok(&*short));
        assert!(started.elapsed() < Duration::from_secs(5));

        let quick = FixedNames::answer(Ok(Vec::new()));
        let own = OwnName::look_up(&quick, Duration::from_secs(60), &waiter()).unwrap();
        assert_eq!(own.name(&waiter()), Ok(format!("{short}.example")));
    }

    #[test]
    fn this_host_has_an_address_towards_itself() {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        assert_eq!(own_address(to), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
