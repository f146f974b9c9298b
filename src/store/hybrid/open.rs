//! Opening: index and journal are brought together, or refused with what to do.
//!
//! Guarantees: an index that does not fit its journal is never used; a journal that is refused keeps nothing of the opening, but
//! for what its own recovery and closing do; the memory bound holds while the journal is replayed. Must not know: the
//! handle.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use super::batch_record::places;
use super::checkpoint::{CURSOR, Checkpoints, KEEP_CURSOR};
use super::core::{Core, Queue};
use super::index::{Generation, INDEX, Index, IndexState, UNFINISHED};
use super::memory::Memory;
use super::options::HybridOptions;
use super::table::Table;
use super::view::View;
use super::write::cost;
use crate::disk::{Disk, Folder};
use crate::error::Error;
use crate::journal::{CursorKind, Cursors, Journal, JournalReader, Receipt};
use crate::position::Offset;
use crate::store::error::{StoreError, StoreResult};

/// A living writer does not go away; one that was killed gives the index back within milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(5);

/// The store's two directories.
#[derive(Debug)]
pub(super) struct Places {
    /// Holds the index.
    pub(super) store: Arc<dyn Disk>,
    pub(super) journal: Arc<dyn Disk>,
}

/// Where the entries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The index, and the journal behind it; the journal alone where there is no index and it holds everything.
    Index,
    /// The journal alone; the index is made anew.
    Journal,
}

/// `tell` is told how many bytes of the journal were replayed, and of how many.
pub(super) fn open(
    places: &Places,
    options: &HybridOptions,
    start: Start,
    tell: &mut dyn FnMut(u64, u64),
) -> StoreResult<Core> {
    options.check()?;
    let found = match start {
        Start::Index => open_index(places, options)?,
        Start::Journal => None,
    };
    let mut journal_options = options.journal_options();
    if let Some((_, state)) = &found {
        check_identity(places, *state)?;
        let known = journal_options.known_durable_below.get().max(state.applied);
        journal_options = journal_options.known_durable_below(Offset::new(known)).create(false);
    }
    let batch_bytes_max = journal_options.payload_limit();
    let journal = Journal::open_on(Arc::clone(&places.journal), journal_options, options.background)?;
    let (reader, cursors) = (journal.reader(), journal.cursors());
    let found = match start {
        Start::Index => still_there(places, options, found)?,
        Start::Journal => None,
    };
    let floor = reader.floor()?;
    check_whole(places, options, start, floor)?;
    let (mut index, state, is_new) = match found {
        Some((index, state)) => {
            check_fit(&index, state, &journal, floor)?;
            check_last(&reader, index.path(), &state)?;
            (index, state, false)
        }
        None => {
            let path = places.store.path(Folder::Root, INDEX);
            if floor > Offset::ZERO {
                return Err(StoreError::IndexMissing { path, floor });
            }
            // Whoever made the directory may have been killed before its name was durable.
            let failed =
                |source| Error::io("sync the parent of", places.store.path(Folder::Root, ""), source);
            places.store.sync_name().map_err(failed)?;
            let state = IndexState { id: journal.journal_id(), applied: 0, last: None };
            (Index::make(&*places.store, options.index_cache_bytes, state)?, state, true)
        }
    };
    // Cleanup and retention must find the cursors, while the journal is replayed too. But where nothing says that the journal is a
    // store's they are set behind that: they would keep another one's segments for ever.
    let is_ours = !is_new || cursors.get(CURSOR)?.is_some() || cursors.get(KEEP_CURSOR)?.is_some();
    let pin_all = || pin_all(&cursors, options, floor, state.applied);
    let pinned = if is_ours { Some(pin_all()?) } else { None };
    let replayed = replay(&reader, &index, options, tell);
    if replayed.is_err() && is_new {
        // The next opening would remove it, too.
        let _ = places.store.remove(Folder::Root, UNFINISHED);
    }
    let (view, bytes) = replayed?;
    let (keep_journal, cursor) = pinned.map_or_else(pin_all, Ok)?;
    if is_new {
        index.name(&*places.store)?;
    } else {
        // A rebuild that was not finished; where it cannot be removed, the next one will try.
        let _ = places.store.remove(Folder::Root, UNFINISHED);
    }
    let store = Arc::clone(&places.store);
    let memory = Memory::new(options.memory_bytes_max, options.checkpoint_bytes, options.checkpoint_interval);
    memory.replayed(bytes);
    Ok(Core {
        journal,
        reader,
        batch_bytes_max,
        background: options.background,
        keep_journal,
        checkpoints: Mutex::new(Checkpoints { index: Some(index), cursors, cursor, _store: store }),
        apply: Mutex::new(()),
        queue: Mutex::new(Queue { waiting: VecDeque::new(), submitted: 0 }),
        dealt_with: AtomicU64::new(0),
        view: RwLock::new(view),
        memory,
    })
}

/// The index and what it says of itself; `None` where there is none.
fn open_index(places: &Places, options: &HybridOptions) -> StoreResult<Option<(Index, IndexState)>> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    let opened = loop {
        match Index::open(&*places.store, options.index_cache_bytes, options.check_index) {
            Err(StoreError::Journal(Error::Locked { path, .. })) => {
                if Instant::now() >= deadline {
                    let reader = JournalReader::open_on(Arc::clone(&places.journal).reader());
                    let writer = reader.and_then(|reader| reader.writer()).ok().flatten();
                    let holder = writer.and_then(|writer| writer.pid);
                    return Err(Error::Locked { path, holder }.into());
                }
                // The kernel tells nobody that such a lock became free.
                std::thread::sleep(PAUSE);
            }
            opened => break opened?,
        }
    };
    let Some(index) = opened else { return Ok(None) };
    // Whoever gave it its name may have died before that was durable.
    let failed = |source| Error::io("sync", places.store.path(Folder::Root, ""), source);
    places.store.sync_folder(Folder::Root).map_err(failed)?;
    let state = index.generation()?.state();
    Ok(Some((index, state)))
}

/// With the journal's lock held, which whoever makes an index holds: the index that was opened before, or the one that was
/// put in its place until then.
fn still_there(
    places: &Places,
    options: &HybridOptions,
    found: Option<(Index, IndexState)>,
) -> StoreResult<Option<(Index, IndexState)>> {
    if let Some((index, _)) = &found
        && index.is_named(&*places.store)?
    {
        return Ok(found);
    }
    drop(found);
    open_index(places, options)
}

/// Before the journal is opened: what the index knows counts as evidence in its recovery, so it must be of this journal.
fn check_identity(places: &Places, state: IndexState) -> StoreResult<()> {
    let path = places.store.path(Folder::Root, INDEX);
    match JournalReader::identity_on(&*places.journal)? {
        None => Err(Error::NotAJournal { directory: places.journal.path(Folder::Root, "") }.into()),
        Some(id) if id != state.id => {
            Err(StoreError::IndexOfAnotherJournal { path, expected: id, found: state.id })
        }
        Some(_) => Ok(()),
    }
}

/// Where the journal has removed records: whether what is wanted can be had without them.
fn check_whole(places: &Places, options: &HybridOptions, start: Start, floor: Offset) -> StoreResult<()> {
    if floor == Offset::ZERO {
        return Ok(());
    }
    if start == Start::Journal {
        return Err(StoreError::CannotRebuild { path: places.store.path(Folder::Root, INDEX), floor });
    }
    if options.keep_journal {
        return Err(StoreError::JournalNotWhole { path: places.journal.path(Folder::Root, ""), floor });
    }
    Ok(())
}

fn check_fit(index: &Index, state: IndexState, journal: &Journal, floor: Offset) -> StoreResult<()> {
    let (path, applied) = (index.path().clone(), Offset::new(state.applied));
    let (expected, durable_end) = (journal.journal_id(), journal.durable_end());
    if expected != state.id {
        return Err(StoreError::IndexOfAnotherJournal { path, expected, found: state.id });
    }
    if applied > durable_end {
        return Err(StoreError::IndexAhead { path, applied, durable_end });
    }
    if applied < floor {
        return Err(StoreError::IndexGap { path, applied, floor });
    }
    Ok(())
}

/// Whether the record that the index says came last stands in the journal still, once the journal is known to reach so far. One
/// that lost its end, and went on, has something else there.
pub(super) fn check_last(reader: &JournalReader, path: &Path, state: &IndexState) -> StoreResult<()> {
    let Some(last) = state.last else { return Ok(()) };
    let stands = match reader.read(last.offset) {
        Ok(record) => record.hash == last.hash && last.end(record.payload.len()).get() == state.applied,
        Err(Error::NotARecord { .. } | Error::NotYetDurable { .. }) => false,
        // Removed, or damaged: that says nothing of the rest, and whoever reads it is told.
        Err(Error::BelowFloor { .. } | Error::MissingSegment { .. } | Error::Corrupt(_)) => true,
        Err(error) => return Err(error.into()),
    };
    if stands {
        return Ok(());
    }
    Err(StoreError::IndexDiverged { path: path.to_owned(), offset: last.offset })
}

/// Whether an opening asked for the journal to be kept, this one or an earlier one.
fn is_kept(cursors: &Cursors) -> StoreResult<bool> {
    Ok(cursors.get(KEEP_CURSOR)?.is_some_and(|cursor| cursor.kind == CursorKind::Pinned))
}

/// Sees to it that the journal keeps what it has to; whether that is all of it, and where the store's own cursor stands.
fn pin_all(
    cursors: &Cursors,
    options: &HybridOptions,
    floor: Offset,
    applied: u64,
) -> StoreResult<(bool, u64)> {
    if options.keep_journal {
        pin(cursors, KEEP_CURSOR, floor.get())?;
    }
    let keep_journal = options.keep_journal || is_kept(cursors)?;
    let cursor = pin(cursors, CURSOR, if keep_journal { floor.get() } else { applied })?;
    Ok((keep_journal, cursor))
}

/// Sees to it that the cursor is there and not above `wanted`; gives where it stands.
fn pin(cursors: &Cursors, name: &str, wanted: u64) -> StoreResult<u64> {
    match cursors.get(name)? {
        Some(cursor) if cursor.kind == CursorKind::Pinned && cursor.offset.get() <= wanted => {
            Ok(cursor.offset.get())
        }
        _ => {
            cursors.set(name, Offset::new(wanted), CursorKind::Pinned)?;
            Ok(wanted)
        }
    }
}

/// Reads what the journal holds beyond the index into memory. Only what is more than the bound goes into the index at
/// once: a writer with the same bound has never left so much, and many changes to a large index take long.
fn replay(
    reader: &JournalReader,
    index: &Index,
    options: &HybridOptions,
    tell: &mut dyn FnMut(u64, u64),
) -> StoreResult<(View, usize)> {
    let generation = index.generation()?;
    let IndexState { id, applied, .. } = generation.state();
    let mut view = View::of(generation);
    let all = reader.durable_end()?.get() - applied;
    let mut used = 0_usize;
    let into_index = |view: &mut View| {
        index.apply(&view.active, IndexState { id, applied: view.end, last: view.last })?;
        view.index = Arc::new(index.generation()?);
        view.active = Table::new();
        StoreResult::Ok(())
    };
    let mut make_room = |view: &mut View, bytes: usize| {
        if used > 0 && used.saturating_add(bytes) > options.memory_bytes_max {
            into_index(view)?;
            used = 0;
        }
        used += bytes;
        Ok(())
    };
    let mut records = reader.iter_from(Offset::new(applied))?;
    while view.replay_next(reader, &mut records, &mut make_room)? {
        tell(view.end - applied, all);
    }
    Ok((view, used))
}

impl View {
    /// What a reader sees before it has read anything of the journal.
    pub(super) fn of(index: Generation) -> Self {
        let IndexState { applied: end, last, .. } = index.state();
        Self { active: Table::new(), frozen: None, index: Arc::new(index), end, last }
    }

    /// Adds the next batch of the journal; `false` at the durable end. `make_room` is told before what it takes in memory.
    pub(super) fn replay_next(
        &mut self,
        reader: &JournalReader,
        records: &mut crate::journal::Records,
        make_room: &mut dyn FnMut(&mut Self, usize) -> StoreResult<()>,
    ) -> StoreResult<bool> {
        let Some(record) = records.next_ref()? else { return Ok(false) };
        let receipt = Receipt { offset: record.offset, hash: record.hash };
        if !record.has_right_hash() {
            reader.check_receipt(&receipt)?;
        }
        let offset = record.offset;
        let ops = places(record.payload).ok_or(StoreError::NotABatch { offset })?.size_hint().0;
        make_room(self, cost(record.payload.len(), ops))?;
        self.put(&receipt, &record.payload.into());
        Ok(true)
    }
}

/// The store's two directories on one simulated disk.
#[cfg(feature = "sim")]
pub(super) fn simulated(disk: &crate::disk::sim::SimDisk) -> Places {
    Places { store: disk.disk(), journal: disk.disk() }
}

/// The store's two directories, made where the options say so.
pub(super) fn directories(directory: &Path, create: bool) -> StoreResult<Places> {
    let open = |path: &Path| {
        crate::disk::native::NativeDisk::open_write(path, create)
            .map_err(|source: io::Error| Error::io("open", path, source))
    };
    let store = open(directory)?;
    let journal = open(&directory.join(JOURNAL))?;
    Ok(Places { store, journal })
}

/// The journal's directory in the store's.
pub(super) const JOURNAL: &str = "journal";
