//! One moment's state of the index, for those who read.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, TableDefinition, TableError};

use super::errors::{damaged, guarded};
use super::reader::Source;
use crate::disk::fork_count;
use crate::error::Error;
use crate::journal::Receipt;
use crate::position::{Hash, JournalId, Offset};
use crate::store::error::{StoreError, StoreResult};
use crate::store::range::{Direction, KeyRange};
use crate::store::scan::EntryRef;

pub(super) const ENTRIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");
pub(super) const STATE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("state");
pub(super) const STATE_KEY: &str = "state";
/// Format, journal id, applied.
const STATE_BYTES: usize = 8 + 16 + 8;
/// And the offset and the hash of the last record.
const STATE_WITH_LAST_BYTES: usize = STATE_BYTES + 8 + 32;
/// The state of an index that says nothing of the last record, as one without entries.
const FORMAT: u64 = 1;
const FORMAT_WITH_LAST: u64 = 2;
const ORIGIN_BYTES: usize = 8;

/// What an index says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::hybrid) struct IndexState {
    pub(in crate::store::hybrid) id: JournalId,
    /// Everything that the journal holds below is in the index, nothing else is.
    pub(in crate::store::hybrid) applied: u64,
    /// The record that ends there: another one stands in its place where the journal has lost it and gone on.
    pub(in crate::store::hybrid) last: Option<Receipt>,
}

impl IndexState {
    pub(super) fn encode(&self) -> Vec<u8> {
        let format = if self.last.is_some() { FORMAT_WITH_LAST } else { FORMAT };
        let mut bytes = Vec::with_capacity(STATE_WITH_LAST_BYTES);
        bytes.extend_from_slice(&format.to_le_bytes());
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(&self.applied.to_le_bytes());
        if let Some(last) = &self.last {
            bytes.extend_from_slice(&last.offset.get().to_le_bytes());
            bytes.extend_from_slice(&last.hash.0);
        }
        bytes
    }

    fn decode(path: &Path, bytes: &[u8]) -> StoreResult<Self> {
        let (format, rest) =
            bytes.split_first_chunk().ok_or_else(|| damaged(path, "it does not say what format it has"))?;
        let format = u64::from_le_bytes(*format);
        if !(FORMAT..=FORMAT_WITH_LAST).contains(&format) {
            let newest = FORMAT_WITH_LAST;
            return Err(StoreError::IndexUnsupported { path: path.to_owned(), found: format, newest });
        }
        Self::decode_fields(rest, format == FORMAT_WITH_LAST)
            .ok_or_else(|| damaged(path, "what it says of itself has another length"))
    }

    fn decode_fields(bytes: &[u8], has_last: bool) -> Option<Self> {
        let (id, bytes) = bytes.split_first_chunk()?;
        let (applied, bytes) = bytes.split_first_chunk()?;
        let (mut last, mut bytes) = (None, bytes);
        if has_last {
            let (offset, hash) = bytes.split_first_chunk()?;
            let (hash, rest) = hash.split_first_chunk()?;
            last = Some(Receipt { offset: Offset::new(u64::from_le_bytes(*offset)), hash: Hash(*hash) });
            bytes = rest;
        }
        let state = Self { id: JournalId(*id), applied: u64::from_le_bytes(*applied), last };
        bytes.is_empty().then_some(state)
    }
}

/// An index as it was at one moment. While it is held, redb does not use its pages for anything else.
pub(in crate::store::hybrid) struct Generation {
    path: Arc<PathBuf>,
    entries: Entries,
    state: IndexState,
    /// Of a reader, whose scans go on when it has gone over to another file. Dropped after the entries.
    source: Option<Source>,
    forks: u32,
}

enum Entries {
    Table(ReadOnlyTable<&'static [u8], &'static [u8]>),
    /// There are none: a store that has no index yet.
    None,
    /// The store is closed. redb itself still gives what it has in its cache.
    Closed,
}

impl Entries {
    fn table(&self) -> StoreResult<Option<&ReadOnlyTable<&'static [u8], &'static [u8]>>> {
        match self {
            Self::Table(table) => Ok(Some(table)),
            Self::None => Ok(None),
            Self::Closed => Err(Error::Closed.into()),
        }
    }
}

impl Generation {
    pub(super) fn of(
        path: &Arc<PathBuf>,
        transaction: &ReadTransaction,
        source: Option<Source>,
    ) -> StoreResult<Self> {
        let state = guarded(path, "read", || {
            let state = match transaction.open_table(STATE) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?.get(STATE_KEY)?,
            };
            Ok::<_, redb::Error>(state.map(|state| IndexState::decode(path, state.value())))
        })?;
        let state = state.ok_or_else(|| damaged(path, "it does not say what it is"))??;
        let entries = guarded(path, "read", || transaction.open_table(ENTRIES))?;
        let entries = Entries::Table(entries);
        Ok(Self { path: Arc::clone(path), entries, state, source, forks: fork_count() })
    }

    /// What there is before the first checkpoint.
    pub(in crate::store::hybrid) fn empty(path: PathBuf, id: JournalId) -> Self {
        let state = IndexState { id, applied: 0, last: None };
        Self { path: Arc::new(path), entries: Entries::None, state, source: None, forks: fork_count() }
    }

    /// In place of this one when the store is closed.
    pub(in crate::store::hybrid) fn closed(&self) -> Self {
        let (path, entries) = (Arc::clone(&self.path), Entries::Closed);
        Self { path, entries, state: self.state, source: None, forks: self.forks }
    }

    /// A forked child keeps no writer from the pages: that ends with the parent's own reading.
    fn check_fork(&self) -> StoreResult<()> {
        if fork_count() == self.forks { Ok(()) } else { Err(Error::Forked.into()) }
    }

    pub(in crate::store::hybrid) fn state(&self) -> IndexState {
        self.state
    }

    /// The value of the key and where it came from.
    pub(in crate::store::hybrid) fn get(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, u64)>> {
        self.check_fork()?;
        let Some(entries) = self.entries.table()? else { return Ok(None) };
        self.unchanged(|| {
            let Some(found) = guarded(&self.path, "read", || entries.get(key))? else { return Ok(None) };
            let (origin, value) = self.parted(found.value())?;
            Ok(Some((value.to_vec(), origin)))
        })
    }

    /// What is read, unless it is read from a file that a writer has again.
    fn unchanged<T>(&self, read: impl FnOnce() -> StoreResult<T>) -> StoreResult<T> {
        match &self.source {
            Some(source) => source.unchanged(&self.path, read),
            None => read(),
        }
    }

    pub(in crate::store::hybrid) fn rows(
        self: &Arc<Self>,
        range: &KeyRange,
        direction: Direction,
    ) -> StoreResult<Rows> {
        self.check_fork()?;
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (range.lower(), range.upper());
        let found = match self.entries.table()? {
            Some(entries) => {
                let found = || guarded(&self.path, "read", || entries.range::<&[u8]>(bounds));
                Some(self.unchanged(found)?)
            }
            None => None,
        };
        let (generation, asked) = (Arc::clone(self), range.clone());
        let mut rows = Rows { generation, range: found, asked, direction, next: None };
        rows.skip()?;
        Ok(rows)
    }

    fn parted<'a>(&self, stored: &'a [u8]) -> StoreResult<(u64, &'a [u8])> {
        let (origin, value) = stored
            .split_first_chunk::<ORIGIN_BYTES>()
            .ok_or_else(|| damaged(&self.path, "an entry without its origin"))?;
        Ok((u64::from_le_bytes(*origin), value))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.check_fork().is_ok() {
            return;
        }
        // What keeps the pages from the writer are locks that a forked child shares with its parent: dropped there, they
        // would be given back here.
        std::mem::forget(std::mem::replace(&mut self.entries, Entries::None));
        std::mem::forget(self.source.take());
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What an entry's value looks like in the index.
pub(super) fn stored(into: &mut Vec<u8>, origin: u64, value: &[u8]) {
    into.clear();
    into.extend_from_slice(&origin.to_le_bytes());
    into.extend_from_slice(value);
}

type Guard = AccessGuard<'static, &'static [u8]>;

/// The entries of a range, read as they are asked for.
pub(in crate::store::hybrid) struct Rows {
    generation: Arc<Generation>,
    range: Option<redb::Range<'static, &'static [u8], &'static [u8]>>,
    asked: KeyRange,
    direction: Direction,
    /// Its key lies in the range that was asked for, its value is one that an entry can have.
    next: Option<(Guard, Guard)>,
}

impl Rows {
    /// The key of the next entry.
    pub(in crate::store::hybrid) fn peek(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|(key, _)| key.value())
    }

    /// The next entry.
    pub(in crate::store::hybrid) fn entry(&self) -> Option<EntryRef<'_>> {
        let (key, value) = self.next.as_ref()?;
        Some(EntryRef::new(key.value(), &value.value()[ORIGIN_BYTES..]))
    }

    /// Goes over the next entry.
    pub(in crate::store::hybrid) fn skip(&mut self) -> StoreResult<()> {
        self.generation.check_fork()?;
        if self.generation.source.as_ref().is_none_or(Source::is_shared) {
            return self.skip_unchecked();
        }
        let generation = Arc::clone(&self.generation);
        let skipped = generation.unchanged(|| self.skip_unchecked());
        if skipped.is_err() {
            self.next = None;
        }
        skipped
    }

    fn skip_unchecked(&mut self) -> StoreResult<()> {
        let (Some(range), next) = (&mut self.range, &mut self.next) else { return Ok(()) };
        // Two guards are some hundred bytes: they go to their place at once.
        guarded(&self.generation.path, "read", || {
            *next = match self.direction {
                Direction::Forward => range.next(),
                Direction::Reverse => range.next_back(),
            }
            .transpose()?;
            Ok::<_, redb::StorageError>(())
        })?;
        if let Some((key, value)) = &self.next {
            // redb looks for the ends of the range, and gives what stands between them in a page.
            if !self.asked.contains(key.value()) {
                return Err(damaged(&self.generation.path, "an entry stands where it does not belong"));
            }
            self.generation.parted(value.value())?;
        }
        Ok(())
    }
}
