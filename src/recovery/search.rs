//! What stands behind the first bad place: bytes that are not zero, and commits that vouch for what was before them.

use crate::error::{Evidence, Result};
use crate::format::bytes::is_zero;
use crate::format::commit::COMMIT_RECORD_BYTES;
use crate::format::scan::find_commit;
use crate::position::Offset;
use crate::segment::walk::{Cache, SegmentFile};

const CHUNK_BYTES: usize = 1 << 20;
/// A commit record that begins in the last bytes of a chunk is seen in the next one.
const OVERLAP_BYTES: usize = COMMIT_RECORD_BYTES - 1;
const SECTOR_BYTES: usize = 512;

/// What stands in one segment from an offset on.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The first offset behind the last byte that is not zero.
    pub(super) dirty_end: Option<u64>,
    /// The first commit found that vouches for what lies beyond the bad place.
    pub(super) vouching: Option<Evidence>,
    /// Some 512-byte sector before `dirty_end` is all zeros.
    pub(super) zero_sector: bool,
}

impl Rest {
    /// Something is there that is no valid commit, and no sector of it is missing.
    pub(super) fn arrived_whole(&self) -> bool {
        self.dirty_end.is_some() && !self.zero_sector
    }
}

/// Looks through `segment` from `from` to its end, for bytes that are not zero and for commits with
/// `durable_below` above `bad`.
pub(super) fn search(segment: &SegmentFile, from: u64, bad: u64) -> Result<Rest> {
    let mut rest = Rest::default();
    let mut zero_sectors_since_dirty = false;
    let mut at = from;
    let end = segment.data_end()?;
    let room = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
    let mut chunk = vec![0; room.min(CHUNK_BYTES + OVERLAP_BYTES)];
    while at < end {
        // What was never written reads as zeros whatever the device holds, so it need not be read.
        let written = segment.written_from(at)?.min(end);
        if written > at {
            if cfg!(ringwal_zoo = "hole_taken_for_the_end") {
                break;
            }
            zero_sectors_since_dirty = true;
            at = written;
            continue;
        }
        let room = usize::try_from(end - at).unwrap_or(usize::MAX);
        let bytes = chunk.get_mut(..room.min(CHUNK_BYTES + OVERLAP_BYTES)).unwrap_or_default();
        segment.read(bytes, at, Cache::Past)?;
        let own = bytes.get(..room.min(CHUNK_BYTES)).unwrap_or_default();
        if is_zero(own) {
            // No commit begins in zeros: its first byte, of the length of its payload, is not one.
            zero_sectors_since_dirty = true;
        } else {
            note_dirty(own, at, &mut rest, &mut zero_sectors_since_dirty);
            // Only a commit record that begins in this chunk: the overlap belongs to the next.
            if rest.vouching.is_none() {
                look_for_commits(bytes, at, own.len(), bad, segment, &mut rest);
            }
        }
        at += own.len() as u64;
    }
    Ok(rest)
}

/// Goes by the sectors of the file, whatever offset `own` begins at: each of them arrived whole or not at all.
fn note_dirty(own: &[u8], at: u64, rest: &mut Rest, pending_zero: &mut bool) {
    let head = SECTOR_BYTES - usize::try_from(at % SECTOR_BYTES as u64).unwrap_or(0);
    let (first, others) = own.split_at(head.min(own.len()));
    let mut start = at;
    for sector in std::iter::once(first).chain(others.chunks(SECTOR_BYTES)) {
        // Most are all zeros or end with something else, and both show at once.
        let last = if is_zero(sector) { None } else { sector.iter().rposition(|byte| *byte != 0) };
        match last {
            None => *pending_zero = true,
            Some(last) => {
                rest.zero_sector |= std::mem::take(pending_zero);
                rest.dirty_end = Some(start + last as u64 + 1);
            }
        }
        start += sector.len() as u64;
    }
}

fn look_for_commits(bytes: &[u8], at: u64, own: usize, bad: u64, segment: &SegmentFile, rest: &mut Rest) {
    let mut skip = 0;
    while let Some((found, record)) =
        bytes.get(skip..).and_then(|bytes| find_commit(bytes, at + skip as u64, segment.header.id))
    {
        let index = usize::try_from(found - at).unwrap_or(usize::MAX);
        if index >= own {
            return;
        }
        if record.durable_below > bad || cfg!(ringwal_zoo = "any_later_commit_is_evidence") {
            let durable_below = Offset::new(record.durable_below);
            rest.vouching = Some(Evidence::LaterCommit { at: Offset::new(found), durable_below });
            return;
        }
        skip = index + 1;
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::Folder;
    use crate::disk::sim::SimDisk;
    use crate::format::commit::CommitRecord;
    use crate::format::file_name;
    use crate::format::segment_header::SegmentHeader;
    use crate::position::{Hash, JournalId};

    #[test]
    fn a_commit_vouches_wherever_it_stands_and_whatever_stands_before_it() {
        const FROM: usize = 304;
        let id = JournalId([4; 16]);
        let header = SegmentHeader { id, base: 0, capacity: 4 << 20, created: 0 };
        let commit = |at: usize, durable_below| {
            let record = CommitRecord {
                clean: false,
                records: 0,
                bytes: 104,
                number: 7,
                durable_below,
                chain: Hash([1; 32]),
            };
            record.encode(at as u64, id).0
        };
        let second_chunk = FROM + CHUNK_BYTES;
        for at in [500, second_chunk - 50, second_chunk, second_chunk + 7, 3 * CHUNK_BYTES] {
            let disk = SimDisk::new(1).disk();
            let file = disk.create(Folder::Root, &file_name::segment(0)).unwrap();
            file.allocate(header.position_of(header.end())).unwrap();
            for (at, durable_below) in [(FROM, 310), (at - 104, 310), (at, 311)] {
                file.write_at(&commit(at, durable_below), header.position_of(at as u64)).unwrap();
            }
            let segment = SegmentFile::open(&*disk.reader(), header).unwrap();
            let rest = search(&segment, FROM as u64, 310).unwrap();
            let (at, durable_below) = (Offset::new(at as u64), Offset::new(311));
            assert_eq!(rest.vouching, Some(Evidence::LaterCommit { at, durable_below }));
            assert_eq!(rest.dirty_end, Some(at.get() + 104));
        }
    }

    #[test]
    fn what_was_never_written_is_not_read_and_counts_as_zeros() {
        const BLOCK: u64 = 4096;
        let header = SegmentHeader { id: JournalId([4; 16]), base: 0, capacity: 8 << 20, created: 0 };
        let sim = SimDisk::new(1);
        let disk = sim.disk();
        let file = disk.create(Folder::Root, &file_name::segment(0)).unwrap();
        file.allocate(header.position_of(header.end())).unwrap();
        let segment = SegmentFile::open(&*disk.reader(), header).unwrap();
        let looked_through = |from| {
            let before = sim.operations();
            let rest = search(&segment, from, 0).unwrap();
            (rest, sim.operations() - before)
        };
        let (rest, operations) = looked_through(BLOCK);
        assert_eq!(
            (rest.dirty_end, rest.arrived_whole(), operations),
            (None, false, 1),
            "one question, no read"
        );
        file.write_at(&[9; 4096], header.position_of(5 << 20)).unwrap();
        let (rest, operations) = looked_through((5 << 20) - BLOCK);
        assert_eq!(
            (rest.dirty_end, rest.arrived_whole()),
            (Some((5 << 20) + BLOCK), false),
            "zeros before it"
        );
        assert_eq!(operations, 4, "the hole before, one chunk, the hole behind");
        let (rest, _) = looked_through(5 << 20);
        assert!(rest.arrived_whole(), "no zeros before it");
        file.write_at(&[9; 4096], header.position_of(7 << 20)).unwrap();
        let (rest, _) = looked_through(5 << 20);
        assert_eq!((rest.dirty_end, rest.arrived_whole()), (Some((7 << 20) + BLOCK), false), "zeros between");
    }
}
