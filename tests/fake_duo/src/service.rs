//! The service's memory: users, transactions, faults in force, and the log of requests.

use crate::attempt::{self, Status};
use crate::clock;
use crate::details::Details;
use crate::factor::{self, Asked, Factor};
use crate::fault::{Fault, Plan, Setting};
use crate::http::{Answer, Incoming};
use crate::log::Request;
use crate::phone::Place;
use crate::preauth::{self, Preauth};
use crate::refusal::Refusal;
use crate::rules::{self, Call, Shape, Site};
use crate::script::Script;
use crate::transaction::{News, Transaction};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Told of each request when it has been answered or dropped.
pub type Observer = Box<dyn Fn(&Request) + Send + Sync>;

/// What is fixed at the start.
pub struct Settings {
    pub shape: Shape,
    /// Names it answers to, lower case, IPv6 literals in brackets.
    pub names: Vec<String>,
    pub port: u16,
    /// What a client writes to reach it: `localhost:PORT`.
    pub host: String,
    pub push_delay: Duration,
    /// How long `/auth_status` waits for news.
    pub poll_limit: Duration,
    pub observer: Option<Observer>,
    /// Where the phone is, if a person plays the users' phones.
    pub phone: Option<Place>,
}

/// What changes while it runs.
pub struct State {
    pub requests: Vec<Request>,
    pub connections: usize,
    pub handshakes: usize,
    pub users: HashMap<String, Script>,
    pub default_script: Script,
    pub plan: Plan,
    /// Seconds by which the service's clock is off.
    pub clock_offset: i64,
    pub transactions: HashMap<String, Transaction>,
    /// Transactions that preauth named for a verified push, and whose they are.
    verified: HashMap<String, String>,
    /// Users to whom passcodes were sent.
    pub texted: HashSet<String>,
    /// The users behind the enrolment addresses that were given out, by the address's code.
    pub enrolments: HashMap<String, String>,
    numbered: u64,
}

/// An answer, and what to remember once it has really left.
pub struct Reply {
    pub answer: Answer,
    /// A transaction and how many of its statuses the client has had with this answer.
    pub delivers: Option<(String, usize)>,
}

impl Reply {
    fn ok(response: &Value) -> Self {
        let body = json!({"stat": "OK", "response": response}).to_string();
        Self {
            answer: Answer::json(200, body),
            delivers: None,
        }
    }
}

/// The service behind the wire.
pub struct Service {
    pub settings: Settings,
    state: Mutex<State>,
    /// Something was logged.
    logged: Condvar,
    /// A test settled a transaction.
    settled: Notify,
    /// Something changed that a phone shows.
    changed: watch::Sender<()>,
}

/// A login's `/auth`.
struct Beginning<'a> {
    user: &'a str,
    asked: &'a Asked,
    details: Details,
    /// The transaction that it named.
    txid: Option<String>,
}

impl Service {
    pub fn new(
        settings: Settings,
        users: HashMap<String, Script>,
        default_script: Script,
        clock_offset: i64,
    ) -> Self {
        let state = State {
            requests: Vec::new(),
            connections: 0,
            handshakes: 0,
            users,
            default_script,
            plan: Plan::default(),
            clock_offset,
            transactions: HashMap::new(),
            verified: HashMap::new(),
            texted: HashSet::new(),
            enrolments: HashMap::new(),
            numbered: 0,
        };
        Self {
            settings,
            state: Mutex::new(state),
            logged: Condvar::new(),
            settled: Notify::new(),
            changed: watch::Sender::new(()),
        }
    }

    /// Wakes whoever waits for a person's answer, and every phone.
    pub fn tell_of_a_change(&self) {
        self.settled.notify_waiters();
        self.changed.send_replace(());
    }

    /// Changes whenever a phone may have something else to show.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The state; a test that panicked elsewhere must not hide behind a poisoned lock.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn clock_offset(&self) -> i64 {
        self.state().clock_offset
    }

    pub fn add_fault(&self, setting: Setting) {
        self.state().plan.add(setting);
    }

    /// A connection was accepted: its number, and the fault that strikes it.
    pub fn connected(&self) -> (usize, Option<Fault>) {
        let mut state = self.state();
        state.connections += 1;
        let numbered = (state.connections, state.plan.of_connection());
        self.logged.notify_all();
        numbered
    }

    /// A TLS handshake was completed.
    pub fn shook_hands(&self) {
        self.state().handshakes += 1;
        self.logged.notify_all();
    }

    /// Logs a request that has arrived: its place in the log, what the rules say, and the fault that strikes it.
    pub fn arrived(
        &self,
        connection: usize,
        incoming: &Incoming,
    ) -> (usize, Result<Call, Refusal>, Option<Fault>) {
        let mut state = self.state();
        let site = Site {
            names: &self.settings.names,
            port: self.settings.port,
            shape: self.settings.shape,
            now: clock::now(state.clock_offset),
        };
        let verdict = rules::judge(incoming, &site);
        let fault = state.plan.of_request(rules::endpoint(&incoming.path));
        state.requests.push(Request {
            connection,
            method: incoming.method.clone(),
            path: incoming.path.clone(),
            params: rules::parameters(incoming),
            headers: incoming.headers.clone(),
            status: 0,
            refusal: verdict.as_ref().err().map(ToString::to_string),
            at: Instant::now(),
        });
        self.logged.notify_all();
        (state.requests.len() - 1, verdict, fault)
    }

    /// The status of a request is decided; 0 if it gets none.
    pub fn answered(&self, index: usize, status: u16) {
        let mut state = self.state();
        let Some(request) = state.requests.get_mut(index) else {
            return;
        };
        request.status = status;
        let request = request.clone();
        drop(state);
        self.logged.notify_all();
        if let Some(observer) = &self.settings.observer {
            observer(&request);
        }
    }

    /// The client has had this answer whole.
    pub fn delivered(&self, (txid, count): (String, usize)) {
        if let Some(transaction) = self.state().transactions.get_mut(&txid) {
            transaction.delivered = transaction.delivered.max(count);
        }
    }

    /// Blocks until `is_so` or `timeout`, looking again at each event.
    pub fn wait_until(&self, is_so: impl Fn(&State) -> bool, timeout: Duration) -> bool {
        let waited = self
            .logged
            .wait_timeout_while(self.state(), timeout, |state| !is_so(state));
        let (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !result.timed_out()
    }

    /// Ends every waiting transaction of a user; whether there was one.
    pub fn settle(&self, user: &str, verdict: &Status) -> bool {
        let now = Instant::now();
        let mut found = false;
        for transaction in self.state().transactions.values_mut() {
            if transaction.user == user {
                found |= transaction.settle(now, verdict.clone());
            }
        }
        self.tell_of_a_change();
        found
    }

    /// Carries out what was asked.
    pub async fn perform(&self, call: Call) -> Reply {
        let reply = match call {
            Call::Time => {
                let now = clock::now(self.state().clock_offset);
                Ok(Reply::ok(&json!({"time": now})))
            }
            Call::Preauth { user, verified } => Ok(self.preauth(&user, verified)),
            Call::Auth {
                user,
                asked,
                details,
                asynchronous,
                txid,
            } => {
                let beginning = Beginning {
                    user: &user,
                    asked: &asked,
                    details,
                    txid,
                };
                self.auth(beginning, asynchronous).await
            }
            Call::AuthStatus { txid } => self.auth_status(&txid).await,
        };
        reply.unwrap_or_else(|refusal| Reply {
            answer: refusal.answer(),
            delivers: None,
        })
    }

    fn preauth(&self, user: &str, verified: bool) -> Reply {
        let mut state = self.state();
        let txid = state.new_txid();
        let script = state.script(user);
        if script == Script::Verified && verified {
            state.verified.insert(txid.clone(), user.to_owned());
        }
        let with_prompt = self.settings.shape == Shape::Prompt;
        let portal = match (&self.settings.phone, script) {
            (Some(phone), Script::Enroll) => state.portal_of(user, phone),
            _ => format!(
                "https://{}/portal?code=48bac5d9393fb2c2&akey=DAFAKEFAKEFAKEFAKE01",
                self.settings.host
            ),
        };
        Reply::ok(&preauth::preauth(
            script,
            &Preauth {
                user,
                verified,
                with_prompt,
                portal: &portal,
                txid: &txid,
            },
        ))
    }

    async fn auth(&self, beginning: Beginning<'_>, asynchronous: bool) -> Result<Reply, Refusal> {
        let (txid, script) = self.begin(beginning)?;
        self.tell_of_a_change();
        if asynchronous && script != Script::Sync {
            return Ok(Reply::ok(&json!({"txid": txid})));
        }
        loop {
            let (count, status) = self.next_status(&txid, None).await?;
            self.delivered((txid.clone(), count));
            if status.result != "waiting" {
                return Ok(Reply::ok(&status.response()));
            }
        }
    }

    /// Begins a transaction: its id, and the user's script.
    fn begin(&self, beginning: Beginning<'_>) -> Result<(String, Script), Refusal> {
        let Beginning {
            user,
            asked,
            details,
            txid: given,
        } = beginning;
        let mut state = self.state();
        let script = state.script(user);
        let factor = factor::factor(script, asked)
            .ok_or_else(|| Refusal::parameter("the user has no such factor"))?;
        if factor == Factor::VerifiedPush {
            let owner = given.and_then(|txid| state.verified.remove(&txid));
            if owner.as_deref() != Some(user) {
                return Err(Refusal::parameter(
                    "a verified push needs the txid of preauth",
                ));
            }
        } else if given.is_some() {
            return Err(Refusal::parameter("txid is for a verified push"));
        }
        let texted = state.texted.contains(user);
        if factor == Factor::Sms {
            state.texted.insert(user.to_owned());
        }
        let now = Instant::now();
        let mut steps = attempt::steps(script, &factor, self.settings.push_delay, texted);
        if self.settings.phone.is_some() {
            attempt::leave_to_the_person(&mut steps, &factor);
        }
        let steps = steps
            .into_iter()
            .map(|(after, status)| (after.map(|after| now + after), status))
            .collect();
        let txid = state.new_txid();
        let transaction = Transaction {
            number: state.transactions.len() + 1,
            user: user.to_owned(),
            factor,
            details,
            steps,
            delivered: 0,
            has_wrong_code: false,
        };
        state.transactions.insert(txid.clone(), transaction);
        Ok((txid, script))
    }

    async fn auth_status(&self, txid: &str) -> Result<Reply, Refusal> {
        let (count, status) = self
            .next_status(txid, Some(self.settings.poll_limit))
            .await?;
        let mut reply = Reply::ok(&status.response());
        reply.delivers = Some((txid.to_owned(), count));
        Ok(reply)
    }

    /// Waits for the next status that the client has not had; at `limit`, or when there is no further one, the last again.
    async fn next_status(
        &self,
        txid: &str,
        limit: Option<Duration>,
    ) -> Result<(usize, Status), Refusal> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // From here on no settlement is missed.
            settled.as_mut().enable();
            let wake = match self.look(txid, deadline)? {
                News::Now(count, status) => return Ok((count, status)),
                News::At(wake) => wake,
            };
            let wake = wake.into_iter().chain(deadline).min();
            tokio::select! {
                () = settled => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    fn look(&self, txid: &str, deadline: Option<Instant>) -> Result<News, Refusal> {
        let state = self.state();
        let transaction = state
            .transactions
            .get(txid)
            .ok_or_else(|| Refusal::parameter("txid is unknown or gone"))?;
        Ok(transaction.news(Instant::now(), deadline))
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

impl State {
    /// How the service treats this user.
    pub fn script(&self, user: &str) -> Script {
        self.users.get(user).copied().unwrap_or(self.default_script)
    }

    /// The address at which this user enrols on the phone, always the same.
    fn portal_of(&mut self, user: &str, phone: &Place) -> String {
        let code = phone.enrolment_code(user);
        let portal = phone.portal(&code);
        self.enrolments.insert(code, user.to_owned());
        portal
    }

    fn new_txid(&mut self) -> String {
        self.numbered += 1;
        format!("45f7c92b-f45f-4862-8545-{:012x}", self.numbered)
    }
}
