//! The pure parts of appending and reading, one call each, for benchmarks and for the check on what they cost.

use std::sync::LazyLock;

use crate::disk::sim::SimDisk;
use crate::format::checksum::StoredChecksum;
use crate::format::record::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, UnplacedHeader};
use crate::format::scan::{Scan, Step};
use crate::format::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::journal::{JournalWriter, Options};
use crate::position::JournalId;

const ID: JournalId = JournalId([7; 16]);
/// Made once, as a reader of a journal has it.
static CHECKSUM: LazyLock<StoredChecksum> = LazyLock::new(|| StoredChecksum::new(ID));

/// A payload hashed and checksummed, and its header placed at `offset`: what an append computes.
#[must_use]
pub fn encode(payload: &[u8], offset: u64) -> [u8; RECORD_HEADER_BYTES] {
    UnplacedHeader::new(payload, RecordKind::Payload { continues: false }).place(offset, ID)
}

/// Whether the record of a header made by [`encode`] and its payload checks at `offset`: what a read computes.
///
/// # Panics
/// When the payload is not as long as the header says.
#[must_use]
pub fn check(record: &[u8], offset: u64) -> bool {
    RecordHeader::decode(record).is_some_and(|header| header.check(record, offset, *CHECKSUM).is_ok())
}

/// A segment full of records, in memory.
#[derive(Debug)]
pub struct Segment {
    bytes: Vec<u8>,
    id: JournalId,
}

const RECORDS_A_COMMIT: usize = 64;

impl Segment {
    /// A segment of at least `records` records with payloads of so many bytes.
    ///
    /// # Panics
    /// When it would be larger than a gibibyte.
    #[must_use]
    pub fn new(records: usize, payload_bytes: usize) -> Self {
        let disk = SimDisk::new(1);
        let needed = (records + 2 * RECORDS_A_COMMIT) * (payload_bytes + 64);
        let bytes = u64::try_from(needed.next_multiple_of(1 << 20)).expect("less than a gibibyte");
        assert!(bytes <= 1 << 30, "less than a gibibyte");
        let options = Options::new().segment_bytes(bytes);
        let mut writer = JournalWriter::open_simulated(&disk, options).expect("a new journal");
        let payload = vec![7; payload_bytes];
        for _ in 0..records.div_ceil(RECORDS_A_COMMIT) {
            writer.append_group(&vec![&payload; RECORDS_A_COMMIT]).expect("an append");
        }
        let id = writer.journal_id();
        writer.close().expect("a close");
        let bytes = disk.content("00000000000000000000.seg").expect("the first segment");
        Self { bytes, id }
    }

    /// Goes over all records and gives their number: as a reader does, or, with `verify`, as verification does, which
    /// computes their blake3 hashes and the chain too.
    ///
    /// # Panics
    /// When the segment does not hold what was written.
    #[must_use]
    pub fn scan(&self, verify: bool) -> usize {
        assert!(SegmentHeader::decode(&self.bytes).is_ok(), "a segment that was written here");
        let records = &self.bytes[SEGMENT_HEADER_BYTES..];
        let scan = Scan::at_commit(self.id, 0, records.len() as u64, None);
        let mut scan = if verify { scan.check_hash(true) } else { scan.without_chain() };
        let mut count = 0;
        loop {
            let from = usize::try_from(scan.offset()).expect("inside memory");
            match scan.step(&records[from..]) {
                Step::Record { .. } => count += 1,
                Step::Commit { .. } | Step::CommitEnd { .. } => {}
                Step::Bad(_) | Step::SegmentEnd | Step::Padding { .. } => return count,
                Step::Need(_) => panic!("the whole segment is there"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_the_records_that_were_asked_for() {
        for verify in [false, true] {
            assert_eq!(Segment::new(640, 128).scan(verify), 640);
        }
    }

    #[test]
    fn what_is_encoded_checks() {
        let record = [&encode(b"payload", 40), &b"payload"[..]].concat();
        assert!(check(&record, 40));
        assert!(!check(&record, 41));
    }
}
