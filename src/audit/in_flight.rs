//! Which queries are being put right now: whoever puts the same one waits, everybody else goes on.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::Error;

/// The queries whose audits are on their way.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The process whose threads these are.
    process: u32,
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
    pub(super) fn new() -> Self {
        Self { process: std::process::id(), queries: Mutex::default(), arrived: Condvar::new() }
    }

    /// Waits until nobody else puts this query.
    ///
    /// # Errors
    /// [`Error::Forked`]: the threads that put something when the process was forked are not there to end it.
    pub(super) fn reserve(&self, query_id: [u8; 32]) -> Result<Reserved<'_>, Error> {
        if std::process::id() != self.process {
            return Err(Error::Forked);
        }
        // A set that a panicking thread left behind is whole: nothing is done to it but one insertion or removal.
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        while !queries.insert(query_id) {
            queries = self.arrived.wait(queries).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(Reserved { in_flight: self, query_id })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by reading: a forked child waited for a thread of its parent.
    #[test]
    fn a_child_does_not_wait_for_its_parents_threads() {
        let mut in_flight = InFlight::new();
        std::mem::forget(in_flight.reserve([1; 32]).expect("its own process"));
        in_flight.process += 1;
        assert!(matches!(in_flight.reserve([1; 32]), Err(Error::Forked)));
    }
}
