//! Which queries are being put right now: whoever puts the same one waits, everybody else goes on.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// The queries whose audits are on their way.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    queries: Mutex<HashSet<[u8; 32]>>,
    /// Told when one has arrived.
    arrived: Condvar,
}

/// A query that this thread alone puts, until this is dropped.
pub(super) struct Reserved<'a> {
    in_flight: &'a InFlight,
    query_id: [u8; 32],
}

impl InFlight {
    /// Waits until nobody else puts this query.
    pub(super) fn reserve(&self, query_id: [u8; 32]) -> Reserved<'_> {
        // A set that a panicking thread left behind is whole: nothing is done to it but one insertion or removal.
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        while !queries.insert(query_id) {
            queries = self.arrived.wait(queries).unwrap_or_else(PoisonError::into_inner);
        }
        Reserved { in_flight: self, query_id }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut queries = self.in_flight.queries.lock().unwrap_or_else(PoisonError::into_inner);
        let was_there = queries.remove(&self.query_id);
        assert!(was_there, "a query was put by two threads at once");
        drop(queries);
        self.in_flight.arrived.notify_all();
    }
}
