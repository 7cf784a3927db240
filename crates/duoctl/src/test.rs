//! `test`: one real attempt for one user, through the same client, the same decisions and the same
//! conversation as a login, with the time of each step, so that one run says whether it is Duo, the
//! network or this machine. Nothing is run at its end, whatever Duo says.

mod steps;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duo_ask::{Claim, Subject};
use duo_net::connect::Route;
use duo_net::names::SystemNames;
use duo_net::{Client, Notice};
use duo_policy::api::Answered;
use duo_policy::clock::Deadlines;
use duo_policy::codes::NoCodes;
use duo_policy::config::{self, Config};
use duo_policy::error::Error;
use duo_policy::groups::{self, Gate, Reason};
use duo_policy::log_line;
use duo_policy::login::{AttemptLog, Login};
use duo_policy::verdict::{self, Demands, End};
use duo_system::account::Account;
use duo_system::alibi::alibi;
use duo_system::configuration::{self, Owners};
use duo_system::log::{Log, Sink};
use duo_system::privsep::{self, Caller, ChildEnds, Confined, Front, OpenFiles, Standing};
use duo_system::system_words;
use duo_system::wait::{SystemClock, Waiter};
use duo_wire::{Outcome as Came, Verdict, Who};
use nix::unistd::User;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::Test;
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::{Screen, Start, check, layout};
use steps::{Listening, Name, Shown, Step, Steps, Timed};

/// For the name service.
const NAMES: Duration = Duration::from_secs(10);

/// For trying each address.
const ADDRESSES: Duration = Duration::from_secs(20);

/// Addresses that are tried one by one.
const MOST_ADDRESSES: usize = 4;

/// A line on the verdict pipe.
#[derive(Serialize, Deserialize)]
enum ChildLine {
    Step(Step, Shown),
    Verdict(Verdict),
    /// What kept the attempt from being made.
    Refused(String),
}

/// Runs it.
pub fn run(wanted: &Test, start: &Start, report: &mut Report) -> Outcome {
    let program = layout::program();
    if start.standing == Standing::Own && check::is_the_machines(&program) {
        return Err(Failure::refused(
            "only root may try another user's login: run it with sudo",
        ));
    }
    match &wanted.service {
        Some(service) => {
            let config = config_of(service)?;
            report.say(format!("{service}: {}; no stack is run", config.display()));
            let wanted = Test {
                config,
                ..wanted.clone()
            };
            separated(&wanted, start, report)
        }
        None => separated(wanted, start, report),
    }
    .and_then(|verdict| judged(&verdict, report))
}

/// The attempt before `enable pam`: only Duo's own yes shows that whoever is asked gets in.
///
/// # Errors
/// Duo did not say yes.
pub fn must_be_let_in(wanted: &Test, start: &Start, report: &mut Report) -> Result<(), Failure> {
    let verdict = separated(wanted, start, report)?;
    judged(&verdict, report)?;
    match verdict.outcome {
        Came::Bypassed => Err(Failure::refused(format!(
            "'{}' is not asked, because of 'groups': --test-user with somebody who is",
            wanted.user
        ))),
        _ => Ok(()),
    }
}

/// The configuration of the line of pam_duo.so in a service of PAM.
fn config_of(service: &str) -> Result<PathBuf, Failure> {
    let mut asking = check::pam::asking().into_iter();
    let found = asking.find(|it| it.service == service);
    found.map(|it| it.config()).ok_or_else(|| {
        let text = format!("'{service}' does not ask Duo: duoctl enable pam {service}");
        Failure::Refused(text)
    })
}

/// The attempt, in a process without privileges.
fn separated(wanted: &Test, start: &Start, report: &mut Report) -> Result<Verdict, Failure> {
    let caller = Caller::of_this_process();
    let failed = |error: Error| Failure::refused(error.to_string());
    let user = privsep::privsep_user(start.standing).map_err(failed)?;
    let owners = Owners::of(start.standing, user.as_ref(), caller);
    let opened = configuration::open(&wanted.config, &owners)
        .map_err(|problem| Failure::refused(problem.at(&wanted.config)))?;
    if let Some(warning) = opened.warning {
        report.warn(warning.at(&wanted.config));
    }
    let ended = privsep::separate(
        start.standing,
        caller,
        user.as_ref(),
        OpenFiles::config(Some(opened.file)),
        Front::Session,
        |confined, ends| child(wanted, start, confined, ends),
    )
    .map(privsep::Parent::wait)
    .map_err(failed)?;
    let _ = start.inherited.restore_signals();

    let mut steps = Vec::new();
    let mut verdict = None;
    for line in String::from_utf8_lossy(&ended.records).lines() {
        match serde_json::from_str(line) {
            Ok(ChildLine::Step(step, shown)) => {
                if shown == Shown::Later {
                    report.say(step.line());
                }
                steps.push(step);
            }
            Ok(ChildLine::Verdict(told)) => verdict = Some(told),
            Ok(ChildLine::Refused(why)) => return Err(Failure::refused(why)),
            Err(_) => {
                return Err(Failure::refused(
                    "the process without privileges writes garbage",
                ));
            }
        }
    }
    report.put("steps", json!(steps));
    match (verdict, ended.end) {
        (Some(verdict), End::Exited(0)) => Ok(verdict),
        (None, _) if ended.left.is_some() => Err(Failure::refused("given up")),
        _ => Err(Failure::refused("the process without privileges died")),
    }
}

/// What the verdict means for a login.
fn judged(verdict: &Verdict, report: &mut Report) -> Outcome {
    report.put("outcome", json!(verdict.outcome.name()));
    report.put("detail", json!(verdict.detail));
    let detail = &verdict.detail;
    match verdict.outcome {
        Came::Successful => report.say(format!("Duo says yes ({detail}): a login is let in")),
        Came::Skipped => report.say(format!("Duo asks for no second factor: {detail}")),
        Came::Remembered => report.say(format!("not asked: {detail}")),
        Came::Bypassed => report.say("not asked: no pattern of groups takes this user"),
        Came::Failsafe => {
            let text = format!("a login is let in without Duo (failmode = safe): {detail}");
            return Err(Failure::refused(text));
        }
        Came::Failed | Came::Aborted | Came::Failsecure | Came::Error | Came::NoAccount => {
            return Err(Failure::refused(format!("a login is denied: {detail}")));
        }
    }
    Ok(Done::Unchanged)
}

/// The child's half, to its exit status.
fn child(wanted: &Test, start: &Start, confined: Confined, mut ends: ChildEnds) -> i32 {
    let (steps, told) = {
        let waiter = Waiter::new(&SystemClock, Some(&ends.life));
        let found = confined
            .map_err(|error| error.to_string())
            .and_then(|files| examine(wanted, start, files.config, &waiter));
        match found {
            Ok((steps, shown, verdict)) => {
                let steps: Vec<_> = steps
                    .into_iter()
                    .map(|step| ChildLine::Step(step, shown))
                    .collect();
                (steps, ChildLine::Verdict(verdict))
            }
            Err(why) => (Vec::new(), ChildLine::Refused(why)),
        }
    };
    let lines = steps.into_iter().chain([told]);
    let text: String = lines
        .map(|told| serde_json::to_string(&told).unwrap_or_default() + "\n")
        .collect();
    i32::from(ends.send(&text).is_err())
}

/// Everything up to the verdict; or why no attempt was made.
fn examine(
    wanted: &Test,
    start: &Start,
    file: Option<File>,
    waiter: &Waiter<'_>,
) -> Result<(Vec<Step>, Shown, Verdict), String> {
    let file = file.ok_or("the configuration is not open")?;
    let bytes = configuration::read(&file).map_err(|problem| problem.at(&wanted.config))?;
    let config = match config::parse(bytes.expose()) {
        Ok(parsed) => parsed.config,
        Err(broken) => {
            let problems = broken.problems.iter();
            let texts: Vec<_> = problems.map(|problem| problem.at(&wanted.config)).collect();
            return Err(texts.join("\n"));
        }
    };
    let (account, uid) = account(&wanted.user)?;
    let claim = Claim {
        subject: Subject::Uid(uid),
        objection: None,
        duo_user: wanted.duo_user.clone(),
        client: wanted.client.clone(),
        service: "ssh".to_owned(),
        terminal: None,
        command: None,
        passcode: None,
    };
    let terminal = wanted.common.terminal;
    let screen = Screen {
        charset: terminal.charset,
        is_capable: terminal.is_capable && !config.accessible,
    };
    let person = (start.converse)(screen, waiter);
    let steps = Steps::new(&*person, wanted.common.format);
    let verdict = attempt(&config, &account, &claim, &steps, waiter).unwrap_or_else(|error| {
        let stated = config.failmode_if_broken;
        let alibi = || alibi(waiter);
        let demands = Demands::without_codes(&alibi);
        verdict::of_error(&error, Answered::NotYet, stated, &demands)
    });
    let shown = steps.shown();
    Ok((steps.into_all(), shown, verdict))
}

fn account(name: &str) -> Result<(Account, u32), String> {
    let user = User::from_name(name)
        .map_err(|errno| {
            format!(
                "'{name}' cannot be looked up: {}",
                system_words(&errno.into())
            )
        })?
        .ok_or_else(|| format!("there is no user '{name}'"))?;
    let uid = user.uid.as_raw();
    let account = Account::of(uid).map_err(|error| error.to_string())?;
    Ok((account, uid))
}

/// The steps of a login, in their order.
fn attempt(
    config: &Config,
    account: &Account,
    claim: &Claim,
    steps: &Steps<'_>,
    waiter: &Waiter<'_>,
) -> Result<Verdict, Error> {
    let begun = Instant::now();
    let gate = groups::gate(config.groups.as_ref(), account)
        .map_err(|error| Error::Fault(error.to_string()))?;
    let (duo_user, _) = account.duo_name(claim.duo_user.as_deref(), &config.gecos);
    let asked = match &gate {
        Gate::Pass => "groups leaves this user out".to_owned(),
        Gate::Ask(Reason::Doubt(why)) => format!("asked, in doubt: {why}"),
        Gate::Ask(Reason::Everybody | Reason::Matched) => format!("'{duo_user}' to Duo"),
    };
    steps.add(Name::Account, begun.elapsed(), asked);
    if matches!(gate, Gate::Pass) {
        return Ok(Verdict::new(Came::Bypassed, &account.name));
    }
    let deadlines = Deadlines::default();
    let way = reach(config, &deadlines, steps, waiter)?;

    let who = Who {
        duo_user,
        client: claim.client.clone(),
        ..Who::unknown()
    };
    let notice = |notice: &Notice| {
        if let Notice::RateLimited(wait) = notice {
            let text = "Duo is busy with too many requests: waiting".to_owned();
            steps.add(Name::Busy, *wait, text);
        }
    };
    let whom = duo_ask::person(claim, &who.duo_user, config);
    let mut duo = Client::new(config, whom, &deadlines, waiter, &notice)?;
    if way == Way::Open {
        clock(&mut duo, steps);
    }
    let lines = Lines { who: &who };
    let login = Login {
        config,
        user: &who.duo_user,
        passcode: None,
        deadlines: &deadlines,
        clock: &SystemClock,
        approved: &|| None,
        alibi: &|| alibi(waiter),
        codes: &NoCodes("a login asks for an emergency code, which is not tried here"),
    };
    let mut timed = Timed::new(&mut duo, steps);
    let verdict = login.run(&mut timed, &Listening { steps }, &lines);
    lines.end(&verdict);
    Ok(verdict)
}

/// Whether an address of Duo's was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Closed,
}

/// The way to Duo, address by address. Only a name without an address ends it: what else fails here
/// fails in the attempt too, which has the better words for it.
fn reach(
    config: &Config,
    deadlines: &Deadlines,
    steps: &Steps<'_>,
    waiter: &Waiter<'_>,
) -> Result<Way, Error> {
    let route = Route::new(config, deadlines, Arc::new(SystemNames), waiter)?;
    let begun = Instant::now();
    let next = config
        .http_proxy
        .as_ref()
        .map_or(&config.host, |proxy| &proxy.host);
    let mut addresses = match route.addresses(begun + NAMES) {
        Ok(addresses) => addresses,
        Err(error) => {
            steps.add(Name::Resolve, begun.elapsed(), error.to_string());
            return Ok(Way::Closed);
        }
    };
    let told: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    let through = match config.http_proxy {
        Some(_) => " (the proxy)",
        None => "",
    };
    let text = format!("{}{through} is {}", next.name, told.join(", "));
    steps.add(Name::Resolve, begun.elapsed(), text);
    addresses.truncate(MOST_ADDRESSES);
    let until = Instant::now() + ADDRESSES;
    let mut way = Way::Closed;
    for reached in check::reach(config, deadlines, &addresses, until) {
        let address = reached.address;
        match &reached.tcp {
            Ok(took) => steps.add(Name::Connect, *took, address.to_string()),
            Err(error) => steps.add(Name::Connect, Duration::ZERO, format!("{address}: {error}")),
        }
        match &reached.tls {
            Some(Ok(handshake)) => {
                way = Way::Open;
                steps.add(Name::Tls, handshake.took, handshake.version.to_owned());
            }
            Some(Err(error)) => steps.add(Name::Tls, Duration::ZERO, error.to_string()),
            None => {}
        }
    }
    Ok(way)
}

/// Opens the connection that the attempt will use, so that its own steps are Duo's time alone.
fn clock(duo: &mut Client<'_>, steps: &Steps<'_>) {
    let begun = Instant::now();
    let text = match duo.ping() {
        Ok(0) => "this machine's clock is Duo's".to_owned(),
        Ok(offset) if offset < 0 => format!("this machine's clock is {} s ahead", -offset),
        Ok(offset) => format!("this machine's clock is {offset} s behind"),
        Err(error) => error.to_string(),
    };
    steps.add(Name::Clock, begun.elapsed(), text);
}

/// The log of an attempt that is no login: each line says so, since whoever counts logins counts
/// lines.
struct Lines<'a> {
    who: &'a Who,
}

impl Lines<'_> {
    fn log(text: &str) {
        Log::open(crate::IDENTITY, Sink::Syslog).info(&format!("test: {text}"));
    }

    fn end(&self, verdict: &Verdict) {
        Lines::log(&log_line::of_verdict(verdict, self.who));
    }
}

impl AttemptLog for Lines<'_> {
    fn asking(&self) -> Result<(), Error> {
        Lines::log(&log_line::of_asking(self.who));
        Ok(())
    }

    fn failed(&self, attempt: &Verdict) -> Result<(), Error> {
        Lines::log(&log_line::of_verdict(attempt, self.who));
        Ok(())
    }
}
