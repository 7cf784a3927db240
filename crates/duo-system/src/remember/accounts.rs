//! What is remembered of all accounts, for root's own programs.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use duo_policy::error::Error;

use super::{FOLDER, boot, is_open, now, read};
use crate::account_file::{self, Missing};
use crate::system_words;

/// The user ids of the accounts that have a file, in order.
///
/// # Errors
/// [`Error::Fault`] with the system's words.
pub fn accounts() -> Result<Vec<u32>, Error> {
    let failed = |error: std::io::Error| Error::fault("list the approvals", system_words(&error));
    let entries = match fs::read_dir(FOLDER) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(failed));
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    let uids = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    let mut uids: Vec<u32> = uids.collect();
    uids.sort_unstable();
    Ok(uids)
}

/// How many open connections of the account were approved less than `longest` ago.
///
/// # Errors
/// [`Error::Fault`] if the folder or the file is not root's alone, or with the system's words.
pub fn open_connections(uid: u32, longest: Duration) -> Result<usize, Error> {
    let Some(file) = account_file::open(Path::new(FOLDER), uid, Missing::Leave)? else {
        return Ok(0);
    };
    let read =
        read(&file).map_err(|error| Error::fault("read the approvals", system_words(&error)))?;
    let (Some(mut approvals), Some(boot)) = (read, boot()) else {
        return Ok(0);
    };
    approvals.forget_ended(&now(boot, longest)?, is_open);
    Ok(approvals.count())
}

/// Removes the account's file. A login that has opened it before writes to nobody's file.
///
/// # Errors
/// [`Error::Fault`] with the system's words.
pub fn forget(uid: u32) -> Result<(), Error> {
    let path = Path::new(FOLDER).join(uid.to_string());
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let path = path.display();
            Err(Error::fault(
                &format!("remove '{path}'"),
                system_words(&error),
            ))
        }
        _ => Ok(()),
    }
}
