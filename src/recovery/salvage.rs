//! Reading what is left of a damaged journal, stepping over damage; nothing is changed, nothing is trusted twice.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::disk::ReadDisk;
use crate::disk::native::NativeDisk;
use crate::error::{CorruptionKind, Error, Result};
use crate::format::bytes::is_zero;
use crate::format::commit::COMMIT_RECORD_BYTES;
use crate::format::record::{RECORD_HEADER_BYTES, RecordHeader};
use crate::format::scan::{Scan, Step, find_commit};
use crate::position::{Hash, Offset};
use crate::segment::manager::{list_bases, read_header};
use crate::segment::walk::{Cache, Item, SegmentFile, Walk};

const CHUNK_BYTES: usize = 1 << 20;
/// Read to look whether there is a record at all, where most often there is none.
const PROBE_BYTES: usize = 16 << 10;

/// What salvage came to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Salvaged<'a> {
    /// A record whose checksum and hash are right.
    Record {
        /// Where it stands.
        offset: Offset,
        /// Its content hash.
        hash: Hash,
        /// Its payload.
        payload: &'a [u8],
    },
    /// Offsets that could not be read as records: damaged, missing, or never written.
    Lost {
        /// From the first bad byte to where reading went on.
        range: Range<Offset>,
        /// What was wrong at its beginning.
        kind: CorruptionKind,
    },
    /// A segment file that could not be used at all.
    Unusable {
        /// Why.
        error: Error,
    },
}

/// Reads all that can still be read of a journal, in order. Needs read permission only, takes no lock.
#[derive(Debug)]
pub struct Salvage {
    disk: Arc<dyn ReadDisk>,
    bases: std::vec::IntoIter<u64>,
    walk: Option<Walk>,
    /// Where the previous segment ended, by its header.
    expected_base: Option<u64>,
}

impl Salvage {
    /// Begins at the first segment file there is.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed; [`Error::NotAJournal`] without segment files.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let disk = NativeDisk::open_read(directory).map_err(|source| Error::io("open", directory, source))?;
        let bases = list_bases(&*disk)?;
        if bases.is_empty() {
            return Err(Error::NotAJournal { directory: directory.into() });
        }
        Ok(Self { disk, bases: bases.into_iter(), walk: None, expected_base: None })
    }

    /// The next record or the next gap; `None` at the end. Memory is one chunk of 1 MiB plus one record.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; the next call goes on with the next segment.
    pub fn next_item(&mut self) -> Result<Option<Salvaged<'_>>> {
        loop {
            let Some(walk) = &mut self.walk else {
                let Some(base) = self.bases.next() else { return Ok(None) };
                if let Some(found) = self.enter(base) {
                    return Ok(Some(found));
                }
                continue;
            };
            match walk.next() {
                Ok(Item::Record { offset, hash, .. }) => {
                    let offset = Offset::new(offset);
                    // The borrow of the payload must outlive the loop, so it is taken on the way out.
                    let walk = self.walk.as_ref().expect("the walk that gave the record");
                    return Ok(Some(Salvaged::Record { offset, hash, payload: walk.payload() }));
                }
                Ok(Item::Commit { .. } | Item::CommitEnd { .. } | Item::Padding { .. }) => {}
                Ok(Item::SegmentEnd) => self.walk = None,
                Ok(Item::Bad { at, kind }) => match self.step_over(at, kind) {
                    Ok(Some(lost)) => return Ok(Some(lost)),
                    Ok(None) => {}
                    Err(error) => {
                        self.walk = None;
                        return Err(error);
                    }
                },
                Err(error) => {
                    self.walk = None;
                    return Err(error);
                }
            }
        }
    }

    fn enter(&mut self, base: u64) -> Option<Salvaged<'static>> {
        let header = match read_header(&*self.disk, base, Cache::Through) {
            Ok(Some((header, _))) => header,
            Ok(None) => return None,
            Err(error) => return Some(Salvaged::Unusable { error }),
        };
        let gap = self.expected_base.filter(|expected| *expected < base).map(|expected| Salvaged::Lost {
            range: Offset::new(expected)..Offset::new(base),
            kind: CorruptionKind::Missing,
        });
        self.expected_base = Some(header.end());
        match SegmentFile::open(&*self.disk, header) {
            Ok(segment) => {
                let scan = Scan::at_commit(header.id, base, header.end(), None).check_hash(true);
                self.walk = Some(Walk::new(segment, scan, Cache::Past, CHUNK_BYTES));
                gap
            }
            Err(error) => Some(Salvaged::Unusable { error }),
        }
    }

    /// Goes on at the next valid commit record of the segment; the rest of it is lost where there is none, and is not
    /// even lost where only zeros follow.
    fn step_over(&mut self, bad: u64, kind: CorruptionKind) -> Result<Option<Salvaged<'static>>> {
        let walk = self.walk.as_mut().expect("the walk that came to the bad place");
        let segment = walk.segment().clone();
        let header = segment.header;
        // A damaged payload leaves the length in its header right: then the next record of the commit is there.
        if let Some(at) = record_behind(walk, bad)? {
            walk.go_on(Scan::at_record(header.id, at, header.end()).check_hash(true));
            return Ok(Some(Salvaged::Lost { range: Offset::new(bad)..Offset::new(at), kind }));
        }
        let (next, any_data) = find_commit_behind(walk, bad)?;
        let range = |end: u64| Offset::new(bad)..Offset::new(end);
        match next {
            Some(at) => {
                let scan = Scan::at_commit(header.id, at, header.end(), None).check_hash(true);
                walk.go_on(scan);
                Ok(Some(Salvaged::Lost { range: range(at), kind }))
            }
            None => {
                self.walk = None;
                Ok(any_data.then(|| Salvaged::Lost { range: range(header.end()), kind }))
            }
        }
    }
}

/// Where the bad record at `bad` ends by its own length, if something valid stands there.
fn record_behind(walk: &mut Walk, bad: u64) -> Result<Option<u64>> {
    let segment = walk.segment();
    let (id, end) = (segment.header.id, segment.header.end());
    let mut bytes = [0; RECORD_HEADER_BYTES];
    match walk.at_hand(bad).first_chunk() {
        Some(at_hand) => bytes = *at_hand,
        None => segment.read(&mut bytes, bad, Cache::Past)?,
    }
    let Some(header) = RecordHeader::decode(&bytes).filter(|_| !is_zero(&bytes)) else { return Ok(None) };
    let next = bad.saturating_add(header.record_bytes() as u64);
    if next >= end {
        return Ok(None);
    }
    let scan = || Scan::at_record(id, next, end).check_hash(true);
    let is_valid = match scan().step(walk.at_hand(next)) {
        Step::Need(_) => {
            let mut probe = Walk::new(segment.clone(), scan(), Cache::Past, PROBE_BYTES);
            let found = matches!(probe.next()?, Item::Record { .. } | Item::Commit { .. });
            walk.forget();
            found
        }
        step => matches!(step, Step::Record { .. } | Step::Commit { .. }),
    };
    Ok(is_valid.then_some(next))
}

/// Where the next valid commit record behind the bad place that the walk has come to begins, and whether
/// anything that is not zero stands there. What was read already is gone over first: a segment that is damaged in very many
/// places is not read anew for each of them.
pub(crate) fn find_commit_behind(walk: &mut Walk, bad: u64) -> Result<(Option<u64>, bool)> {
    let from = bad.saturating_add(1);
    if let Some((found, _)) = find_commit(walk.at_hand(from), from, walk.segment().header.id) {
        return Ok((Some(found), true));
    }
    // What is found now may have come since that was read.
    walk.forget();
    find_next_commit(walk.segment(), from, bad)
}

/// Where the next valid commit record begins at or behind `from`, and whether anything that is not zero stands at or
/// behind `bad`.
pub(crate) fn find_next_commit(segment: &SegmentFile, from: u64, bad: u64) -> Result<(Option<u64>, bool)> {
    let mut at = bad;
    let mut any_data = false;
    let end = segment.data_end()?;
    let room = usize::try_from(end.saturating_sub(bad)).unwrap_or(usize::MAX);
    let mut chunk = vec![0; room.min(CHUNK_BYTES + COMMIT_RECORD_BYTES)];
    while at < end {
        let room = usize::try_from(end - at).unwrap_or(usize::MAX);
        let bytes = chunk.get_mut(..room.min(CHUNK_BYTES + COMMIT_RECORD_BYTES)).unwrap_or_default();
        segment.read(bytes, at, Cache::Past)?;
        any_data |= !is_zero(bytes);
        let skip = usize::try_from(from.saturating_sub(at)).unwrap_or(0);
        let searched = bytes.get(skip..).unwrap_or_default();
        if let Some((found, _)) = find_commit(searched, at + skip as u64, segment.header.id) {
            return Ok((Some(found), any_data));
        }
        at += (bytes.len().min(CHUNK_BYTES)) as u64;
    }
    Ok((None, any_data))
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::sim::{Failure, SimDisk};
    use crate::disk::{Disk, Folder};
    use crate::format::commit::{Chain, CommitRecord};
    use crate::format::file_name;
    use crate::format::segment_header::SegmentHeader;
    use crate::position::JournalId;

    const EIO: i32 = 5;

    /// A segment of 4 MiB with an empty commit and, in the middle, bytes that are none.
    fn segment(disk: &dyn Disk) {
        let id = JournalId([4; 16]);
        let header = SegmentHeader { id, base: 0, capacity: 4 << 20, created: 0 };
        let commit = CommitRecord {
            clean: false,
            records: 0,
            bytes: 104,
            number: 0,
            durable_below: 0,
            chain: Chain::origin(id),
        };
        let file = disk.create(Folder::Root, &file_name::segment(0)).unwrap();
        file.allocate(header.position_of(header.end())).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        file.write_at(&commit.encode(0, id).0, header.position_of(0)).unwrap();
        file.write_at(&[9; 512], header.position_of(2 << 20)).unwrap();
    }

    /// Found by reading: where the device failed behind a bad place, salvage came to the same place for ever.
    #[test]
    fn behind_an_unreadable_place_salvage_goes_on_with_the_next_segment() {
        let mut failed = 0;
        for nth in 1..40 {
            let control = SimDisk::new(1);
            segment(&*control.disk());
            let bases = vec![0].into_iter();
            let mut salvage =
                Salvage { disk: control.disk().reader(), bases, walk: None, expected_base: None };
            control.fail_operation(nth, EIO, Failure::Forever);
            let mut errors = 0;
            loop {
                match salvage.next_item() {
                    Ok(None) => break,
                    Ok(Some(_)) => {}
                    Err(error) => {
                        errors += 1;
                        assert!(errors < 2, "operation {nth} fails: {error} again");
                    }
                }
            }
            failed += errors;
        }
        assert!(failed > 3, "only {failed} errors");
    }
}
