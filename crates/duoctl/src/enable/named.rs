//! The names that were given: a slip would leave somebody out.

use crate::cli::{Enable, Whom};
use crate::outcome::Failure;
use crate::ssh::effect::exists;

/// Refuses groups and accounts that are not there.
///
/// # Errors
/// The first one.
pub fn exist(wanted: &Enable) -> Result<(), Failure> {
    let missing = |what: &str, name: &str| Failure::Refused(format!("there is no {what} '{name}'"));
    let is_pattern = |name: &str| name.contains(['*', '?', '!']);
    let mut users: Vec<&str> = wanted.exempt.iter().map(String::as_str).collect();
    match &wanted.whom {
        Whom::Everybody => {}
        Whom::Group(group) if is_pattern(group) || exists("group", group) => {}
        Whom::Group(group) => return Err(missing("group", group)),
        Whom::Users(list) => {
            let names = list.split(',').filter(|name| !name.is_empty());
            users.extend(names.filter(|name| !is_pattern(name)));
        }
    }
    match users.into_iter().find(|user| !exists("passwd", user)) {
        Some(user) => Err(missing("account", user)),
        None => Ok(()),
    }
}
