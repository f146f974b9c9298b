//! `HybridReader`: a store for those who only read, beside the writer or without one.
//!
//! Guarantees: shows one moment's state, says which, and goes on only when told to; never shows what a power cut could
//! take back; changes nothing. Must not know: the writer.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::core::{batch_at, is_possible};
use super::index::{Generation, INDEX, IndexReader};
use super::open::{JOURNAL, check_last};
use super::options::HybridOptions;
use super::view::View;
use crate::disk::native::NativeDisk;
use crate::disk::{Folder, ReadDisk, fork_count};
use crate::error::Error;
use crate::journal::{JournalReader, Receipt};
use crate::position::Offset;
use crate::store::batch::WriteBatch;
use crate::store::error::{StoreError, StoreResult};
use crate::store::journaled::JournaledStore;
use crate::store::kv::{KvStore, Written};
use crate::store::range::{Direction, KeyRange};
use crate::store::scan::Scan;

/// While an index and the journal behind it are read, the writer can make a checkpoint and clean up; so often in a row is
/// taken for damage.
const TRIES: u32 = 100;

/// A store open for reading. Shows the state of the moment when it was opened or [refreshed](Self::refresh) last: all
/// that was durable then. Needs read permission only.
///
/// After a writer that was killed it shows what the next one will find, and changes nothing. When that next one comes,
/// reads that need the index answer [`StoreError::IndexChanged`] until the reader was refreshed; what is in memory is shown
/// as before. A forked child opens a reader of its own: reads and refreshes of its parent's answer [`Error::Forked`].
///
/// It keeps in memory what the writer has not checkpointed, so as much as the writer does, and never more than its own
/// [`memory_bytes_max`](HybridOptions::memory_bytes_max); where there is no index, everything that the journal holds. What
/// is more is refused, with what to do. (A refresh has the old state and the new one for a moment; the cache of the index
/// comes on top.)
#[derive(Debug)]
pub struct HybridReader {
    disk: Arc<dyn ReadDisk>,
    journal: JournalReader,
    index_cache_bytes: usize,
    memory_bytes_max: usize,
    source: Mutex<Source>,
    view: RwLock<View>,
    forks: u32,
}

/// What a reader's view is made from.
#[derive(Debug)]
struct Source {
    /// `None` while there is none.
    index: Option<IndexReader>,
    /// What the view has in memory, as `memory_bytes_max` counts it.
    tail_bytes: usize,
}

impl HybridReader {
    /// Opens the store in `directory` as it is now.
    ///
    /// # Errors
    /// What [`JournalReader::open`] answers; [`StoreError::IndexNotClosed`]; [`StoreError::TailTooLong`]; the refusals of
    /// [`HybridStore::open`](super::HybridStore::open).
    pub fn open(directory: impl AsRef<Path>) -> StoreResult<Self> {
        Self::open_with(directory, HybridOptions::new())
    }

    /// As [`open`](Self::open), with options. For a reader [`memory_bytes_max`](HybridOptions::memory_bytes_max) and
    /// [`index_cache_bytes`](HybridOptions::index_cache_bytes) count; beside a writer the former should not be smaller than
    /// the writer's.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::InvalidOption`].
    pub fn open_with(directory: impl AsRef<Path>, options: HybridOptions) -> StoreResult<Self> {
        options.check()?;
        let directory = directory.as_ref();
        let open = |path: &Path| -> StoreResult<Arc<dyn ReadDisk>> {
            Ok(NativeDisk::open_read(path).map_err(|source| Error::io("open", path, source))?)
        };
        Self::open_on(open(directory)?, open(&directory.join(JOURNAL))?, &options)
    }

    /// Opens the store on a simulated disk. There a living writer keeps the index to itself.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn open_simulated(disk: &crate::disk::sim::SimDisk) -> StoreResult<Self> {
        Self::open_on(disk.disk().reader(), disk.disk().reader(), &HybridOptions::new())
    }

    fn open_on(
        disk: Arc<dyn ReadDisk>,
        journal: Arc<dyn ReadDisk>,
        options: &HybridOptions,
    ) -> StoreResult<Self> {
        let journal = JournalReader::open_on(journal)?;
        let path = disk.path(Folder::Root, INDEX);
        let view = RwLock::new(View::of(Generation::empty(path, journal.journal_id())));
        let this = Self {
            disk,
            journal,
            index_cache_bytes: options.index_cache_bytes,
            memory_bytes_max: options.memory_bytes_max,
            source: Mutex::new(Source { index: None, tail_bytes: 0 }),
            view,
            forks: fork_count(),
        };
        this.refresh()?;
        Ok(this)
    }

    /// Goes on to the present: shows all that is durable now. Scans that were begun before are not disturbed.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Forked`]. What was shown before is shown still.
    pub fn refresh(&self) -> StoreResult<Offset> {
        self.check_fork()?;
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let mut too_long = None;
        for _ in 0..TRIES {
            let generation = match self.generation(&mut source.index) {
                Err(StoreError::IndexChanged { .. }) => continue,
                generation => generation?,
            };
            let applied = generation.state().applied;
            match self.view_on(generation, source.tail_bytes) {
                // The writer has made a checkpoint in between, and removed what was before it.
                Err(StoreError::Journal(Error::BelowFloor { .. } | Error::MissingSegment { .. })) => {}
                // It may have made one, and gone on writing.
                Err(StoreError::TailTooLong { .. }) if too_long != Some(applied) => too_long = Some(applied),
                Err(error) => return Err(error),
                Ok((view, tail_bytes)) => {
                    let end = Offset::new(view.end);
                    source.tail_bytes = tail_bytes;
                    let outdated = {
                        let mut shown = self.view.write().unwrap_or_else(PoisonError::into_inner);
                        std::mem::replace(&mut *shown, view)
                    };
                    drop(outdated);
                    return Ok(end);
                }
            }
        }
        let (path, floor) = (self.disk.path(Folder::Root, INDEX), self.journal.floor()?);
        let applied = match &source.index {
            Some(index) => Offset::new(index.generation()?.state().applied),
            None => return Err(StoreError::IndexMissing { path, floor }),
        };
        Err(StoreError::IndexGap { path, applied, floor })
    }

    /// The moment that is shown, as the durable end of the journal then: every batch whose record stands below it, and no
    /// other.
    #[must_use]
    pub fn as_of(&self) -> Offset {
        Offset::new(self.shown().end)
    }

    /// The index as it is now, opened where it is not yet, or where somebody has made it anew.
    fn generation(&self, index: &mut Option<IndexReader>) -> StoreResult<Generation> {
        if let Some(opened) = &*index
            && !opened.is_current(&*self.disk)?
        {
            *index = None;
        }
        if index.is_none() {
            *index = IndexReader::open(&*self.disk, self.index_cache_bytes)?;
        }
        match &*index {
            Some(index) => index.generation(),
            None => {
                let path = self.disk.path(Folder::Root, INDEX);
                Ok(Generation::empty(path, self.journal.journal_id()))
            }
        }
    }

    /// The index and what the journal holds beyond it, and what that takes in memory; what is shown takes `tail_bytes`.
    fn view_on(&self, generation: Generation, tail_bytes: usize) -> StoreResult<(View, usize)> {
        let (state, expected) = (generation.state(), self.journal.journal_id());
        let path = self.disk.path(Folder::Root, INDEX);
        if state.id != expected {
            return Err(StoreError::IndexOfAnotherJournal { path, expected, found: state.id });
        }
        let shown = self.shown();
        let mut view = View::of(generation);
        let mut bytes = 0;
        let is_known = shown.index.state() == state && shown.end >= view.end;
        if is_known {
            // No checkpoint since: only what is new is read.
            view.active = shown.active;
            bytes = tail_bytes;
            (view.end, view.last) = (shown.end, shown.last);
        }
        let mut records = match self.journal.iter_from(Offset::new(view.end)) {
            Err(Error::NotYetDurable { offset, durable_end }) => {
                return Err(StoreError::IndexAhead { path, applied: offset, durable_end });
            }
            records => records?,
        };
        if !is_known {
            check_last(&self.journal, &path, &state)?;
        }
        let mut make_room = |_: &mut View, more| {
            bytes += more;
            if bytes <= self.memory_bytes_max {
                return Ok(());
            }
            let (applied, max) = (Offset::new(state.applied), self.memory_bytes_max);
            Err(StoreError::TailTooLong { path: path.clone(), applied, max })
        };
        while view.replay_next(&self.journal, &mut records, &mut make_room)? {}
        view.end = view.end.max(records.offset().get());
        Ok((view, bytes))
    }

    fn shown(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Before any lock, which a thread may hold that a forked child does not have.
    fn check_fork(&self) -> StoreResult<()> {
        if fork_count() == self.forks { Ok(()) } else { Err(Error::Forked.into()) }
    }

    fn look_up(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, u64)>> {
        self.check_fork()?;
        if !is_possible(key) {
            return Ok(None);
        }
        let found = self.view.read().unwrap_or_else(PoisonError::into_inner).look_up(key);
        found.resolve(key)
    }
}

impl KvStore for HybridReader {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.look_up(key)?.map(|(value, _)| value))
    }

    /// # Errors
    /// [`StoreError::ReadOnly`], always.
    fn write(&self, _batch: WriteBatch) -> StoreResult<Written> {
        Err(StoreError::ReadOnly)
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        self.check_fork()?;
        self.shown().scan(&range, direction, limit)
    }

    /// # Errors
    /// [`StoreError::ReadOnly`], always.
    fn flush(&self) -> StoreResult<()> {
        Err(StoreError::ReadOnly)
    }
}

impl JournaledStore for HybridReader {
    fn get_with_origin(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, Offset)>> {
        Ok(self.look_up(key)?.map(|(value, origin)| (value, Offset::new(origin))))
    }

    fn batch_at(&self, offset: Offset) -> StoreResult<(Receipt, WriteBatch)> {
        batch_at(&self.journal, offset)
    }

    fn shown_end(&self) -> StoreResult<Offset> {
        self.check_fork()?;
        Ok(self.as_of())
    }

    fn journal_reader(&self) -> JournalReader {
        self.journal.clone()
    }
}
