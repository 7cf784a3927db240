//! [`FakeDuo`]: the running service as a test holds it.

use crate::attempt::Status;
use crate::background::Background;
use crate::builder::Builder;
use crate::fault::{Endpoint, Fault, Setting, Times};
use crate::log::Request;
use crate::phone::Place;
use crate::script::Script;
use crate::service::{Service, State};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A running service. Dropping it stops it and frees its port.
pub struct FakeDuo {
    pub(crate) service: Arc<Service>,
    pub(crate) background: Background,
    pub(crate) ca_pem: String,
    pub(crate) address: IpAddr,
}

impl FakeDuo {
    /// The integration key that the service knows.
    pub const IKEY: &str = "DIFAKEFAKEFAKEFAKE01";
    /// The secret key that goes with it.
    pub const SKEY: &str = "fakeSecretKeyForTestsOnly0123456789abcde";

    /// Starts with the defaults: 127.0.0.1, a free port, [`crate::Shape::Prompt`], [`crate::Tls::Good`], the users of [`crate::USERS`],
    /// unknown users as [`Script::Push`] with a push delay of 0.3 s.
    ///
    /// # Panics
    /// Where it cannot start, with the reason.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// What to set before starting.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The port it listens on, the same for every address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.service.settings.port
    }

    /// What stands at `host =`: `localhost:PORT`, or the address where it is not at 127.0.0.1 or ::1.
    #[must_use]
    pub fn host(&self) -> String {
        self.service.settings.host.clone()
    }

    /// The first address it listens on, with the port: `127.0.0.1:PORT` or `[::1]:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", bracketed(self.address), self.port())
    }

    /// The address of the phone's page, `http://127.0.0.1:PORT/TOKEN/`, if there is a phone: whoever has it can approve.
    #[must_use]
    pub fn phone(&self) -> Option<String> {
        self.service.settings.phone.as_ref().map(Place::address)
    }

    /// What a client is to trust, in PEM. All services of one process share one CA.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Sets a fault. Faults that fit the same request are used up in the order in which they were set.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault, times: Times) {
        self.service.add_fault(Setting {
            endpoint,
            fault,
            times,
        });
    }

    /// Takes back all faults; connections that a fault holds stay held.
    pub fn clear_faults(&self) {
        self.service.state().plan.clear();
    }

    /// Puts the service's clock off by so many seconds from now on.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.service.state().clock_offset = seconds;
    }

    /// Gives a user another script from now on.
    pub fn set_script(&self, user: &str, script: Script) {
        self.service.state().users.insert(user.to_owned(), script);
    }

    /// The person approves every waiting push of `user`; `false` if none was waiting.
    pub fn approve(&self, user: &str) -> bool {
        self.service.settle(user, &Status::allowed())
    }

    /// The person denies every waiting push of `user`; `false` if none was waiting.
    pub fn deny(&self, user: &str) -> bool {
        self.service.settle(user, &Status::denied())
    }

    /// The person reports every waiting push of `user` as one that they did not ask for; `false` if none was waiting.
    pub fn report_fraud(&self, user: &str) -> bool {
        self.service.settle(user, &Status::fraud())
    }

    /// Every request that arrived whole, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.service.state().requests.clone()
    }

    /// The endpoints asked, in order: `["preauth", "auth", "auth_status"]`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| request.endpoint().to_owned())
            .collect()
    }

    /// How often this endpoint was asked.
    #[must_use]
    pub fn asked(&self, endpoint: &str) -> usize {
        let requests = self.requests();
        requests
            .iter()
            .filter(|request| request.endpoint() == endpoint)
            .count()
    }

    /// TCP connections accepted, whether or not they sent a byte.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.service.state().connections
    }

    /// TLS handshakes completed.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.service.state().handshakes
    }

    /// Blocks until the log of requests is as wanted; `false` if it is not after `timeout`. It is looked at whenever a
    /// request arrives or is answered. `is_so` must not call this service.
    #[must_use]
    pub fn wait_until(&self, is_so: impl Fn(&[Request]) -> bool, timeout: Duration) -> bool {
        self.service
            .wait_until(|state: &State| is_so(&state.requests), timeout)
    }

    /// Blocks until so many TCP connections were accepted; `false` if they were not after `timeout`.
    #[must_use]
    pub fn wait_for_connections(&self, count: usize, timeout: Duration) -> bool {
        self.service
            .wait_until(|state: &State| state.connections >= count, timeout)
    }

    /// Writes `ca.pem` (0644) and `login_duo.conf` (0600) into `dir`: keys, host and `cafile`, then the lines of `extra`.
    /// Returns the path of the configuration file.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write_config(&self, dir: &Path, extra: &str) -> io::Result<PathBuf> {
        let dir = fs::canonicalize(dir)?;
        let ca_file = dir.join("ca.pem");
        write_file(&ca_file, 0o644, &self.ca_pem)?;
        let config = dir.join("login_duo.conf");
        write_file(&config, 0o600, &self.config(&ca_file, extra))?;
        Ok(config)
    }

    /// The text of a configuration file for this service, with `ca.pem` at this path; `extra` stands at its end.
    #[must_use]
    pub fn config(&self, ca_file: &Path, extra: &str) -> String {
        format!(
            "; Written by fake-duo, for tests only: these keys open nothing.\n\
             [duo]\nikey = {}\nskey = {}\nhost = {}\ncafile = {}\n{extra}\n",
            Self::IKEY,
            Self::SKEY,
            self.host(),
            ca_file.display()
        )
    }

    /// Stops; when this returns the port is free and every connection closed. The log can still be read.
    pub fn stop(&self) {
        self.background.stop();
    }
}

fn write_file(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // Whatever the umask, and whatever the file was before.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())
}

/// As it stands before `:PORT`.
pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
