//! `HybridStore`: the handle that many threads share.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::core::{Core, batch_at, is_possible};
use super::open::{Places, Start, directories, open};
use super::options::HybridOptions;
use super::reader::HybridReader;
use super::table::Table;
use super::view::View;
use crate::disk::block_file_size_signal;
use crate::error::Error;
use crate::journal::{Journal, JournalReader, Options, Receipt};
use crate::position::Offset;
use crate::store::batch::WriteBatch;
use crate::store::error::StoreResult;
use crate::store::journaled::JournaledStore;
use crate::store::kv::{KvStore, Written};
use crate::store::range::{Direction, KeyRange};
use crate::store::scan::Scan;

/// The segments of a temporary store: small, since each is filled with zeros before it is used.
const TEMP_SEGMENT_BYTES: u64 = 4 << 20;

/// A key-value store on a journal: every write is one record there, and durable when `write` returns. What is not
/// checkpointed is in memory, the rest in an index file beside the journal.
///
/// One process has it open for writing; others may open it [for reading](Self::open_read_only) at the same time. Many
/// threads share it, by reference or in an `Arc`. Dropping it closes it without a checkpoint and without a report;
/// [`close`](Self::close) makes one and reports. In a forked child reads, writes and checkpoints answer
/// [`Error::Forked`].
///
/// After a crash at any point: what was acknowledged is there, a batch is there whole or not at all, nothing is there that
/// was not written, and the order of writes is kept: what is there is what the first so many writes made.
///
/// ```
/// use ringwal::{Direction, HybridOptions, HybridStore, KvStore, WriteBatch};
/// # fn main() -> ringwal::StoreResult<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let directory = dir.path().join("store");
/// let store = HybridStore::open(&directory, HybridOptions::new())?;
/// let mut batch = WriteBatch::new();
/// batch.put("account/alice", "5").put("account/bob", "7");
/// store.write(batch)?;
/// assert_eq!(store.get(b"account/bob")?, Some(b"7".to_vec()));
/// assert_eq!(store.scan_prefix(b"account/", Direction::Reverse, 1)?.count(), 1);
/// store.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HybridStore {
    core: Arc<Core>,
    checkpointer: Mutex<Option<JoinHandle<()>>>,
    /// Removed after everything else is gone.
    _temporary: Option<tempfile::TempDir>,
}

impl HybridStore {
    /// Opens the store in `directory`, creating it (mode 0700) where the options say so: `journal/` and `index.redb`.
    /// What the journal holds beyond the index is replayed into memory. Where there is no index, it is made from the
    /// journal if that still holds everything, else the store is refused.
    ///
    /// # Errors
    /// What [`Journal::open`] answers; [`StoreError::IndexDamaged`], [`StoreError::IndexMissing`],
    /// [`StoreError::IndexUnsupported`], [`StoreError::IndexOfAnotherJournal`], [`StoreError::IndexAhead`],
    /// [`StoreError::IndexDiverged`], [`StoreError::IndexGap`], [`StoreError::Index`], [`StoreError::NotABatch`],
    /// [`StoreError::JournalNotWhole`]. The message says what to do.
    ///
    /// [`StoreError::IndexDamaged`]: crate::StoreError::IndexDamaged
    /// [`StoreError::IndexMissing`]: crate::StoreError::IndexMissing
    /// [`StoreError::IndexUnsupported`]: crate::StoreError::IndexUnsupported
    /// [`StoreError::IndexOfAnotherJournal`]: crate::StoreError::IndexOfAnotherJournal
    /// [`StoreError::IndexAhead`]: crate::StoreError::IndexAhead
    /// [`StoreError::IndexDiverged`]: crate::StoreError::IndexDiverged
    /// [`StoreError::IndexGap`]: crate::StoreError::IndexGap
    /// [`StoreError::Index`]: crate::StoreError::Index
    /// [`StoreError::NotABatch`]: crate::StoreError::NotABatch
    /// [`StoreError::JournalNotWhole`]: crate::StoreError::JournalNotWhole
    pub fn open(directory: impl AsRef<Path>, options: HybridOptions) -> StoreResult<Self> {
        options.check()?;
        let places = directories(directory.as_ref(), options.create)?;
        Self::start(open_plainly(&places, &options)?, &options, None)
    }

    /// Opens the store with an index that is made anew from the journal alone, whatever the one there was holds or is. The
    /// old one stays until the new one is whole and durable. For an index that is damaged or does not fit the journal.
    ///
    /// # Errors
    /// [`StoreError::CannotRebuild`](crate::StoreError::CannotRebuild) when the journal does not hold everything any more;
    /// otherwise as [`open`](Self::open). The index there was is still there then.
    pub fn rebuild_index(directory: impl AsRef<Path>, options: HybridOptions) -> StoreResult<Self> {
        Self::rebuild_index_telling(directory, options, &mut |_, _| {})
    }

    /// As [`rebuild_index`](Self::rebuild_index); says how far it is: after each record the bytes of the journal that were
    /// read, and how many there are in all.
    ///
    /// # Errors
    /// As [`rebuild_index`](Self::rebuild_index).
    pub fn rebuild_index_telling(
        directory: impl AsRef<Path>,
        options: HybridOptions,
        tell: &mut dyn FnMut(u64, u64),
    ) -> StoreResult<Self> {
        options.check()?;
        let places = directories(directory.as_ref(), false)?;
        let options = options.create(false);
        Self::start(open(&places, &options, Start::Journal, tell)?, &options, None)
    }

    /// A new store in a temporary directory, which is removed when the store is dropped.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_temp() -> StoreResult<Self> {
        let directory =
            tempfile::TempDir::new().map_err(|source| Error::io("create", std::env::temp_dir(), source))?;
        let options = HybridOptions::new().journal(Options::new().segment_bytes(TEMP_SEGMENT_BYTES));
        let places = directories(&directory.path().join("store"), true)?;
        Self::start(open_plainly(&places, &options)?, &options, Some(directory))
    }

    /// Opens the store for reading, in any process, beside a living writer or without one.
    ///
    /// # Errors
    /// As [`HybridReader::open`].
    pub fn open_read_only(directory: impl AsRef<Path>) -> StoreResult<HybridReader> {
        HybridReader::open(directory)
    }

    /// Opens the store on a simulated disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn open_simulated(disk: &crate::disk::sim::SimDisk, options: HybridOptions) -> StoreResult<Self> {
        Self::start(open_plainly(&super::open::simulated(disk), &options)?, &options, None)
    }

    /// As [`rebuild_index`](Self::rebuild_index), on a simulated disk.
    ///
    /// # Errors
    /// As [`rebuild_index`](Self::rebuild_index).
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn rebuild_simulated(disk: &crate::disk::sim::SimDisk, options: HybridOptions) -> StoreResult<Self> {
        let options = options.create(false);
        let places = super::open::simulated(disk);
        Self::start(open(&places, &options, Start::Journal, &mut |_, _| {})?, &options, None)
    }

    fn start(core: Core, options: &HybridOptions, temporary: Option<tempfile::TempDir>) -> StoreResult<Self> {
        let core = Arc::new(core);
        let checkpointer = options
            .background
            .then(|| {
                let core = Arc::clone(&core);
                let thread = std::thread::Builder::new().name("ringwal-checkpoint".into());
                thread.spawn(move || {
                    block_file_size_signal();
                    core.checkpoint_when_due();
                })
            })
            .transpose()
            .map_err(|source| Error::io("start the checkpoint thread of", "store", source))?;
        Ok(Self { core, checkpointer: Mutex::new(checkpointer), _temporary: temporary })
    }

    /// The journal below: for its figures, its recovery report, its followers. What is appended there must be what this
    /// store writes; anything else keeps the store from being opened again.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.core.journal
    }

    /// Bytes in memory for writes that are not checkpointed, as the bound of
    /// [`memory_bytes_max`](HybridOptions::memory_bytes_max) counts them.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.core.memory.used()
    }

    /// Below this offset everything is in the index; what the journal holds from here on is replayed when the store is
    /// opened.
    #[must_use]
    pub fn checkpointed_below(&self) -> Offset {
        Offset::new(self.core.read_view().index.state().applied)
    }

    /// Closes the store: a last checkpoint, then the journal, then the index. Later calls answer
    /// [`Error::Closed`]. Closing again does nothing, but says again what a checkpoint that failed came to.
    ///
    /// # Errors
    /// What the checkpoint came to, else what closing the journal did. The store is closed in every case, and what was
    /// acknowledged is in the journal.
    pub fn close(&self) -> StoreResult<()> {
        self.core.journal.check_fork()?;
        self.stop();
        let checkpoint = match self.core.checkpoint() {
            // Closed before.
            Err(crate::StoreError::Journal(Error::Closed)) => Ok(()),
            outcome => outcome,
        };
        let journal = self.core.journal.close();
        self.core.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).index = None;
        let outdated = {
            let mut view = self.core.write_view();
            let index = Arc::new(view.index.closed());
            let closed = View { active: Table::new(), frozen: None, index, end: view.end, last: view.last };
            std::mem::replace(&mut *view, closed)
        };
        drop(outdated);
        checkpoint?;
        Ok(journal?)
    }

    fn stop(&self) {
        self.core.memory.close();
        let thread = self.checkpointer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has no way to panic that is not answered inside.
            let _ = thread.join();
        }
    }
}

fn open_plainly(places: &Places, options: &HybridOptions) -> StoreResult<Core> {
    open(places, options, Start::Index, &mut |_, _| {})
}

impl Drop for HybridStore {
    fn drop(&mut self) {
        if self.core.journal.check_fork().is_ok() {
            return self.stop();
        }
        // A forked child has no such thread; what it would close, or remove, is the parent's.
        std::mem::forget(self.checkpointer.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        std::mem::forget(Arc::clone(&self.core));
        std::mem::forget(self._temporary.take());
    }
}

impl KvStore for HybridStore {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        if !is_possible(key) {
            return Ok(None);
        }
        Ok(self.core.get(key)?.map(|(value, _)| value))
    }

    fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        self.core.write(batch)
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        self.core.scan(&range, direction, limit)
    }

    fn flush(&self) -> StoreResult<()> {
        self.core.checkpoint()
    }
}

impl JournaledStore for HybridStore {
    fn get_with_origin(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, Offset)>> {
        if !is_possible(key) {
            return Ok(None);
        }
        Ok(self.core.get(key)?.map(|(value, origin)| (value, Offset::new(origin))))
    }

    fn batch_at(&self, offset: Offset) -> StoreResult<(Receipt, WriteBatch)> {
        batch_at(&self.core.reader, offset)
    }

    fn shown_end(&self) -> StoreResult<Offset> {
        self.core.journal.check_fork()?;
        Ok(Offset::new(self.core.read_view().end))
    }

    fn journal_reader(&self) -> JournalReader {
        self.core.reader.clone()
    }
}
