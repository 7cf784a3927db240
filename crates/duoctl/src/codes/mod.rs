//! `codes`: emergency codes, made before they are needed (docs/emergency.md). They are shown
//! once, on stdout alone: not in a log, an argument or another file.

mod page;
mod store;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use duo_policy::codes::{CODE, Code, SALT, file_of};
use duo_system::system_words;
use nix::unistd::{Uid, User};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::{Codes, Common, Format, PrintStyle, Questions, Task};
use crate::outcome::{Done, Failure, Outcome, Report};
use crate::question::{Reply, ask};
use crate::{Start, needs_root};
use store::Store;
pub use store::{Count, Counts, counts};

/// Runs it.
pub fn run(wanted: &Codes, start: &Start, report: &mut Report) -> Outcome {
    needs_root(start)?;
    let _ = start.inherited.restore_signals();
    match &wanted.task {
        Task::Create { user, count, style } => create(user, *count, *style, &wanted.common, report),
        Task::List { user } => list(user.as_deref(), report),
        Task::Revoke { user } => revoke(user, report),
    }
}

/// Makes codes. They are printed before they count: if nobody gets to read them, the old
/// ones stay.
fn create(
    name: &str,
    count: usize,
    style: PrintStyle,
    common: &Common,
    report: &mut Report,
) -> Outcome {
    let account = found(name)?
        .ok_or_else(|| Failure::refused(format!("there is no user '{name}' on this machine")))?;
    let uid = account.uid.as_raw();
    may_void(&account.name, uid, common.questions)?;
    let codes = random_codes(count)?;
    let texts: Vec<_> = codes.iter().map(|(code, _)| code.text()).collect();
    let store = Store::open_or_make()?;
    let new = store.write(uid, &file_of(&codes))?;
    match common.format {
        Format::Text => {
            let text = match style {
                PrintStyle::List => page::list(&account.name, &texts),
                PrintStyle::Page => page::page(&account.name, &texts),
            };
            print(&text)?;
        }
        Format::Json => {
            let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
            report.put("user", json!(account.name));
            report.put("uid", json!(uid));
            report.put("codes", json!(texts));
            if let Some(object) = report.object_before_the_last_step(Done::Changed) {
                print(&Zeroizing::new(object))?;
            }
        }
    }
    match new.put_in_place() {
        Ok(None) => {}
        Ok(Some(warning)) => report.warn(warning),
        Err(why) => {
            let text = format!("{why}: the codes that were printed are void");
            return Err(Failure::refused(text));
        }
    }
    Ok(Done::Changed)
}

/// Asks before codes are void that the person may have on paper still. Programs are not asked.
fn may_void(name: &str, uid: u32, questions: Questions) -> Result<(), Failure> {
    let unused = match counts()?.get(&uid) {
        Some(Ok(Count { left: 0, .. }) | Err(_)) | None => return Ok(()),
        Some(Ok(Count { left: 1, .. })) => "1 unused code; it is".to_owned(),
        Some(Ok(Count { left, .. })) => format!("{left} unused codes; they are"),
    };
    let question = format!("{name} has {unused} void once there are new ones. Go on?");
    match ask(&question, questions) {
        Reply::Yes | Reply::NobodyThere => Ok(()),
        Reply::No => Err(Failure::refused("nothing has changed")),
    }
}

/// The account of this name.
fn found(name: &str) -> Result<Option<User>, Failure> {
    User::from_name(name).map_err(|errno| {
        Failure::refused(format!(
            "'{name}' cannot be looked up: {}",
            system_words(&errno.into())
        ))
    })
}

/// So many codes of the kernel's random bytes, each with a salt.
fn random_codes(count: usize) -> Result<Vec<(Code, [u8; SALT])>, Failure> {
    let mut codes = Vec::with_capacity(count);
    for _ in 0..count {
        let mut code = Zeroizing::new([0; CODE]);
        let mut salt = [0; SALT];
        fill(code.as_mut())?;
        fill(&mut salt)?;
        codes.push((Code::of(code), salt));
    }
    Ok(codes)
}

/// The kernel gives so few bytes at once or not at all.
fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    let wanted = bytes.len();
    match getrandom(bytes, GetRandomFlags::empty()) {
        Ok(count) if count == wanted => Ok(()),
        Ok(_) => Err(Failure::refused("the kernel gives too few random bytes")),
        Err(errno) => {
            let why = system_words(&errno.into());
            Err(Failure::refused(format!("no random bytes: {why}")))
        }
    }
}

/// Writes to stdout without a buffer, which nobody would overwrite. A file is written down to
/// the disk, since some file systems tell only then that there is no room.
fn print(text: &str) -> Result<(), Failure> {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    let written = stdout.map(File::from).and_then(|mut stdout| {
        stdout.write_all(text.as_bytes())?;
        match stdout.sync_data() {
            // A pipe or a terminal.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    });
    written.map_err(|error| {
        let why = system_words(&error);
        Failure::refused(format!(
            "the codes cannot be printed, so they are void, and those of before stay: {why}"
        ))
    })
}

fn list(name: Option<&str>, report: &mut Report) -> Outcome {
    let wanted = name.map(uid_of).transpose()?;
    let mut accounts = Vec::new();
    for (uid, count) in counts()? {
        if wanted.is_some_and(|wanted| wanted != uid) {
            continue;
        }
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let user = user.map(|user| user.name);
        let shown = match &user {
            Some(user) => format!("{user} (user id {uid})"),
            None => format!("no account (user id {uid})"),
        };
        match count {
            Ok(Count { left, made }) => {
                report.say(format!("{shown}: {left} of {made} left"));
                accounts.push(json!({"user": user, "uid": uid, "left": left, "made": made}));
            }
            Err(why) => {
                report.warn(format!("{shown}: no codes: {why}"));
                accounts.push(json!({"user": user, "uid": uid, "error": why}));
            }
        }
    }
    if accounts.is_empty() {
        report.say(match name {
            Some(name) => format!("{name}: no emergency codes (duoctl codes create {name})"),
            None => "nobody has emergency codes (duoctl codes create USER)".to_owned(),
        });
    }
    report.put("accounts", json!(accounts));
    Ok(Done::Unchanged)
}

fn revoke(name: &str, report: &mut Report) -> Outcome {
    let uid = uid_of(name)?;
    let removed = match Store::open()? {
        Some(store) => store.remove(uid)?,
        None => None,
    };
    let Some(warning) = removed else {
        report.say(format!("{name} has no emergency codes"));
        return Ok(Done::Unchanged);
    };
    warning.into_iter().for_each(|warning| report.warn(warning));
    report.say(format!("{name} has no emergency codes any more"));
    Ok(Done::Changed)
}

/// The user id of this name, or this number: codes may outlive their account.
fn uid_of(name: &str) -> Result<u32, Failure> {
    match (found(name)?, name.parse()) {
        (Some(user), _) => Ok(user.uid.as_raw()),
        (None, Ok(uid)) => Ok(uid),
        (None, Err(_)) => Err(Failure::refused(format!(
            "there is no user '{name}' on this machine; 'duoctl codes list' shows user ids"
        ))),
    }
}
