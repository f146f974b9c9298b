//! Cursors: named, durable positions of consumers.
//!
//! Guarantees: after a crash a cursor stands where it was or where it was set to; cleanup and setting a cursor, in
//! whatever processes, exclude each other. Must not know: what a consumer does.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::reader::JournalReader;
use crate::disk::native::NativeDisk;
use crate::disk::{Disk, Folder, FolderLock, ReadDisk};
use crate::error::{Error, Result};
use crate::format::file_name::{self, is_cursor_name};
use crate::format::state_file::{StateFile, StateKind};
use crate::position::Offset;
use crate::segment::files::open_error;
use crate::segment::manager::{WRITTEN_MAX, list_bases};
use crate::segment::prepare::Preparer;
use crate::segment::state::{self, FOLDER_PATIENCE};

/// Whether a cursor holds cleanup back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CursorKind {
    /// Nothing at or above the cursor is removed.
    Pinned,
    /// The cursor holds nothing back; its reader gets [`Error::BelowFloor`] when it comes too late.
    Advisory,
}

/// A cursor as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cursor {
    /// Its name: 1 to 64 characters out of `a-z`, `0-9`, `_` and `-`.
    pub name: String,
    /// The first offset that its consumer has not dealt with.
    pub offset: Offset,
    /// Whether it holds cleanup back.
    pub kind: CursorKind,
}

/// The cursors of a journal. Works beside a living writer, in its process or another.
#[derive(Clone, Debug)]
pub struct Cursors {
    disk: Arc<dyn ReadDisk>,
    writable: Option<Arc<dyn Disk>>,
    reader: JournalReader,
    /// Of the writer whose cursors these are; dangling where it is not in this process, or not known.
    preparer: Weak<Preparer>,
}

impl Cursors {
    /// The cursors of the journal in `directory`; needs permission to write there.
    ///
    /// # Errors
    /// As [`JournalReader::open`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let reader = JournalReader::open(directory)?;
        let disk = NativeDisk::open_write(directory, false)
            .map_err(|source| Error::io("open", directory, source))?;
        Ok(Self { disk: disk.clone().reader(), writable: Some(disk), reader, preparer: Weak::new() })
    }

    /// The cursors of the journal in `directory`, to look at only; needs permission to read.
    ///
    /// # Errors
    /// As [`JournalReader::open`].
    pub fn open_read(directory: impl AsRef<Path>) -> Result<Self> {
        let reader = JournalReader::open(directory)?;
        Ok(Self { disk: reader.disk(), writable: None, reader, preparer: Weak::new() })
    }

    /// Those of a writer in this process, as long as it lives.
    pub(super) fn of_writer(disk: Arc<dyn Disk>, reader: JournalReader, preparer: &Arc<Preparer>) -> Self {
        let preparer = Arc::downgrade(preparer);
        Self { disk: disk.clone().reader(), writable: Some(disk), reader, preparer }
    }

    /// All cursors, by name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a cursor's file is damaged; [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Cursor>> {
        read_all(&*self.disk, &self.reader)
    }

    /// The cursor of that name, or `None`.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::Corrupt`] when its file is damaged; [`Error::Io`].
    pub fn get(&self, name: &str) -> Result<Option<Cursor>> {
        check_name(name)?;
        read_one(&*self.disk, &self.reader, name)
    }

    /// Sets the cursor, making it where there is none. Durable and atomic: after a crash it stands where it was or here.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::NotYetDurable`] beyond the durable end; [`Error::BelowFloor`];
    /// [`Error::NotARecord`] inside a record; [`Error::Corrupt`] where damage begins; [`Error::Io`]. Where that was a flush
    /// that failed, and a writer gave these cursors, its next commit is [`Error::Failed`]: the device may have lost of the
    /// journal what it said it had.
    pub fn set(&self, name: &str, offset: Offset, kind: CursorKind) -> Result<()> {
        self.telling_the_writer(self.set_durably(name, offset, kind))
    }

    fn set_durably(&self, name: &str, offset: Offset, kind: CursorKind) -> Result<()> {
        check_name(name)?;
        let disk = self.writable()?;
        let durable = self.reader.durable();
        let is_published = durable.is_published(offset.get());
        if !is_published {
            // What was durable when this handle saw it may have been given up as damaged since.
            let durable_end = Offset::new(durable.end_now(&*self.disk)?);
            if offset > durable_end && durable.refusal().is_none() {
                return Err(Error::NotYetDurable { offset, durable_end });
            }
        }
        self.reader.check_boundary(offset)?;
        if !is_published {
            // A killed writer may have left what only the cache holds; a cursor that outlived it would tell of a loss.
            sync_written(&*self.disk, offset.get())?;
        }
        let _lock = lock_folder(&**disk, FOLDER_PATIENCE)?;
        // Once more under the lock: cleanup may have raised the floor in between.
        let floor = self.reader.refresh_floor()?;
        if offset < floor {
            return Err(Error::BelowFloor { offset, floor });
        }
        let kind = match kind {
            CursorKind::Pinned => StateKind::PinnedCursor,
            CursorKind::Advisory => StateKind::AdvisoryCursor,
        };
        let state = StateFile { kind, id: self.reader.journal_id(), offset: offset.get() };
        state::write(&**disk, Folder::Cursors, name, &state)
    }

    /// Removes the cursor, durably.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::NoSuchCursor`]; [`Error::Io`]: of a flush that failed as for [`set`](Self::set).
    pub fn remove(&self, name: &str) -> Result<()> {
        self.telling_the_writer(self.remove_durably(name))
    }

    fn remove_durably(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let disk = self.writable()?;
        let _lock = lock_folder(&**disk, FOLDER_PATIENCE)?;
        // A damaged cursor can be removed too: that is the way to get rid of it.
        let is_there = !matches!(state::read(&**disk, Folder::Cursors, name), Ok(None));
        // Also when it is not there: that may not be durable yet.
        state::remove(&**disk, Folder::Cursors, name)?;
        if is_there { Ok(()) } else { Err(Error::NoSuchCursor { name: name.to_owned() }) }
    }

    /// A device that loses a flush says so once: here it may be a flush that carried a commit's bytes too.
    fn telling_the_writer(&self, outcome: Result<()>) -> Result<()> {
        outcome.inspect_err(|error| {
            if let Some(preparer) = self.preparer.upgrade() {
                preparer.note(error);
            }
        })
    }

    fn writable(&self) -> Result<&Arc<dyn Disk>> {
        self.writable.as_ref().ok_or_else(|| {
            let source =
                io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading; use Cursors::open");
            Error::io("change", self.disk.path(Folder::Cursors, ""), source)
        })
    }
}

fn check_name(name: &str) -> Result<()> {
    if is_cursor_name(name) { Ok(()) } else { Err(Error::InvalidName { name: name.to_owned() }) }
}

/// Keeps other processes from setting cursors and from cleaning up, until dropped.
pub(super) fn lock_folder(disk: &dyn Disk, patience: Duration) -> Result<Box<dyn FolderLock>> {
    let path = disk.path(Folder::Cursors, "");
    disk.make_folder(Folder::Cursors).map_err(|source| Error::io("create", &path, source))?;
    disk.sync_folder(Folder::Root).map_err(|source| Error::io("sync", &path, source))?;
    disk.lock_folder(Folder::Cursors, patience).map_err(|source| Error::io("lock", path, source))
}

/// All cursors, by name.
pub(super) fn read_all(disk: &dyn ReadDisk, reader: &JournalReader) -> Result<Vec<Cursor>> {
    let entries = match disk.list(Folder::Cursors) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("list", disk.path(Folder::Cursors, ""), source)),
    };
    let mut cursors = Vec::new();
    for entry in entries {
        let Some(name) = entry.name.to_str().filter(|name| is_cursor_name(name)) else { continue };
        // One that has gone since the folder was listed is none.
        cursors.extend(read_one(disk, reader, name)?);
    }
    cursors.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cursors)
}

fn read_one(disk: &dyn ReadDisk, reader: &JournalReader, name: &str) -> Result<Option<Cursor>> {
    let Some(state) = state::read(disk, Folder::Cursors, name)? else { return Ok(None) };
    let path = || disk.path(Folder::Cursors, name);
    if state.id != reader.journal_id() {
        return Err(Error::WrongJournal { path: path(), expected: reader.journal_id(), found: state.id });
    }
    let kind = match state.kind {
        StateKind::PinnedCursor => CursorKind::Pinned,
        StateKind::AdvisoryCursor => CursorKind::Advisory,
        StateKind::Floor => {
            return Err(Error::corrupt(&path(), 0..0, crate::error::CorruptionKind::StateFile, []));
        }
    };
    Ok(Some(Cursor { name: name.to_owned(), offset: Offset::new(state.offset), kind }))
}

/// Makes durable whatever the last writer wrote, and all from the segment in which `end` lies on.
fn sync_written(disk: &dyn ReadDisk, end: u64) -> Result<()> {
    let bases = list_bases(disk)?;
    let written = bases.iter().rposition(|base| *base < end).unwrap_or(0);
    let first = written.min(bases.len().saturating_sub(WRITTEN_MAX));
    for base in bases.into_iter().skip(first) {
        let name = file_name::segment(base);
        let path = disk.path(Folder::Root, &name);
        let file = disk.open_read(Folder::Root, &name).map_err(|error| open_error(path.clone(), error))?;
        file.sync().map_err(|source| Error::io("sync", path, source))?;
    }
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::journal::{JournalWriter, Options};

    /// As another process would have them.
    fn of_nobody(sim: &SimDisk, reader: JournalReader) -> Cursors {
        let disk = sim.disk();
        Cursors { disk: disk.clone().reader(), writable: Some(disk), reader, preparer: Weak::new() }
    }

    /// Found by reading: a cursor that was set behind what a killed writer had not flushed outlived it in a power cut, and
    /// the crash passed for damage.
    #[test]
    fn a_cursor_set_without_a_writer_outlives_nothing_that_stands_before_it() {
        let options = || Options::new().segment_bytes(64 << 10);
        let mut unacknowledged = 0;
        for seed in 0..40 {
            for nth in 1..8 {
                let sim = SimDisk::new(seed);
                sim.buffered_log(true);
                let mut writer = JournalWriter::open_simulated(&sim, options()).unwrap();
                writer.append(b"first").unwrap();
                sim.crash_at(nth);
                let second = writer.append(&[2; 3000]);
                sim.process_kill();
                drop(writer);
                let reader = JournalReader::open_simulated(&sim).unwrap();
                let end = reader.durable_end().unwrap();
                let records = reader.iter_from(Offset::ZERO).unwrap().count();
                unacknowledged += u32::from(records == 2 && second.is_err());
                of_nobody(&sim, reader).set("reader", end, CursorKind::Pinned).unwrap();
                sim.power_cut();
                let writer = JournalWriter::open_simulated(&sim, options()).unwrap();
                assert!(writer.durable_end() >= end, "seed {seed}, operation {nth}");
            }
        }
        assert!(unacknowledged > 10, "only {unacknowledged} appends were cut before their flush");
    }
}
