//! `Follow`: records as they become durable, in the writer's process or another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::receipt::RecordRef;
use super::records::Records;
use super::sync::atomic::{AtomicBool, Ordering};
use crate::error::Result;
use crate::position::Offset;

/// Without a deadline the wait is done in slices of this; each ends early when the writer wakes it.
const SLICE: Duration = Duration::from_secs(1);

/// Records in the order of their offsets, waiting for more at the durable end. The writer wakes it where the watermark
/// file may be written; else it polls.
#[derive(Debug)]
pub struct Follow {
    records: Records,
    /// Set when the journal of this process was closed or failed: then there will be no more.
    ended: Option<Arc<AtomicBool>>,
}

impl Follow {
    pub(super) fn new(records: Records) -> Self {
        Self { records, ended: None }
    }

    #[cfg(feature = "group-commit")]
    pub(super) fn until(records: Records, ended: Arc<AtomicBool>) -> Self {
        Self { records, ended: Some(ended) }
    }

    /// Where the next record is looked for.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.records.offset()
    }

    /// The next record; waits for it. `None` only when the journal was opened for writing by this process, through
    /// whose handle this follows, and was closed or failed: there will be no more.
    ///
    /// # Errors
    /// As [`Records::next_ref`].
    pub fn next_ref(&mut self) -> Result<Option<RecordRef<'_>>> {
        while !self.wait(SLICE)? {
            if self.is_ended() && !self.advance()? {
                return Ok(None);
            } else if self.records.record().is_some() {
                break;
            }
        }
        Ok(self.records.record())
    }

    /// The next record, or `None` when there was none within `patience`.
    ///
    /// # Errors
    /// As [`Records::next_ref`].
    pub fn next_timeout(&mut self, patience: Duration) -> Result<Option<RecordRef<'_>>> {
        if self.wait(patience)? { Ok(self.records.record()) } else { Ok(None) }
    }

    /// Goes to the next record; `false` when there was none within `patience`, or there will be none.
    fn wait(&mut self, patience: Duration) -> Result<bool> {
        // Beyond what a clock can tell is as long as it takes.
        let deadline = Instant::now().checked_add(patience);
        loop {
            if self.advance()? {
                return Ok(true);
            }
            let left =
                deadline.map_or(patience, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.is_ended() {
                return Ok(false);
            }
            let reader = self.records.reader();
            reader.durable().wait_above(&*reader.disk(), self.records.offset().get(), left)?;
        }
    }

    fn advance(&mut self) -> Result<bool> {
        #[cfg(feature = "group-commit")]
        if self.is_ended() {
            return self.records.advance_published();
        }
        self.records.advance()
    }

    fn is_ended(&self) -> bool {
        // Acquire: pairs with the release in the commit thread's end; what was published before is seen after.
        self.ended.as_ref().is_some_and(|ended| ended.load(Ordering::Acquire))
    }
}
