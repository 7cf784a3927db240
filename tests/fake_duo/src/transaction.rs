//! A transaction: what a login asked of a person, and what becomes of it.

use crate::attempt::Status;
use crate::details::Details;
use crate::factor::Factor;
use std::time::Instant;

/// One `/auth`.
pub struct Transaction {
    /// Counted from 1 in the order of `/auth`.
    pub number: usize,
    pub user: String,
    pub factor: Factor,
    pub details: Details,
    /// `None`: when a test settles it.
    pub steps: Vec<(Option<Instant>, Status)>,
    /// How many of them the client has had.
    pub delivered: usize,
    /// The person typed a code that was not that of the verified push.
    pub has_wrong_code: bool,
}

/// What a look at a transaction found.
pub enum News {
    /// This status, which is so many of them.
    Now(usize, Status),
    /// Nothing before this moment, if there is one.
    At(Option<Instant>),
}

impl Transaction {
    /// The next status that the client has not had; after `deadline`, or when there is no further one, the last again.
    pub fn news(&self, now: Instant, deadline: Option<Instant>) -> News {
        let had = self.delivered;
        let is_late = deadline.is_some_and(|deadline| deadline <= now);
        let last = had.checked_sub(1).and_then(|last| self.steps.get(last));
        match (self.steps.get(had), last) {
            (Some((Some(due), status)), _) if *due <= now => News::Now(had + 1, status.clone()),
            (_, Some((_, last))) if is_late || !last.is_waiting() => News::Now(had, last.clone()),
            (next, _) => News::At(next.and_then(|(due, _)| *due)),
        }
    }

    /// How it stands now, whether or not the client has heard of it.
    pub fn status(&self, now: Instant) -> Option<&Status> {
        let mut due = self.steps.iter().filter(|step| is_due(step, now));
        due.next_back().map(|(_, status)| status)
    }

    /// Whether the person has still to answer.
    pub fn is_waiting(&self, now: Instant) -> bool {
        self.status(now).is_none_or(Status::is_waiting)
    }

    /// When the next step falls due.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let due = self.steps.iter().filter_map(|(due, _)| *due);
        due.filter(|due| *due > now).min()
    }

    /// Ends it if it is waiting; whether it was.
    pub fn settle(&mut self, now: Instant, verdict: Status) -> bool {
        if !self.is_waiting(now) {
            return false;
        }
        self.steps.retain(|step| is_due(step, now));
        self.steps.push((Some(now), verdict));
        true
    }
}

fn is_due((due, _): &(Option<Instant>, Status), now: Instant) -> bool {
    due.is_some_and(|due| due <= now)
}
