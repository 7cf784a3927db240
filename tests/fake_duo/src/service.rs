//! The service's memory: users, transactions, faults in force, and the log of requests.

use crate::attempt::{self, Status};
use crate::clock;
use crate::factor::{self, Asked, Factor};
use crate::fault::{Fault, Plan, Setting};
use crate::http::{Answer, Incoming};
use crate::log::Request;
use crate::preauth::{self, Preauth};
use crate::refusal::Refusal;
use crate::rules::{self, Call, Shape, Site};
use crate::script::Script;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

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
    transactions: HashMap<String, Transaction>,
    /// Transactions that preauth named for a verified push, and whose they are.
    verified: HashMap<String, String>,
    /// Users to whom passcodes were sent.
    texted: HashSet<String>,
    numbered: u64,
}

struct Transaction {
    user: String,
    /// `None`: when a test settles it.
    steps: Vec<(Option<Instant>, Status)>,
    /// How many of them the client has had.
    delivered: usize,
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
            numbered: 0,
        };
        Self {
            settings,
            state: Mutex::new(state),
            logged: Condvar::new(),
            settled: Notify::new(),
        }
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
            let is_due = |(due, _): &(Option<Instant>, Status)| due.is_some_and(|due| due <= now);
            let is_over = transaction
                .steps
                .last()
                .is_some_and(|step| step.1.result != "waiting" && is_due(step));
            if transaction.user == user && !is_over {
                transaction.steps.retain(is_due);
                transaction.steps.push((Some(now), verdict.clone()));
                found = true;
            }
        }
        self.settled.notify_waiters();
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
                asynchronous,
                txid,
            } => self.auth(&user, &asked, asynchronous, txid).await,
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
        let host = &self.settings.host;
        Reply::ok(&preauth::preauth(
            script,
            &Preauth {
                user,
                verified,
                with_prompt,
                host,
                txid: &txid,
            },
        ))
    }

    async fn auth(
        &self,
        user: &str,
        asked: &Asked,
        asynchronous: bool,
        given: Option<String>,
    ) -> Result<Reply, Refusal> {
        let (txid, script) = self.begin(user, asked, given)?;
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
    fn begin(
        &self,
        user: &str,
        asked: &Asked,
        given: Option<String>,
    ) -> Result<(String, Script), Refusal> {
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
        let steps = attempt::steps(script, &factor, self.settings.push_delay, texted)
            .into_iter()
            .map(|(after, status)| (after.map(|after| now + after), status))
            .collect();
        let txid = state.new_txid();
        let transaction = Transaction {
            user: user.to_owned(),
            steps,
            delivered: 0,
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
        let now = Instant::now();
        let had = transaction.delivered;
        let is_late = deadline.is_some_and(|deadline| deadline <= now);
        let last = had
            .checked_sub(1)
            .and_then(|last| transaction.steps.get(last));
        match (transaction.steps.get(had), last) {
            (Some((Some(due), status)), _) if *due <= now => Ok(News::Now(had + 1, status.clone())),
            (_, Some((_, last))) if is_late || last.result != "waiting" => {
                Ok(News::Now(had, last.clone()))
            }
            (next, _) => Ok(News::At(next.and_then(|(due, _)| *due))),
        }
    }
}

/// What a look at a transaction found.
enum News {
    /// This status, which is so many of them.
    Now(usize, Status),
    /// Nothing before this moment, if there is one.
    At(Option<Instant>),
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

impl State {
    fn script(&self, user: &str) -> Script {
        self.users.get(user).copied().unwrap_or(self.default_script)
    }

    fn new_txid(&mut self) -> String {
        self.numbered += 1;
        format!("45f7c92b-f45f-4862-8545-{:012x}", self.numbered)
    }
}
