//! Asking the gate, then Duo, and what becomes of an error before Duo was asked.

use duo_net::{Client, Notice, Person};
use duo_policy::api::Answered;
use duo_policy::clock::Deadlines;
use duo_policy::config::{Config, Failmode};
use duo_policy::conversation::Conversation;
use duo_policy::error::Error;
use duo_policy::groups::{self, Gate, Reason};
use duo_policy::login::{AttemptLog, Login};
use duo_policy::text;
use duo_policy::verdict::{self, Demands};
use duo_system::account::Account;
use duo_system::alibi::alibi;
use duo_system::codes::Codes;
use duo_system::log::Log;
use duo_system::wait::Waiter;
use duo_wire::{Message, Next, Outcome, Verdict, Who};

use crate::claim::person;
use crate::configuration::Reading;
use crate::memory::Memory;
use crate::{Child, Named};

impl Child<'_> {
    /// Asks the gate, then Duo, and returns the verdict of this login.
    pub(crate) fn ask<'w>(
        &self,
        named: &Named,
        reading: Reading,
        memory: Option<&Memory<'_>>,
        waiter: &'w Waiter<'w>,
        converse: &impl Fn(&Config, &'w Waiter<'w>) -> Box<dyn Conversation + 'w>,
    ) -> Verdict {
        let config = match reading {
            Reading::Good(config) => config,
            Reading::Broken(error, stated) => return self.unasked(&error, stated, waiter),
        };
        let conversation = converse(&config, waiter);
        self.ask_duo(named, &config, memory, &*conversation, waiter)
            .unwrap_or_else(|error| {
                let verdict = self.unasked(&error, config.failmode_if_broken, waiter);
                if !verdict.outcome.opens() && !matches!(error, Error::GaveUp(_)) {
                    conversation.show(&Message::Denied {
                        why: verdict.detail.clone(),
                        next: Next::Nothing,
                    });
                }
                verdict
            })
    }

    /// The verdict on a login in which Duo was not asked, because of `error`.
    fn unasked(&self, error: &Error, stated: Failmode, waiter: &Waiter<'_>) -> Verdict {
        let alibi = || self.alibi(waiter);
        let demands = Demands::without_codes(&alibi);
        verdict::of_error(error, Answered::NotYet, stated, &demands)
    }

    /// Asks the gate, then Duo for each attempt.
    ///
    /// # Errors
    /// Any: failmode decides what they mean.
    fn ask_duo<'w>(
        &self,
        named: &Named,
        config: &Config,
        memory: Option<&Memory<'_>>,
        conversation: &dyn Conversation,
        waiter: &'w Waiter<'w>,
    ) -> Result<Verdict, Error> {
        let Named { account, who } = named;
        let motd = config.motd && conversation.is_interactive() && self.claim.command.is_none();
        if let Gate::Pass = self.ask_gate(account, config)? {
            return Ok(Verdict::new(Outcome::Bypassed, &account.name).with_motd(motd));
        }
        let notice = |notice: &Notice| match notice {
            Notice::RateLimited(wait) => {
                let seconds = wait.as_millis().div_ceil(1_000);
                let text = format!("Duo is busy: trying again in {seconds} s");
                conversation.show(&Message::Tell(text));
            }
            Notice::ClockOff(seconds) => self.log.warning(&format!(
                "this machine's clock is off by {seconds} s, says Duo"
            )),
        };
        let deadlines = Deadlines::default();
        let person = self.person(who, config);
        let mut duo = Client::new(config, person, &deadlines, waiter, &notice)?;
        let opened = self.start.codes.as_ref();
        let codes = Codes::of(account, self.codes.as_ref(), opened, waiter);
        let login = Login {
            config,
            user: &who.duo_user,
            passcode: self.claim.passcode.as_ref(),
            deadlines: &deadlines,
            clock: waiter,
            approved: &|| memory?.approved(),
            alibi: &|| self.alibi(waiter),
            codes: &codes,
        };
        let attempts = LoginLog { log: self.log, who };
        Ok(login.run(&mut duo, conversation, &attempts).with_motd(motd))
    }

    /// Asks the gate, and logs why it is in doubt.
    ///
    /// # Errors
    /// [`Error::Fault`] if the account's groups cannot be named.
    fn ask_gate(&self, account: &Account, config: &Config) -> Result<Gate, Error> {
        let gate = groups::gate(config.groups.as_ref(), account)
            .map_err(|error| Error::Fault(error.to_string()))?;
        if let Gate::Ask(Reason::Doubt(why)) = &gate {
            self.log.warning(&format!(
                "asking, since it is not sure who need not be: {why}"
            ));
        }
        Ok(gate)
    }

    /// Proves that this machine is not the reason why Duo was not reached.
    fn alibi(&self, waiter: &Waiter<'_>) -> Result<(), Error> {
        self.start.doubt.clone().map_or(Ok(()), Err)?;
        alibi(waiter)
    }

    /// What Duo is told of the person. If this host's own address replaces a text,
    /// the log says so.
    fn person(&self, who: &Who, config: &Config) -> Person {
        let person = person(self.claim, &who.duo_user, config);
        if let (true, Some(text)) = (person.own_address_instead, &who.client) {
            let text = text::quoted(text);
            self.log.info(&format!(
                "'{text}' is no address: Duo is told this host's own"
            ));
        }
        person
    }
}

/// The log of a login whose verdict is not known yet.
struct LoginLog<'a> {
    log: &'a Log,
    who: &'a Who,
}

impl AttemptLog for LoginLog<'_> {
    fn asking(&self) -> Result<(), Error> {
        self.log.asking(self.who)
    }

    fn failed(&self, attempt: &Verdict) -> Result<(), Error> {
        self.log.verdict(attempt, self.who)
    }
}
