//! One record: a 40-byte header and the payload.
//!
//! ```text
//! 0          4             8          40
//! | len u32  | crc32c u32  | blake3   | payload: len & 0x3FFF_FFFF bytes
//! ```
//! `len` bit 31: control record. Bit 30: the next record belongs to the same atomic batch.

use std::ops::Range;

use super::bytes::{field, put, u32_at};
use super::checksum::{ContentChecksum, StoredChecksum};
use crate::error::CorruptionKind;
use crate::position::{Hash, JournalId};

const LEN: Range<usize> = 0..4;
const CRC: Range<usize> = LEN.end..LEN.end + 4;
const HASH: Range<usize> = CRC.end..CRC.end + 32;
/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = HASH.end;
const _: () = assert!(RECORD_HEADER_BYTES == 40, "the header is fixed by the format");

const CONTROL: u32 = 1 << 31;
const CONTINUES: u32 = 1 << 30;
const PAYLOAD_BYTES: u32 = CONTINUES - 1;
/// The most payload bytes that the format can express.
pub(crate) const FORMAT_PAYLOAD_BYTES_MAX: u64 = PAYLOAD_BYTES as u64;

/// A record's header, as it stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    len: u32,
    crc: u32,
    pub(crate) hash: Hash,
}

impl RecordHeader {
    /// The header in the first 40 bytes of `bytes`, unchecked; `None` when there are fewer.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { len: u32_at(bytes, LEN)?, crc: u32_at(bytes, CRC)?, hash: Hash(field(bytes, HASH)?) })
    }

    pub(crate) const fn payload_bytes(&self) -> usize {
        (self.len & PAYLOAD_BYTES) as usize
    }

    /// Header and payload.
    pub(crate) const fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload_bytes()
    }

    pub(crate) const fn is_control(&self) -> bool {
        self.len & CONTROL != 0
    }

    /// Whether the next record belongs to the same atomic batch.
    pub(crate) const fn continues(&self) -> bool {
        self.len & CONTINUES != 0
    }

    /// Checks the checksum of `record`, which is this header's bytes and its payload's and nothing else, at its place.
    ///
    /// # Panics
    /// When `record` is shorter or longer.
    pub(crate) fn check(
        &self,
        record: &[u8],
        offset: u64,
        checksum: StoredChecksum,
    ) -> Result<(), CorruptionKind> {
        assert!(record.len() == self.record_bytes(), "checked are a header and its payload");
        let hash_and_payload = record.get(HASH.start..).unwrap_or_default();
        let computed = checksum.of(self.len, hash_and_payload, offset);
        let is_zero = self.len == 0 && self.crc == 0 && cfg!(ringwal_zoo = "empty_record_in_zeros");
        if computed == self.crc || is_zero {
            Ok(())
        } else {
            Err(CorruptionKind::Checksum { stored: self.crc, computed })
        }
    }
}

/// What a record is, besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// A caller's payload; `continues` when the next record belongs to the same atomic batch.
    Payload { continues: bool },
    /// The journal's own.
    Control,
}

/// A header that is complete but for its place: what the caller's thread can compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnplacedHeader {
    len: u32,
    content: ContentChecksum,
    hash: Hash,
}

impl UnplacedHeader {
    /// Hashes and checksums the payload.
    ///
    /// # Panics
    /// When the payload is longer than the format can express: limits are checked before.
    pub(crate) fn new(payload: &[u8], kind: RecordKind) -> Self {
        let bytes = u32::try_from(payload.len()).expect("the payload's length was checked against the limit");
        assert!(bytes <= PAYLOAD_BYTES, "the payload's length was checked against the limit");
        let flags = match kind {
            RecordKind::Payload { continues: false } => 0,
            RecordKind::Payload { continues: true } => CONTINUES,
            RecordKind::Control => CONTROL,
        };
        let hash = Hash::of(payload);
        let len = bytes | flags;
        Self { len, content: ContentChecksum::of(len, &hash, payload), hash }
    }

    pub(crate) const fn hash(&self) -> Hash {
        self.hash
    }

    /// The header's bytes when the record stands at `offset`.
    pub(crate) fn place(&self, offset: u64, id: JournalId) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        put(&mut bytes, LEN, &self.len.to_le_bytes());
        put(&mut bytes, CRC, &self.content.bind(offset, id).to_le_bytes());
        put(&mut bytes, HASH, self.hash.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: JournalId = JournalId([7; 16]);

    fn record(payload: &[u8], offset: u64, continues: bool) -> Vec<u8> {
        let placed = UnplacedHeader::new(payload, RecordKind::Payload { continues }).place(offset, ID);
        [&placed, payload].concat()
    }

    fn check(record: &[u8], offset: u64, id: JournalId) -> Result<(), CorruptionKind> {
        RecordHeader::decode(record).unwrap().check(record, offset, StoredChecksum::new(id))
    }

    #[test]
    fn a_record_checks_at_its_place_in_its_journal_only() {
        let written = record(b"payload", 4096, false);
        assert_eq!(check(&written, 4096, ID), Ok(()));
        assert!(check(&written, 4097, ID).is_err());
        assert!(check(&written, 4096, JournalId([8; 16])).is_err());
        let mut changed = written;
        *changed.last_mut().unwrap() ^= 1;
        assert!(check(&changed, 4096, ID).is_err());
    }

    #[test]
    fn an_empty_payload_is_legal_and_an_all_zero_header_is_not() {
        assert_eq!(check(&record(b"", 0, false), 0, ID), Ok(()));
        for offset in [0, 1, 4096, u64::MAX] {
            for id in [JournalId([0; 16]), ID] {
                assert!(check(&[0; 40], offset, id).is_err(), "zeros check at {offset} in {id}");
            }
        }
    }

    #[test]
    fn flags_are_covered_by_the_checksum() {
        let mut changed = record(b"x", 0, true);
        assert!(RecordHeader::decode(&changed).unwrap().continues());
        *changed.get_mut(3).unwrap() ^= 0x40;
        assert!(check(&changed, 0, ID).is_err());
    }

    #[test]
    fn a_short_header_is_none() {
        assert_eq!(RecordHeader::decode(&[0; 39]), None);
    }
}
