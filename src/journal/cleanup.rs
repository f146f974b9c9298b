//! Cleanup: raising the floor and removing whole sealed segments below it.
//!
//! Guarantees: the floor is durable before anything is removed; removal goes from the oldest on; nothing at or above a
//! pinned cursor goes; a damaged cursor stops cleanup.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{CursorKind, lock_folder, read_all};
use super::options::Options;
use super::reader::JournalReader;
use super::writer::JournalWriter;
use crate::disk::{Disk, Folder, FolderLock};
use crate::error::{Error, Result};
use crate::format::file_name::{self, FLOOR};
use crate::format::state_file::{StateFile, StateKind};
use crate::position::Offset;
use crate::segment::files::open_error;
use crate::segment::manager::SegmentManager;
use crate::segment::prepare::Preparer;
use crate::segment::state::{self, FOLDER_PATIENCE};

/// How long the cleanup after a change of segments waits for consumers: several times as long as setting a cursor takes.
const ROTATION_PATIENCE: Duration = Duration::from_millis(50);

/// What a cleanup did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupReport {
    /// The lowest offset kept, durably so.
    pub floor: Offset,
    /// Whether this cleanup raised it.
    pub raised: bool,
    /// Segments that were removed, or are being removed in the background.
    pub segments_removed: u64,
    /// The bytes of their files.
    pub bytes_removed: u64,
}

/// What cleanup goes by, besides cursors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    bytes: Option<u64>,
    age: Option<Duration>,
}

impl Retention {
    pub(super) fn of(options: &Options) -> Self {
        Self { bytes: options.retention_bytes, age: options.retention_age }
    }
}

impl JournalWriter {
    /// Raises the floor to the lowest pinned cursor, or as far below it as retention by bytes or age says, and removes
    /// the segments wholly below. Without retention and without a pinned cursor nothing is removed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a cursor's file is damaged (nothing is removed then); [`Error::Io`]. Where that was a flush
    /// that failed, the next commit is [`Error::Failed`]: the device may have lost of the journal what it said it had.
    pub fn cleanup(&mut self) -> Result<CleanupReport> {
        self.check_usable()?;
        cleanup(&*self.disk, &self.preparer, &self.reader()?, Retention::of(&self.options))
    }
}

/// Cleans up a journal that no writer has open, by the cursors and the options' retention.
///
/// # Errors
/// [`Error::Locked`] while a writer has it open: that writer cleans up; otherwise as [`JournalWriter::cleanup`].
pub fn cleanup_directory(directory: impl AsRef<Path>, options: &Options) -> Result<CleanupReport> {
    let mut writer = JournalWriter::open(directory, options.clone().create(false))?;
    let report = writer.cleanup()?;
    writer.close()?;
    Ok(report)
}

/// With retention, every change of segments is followed by a cleanup.
pub(super) fn after_rotation(writer: &JournalWriter) {
    if !writer.options.has_retention() {
        return;
    }
    let Ok(reader) = writer.reader() else { return };
    let (disk, retention) = (writer.disk.clone(), Retention::of(&writer.options));
    let preparer = Arc::downgrade(&writer.preparer);
    // A cleanup that fails is tried again after the next change of segments, and reports to whoever calls it. So is one for
    // which the cursors' lock is not to be had soon: this thread is waited for by who needs the next segment, and a consumer
    // that was stopped while it set its cursor holds the lock as long as it pleases.
    writer.preparer.run(Box::new(move || {
        if let Some(preparer) = preparer.upgrade() {
            let _ = clean_up_within(ROTATION_PATIENCE, &*disk, &preparer, &reader, retention);
        }
    }));
}

pub(super) fn cleanup(
    disk: &dyn Disk,
    preparer: &Preparer,
    reader: &JournalReader,
    retention: Retention,
) -> Result<CleanupReport> {
    clean_up_within(FOLDER_PATIENCE, disk, preparer, reader, retention)
}

/// Cleans up if the lock of the cursors' folder can be had within `patience`.
fn clean_up_within(
    patience: Duration,
    disk: &dyn Disk,
    preparer: &Preparer,
    reader: &JournalReader,
    retention: Retention,
) -> Result<CleanupReport> {
    lock_folder(disk, patience)
        .and_then(|lock| clean_up(&*lock, disk, preparer, reader, retention))
        .inspect_err(|error| preparer.note(error))
}

fn clean_up(
    _lock: &dyn FolderLock,
    disk: &dyn Disk,
    preparer: &Preparer,
    reader: &JournalReader,
    retention: Retention,
) -> Result<CleanupReport> {
    // A consumer that was killed while it set its cursor has left one that a power cut could still take back.
    let path = disk.path(Folder::Cursors, "");
    disk.sync_folder(Folder::Cursors).map_err(|source| Error::io("sync", path, source))?;
    let floor = reader.refresh_floor()?.get();
    let mut segments = SegmentManager::load_sound(disk, floor, None)?;
    let durable_end = reader.durable_end()?.get();
    let pinned = read_all(disk, reader)?
        .into_iter()
        .filter(|cursor| cursor.kind == CursorKind::Pinned)
        .map(|cursor| cursor.offset.get())
        .min();
    let target = match (retention.floor(disk, &segments, floor, durable_end)?, pinned) {
        (Some(retained), Some(pinned)) => retained.min(pinned),
        (Some(retained), None) => retained,
        (None, Some(pinned)) => pinned,
        (None, None) => floor,
    };
    let target = below_the_end(&segments, target, durable_end).clamp(floor, durable_end.max(floor));
    let sizes: Vec<_> = segments.headers().iter().map(|header| header.position_of(header.end())).collect();
    let id = segments.journal_id();
    let removed = segments.forget_below(target);
    // Also when the floor is there already: a cleanup that failed may have left one that only the cache knows, and a
    // second sync after one that failed would prove nothing.
    if target > floor || !removed.is_empty() {
        let state = StateFile { kind: StateKind::Floor, id, offset: target };
        if cfg!(ringwal_zoo = "cleanup_before_the_floor_is_durable") {
            preparer.remove(removed.clone())?;
        }
        state::write(disk, Folder::Root, FLOOR, &state)?;
        reader.note_floor(target);
    }
    let bytes_removed = sizes.iter().take(removed.len()).sum();
    let segments_removed = removed.len() as u64;
    preparer.remove(removed)?;
    Ok(CleanupReport { floor: Offset::new(target), raised: target > floor, segments_removed, bytes_removed })
}

/// The floor that is wanted, but for the last segment with commits in it: one that is full stays until the next one has a
/// commit. Without any, a journal would look as if it had lost its records.
fn below_the_end(segments: &SegmentManager, wanted: u64, durable_end: u64) -> u64 {
    match segments.headers().iter().find(|header| header.end() == durable_end) {
        Some(last) if wanted >= durable_end => last.base,
        _ => wanted,
    }
}

impl Retention {
    /// The floor that retention alone would set: a segment's end, or `present` where there is nothing to raise. `None`
    /// without retention.
    fn floor(
        &self,
        disk: &dyn Disk,
        segments: &SegmentManager,
        present: u64,
        durable_end: u64,
    ) -> Result<Option<u64>> {
        if self.bytes.is_none() && self.age.is_none() {
            return Ok(None);
        }
        let mut floor = present;
        // What lies below the present floor is given up whatever its age, and an earlier cleanup may be removing it just now.
        let kept = segments.headers().iter().filter(|header| header.end() > present);
        for header in kept.take_while(|header| header.end() <= durable_end) {
            let too_many = self.bytes.is_some_and(|bytes| durable_end - header.base > bytes);
            let too_old = match self.age {
                Some(age) => is_older(disk, header.base, age)?,
                None => false,
            };
            if !too_many && !too_old {
                break;
            }
            floor = header.end();
        }
        Ok(Some(floor))
    }
}

fn is_older(disk: &dyn Disk, base: u64, age: Duration) -> Result<bool> {
    let name = file_name::segment(base);
    let path = disk.path(Folder::Root, &name);
    let file = disk.open_read(Folder::Root, &name).map_err(|error| open_error(path.clone(), error))?;
    let modified = file.modified().map_err(|source| Error::io("stat", path, source))?;
    // A clock that went back makes segments young again, never old.
    Ok(disk.now().duration_since(modified).is_ok_and(|since| since > age))
}

#[cfg(test)]
mod tests;
