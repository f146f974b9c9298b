//! The commit record: the control record that begins every commit, and the hash chain over all commits.
//!
//! ```text
//! 0      1       2            4        8            16       24              32     64
//! | kind | flags | reserved 0 | records | commit bytes | number | durable_below | chain |
//! ```
//! Chain: `c(0) = blake3("ringwal chain v2" ‖ journal id)`; `c(k + 1) = blake3(c(k) ‖ h ‖ h1 ‖ h2 ...)` where `h` is the
//! content hash of commit record `k` and `h1 ...` those of its records. Commit `k` carries `c(k)`: a hash over
//! everything before it.

use std::ops::Range;

use super::bytes::{field, put, u16_at, u32_at, u64_at};
use super::checksum::StoredChecksum;
use super::record::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, UnplacedHeader};
use crate::position::{Hash, JournalId};

const KIND: Range<usize> = 0..1;
const FLAGS: Range<usize> = KIND.end..KIND.end + 1;
const RESERVED: Range<usize> = FLAGS.end..FLAGS.end + 2;
const RECORDS: Range<usize> = RESERVED.end..RESERVED.end + 4;
const BYTES: Range<usize> = RECORDS.end..RECORDS.end + 8;
const NUMBER: Range<usize> = BYTES.end..BYTES.end + 8;
const DURABLE_BELOW: Range<usize> = NUMBER.end..NUMBER.end + 8;
const CHAIN: Range<usize> = DURABLE_BELOW.end..DURABLE_BELOW.end + 32;
const PAYLOAD_BYTES: usize = CHAIN.end;
const _: () = assert!(PAYLOAD_BYTES == 64, "the commit record's payload is 64 bytes");

/// Bytes of a whole commit record.
pub(crate) const COMMIT_RECORD_BYTES: usize = RECORD_HEADER_BYTES + PAYLOAD_BYTES;
const _: () = assert!(COMMIT_RECORD_BYTES == 104, "docs/format.md says 104");

const KIND_COMMIT: u8 = 1;
const FLAG_CLEAN: u8 = 1;

/// What a commit record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitRecord {
    /// The journal was closed with this commit.
    pub(crate) clean: bool,
    /// Records in the commit, this one not counted.
    pub(crate) records: u32,
    /// Bytes of the whole commit: this record, the others, and zeros up to a block boundary when padded.
    pub(crate) bytes: u64,
    /// One more than the commit before, from 0.
    pub(crate) number: u64,
    /// Every offset below was durable when this commit was submitted.
    pub(crate) durable_below: u64,
    /// Hash over everything before this commit.
    pub(crate) chain: Hash,
}

impl CommitRecord {
    fn payload(&self) -> [u8; PAYLOAD_BYTES] {
        let mut bytes = [0; PAYLOAD_BYTES];
        put(&mut bytes, KIND, &[KIND_COMMIT]);
        put(&mut bytes, FLAGS, &[if self.clean { FLAG_CLEAN } else { 0 }]);
        put(&mut bytes, RECORDS, &self.records.to_le_bytes());
        put(&mut bytes, BYTES, &self.bytes.to_le_bytes());
        put(&mut bytes, NUMBER, &self.number.to_le_bytes());
        put(&mut bytes, DURABLE_BELOW, &self.durable_below.to_le_bytes());
        put(&mut bytes, CHAIN, self.chain.as_bytes());
        bytes
    }

    /// The whole record as it stands at `offset`, and its content hash.
    pub(crate) fn encode(&self, offset: u64, id: JournalId) -> ([u8; COMMIT_RECORD_BYTES], Hash) {
        let payload = self.payload();
        let header = UnplacedHeader::new(&payload, RecordKind::Control);
        let mut bytes = [0; COMMIT_RECORD_BYTES];
        put(&mut bytes, 0..RECORD_HEADER_BYTES, &header.place(offset, id));
        put(&mut bytes, RECORD_HEADER_BYTES..COMMIT_RECORD_BYTES, &payload);
        (bytes, header.hash())
    }

    /// The commit record that begins `bytes`, and its content hash. `None` when there is none that checks at `offset`.
    pub(crate) fn decode(bytes: &[u8], offset: u64, id: JournalId) -> Option<(Self, Hash)> {
        let header = RecordHeader::decode(bytes)?;
        if !header.is_control() || header.payload_bytes() != PAYLOAD_BYTES {
            return None;
        }
        let bytes = bytes.get(..COMMIT_RECORD_BYTES)?;
        header.check(bytes, offset, StoredChecksum::new(id)).ok()?;
        Some((Self::from_payload(bytes.get(RECORD_HEADER_BYTES..)?)?, header.hash))
    }

    /// What the payload of a control record says; `None` for another kind of control record than a commit, unknown
    /// flags included.
    pub(crate) fn from_payload(payload: &[u8]) -> Option<Self> {
        let [kind] = field(payload, KIND)?;
        let [flags] = field(payload, FLAGS)?;
        if payload.len() != PAYLOAD_BYTES || kind != KIND_COMMIT || flags & !FLAG_CLEAN != 0 {
            return None;
        }
        if u16_at(payload, RESERVED)? != 0 {
            return None;
        }
        Some(Self {
            clean: flags & FLAG_CLEAN != 0,
            records: u32_at(payload, RECORDS)?,
            bytes: u64_at(payload, BYTES)?,
            number: u64_at(payload, NUMBER)?,
            durable_below: u64_at(payload, DURABLE_BELOW)?,
            chain: Hash(field(payload, CHAIN)?),
        })
    }

    /// Whether `bytes` could begin a commit record: a test cheap enough for every position of a segment.
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        RecordHeader::decode(bytes)
            .is_some_and(|header| header.is_control() && header.payload_bytes() == PAYLOAD_BYTES)
    }
}

/// The chain value while it is carried over the hashes of one commit.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    hasher: blake3::Hasher,
}

impl Chain {
    /// The chain value of a journal's first commit.
    pub(crate) fn origin(id: JournalId) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"ringwal chain v2").update(&id.0);
        Hash(*hasher.finalize().as_bytes())
    }

    /// Begins with the chain value that the commit carries and the hash of its commit record.
    pub(crate) fn begin(before: &Hash, commit_record: &Hash) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(before.as_bytes()).update(commit_record.as_bytes());
        Self { hasher }
    }

    pub(crate) fn add(&mut self, record: &Hash) {
        self.hasher.update(record.as_bytes());
    }

    /// Adds the hashes of records, one behind the other.
    pub(crate) fn add_all(&mut self, hashes: &[u8]) {
        self.hasher.update(hashes);
    }

    /// The chain value that the next commit carries.
    pub(crate) fn finish(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails, as it should")]
mod tests {
    use super::*;

    const ID: JournalId = JournalId([3; 16]);

    fn example() -> CommitRecord {
        CommitRecord {
            clean: true,
            records: 5,
            bytes: 4096,
            number: 77,
            durable_below: 123,
            chain: Hash([9; 32]),
        }
    }

    #[test]
    fn a_commit_record_comes_back_as_it_was_and_only_at_its_place() {
        let (bytes, hash) = example().encode(512, ID);
        assert_eq!(CommitRecord::decode(&bytes, 512, ID), Some((example(), hash)));
        assert_eq!(CommitRecord::decode(&bytes, 513, ID), None);
        assert_eq!(CommitRecord::decode(&bytes[..103], 512, ID), None);
        assert!(CommitRecord::may_begin(&bytes));
    }

    #[test]
    fn every_flipped_bit_of_a_commit_record_shows() {
        let (bytes, _) = example().encode(512, ID);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CommitRecord::decode(&changed, 512, ID), None, "bit {bit}");
        }
    }

    #[test]
    fn both_values_of_the_mark_of_a_close_come_back() {
        for clean in [false, true] {
            let record = CommitRecord { clean, ..example() };
            let (bytes, hash) = record.encode(512, ID);
            assert_eq!(CommitRecord::decode(&bytes, 512, ID), Some((record, hash)));
        }
    }

    #[test]
    fn what_checks_but_is_no_commit_record_is_none() {
        let record = |payload: &[u8], kind| {
            let mut bytes = UnplacedHeader::new(payload, kind).place(512, ID).to_vec();
            bytes.extend_from_slice(payload);
            bytes
        };
        let payload = example().payload();
        let is_commit = |bytes: &[u8]| CommitRecord::decode(bytes, 512, ID).is_some();
        assert!(is_commit(&record(&payload, RecordKind::Control)));
        // A caller's payload with the bytes of a commit, and control records of other lengths.
        assert!(!is_commit(&record(&payload, RecordKind::Payload { continues: false })));
        assert!(!is_commit(&record(&payload[..63], RecordKind::Control)));
        assert!(!is_commit(&record(&[&payload[..], &[0]].concat(), RecordKind::Control)));
        assert_eq!(CommitRecord::from_payload(&[&payload[..], &[0]].concat()), None);
        for (place, byte) in [(0, 0), (0, 2), (1, 2), (1, 3), (1, 128), (2, 1), (3, 1)] {
            let mut changed = payload;
            changed[place] = byte;
            assert_eq!(CommitRecord::from_payload(&changed), None, "{byte} at {place}");
            assert!(!is_commit(&record(&changed, RecordKind::Control)), "{byte} at {place}");
        }
    }

    #[test]
    fn the_chain_depends_on_every_record_and_their_order() {
        let start = Chain::origin(ID);
        let value = |hashes: &[u8]| {
            let mut chain = Chain::begin(&start, &Hash([0; 32]));
            hashes.iter().for_each(|byte| chain.add(&Hash([*byte; 32])));
            chain.finish()
        };
        assert_ne!(value(&[1, 2]), value(&[2, 1]));
        assert_ne!(value(&[1, 2]), value(&[1]));
        assert_ne!(Chain::origin(ID), Chain::origin(JournalId([4; 16])));
    }
}
