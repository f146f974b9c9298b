//! Checkpoints: the memory table goes into the index, then the store's cursor moves, then the journal is cleaned up.
//!
//! Guarantees: the cursor is never ahead of the index; writers and readers go on meanwhile; after an index commit that
//! failed nothing is written to the index any more, and nothing is lost: memory and the journal have it. Must not know:
//! how a batch becomes durable.

use std::sync::{Arc, PoisonError};

use super::core::{Core, checkpoint_failed};
use super::index::{Index, IndexState};
use super::table::Table;
use crate::disk::Disk;
use crate::error::Error;
use crate::journal::{CursorKind, Cursors};
use crate::position::Offset;
use crate::store::error::StoreResult;

/// The store's own cursor: everything below is in the index.
pub(super) const CURSOR: &str = "store";
/// Stays at the journal's beginning: the store keeps its journal, whatever later openings say.
pub(super) const KEEP_CURSOR: &str = "keep-journal";

/// What only a checkpoint touches.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// `None` when the store is closed.
    pub(super) index: Option<Index>,
    pub(super) cursors: Cursors,
    /// Where the cursor stands.
    pub(super) cursor: u64,
    /// The directory of the index is open, and with it what its path leads to.
    pub(super) _store: Arc<dyn Disk>,
}

impl Core {
    /// Brings everything that is in view into the index.
    pub(super) fn checkpoint(&self) -> StoreResult<()> {
        // The index is the parent's, and a lock may be held by a thread that a forked child does not have.
        self.journal.check_fork()?;
        let mut checkpoints = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = self.memory.failure() {
            return Err(failed);
        }
        if cfg!(ringwal_zoo = "cursor_moved_before_the_index") {
            let end = self.read_view().end;
            checkpoints.clean_up(self, end)?;
        }
        let index = checkpoints.index.as_ref().ok_or(Error::Closed)?;
        // A cursor that is behind an index that this opening has found, not made: what was found may be in the cache only. Behind is
        // it too where the last cleanup failed.
        let is_behind = !self.keep_journal && checkpoints.cursor < self.read_view().index.state().applied;
        if let Some((frozen, state, bytes)) = self.freeze(is_behind) {
            if cfg!(ringwal_zoo = "frozen_table_dropped_before_the_index_has_it") {
                self.write_view().frozen = None;
            }
            let brought = index.apply(&frozen, state).and_then(|()| index.generation());
            let generation = match brought {
                Ok(generation) => Arc::new(generation),
                Err(error) => {
                    // The frozen table stays in view: whether the index has it is not known.
                    let error = checkpoint_failed(error);
                    self.memory.fail(error.clone());
                    return Err(error);
                }
            };
            let outdated = {
                let mut view = self.write_view();
                if cfg!(ringwal_zoo = "checkpoint_drops_what_came_meanwhile") {
                    view.active = Table::new();
                }
                (std::mem::replace(&mut view.index, generation), view.frozen.take())
            };
            // Takes a while for a large table.
            drop((outdated, frozen));
            self.memory.give_back(bytes);
        }
        let applied = self.read_view().index.state().applied;
        checkpoints.clean_up(self, applied)
    }

    /// Makes the active table the frozen one, and says what the index is with it; `None` when it is empty, unless it is
    /// wanted all the same.
    fn freeze(&self, is_wanted: bool) -> Option<(Table, IndexState, usize)> {
        let mut view = self.write_view();
        if view.active.is_empty() && !is_wanted {
            return None;
        }
        assert!(view.frozen.is_none(), "two checkpoints at the same time");
        let frozen = std::mem::replace(&mut view.active, Table::new());
        view.frozen = Some(frozen.clone());
        // With the view held: what is applied later counts for the next table.
        let state = IndexState { id: self.journal.journal_id(), applied: view.end, last: view.last };
        Some((frozen, state, self.memory.freeze()))
    }

    /// What the checkpoint thread does until the store closes.
    pub(super) fn checkpoint_when_due(&self) {
        while self.memory.wait_for_work() {
            // A failure is told to writers that find no room, to `flush` and to `close`. Where only the cleanup behind
            // the checkpoint failed, the next one does it again.
            let _ = self.checkpoint();
        }
    }
}

impl Checkpoints {
    /// Moves the cursor up to what is in the index, and has the journal remove what nobody needs.
    fn clean_up(&mut self, core: &Core, applied: u64) -> StoreResult<()> {
        if core.keep_journal || self.cursor >= applied {
            return Ok(());
        }
        self.cursors.set(CURSOR, Offset::new(applied), CursorKind::Pinned)?;
        core.journal.cleanup()?;
        // Where the cleanup failed, the next one is to do it again.
        self.cursor = applied;
        Ok(())
    }
}
