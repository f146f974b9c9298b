//! Ranges of keys: of one agent, of all agents, of one subject, between two times; of ids that begin alike.

use std::ops::Bound;

use super::key::{AGENT, RECORD, SEPARATOR, SUBJECT, TIME, TRAIL, big_endian};
use crate::position::Hash;
use crate::store::KeyRange;

/// The index entries of an agent from one time to another, both included; `to: None` is without end.
#[must_use]
pub fn agent_range(agent_id: &[u8; 32], from: u64, to: Option<u64>) -> KeyRange {
    between(&[AGENT, agent_id, &[SEPARATOR]].concat(), from, to)
}

/// The index entries of all agents from one agent id on.
#[must_use]
pub fn agent_from(agent_id: &[u8; 32]) -> KeyRange {
    let all = KeyRange::prefix(AGENT);
    KeyRange::new(Bound::Included(&[AGENT, agent_id].concat()), all.upper())
}

/// The entries of the time index from one time to another, both included; `to: None` is without end.
#[must_use]
pub fn time_range(from: u64, to: Option<u64>) -> KeyRange {
    between(TIME, from, to)
}

/// The index entries of a subject from one time to another, both included; `to: None` is without end.
#[must_use]
pub fn subject_range(subject: &Hash, from: u64, to: Option<u64>) -> KeyRange {
    between(&[SUBJECT, subject.as_bytes(), &[SEPARATOR]].concat(), from, to)
}

/// The records of the queries from one id to another, both included.
#[must_use]
pub fn record_range(from: &[u8; 32], to: &[u8; 32]) -> KeyRange {
    KeyRange::new(Bound::Included(&[RECORD, from].concat()), Bound::Included(&[RECORD, to].concat()))
}

/// Every key that begins as the trail's keys do: records, index entries, and whatever else somebody put there.
#[must_use]
pub fn trail() -> KeyRange {
    KeyRange::prefix(TRAIL)
}

/// The keys behind `prefix` whose time is in the range.
fn between(prefix: &[u8], from: u64, to: Option<u64>) -> KeyRange {
    let lower = [prefix, &big_endian(from)].concat();
    let whole = KeyRange::prefix(prefix);
    match to.unwrap_or(u64::MAX).checked_add(1) {
        Some(behind) => {
            let upper = [prefix, &big_endian(behind)].concat();
            KeyRange::new(Bound::Included(&lower), Bound::Excluded(&upper))
        }
        None => KeyRange::new(Bound::Included(&lower), whole.upper()),
    }
}
