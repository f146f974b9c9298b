//! The first 4096 bytes of a segment file.
//!
//! ```text
//! 0        8         10          16           32     40         48                    4092     4096
//! | magic  | version | reserved 0 | journal id | base | capacity | created, unix ns | zeros | crc32c |
//! ```
//! Magic, version and the rest are three questions with three answers: a foreign file, a newer one, a damaged one.

use std::ops::Range;

use super::bytes::{field, is_zero, put, u16_at, u32_at, u64_at};
use crate::position::JournalId;

const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = MAGIC.end..MAGIC.end + 2;
const RESERVED: Range<usize> = VERSION.end..VERSION.end + 6;
const ID: Range<usize> = RESERVED.end..RESERVED.end + 16;
const BASE: Range<usize> = ID.end..ID.end + 8;
const CAPACITY: Range<usize> = BASE.end..BASE.end + 8;
const CREATED: Range<usize> = CAPACITY.end..CAPACITY.end + 8;
const ZEROS: Range<usize> = CREATED.end..CRC.start;
const CRC: Range<usize> = SEGMENT_HEADER_BYTES - 4..SEGMENT_HEADER_BYTES;

/// Bytes of a segment file before its first commit.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4096;
const MAGIC_BYTES: [u8; 8] = *b"ringwal\n";
/// The only format version so far.
pub(crate) const FORMAT_VERSION: u16 = 2;
/// Capacities are whole blocks, so that every segment begins on a block of the address space.
pub(crate) const CAPACITY_UNIT: u64 = BLOCK_BYTES as u64;
/// A block: what commits are written in, and what padding fills up.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: JournalId,
    /// The offset of the first byte behind the header.
    pub(crate) base: u64,
    /// Bytes behind the header.
    pub(crate) capacity: u64,
    /// Nanoseconds since the Unix epoch; for information only.
    pub(crate) created: u64,
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// The magic is not there: not a segment.
    Foreign,
    /// A version that is not known here.
    Version { found: u16 },
    /// Magic and version are right, the rest does not check or makes no sense.
    Damaged,
}

impl SegmentHeader {
    /// The offset behind the segment's last byte: where the next segment begins.
    pub(crate) const fn end(&self) -> u64 {
        self.base + self.capacity
    }

    /// Where `offset` stands in the file.
    ///
    /// # Panics
    /// When the offset lies below the segment.
    pub(crate) fn position_of(&self, offset: u64) -> u64 {
        assert!(offset >= self.base, "offset {offset} lies below segment {}", self.base);
        SEGMENT_HEADER_BYTES as u64 + (offset - self.base)
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        put(&mut bytes, MAGIC, &MAGIC_BYTES);
        put(&mut bytes, VERSION, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, ID, &self.id.0);
        put(&mut bytes, BASE, &self.base.to_le_bytes());
        put(&mut bytes, CAPACITY, &self.capacity.to_le_bytes());
        put(&mut bytes, CREATED, &self.created.to_le_bytes());
        let crc = crc32c::crc32c(bytes.get(..CRC.start).expect("the checksum stands at the header's end"));
        put(&mut bytes, CRC, &crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if field(bytes, MAGIC) != Some(MAGIC_BYTES) {
            return Err(HeaderError::Foreign);
        }
        match u16_at(bytes, VERSION) {
            Some(FORMAT_VERSION) => Self::decode_checked(bytes).ok_or(HeaderError::Damaged),
            // A flipped bit in the version of a version 2 header: the checksum of the header with version 2 fits.
            Some(_) if Self::decode_checked(&with_known_version(bytes)).is_some() => {
                Err(HeaderError::Damaged)
            }
            Some(found) => Err(HeaderError::Version { found }),
            None => Err(HeaderError::Damaged),
        }
    }

    /// Whether `bytes` are what is left of the header of this segment when sectors of it never reached the device, up to
    /// all of them: a header that checks is none.
    pub(crate) fn is_remnant(bytes: &[u8], id: JournalId, base: u64) -> bool {
        let mut bytes = bytes.to_vec();
        bytes.resize(SEGMENT_HEADER_BYTES, 0);
        let fields = bytes.get(..ZEROS.start).unwrap_or_default();
        let crc = bytes.get(CRC).unwrap_or_default();
        let is_own = field(fields, MAGIC) == Some(MAGIC_BYTES)
            && u16_at(fields, VERSION) == Some(FORMAT_VERSION)
            && fields.get(RESERVED).is_some_and(is_zero)
            && field(fields, ID) == Some(id.0)
            && u64_at(fields, BASE) == Some(base);
        let rest_is_zero = bytes.get(ZEROS).is_some_and(is_zero);
        // The fields and the checksum stand in two sectors.
        rest_is_zero && (is_zero(fields) || (is_own && is_zero(crc)))
    }

    fn decode_checked(bytes: &[u8]) -> Option<Self> {
        let computed = crc32c::crc32c(bytes.get(..CRC.start)?);
        if u32_at(bytes, CRC)? != computed || !is_zero(bytes.get(RESERVED)?) || !is_zero(bytes.get(ZEROS)?) {
            return None;
        }
        let header = Self {
            id: JournalId(field(bytes, ID)?),
            base: u64_at(bytes, BASE)?,
            capacity: u64_at(bytes, CAPACITY)?,
            created: u64_at(bytes, CREATED)?,
        };
        header.is_sensible().then_some(header)
    }

    fn is_sensible(&self) -> bool {
        // The last offset must leave room for file positions, which lie a header further on.
        let end = self.base.checked_add(self.capacity);
        self.capacity > 0
            && self.capacity.is_multiple_of(CAPACITY_UNIT)
            && self.base.is_multiple_of(CAPACITY_UNIT)
            && end.is_some_and(|end| end <= u64::MAX / 2)
    }
}

fn with_known_version(bytes: &[u8]) -> Vec<u8> {
    let mut copy = bytes.get(..SEGMENT_HEADER_BYTES.min(bytes.len())).unwrap_or_default().to_vec();
    if let Some(version) = copy.get_mut(VERSION) {
        version.copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    }
    copy
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails, as it should")]
mod tests {
    use super::*;

    fn example() -> SegmentHeader {
        SegmentHeader { id: JournalId([5; 16]), base: 8192, capacity: 65536, created: 1 }
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        assert_eq!(SegmentHeader::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn every_flipped_bit_shows_and_a_flipped_magic_is_a_foreign_file() {
        let bytes = example().encode();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 { HeaderError::Foreign } else { HeaderError::Damaged };
            assert_eq!(SegmentHeader::decode(&changed), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_not_damage() {
        let mut bytes = example().encode();
        bytes[VERSION].copy_from_slice(&3_u16.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC.start]);
        bytes[CRC].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version { found: 3 }));
    }

    #[test]
    fn what_must_be_zero_and_is_not_is_damage_though_the_checksum_fits() {
        for position in [RESERVED.start, RESERVED.end - 1, ZEROS.start, ZEROS.end - 1] {
            let mut bytes = example().encode();
            bytes[position] = 1;
            let crc = crc32c::crc32c(&bytes[..CRC.start]);
            bytes[CRC].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged), "a byte at {position}");
        }
    }

    #[test]
    fn a_place_that_makes_no_sense_is_damage() {
        let half = (u64::MAX / 2 + 1) - 65_536;
        let sound = SegmentHeader { base: half - 65_536, ..example() };
        assert_eq!(SegmentHeader::decode(&sound.encode()), Ok(sound));
        for (base, capacity) in
            [(8192, 0), (8192, 4097), (8193, 65_536), (half, 65_536), (8192, u64::MAX - 4095)]
        {
            let header = SegmentHeader { base, capacity, ..example() };
            let decoded = SegmentHeader::decode(&header.encode());
            assert_eq!(decoded, Err(HeaderError::Damaged), "{capacity} bytes at {base}");
        }
    }

    #[test]
    fn a_base_near_the_end_of_the_address_space_is_refused_not_wrapped() {
        let header = SegmentHeader { base: u64::MAX - 4095, ..example() };
        assert_eq!(SegmentHeader::decode(&header.encode()), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_remnant_is_a_header_without_some_of_its_sectors_and_nothing_else() {
        let example = example();
        let (id, base) = (example.id, example.base);
        let whole = example.encode();
        let remnant = |bytes: &[u8]| SegmentHeader::is_remnant(bytes, id, base);
        let (mut front, mut back) = (whole, whole);
        front[512..].fill(0);
        back[..512].fill(0);
        assert!(remnant(&[]) && remnant(&[0; 4096]) && remnant(&front) && remnant(&front[..512]));
        assert!(remnant(&back));
        assert!(!remnant(&whole));
        for position in [0, 8, 10, 16, 32, 56, 4091] {
            let mut changed = front;
            changed[position] ^= 1;
            assert!(!remnant(&changed), "another byte at {position}");
        }
        for position in [0, 55, 56, 4091] {
            let mut changed = back;
            changed[position] ^= 1;
            assert!(!remnant(&changed), "a byte at {position}");
        }
        assert!(!SegmentHeader::is_remnant(&front, JournalId([6; 16]), base));
        assert!(!SegmentHeader::is_remnant(&front, id, base + 4096));
    }

    #[test]
    fn short_bytes_are_an_answer() {
        let bytes = example().encode();
        for length in 0..bytes.len() {
            assert!(SegmentHeader::decode(&bytes[..length]).is_err());
        }
    }
}
