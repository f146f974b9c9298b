//! Tickets: waiting for the acknowledgement of what was submitted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::receipt::Receipt;
use super::rounds::Slot;
use super::sync::Instant;
use crate::disk::fork_count;
use crate::error::{Error, Result};
use crate::position::{Hash, Offset};

/// A record that was submitted. Dropping the ticket changes nothing: the record becomes durable all the same.
#[must_use = "a record is known to be durable only when its ticket says so"]
pub struct Ticket {
    slot: Arc<Slot>,
    hash: Hash,
    /// A child after a fork has no commit thread that would answer.
    forks: u32,
}

impl Ticket {
    pub(super) fn new(slot: Arc<Slot>, hash: Hash) -> Self {
        Self { slot, hash, forks: fork_count() }
    }

    /// Waits until the record is durable.
    ///
    /// # Errors
    /// [`Error::DiskFull`] and [`Error::Io`]: the record will never appear. [`Error::Failed`]: whether it is durable is not
    /// known.
    /// [`Error::Closed`]: it will never appear. [`Error::Forked`]: this process is a fork of the one that submitted the
    /// record, and the answer had not come before.
    pub fn wait(self) -> Result<Receipt> {
        self.wait_shared()
    }

    /// As [`wait`](Self::wait), for tickets that several look at.
    pub(crate) fn wait_shared(&self) -> Result<Receipt> {
        if self.is_forked() {
            return self.try_wait()?.ok_or(Error::Forked);
        }
        self.receipt(self.slot.wait())
    }

    /// Waits at most `patience`; `None` when the record was not known to be durable by then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, patience: Duration) -> Result<Option<Receipt>> {
        if self.is_forked() {
            return self.try_wait()?.map_or(Err(Error::Forked), |receipt| Ok(Some(receipt)));
        }
        let deadline = Instant::now().checked_add(patience);
        self.slot.wait_until(deadline).map(|answer| self.receipt(answer)).transpose()
    }

    /// The receipt if the record is durable now.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<Option<Receipt>> {
        self.slot.answer_now().map(|answer| self.receipt(answer)).transpose()
    }

    /// blake3 of the payload.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    fn is_forked(&self) -> bool {
        fork_count() != self.forks
    }

    fn receipt(&self, answer: Result<u64>) -> Result<Receipt> {
        answer.map(|offset| Receipt { offset: Offset::new(offset), hash: self.hash })
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("answer", &self.slot.answer_now())
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// Why `try_submit` did not take a payload; gives it back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySubmitError {
    /// The queue is full: the commit thread is behind.
    #[error("the queue is full; try again later, or use `submit`, which waits")]
    Full {
        /// The payload.
        payload: Vec<u8>,
    },
    /// The journal does not take the payload.
    #[error("{error}")]
    Refused {
        /// The payload.
        payload: Vec<u8>,
        /// Why.
        #[source]
        error: Error,
    },
}
