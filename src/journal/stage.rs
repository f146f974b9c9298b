//! The stage: the commit that is being gathered, with the buffer that its records stand in.
//!
//! Guarantees: what is put here stands at its offset, checksummed, behind the place of the commit record and the bytes of
//! the block that earlier commits share; nothing is put beyond what the segment and the granted space hold. It needs
//! neither device nor disk, so that the next commit can be gathered while the one before is on its way. Must not know:
//! queues, waiters, devices.

use crate::disk::{AlignedBuffer, BLOCK_BYTES};
use crate::format::commit::COMMIT_RECORD_BYTES;
use crate::format::record::{RECORD_HEADER_BYTES, RecordKind, UnplacedHeader};
use crate::format::segment_header::SegmentHeader;
use crate::position::JournalId;

/// A buffer that has to grow gets at most this much more than what is needed at the moment.
const GROWTH_BYTES_MAX: usize = 8 << 20;

/// A record with everything but its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unplaced<'a> {
    pub(crate) header: UnplacedHeader,
    pub(crate) payload: &'a [u8],
}

impl<'a> Unplaced<'a> {
    pub(crate) fn new(payload: &'a [u8], continues: bool) -> Self {
        Self { header: UnplacedHeader::new(payload, RecordKind::Payload { continues }), payload }
    }
}

/// Whether records fit into the commit that is being gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// What is staged must be committed first.
    CommitFirst,
    /// The commit would reach beyond the segment.
    SegmentFull,
    /// The commit would reach beyond the space that is granted in the segment's file.
    NotGranted,
}

/// What a commit may hold, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) id: JournalId,
    pub(crate) commit_bytes_max: usize,
    pub(crate) commit_records_max: usize,
    /// The segment that the commit goes to.
    pub(crate) header: SegmentHeader,
    /// File positions of that segment below are known to be written or granted.
    pub(crate) granted: u64,
}

/// What a commit is made of, besides its bytes.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) records: u32,
    /// Bytes of the records.
    pub(crate) bytes: usize,
    pub(crate) payload_bytes: u64,
    /// Their content hashes, one behind the other.
    pub(crate) hashes: Vec<u8>,
}

impl Staged {
    pub(crate) fn clear(&mut self) {
        self.records = 0;
        self.bytes = 0;
        self.payload_bytes = 0;
        self.hashes.clear();
    }
}

/// The commit that is being gathered.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) buffer: AlignedBuffer,
    /// Where the commit begins.
    pub(crate) start: u64,
    pub(crate) staged: Staged,
    pub(crate) limits: Limits,
}

impl Stage {
    pub(crate) fn is_empty(&self) -> bool {
        self.staged.records == 0
    }

    /// Bytes of the commit's first block that belong to earlier commits.
    pub(crate) fn block_head(&self) -> usize {
        usize::try_from(self.start % BLOCK_BYTES as u64).expect("less than a block")
    }

    /// Whether records of so many bytes fit.
    pub(crate) fn room(&self, bytes: usize, records: usize) -> Room {
        let too_many = self.staged.records as usize + records > self.limits.commit_records_max;
        let too_large = self.staged.bytes + bytes > self.limits.commit_bytes_max;
        if !self.is_empty() && (too_many || too_large) {
            return Room::CommitFirst;
        }
        let end = self.start + (COMMIT_RECORD_BYTES + self.staged.bytes + bytes) as u64;
        let header = &self.limits.header;
        if end > header.end() {
            return if self.is_empty() { Room::SegmentFull } else { Room::CommitFirst };
        }
        let in_file = crate::disk::block_ceiling(header.position_of(end));
        if in_file > self.limits.granted { Room::NotGranted } else { Room::Enough }
    }

    /// Puts records that belong together into the commit if there is room; gives the offset of the first.
    #[cfg(feature = "group-commit")]
    pub(crate) fn try_put(&mut self, records: &[Unplaced<'_>]) -> Option<u64> {
        let fits = self.room(bytes_of(records), records.len()) == Room::Enough;
        fits.then(|| self.put(records))
    }

    /// Puts records that belong together into the commit; gives the offset of the first.
    ///
    /// # Panics
    /// When there is no room for them.
    pub(crate) fn put(&mut self, records: &[Unplaced<'_>]) -> u64 {
        let bytes = bytes_of(records);
        assert!(self.room(bytes, records.len()) == Room::Enough, "records were staged without room for them");
        let start = self.block_head() + COMMIT_RECORD_BYTES + self.staged.bytes;
        let (buffer, needed) = (&mut self.buffer, start + bytes);
        if buffer.len() < needed {
            // Doubling keeps the copies of a growing buffer few; whole blocks are the buffer's own matter.
            buffer.grow(needed.max(buffer.len() * 2).min(needed + GROWTH_BYTES_MAX));
        }
        let first = self.start + (COMMIT_RECORD_BYTES + self.staged.bytes) as u64;
        let (mut at, mut offset) = (start, first);
        for record in records {
            let header = record.header.place(offset, self.limits.id);
            let end = at + RECORD_HEADER_BYTES + record.payload.len();
            let place = &mut buffer[at..end];
            place[..RECORD_HEADER_BYTES].copy_from_slice(&header);
            place[RECORD_HEADER_BYTES..].copy_from_slice(record.payload);
            self.staged.hashes.extend_from_slice(record.header.hash().as_bytes());
            self.staged.payload_bytes += record.payload.len() as u64;
            offset += (end - at) as u64;
            at = end;
        }
        self.staged.records +=
            u32::try_from(records.len()).expect("a batch has fewer records than a segment bytes");
        self.staged.bytes += bytes;
        first
    }
}

/// What the records take in the journal.
pub(crate) fn bytes_of(records: &[Unplaced<'_>]) -> usize {
    records.iter().map(|record| RECORD_HEADER_BYTES + record.payload.len()).sum()
}
