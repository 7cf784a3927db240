//! What this login may remember: that a person said yes on its connection, under circumstances
//! that a later login must have too (docs/security.md, *Remembered connections*). No login
//! depends on it: where it fails, the log says so, and the person is asked.

use std::time::Duration;

use duo_policy::config::{Config, Remember};
use duo_policy::error::Error;
use duo_policy::remember::{Approval, Circumstances};
use duo_policy::secret::Secret;
use duo_system::log::Log;
use duo_system::privsep::Connections;
use duo_system::remember::{self, Opened};

use crate::Named;

/// The memory of this login's connection.
pub(crate) struct Memory<'a> {
    opened: Opened,
    uid: u32,
    groups: Vec<u32>,
    duo_user: String,
    ikey: String,
    skey: Secret,
    host: String,
    longest: Duration,
    log: &'a Log,
}

impl<'a> Memory<'a> {
    /// `None` if nothing is to be remembered of this login, or nothing can be.
    pub(crate) fn of(
        named: &Named,
        config: &Config,
        connections: Connections,
        log: &'a Log,
    ) -> Option<Memory<'a>> {
        let opened = match (config.remember, connections) {
            (Remember::No, _) | (_, Connections::None | Connections::Wanted) => return None,
            (Remember::Connection, Connections::Refused(error)) => Err(error),
            (Remember::Connection, Connections::Found(opened)) => Ok(opened),
        };
        let memory = opened.and_then(|opened| Memory::new(opened, named, config, log));
        memory.inspect_err(|error| warn(log, error)).ok()
    }

    fn new(
        opened: Opened,
        named: &Named,
        config: &Config,
        log: &'a Log,
    ) -> Result<Memory<'a>, Error> {
        Ok(Memory {
            opened,
            uid: named.account.uid(),
            groups: named.account.group_ids()?,
            duo_user: named.who.duo_user.clone(),
            ikey: config.ikey.clone(),
            skey: config.skey.clone(),
            host: config.host.to_string(),
            longest: config.remember_max,
            log,
        })
    }

    /// How long ago a person said yes under these circumstances, if that counts still.
    pub(crate) fn approved(&self) -> Option<Duration> {
        let age = self.age();
        age.inspect_err(|error| warn(self.log, error))
            .ok()
            .flatten()
    }

    /// Keeps that a person has said yes now.
    pub(crate) fn keep_approval(&self) {
        if let Err(error) = self.approve() {
            warn(self.log, &error);
        }
    }

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            connection: &self.opened.connection,
            uid: self.uid,
            groups: &self.groups,
            duo_user: &self.duo_user,
            ikey: &self.ikey,
            skey: &self.skey,
            host: &self.host,
            configuration: self.opened.configuration,
        }
    }

    fn age(&self) -> Result<Option<Duration>, Error> {
        let now = remember::now(self.opened.connection.boot, self.longest)?;
        let approvals = self.opened.approvals()?;
        let digest = self.circumstances().digest();
        Ok(digest.and_then(|digest| approvals.age(&digest, &now)))
    }

    fn approve(&self) -> Result<(), Error> {
        let now = remember::now(self.opened.connection.boot, self.longest)?;
        match Approval::new(&self.circumstances(), now.time) {
            Some(approval) => self.opened.add(approval, &now),
            None => Err(Error::Fault("there is no digest of it".to_owned())),
        }
    }
}

fn warn(log: &Log, error: &Error) {
    log.warning(&format!("this connection is not remembered: {error}"));
}
