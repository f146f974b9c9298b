//! What the handle of a store and its checkpoint thread share: reading, and the order of locks.
//!
//! Locks are taken in this order, never the other way round: checkpoint, apply, queue, view, memory. No lock is held while
//! anything is read from or written to a disk, but for the checkpoint's own.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::batch_record;
use super::checkpoint::Checkpoints;
use super::memory::Memory;
use super::view::View;
use super::write::Submitted;
use crate::error::Error;
use crate::journal::{Journal, JournalReader, Receipt};
use crate::position::Offset;
use crate::store::batch::WriteBatch;
use crate::store::error::{StoreError, StoreResult};
use crate::store::range::{Direction, KeyRange};
use crate::store::scan::Scan;

/// An open store.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) journal: Journal,
    pub(super) reader: JournalReader,
    /// The largest payload of a batch record.
    pub(super) batch_bytes_max: u64,
    /// Checkpoints have a thread of their own.
    pub(super) background: bool,
    pub(super) keep_journal: bool,
    pub(super) checkpoints: Mutex<Checkpoints>,
    /// Held by the one who brings what is durable into view.
    pub(super) apply: Mutex<()>,
    /// Handed to the journal and not in view, in the journal's order.
    pub(super) queue: Mutex<Queue>,
    /// So many submissions were dealt with. Stored (release) after the view has them; whoever sees it (acquire) sees them.
    pub(super) dealt_with: AtomicU64,
    pub(super) view: RwLock<View>,
    pub(super) memory: Memory,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Submitted>,
    /// So many were ever submitted.
    pub(super) submitted: u64,
}

impl Core {
    pub(super) fn get(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, u64)>> {
        self.journal.check_fork()?;
        let found = self.read_view().look_up(key);
        found.resolve(key)
    }

    pub(super) fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> StoreResult<Scan<'static>> {
        self.journal.check_fork()?;
        let view = self.read_view().clone();
        view.scan(range, direction, limit)
    }

    pub(super) fn read_view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_view(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The batch that stands in the journal at `offset`, its content hash checked.
pub(super) fn batch_at(reader: &JournalReader, offset: Offset) -> StoreResult<(Receipt, WriteBatch)> {
    let record = reader.read(offset)?;
    let receipt = Receipt { offset, hash: record.hash };
    if !record.has_right_hash() {
        reader.check_receipt(&receipt)?;
    }
    let batch = batch_record::decode(&record.payload).ok_or(StoreError::NotABatch { offset })?;
    Ok((receipt, batch))
}

/// A key that no store takes has no value.
pub(super) fn is_possible(key: &[u8]) -> bool {
    (1..=crate::store::kv::KEY_BYTES_MAX).contains(&key.len())
}

/// What those are told who come after a checkpoint failed.
#[cold]
pub(super) fn checkpoint_failed(first: StoreError) -> StoreError {
    match first {
        error @ (StoreError::CheckpointFailed { .. } | StoreError::Journal(Error::Closed)) => error,
        first => StoreError::CheckpointFailed { first: Arc::new(first) },
    }
}
