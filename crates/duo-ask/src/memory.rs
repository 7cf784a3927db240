//! What this login may remember: that a person said yes on its connection, under circumstances
//! that a later login must have too (docs/security.md, *Remembered connections*).

use std::time::Duration;

use duo_policy::config::Config;
use duo_policy::error::Error;
use duo_policy::remember::{Approval, Circumstances};
use duo_policy::secret::Secret;
use duo_system::account::Account;
use duo_system::remember::{self, Opened};

/// The memory of this login's connection.
pub struct Memory {
    opened: Opened,
    uid: u32,
    groups: Vec<u32>,
    duo_user: String,
    ikey: String,
    skey: Secret,
    host: String,
    longest: Duration,
}

impl Memory {
    /// Of a login of this account, whose name at Duo is `duo_user`.
    ///
    /// # Errors
    /// [`Error::Fault`] if the account's groups cannot be looked up.
    pub fn new(
        opened: Opened,
        config: &Config,
        account: &Account,
        duo_user: &str,
    ) -> Result<Memory, Error> {
        Ok(Memory {
            opened,
            uid: account.uid(),
            groups: account.group_ids()?,
            duo_user: duo_user.to_owned(),
            ikey: config.ikey.clone(),
            skey: config.skey.clone(),
            host: config.host.to_string(),
            longest: config.remember_max,
        })
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

    /// How long ago a person said yes under these circumstances, if that counts still.
    ///
    /// # Errors
    /// [`Error::Fault`] if that cannot be read.
    pub fn age(&self) -> Result<Option<Duration>, Error> {
        let now = remember::now(self.opened.connection.boot, self.longest)?;
        let approvals = self.opened.approvals()?;
        let digest = self.circumstances().digest();
        Ok(digest.and_then(|digest| approvals.age(&digest, &now)))
    }

    /// Keeps that a person has said yes now.
    ///
    /// # Errors
    /// [`Error::Fault`] if that cannot be written.
    pub fn approve(&self) -> Result<(), Error> {
        let now = remember::now(self.opened.connection.boot, self.longest)?;
        match Approval::new(&self.circumstances(), now.time) {
            Some(approval) => self.opened.add(approval, &now),
            None => Err(Error::Fault("there is no digest of it".to_owned())),
        }
    }
}
