//! Putting the end in order: keep a copy of what is cut, zero it, rewrite the last commit with what survives, sync.
//!
//! Every step can be interrupted: the copy is durable before anything is zeroed, and zeroing comes before the commit
//! record is rewritten, so that a crash between leaves the same whole records to be found again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::observe::{Dirty, Observation};
use crate::disk::{BLOCK_BYTES, Disk, Folder, FolderLock, WriteFile, block_ceiling};
use crate::error::{Error, Result};
use crate::format::commit::CommitRecord;
use crate::format::file_name::{self, FLOOR, UNFINISHED, WATERMARK};
use crate::format::scan::Expected;
use crate::format::state_file::{StateFile, StateKind};
use crate::segment::manager::directory_of;
use crate::segment::state::{self, FOLDER_PATIENCE};
use crate::segment::walk::{Cache, SegmentFile};
use crate::segment::watermark::{Mark, Watermark};

const CHUNK_BYTES: usize = 1 << 20;

/// What was cut.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) bytes: u64,
    pub(super) files: Vec<PathBuf>,
}

/// Cuts everything behind what is kept.
pub(super) fn heal(
    disk: &dyn Disk,
    seen: &Observation,
    writable: &mut dyn FnMut(u64) -> Result<Arc<dyn WriteFile>>,
) -> Result<Cut> {
    let kept_end = seen.tail.kept_end();
    let segment = &seen.tail.segment;
    let mut cut = Cut::default();
    give_up_beyond(disk, seen, kept_end)?;
    if let Some(end) = seen.dirty_end {
        // The commit as it was found, its record included, is worth more to an investigator than its cut end alone.
        let from = seen.tail.partial.map_or(kept_end, |partial| partial.start);
        cut.files.push(keep_copy(disk, segment, from, end)?);
        cut.bytes += end - kept_end;
    }
    for Dirty { segment, end } in &seen.dirty_later {
        cut.files.push(keep_copy(disk, segment, segment.header.base, *end)?);
        cut.bytes += end - segment.header.base;
    }
    set_aside(disk, seen, &mut cut)?;
    for Dirty { segment, end } in &seen.dirty_later {
        let file = writable(segment.header.base)?;
        zero(segment, &*file, segment.header.base, *end)?;
        sync(&*file, segment)?;
    }
    let file = writable(segment.header.base)?;
    if let Some(end) = seen.dirty_end {
        zero(segment, &*file, kept_end, end)?;
        sync(&*file, segment)?;
    }
    if let Some(partial) = seen.tail.partial.filter(|partial| partial.whole_records > 0) {
        write_commit(segment, &*file, partial.start, &partial.surviving())?;
    }
    if let Some(first) = new_beginning(seen) {
        write_commit(segment, &*file, first.durable_below, &first)?;
    }
    Ok(cut)
}

/// Behind a cleanup, a journal without any commit is one that has lost them: where everything that cleanup left was given
/// up, an empty commit stands in its place, so that the next opening finds a beginning.
pub(super) fn new_beginning(seen: &Observation) -> Option<CommitRecord> {
    let base = seen.tail.segment.header.base;
    let Expected { number, chain, .. } = seen.tail.end.next;
    let (records, bytes) = (0, BLOCK_BYTES as u64);
    (seen.tail.is_empty && base > 0).then_some(CommitRecord {
        clean: false,
        records,
        bytes,
        number,
        durable_below: base,
        chain,
    })
}

fn write_commit(segment: &SegmentFile, file: &dyn WriteFile, at: u64, record: &CommitRecord) -> Result<()> {
    let (bytes, _) = record.encode(at, segment.header.id);
    let position = segment.header.position_of(at);
    file.write_at(&bytes, position).map_err(|source| Error::io("write", &segment.path, source))?;
    sync(file, segment)
}

/// Takes back what other files say about offsets that are given up, so that they are no evidence against what follows.
fn give_up_beyond(disk: &dyn Disk, seen: &Observation, kept_end: u64) -> Result<()> {
    let id = seen.segments.journal_id();
    // One that ends just there may name an orderly close: the next opening would look no further, however little of what
    // stands behind is zeroed by then.
    if seen.mark.is_some_and(|mark| mark.durable_end >= kept_end) {
        let mark = Mark { durable_end: kept_end, last_commit: kept_end };
        let watermark = Watermark::create(disk, id, mark)?;
        watermark.sync().map_err(|source| Error::io("sync", disk.path(Folder::Root, WATERMARK), source))?;
    }
    // Consumers, and a cleanup that its writer did not wait for, change the same files under this lock.
    let _lock = lock_cursors(disk)?;
    for (name, _) in &seen.cursors_beyond {
        let Some(cursor) = state::read(disk, Folder::Cursors, name)? else { continue };
        if cursor.offset <= kept_end {
            // Set anew since it was looked at.
            continue;
        }
        state::write(disk, Folder::Cursors, name, &StateFile { offset: kept_end, ..cursor })?;
    }
    if seen.floor > kept_end {
        let floor = StateFile { kind: StateKind::Floor, id, offset: kept_end };
        state::write(disk, Folder::Root, FLOOR, &floor)?;
    }
    Ok(())
}

/// Keeps consumers from setting cursors, and cleanups out. `None` where there is no folder: nobody is there to be kept out.
fn lock_cursors(disk: &dyn Disk) -> Result<Option<Box<dyn FolderLock>>> {
    match disk.lock_folder(Folder::Cursors, FOLDER_PATIENCE) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("lock", disk.path(Folder::Cursors, ""), source)),
    }
}

/// Moves the segments behind a fault to `cut/`, newest first, so that a crash in between leaves no new gap.
fn set_aside(disk: &dyn Disk, seen: &Observation, cut: &mut Cut) -> Result<()> {
    if seen.behind_fault.is_empty() {
        return Ok(());
    }
    make_cut_folder(disk)?;
    for base in &seen.behind_fault {
        let (name, aside) =
            (file_name::segment(*base), free_cut_name(disk, |copy| file_name::set_aside(*base, copy))?);
        let path = disk.path(Folder::Cut, &aside);
        disk.rename((Folder::Root, &name), (Folder::Cut, &aside))
            .map_err(|source| Error::io("move aside", disk.path(Folder::Root, &name), source))?;
        let file = disk.open_read(Folder::Cut, &aside).map_err(|source| Error::io("open", &path, source))?;
        cut.bytes += file.len().map_err(|source| Error::io("stat", &path, source))?;
        cut.files.push(path);
        sync_folder(disk, Folder::Cut)?;
        sync_folder(disk, Folder::Root)?;
    }
    Ok(())
}

fn make_cut_folder(disk: &dyn Disk) -> Result<()> {
    let path = disk.path(Folder::Cut, "");
    disk.make_folder(Folder::Cut).map_err(|source| Error::io("create", path, source))?;
    sync_folder(disk, Folder::Root)
}

fn sync_folder(disk: &dyn Disk, folder: Folder) -> Result<()> {
    let path = directory_of(disk);
    disk.sync_folder(folder).map_err(|source| Error::io("sync", path, source))
}

/// Copies `from..end` of the segment to a file in `cut/`, durably, and gives its path.
fn keep_copy(disk: &dyn Disk, segment: &SegmentFile, from: u64, end: u64) -> Result<PathBuf> {
    make_cut_folder(disk)?;
    let name = free_cut_name(disk, |copy| file_name::cut(segment.header.base, from, copy))?;
    let unfinished = format!("{name}{UNFINISHED}");
    let path = disk.path(Folder::Cut, &name);
    let failed = |operation| {
        let path = path.clone();
        move |source| Error::io(operation, path, source)
    };
    match disk.remove(Folder::Cut, &unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
        _ => {}
    }
    let file = disk.create(Folder::Cut, &unfinished).map_err(failed("create"))?;
    let step = |at: u64| usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(CHUNK_BYTES);
    let mut chunk = vec![0; step(from)];
    let mut at = from;
    while at < end {
        let bytes = step(at);
        let chunk = chunk.get_mut(..bytes).unwrap_or_default();
        segment.read(chunk, at, Cache::Past)?;
        file.write_at(chunk, at - from).map_err(failed("write"))?;
        at += bytes as u64;
    }
    file.sync().map_err(failed("sync"))?;
    disk.rename((Folder::Cut, &unfinished), (Folder::Cut, &name)).map_err(failed("rename"))?;
    sync_folder(disk, Folder::Cut)?;
    Ok(path)
}

/// A name that no earlier recovery used: what it kept may be more than what is left now.
fn free_cut_name(disk: &dyn Disk, name_of_copy: impl Fn(u32) -> String) -> Result<String> {
    let path = disk.path(Folder::Cut, "");
    let taken = disk.list(Folder::Cut).map_err(|source| Error::io("list", path, source))?;
    let free =
        (0..=u32::MAX).map(name_of_copy).find(|name| taken.iter().all(|entry| entry.name != name.as_str()));
    Ok(free.expect("fewer than four billion copies of one cut"))
}

/// Writes zeros over `from..end`, offsets of the segment; not durable yet.
fn zero(segment: &SegmentFile, file: &dyn WriteFile, from: u64, end: u64) -> Result<()> {
    if cfg!(ringwal_zoo = "heal_keeps_what_followed") {
        return Ok(());
    }
    let failed = |source| Error::io("write", &segment.path, source);
    let first_block = block_ceiling(from).min(segment.header.end());
    let head = usize::try_from(first_block.min(end.max(from)) - from).unwrap_or(0);
    let zeros = [0; BLOCK_BYTES];
    file.write_at(zeros.get(..head).unwrap_or_default(), segment.header.position_of(from)).map_err(failed)?;
    // What was written through the page cache must not be written back over what goes past it.
    sync(file, segment)?;
    let last_block = block_ceiling(end).min(segment.header.end());
    if last_block > first_block {
        file.write_zeros(segment.header.position_of(first_block), last_block - first_block)
            .map_err(failed)?;
    }
    Ok(())
}

fn sync(file: &dyn WriteFile, segment: &SegmentFile) -> Result<()> {
    if cfg!(ringwal_zoo = "heal_not_synced") {
        return Ok(());
    }
    file.sync().map_err(|source| Error::io("sync", &segment.path, source))
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use std::time::Duration;

    use super::super::observe::{observe, tests::journal};
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::format::segment_header::SegmentHeader;
    use crate::position::JournalId;

    /// Found by reading: giving up wrote cursors without the lock under which their consumers set them.
    #[test]
    fn a_cursor_is_taken_back_only_when_nobody_sets_it_and_only_as_far_as_it_stands() {
        let (_control, disk, segments) = journal(0);
        disk.make_folder(Folder::Cursors).unwrap();
        let at = |offset| {
            let id = segments.journal_id();
            StateFile { kind: StateKind::PinnedCursor, id, offset }
        };
        let stands_at =
            || state::read(&*disk.clone().reader(), Folder::Cursors, "reader").unwrap().unwrap().offset;
        state::write(&*disk, Folder::Cursors, "reader", &at(105)).unwrap();
        let seen = observe(&*disk.clone().reader(), 0, false).unwrap();
        let lock = disk.lock_folder(Folder::Cursors, Duration::ZERO).unwrap();
        assert!(matches!(give_up_beyond(&*disk, &seen, 104), Err(Error::Io { .. })));
        assert_eq!(stands_at(), 105);
        drop(lock);
        give_up_beyond(&*disk, &seen, 104).unwrap();
        assert_eq!(stands_at(), 104);
        state::write(&*disk, Folder::Cursors, "reader", &at(50)).unwrap();
        give_up_beyond(&*disk, &seen, 104).unwrap();
        assert_eq!(stands_at(), 50);
    }

    #[test]
    fn zeros_go_from_the_cut_to_the_end_of_its_last_block_and_no_farther() {
        const CAPACITY: u64 = 60 << 10;
        let header = SegmentHeader { id: JournalId([4; 16]), base: CAPACITY, capacity: CAPACITY, created: 0 };
        let name = file_name::segment(header.base);
        for (from, end) in [(0, 1), (5000, 5100), (5000, 9000), (8192, 8193), (5000, CAPACITY)] {
            let control = SimDisk::new(1);
            let disk = control.disk();
            let file = disk.create(Folder::Root, &name).unwrap();
            file.write_at(&vec![7; 64 << 10], 0).unwrap();
            let segment = SegmentFile::open(&*disk.reader(), header).unwrap();
            zero(&segment, &*file, header.base + from, header.base + end).unwrap();
            let mut expected = vec![7; 64 << 10];
            // Within the block that something of is kept, not even to its end.
            let stop = if end < block_ceiling(from) { end } else { block_ceiling(end) };
            let [start, stop] = [from, stop].map(|at| BLOCK_BYTES + usize::try_from(at).unwrap());
            expected[start..stop].fill(0);
            assert!(control.content(&name).unwrap() == expected, "{from}..{end}");
        }
    }
}
