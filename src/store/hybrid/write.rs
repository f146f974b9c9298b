//! Writing: a batch becomes a journal record, and is brought into view when that is durable.
//!
//! Guarantees: nothing is in view that is not durable; batches come into view whole and in the journal's order; a write
//! that returns is in view. Must not know: the index.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use super::batch_record::{encode, encoded_bytes, places};
use super::core::{Core, Queue};
use super::table::Version;
use crate::journal::{Receipt, Ticket};
use crate::store::batch::WriteBatch;
use crate::store::error::{StoreError, StoreResult};
use crate::store::kv::Written;

/// What an entry takes besides its part of the record: its place in a leaf that may be half empty, and its part of the
/// nodes above.
const ENTRY_BYTES: usize = 128;
/// What a record takes besides its bytes and entries.
const RECORD_BYTES: usize = 64;
/// Whoever finds another thread bringing a whole commit into view gives it the processor so often before it sleeps:
/// sleeping and waking cost more than that thread needs.
const YIELDS: u32 = 64;

/// A batch that was handed to the journal.
#[derive(Debug)]
pub(super) struct Submitted {
    ticket: Arc<Ticket>,
    record: Arc<[u8]>,
    cost: usize,
}

/// What a batch record of so many operations takes in memory until it is checkpointed.
pub(super) fn cost(payload_bytes: usize, ops: usize) -> usize {
    payload_bytes.saturating_add(ops.saturating_mul(ENTRY_BYTES)).saturating_add(RECORD_BYTES)
}

impl Core {
    pub(super) fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        // Before anything is waited for that only the parent has.
        self.journal.check_fork()?;
        batch.check_keys()?;
        if batch.is_empty() {
            return Ok(Written::default());
        }
        let (bytes, max) = (encoded_bytes(&batch), self.batch_bytes_max);
        let cost = cost(usize::try_from(bytes).unwrap_or(usize::MAX), batch.len());
        if bytes > max {
            return Err(StoreError::TooLarge { bytes, max });
        }
        if cost > self.memory.bytes_max() / 2 {
            return Err(StoreError::TooLarge {
                bytes: cost as u64,
                max: (self.memory.bytes_max() / 2) as u64,
            });
        }
        // Before the batch is copied: whoever waits for room holds nothing but the batch.
        self.reserve(cost)?;
        let payload = encode(&batch);
        drop(batch);
        let record: Arc<[u8]> = payload.as_slice().into();
        if cfg!(ringwal_zoo = "shown_before_it_is_durable") {
            self.write_view().show_early(&record, usize::MAX);
        }
        let hashed = self.journal.hash(payload).inspect_err(|_| self.memory.give_back(cost))?;
        let (ticket, number) = {
            let mut queue = self.lock_queue();
            // Under the lock, so that the queue's order is the journal's.
            let ticket = match self.journal.submit_hashed(hashed) {
                Ok(ticket) => Arc::new(ticket),
                Err(error) => {
                    self.memory.give_back(cost);
                    return Err(error.into());
                }
            };
            queue.waiting.push_back(Submitted { ticket: Arc::clone(&ticket), record, cost });
            queue.submitted += 1;
            (ticket, queue.submitted)
        };
        let outcome = ticket.wait_shared();
        self.bring_into_view(number, outcome.is_ok());
        let receipt = outcome?;
        if !self.background && self.memory.is_due() {
            // What it comes to is told by the next write that finds no room, and by `flush`.
            let _ = self.checkpoint();
        }
        Ok(Written::new(Some(receipt)))
    }

    fn reserve(&self, cost: usize) -> StoreResult<()> {
        if self.background {
            return self.memory.reserve(cost);
        }
        while !self.memory.try_reserve(cost)? {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Returns when the submission of that number is in view, or at once when it never will be.
    fn bring_into_view(&self, number: u64, is_durable: bool) {
        let mut yields = 0;
        while self.dealt_with.load(Ordering::Acquire) < number {
            let _turn = match self.apply.try_lock() {
                Ok(turn) => turn,
                Err(TryLockError::WouldBlock) if yields < YIELDS => {
                    yields += 1;
                    std::thread::yield_now();
                    continue;
                }
                Err(_) => self.apply.lock().unwrap_or_else(PoisonError::into_inner),
            };
            self.apply_answered();
            if !is_durable {
                // Those before may have no answer yet; whoever waits for them goes on from there.
                return;
            }
        }
    }

    /// Brings every batch into view whose record, and those of all before it, were answered.
    fn apply_answered(&self) {
        let (mut durable, mut refused_cost, mut taken) = (Vec::new(), 0, 0);
        {
            let mut queue = self.lock_queue();
            while let Some(front) = queue.waiting.front() {
                let answer = match front.ticket.try_wait() {
                    Ok(None) => break,
                    Ok(Some(receipt)) => Some(receipt),
                    Err(_) => None,
                };
                let Some(front) = queue.waiting.pop_front() else { break };
                taken += 1;
                match answer {
                    Some(receipt) => durable.push((receipt, front)),
                    None => refused_cost += front.cost,
                }
            }
        }
        if !durable.is_empty() {
            let mut view = self.write_view();
            for (receipt, Submitted { record, cost, .. }) in durable {
                if cfg!(ringwal_zoo = "batch_shown_in_part") {
                    view.show_early(&record, 1);
                    drop(view);
                    std::thread::yield_now();
                    view = self.write_view();
                }
                view.put(&receipt, &record);
                self.memory.applied(cost);
            }
        }
        if refused_cost > 0 {
            self.memory.give_back(refused_cost);
        }
        self.dealt_with.fetch_add(taken, Ordering::Release);
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl super::view::View {
    /// Adds the batch of a sound record to what is seen.
    pub(super) fn put(&mut self, receipt: &Receipt, record: &Arc<[u8]>) {
        let origin = receipt.offset.get();
        assert!(origin >= self.end, "a batch out of the journal's order");
        for place in places(record).expect("a record that was encoded or found sound") {
            self.active.put(Version::new(Arc::clone(record), place, origin));
        }
        self.end = receipt.end(record.len()).get();
        self.last = Some(*receipt);
    }

    /// Bugs on purpose: so many operations of a batch before their turn.
    fn show_early(&mut self, record: &Arc<[u8]>, ops: usize) {
        for place in places(record).into_iter().flatten().take(ops) {
            self.active.put(Version::new(Arc::clone(record), place, self.end));
        }
    }
}
